"""Prediction and training on a Ray cluster."""
