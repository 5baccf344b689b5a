"""`TextClassifier`: raw strings in, labels out."""

from typing import TYPE_CHECKING

from textrnn._lazy import lazy_names

__all__ = ["TextClassifier"]

if TYPE_CHECKING:
    from textrnn.estimator.classifier import TextClassifier
else:  # imported on first use, so that the command line reads the options without PyTorch
    __getattr__, __dir__ = lazy_names(__name__, {"TextClassifier": "classifier"})
