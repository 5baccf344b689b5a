"""`TextClassifier`: raw strings in, labels out; `tune` searches for its settings."""

from typing import TYPE_CHECKING

from textrnn._lazy import lazy_names

__all__ = ["TextClassifier", "Tuning", "tune"]

if TYPE_CHECKING:
    from textrnn.estimator.classifier import TextClassifier
    from textrnn.estimator.tuning import Tuning, tune
else:  # imported on first use, so that the command line reads the options without PyTorch
    __getattr__, __dir__ = lazy_names(
        __name__, {"TextClassifier": "classifier", "Tuning": "tuning", "tune": "tuning"}
    )
