"""Recognizing what people do in videos, by their joints."""
