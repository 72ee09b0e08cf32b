"""The applications, one file each: `python -m experiments.<name>`."""
