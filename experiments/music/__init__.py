"""Writing music."""
