"""Reports print as aligned tables and turn into JSON."""

import json
import math

import numpy as np
import torch

from textrnn._text_table import text_table
from textrnn.training.metrics import ClassificationMetrics, MultilabelMetrics
from textrnn.training.reports import ClassificationReport


def report_of(labels, **settings) -> ClassificationReport:
    """Make a report in which each class has one text, predicted rightly."""
    metrics = ClassificationMetrics(len(labels), **settings)
    metrics.update(torch.eye(len(labels)) * 50, torch.arange(len(labels)))
    return metrics.report(labels)


def test_a_report_prints_as_three_tables():
    """Figures, classes and confusions follow in this order, all aligned."""
    metrics = ClassificationMetrics(3, top_k=(2,))
    logits = torch.tensor([[9.0, 1, 0], [0, 9, 1], [0, 9, 1], [9, 0, 1]])
    metrics.update(logits, torch.tensor([0, 1, 2, 2]))
    expected = """\
texts                   4
accuracy           0.5000
macro F1           0.4444
weighted F1        0.3333
calibration error  0.4995
top-2 accuracy     1.0000

class     precision  recall      F1  support
World        0.5000  1.0000  0.6667        1
Sports       0.5000  1.0000  0.6667        1
Sci/Tech     0.0000  0.0000  0.0000        2

label / prediction  World  Sports  Sci/Tech
World                   1       0         0
Sports                  0       1         0
Sci/Tech                1       1         0"""
    assert str(metrics.report(["World", "Sports", "Sci/Tech"])) == expected


def test_a_multilabel_report_prints_as_two_tables():
    """There are no confusions among labels that do not exclude each other."""
    metrics = MultilabelMetrics(2)
    metrics.update(torch.tensor([[1.0, -1.0], [1.0, -1.0]]), torch.tensor([[1, 0], [0, 1]]))
    expected = """\
texts             2
accuracy     0.5000
micro F1     0.5000
macro F1     0.3333
weighted F1  0.3333

class  precision  recall      F1  support
0         0.5000  1.0000  0.6667        1
1         0.0000  0.0000  0.0000        1"""
    assert str(metrics.report()) == expected


def test_wide_combining_and_unprintable_names_stay_aligned():
    """Every line of a table takes the same number of terminal columns."""
    printed = str(report_of(["新闻", "cafe\u0301", "two\nlines", "\udcff", 7]))
    table = printed.split("\n\n")[1].splitlines()
    columns = [line.rindex("1.0000") for line in table[1:]]
    assert table[1].startswith("新闻 ")
    assert columns[0] == columns[2] - 2  # two characters that take four columns
    assert columns[1] == columns[2] + 1  # an accent that takes none
    assert table[3].startswith("two\\nlines")
    assert table[4].startswith("\\udcff")
    printed.encode()


def test_many_classes_print_without_their_confusions():
    """A confusion matrix wider than a screen is not printed, but the report has it."""
    report = report_of(range(21))
    assert "prediction" not in str(report)
    assert len(report.confusion) == 21
    assert "prediction" in str(report_of(range(20)))


def test_a_report_turns_into_json():
    """The JSON holds all values of the report."""
    report = report_of(["no", None], top_k=(1, 2))
    data = json.loads(report.to_json())
    assert data == report.to_dict()
    assert data["accuracy"] == 1.0
    assert data["confusion"] == [[1, 0], [0, 1]]
    assert data["top_k_accuracy"] == {"1": 1.0, "2": 1.0}
    assert data["classes"][1] == {
        "label": None,
        "precision": 1.0,
        "recall": 1.0,
        "f1": 1.0,
        "support": 1,
    }


def test_labels_that_json_does_not_know_become_strings():
    """A tuple, an infinity or any other hashable may name a class; NumPy's numbers are numbers."""
    data = report_of([("a", 1), math.inf, True, np.int64(3), np.str_("x")]).to_dict()
    assert [entry["label"] for entry in data["classes"]] == ["('a', 1)", "inf", True, 3, "x"]
    json.dumps(data)


def test_a_multilabel_report_turns_into_json():
    """A report of several labels keeps the number of texts and its figures."""
    metrics = MultilabelMetrics(1)
    metrics.update(torch.tensor([[1.0]]), torch.tensor([[1]]))
    data = json.loads(metrics.report(["urgent"]).to_json(indent=None))
    assert data["num_texts"] == 1
    assert data["micro_f1"] == 1.0
    assert data["classes"][0]["label"] == "urgent"


def test_equal_reports_compare_equal():
    """Reports compare by value."""
    assert report_of("ab") == report_of("ab")
    assert report_of("ab") != report_of("ac")


def test_a_table_of_text_is_aligned_on_either_side():
    """Texts stand at the left without spaces behind them; a table without rows is empty."""
    rows = [["labels", "business, sports"], ["words", "12"]]
    assert text_table(rows, right=False) == "labels  business, sports\nwords   12"
    assert text_table(rows) == "labels  business, sports\nwords                 12"
    assert text_table([]) == ""
