"""Random bytes and tables on the command line: no traceback, and every row accounted for."""

import csv
import io
import json
import re
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from textrnn.cli import main

MODEL = str(Path(__file__).parent / "fixtures" / "model")
FORMATS = ("csv", "tsv", "jsonl", "parquet", "fasttext", "lines")
SMALL = ["--epochs", "1", "--hidden-size", "2", "--embedding-size", "2", "--ngram-order", "0"]
SMALL += ["--device", "cpu", "--quiet"]
PIECES = st.sampled_from(
    [
        *(b"text", b"label", b"oil falls", b"business", b"sports", b"__label__a ", b"sep=;"),
        *(
            b",",
            b";",
            b"\t",
            b'"',
            b"\\",
            b"\n",
            b"\r",
            b"\r\n",
            b"\0",
            b"\xff\xfe",
            b"\xef\xbb\xbf",
        ),
        *(
            b"\xe9",
            b"\xf0\x9f\x98\x80",
            b"\x1f\x8b\x08",
            b"PK\x03\x04",
            b"PAR1",
            b"{",
            b"}",
            b"[1]",
        ),
        *(b'{"text": "a", "label": "sports"}', b'{"text": "\\ud800", "label": [0, "x"]}', b"null"),
        *(b"1e999", b"NaN", b"9" * 5000, b"text,label\n", b"text\tlabel\n", b"\xe2\x80\xa8"),
    ]
)
FILES = st.lists(PIECES | st.binary(max_size=4), max_size=12).map(b"".join)


def run(*arguments: object, stdin=b""):
    """Run the command line: exit code, output, errors."""
    output, errors = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with (
        redirect_stdout(output),
        redirect_stderr(errors),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
    ):
        code = main([str(argument) for argument in arguments])
    return code, output.buffer.getvalue().decode(), errors.getvalue()


def check(code, errors):
    """Check the exit code, and that an error is told."""
    assert code in {0, 1}
    assert code == 0 or "textrnn: " in errors


@settings(max_examples=60)
@given(FILES, st.sampled_from(FORMATS), st.lists(st.sampled_from([0, 1, 2, 3]), unique=True))
def test_any_bytes_are_answered_or_refused(content, form, chosen):
    """Whatever the format, the encoding and the options."""
    options = [["--skip-bad-rows"], ["--no-header"], ["--encoding", "cp1252"], ["--delimiter", ";"]]
    given_options = [part for index in chosen for part in options[index]]
    if "--no-header" in given_options:
        given_options += ["--text-column", "1"]
    with_format = ["--format", form, *given_options]
    code, output, errors = run("evaluate", MODEL, "-", *with_format, "--json", stdin=content)
    check(code, errors)
    assert code == 1 or json.loads(output)["classes"]
    with_format = [option for option in with_format if option != "--skip-bad-rows"]
    code, output, errors = run("predict", MODEL, "-", *with_format, stdin=content)
    check(code, errors)
    assert set(output.split()) <= {"business", "sports"}
    if form == "lines" and code == 0 and not re.search(b"\\r|[\x80-\xff\x1f]|\\0", content):
        assert output.count("\n") == len(content.splitlines())


CELLS = st.text(st.sampled_from("ab \"\\',;\t") | st.characters(codec="utf-8"), max_size=4)
TABLES = st.lists(st.tuples(CELLS, CELLS | st.sampled_from("xy")), min_size=1, max_size=9)


@settings(max_examples=12)
@given(TABLES, st.sampled_from(["csv", "tsv", "jsonl"]), st.sampled_from(["utf-8", "utf-16"]))
def test_rows_learned_from_and_left_out_are_all_rows(rows, form, encoding):
    """Training, evaluation and prediction count alike."""
    rows = [("oil", "x"), ("goal", "y"), *rows]
    content = io.StringIO(newline="")
    if form == "jsonl":
        content.writelines(
            json.dumps({"text": text, "label": label}) + "\n" for text, label in rows
        )
    elif form == "tsv":
        rows = [tuple(re.sub("[\r\n]", " ", cell) for cell in row) for row in rows]
        content.writelines("\t".join(row) + "\n" for row in [("text", "label"), *rows])
    else:
        csv.writer(content).writerows([("text", "label"), *rows])
        content.write('"never closed,x\n')
        rows.append(("never closed", "x"))
    with tempfile.TemporaryDirectory() as folder:
        table, model = Path(folder, f"a.{form}"), Path(folder, "model")
        table.write_bytes(content.getvalue().encode(encoding))
        command = [
            "train",
            "--train",
            table,
            "--output",
            model,
            "--skip-bad-rows",
            "--json",
            *SMALL,
        ]
        code, output, errors = run(*command)
        check(code, errors)
        assert code == 0
        facts = json.loads(output)
        assert facts["train_texts"] + facts["eval_texts"] + facts["left_out"] == len(rows)
        code, output, _ = run("evaluate", model, table, "--skip-bad-rows", "--json")
        scores = json.loads(output)["classes"]
        assert code == 0
        assert sum(score["support"] for score in scores) == facts["train_texts"]
        code, output, errors = run("predict", model, table)
        check(code, errors)
        if not facts["left_out"]:
            assert (code, output.count("\n")) == (0, len(rows))
