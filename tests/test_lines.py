"""Lines of text files and pipes: gzip, encodings, line ends and limits."""

import gzip
import io
import itertools
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textrnn.data.lines import UNDECODED, check_encoding, read_lines
from textrnn.errors import CorruptFileError, InvalidValueError


class Pipe(io.RawIOBase):
    """A stream that returns its bytes in the pieces that were written."""

    def __init__(self, pieces) -> None:
        self.pieces = list(pieces)

    def read1(self, size=-1):
        """Return the next piece."""
        assert size > 0
        return self.pieces.pop(0) if self.pieces else b""


def lines_of(data, encoding=None):
    """Return the lines of bytes."""
    return list(itertools.chain.from_iterable(read_lines(io.BytesIO(data), encoding)))


def test_lines_are_yielded_as_soon_as_possible():
    """A reader of a pipe does not wait for further lines."""
    pipe = Pipe([b"a\nb", b"c\r\n", b"\n", b"d"])
    assert list(read_lines(pipe)) == [["a"], ["bc\r"], [""], ["d"]]


LINES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\ufeff"), max_size=9))


@given(
    LINES,
    st.sampled_from([("utf-8", "\n"), ("utf-8-sig", "\r"), ("utf-16", "\n"), ("utf-32", "\r")]),
    st.booleans(),
    st.data(),
)
def test_lines_do_not_depend_on_the_pieces(lines, form, is_gzip, data):
    """Pieces may even end inside a character or a mark."""
    encoding, end = form
    whole = "".join(f"{line}{end}" for line in lines).encode(encoding)
    whole = gzip.compress(whole, mtime=0) if is_gzip else whole
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    pieces = [whole[a:b] for a, b in itertools.pairwise([0, *cuts, len(whole)]) if b > a]
    assert list(itertools.chain.from_iterable(read_lines(Pipe(pieces)))) == lines


def test_carriage_returns_end_lines_only_without_line_feeds():
    """Within lines that line feeds end, they are characters."""
    assert lines_of(b"a\rb\r\rc") == ["a", "b", "", "c"]
    assert lines_of(b"a\rb\r") == ["a", "b"]
    assert lines_of(b"a\rb\nc\r\n") == ["a\rb", "c\r"]


def test_long_files_without_line_feeds_are_read(monkeypatch):
    """What ends their lines is decided before they fill the memory."""
    monkeypatch.setattr("textrnn.data.lines._MAX_LINE", 20)
    monkeypatch.setattr("textrnn.data.lines._BURST", 8)
    lines = [f"line {i}" for i in range(9)]
    assert lines_of("\r".join(lines).encode()) == lines
    assert lines_of("\r".join([*lines, "a\nb"]).encode()) == [*lines, "a\nb"]


def test_an_endless_line_is_refused(monkeypatch):
    """It does not fill the memory."""
    monkeypatch.setattr("textrnn.data.lines._MAX_LINE", 5)
    with pytest.raises(CorruptFileError, match="the file:2: the line is longer than 5 characters"):
        list(read_lines(Pipe([b"a\n", b"xxx", b"xxx"])))
    with pytest.raises(CorruptFileError, match="the file:1: the line is longer than 5 characters"):
        lines_of(gzip.compress(b"x" * 10**6))


def test_other_line_separators_are_characters():
    """Unicode has several."""
    line = "a\u2028b\x0bc\x0cd\x1ce\x85f\0g"
    assert lines_of(f"{line}\n".encode()) == [line]


def test_bytes_of_another_encoding_are_marked():
    """They become surrogates; a mark takes precedence over the encoding."""
    (line,) = lines_of(b"caf\xe9")
    assert UNDECODED.findall(line) == ["\udce9"]
    assert lines_of(b"caf\xe9", "latin-1") == ["caf\xe9"]
    assert lines_of("caf\xe9".encode("utf-8-sig"), "latin-1") == ["caf\xe9"]
    assert lines_of("caf\xe9".encode("utf-16"), "latin-1") == ["caf\xe9"]


@pytest.mark.parametrize(
    ("data", "encoding", "message"),
    [
        (b"\xff\xfea\0b", None, "the file is not in utf-16"),
        (b"\xff\xfe\0\xd8a\0", None, "the file is not in utf-16"),
        (b"a\0b\0", None, "without a byte order mark; name the encoding utf-16-le"),
        (b"\0a\0b", None, "without a byte order mark; name the encoding utf-16-be"),
        (b"a\0b", "utf-16-le", "the file is not in utf-16-le"),
        (b"PK\x03\x04 ...", None, "the file is a ZIP archive or an Excel workbook, not a text"),
        (b"PAR1\x15\x04", "cp1252", "the file is a Parquet file"),
        (lzma.compress(b"a"), None, "the file is compressed with xz"),
        (
            gzip.compress(b"abc" * 99, mtime=0)[:-9],
            None,
            "the file is a gzip file that ends too early",
        ),
        (gzip.compress(b"a", mtime=0) + b"bcd", None, "the file is a damaged gzip file"),
    ],
)
def test_files_of_another_kind_are_named(data, encoding, message):
    """The message tells what they are."""
    with pytest.raises(CorruptFileError, match=message):
        lines_of(data, encoding)


def test_gzip_files_may_have_several_members():
    """And zeros at the end, as on tapes."""
    data = gzip.compress(b"a\nb") + gzip.compress(b"c\n")
    assert lines_of(data) == lines_of(data + b"\0" * 99) == ["a", "bc"]


@pytest.mark.parametrize("name", ["utf9", "hex", "rot13", "", "a\0b", "\udc80"])
def test_unknown_encodings_are_refused(name):
    """The message has examples."""
    with pytest.raises(InvalidValueError, match="`encoding` to be the name of a text encoding"):
        check_encoding(name)
    assert check_encoding("cp1252") == "cp1252"
