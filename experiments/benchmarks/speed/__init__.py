"""The speed suite: this library beside its peers, in one interleaved run.

`python -m experiments.benchmarks.speed --help`. See docs/performance.md for what is
measured.
"""
