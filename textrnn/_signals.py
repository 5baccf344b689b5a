"""Signals while processes are started."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["sheltered_from_ctrl_c"]


@contextmanager
def sheltered_from_ctrl_c() -> Iterator[None]:
    """Hold SIGINT back; processes that are started meanwhile never get it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "pthread_sigmask"):  # Windows has none
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
