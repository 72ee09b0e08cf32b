"""Texts to ids and back: characters or bytes, words, subwords."""
