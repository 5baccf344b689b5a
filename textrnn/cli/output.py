"""Results of the command line: labels, JSON and tables, on standard output."""

import json
import re
import sys

__all__ = ["escaped", "printable", "to_json", "write"]

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # a terminal obeys them
_JSON_CONTROLS = re.compile(r"[\x7f-\x9f\u2028\u2029]")  # JSON escapes only the others


def write(result: object) -> None:
    """Write a result and a line feed to standard output, always in UTF-8."""
    if not (text := str(result)):
        return
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:  # a notebook's output takes strings only
        sys.stdout.write(f"{text}\n")
    else:
        buffer.write(f"{text}\n".encode("utf-8", "backslashreplace"))


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return JSON with all control characters escaped."""
    return escaped(json.dumps(value, indent=indent, ensure_ascii=False))


def escaped(text: str) -> str:
    """Escape the control characters that JSON leaves alone."""
    return _JSON_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def printable(label: object) -> str:
    """Return a label on one line, with control characters escaped."""
    text = str(label).replace("\\", "\\\\")
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
