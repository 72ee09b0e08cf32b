"""Recognizing spoken digits, alone and joined."""
