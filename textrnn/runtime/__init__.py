"""Predict with a saved classifier, without PyTorch."""

from typing import TYPE_CHECKING

from textrnn._lazy import lazy_names

__all__ = ["RuntimeClassifier", "load"]

if TYPE_CHECKING:
    from textrnn.runtime.classifier import RuntimeClassifier, load
else:  # imported on first use, so that the command line's options don't wait for NumPy
    __getattr__, __dir__ = lazy_names(
        __name__, {"RuntimeClassifier": "classifier", "load": "classifier"}
    )
