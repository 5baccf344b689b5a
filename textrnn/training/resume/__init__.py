"""Checkpoints, and the state that a resumed run continues from."""

from textrnn.training.resume.checkpoint import Checkpoint

__all__ = ["Checkpoint"]
