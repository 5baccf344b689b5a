"""The news texts of the AG News example, with the names of their classes."""

from pathlib import Path

from pyarrow import parquet

__all__ = ["read_sample"]

_FOLDER = Path(__file__).parents[1] / "ag_news" / "sample"
_NAMES = ("World", "Sports", "Business", "Sci/Tech")


def read_sample(part: str, limit: int | None = None) -> tuple[list[str], list[str]]:
    """Read news texts of `"train"` (4,000) or `"test"` (1,000) with their class names."""
    table = parquet.read_table(_FOLDER / f"{part}.parquet").slice(0, limit)
    return table["text"].to_pylist(), [_NAMES[label] for label in table["label"].to_pylist()]
