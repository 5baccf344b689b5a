"""Data sets larger than memory: read from files or the Hub, encoded and kept in a folder."""

from textrnn.data.corpus.rows import FileRows, HubRows

__all__ = ["FileRows", "HubRows"]
