"""Tables of text, printed and in HTML."""

import unicodedata
from collections.abc import Sequence
from html import escape
from typing import NamedTuple, TypeAlias

__all__ = ["Rows", "Table", "html_tables", "printable", "text_table"]

Rows: TypeAlias = Sequence[Sequence[str]]

# Lines are seen on light and dark pages. Names may be broken into lines, numbers may not.
_LINE = "1px solid rgba(128,128,128,0.4)"
_NAME = "padding:0.2em 0.6em;text-align:left;max-width:20em;overflow-wrap:break-word"
_NUMBER = "padding:0.2em 0.6em;text-align:right;white-space:nowrap"


class Table(NamedTuple):
    """Rows of text, of which the first names the columns if there is a `head`."""

    rows: Rows
    head: bool = True


def text_table(rows: Rows, *, right: bool = True) -> str:
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


def html_tables(tables: Sequence[Table | str]) -> str:
    """Return tables and sentences in HTML, tables side by side where there is room."""
    blocks = [
        f'<div style="width:100%">{escape(part)}</div>'
        if isinstance(part, str)
        else _html_table(part)
        for part in tables
    ]
    return f'<div style="display:flex;flex-wrap:wrap;gap:0 2em">{"".join(blocks)}</div>'


def _html_table(table: Table) -> str:
    """Return a table in HTML in the colours of the page; it scrolls where that is narrow."""
    lines = []
    for i, row in enumerate(table.rows):
        cells = []
        for j, cell in enumerate(row):
            named = table.head and i == 0
            tag = "th" if named or j == 0 else "td"
            style = f"{_NUMBER if j else _NAME};font-weight:{'bold' if named else 'normal'}"
            cells.append(f'<{tag} style="{style}">{escape(cell)}</{tag}>')
        lines.append(f'<tr style="border-bottom:{_LINE}">{"".join(cells)}</tr>')
    html = f'<table style="border-collapse:collapse;margin:0">{"".join(lines)}</table>'
    return f'<div style="overflow:auto;max-height:30em;margin:0.5em 0">{html}</div>'


def printable(value: object) -> str:
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
