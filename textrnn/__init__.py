"""Recurrent text classifiers in PyTorch: typed, fast, exact, pleasant."""

__version__ = "0.1.0"
