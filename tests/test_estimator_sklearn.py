"""`TextClassifier` with scikit-learn."""

import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import sklearn
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted, validate_data

from textrnn import TextClassifier
from textrnn.errors import InvalidValueError, MissingDependencyError

TEXTS = ["oil prices soar", "stocks and oil fall", "the striker scores", "a keeper saves goals"] * 6
LABELS = ["business", "business", "sports", "sports"] * 6
SMALL = {
    "cell": "rnn",
    "hidden_size": 8,
    "embedding_size": 8,
    "epochs": 8,
    "learning_rate": 0.02,
    "device": "cpu",
    "progress": False,
}


class RowClassifier(TextClassifier):
    """Take rows of numbers, which scikit-learn's checks are made of, and write them as texts.

    Everything else is the classifier's own, so the checks look at that.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        return tags

    def fit(self, X, y, sample_weight=None):  # noqa: D102, N803 - the checks call it so
        return super().fit(self._sentences(X, reset=True), y, sample_weight=sample_weight)

    def predict(self, X, *, threshold=None):  # noqa: D102, N803 - the same
        return super().predict(self._sentences(X), threshold=threshold)

    def predict_proba(self, X):  # noqa: D102, N803 - the same
        return super().predict_proba(self._sentences(X))

    def decision_function(self, X):  # noqa: D102, N803 - the same
        return super().decision_function(self._sentences(X))

    def score(self, X, y):  # noqa: D102, N803 - the same
        return float(np.mean(self.predict(X) == np.asarray(y)))

    def _sentences(self, rows, *, reset=False):
        """Write each number as a word that tells its column and its half units."""
        if not reset:
            self._model()
        rows = validate_data(self, rows, reset=reset)
        bounded = np.clip(np.floor(2 * rows), -9, 9).astype(int)
        return [" ".join(f"c{i}v{v + 9}" for i, v in enumerate(row)) for row in bounded]


NOT_FOR_TEXTS = {
    "check_classifiers_regression_target": "any hashable value is a label, fractions as well",
    "check_classifiers_multilabel_representation_invariance": (
        "a list of lists holds names of labels; only an array is a matrix of zeros and ones"
    ),
    "check_supervised_y_2d": "a table with one column is read like the column, without a warning",
    "check_estimators_unfitted": (
        "the error is textrnn's NotFittedError, for scikit-learn is no dependency; like "
        "scikit-learn's it is a ValueError and an AttributeError"
    ),
    "check_sample_weight_equivalence_on_dense_data": (
        "weighted texts and repeated ones are divided into other batches"
    ),
    "check_requires_y_none": "the error has textrnn's wording and is a TypeError",
}


def _checks():
    """Return all of scikit-learn's checks, those that do not apply marked as failing."""
    estimator = RowClassifier(
        **SMALL | {"epochs": 12, "batch_size": 16},
        bidirectional=False,
        pooling="mean",
        word_dropout=0.0,
        embedding_dropout=0.0,
    )
    with warnings.catch_warnings():
        # It tells that the classifier inherits nothing from scikit-learn, which is the point.
        warnings.filterwarnings("ignore", "Estimator RowClassifier does not inherit", UserWarning)
        checks = estimator_checks_generator(
            estimator, expected_failed_checks=NOT_FOR_TEXTS, mark="xfail"
        )
        return list(checks)


def _name(value):
    """Return a check's name; the estimator is always the same."""
    function = getattr(value, "func", value)
    return getattr(function, "__name__", "")


@pytest.mark.parametrize(("estimator", "check"), _checks(), ids=_name)
def test_scikit_learns_own_checks_pass(estimator, check):
    """`check_estimator` passes, except for checks that don't apply to texts."""
    check(estimator)


def small(**params):
    """Return a classifier that learns the toy texts in a moment."""
    return TextClassifier(**{**SMALL, **params})


def test_tags_tell_that_it_classifies_texts():
    """The tags describe a classifier of strings."""
    tags = TextClassifier().__sklearn_tags__()
    assert is_classifier(TextClassifier())
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert tags.target_tags.required
    assert tags.classifier_tags.multi_label


def test_tags_need_scikit_learn(monkeypatch):
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "sklearn.utils", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'textrnn\[sklearn\]'"):
        TextClassifier().__sklearn_tags__()


def test_parameters_are_stored_as_they_are():
    """The constructor stores its arguments, which can be read and set by name."""
    pooling, weights = ("max", "last"), {"a": 2.0}
    classifier = TextClassifier(pooling=pooling, class_weight=weights)
    params = classifier.get_params()
    assert params["pooling"] is pooling
    assert params["class_weight"] is weights
    assert TextClassifier(**params).get_params() == params
    assert classifier.set_params(epochs=3, seed=5) is classifier
    assert (classifier.epochs, classifier.seed) == (3, 5)


def test_an_unknown_parameter_lists_those_there_are():
    """An unknown name changes nothing."""
    classifier = TextClassifier()
    with pytest.raises(InvalidValueError, match=r"but got 'epoch'; there are: .*'epochs'"):
        classifier.set_params(seed=3, epoch=1)
    assert classifier.seed == 0


def test_the_repr_shows_what_is_not_default():
    """It reproduces the call."""
    assert repr(TextClassifier()) == "TextClassifier()"
    classifier = TextClassifier(cell="lstm", bidirectional=False, dropout=np.float32(0.5))
    again = eval(repr(classifier), {"TextClassifier": TextClassifier, "np": np})  # noqa: S307 - a repr of our own
    assert repr(again) == repr(classifier) != "TextClassifier()"


def test_a_repr_survives_parameters_that_cannot_be_compared():
    """An array as a parameter is shown."""
    assert "array" in repr(TextClassifier(class_weight=np.zeros(2)))


def test_clone_gives_an_unfitted_copy():
    """A clone has the same parameters and nothing else."""
    classifier = small(tokenizer=str.split).fit(TEXTS, LABELS)
    copy = clone(classifier)
    assert copy.get_params() == classifier.get_params()
    assert not hasattr(copy, "classes_")
    check_is_fitted(classifier)


def test_cross_validation_scores_strings():
    """Folds of lists of strings are fitted."""
    assert cross_val_score(small(), TEXTS, LABELS, cv=2).tolist() == [1.0, 1.0]


def test_a_grid_search_finds_its_way():
    """The best parameters are fitted again on all texts."""
    search = GridSearchCV(small(ngram_order=0), {"epochs": [1, 8]}, cv=2).fit(TEXTS, LABELS)
    assert search.best_params_ == {"epochs": 8}
    assert search.best_estimator_.predict(["oil falls"]).tolist() == ["business"]


def test_it_ends_a_pipeline():
    """Transformers may come before it."""
    clean = FunctionTransformer(lambda texts: [text.replace("0", "o") for text in texts])
    pipeline = Pipeline([("clean", clean), ("classify", small())]).fit(TEXTS, LABELS)
    assert pipeline.predict(["0il"]).tolist() == ["business"]
    assert pipeline.set_params(classify__epochs=3).get_params()["classify__epochs"] == 3


def test_its_probabilities_can_be_calibrated():
    """Calibration fits copies and uses their probabilities."""
    calibrated = CalibratedClassifierCV(small(), cv=2, method="sigmoid").fit(TEXTS, LABELS)
    assert calibrated.predict(["oil falls"]).tolist() == ["business"]
    assert calibrated.predict_proba(["oil falls"]).sum() == pytest.approx(1)


@pytest.fixture(name="routing")
def _routing():
    """Switch metadata routing on."""
    with sklearn.config_context(enable_metadata_routing=True):
        yield


class Recorder(TextClassifier):
    """Keep the number of weights, or None, of each call of `fit` and `score`."""

    calls: ClassVar[list[tuple[str, int | None]]] = []

    def fit(self, texts, labels, eval_set=None, unlabelled=None, sample_weight=None):  # noqa: D102 - the original's
        self.calls.append(("fit", sample_weight if sample_weight is None else len(sample_weight)))
        return super().fit(texts, labels, eval_set, unlabelled, sample_weight)

    def score(self, texts, labels, sample_weight=None):  # noqa: D102 - the original's
        self.calls.append(("score", sample_weight if sample_weight is None else len(sample_weight)))
        return super().score(texts, labels, sample_weight)


WEIGHTS = np.linspace(1, 2, len(TEXTS))


@pytest.fixture(name="recorder")
def _recorder():
    """Return a classifier that keeps its calls."""
    Recorder.calls.clear()
    return Recorder(**SMALL | {"epochs": 1})


@pytest.mark.usefixtures("routing")
def test_requested_weights_are_routed(recorder):
    """Cross-validation, searches and pipelines pass weights on to `fit` and `score`."""
    recorder.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    cross_validate(recorder, TEXTS, LABELS, cv=2, params={"sample_weight": WEIGHTS})
    assert recorder.calls == [("fit", 12), ("score", 12)] * 2
    recorder.calls.clear()
    search = GridSearchCV(recorder, {"seed": [0]}, cv=2)
    search.fit(TEXTS, LABELS, sample_weight=WEIGHTS)
    assert recorder.calls == [("fit", 12), ("score", 12)] * 2 + [("fit", 24)]
    recorder.calls.clear()
    pipeline = Pipeline([("classify", recorder)]).fit(TEXTS, LABELS, sample_weight=WEIGHTS)
    pipeline.score(TEXTS, LABELS, sample_weight=WEIGHTS)
    assert recorder.calls == [("fit", 24), ("score", 24)]


@pytest.mark.usefixtures("routing")
def test_requests_may_have_other_names_or_be_refused(recorder):
    """A string is the name outside, False ignores weights, and no request makes them an error."""
    with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
        cross_validate(recorder, TEXTS, LABELS, cv=2, params={"sample_weight": WEIGHTS})
    recorder.set_fit_request(sample_weight="trust").set_score_request(sample_weight=False)
    cross_validate(recorder, TEXTS, LABELS, cv=2, params={"trust": WEIGHTS})
    assert recorder.calls == [("fit", 12), ("score", None)] * 2
    again = pickle.loads(pickle.dumps(clone(recorder)))  # noqa: S301 - ours
    requests = {"sample_weight": "trust", "eval_set": None, "unlabelled": None}
    assert repr(again.get_metadata_routing()) == repr(recorder.get_metadata_routing())
    assert again.get_metadata_routing().fit.requests == requests
    assert again.get_metadata_routing().score.requests == {"sample_weight": False}


@pytest.mark.usefixtures("routing")
def test_texts_without_labels_are_routed(recorder):
    """So is an `eval_set`."""
    pipeline = Pipeline([("classify", recorder.set_fit_request(unlabelled=True, eval_set=True))])
    pipeline.set_params(classify__pretrain_epochs=1)
    pipeline.fit(TEXTS, LABELS, unlabelled=["oil"], eval_set=(TEXTS[:4], LABELS[:4]))
    data = pipeline[-1].data_
    assert (data["unlabelled_texts"], data["eval_texts"]) == (1, 4)


def test_requests_are_checked():
    """An unknown argument or a request without routing is an error; nothing is stored."""
    classifier = TextClassifier()
    with pytest.raises(
        InvalidValueError, match=r"`enable_metadata_routing` to be on; call sklearn"
    ):
        classifier.set_fit_request(sample_weight=True)
    with sklearn.config_context(enable_metadata_routing=True):
        with pytest.raises(InvalidValueError, match="one of 'sample_weight', but got 'eval_set'"):
            classifier.set_score_request(eval_set=True)
        with pytest.raises(InvalidValueError, match="'unlabelled', but got 'weight'"):
            classifier.set_fit_request(sample_weight=True, weight=True)
    assert classifier.get_metadata_routing().fit.requests["sample_weight"] is None


@pytest.mark.parametrize("module", ["sklearn", "sklearn.utils.metadata_routing"])
def test_requests_need_scikit_learn(monkeypatch, module):
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, module, None)
    call = TextClassifier().set_fit_request if module == "sklearn" else None
    call = call or TextClassifier().get_metadata_routing
    with pytest.raises(MissingDependencyError, match=r"pip install 'textrnn\[sklearn\]'"):
        call()


DECISIONS = {
    "two labels": [0, 1, 0, 1] * 6,
    "three labels": [0, 1, 2, 1] * 6,
    "several labels": [["oil"], ["oil", "up"], ["sports"], []] * 6,
    "one label or none": [["oil"], ["oil"], [], []] * 6,
}


@pytest.mark.parametrize("kind", DECISIONS)
def test_decisions_are_logits(kind):
    """They have scikit-learn's shape, and agree with probabilities and predictions."""
    classifier = small().fit(TEXTS, DECISIONS[kind])
    texts = [*TEXTS[:4], "oil striker", ""]
    decisions, probabilities = classifier.decision_function(texts), classifier.predict_proba(texts)
    assert decisions.dtype == np.float64
    if kind == "two labels":
        assert decisions.shape == (6,)
        np.testing.assert_allclose(1 / (1 + np.exp(-decisions)), probabilities[:, 1])
        assert ((decisions > 0) == classifier.predict(texts)).all()
        assert classifier.decision_function([]).shape == (0,)
        return
    assert decisions.shape == (6, len(classifier.classes_))
    assert classifier.decision_function([]).shape == (0, len(classifier.classes_))
    if kind == "three labels":
        exponentials = np.exp(decisions)
        np.testing.assert_allclose(
            exponentials / exponentials.sum(axis=1, keepdims=True), probabilities
        )
        assert (decisions.argmax(axis=1) == classifier.predict(texts)).all()
    else:
        np.testing.assert_allclose(1 / (1 + np.exp(-decisions)), probabilities)
        names = [classifier.classes_[row > 0].tolist() for row in decisions]
        assert names == classifier.predict(texts)


def test_all_of_it_works_without_scikit_learn():
    """Fitting, parameters and the repr don't import scikit-learn."""
    program = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from textrnn import TextClassifier\n"
        "classifier = TextClassifier(epochs=1, hidden_size=4, progress=False)\n"
        "classifier.set_params(seed=1).fit(['a', 'b'] * 4, [0, 1] * 4)\n"
        "print(classifier, classifier.score(['a'], [0]) in (0, 1))\n"
    )
    run = subprocess.run(  # noqa: S603 - the program is ours
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert run.stdout.startswith("TextClassifier(hidden_size=4, epochs=1, progress=False, seed=1)")
