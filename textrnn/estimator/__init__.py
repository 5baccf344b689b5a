"""`TextClassifier`: raw strings in, labels out."""

from textrnn.estimator.classifier import TextClassifier

__all__ = ["TextClassifier"]
