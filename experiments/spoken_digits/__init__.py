"""The parts of `experiments/speech.py`: data, lessons, reports."""
