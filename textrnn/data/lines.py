"""Lines of text files and pipes: decompressed, decoded and split."""

import codecs
import re
import zlib
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from textrnn.errors import CorruptFileError, InvalidValueError, expected

__all__ = ["UNDECODED", "check_encoding", "read_lines", "stream_name"]

UNDECODED = re.compile("[\udc80-\udcff]")
"""The surrogates that invalid bytes are decoded to."""

_MAX_LINE = 64 * 2**20  # characters; a longer line is not text, and would fill the memory
_BURST = 2**16  # bytes that are read at a time, as many as a pipe holds
_GZIP = b"\x1f\x8b"
_MARKS = {  # byte order marks; that of UTF-16 begins one of UTF-32
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_NO_TEXT = {
    rb"PK\x03\x04": "a ZIP archive or an Excel workbook",
    rb"\xd0\xcf\x11\xe0": "an old Excel workbook",
    rb"PAR1[\x00-\x1f]": "a Parquet file",
    rb"BZh[1-9]1AY&SY": "compressed with bzip2",
    rb"\xfd7zXZ\x00": "compressed with xz",
    rb"\x28\xb5\x2f\xfd": "compressed with zstd",
}


def stream_name(stream: BinaryIO) -> str:
    """Return the name of a file for messages."""
    return str(getattr(stream, "name", "the file"))


def check_encoding(name: str) -> str:
    """Return the name of a text encoding if Python knows it."""
    rule = "the name of a text encoding, such as 'utf-8' or 'cp1252'"
    try:
        "a".encode(name)
        codecs.getincrementaldecoder(name)
    except (LookupError, TypeError, ValueError):
        raise InvalidValueError(expected("encoding", rule, name)) from None
    return name


def read_lines(stream: BinaryIO, encoding: str | None = None) -> Iterator[list[str]]:
    """Yield lists of lines without their line feeds, as soon as they can be read without waiting.

    Gzip and byte order marks are recognized. Otherwise, the encoding is UTF-8 by default, and
    bytes that it does not have become surrogates. A file without line feeds has carriage returns.
    """
    parts: list[str] = []  # of the unfinished line
    size, number, end = 0, 1, ""
    for text in _decoded(stream, encoding):
        parts.append(text)
        size += len(text)
        if not end and ("\n" in text or size > _MAX_LINE):
            end = "\n" if "\n" in text else "\r"
        if end and (end in text or size > _MAX_LINE):
            *lines, rest = "".join(parts).split(end)
            parts, size = [rest], len(rest)
            number += len(lines)
            if lines:
                yield lines
        if size > _MAX_LINE:
            problem = f"the line is longer than {_MAX_LINE} characters"
            raise CorruptFileError(f"{stream_name(stream)}:{number}: {problem}.")
    if rest := "".join(parts):
        yield [rest] if end else rest.removesuffix("\r").split("\r")


def _decoded(stream: BinaryIO, encoding: str | None) -> Iterator[str]:
    """Yield the pieces of a text without its byte order mark, none of them empty."""
    name = stream_name(stream)
    pieces = _pieces(stream)
    head = _head(pieces)
    if head.startswith(_GZIP):
        pieces = _inflated(chain([head], pieces), name)
        head = _head(pieces)
    for pattern, kind in _NO_TEXT.items():
        if re.match(pattern, head):
            raise CorruptFileError(f"{name} is {kind}, not a text file.")
    mark = next((mark for mark in _MARKS if head.startswith(mark)), None)
    if mark is None and encoding is None and re.match(rb"([^\0]\0){2}|(\0[^\0]){2}", head):
        order = "be" if head[0] == 0 else "le"
        raise CorruptFileError(
            f"{name} looks like UTF-16 without a byte order mark; name the encoding utf-16-{order}."
        )
    encoding = encoding or "utf-8" if mark is None else _MARKS[mark]
    # An escaped byte of UTF-16 would shift all that follows it.
    is_wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    errors = "strict" if is_wide else "surrogateescape"
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    first = True
    for data in chain([head], pieces, [b""]):
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeError as error:
            raise CorruptFileError(f"{name} is not in {encoding} ({error}).") from None
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        if text:
            yield text


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of a stream as they come."""
    # `read` would wait until a pipe has as much as was asked for.
    read = getattr(stream, "read1", stream.read)
    while data := read(_BURST):
        yield data


def _head(pieces: Iterator[bytes]) -> bytes:
    """Return the first piece, and more while it may be the beginning of a mark."""
    head = next(pieces, b"")
    while any(mark != head and mark.startswith(head) for mark in (_GZIP, *_MARKS)):
        if not (more := next(pieces, b"")):
            break
        head += more
    return head


def _inflated(pieces: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Yield the content of a gzip file in pieces of bounded size."""
    inflater = zlib.decompressobj(wbits=31)
    for piece in pieces:
        rest = piece
        while True:
            if inflater.eof:  # another member follows, or zeros that fill a block
                rest = rest.lstrip(b"\0")
                if not rest:
                    break
                inflater = zlib.decompressobj(wbits=31)
            try:
                data = inflater.decompress(rest, _BURST)
            except zlib.error as error:
                raise CorruptFileError(f"{name} is a damaged gzip file ({error}).") from None
            rest = inflater.unconsumed_tail or inflater.unused_data
            if data:
                yield data
            elif not rest:
                break
    if not inflater.eof:
        raise CorruptFileError(f"{name} is a gzip file that ends too early.")
