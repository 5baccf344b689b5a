"""Results, which convert to JSON, print, and show in a notebook; some of them as tables."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

from textrnn._text_table import Table, html_tables, text_table

__all__ = ["Result", "Results", "Tabular"]


class Result(ABC):
    """A result that converts to JSON and shows in a notebook."""

    __slots__ = ()

    @abstractmethod
    def to_dict(self) -> Any:
        """Return the result as plain data for JSON."""

    @abstractmethod
    def _repr_html_(self) -> str:
        """Return the result in HTML."""

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return the result as JSON text.

        Args:
            indent: Number of spaces per level, or None for a single line. Default: 2.
        """
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)


class Tabular(Result):
    """A result that prints as tables, and shows in a notebook as the same tables."""

    @abstractmethod
    def _tables(self) -> Sequence[Table | str]:
        """Return the tables, and sentences between them."""

    def __str__(self) -> str:
        parts = self._tables()
        return "\n\n".join(x if isinstance(x, str) else text_table(x.rows) for x in parts)

    def _repr_html_(self) -> str:
        """Return the tables in HTML, in the colours of the page."""
        return html_tables(self._tables())


_Item = TypeVar("_Item", bound=Result)


class Results(tuple[_Item, ...], Result):
    """Several results, which print and show one after the other."""

    __slots__ = ()

    _separator: ClassVar[str] = "\n"

    def to_dict(self) -> list[dict[str, Any]]:
        """Return the results as a list of plain data for JSON."""
        return [each.to_dict() for each in self]

    def __str__(self) -> str:
        return self._separator.join(map(str, self))

    def _repr_html_(self) -> str:
        """Return the HTML of all results."""
        return "".join(each._repr_html_() for each in self)
