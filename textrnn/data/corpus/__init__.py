"""Data sets larger than memory, in folders."""

from textrnn.data.corpus.rows import FileRows, HubRows

__all__ = ["FileRows", "HubRows"]
