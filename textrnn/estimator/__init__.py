"""`TextClassifier`: raw strings in, labels out; functions that search for settings and labels."""

from typing import TYPE_CHECKING

from textrnn._lazy import lazy_names

__all__ = ["TextClassifier", "Tuning", "suspicious_labels", "tune"]

if TYPE_CHECKING:
    from textrnn.estimator.classifier import TextClassifier
    from textrnn.estimator.suspicion import suspicious_labels
    from textrnn.estimator.tuning import Tuning, tune
else:  # imported on first use, so that the command line reads the options without PyTorch
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "TextClassifier": "classifier",
            "Tuning": "tuning",
            "suspicious_labels": "suspicion",
            "tune": "tuning",
        },
    )
