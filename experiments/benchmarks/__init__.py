"""How fast it is, and how it scales."""
