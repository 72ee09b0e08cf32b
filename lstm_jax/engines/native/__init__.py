"""Recurrences on a CPU as custom calls, compiled on first use from `kernel.cc`."""
