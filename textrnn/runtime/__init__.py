"""Predictions of saved models without PyTorch."""
