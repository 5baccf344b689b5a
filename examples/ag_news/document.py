"""A report as a list of blocks, written as Markdown or as one self-contained HTML page.

Both writers escape markup in strings. `Strong`, `Code` and `Chip` mark parts of a line.
"""

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

__all__ = [
    "Block",
    "Bullets",
    "Cards",
    "Chip",
    "Code",
    "Figure",
    "Heading",
    "Inline",
    "Line",
    "Paragraph",
    "Strong",
    "Table",
    "line",
    "to_html",
    "to_markdown",
]


@dataclass(frozen=True)
class Strong:
    """Strong text in a line."""

    text: str


@dataclass(frozen=True)
class Code:
    """A name or a command."""

    text: str


@dataclass(frozen=True)
class Chip:
    """A verdict; `kind` is `"good"`, `"bad"` or `"neutral"`."""

    text: str
    kind: str = "neutral"


Inline: TypeAlias = str | Strong | Code | Chip
Line: TypeAlias = tuple[Inline, ...]


def line(*parts: Inline | Line) -> Line:
    """Join parts and lines into one line."""
    joined: list[Inline] = []
    for part in parts:
        joined.extend(part if isinstance(part, tuple) else (part,))
    return tuple(joined)


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 to 3."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    content: Line


@dataclass(frozen=True)
class Bullets:
    """A bulleted list."""

    items: Sequence[Line]


@dataclass(frozen=True)
class Cards:
    """Key figures, each with a label, a value and a note."""

    items: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Table:
    """A table; `align` has one letter per column, `l` or `r`."""

    header: Sequence[str]
    align: str
    rows: Sequence[Sequence[Line]]


@dataclass(frozen=True)
class Figure:
    """A plot: an SVG file, its alternative text and its caption."""

    path: Path
    alt: str
    caption: str


Block: TypeAlias = Heading | Paragraph | Bullets | Cards | Table | Figure


def to_markdown(blocks: Sequence[Block], *, folder: Path) -> str:
    """Return the report as Markdown; plots are linked relative to `folder`."""
    return "\n\n".join(_markdown_block(block, folder) for block in blocks) + "\n"


def _markdown_block(block: Block, folder: Path) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_markdown(line(text))}"
        case Paragraph(content):
            return _markdown(content)
        case Bullets(items):
            return "\n".join(f"- {_markdown(item)}" for item in items)
        case Cards(items):
            return "\n".join(
                f"- {_markdown(line(label, ': ', Strong(value), f' ({note})'))}"
                for label, value, note in items
            )
        case Table(header, align, rows):
            marks = ["---:" if side == "r" else "---" for side in align]
            cells = [[_markdown(line(title)) for title in header], marks]
            cells += [[_markdown(cell) for cell in row] for row in rows]
            return "\n".join(f"| {' | '.join(row)} |" for row in cells)
        case Figure(path, alt, caption):
            link = path.relative_to(folder).as_posix()
            return f"![{_markdown(line(alt))}]({link})\n\n{_markdown(line(caption))}"


def _markdown(content: Line) -> str:
    return "".join(_markdown_inline(part) for part in content)


def _markdown_inline(part: Inline) -> str:
    match part:
        case Strong(text):
            return f"**{_escape(text)}**"
        case Code(text):
            return f"`{text}`"
        case Chip(text, _):
            return _escape(text)
        case str(text):
            return _escape(text)


def _escape(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|~#&$])", r"\\\1", " ".join(text.splitlines()))


def to_html(blocks: Sequence[Block], *, title: str) -> str:
    """Return the report as one HTML page that needs no other file."""
    style = Path(__file__).with_name("report.css").read_text("utf-8")
    body = "\n".join(_html_block(block) for block in blocks)
    return (
        "<!doctype html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _html_block(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Paragraph(content):
            return f"<p>{_html(content)}</p>"
        case Bullets(items):
            points = "".join(f"<li>{_html(item)}</li>\n" for item in items)
            return f"<ul>\n{points}</ul>"
        case Cards(items):
            cards = "".join(
                f'<div class="card"><div class="label">{html.escape(label)}</div>'
                f'<div class="value">{html.escape(value)}</div>'
                f'<div class="note">{html.escape(note)}</div></div>\n'
                for label, value, note in items
            )
            return f'<div class="cards">\n{cards}</div>'
        case Table(header, align, rows):
            titles = _html_row("th", [line(title) for title in header], align)
            cells = "\n".join(_html_row("td", row, align) for row in rows)
            return (
                f'<div class="table"><table>\n<thead>{titles}</thead>\n'
                f"<tbody>\n{cells}\n</tbody>\n</table></div>"
            )
        case Figure(path, alt, caption):
            data = base64.b64encode(path.read_bytes()).decode("ascii")
            return (
                f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{html.escape(alt)}">'
                f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            )


def _html_row(tag: str, cells: Sequence[Line], align: str) -> str:
    kinds = ("text" if side == "l" else "number" for side in align)
    filled = (
        f'<{tag} class="{kind}">{_html(cell)}</{tag}>'
        for kind, cell in zip(kinds, cells, strict=True)
    )
    return f"<tr>{''.join(filled)}</tr>"


def _html(content: Line) -> str:
    return "".join(_html_inline(part) for part in content)


def _html_inline(part: Inline) -> str:
    match part:
        case Strong(text):
            return f"<strong>{html.escape(text)}</strong>"
        case Code(text):
            return f"<code>{html.escape(text)}</code>"
        case Chip(text, kind):
            return f'<span class="chip {kind}">{html.escape(text)}</span>'
        case str(text):
            return html.escape(text)
