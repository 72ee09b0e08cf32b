"""From one language to another: parallel texts, subwords, and translators at work."""
