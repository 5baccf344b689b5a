"""What surrounds a run: Ctrl-C becomes a request to stop, and torch can be made deterministic."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import torch

from textrnn.training.state import TrainingState

__all__ = ["CTRL_C", "deterministic", "interruptible"]

CTRL_C = "interrupted by Ctrl-C"
"""The reason for a stop that Ctrl-C asked for."""

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_LOGGER = logging.getLogger("textrnn")


@contextmanager
def interruptible(state: TrainingState) -> Iterator[None]:
    """Turn the first Ctrl-C into a request to stop; the second interrupts at once.

    Outside of the main thread, and where Ctrl-C is ignored (as under ``nohup``), nothing is done.

    Args:
        state: Where the run stands.
    """
    previous = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or previous in {None, signal.SIG_IGN}:
        yield
        return
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        if os.getpid() != process:  # a worker that was forked meanwhile
            return
        state.request_stop(CTRL_C)
        signal.signal(signal.SIGINT, previous)
        with suppress(RuntimeError):  # it may come in the middle of a line to standard error
            _LOGGER.warning("Ctrl-C: stopping after this step; a second one interrupts at once.")

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def deterministic(*, on: bool) -> Iterator[None]:
    """Make torch use deterministic algorithms, where asked to, and put its settings back.

    Args:
        on: Whether to.
    """
    if not on:
        yield
        return
    mode = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    workspace = os.environ.get(_CUBLAS)
    # cuBLAS reads this when it is first used, and torch insists on it.
    os.environ.setdefault(_CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(mode=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=mode, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop(_CUBLAS, None)
