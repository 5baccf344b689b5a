"""Tables and plain lines: texts, labels and invalid rows."""

import csv
import io
import itertools
import json
import re
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textrnn.data.tables import BadRow, Layout, Row, format_of, read_lines, read_rows
from textrnn.errors import (
    CorruptFileError,
    InvalidValueError,
    MissingDependencyError,
    MissingKeyError,
)

# Letters, what CSV and JSON treat specially, and no half of a surrogate pair.
STRINGS = st.text(st.sampled_from("ab \t\",;'\\\n\u2028é€😀") | st.characters(codec="utf-8"))


def rows_of(data, form="csv", **layout):
    """Return the rows of a table given as bytes or as a string."""
    data = data.encode() if isinstance(data, str) else data
    return list(read_rows(io.BytesIO(data), form, Layout(**layout)))


def pairs(rows):
    """Return pairs of text and label."""
    return [(row.text, row.label) for row in rows]


def parquet(columns):
    """Return a Parquet file as bytes."""
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def test_a_csv_file_is_read_by_its_header():
    """Columns have any order, quoted cells may have line ends, and blank lines are left out."""
    data = '\ufefflabel,id,text\r\nspam,1,"Cheap, ""pills""\nhere"\r\n\r\nham,2,Hello\r\n'
    assert rows_of(data) == [
        Row(2, 'Cheap, "pills"\nhere', "spam"),
        Row(5, "Hello", "ham"),
    ]


def test_tsv_fields_are_separated_by_tabs():
    """Commas are ordinary characters."""
    assert pairs(rows_of("text\tlabel\na, b\tx\n", "tsv")) == [("a, b", "x")]


def test_a_file_without_a_header_has_numbered_columns():
    """Columns count from 1, and several columns make one text."""
    data = '"3","Oil soars","Prices rise."\n'
    rows = rows_of(data, header=False, text_columns=("2", "3"), label_column="1")
    assert rows == [Row(1, "Oil soars Prices rise.", "3")]


def test_csv_fields_may_have_another_delimiter():
    """Commas are ordinary characters then, too."""
    assert pairs(rows_of("text;label\na, b;x\n", delimiter=";")) == [("a, b", "x")]


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_file_with_another_delimiter_is_recognized(mark):
    """The message suggests it if the whole header is one name."""
    message = f"there are: {f'text{mark}label'!r}. Is {mark!r} the delimiter"
    with pytest.raises(MissingKeyError, match=re.escape(message)):
        rows_of(f"text{mark}label\na{mark}b\n")


def test_a_header_that_is_not_utf_8_is_refused():
    """The message is about the encoding, not about missing columns."""
    for data in ("text,label\na,b\n".encode("utf-16"), "t\xe9xt,label\na,b\n".encode("latin-1")):
        with pytest.raises(CorruptFileError, match=r"^the file:1: it is not in UTF-8"):
            rows_of(data)
    # The names of other columns don't matter.
    data = "text,label,\xe9\na,b,c\n".encode("latin-1")
    assert pairs(rows_of(data)) == [("a", "b")]


def test_jsonl_keeps_the_types_of_labels():
    """Strings, numbers, booleans and lists of them are labels."""
    values = ["a", 3, True, 0.5, ["a", 3], []]
    data = "\n".join(json.dumps({"label": value, "text": "x", "more": 1}) for value in values)
    assert [row.label for row in rows_of(data + "\n\n", "jsonl")] == values


def test_parquet_rows_keep_their_order():
    """Row numbers continue from block to block."""
    texts = [f"text {i}" for i in range(3000)]
    data = parquet({"label": list(range(3000)), "text": texts, "other": [None] * 3000})
    assert rows_of(data, "parquet") == [Row(i + 1, texts[i], i) for i in range(3000)]


def test_parquet_columns_of_lists_are_several_labels():
    """A list in a cell has all labels of a text."""
    data = parquet({"text": ["a", "b"], "label": [["x", "y"], []]})
    assert pairs(rows_of(data, "parquet")) == [("a", ["x", "y"]), ("b", [])]


def test_a_separator_splits_a_cell_into_labels():
    """Spaces around labels are removed, and an empty cell has no labels."""
    rows = rows_of('text,label\na,x; y\nb,\nc,";"\n', label_separator=";")
    assert [row.label for row in rows] == [["x", "y"], [], []]


def test_the_label_column_is_optional():
    """Texts to predict have no labels."""
    assert rows_of("text\na\n", label_column=None) == [Row(2, "a", None)]


def test_an_empty_text_is_a_text():
    """Only a missing text is invalid."""
    assert pairs(rows_of("text,label\n,x\n")) == [("", "x")]


@pytest.mark.parametrize(
    ("form", "data", "line", "reason"),
    [
        ("csv", "text,label\na\n", 2, "it has 1 fields, not 2"),
        ("csv", 'text,label\n"a"b,x\n', 2, "it is not CSV"),
        ("csv", 'text,label\na,x\n"b,x\n', 3, r"it is not CSV \(unexpected end of data\)"),
        ("csv", "text,label\na,\n", 2, "the label is missing"),
        ("csv", b"text,label\n\xff,x\n", 2, "it is not in UTF-8"),
        ("csv", b"text,label\na,\xe4\n", 2, "it is not in UTF-8"),
        ("tsv", "text\tlabel\na\tb\tc\n", 2, "it has 3 fields, not 2"),
        ("jsonl", "{\n", 1, "it is not JSON"),
        ("jsonl", "[" * 100_000, 1, "it is not JSON"),
        ("jsonl", "\n[1]\n", 2, r"it is not a JSON object, but \[1\]"),
        ("jsonl", '{"text": "a", "y": 1}', 1, "it has no 'label'; it has: 'text', 'y'"),
        ("jsonl", "{}", 1, "it has no 'text'; it has: none"),
        ("jsonl", '{"text": null, "label": 1}', 1, "'text' is missing"),
        ("jsonl", '{"text": 3, "label": 1}', 1, "'text' is not a string, but 3"),
        ("jsonl", '{"text": "a", "label": null}', 1, "the label is missing"),
        ("jsonl", '{"text": "a", "label": {"b": 1}}', 1, r"\{'b': 1\} is not a label"),
        ("jsonl", '{"text": "a", "label": [["b"]]}', 1, r"\[\['b'\]\] is not a label"),
        ("jsonl", '{"text": "a", "label": NaN}', 1, "nan is not a label"),
        ("parquet", parquet({"text": ["a", None], "label": [1, 1]}), 2, "'text' is missing"),
        ("parquet", parquet({"text": ["a"], "label": pa.array([None], pa.int8())}), 1, "the label"),
    ],
)
def test_an_invalid_row_has_a_line_and_a_reason(form, data, line, reason):
    """It takes the place of the row."""
    rows = rows_of(data, form)
    bad = [row for row in rows if isinstance(row, BadRow)]
    assert [row.line for row in bad] == [line]
    with pytest.raises(CorruptFileError, match=f"^{reason}"):
        raise CorruptFileError(bad[0].reason)


def test_rows_after_an_invalid_one_are_read():
    """An invalid row does not end the table."""
    data = 'text,label\n"a"b,x\nc,x\nd\ne,x\n'
    assert [type(row) for row in rows_of(data)] == [BadRow, Row, BadRow, Row]


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet"])
def test_a_missing_column_is_refused(form):
    """The message lists the columns of the table."""
    separator = "\t" if form == "tsv" else ","
    data = parquet({"body": ["a"], "class": [1]}) if form == "parquet" else f"body{separator}class"
    with pytest.raises(MissingKeyError, match="no column 'text'; there are: 'body', 'class'"):
        rows_of(data, form)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"text,label\n", b"PAR1" + b"\0" * 50 + b"PAR1"])
def test_damaged_parquet_files_are_refused(data):
    """The message names the file and the format."""
    with pytest.raises(CorruptFileError, match="the file can't be read as Parquet"):
        rows_of(data, "parquet")


def test_parquet_needs_pyarrow(monkeypatch):
    """The message names the extra that installs it."""
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'textrnn\[datasets\]'"):
        rows_of(b"", "parquet")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_line_that_is_too_long_is_refused(form, monkeypatch):
    """A file that is not text does not fill the memory."""
    monkeypatch.setattr("textrnn.data.tables._MAX_LINE", 100)
    with pytest.raises(CorruptFileError, match="the file:2: the line is longer than 100 bytes"):
        rows_of("text,label\n" + "x" * 101, form) if form == "csv" else rows_of(
            "\n" + "x" * 101, form
        )


def test_a_text_may_exceed_the_default_limit_of_the_csv_module():
    """The default is 131,072 characters."""
    assert len(rows_of(f"text,label\n{'x' * 200_000},a\n")[0].text) == 200_000


def test_empty_tables_have_no_rows():
    """An empty file and a header alone are not errors."""
    assert rows_of("") == rows_of("text,label\n") == rows_of("", "jsonl") == []


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.csv", "csv"), ("b.TSV", "tsv"), ("c.jsonl", "jsonl"), ("x/d.ndjson", "jsonl")],
)
def test_the_suffix_determines_the_format(name, form):
    """Its case does not matter."""
    assert format_of(name) == form


@pytest.mark.parametrize("name", ["a.xlsx", "a", "csv", "-"])
def test_an_unknown_suffix_is_refused(name):
    """The message lists the known ones."""
    with pytest.raises(InvalidValueError, match=r"whose name ends in \.csv, \.tsv, .* but got"):
        format_of(name)


@given(st.lists(st.tuples(STRINGS, STRINGS.filter(bool)), min_size=1))
def test_files_written_by_pandas_are_read(table):
    """CSV, TSV and JSONL of any strings are read unchanged."""
    frame = pd.DataFrame(table, columns=["text", "label"])
    writers = {
        "csv": frame.to_csv(index=False, quoting=csv.QUOTE_ALL),
        "tsv": frame.to_csv(index=False, sep="\t", quoting=csv.QUOTE_ALL),
        "jsonl": frame.to_json(orient="records", lines=True, force_ascii=False),
    }
    for form, data in writers.items():
        assert pairs(rows_of(data, form)) == table


@given(st.lists(st.tuples(STRINGS, STRINGS.filter(bool)), min_size=1))
def test_files_written_by_the_csv_module_are_read(table):
    """Fields that are quoted only if needed are read unchanged."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("text", "label"), *table])
    assert pairs(rows_of(buffer.getvalue())) == table


class Pipe(io.RawIOBase):
    """A stream that returns its bytes in the pieces that were written."""

    def __init__(self, pieces) -> None:
        self.pieces = list(pieces)

    def read1(self, size=-1):
        """Return the next piece."""
        assert size > 0
        return self.pieces.pop(0) if self.pieces else b""


def test_lines_are_yielded_as_soon_as_possible():
    """A reader of a pipe does not wait for further lines."""
    pipe = Pipe([b"a\nb", b"c\r\n", b"\n", b"d"])
    texts = [[(row.line, row.text) for row in part] for part in read_lines(pipe)]
    assert texts == [[(1, "a")], [(2, "bc")], [(3, "")], [(4, "d")]]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\ufeff"))), st.data())
def test_lines_do_not_depend_on_the_pieces(lines, data):
    """Pieces may even end inside a character."""
    whole = "".join(f"{line}\n" for line in lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    ends = [0, *cuts, len(whole)]
    pieces = [whole[a:b] for a, b in itertools.pairwise(ends) if b > a]
    found = [row for part in read_lines(Pipe(pieces)) for row in part]
    assert [row.text for row in found] == lines
    assert [row.line for row in found] == list(range(1, len(lines) + 1))


def test_a_line_that_is_not_utf8_is_invalid():
    """The lines before and after it are read."""
    (rows,) = read_lines(io.BytesIO(b"\xef\xbb\xbfa\n\xff\nb\n"))
    assert rows == [Row(1, "a", None), BadRow(2, "it is not in UTF-8"), Row(3, "b", None)]


def test_an_endless_plain_line_is_refused(monkeypatch):
    """It does not fill the memory."""
    monkeypatch.setattr("textrnn.data.tables._MAX_LINE", 5)
    with pytest.raises(CorruptFileError, match="the file:2: the line is longer than 5 bytes"):
        list(read_lines(Pipe([b"a\n", b"xxx", b"xxx"])))
