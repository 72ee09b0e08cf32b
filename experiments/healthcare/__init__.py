"""The risk of death in intensive care, from signals seen now and then."""
