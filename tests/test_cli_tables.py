"""The tables of the command line: columns, formats, encodings, bad rows and unknown labels."""

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, f1_score

from textrnn import TextClassifier
from textrnn.errors import InvalidValueError

ROOT = Path(__file__).parents[1]
MODEL = str(ROOT / "tests" / "fixtures" / "model")
TEXTS = ["oil prices soar", "the striker scores"] * 16
LABELS = ["business", "sports"] * 16
CSV = "label,text\n" + "".join(
    f"{label},{text}\n" for label, text in zip(LABELS, TEXTS, strict=True)
)
QUICK = ["--epochs", "1", "--hidden-size", "4", "--learning-rate", "0.02", "--device", "cpu"]
QUICK += ["--quiet"]


@pytest.fixture(name="train")
def _train(run_cli, tmp_path):
    """Return a function that trains on a table: exit code, messages and the model."""

    def train(name, content, *options: object):
        table, model = tmp_path / name, tmp_path / "model"
        table.write_bytes(content.encode() if isinstance(content, str) else content)
        code, _, errors = run_cli("train", "--train", table, "--output", model, *QUICK, *options)
        return code, errors, TextClassifier.load(model) if code == 0 else None

    return train


def evaluated(run_cli, *arguments: object):
    """Return the JSON report of `evaluate`."""
    code, output, _ = run_cli("evaluate", *arguments, "--json")
    assert code == 0
    return json.loads(output)


def num_texts(report):
    """Return the number of texts of a report."""
    return sum(scores["support"] for scores in report["classes"])


def test_every_line_of_a_tsv_file_is_learned_from(train):
    """Quotation marks do not connect lines."""
    rows = [("ok", "a"), ('"ok see you', "b"), ("free prize", "a"), ('mine has 24"', "b")] * 4
    content = "".join(f"{label}\t{text}\n" for text, label in rows)
    layout = ["--no-header", "--label-column", "1", "--text-column", "2"]
    code, _, classifier = train("sms.tsv", content, *layout)
    assert code == 0
    assert classifier.data_["train_texts"] == 16
    assert classifier.data_["label_counts"] == [8, 8]


def test_the_columns_of_the_training_are_kept(train, run_cli, tmp_path):
    """They are the defaults of evaluation, prediction and further training; options win."""
    content = CSV.replace("label,text", "topic,body")
    names = ["--text-column", "body", "--label-column", "topic"]
    _, _, classifier = train("a.csv", content, *names)
    assert classifier.data_["columns"] == {
        "text_columns": ["body"],
        "label_columns": ["topic"],
        "label_separator": None,
        "header": True,
    }
    model, table, other = tmp_path / "model", tmp_path / "a.csv", tmp_path / "b.csv"
    other.write_text(CSV)
    assert num_texts(evaluated(run_cli, model, table)) == 32
    assert run_cli("predict", model, table)[1].count("\n") == 32
    plain = ["--text-column", "text"]
    assert run_cli("predict", model, other, *plain)[1].count("\n") == 32
    assert num_texts(evaluated(run_cli, model, other, *plain, "--label-column", "label")) == 32
    code, _, errors = run_cli("predict", model, other)
    assert (code, "no column 'body'; there are: 'label', 'text'" in errors) == (1, True)
    again = ["--warm-start", model, "--train", table, "--output", tmp_path / "more"]
    assert run_cli("train", *again, *QUICK)[0] == 0
    assert TextClassifier.load(tmp_path / "more").data_["columns"]["text_columns"] == ["body"]


def test_a_table_without_header_is_kept_in_mind(train, run_cli, tmp_path):
    """Columns are numbers then, for other tables too."""
    code, errors, _ = train("a.tsv", "x\toil\ny\tgoal\n" * 8, "--no-header")
    assert (code, "no column 'text'; there are: '1', '2'." in errors) == (1, True)
    layout = ["--no-header", "--label-column", "1", "--text-column", "2"]
    assert train("a.tsv", "x\toil\ny\tgoal\n" * 8, *layout)[0] == 0
    model, table = tmp_path / "model", tmp_path / "a.tsv"
    assert num_texts(evaluated(run_cli, model, table)) == 16
    table.write_text("label\ttext\nx\toil\n")
    names = ["--header", "--text-column", "text", "--label-column", "label"]
    assert num_texts(evaluated(run_cli, model, table, *names)) == 1


def test_the_separator_of_labels_is_kept(train, run_cli, tmp_path):
    """Evaluation splits labels as training did."""
    train("a.csv", "text,label\n" + "oil,a;b\ngoal,c\n" * 8, "--label-separator", ";")
    report = evaluated(run_cli, tmp_path / "model", tmp_path / "a.csv")
    assert [(scores["label"], scores["support"]) for scores in report["classes"]] == [
        ("a", 8),
        ("b", 8),
        ("c", 8),
    ]


def test_a_model_that_was_trained_in_python_may_have_columns(tmp_path):
    """What a folder can't hold is refused when it is saved."""
    classifier = TextClassifier.load(MODEL)
    columns = {
        "text_columns": ["a"],
        "label_columns": ["b"],
        "label_separator": ";",
        "header": False,
    }
    classifier.save(tmp_path / "m", columns=columns)
    assert TextClassifier.load(tmp_path / "m").data_["columns"] == columns
    assert classifier.data_["columns"]["text_columns"] == ["text"]
    for name, value in (
        ("text_columns", []),
        ("label_columns", "b"),
        ("label_separator", 1),
        ("header", None),
    ):
        with pytest.raises(InvalidValueError, match=f"be loaded again, but got: Expected `{name}`"):
            classifier.save(tmp_path / "m", columns=columns | {name: value})
    with pytest.raises(InvalidValueError, match="Expected `columns` to have the keys"):
        classifier.save(tmp_path / "m", columns={"text": "a"})
    assert TextClassifier.load(tmp_path / "m").data_["columns"] == columns


TOXIC = "text,rude,loud\n" + "you fool,1,0\nbang,0,1\nfool bang,1,1\nrain,0,0\n" * 8
BOTH = ["--label-column", "rude", "--label-column", "loud"]


def test_several_label_columns_make_a_multi_label_model(train, run_cli, tmp_path):
    """The names of the columns are the labels."""
    code, _, classifier = train("a.csv", TOXIC, *BOTH)
    assert code == 0
    assert classifier.multi_label_
    assert classifier.classes_.tolist() == ["loud", "rude"]
    assert classifier.data_["label_counts"] == [16, 16]
    report = evaluated(run_cli, tmp_path / "model", tmp_path / "a.csv")
    assert [scores["support"] for scores in report["classes"]] == [16, 16]
    code, output, _ = run_cli("predict", tmp_path / "model", "--threshold", "1e-9", stdin="x\n")
    assert (code, output) == (0, "loud\trude\n")


def test_label_columns_must_hold_zeros_and_ones_and_be_all(train, run_cli, tmp_path):
    """Wrong cells name their line; the labels of a missing column would count as absent."""
    code, errors, _ = train("a.csv", TOXIC + "rain,-1,0\n", *BOTH)
    assert (code, ":34: 'rude' is not 0 or 1, but '-1'" in errors) == (1, True)
    code, errors, _ = train("a.csv", TOXIC, *BOTH, "--label-separator", ";")
    assert (code, "`label_separator` to be left out" in errors) == (1, True)
    three = [*BOTH, "--label-column", "odd"]
    code, errors, _ = train(
        "a.csv", TOXIC.replace("\n", ",0\n").replace("loud,0", "loud,odd"), *three
    )
    assert (code, errors) == (0, "No text has the label 'odd': the model will not know it.\n")
    _, _, classifier = train(
        "a.csv", TOXIC.replace("\n", ",1\n").replace("loud,1", "loud,odd"), *three
    )
    assert len(classifier.classes_) == 3
    code, _, errors = run_cli("evaluate", tmp_path / "model", tmp_path / "a.csv", *BOTH)
    assert (code, "a column for each label of the model, also 'odd'" in errors) == (1, True)


def test_two_columns_of_one_name_are_an_error(train):
    """Which of them is meant is not guessed."""
    code, errors, _ = train("a.csv", "text,label,text\n" + "oil,a,x\ngoal,b,x\n" * 8)
    assert (code, errors.endswith("a.csv has 2 columns 'text'.\n")) == (1, True)
    code, errors, _ = train("a.jsonl", '{"text": "oil", "text": "gas", "label": 1}\n')
    assert (code, errors.endswith("a.jsonl:1: it has the key 'text' twice\n")) == (1, True)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.train"])
def test_files_of_fasttext_are_read(train, run_cli, tmp_path, name):
    """For training, evaluation and prediction; one label a text, or several."""
    lines = zip(LABELS, TEXTS, strict=True)
    content = "".join(f"__label__{label} {text}\n" for label, text in lines).encode()
    content = gzip.compress(content) if name.endswith("gz") else content
    form = ["--format", "fasttext"] if name.endswith("train") else []
    code, _, classifier = train(name, content, *form)
    assert (code, classifier.multi_label_) == (0, False)
    assert classifier.classes_.tolist() == ["business", "sports"]
    assert "business" not in classifier.vocabulary_
    assert classifier.data_["columns"] is None
    model, table = tmp_path / "model", tmp_path / name
    assert num_texts(evaluated(run_cli, model, table, *form)) == 32
    code, output, _ = run_cli("predict", MODEL, table, *form)
    assert (code, output.split()) == (0, LABELS)
    code, output, _ = run_cli("predict", MODEL, stdin=content)
    assert (code, output.split()) == (0, LABELS)


def test_files_of_fasttext_may_have_several_labels(train, run_cli, tmp_path):
    """Their model has several labels, too; other models refuse them."""
    code, _, classifier = train("a.txt", "__label__a __label__b oil\n__label__c goal\n" * 8)
    assert (code, classifier.multi_label_) == (0, True)
    table = tmp_path / "b.txt"
    table.write_text("__label__a oil\n__label__c goal\n")
    report = evaluated(run_cli, tmp_path / "model", table)
    assert [scores["support"] for scores in report["classes"]] == [1, 0, 1]
    table.write_text("__label__business __label__sports oil\n")
    code, _, errors = run_cli("evaluate", MODEL, table)
    assert (code, f"{table}:1: ['business', 'sports'] is not one label\n" in errors) == (1, True)
    table.write_text("__label__sports goal\noil prices\n")
    code, _, errors = run_cli("evaluate", MODEL, table)
    assert (code, f"{table}:2: it has no label, such as __label__NAME" in errors) == (1, True)


def test_gzip_and_utf_16_are_read_as_such(run_cli, tmp_path):
    """Files and pipes tell by their first bytes what they are."""
    for content in (
        gzip.compress(CSV.encode()),
        CSV.encode("utf-16"),
        gzip.compress(CSV.encode("utf-16")),
        CSV.replace("\n", "\r").encode(),
    ):
        table = tmp_path / "a.csv"
        table.write_bytes(content)
        assert evaluated(run_cli, MODEL, table)["accuracy"] == 1.0
        code, output, _ = run_cli("evaluate", MODEL, "-", "--format", "csv", stdin=content)
        assert (code, output.splitlines()[1]) == (0, "accuracy           1.0000")
    lines = "\n".join(TEXTS)
    for content in (
        gzip.compress(lines.encode()),
        lines.encode("utf-16"),
        lines.replace("\n", "\r").encode(),
        lines.replace("\n", "\r\n").encode("utf-8-sig"),
    ):
        code, output, _ = run_cli("predict", MODEL, stdin=content)
        assert (code, output.split()) == (0, LABELS)


def test_another_encoding_is_no_reason_to_leave_rows_out(train, run_cli, tmp_path):
    """The option for the encoding is named, and reads the file."""
    rows = "".join(f"spam,you won \xa3{i}\nham,see you {i}\n" for i in range(20))
    content = f"label,text\n{rows}".encode("cp1252")
    for option in ([], ["--skip-bad-rows"]):
        code, errors, _ = train("a.csv", content, *option)
        assert code == 1
        assert errors == (
            f"textrnn: {tmp_path / 'a.csv'}:2: it is not in UTF-8 "
            "(--encoding names its encoding, such as --encoding cp1252)\n"
        )
    code, _, classifier = train("a.csv", content, "--encoding", "cp1252")
    assert (code, classifier.data_["label_counts"]) == (0, [20, 20])
    assert "\xa3" in classifier.vocabulary_
    # Whoever names the encoding means single rows.
    code, errors, _ = train(
        "a.csv", content + b"spam,\x81\n", "--encoding", "cp1252", "--skip-bad-rows"
    )
    assert (code, errors.endswith("(rows left out: 1)\n")) == (0, True)
    table = tmp_path / "lines.txt"
    table.write_bytes("caf\xe9\n".encode("cp1252"))
    assert run_cli("predict", MODEL, table)[0] == 1
    assert run_cli("predict", MODEL, table, "--encoding", "cp1252")[0] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "oil soars,business\n" * 2,
            "has no column 'text'; there are: 'oil soars', 'business'. (See",
        ),
        ("oil soars,business\n" * 2, "--no-header for a file without column names"),
        (r'"a \"b\" c",x', "must be doubled, not escaped by a backslash"),
        (b"PK\x03\x04\x14\0", "is a ZIP archive or an Excel workbook, not a text file"),
        (CSV.encode("utf-16-le"), "looks like UTF-16 without a byte order mark; name the encoding"),
    ],
)
def test_a_message_tells_what_to_do(train, content, message):
    """No advice leads to another error."""
    if isinstance(content, str) and "\\" in content:
        content = f"text,label\n{content}\n"
    code, errors, _ = train("a.csv", content)
    assert (code, message in errors) == (1, True)


def test_the_line_of_excel_is_read(train):
    """It names the delimiter."""
    code, _, classifier = train("a.csv", "sep=;\r\n" + CSV.replace(",", ";").replace("\n", "\r\n"))
    assert (code, classifier.data_["train_texts"]) == (0, 32)


def test_unknown_labels_count_as_mistakes(run_cli, tmp_path):
    """All texts are measured, as scikit-learn measures them."""
    table = tmp_path / "e.csv"
    texts = [*TEXTS[:8], "oil parcel", "goal parcel", "parcel"]
    labels = [*LABELS[:8], "post", "post", "mail"]
    table.write_text(
        "text,label\n" + "".join(f"{t},{n}\n" for t, n in zip(texts, labels, strict=True))
    )
    code, output, errors = run_cli("evaluate", MODEL, table)
    assert (code, output) == (1, "")
    assert errors.splitlines() == [
        f"textrnn: {table}:10: no label 'post'",
        f"{table}:11: no label 'post'",
        f"{table}:12: no label 'mail'",
        "(the labels are: 'business', 'sports')",
        "(--skip-bad-rows counts other labels as mistakes)",
    ]
    code, output, errors = run_cli("evaluate", MODEL, table, "--skip-bad-rows", "--json")
    assert (code, errors.splitlines()[-1]) == (
        0,
        "(texts with other labels, counted as mistakes: 3)",
    )
    report = json.loads(output)
    found = TextClassifier.load(MODEL).predict(texts)
    assert report["accuracy"] == pytest.approx(accuracy_score(labels, found))
    assert report["macro_f1"] == pytest.approx(f1_score(labels, found, average="macro"))
    assert [(scores["label"], scores["support"]) for scores in report["classes"]] == [
        ("business", 4),
        ("sports", 4),
        ("post", 2),
        ("mail", 1),
    ]
    assert np.sum(report["confusion"]) == 11


def test_unknown_labels_of_several_count_as_mistakes(train, run_cli, tmp_path):
    """They are never predicted."""
    several = ["--label-separator", ";"]
    content = "text,label\n" + "oil,a;b\ngoal,c\n" * 8
    train("a.csv", content, *several, "--epochs", "30")
    table = tmp_path / "e.csv"
    table.write_text("text,label\noil,a;b\noil,a;z\ngoal,c\n")
    report = evaluated(run_cli, tmp_path / "model", table, "--skip-bad-rows")
    assert report["accuracy"] == pytest.approx(2 / 3)
    assert report["micro_f1"] == pytest.approx(2 * 4 / (2 * 4 + 1 + 1))
    assert [scores["support"] for scores in report["classes"]] == [2, 1, 1, 1]


def test_texts_have_one_label_or_a_list_throughout(train, run_cli, tmp_path):
    """As the first row of the training, or the model."""
    rows = ['{"text": "oil", "label": ["a", "b"]}', '{"text": "goal", "label": "c"}'] * 4
    code, errors, _ = train("a.jsonl", "\n".join(rows))
    assert (code, ":2: 'c' is not a list of labels (see --label-s" in errors) == (1, True)
    code, errors, _ = train("a.jsonl", "\n".join(reversed(rows)))
    assert (code, ":2: ['a', 'b'] is not one label" in errors) == (1, True)
    code, errors, classifier = train("a.jsonl", "\n".join(rows), "--skip-bad-rows")
    assert (code, classifier.data_["train_texts"]) == (0, 4)
    table = tmp_path / "e.csv"
    table.write_text("text,label\noil,other\n")
    for option in ([], ["--skip-bad-rows"]):
        code, _, errors = run_cli("evaluate", tmp_path / "model", table, *option)
        assert (code, "'other' is not a list of labels" in errors) == (1, True)


def test_unknown_labels_of_the_evaluation_file_stop_the_training(train, tmp_path):
    """They are not left out, as the measure would be too good."""
    other = tmp_path / "e.csv"
    other.write_text("text,label\noil,business\nparcel,post\n")
    for option in ([], ["--skip-bad-rows"]):
        code, errors, _ = train("a.csv", CSV, "--eval", other, *option)
        assert code == 1
        assert errors.splitlines()[:2] == [
            f"textrnn: {other}:3: no label 'post'",
            "(the labels are: 'business', 'sports')",
        ]


def test_labels_have_no_blanks_around_them(train):
    """Those that differ in blanks only are one label."""
    rows = "".join(f"oil,a{' ' * (i % 3)}\ngoal, b\n" for i in range(8))
    _, _, classifier = train("a.csv", f"text,label\n{rows}")
    assert classifier.classes_.tolist() == ["a", "b"]
    code, errors, _ = train("a.csv", f"text,label\n{rows}oil,  \n")
    assert (code, ":18: the label is missing" in errors) == (1, True)


def test_probabilities_of_labels_that_print_alike_are_all_there(run_cli, tmp_path):
    """The keys are then the labels as JSON."""
    labels = [("a", 1), "['a', 1]", "b", 2.5]
    classifier = TextClassifier(hidden_size=4, epochs=1, progress=False)
    classifier.fit(["oil", "goal", "rain", "snow"] * 4, labels * 4).save(tmp_path / "m")
    _, output, _ = run_cli("predict", tmp_path / "m", "--proba", stdin="oil\n")
    found = json.loads(output)["probabilities"]
    assert found.keys() == {'["a", 1]', "\"['a', 1]\"", '"b"', "2.5"}
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)


def test_control_characters_in_labels_do_not_reach_the_terminal(run_cli, tmp_path):
    """They are escaped in lines and in JSON, which stays the same data."""
    labels = ["\x1b[31mred", "a\x9bb\u2028\\"]
    classifier = TextClassifier(hidden_size=4, epochs=1, progress=False)
    classifier.fit(["oil", "goal"] * 4, labels * 4).save(tmp_path / "m")
    model, table = tmp_path / "m", tmp_path / "a.jsonl"
    rows = [{"text": "oil", "label": label} for label in labels]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for arguments in (
        ["predict", model, table],
        ["predict", model, table, "--proba"],
        ["info", model],
        ["info", model, "--json"],
        ["evaluate", model, table],
        ["evaluate", model, table, "--json"],
    ):
        code, output, errors = run_cli(*arguments)
        assert (code, errors) == (0, "")
        assert not {"\x1b", "\x9b", "\u2028"} & set(output)
    assert {"\\x1b[31mred", "a\\x9bb\\u2028\\\\"} >= set(
        run_cli("predict", model, table)[1].split()
    )
    assert json.loads(run_cli("info", model, "--json")[1])["labels"] == sorted(labels)


def test_parquet_comes_through_a_pipe():
    """Like any other table."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": TEXTS, "label": LABELS}), buffer)
    command = [sys.executable, "-m", "textrnn", "evaluate", MODEL, "-", "--format", "parquet"]
    run = subprocess.run(  # noqa: S603 - our own program
        command, input=buffer.getvalue(), capture_output=True, check=False, cwd=ROOT
    )
    assert (run.returncode, run.stderr) == (0, b"")
    assert run.stdout.startswith(b"texts                  32\naccuracy           1.0000\n")


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("predict MODEL <&-", 1, "textrnn: Standard input is closed.\n"),
        ("info MODEL >&-", 1, "textrnn: Standard output is closed.\n"),
        ("info nowhere 2>&-", 1, ""),
    ],
)
def test_streams_may_be_closed(command, code, message):
    """That is one sentence, too."""
    line = f"{sys.executable} -m textrnn {command.replace('MODEL', MODEL)}"
    run = subprocess.run(  # noqa: S602 - our own program
        line, shell=True, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (run.returncode, run.stderr, run.stdout) == (code, message, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
@pytest.mark.parametrize("arguments", [["info", MODEL], ["predict", MODEL]])
def test_output_that_can_not_be_written_is_told(arguments):
    """Once, and without a traceback."""
    with Path("/dev/full").open("wb") as full:
        run = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "textrnn", *arguments],
            input="oil\n" * 9999,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=ROOT,
        )
    assert run.returncode == 1
    assert run.stderr.count("No space left on device") == run.stderr.count("\n") == 1
