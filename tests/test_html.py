"""HTML for notebooks: the tables of the printed results, with all text escaped."""

import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from textrnn import TextClassifier
from textrnn._text_table import Table, html_tables, printable, text_table
from textrnn.estimator.explanation import Explanation, Explanations
from textrnn.estimator.fit_report import FitReport
from textrnn.training import ClassificationMetrics, History, MultilabelMetrics

TAGS = {"div", "table", "tr", "th", "td", "span", "svg", "polyline", "code"}
TAGS |= {"details", "summary", "strong", "small", "br"}
NAMES = st.text(max_size=20)
NASTY = ["<script>alert(1)</script>", "a & b", '"><img src=x>']


class Page(HTMLParser):
    """The cells and the text of HTML that is well formed."""

    def __init__(self, html: str | None) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        assert html is not None
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        """Accept the tags of this library, with no attributes that run or load anything."""
        assert tag in TAGS
        assert not {name for name, _ in attrs if name.startswith("on") or name in {"src", "href"}}
        if tag not in {"br", "polyline"}:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"th", "td"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        """Check that the innermost tag ends."""
        assert tag == "polyline" or self.open.pop() == tag

    def handle_data(self, data):
        """Keep the text."""
        self.text += data
        if self.open and self.open[-1] in {"th", "td"}:
            self.rows[-1][-1] += data


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=4), st.booleans())
def test_a_table_has_the_same_cells_in_html(pairs, head):
    """All text is escaped, whatever it is."""
    rows = [list(map(printable, pair)) for pair in pairs]
    html = html_tables([Table(rows, head=head)] * 2)
    assert Page(html).rows == rows * 2
    assert html.count("font-weight:bold") == 4 * head


@given(NAMES)
def test_a_sentence_stands_below_its_table(sentence):
    """It is escaped as well."""
    page = Page(html_tables([Table([["a"]]), printable(sentence)]))
    assert page.text == "a" + printable(sentence)


def test_a_table_takes_its_colours_from_the_page():
    """There is no background and no colour but a half transparent grey; a wide table scrolls."""
    html = html_tables([Table([["a", "b"], ["c", "1"]])])
    assert set(re.findall(r"(?:color|background)[^;\"]*", html)) == set()
    assert set(re.findall(r"rgba?\([^)]*\)", html)) == {"rgba(128,128,128,0.4)"}
    assert "overflow:auto" in html


@given(st.lists(NAMES, min_size=2, max_size=4))
def test_a_report_shows_its_tables(labels):
    """Cells are those of the printed tables, figure by figure."""
    metrics = ClassificationMetrics(len(labels), top_k=(2,))
    metrics.update(torch.eye(len(labels)) * 9, torch.zeros(len(labels), dtype=torch.long))
    report = metrics.report(labels)
    rows = Page(report._repr_html_()).rows
    assert rows[:2] == [["texts", str(len(labels))], ["accuracy", f"{report.accuracy:.4f}"]]
    assert [row[0] for row in rows[7 : 7 + len(labels)]] == list(map(printable, labels))
    size = len(labels) + 1
    tables = [rows[:6], rows[6 : 6 + size], rows[6 + size :]]
    assert "\n\n".join(map(text_table, tables)) == str(report)


def test_a_multilabel_report_shows_its_tables():
    """It has figures and classes."""
    metrics = MultilabelMetrics(2)
    metrics.update(torch.tensor([[1.0, -1.0]]), torch.tensor([[1, 0]]))
    page = Page(metrics.report(NASTY[:2])._repr_html_())
    assert [row[0] for row in page.rows[:2]] == ["texts", "accuracy"]
    assert [row[0] for row in page.rows[-2:]] == NASTY[:2]


def test_a_report_of_a_fit_shows_its_table_and_its_conclusion():
    """It has the cells and the sentence that it prints."""
    shares = {"ngrams": 0.89, "network": 0.85, "both": 0.892}
    seconds = {"ngrams": 3.0, "network": 12.0}
    report = FitReport(texts=1000, accuracy=shares, cpu_seconds=seconds, gain_error=0.003)
    page = Page(report._repr_html_())
    assert f"{text_table(page.rows)}\n\n{report.conclusion}" == str(report)
    assert page.text.endswith(report.conclusion)


@given(
    st.lists(
        st.dictionaries(NAMES | st.just("loss"), st.floats() | st.integers(), max_size=3),
        min_size=1,
        max_size=4,
    )
)
def test_any_history_shows_a_row_per_record(records):
    """A name that a record lacks has an empty cell; NaN and infinities are allowed."""
    history = History(records)
    rows = Page(history._repr_html_()).rows
    assert rows[0] == list(map(printable, history.names))
    assert len(rows) == len(records) + 1
    for row, record in zip(rows[1:], records, strict=True):
        assert [cell != "" for cell in row] == [name in record for name in history.names]


def test_a_history_shows_lines_of_losses_and_metrics():
    """A line spans its box, from the first value to the last; what is not finite is left out."""
    losses, accuracies = [1.0, math.nan, 0.25, 0.5], [0.5, 0.5, 0.5, 0.5]
    history = History(
        {"epoch": i, "seconds": 1.0, "loss": loss, "eval_accuracy": accuracy}
        for i, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True))
    )
    html = history._repr_html_()
    assert re.findall('points="([^"]+)"', html) == [
        "0.0,2.0 40.0,18.0 80.0,12.7",
        "0.0,18.0 26.7,18.0 53.3,18.0 80.0,18.0",
    ]
    assert 'stroke="currentColor"' in html
    assert Page(html).text.startswith("loss  0.5eval_accuracy  0.5epochseconds")
    assert "<svg" not in history[:1]._repr_html_()
    assert history[:0]._repr_html_() is None


@example([-1.7e308, 1.7e308])
@given(st.lists(st.floats(), min_size=2, max_size=600))
def test_a_line_stays_in_its_box(losses):
    """Values of any size and number; the last one is kept."""
    html = History({"loss": loss} for loss in losses)._repr_html_()
    finite = [loss for loss in losses if math.isfinite(loss)]
    assert ("<svg" in html) is (len(finite) >= 2)
    for points in re.findall('points="([^"]+)"', html):
        pairs = [tuple(map(float, point.split(","))) for point in points.split()]
        assert (pairs[0][0], pairs[-1][0]) == (0, 80)
        assert all(2 <= y <= 18 for _, y in pairs)
        assert 2 <= len(pairs) <= 200


def test_a_long_history_shows_its_ends():
    """The middle of more than a hundred records is left out."""
    rows = Page(History({"step": i} for i in range(101))._repr_html_()).rows
    assert rows[1:] == [[str(i)] for i in range(50)] + [["..."]] + [
        [str(i)] for i in range(51, 101)
    ]


@given(NAMES, st.lists(NAMES, max_size=4))
def test_any_explanation_is_escaped(label, words):
    """Label and words are text."""
    numbers = {"probability": 0.5, "logit": 1.0, "bias": 0.0, "residual": 0.0}
    weights = tuple(float(i) for i in range(len(words)))
    explanation = Explanation(
        label=label, predicted=True, words=tuple(words), weights=weights, **numbers
    )
    page = Page(Explanations([explanation])._repr_html_())
    assert page.text.startswith(printable(label))
    assert page.text.endswith(" ".join(map(printable, words)))


@pytest.fixture(name="fitted", scope="module")
def fixture_fitted() -> TextClassifier:
    """Return a classifier whose labels look like HTML."""
    texts, labels = ["oil prices", "the striker", "stocks"] * 40, NASTY * 40
    return TextClassifier(hidden_size=4, epochs=1, device="cpu").fit(texts, labels)


def test_a_fitted_classifier_shows_texts_metrics_labels_and_settings(fitted):
    """The settings are those that were chosen rather than given."""
    page = Page(fitted._repr_html_())
    assert page.text.startswith(repr(fitted))
    rows = {name: cells[0] for name, *cells in page.rows}
    assert (rows["training texts"], rows["held-out texts"]) == ("108", "12")
    assert rows["accuracy"] == f"{fitted.metrics_['accuracy']:.4f}"
    assert {label: rows[label] for label in NASTY} == dict.fromkeys(NASTY, "36")
    parts = page.rows.index(["", "accuracy", "blend weight", "CPU seconds"])
    assert page.rows[parts : parts + 4] == fitted.report_.rows()
    assert fitted.report_.conclusion in page.text
    settings = dict(page.rows[page.rows.index(["setting", "value"]) + 1 :])
    assert settings["batch_size"] == "8"
    assert "bidirectional" in settings
    assert not settings.keys() & {"hidden_size", "epochs", "cell", "max_vocab_size"}


def test_a_classifier_shows_where_its_texts_came_from_and_at_most_fifty_labels():
    """Texts of an `eval_set` were not held out."""
    texts, labels = [f"word{i}" for i in range(60)], list(range(60))
    settings = {"hidden_size": 2, "epochs": 1, "ngram_order": 0, "device": "cpu"}
    classifier = TextClassifier(**settings).fit(texts, labels, eval_set=(texts[:5], labels[:5]))
    page = Page(classifier._repr_html_())
    assert ["texts of eval_set", "5"] in page.rows
    assert ["49", "1"] in page.rows
    assert ["50", "1"] not in page.rows
    assert ["and 10 more", ""] in page.rows
    assert repr(classifier).endswith("  # fitted: 60 labels, 60 texts")


def test_the_repr_says_what_a_model_is(fitted, tmp_path):
    """So does that of a loaded one; a clone and a new classifier are as their parameters."""
    text = "TextClassifier(hidden_size=4, epochs=1, device='cpu')"
    assert repr(fitted) == f"{text}  # fitted: 3 labels, 120 texts"
    again = eval(repr(fitted))  # noqa: S307 - a call with the same parameters
    assert (repr(again), again.get_params()) == (text, fitted.get_params())
    assert repr(clone(fitted)) == text
    assert again._repr_html_() is None
    fitted.save(tmp_path / "model")
    loaded = TextClassifier.load(tmp_path / "model", device="cpu")
    assert repr(loaded) == repr(fitted)
    assert loaded._repr_html_() == fitted._repr_html_()


def test_a_pipeline_shows_the_classifier(fitted):
    """scikit-learn's own diagram and text have it as any step."""
    pipeline = make_pipeline(FunctionTransformer(np.asarray), fitted)
    assert "# fitted: 3 labels, 120 texts" in repr(pipeline)
    assert NASTY[0] not in pipeline._repr_html_()
