"""How fast it is, how it scales, and how exactly weights are converted."""
