"""Texts of classes: words, labelled files, naive Bayes, and classifiers of texts."""
