"""`TextClassifier`: unknown labels, tables of labels, thresholds."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_estimator import LABELS, SMALL, TEXTS, TOPICS
from textrnn import TextClassifier
from textrnn.errors import InvalidTypeError, InvalidValueError, MissingKeyError

COLUMNS = {"sport": [0, 0, 1, 1], "oil": [1, 1, 0, 0], "up": [1, 0, 0, 0]}
TABLE = pd.DataFrame({name: column * 8 for name, column in COLUMNS.items()})
# Predictions must be exact, whichever words are hidden in training.
EXACT = {"epochs": 40, "word_dropout": 0.0, "embedding_dropout": 0.0, "dropout": 0.0}


def small(**params):
    """Return a classifier that learns the texts in a moment."""
    return TextClassifier(**{**SMALL, **params})


@pytest.fixture(scope="module", name="several")
def _several():
    return small().fit(TEXTS, TOPICS)


@pytest.fixture(scope="module", name="table")
def _table():
    return small(**EXACT).fit(TEXTS, TABLE)


def fit_with_eval_set(labels):
    """Return a function that fits on the same labels and evaluates on others."""
    return lambda texts, given: small(epochs=1).fit(TEXTS, labels, eval_set=(texts, given))


@pytest.mark.parametrize(
    ("trained", "given"), [(["0", "1"], [0, 1]), ([0, 1], ["0", "1"]), (["a", "b"], ["a", "b "])]
)
def test_a_label_written_otherwise_is_an_error_everywhere(trained, given):
    """`score`, `evaluate` and `fit` name the label, its place and the known labels."""
    labels, others = trained * 16, [*trained * 8, *given * 8]
    classifier = small(epochs=1).fit(TEXTS, labels)
    wrong = next(each for each in given if each not in trained)
    row = others.index(wrong)
    calls = {
        "labels": [classifier.score, classifier.evaluate],
        "eval_set[1]": [fit_with_eval_set(labels)],
    }
    for argument, functions in calls.items():
        for function in functions:
            with pytest.raises(MissingKeyError) as caught:
                function(TEXTS, others)
            place, known = f"`{argument}[{row}]`", ", ".join(map(repr, trained))
            message = f"No label {wrong!r}, as in {place}; there are: {known}."
            assert str(caught.value) == message


def test_an_unknown_label_is_an_error_of_an_evaluation(several):
    """`evaluate` and `fit` name the label, its place and the known labels."""
    classifier = small(epochs=1).fit(TEXTS, LABELS)
    for functions, labels, wrong in (
        ((classifier.evaluate, fit_with_eval_set(LABELS)), [*LABELS[1:], "gas"], "'gas'"),
        ((several.evaluate, fit_with_eval_set(TOPICS)), [*TOPICS[1:], ["oil", "gas"]], "'gas'"),
    ):
        for function in functions:
            with pytest.raises(MissingKeyError, match=rf"{wrong}, as in `\S+\[31\]`; there are: "):
                function(TEXTS, labels)


def test_an_unknown_label_is_a_wrong_prediction_of_a_score(several):
    """Cross-validation goes on where a rare label is missing from the training texts."""
    classifier = small(epochs=2).fit(TEXTS, LABELS)
    for fitted, labels, new in ((classifier, LABELS, "gas"), (several, TOPICS, ["oil", "gas"])):
        right = fitted.score(TEXTS, labels) * 32
        first = fitted.score(TEXTS[:1], labels[:1])
        with pytest.warns(UserWarning, match=r"1 texts .*, `labels\[0\]`. They count as errors"):
            assert fitted.score(TEXTS, [new, *labels[1:]]) == (right - first) / 32
        with pytest.raises(MissingKeyError, match=r"'gas', as in `labels\[0\]`; there are: "):
            fitted.score(TEXTS, [new] * 32)


def test_score_is_the_accuracy_of_the_report(several):
    """`score` and `evaluate` measure the same predictions."""
    labels = [*LABELS[:20], *LABELS[:12][::-1]]
    classifier = small(epochs=2).fit(TEXTS, LABELS)
    assert classifier.score(TEXTS, labels) == classifier.evaluate(TEXTS, labels).accuracy
    assert 0 < classifier.score(TEXTS, labels) < 1
    shuffled = [*TOPICS[:20], *TOPICS[:12][::-1]]
    assert several.score(TEXTS, shuffled) == several.evaluate(TEXTS, shuffled).accuracy


def test_the_columns_of_a_data_frame_are_the_labels(table):
    """Column names are the classes, in their order; predictions are a matrix."""
    assert table.classes_.tolist() == ["sport", "oil", "up"]
    assert (table.predict(TEXTS) == TABLE.to_numpy()).all()
    assert table.score(TEXTS, TABLE) == 1.0
    assert [each.label for each in table.evaluate(TEXTS, TABLE).classes] == ["sport", "oil", "up"]


def test_data_frames_are_compared_by_column_name(table):
    """The order of the columns does not matter; other columns are an error."""
    reordered = TABLE[["up", "sport", "oil"]]
    assert table.score(TEXTS, reordered) == 1.0
    assert table.evaluate(TEXTS, reordered).accuracy == 1.0
    assert table.score(TEXTS, TABLE.to_numpy()) == 1.0
    with pytest.raises(MissingKeyError, match="No label 'gas', as in the columns of `labels`"):
        table.score(TEXTS, TABLE.rename(columns={"oil": "gas"}))
    with pytest.raises(InvalidValueError, match="a column for each label, also 'up', but got"):
        table.score(TEXTS, TABLE[["oil", "sport"]])


def test_column_names_are_saved(table, tmp_path):
    """A saved classifier has the column names."""
    table.save(tmp_path / "model")
    loaded = TextClassifier.load(tmp_path / "model")
    assert loaded.classes_.tolist() == ["sport", "oil", "up"]
    assert loaded.score(TEXTS, TABLE[["oil", "up", "sport"]]) == 1.0


def test_a_column_vector_gives_the_model_of_a_column():
    """A matrix with one column has one label per text."""
    vector = np.array(LABELS)[:, np.newaxis]
    classifier, other = small(epochs=2).fit(TEXTS, vector), small(epochs=2).fit(TEXTS, LABELS)
    assert not classifier.multi_label_
    assert (classifier.predict_proba(TEXTS) == other.predict_proba(TEXTS)).all()
    assert classifier.score(TEXTS, vector) == other.score(TEXTS, LABELS)


def test_labels_written_alike_are_an_error_when_fitting():
    """1 and "1" can't both be labels."""
    with pytest.raises(InvalidValueError, match=r"or written differently, but got \[1, '1'\]"):
        small().fit(TEXTS, [1, "1"] * 16)


def test_labels_that_differ_in_blanks_give_a_warning_where_fit_is_called():
    """The warning names both labels and points at the caller."""
    with pytest.warns(UserWarning, match="blanks .*: 'sports' and 'sports '") as found:
        small(epochs=1).fit(TEXTS, [*LABELS[:-1], "sports "])
    assert [warning.filename for warning in found] == [__file__]


def test_a_table_of_texts_is_an_error_that_names_the_column(several):
    """The error says which column to pass."""
    frame = pd.DataFrame({"review": TEXTS})
    rule = r"`texts` to be a column \(a sequence\) of strings, such as texts\['review'\], but got"
    for call in (several.predict, several.predict_proba, lambda x: small().fit(x, LABELS)):
        with pytest.raises(InvalidTypeError, match=rule):
            call(frame)
    with pytest.raises(InvalidTypeError, match=r"such as texts\['review'\] or texts\['id'\], but"):
        several.predict(frame.assign(id=1))


@given(
    st.lists(st.sampled_from([*TEXTS[:4], "oil", "keeper up", ""]), min_size=1, max_size=4),
    st.data(),
)
def test_predictions_are_the_probabilities_above_the_threshold(several, texts, data):
    """`predict` and `predict_proba` agree at every threshold, also at a probability itself."""
    probabilities = several.predict_proba(texts)
    thresholds = st.sampled_from(probabilities.ravel().tolist()) | st.floats(1e-9, 1 - 1e-9)
    one = data.draw(thresholds, label="threshold")
    each = [data.draw(thresholds, label="of a label") for _ in several.classes_]
    names = several.classes_
    found = several.predict(texts, threshold=one)
    assert found == [names[row > one].tolist() for row in probabilities]
    found = several.predict(texts, threshold=dict(zip(names, each, strict=True)))
    assert found == [names[row > each].tolist() for row in probabilities]


def test_reports_use_the_same_decisions(several):
    """`evaluate` and `score` agree with `predict` at a threshold that is a probability."""
    probabilities = several.predict_proba(TEXTS)
    classifier = small(epochs=1).fit(TEXTS, TOPICS)
    classifier._fitted = several._fitted
    for limit in probabilities[:4].ravel().tolist():
        classifier.set_params(threshold=limit)
        labels = [several.classes_[row > limit].tolist() for row in probabilities]
        assert classifier.evaluate(TEXTS, labels).accuracy == 1.0
        assert classifier.score(TEXTS, labels) == 1.0
