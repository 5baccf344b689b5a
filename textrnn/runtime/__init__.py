"""Predict with a saved classifier, without PyTorch."""

__all__: list[str] = []
