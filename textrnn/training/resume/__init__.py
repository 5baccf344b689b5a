"""Checkpoints, and what a resumed run needs to continue exactly."""

from textrnn.training.resume.checkpoint import Checkpoint

__all__ = ["Checkpoint"]
