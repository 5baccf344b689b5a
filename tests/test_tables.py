"""Tables, fastText files and plain lines: texts, labels and invalid rows."""

import csv
import gzip
import io
import json
import re
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textrnn.data.tables import BadRow, Layout, Row, format_of, read_plain, read_rows
from textrnn.errors import (
    CorruptFileError,
    InvalidValueError,
    MissingDependencyError,
    MissingKeyError,
)

# Letters, what CSV and JSON treat specially, and no half of a surrogate pair.
STRINGS = st.text(st.sampled_from("ab \t\",;'\\\n\u2028é€😀") | st.characters(codec="utf-8"))
LABELS = STRINGS.map(str.strip).filter(bool)


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
    """All other characters are ordinary, quotation marks too, and a line is a row."""
    texts = ["a, b", '"ok see you', '"fine" he said', 'a 24" screen"', '"', "a\rb", "x"]
    data = "text\tlabel\r\n" + "".join(f"{text}\tx\r\n" for text in texts)
    assert rows_of(data, "tsv") == [Row(i, text, "x") for i, text in enumerate(texts, 2)]


def test_a_tsv_file_with_csv_quoting_is_recognized():
    """The message tells how to read it."""
    with pytest.raises(MissingKeyError, match="TSV has no quotation marks: is it CSV with tabs"):
        rows_of('"text"\t"label"\n"a"\t"x"\n', "tsv")
    assert pairs(rows_of('"text"\t"label"\n"a"\t"x"\n', "csv", delimiter="\t")) == [("a", "x")]


def test_a_file_without_a_header_has_numbered_columns():
    """Columns count from 1, and several columns make one text."""
    data = '"3","Oil soars","Prices rise."\n'
    rows = rows_of(data, header=False, text_columns=("2", "3"), label_columns=("1",))
    assert rows == [Row(1, "Oil soars Prices rise.", "3")]


def test_csv_fields_may_have_another_delimiter():
    """Commas are ordinary characters then, too."""
    assert pairs(rows_of("text;label\na, b;x\n", delimiter=";")) == [("a, b", "x")]


def test_the_line_with_which_excel_names_the_delimiter_is_read():
    """A delimiter that is given takes precedence."""
    data = 'sep=;\r\ntext;label\r\n"a;b";x\r\n'
    assert rows_of(data) == rows_of(data, delimiter=";") == [Row(3, "a;b", "x")]
    assert pairs(rows_of("sep=;\ntext,label\na,x\n", delimiter=",")) == [("a", "x")]
    assert rows_of('"sep=|"\na|x\n', header=False, text_columns="1", label_columns="2") == [
        Row(2, "a", "x")
    ]


def test_a_quotation_mark_that_never_closes_spoils_one_row():
    """The lines after it are rows."""
    data = 'text,label\na,x\n"b,x\nc,x\n"d\ne",x\nf,x\n'
    rows = rows_of(data)
    assert rows[1] == BadRow(3, "it is not CSV (',' expected after '\"')")
    assert rows[:1] + rows[2:] == [
        Row(2, "a", "x"),
        Row(4, "c", "x"),
        Row(5, "d\ne", "x"),
        Row(7, "f", "x"),
    ]
    more = "".join(f"{i},x\n" for i in range(1000))
    rows = rows_of(f'text,label\n"a,x\n{more}')
    assert rows[0] == BadRow(2, "it is not CSV (a quotation mark is never closed)")
    assert rows[1:] == [Row(i + 3, str(i), "x") for i in range(1000)]


def test_a_record_has_a_limited_length(monkeypatch):
    """A quotation mark that closes far away is not searched for in the whole file."""
    monkeypatch.setattr("textrnn.data.tables._MAX_RECORD", 10)
    rows = rows_of('text,label\n"a\n12345\n",x\n"b\n123\n",x\n"c,x\n123456,x\nd,x\ne",x\n')
    assert [row.line for row in rows if isinstance(row, BadRow)] == [8]
    assert [row.text for row in rows if isinstance(row, Row)] == [
        "a\n12345\n",
        "b\n123\n",
        "123456",
        "d",
        'e"',
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (r'"he said \"hi\"",x', "must be doubled, not escaped by a backslash"),
        ('"a" b,x', "',' expected after '\"'"),
        ('a\rb,"x"', "a carriage return outside of quotation marks"),
    ],
)
def test_wrong_quotation_marks_are_explained(line, problem):
    """The reason tells what CSV expects."""
    (row,) = rows_of(f"text,label\n{line}\n")
    assert row.line == 2
    assert problem in row.reason


def test_a_header_that_is_not_csv_is_refused():
    """The next line is not taken for it."""
    with pytest.raises(CorruptFileError, match=r"^the file:1: it is not CSV \(a quotation mark is"):
        rows_of('text,"label\na,x\n')


PLAIN_ROWS = st.lists(st.tuples(st.text("ab\\' ", max_size=4), st.sampled_from("xy")))
DAMAGED = ['"', '"a', '"a,x', 'a,"x', '"a"b,x', '"a\\"b",x', '"""']


@given(PLAIN_ROWS, PLAIN_ROWS, st.sampled_from(DAMAGED))
def test_one_damaged_line_costs_one_row(before, after, damaged):
    """All others are read, wherever it stands."""
    lines = [f"{text},{label}" for text, label in before]
    lines += [damaged, *(f"{text},{label}" for text, label in after)]
    rows = rows_of("text,label\n" + "\n".join(lines))
    assert pairs(rows[: len(before)]) == before
    assert isinstance(rows[len(before)], BadRow)
    assert pairs(rows[len(before) + 1 :]) == after


@given(st.lists(st.tuples(st.text("ab\"', ", max_size=4), st.sampled_from("xy"))))
def test_every_line_of_a_tsv_file_is_a_row(records):
    """Nothing connects two lines."""
    data = "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in records)
    assert pairs(rows_of(data, "tsv")) == records


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_file_with_another_delimiter_is_recognized(mark):
    """The message suggests it if the whole header is one name."""
    message = f"there are: {f'text{mark}label'!r}. Is {mark!r} the delimiter"
    with pytest.raises(MissingKeyError, match=re.escape(message)):
        rows_of(f"text{mark}label\na{mark}b\n")


def test_a_header_that_is_not_utf_8_is_refused():
    """The reason is the encoding, not a missing column."""
    data = "t\xe9xt,label\na,b\n".encode("latin-1")
    assert rows_of(data) == [BadRow(1, "it is not in UTF-8", undecoded=True)]
    assert pairs(rows_of(data, text_columns=["t\xe9xt"], encoding="latin-1")) == [("a", "b")]
    # The names of other columns don't matter.
    data = "text,label,\xe9\na,b,c\n".encode("latin-1")
    assert pairs(rows_of(data)) == [("a", "b")]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "fasttext"])
def test_tables_may_have_any_encoding(form):
    """Bytes that the encoding does not have make a bad row."""
    data = {
        "csv": "text,label\ncaf\xe9,\xe4\n",
        "tsv": "text\tlabel\ncaf\xe9\t\xe4\n",
        "jsonl": '\n{"text": "caf\xe9", "label": "\xe4"}\n',
        "fasttext": "\n__label__\xe4 caf\xe9\n",
    }[form]
    label = ["\xe4"] if form == "fasttext" else "\xe4"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert rows_of(data.encode(encoding), form) == [Row(2, "caf\xe9", label)]
    for encoding in ("cp1252", "utf-16-be"):
        rows = rows_of(data.encode(encoding), form, encoding=encoding)
        assert rows == [Row(2, "caf\xe9", label)]
    latin = data.encode("latin-1")
    for encoding, name in ((None, "UTF-8"), ("ascii", "ascii")):
        rows = rows_of(latin, form, encoding=encoding)
        assert rows == [BadRow(2, f"it is not in {name}", undecoded=True)]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "fasttext"])
def test_tables_may_have_any_line_ends(form):
    """Carriage returns alone end lines if there are no line feeds."""
    data = {
        "csv": 'text,label\na,x\n"b\nb",y\n',
        "tsv": "text\tlabel\na\tx\nb\ty\n",
        "jsonl": '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n',
        "fasttext": "__label__x a\n__label__y b\n",
    }[form]
    expected = rows_of(data, form)
    assert len(expected) == 2
    assert rows_of(data.replace("\n", "\r"), form) == expected
    if form != "csv":
        assert rows_of(data.replace("\n", "\r\n"), form) == expected


def test_surrogates_that_json_escapes_are_no_invalid_bytes():
    """They are halves of characters."""
    data = r'{"text": "\udc80", "label": "\ud800"}'
    assert rows_of(data, "jsonl") == [Row(1, "\udc80", "\ud800")]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_two_columns_of_one_name_are_refused(form):
    """Other columns may be alike."""
    cells = [["a"], ["x"], ["b"], ["c"]]
    same, other = ["text", "label", "text", ""], ["text", "label", "", ""]
    for names in (same, other):
        if form == "csv":
            data = f"{','.join(names)}\na,x,b,c\n".encode()
        else:
            buffer = io.BytesIO()
            pq.write_table(pa.table(cells, names=names), buffer)
            data = buffer.getvalue()
        if names == other:
            assert pairs(rows_of(data, form)) == [("a", "x")]
        else:
            with pytest.raises(CorruptFileError, match="the file has 2 columns 'text'"):
                rows_of(data, form)


def test_several_label_columns_hold_zeros_and_ones():
    """The names of the columns are the labels."""
    layout = {"label_columns": ("rude", "loud", "odd")}
    data = "text,rude,loud,odd\na,1,0,1.0\nb,0,0.0,0\nc,True, false ,TRUE\nd,-1,0,0\ne,,0,0\n"
    assert rows_of(data, **layout) == [
        Row(2, "a", ["rude", "odd"]),
        Row(3, "b", []),
        Row(4, "c", ["rude", "odd"]),
        BadRow(5, "'rude' is not 0 or 1, but '-1'"),
        BadRow(6, "'rude' is not 0 or 1, but ''"),
    ]
    columns = {"text": ["a", "b"], "rude": [1, 0], "loud": [True, False], "odd": [0.0, 1.0]}
    rows = rows_of(parquet(columns), "parquet", **layout)
    assert pairs(rows) == [("a", ["rude", "loud"]), ("b", ["odd"])]


def test_labels_have_no_blanks_around_them():
    """A blank label is missing."""
    assert [row.label for row in rows_of("text,label\na, x y \nb,\tx\u3000\n")] == ["x y", "x"]
    assert rows_of("text,label\na,  \n") == [BadRow(2, "the label is missing")]
    rows = rows_of('{"text": "a", "label": [" x", 3]}\n{"text": "a", "label": [" "]}\n', "jsonl")
    assert rows == [Row(1, "a", ["x", 3]), BadRow(2, "[' '] is not a label")]


def test_fasttext_files_have_labels_among_the_words():
    """Words that begin with `__label__` are labels, wherever they stand."""
    data = "__label__x a b\n\n__label__x __label__y-1\ta\r\na __label__z b__label__\nplain\n"
    assert rows_of(data, "fasttext") == [
        Row(1, "a b", ["x"]),
        Row(3, "a", ["x", "y-1"]),
        Row(4, "a b__label__", ["z"]),
        BadRow(5, "it has no label, such as __label__NAME"),
    ]
    texts = [row.text for row in rows_of(data, "fasttext", label_columns=())]
    assert texts == ["a b", "a", "a b__label__", "plain"]


def test_long_lists_of_columns_are_shortened():
    """A message stays readable."""
    header = ",".join(f"column{i}" for i in range(1000))
    with pytest.raises(MissingKeyError, match=r"'column19', \.\.\.\.$"):
        rows_of(header)


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
    assert rows_of("text\na\n", label_columns=()) == [Row(2, "a", None)]


def test_an_empty_text_is_a_text():
    """Only a missing text is invalid."""
    assert pairs(rows_of("text,label\n,x\n")) == [("", "x")]


@pytest.mark.parametrize(
    ("form", "data", "line", "reason"),
    [
        ("csv", "text,label\na\n", 2, "it has 1 fields, not 2"),
        ("csv", 'text,label\n"a"b,x\n', 2, "it is not CSV"),
        (
            "csv",
            'text,label\na,x\n"b,x\n',
            3,
            r"it is not CSV \(a quotation mark is never closed\)",
        ),
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
        ("jsonl", '{"text": "a", "label": 1, "text": "b"}', 1, "it has the key 'text' twice"),
        ("jsonl", '{"text": "a", "label": 1, "x": {"y": 1, "y": 2}}', 1, "it has the key 'y' twi"),
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


def test_parquet_files_may_come_through_a_pipe():
    """They are read into memory."""

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    data = parquet({"text": ["a"], "label": ["x"]})
    assert pairs(read_rows(Pipe(data), "parquet", Layout())) == [("a", "x")]


def test_parquet_strings_that_are_not_utf_8_are_refused():
    """The message names the file."""
    offsets, data = pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")
    damaged = pa.Array.from_buffers(pa.string(), 1, [None, offsets, data])
    with pytest.raises(CorruptFileError, match=r"the file can't be read as Parquet: .*utf-8"):
        rows_of(parquet({"text": damaged, "label": ["x"]}), "parquet")


def test_a_text_may_exceed_the_default_limit_of_the_csv_module():
    """The default is 131,072 characters."""
    assert len(rows_of(f"text,label\n{'x' * 200_000},a\n")[0].text) == 200_000


def test_empty_tables_have_no_rows():
    """An empty file and a header alone are not errors."""
    assert rows_of("") == rows_of("text,label\n") == rows_of("", "jsonl") == []


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.csv", "csv"),
        ("b.TSV", "tsv"),
        ("c.jsonl", "jsonl"),
        ("x/d.ndjson", "jsonl"),
        ("e.csv.gz", "csv"),
        ("f.txt.GZ", "lines"),
    ],
)
def test_the_suffix_determines_the_format(name, form):
    """Its case does not matter."""
    assert format_of(name) == form


@pytest.mark.parametrize("name", ["a.xlsx", "a", "csv", "-", "a.gz", "a.parquet.gz"])
def test_an_unknown_suffix_is_refused(name):
    """The message lists the known ones."""
    with pytest.raises(InvalidValueError, match=r"whose name ends in \.csv, \.tsv, .* but got"):
        format_of(name)


@given(st.lists(st.tuples(STRINGS, LABELS), min_size=1))
def test_files_written_by_pandas_are_read(table):
    """CSV and JSONL of any strings are read unchanged."""
    frame = pd.DataFrame(table, columns=["text", "label"])
    data = frame.to_csv(index=False, quoting=csv.QUOTE_ALL)
    assert pairs(rows_of(data)) == table
    data = frame.to_csv(index=False, sep="\t", quoting=csv.QUOTE_ALL)
    assert pairs(rows_of(data, delimiter="\t")) == table
    data = frame.to_json(orient="records", lines=True, force_ascii=False)
    assert pairs(rows_of(data, "jsonl")) == table
    assert pairs(rows_of(gzip.compress(data.encode()), "jsonl")) == table


@given(st.lists(st.tuples(STRINGS, LABELS), min_size=1))
def test_files_written_by_the_csv_module_are_read(table):
    """Fields that are quoted only if needed are read unchanged."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("text", "label"), *table])
    assert pairs(rows_of(buffer.getvalue())) == table


def test_a_line_of_a_fasttext_file_is_a_text():
    """Without its labels; other lines are texts as they are."""
    (rows,) = read_plain(io.BytesIO(b"__label__x __label__y a b\n a __label__x\r\n\n"))
    assert [row.text for row in rows] == ["a b", " a __label__x", ""]


def test_a_plain_line_that_is_not_utf8_is_invalid():
    """The lines before and after it are read."""
    (rows,) = read_plain(io.BytesIO(b"a\n\xff\nb\n"))
    bad = BadRow(2, "it is not in UTF-8", undecoded=True)
    assert rows == [Row(1, "a", None), bad, Row(3, "b", None)]
    (rows,) = read_plain(io.BytesIO(b"a\n\xff\nb\n"), "latin-1")
    assert [row.text for row in rows] == ["a", "\xff", "b"]
