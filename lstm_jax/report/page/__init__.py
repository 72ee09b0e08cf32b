"""`report.html`: a run as one file to be opened in a browser, without a network."""
