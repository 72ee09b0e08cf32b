"""The recurrence on a CPU as two custom calls, compiled on first use from `lstm.cc`."""
