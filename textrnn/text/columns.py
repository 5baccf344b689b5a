"""Read texts from columns of any library.

Lists, tuples, NumPy arrays, pandas and polars columns, Arrow arrays and Hugging Face columns are
read by duck typing; none of these packages is imported.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Any

from textrnn.errors import InvalidTypeError, expected, show

__all__ = ["NOT_COLUMNS", "column_names", "read_texts"]

NOT_COLUMNS = (str, bytes, Mapping, AbstractSet)
"""Types that can be iterated over, but are no columns."""

_MAX_LISTED = 8  # columns in a message
_ARROW_ROWS = 4096  # Arrow strings that are converted at a time


def read_texts(texts: Any, name: str = "texts") -> Iterator[Any]:
    """Iterate over a column of texts, without checking that they are strings."""
    is_table = len(getattr(texts, "shape", (0,))) != 1
    if is_table or isinstance(texts, NOT_COLUMNS) or not hasattr(texts, "__iter__"):
        rule = "a column (a sequence) of strings"
        columns = [f"{name}[{show(each)}]" for each in column_names(texts)[:_MAX_LISTED]]
        if not columns and is_table and hasattr(texts, "__array__"):
            columns = [f"{name}[:, 0]"]
        if columns:
            rule += f", such as {' or '.join(columns)}"
        raise InvalidTypeError(expected(name, rule, texts))
    if not hasattr(texts, "to_pylist"):
        return iter(texts)
    # An Arrow array iterates over scalars of its own, not over strings.
    rows = range(0, len(texts), _ARROW_ROWS)
    return chain.from_iterable(texts.slice(row, _ARROW_ROWS).to_pylist() for row in rows)


def column_names(table: Any) -> tuple[Any, ...]:
    """Return the names of a table's columns, or nothing if they have none."""
    for attribute in ("column_names", "columns"):
        if hasattr(type(table), attribute):  # of the table itself, it may be a column of that name
            return tuple(getattr(table, attribute))
    return ()
