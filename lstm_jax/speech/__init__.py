"""Sounds: WAV files, log-mel spectrograms, variations, transcripts off CTC scores."""
