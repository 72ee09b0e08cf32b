"""The speed suite: this library beside its peers, in one interleaved run.

`python -m experiments.speed --help`. See docs/performance.md for what is measured.
"""
