"""Recurrences on a CPU as custom calls, compiled on first use by `build.py`."""
