"""Print a table of text, and a text on one line."""

import unicodedata
from collections.abc import Sequence

__all__ = ["one_line", "text_table"]


def text_table(rows: Sequence[Sequence[str]], *, right: bool = True) -> str:
    """Align columns two spaces apart, all but the first at the `right` by default."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - _width(cell))
            cells.append(space + cell if right and i else cell + space)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def one_line(value: object) -> str:
    """Return a text on one line, with escapes for unprintable characters."""
    text = str(value)
    return text if text.isprintable() else repr(text)[1:-1]


def _width(text: str) -> int:
    """Count a terminal's columns: East Asian wide characters take two, accents none."""
    return sum(
        0
        if unicodedata.combining(character)
        else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )
