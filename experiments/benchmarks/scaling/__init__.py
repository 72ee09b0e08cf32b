"""Many devices: what a compiled training step exchanges, and what that will cost."""
