"""Accuracy and time of `TextClassifier` compared with common alternatives."""
