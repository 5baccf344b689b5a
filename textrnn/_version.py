"""The version, which saved models name."""

__version__ = "0.1.0"
