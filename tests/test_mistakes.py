"""Wrong predictions of an evaluation, and labels that are probably wrong."""

import json
import sys

import numpy as np
import pytest

from examples.text_classifier.sample import read_sample
from tests.test_estimator import SMALL
from textrnn import TextClassifier
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingDependencyError,
    MissingKeyError,
)
from textrnn.estimator import suspicious_labels
from textrnn.estimator.evaluation import Mistakes
from textrnn.training import ClassificationReport, MultilabelReport

TEXTS = ["oil prices soar", "stocks and oil fall", "the striker scores", "a keeper saves goals"] * 8
LABELS = ["business", "business", "sports", "sports"] * 8
TOPICS = [["oil", "up"], ["oil"], ["sports"], []] * 8
WEATHER = ["rain", "oil prices", "a keeper", "the striker scores goals", "stocks", ""]
KINDS = {
    "binary": (LABELS, ["sports", "business", "business", "business", "sports", "sports"]),
    "multi-class": (
        ["oil", "stocks", "striker", "keeper"] * 8,
        ["oil", "keeper", "keeper", "oil", "stocks", "oil"],
    ),
    "multi-label": (TOPICS, [["up"], ["oil", "up"], ["oil"], ["sports"], [], ["oil", "sports"]]),
    "matrix": (
        np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]] * 8),
        np.array([[0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0], [1, 0, 1]]),
    ),
}


@pytest.fixture(scope="module", name="fitted", params=KINDS)
def _fitted(request):
    labels, given = KINDS[request.param]
    return TextClassifier(**SMALL).fit(TEXTS, labels), given


def lists(labels):
    """Return the labels of texts as lists, also those of a matrix."""
    if isinstance(labels, np.ndarray) and labels.ndim == 2:
        return [np.flatnonzero(row).tolist() for row in labels]
    return [sorted(each) if isinstance(each, list) else each for each in list(labels)]


@pytest.mark.parametrize("threshold", [0.5, 0.05])
def test_mistakes_are_the_texts_with_wrong_predictions(fitted, threshold):
    """All that `predict` gets wrong, the most confident first, with the classifier's figures."""
    classifier, given = fitted
    classifier.threshold = threshold
    report = classifier.evaluate(WEATHER, given)
    predicted, given = lists(classifier.predict(WEATHER)), lists(given)
    probabilities = classifier.predict_proba(WEATHER)
    found = report.mistakes(100)
    wrong = [text for text, a, b in zip(WEATHER, predicted, given, strict=True) if a != b]
    assert sorted(each.text for each in found) == sorted(wrong) != []
    assert report.accuracy == pytest.approx(1 - len(wrong) / len(WEATHER))
    confidences = [each.confidence for each in found]
    assert confidences == sorted(confidences, reverse=True)
    for each in found:
        row = WEATHER.index(each.text)
        assert (each.label, each.predicted) == (given[row], predicted[row])
        names = classifier.classes_.tolist()
        assert list(each.probabilities) == names
        assert list(each.probabilities.values()) == pytest.approx(probabilities[row], abs=1e-6)
        (explanation,) = classifier.explain([each.text], each.explanation.label)
        assert each.explanation.words == explanation.words
        assert each.explanation.weights == pytest.approx(explanation.weights, abs=1e-5)
        assert each.explanation.predicted == explanation.predicted
        if not classifier.multi_label_:
            assert explanation.label == each.predicted
            assert each.confidence == pytest.approx(probabilities[row].max(), abs=1e-6)
            continue
        # Of all labels decided wrongly, the one decided with the highest confidence.
        sure = {
            name: value if name in each.predicted else 1 - value
            for name, value in each.probabilities.items()
            if (name in each.predicted) != (name in each.label)
        }
        assert each.confidence == max(sure.values()) == sure[explanation.label]


def test_only_the_mistakes_asked_for_are_explained(fitted, monkeypatch):
    """Evaluation explains nothing; a later fit changes no mistakes."""
    classifier, given = fitted
    calls = []
    original = sys.modules["textrnn.estimator.evaluation"].explain

    def counted(model, texts, label_id, limits):
        calls.extend(texts)
        return original(model, texts, label_id, limits)

    monkeypatch.setattr("textrnn.estimator.evaluation.explain", counted)
    report = classifier.evaluate(WEATHER, given)
    assert calls == []
    (first,) = report.mistakes(1)
    assert calls == [first.text]
    before = classifier._fitted
    classifier._fitted = None
    assert report.mistakes(1) == (first,)
    classifier._fitted = before
    assert report.mistakes(2)[0].text == first.text
    for k, error in (0, InvalidValueError), (1.5, InvalidTypeError):
        with pytest.raises(error, match="`k` to be a positive integer"):
            report.mistakes(k)


def test_reports_stay_what_they_are(fitted):
    """An evaluation is a report like any other: equal, printed and in JSON without its texts."""
    classifier, given = fitted
    report = classifier.evaluate(WEATHER, given)
    kind = MultilabelReport if classifier.multi_label_ else ClassificationReport
    assert isinstance(report, kind)
    assert report == classifier.evaluate(WEATHER, given)
    assert "_wrong" not in repr(report)
    plain = kind(**{name: value for name, value in vars(report).items() if name[0] != "_"})
    assert str(report) == str(plain)
    assert report.to_json() == plain.to_json()
    assert classifier.evaluate(TEXTS[:1], classifier.predict(TEXTS[:1])).mistakes() == ()


def test_mistakes_print_and_convert(fitted):
    """A line, HTML with everything escaped, and JSON for each."""
    classifier, given = fitted
    found = classifier.evaluate(WEATHER, given).mistakes(2)
    assert isinstance(found, Mistakes)
    first = found[0]
    lines = str(found).split("\n\n")
    assert lines == [str(each) for each in found]
    shown = ", ".join(map(str, first.label)) if classifier.multi_label_ else str(first.label)
    assert lines[0].startswith(f"labelled {shown or 'nothing'}, predicted ")
    assert lines[0].endswith(str(first.explanation))
    assert first.explanation._repr_html_() in found._repr_html_()
    facts = json.loads(found.to_json())[0]
    assert facts == json.loads(first.to_json())
    assert facts["text"] == first.text
    assert (facts["label"], facts["predicted"]) == (first.label, first.predicted)
    assert facts["explanation"] == json.loads(first.explanation.to_json())
    assert sorted(facts["probabilities"].values()) == sorted(first.probabilities.values())


def test_labels_are_escaped():
    """A label of markup or control characters does no harm, and a tuple is one label."""
    labels = [("a", "b"), "<b>\n", ("a", "b"), "<b>\n"]
    classifier = TextClassifier(network=False, device="cpu").fit(["x", "y", "x", "y"], labels)
    (one, two) = classifier.evaluate(["x", "y"], ["<b>\n", ("a", "b")]).mistakes()
    if one.text == "y":
        one, two = two, one
    assert str(one).startswith("labelled <b>\\n, predicted ('a', 'b') ")
    assert "labelled &lt;b&gt;\\n, " in one._repr_html_()
    assert two.to_dict()["label"] == "('a', 'b')"


def test_the_command_line_prints_mistakes(run_cli, tmp_path):
    """`evaluate --mistakes` adds them to the report; a label that is unknown is among them."""
    TextClassifier(**SMALL).fit(TEXTS, LABELS).save(tmp_path / "model")
    table = tmp_path / "table.csv"
    table.write_text("text,label\noil prices,sports\na keeper,sports\noil,weather\n")
    command = ("evaluate", tmp_path / "model", table, "--skip-bad-rows")
    code, plain, _ = run_cli(*command)
    assert code == 0
    code, output, _ = run_cli(*command, "--mistakes", 20)
    assert code == 0
    assert output.startswith(plain)
    lines = [line for line in output.removeprefix(plain).splitlines() if line]
    assert sorted(line.partition(",")[0] for line in lines) == [
        "labelled sports",
        "labelled weather",
    ]
    code, output, _ = run_cli(*command, "--mistakes", 1, "--json")
    facts = json.loads(output)
    (mistake,) = facts["mistakes"]
    assert mistake["predicted"] == "business"
    assert facts["accuracy"] == pytest.approx(1 / 3)
    assert run_cli(*command, "--mistakes", 0)[0] == 2
    assert "labelled" not in run_cli("evaluate", tmp_path / "model", table)[1]


def test_an_unknown_label_of_several_is_a_mistake(run_cli, tmp_path):
    """A text with all known labels right and an unknown one is wrong, and has an explanation."""
    TextClassifier(**SMALL).fit(TEXTS, TOPICS).save(tmp_path / "model")
    table = tmp_path / "table.csv"
    table.write_text("text,label\nstocks and oil fall,oil;weather\nstocks and oil fall,oil\n")
    options = ("--label-separator", ";", "--skip-bad-rows", "--json", "--mistakes", 9)
    code, output, _ = run_cli("evaluate", tmp_path / "model", table, *options)
    assert code == 0
    facts = json.loads(output)
    (mistake,) = facts["mistakes"]
    assert (mistake["label"], mistake["predicted"]) == (["oil", "weather"], ["oil"])
    assert mistake["explanation"]["label"] == "oil"
    assert facts["accuracy"] == 0.5


def flipped(labels, share=0.03, seed=0):
    """Return labels of which a share is wrong, and the positions of these."""
    generator = np.random.default_rng(seed)
    names = sorted(set(labels))
    chosen = generator.choice(len(labels), round(share * len(labels)), replace=False)
    given = list(labels)
    for position in chosen:
        given[position] = generator.choice([name for name in names if name != labels[position]])
    return given, chosen


def test_wrong_labels_of_real_texts_come_first():
    """Of 3 % of news labels that are flipped, three quarters and more are among the first 5 %."""
    texts, labels = read_sample("train", 2000)
    given, chosen = flipped(labels)
    positions, scores = suspicious_labels(texts, given, folds=3)
    assert sorted(positions.tolist()) == list(range(2000))
    assert (np.diff(scores) >= 0).all()
    assert 0 <= scores[0] <= scores[-1] <= 1
    assert np.isin(chosen, positions[:100]).mean() >= 0.75


@pytest.mark.parametrize("matrix", [False, True])
def test_wrong_labels_of_texts_with_several_come_first(matrix):
    """A label too many and one too few are found, in lists and in a matrix, in any order."""
    order = np.random.default_rng(0).permutation(60)
    names = ["oil", "sports"]
    rows = np.array([[1, 0], [0, 1], [1, 1]] * 20)[order]
    texts = np.array(["oil prices rise", "the keeper saves", "oil keeper"] * 20)[order].tolist()
    rows[7] = [0, 0]
    rows[19] = [1, 1]
    wrong = {7, 19}
    if texts[19] == "oil keeper":
        rows[19] = [1, 0]
    labels = rows if matrix else [[names[i] for i in np.flatnonzero(row)] for row in rows]
    positions, _ = suspicious_labels(texts, labels, folds=3)
    assert set(positions[:2].tolist()) == wrong


def test_any_classifier_may_judge_the_labels():
    """Its parameters are used, those by label too, and it is not fitted."""
    labels = list(LABELS)
    labels[5] = "sports"
    params = {"class_weight": {"sports": 2.0}, "threshold": {"sports": 0.3}, "epochs": 1}
    classifier = TextClassifier(**{**SMALL, **params}, ngram_order=1, spelling=False)
    positions, _ = suspicious_labels(TEXTS, labels, classifier=classifier, folds=2)
    assert positions[0] == 5
    assert not classifier.__sklearn_is_fitted__()
    assert classifier.class_weight == {"sports": 2.0}
    classifier.set_params(class_weight={"weather": 1.0})
    with pytest.raises(MissingKeyError, match="No label 'weather', as in `class_weight`"):
        suspicious_labels(TEXTS, labels, classifier=classifier)
    with pytest.raises(InvalidValueError, match="`folds` to be an integer of at least 2"):
        suspicious_labels(TEXTS, labels, folds=1)
    with pytest.raises(InvalidValueError, match=r"31|32"):
        suspicious_labels(TEXTS, labels[:-1])


def test_missing_packages_are_named(monkeypatch):
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "cleanlab.rank", None)
    with pytest.raises(MissingDependencyError, match=r"textrnn\[labels\]"):
        suspicious_labels(TEXTS, LABELS, folds=2)
