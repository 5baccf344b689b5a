"""The command line: training, evaluation, prediction and messages."""

import errno
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textrnn import TextClassifier
from textrnn.cli import main
from textrnn.estimator.settings import OPTIONS
from textrnn.runtime.classifier import Networks

ROOT = Path(__file__).parents[1]
MODEL = str(Path(__file__).parent / "fixtures" / "model")
LINES = "oil falls\nthe keeper scores\n"
CSV = "label,text\n" + "business,oil prices soar\nsports,the striker scores\n" * 16
QUICK = ["--epochs", "3", "--hidden-size", "4", "--learning-rate", "0.02", "--device", "cpu"]


@pytest.fixture(name="run")
def _run(run_cli):
    """Return the function that runs the command line."""
    return run_cli


@pytest.fixture(name="table")
def _table(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(CSV)
    return path


def test_from_a_table_to_predictions_in_three_commands(run, table, tmp_path):
    """Train, evaluate and predict; the model loads in Python."""
    model = tmp_path / "model"
    code, output, errors = run(
        "train", "--train", table, "--output", model, *QUICK[:1], 12, *QUICK[2:]
    )
    assert code == 0
    # 32 texts are too few to hold some out, so nothing was measured.
    report = TextClassifier.load(model).report_
    assert output == f"training texts  32\nheld-out texts   0\n\n{report}\n"
    assert re.match(r"Network, epoch 1 of 12, [\d.]+ s: loss ", errors)
    assert errors.splitlines()[-1] == f"Saved to {model}."

    code, output, errors = run("evaluate", model, table, "--device", "cpu")
    assert (code, errors) == (0, "")
    assert output.splitlines()[1] == "accuracy           1.0000"

    code, output, errors = run("predict", model, stdin="oil soars\nthe striker\n")
    assert (code, output, errors) == (0, "business\nsports\n", "")

    classifier = TextClassifier.load(model)
    assert classifier.predict(["oil soars"]).tolist() == ["business"]


def test_training_reports_the_evaluation_file(run, table, tmp_path):
    """Results go to standard output, everything else to standard error."""
    model = tmp_path / "model"
    command = ["train", "--train", table, "--eval", table, "--output", model, *QUICK]
    code, output, errors = run(*command, "--quiet")
    assert (code, errors) == (0, "")
    assert output.startswith("training texts  32\n\ntexts                  32\naccuracy")
    code, output, _ = run(*command, "--json", "--cell", "rnn", "--seed", "5", "--min-freq", "2")
    facts = json.loads(output)
    assert facts["metrics"].keys() >= {"log_loss", "accuracy"}
    assert (facts["train_texts"], facts["eval_texts"], facts["left_out"]) == (32, 32, 0)
    classifier = TextClassifier.load(model)
    params = {
        name: classifier.get_params()[name] for name in ("cell", "seed", "epochs", "min_freq")
    }
    assert params == {"cell": "rnn", "seed": 5, "epochs": 3, "min_freq": 2}


def test_a_held_out_part_is_reported(run, tmp_path):
    """Without an evaluation file, the metrics of the validation part are printed."""
    table = tmp_path / "train.jsonl"
    table.write_text('{"label": 1, "text": "oil prices"}\n{"label": 0, "text": "goals"}\n' * 60)
    code, output, _ = run("train", "--train", table, "--output", tmp_path / "model", *QUICK)
    assert code == 0
    assert output.startswith("training texts        108\nheld-out texts         12\nlog_loss  ")


def test_training_goes_on_with_a_saved_model(run, tmp_path):
    """Vocabulary and labels stay, and labels are matched by their text."""
    table = tmp_path / "more.csv"
    table.write_text("label,text\nbusiness,oil gushes\nsports,referee\n")
    arguments = ["--output", tmp_path / "model", "--epochs", 1, "--device", "cpu"]
    code, _, errors = run("train", "--warm-start", MODEL, "--train", table, *arguments)
    assert (code, errors.splitlines()[0][:21]) == (0, "Network, epoch 1 of 1")
    assert (
        TextClassifier.load(tmp_path / "model").vocabulary_
        == TextClassifier.load(MODEL).vocabulary_
    )
    table.write_text("label,text\nweather,rain\n")
    code, _, errors = run("train", "--warm-start", MODEL, "--train", table, *arguments)
    assert (code, errors) == (
        1,
        f"textrnn: {table}:2: no label 'weather'\n(the labels are: 'business', 'sports')\n",
    )
    # To leave such texts out would be to train on others than were given.
    arguments.append("--skip-bad-rows")
    code, _, errors = run("train", "--warm-start", MODEL, "--train", table, *arguments)
    assert (code, "no label 'weather'" in errors) == (1, True)


@pytest.mark.parametrize("form", ["csv", "jsonl", "txt", "parquet"])
def test_texts_without_labels_are_pretrained_on(run, table, tmp_path, form):
    """They may be a table, whose labels are ignored, or lines."""
    more, model = tmp_path / f"more.{form}", tmp_path / "model"
    texts = ["gas prices soar", "the referee scores"] * 8
    if form == "parquet":
        pq.write_table(pa.table({"text": texts, "label": [-1] * 16}), more)
    elif form == "jsonl":
        more.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    else:
        more.write_text("text\n" * (form == "csv") + "".join(f"{text}\n" for text in texts))
    command = ["train", "--train", table, "--unlabelled", more, "--output", model, *QUICK]
    code, _, errors = run(*command, "--pretrain-epochs", 2)
    assert code == 0
    assert re.match(r"Pretraining, epoch 1 of 2, [\d.]+ s: loss ", errors)
    classifier = TextClassifier.load(model)
    assert classifier.data_["unlabelled_texts"] == 16
    assert "referee" in classifier.vocabulary_
    assert classifier.pretrain_epochs == 2


def test_options_of_the_classifier_are_options_of_training(run, table, tmp_path):
    """Flags, choices, tuples and "none" become the values in Python."""
    options = ["--no-bidirectional", "--pooling", "max", "last", "--weight-averaging", "none"]
    options += ["--max-vocab-size", 9, "--weight-decay", "0", "--class-weight", "balanced"]
    code, _, _ = run("train", "--train", table, "--output", tmp_path / "model", *QUICK, *options)
    assert code == 0
    params = TextClassifier.load(tmp_path / "model").get_params()
    assert (params["bidirectional"], params["pooling"]) == (False, ("max", "last"))
    assert (params["weight_averaging"], params["max_vocab_size"]) == (None, 9)
    assert (params["weight_decay"], params["class_weight"]) == (0.0, "balanced")
    left_out = ("preset", "hidden_size", "dropout", "threshold")
    assert [params[name] for name in left_out] == [None, 4, None, 0.5]


def test_weights_may_be_saved_in_fewer_bytes(run, table, tmp_path):
    """`--weights` is checked before the work."""
    code, _, errors = run(
        "train", "--train", table, "--output", tmp_path / "m", "--weights", "int4"
    )
    assert code == 1
    assert "`weights` to be one of 'fp32', 'fp16', 'int8', but got 'int4'" in errors
    assert not (tmp_path / "m").exists()
    arguments = ["train", "--train", table, "--output", tmp_path / "m", "--weights", "int8", *QUICK]
    assert run(*arguments)[0] == 0
    assert json.loads((tmp_path / "m" / "config.json").read_text())["weights"] == "int8"


def test_help_lists_the_options_of_the_classifier(run):
    """Each option has its line of help and its default."""
    help_text = " ".join(run("train", "--help")[1].split())
    for option in OPTIONS:
        assert (f" --{option.name.replace('_', '-')}" in help_text) == (
            option.in_shell or option.name == "warm_start"
        )
        assert not option.in_shell or option.help[1:] in help_text
    assert "recurrent cell (default: gru)" in help_text
    assert "maximum number of n-grams (default: 262144, or 524288 from 20,000 texts)" in help_text


@pytest.mark.parametrize("option", [[], ["--no-spelling"]])
def test_spelling_may_be_left_out(run, table, tmp_path, option):
    """`info` tells whether spelling is used."""
    model = tmp_path / "model"
    assert run("train", "--train", table, "--output", model, *QUICK, *option)[0] == 0
    assert TextClassifier.load(model).spelling is (False if option else None)
    line = next(x for x in run("info", model)[1].splitlines() if x.startswith("n-grams"))
    assert line.endswith(" of characters") != bool(option)


def test_a_preset_is_named_and_changed(run, table, tmp_path):
    """Options that are given win over the preset."""
    options = ["--preset", "best", "--pretrain-epochs", 0, *QUICK]
    assert run("train", "--train", table, "--output", tmp_path / "model", *options)[0] == 0
    classifier = TextClassifier.load(tmp_path / "model")
    assert classifier.preset == "best"
    assert classifier.settings_["pretrain_epochs"] == 0
    assert classifier.settings_["hidden_size"] == 4
    code, _, errors = run("train", "--train", table, "--output", "x", "--preset", "slow")
    assert code == 2
    assert "invalid choice: 'slow'" in errors


def test_texts_without_labels_must_be_there_and_be_read(run, table, tmp_path):
    """Bad rows are listed or left out; texts without pretraining are refused."""
    more, model = tmp_path / "more.jsonl", tmp_path / "model"
    more.write_text('{"text": "gas"}\n{"text": 3}\n')
    command = ["train", "--train", table, "--unlabelled", more, "--output", model, *QUICK]
    code, _, errors = run(*command, "--pretrain-epochs", 1)
    assert code == 1
    assert errors.startswith(f"textrnn: {more}:2: 'text' is not a string, but 3\n")
    code, _, errors = run(*command, "--skip-bad-rows", "--quiet")
    assert code == 1
    assert errors.splitlines()[1] == "(rows left out: 1)"
    assert errors.splitlines()[2].startswith(
        "textrnn: Expected `unlabelled` to be None where nothing is pretrained"
    )
    assert run(*command, "--skip-bad-rows", "--pretrain-epochs", 1)[0] == 0
    code, _, errors = run(*command, "--warm-start", model, "--skip-bad-rows", "--quiet")
    assert code == 1
    assert "`unlabelled` to be None where training continues" in errors
    more.write_text("")
    code, _, errors = run(*command, "--pretrain-epochs", 1)
    assert (code, errors) == (1, f"textrnn: {more} holds no texts.\n")
    more = tmp_path / "more.csv"
    more.write_text("body\ngas\n")
    command[4] = more
    code, _, errors = run(*command, "--pretrain-epochs", 1)
    assert (code, "there are: 'body'" in errors) == (1, True)


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_serves_everywhere(run, tmp_path, form):
    """The suffix selects the format, and columns may have any names."""
    table = tmp_path / f"table.{form}"
    bodies, kinds = ["oil prices soar", "the striker scores"] * 8, ["business", "sports"] * 8
    if form == "parquet":
        pq.write_table(pa.table({"body": bodies, "kind": kinds}), table)
    elif form == "jsonl":
        rows = [{"body": body, "kind": kind} for body, kind in zip(bodies, kinds, strict=True)]
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        mark = "\t" if form == "tsv" else ","
        rows = zip(["body", *bodies], ["kind", *kinds], strict=True)
        table.write_text("".join(f"{mark.join(row)}\n" for row in rows))
    columns = ["--text-column", "body", "--label-column", "kind"]
    code, output, _ = run("evaluate", MODEL, table, *columns, "--json")
    assert code == 0
    assert json.loads(output)["accuracy"] == 1.0
    code, output, _ = run("predict", MODEL, table, "--text-column", "body")
    assert (code, output.split()) == (0, kinds)
    code, _, _ = run("train", "--train", table, "--output", tmp_path / "m", *columns, *QUICK)
    assert code == 0


def test_labels_are_matched_by_how_they_are_written(run, tmp_path):
    """The number 3 of one format is the "3" of another."""
    model, table, other = tmp_path / "model", tmp_path / "a.jsonl", tmp_path / "b.csv"
    table.write_text('{"label": 3, "text": "oil"}\n{"label": 4, "text": "goal"}\n' * 8)
    other.write_text("label,text\n3,oil\n4,goal\n")
    command = ["train", "--train", table, "--eval", other, "--output", model, *QUICK]
    assert run(*command)[0] == 0
    assert TextClassifier.load(model).classes_.tolist() == [3, 4]
    assert run("evaluate", model, other)[0] == 0


def test_texts_may_have_several_labels(run, tmp_path):
    """A separator splits labels, and predictions have all of them."""
    model, table = tmp_path / "model", tmp_path / "topics.csv"
    table.write_text("text,label\n" + "oil prices,oil;up\nstriker,sports\nrain,\n" * 8)
    several = ["--label-separator", ";"]
    command = ["train", "--train", table, "--output", model, *several, *QUICK]
    assert run(*command)[0] == 0
    code, output, _ = run("evaluate", model, table, *several)
    assert (code, output.splitlines()[2].split()[0]) == (0, "micro")
    code, output, _ = run("predict", model, "--threshold", "1e-9", stdin="oil\n")
    assert (code, output) == (0, "oil\tsports\tup\n")
    code, output, _ = run("predict", model, "--threshold", "1e-9", "--json", stdin="oil\n")
    assert json.loads(output) == {"labels": ["oil", "sports", "up"]}
    code, _, errors = run("evaluate", model, table, *several, "--plot", tmp_path / "x.png")
    assert (code, errors.count("several labels have no confusion matrix")) == (1, 1)


def test_predictions_keep_the_order_and_number_of_lines(run):
    """Empty lines and a last line without an end are texts."""
    texts = ["oil falls", "", "the keeper scores", "oil"] * 700
    code, output, _ = run("predict", MODEL, stdin="\n".join(texts))
    expected = TextClassifier.load(MODEL).predict(texts).tolist()
    assert (code, output.splitlines()) == (0, expected)


def test_no_lines_give_no_answers(run):
    """Empty input is not an error."""
    assert run("predict", MODEL) == (0, "", "")


def test_json_answers_have_what_was_asked_for(run):
    """One object per line: label, probabilities, top labels."""
    probabilities = TextClassifier.load(MODEL).predict_proba(["oil falls"])[0]
    code, output, _ = run("predict", MODEL, "--proba", "--top-k", 1, stdin="oil falls\nx\n")
    assert code == 0
    answer = json.loads(output.splitlines()[0])
    assert answer == {
        "label": "business",
        "probabilities": {
            "business": pytest.approx(probabilities[0], abs=1e-6),
            "sports": pytest.approx(probabilities[1], abs=1e-6),
        },
        "top_k": [{"label": "business", "probability": pytest.approx(probabilities[0], abs=1e-6)}],
    }
    assert run("predict", MODEL, "--json", stdin="oil falls\n")[1] == '{"label": "business"}\n'


@pytest.mark.parametrize("options", [(), ("--json",), ("--proba", "--top-k", 2)])
def test_texts_are_computed_once(run, monkeypatch, options):
    """Labels follow from the probabilities that are printed."""
    sizes = []
    logits = Networks.logits

    def counted(self, ids, lengths, unknown):
        sizes.append(len(lengths))
        return logits(self, ids, lengths, unknown)

    monkeypatch.setattr(Networks, "logits", counted)
    assert run("predict", MODEL, *options, stdin="oil falls\nx\n")[0] == 0
    assert sizes == [2]


def test_labels_with_line_ends_stay_on_their_line(run, tmp_path):
    """Line ends in labels are escaped."""
    labels = ["a\nb\t\\", "c"]
    classifier = TextClassifier(hidden_size=4, epochs=1, progress=False)
    classifier.fit(["oil", "goal"] * 4, labels * 4).save(tmp_path / "model")
    code, output, _ = run("predict", tmp_path / "model", stdin="oil\n" * 3)
    assert (code, len(output.splitlines())) == (0, 3)
    assert {"a\\nb\\t\\\\", "c"} >= set(output.splitlines())


def test_predictions_stop_at_a_bad_row(run, tmp_path):
    """The rows before it are answered, and the error names its line."""
    table = tmp_path / "texts.jsonl"
    table.write_text('{"text": "oil falls"}\n{"text": 3}\n{"text": "oil"}\n')
    code, output, errors = run("predict", MODEL, table)
    assert (code, output) == (1, "business\n")
    assert errors == f"textrnn: {table}:2: 'text' is not a string, but 3\n"
    code, output, errors = run("predict", MODEL, stdin=b"oil falls\n\xff\n")
    assert (code, output) == (1, "business\n")
    assert errors.startswith("textrnn: <stdin>:2: it is not in UTF-8 (--encoding names its enco")


def test_bad_rows_are_listed_with_file_and_line(run, tmp_path):
    """The first ones are shown and the others counted; they may be left out."""
    table = tmp_path / "train.csv"
    table.write_text(CSV + "spam\n" * 12)
    model = tmp_path / "model"
    command = ["train", "--train", table, "--output", model, *QUICK]
    code, _, errors = run(*command)
    lines = errors.splitlines()
    assert code == 1
    assert lines[0] == f"textrnn: {table}:34: it has 1 fields, not 2"
    assert lines[9:] == [
        f"{table}:43: it has 1 fields, not 2",
        f"{table}: and 2 more",
        "(--skip-bad-rows leaves bad rows out)",
    ]
    assert not model.exists()
    code, output, errors = run(*command, "--skip-bad-rows", "--quiet")
    assert (code, len(errors.splitlines())) == (0, 12)
    assert errors.splitlines()[-1] == "(rows left out: 12)"
    assert "\nrows left out   12\n" in output
    assert TextClassifier.load(model).data_["train_texts"] == 32


def test_a_confusion_matrix_is_drawn(run, table, tmp_path):
    """The suffix selects the format of the picture."""
    picture = tmp_path / "confusion.png"
    assert run("evaluate", MODEL, table, "--plot", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_can_not_be_drawn_is_told_before_the_work(run, table, monkeypatch):
    """The suffix and the kind of labels are checked first."""
    monkeypatch.setattr(TextClassifier, "evaluate", None)
    code, output, errors = run("evaluate", MODEL, table, "--plot", "picture.doc")
    assert (code, output) == (1, "")
    assert re.match(r"textrnn: Expected `plot` to be a file whose name ends in .*\.png", errors)
    monkeypatch.setattr(TextClassifier, "multi_label_", True)
    code, _, errors = run("evaluate", MODEL, table, "--plot", "picture.png")
    assert (code, "several labels have no confusion matrix" in errors) == (1, True)


def test_a_place_where_nothing_can_be_written_is_told_before_the_work(run, table, monkeypatch):
    """The output folder is checked before training."""
    monkeypatch.setattr(TextClassifier, "fit", None)
    code, _, errors = run("train", "--train", table, "--output", table / "model")
    assert (code, errors) == (1, f"textrnn: {table}: File exists\n")
    full = mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device", "x7"))
    monkeypatch.setattr("textrnn._storage.writing.check_writable", full)
    code, _, errors = run("train", "--train", table, "--output", table.parent / "a" / "b")
    assert (code, errors) == (1, f"textrnn: {table.parent / 'a'}: No space left on device\n")
    full.side_effect = OSError(errno.EBUSY, "Device or resource busy")
    code, _, errors = run("train", "--train", table, "--output", table.parent / "a" / "b")
    assert (code, "not a mount point itself, but got" in errors) == (1, True)
    (table.parent / "empty").mkdir()
    monkeypatch.chdir(table.parent / "empty")
    code, _, errors = run("train", "--train", table, "--output", ".")
    assert (code, "other than the current one" in errors) == (1, True)


def test_info_on_any_folder_says_that_it_is_no_model(run, tmp_path, monkeypatch):
    """A folder of something else is not damaged."""
    monkeypatch.chdir(tmp_path)
    code, _, errors = run("info", ".")
    assert (code, errors) == (1, "textrnn: '.' is not a model folder: it has no config.json.\n")


def test_fields_may_be_divided_otherwise(run, tmp_path):
    """Another delimiter is read, and suggested in the error."""
    path = tmp_path / "news.csv"
    path.write_text(CSV.replace(",", ";"))
    code, output, _ = run("evaluate", MODEL, path, "--delimiter", ";", "--json")
    assert (code, json.loads(output)["accuracy"]) == (0, 1.0)
    code, output, _ = run("predict", MODEL, path, "--delimiter", ";")
    assert (code, len(output.splitlines())) == (0, 32)
    code, _, errors = run("evaluate", MODEL, path)
    assert code == 1
    assert "there are: 'label;text'. Is ';' the delimiter? (See --text-column, --la" in errors


def test_a_notebook_gets_strings(monkeypatch):
    """Output works without a byte stream."""
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    assert main(["info", MODEL]) == 0
    assert output.getvalue().startswith("labels ")


def test_info_tells_what_a_model_is(run):
    """The description is a table, or JSON."""
    code, output, _ = run("info", MODEL)
    assert code == 0
    assert output.splitlines()[0].split(maxsplit=1) == ["labels", "business, sports"]
    assert "1 bidirectional GRU of 6" in output
    code, output, _ = run("info", MODEL, "--json")
    facts = json.loads(output)
    assert facts["labels"] == ["business", "sports"]
    assert facts["network"]["hidden_size"] == 6
    assert facts["data"]["train_texts"] == 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "nowhere"], "textrnn: There is no folder 'nowhere'.\n"),
        (["evaluate", MODEL, "nowhere.csv"], "textrnn: nowhere.csv: No such file or directory\n"),
        (["evaluate", MODEL, "table.xlsx"], "name ends in .csv, .tsv, .jsonl"),
        (["evaluate", MODEL, "x", "--format", "lines"], "`format` to be one with labels, but got"),
        (["evaluate", MODEL, "x.csv", "--encoding", "utf9"], "`encoding` to be the name of a text"),
        (["predict", MODEL, "--threshold", "2", "--device", "abacus"], "`device` to be 'auto'"),
        (["train", "--train", "x.csv", "--output", str(ROOT)], "`path` to be a new or empty"),
        (["train", "--train", "x.csv", "--output", "x", "--epochs", "0"], "x.csv: No such file"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(run, arguments, message):
    """Exit code 1, one line on standard error, and no traceback."""
    code, output, errors = run(*arguments)
    assert (code, output) == (1, "")
    assert message in errors
    assert errors.startswith("textrnn: ")
    assert errors.count("\n") == 1


def test_a_table_without_rows_or_columns_is_named(run, tmp_path, table):
    """The error names the file or the column."""
    empty = tmp_path / "empty.csv"
    empty.write_text("text,label\n")
    code, _, errors = run("evaluate", MODEL, empty)
    assert (code, errors) == (1, f"textrnn: {empty} holds no labelled texts.\n")
    code, _, errors = run("evaluate", MODEL, table, "--label-column", "kind")
    assert (code, "no column 'kind'; there are: 'label', 'text'" in errors) == (1, True)


def test_a_wrong_parameter_is_named(run, table, tmp_path):
    """The error is that of `fit`, and nothing is saved."""
    output = tmp_path / "model"
    code, _, errors = run("train", "--train", table, "--output", output, "--epochs", "0")
    assert (code, "`epochs` to be a positive integer, but got 0" in errors) == (1, True)
    assert not output.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["learn"],
        ["train"],
        ["predict"],
        ["predict", MODEL, "--top-k", "0"],
        ["predict", MODEL, "--top-k", "few"],
        ["predict", MODEL, "--delimiter", "||"],
        ["predict", MODEL, "--delimiter", '"'],
        ["train", "--train", "x", "--output", "y", "--cell", "cnn"],
        ["evaluate", MODEL],
    ],
)
def test_a_wrong_command_line_has_code_2(run, arguments):
    """One line says what is wrong and where to read more."""
    code, output, errors = run(*arguments)
    assert (code, output) == (2, "")
    assert re.fullmatch(r"textrnn( \w+)?: .* \(see textrnn( \w+)? --help\)\n", errors)


def test_a_number_out_of_range_is_told(run):
    """The error names the option and the rule."""
    _, _, errors = run("predict", MODEL, "--top-k", "0")
    assert "argument --top-k: expected a positive integer, but got '0' (see" in errors


@pytest.mark.parametrize("command", ["train", "tune", "evaluate", "predict", "info", "export"])
def test_help_has_an_example(run, command):
    """Every command shows how it is called."""
    code, output, _ = run(command, "--help")
    assert code == 0
    assert f"example:\n  textrnn {command} " in output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["train", "--help"], 0),
        (["tune", "--help"], 0),
        ([], 2),
        (["learn"], 2),
        (["train", "--train", "train.csv"], 2),
        (["predict", "model", "--top-k", "0"], 2),
    ],
)
def test_help_and_a_wrong_command_line_do_not_wait_for_torch(arguments, code):
    """They work where PyTorch, NumPy and NLTK can't be imported."""
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['nltk', 'numpy', 'torch']));"
        "from textrnn.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    run = subprocess.run(  # noqa: S603 # our own program
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert run.returncode == code
    if code == 0:
        assert run.stdout.startswith(("usage: textrnn", "textrnn 0."))
    else:
        assert run.stderr.startswith("textrnn")
        assert run.stderr.count("\n") == 1


def test_tables_may_come_through_a_pipe(run):
    """The format must be given."""
    code, output, _ = run("evaluate", MODEL, "-", "--format", "csv", "--json", stdin=CSV)
    assert (code, json.loads(output)["accuracy"]) == (0, 1.0)
    code, output, _ = run("predict", MODEL, "-", "--format", "csv", stdin="text\noil falls\n")
    assert (code, output) == (0, "business\n")
    code, _, errors = run("evaluate", MODEL, "-")
    assert (code, "name its format" in errors) == (1, True)


def test_ctrl_c_has_code_130(run, monkeypatch):
    """There is no traceback."""

    def interrupted(_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("textrnn.cli.info.run", interrupted)
    assert run("info", MODEL) == (130, "", "textrnn: interrupted\n")


def test_ctrl_c_while_training_saves_what_was_learned(run, table, tmp_path, monkeypatch):
    """The best weights are saved, and the exit code is 130."""

    class Interrupting(logging.Handler):
        def emit(self, record):
            if "epoch 1 of" in record.getMessage():
                # The trainer turns the signal into a stop after the step under way.
                os.kill(os.getpid(), signal.SIGINT)

    logger = logging.getLogger("textrnn")
    monkeypatch.setattr(logger, "handlers", [*logger.handlers, Interrupting()])
    command = ["train", "--train", table, "--output", tmp_path / "model", *QUICK]
    code, _, errors = run(*command, "--epochs", "100000")
    assert code == 130
    assert "Saved to" in errors
    assert TextClassifier.load(tmp_path / "model").stopped_ == "interrupted by Ctrl-C"


def test_the_other_end_of_a_pipe_may_leave():
    """A reader that closes the pipe causes no error."""
    lines = b"oil falls\n" * 200_000
    command = [sys.executable, "-m", "textrnn", "predict", MODEL, "--device", "cpu"]
    with subprocess.Popen(  # noqa: S603 - the program is ours
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdin and process.stdout and process.stderr  # noqa: PT018 - for the types
        process.stdin.write(lines[:1000])
        process.stdin.flush()
        assert process.stdout.readline() == b"business\n"  # answered before the input ends
        process.stdout.close()
        try:
            process.stdin.write(lines)
            process.stdin.close()
        except BrokenPipeError:
            pass
        assert process.stderr.read() == b""
        assert process.wait() == 0
