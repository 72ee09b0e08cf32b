"""One measured run on a GPU or a TPU, within a budget of seconds."""
