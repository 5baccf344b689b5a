"""Training in several processes."""

from textrnn.training.distributed.processes import Processes, join

__all__ = ["Processes", "join"]
