"""`textrnn export`: copy a saved classifier, with an ONNX file."""

from argparse import Namespace

from textrnn.estimator import TextClassifier

__all__ = ["run"]


def run(options: Namespace) -> int:
    """Copy a saved classifier, with an ONNX file."""
    TextClassifier.load(options.model, device="cpu").export(options.output)
    return 0
