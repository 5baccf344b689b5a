"""`TextClassifier` with libraries that take a classifier: each does what its users do with it.

The small ones belong to the extra `test`; the others are tried where they are installed.
"""

import copy
import io
import pickle
import warnings
from types import ModuleType

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GridSearchCV, cross_val_predict

from textrnn import TextClassifier
from textrnn.errors import InvalidTypeError
from textrnn.text import WordPunctTokenizer, WordTokenizer

TEXTS = np.array(
    ["oil prices soar", "stocks and oil fall", "the striker scores", "a keeper saves goals"] * 10
)
LABELS = np.array(["business", "business", "sports", "sports"] * 10)


def small(**params: object) -> TextClassifier:
    """Return a classifier that learns the toy texts in a moment."""
    defaults = {"hidden_size": 4, "embedding_size": 4, "epochs": 4, "learning_rate": 0.02}
    return TextClassifier(**defaults | {"device": "cpu", "progress": False} | params)


@pytest.fixture(name="fitted", scope="module")
def _fitted() -> TextClassifier:
    """Return a classifier that no test changes."""
    return small().fit(TEXTS, LABELS)


def installed(module: str) -> ModuleType:
    """Import a library, whose own warnings are no concern of these tests, or skip the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(module)


# Copies and files.

KINDS = {
    "plain": {},
    "without n-grams": {"ngram_order": 0},
    "another tokenizer": {"tokenizer": WordTokenizer(), "spelling": False},
    "several layers": {"num_layers": 2, "pooling": ("last", "attention"), "cell": "lstm"},
}


def joblib_dump(classifier: TextClassifier) -> TextClassifier:
    """Write and read with joblib, compressed."""
    file = io.BytesIO()
    joblib.dump(classifier, file, compress=3)
    file.seek(0)
    return joblib.load(file)


def skops_dump(classifier: TextClassifier) -> TextClassifier:
    """Write and read with skops, and trust what it found."""
    skops = installed("skops.io")
    data = skops.dumps(classifier)
    return skops.loads(data, trusted=skops.get_untrusted_types(data=data))


COPIES = {
    "pickle": lambda classifier: pickle.loads(pickle.dumps(classifier)),  # noqa: S301 - ours
    "joblib": joblib_dump,
    "deepcopy": copy.deepcopy,
    "skops": skops_dump,
}


def assert_same(one: TextClassifier, other: TextClassifier) -> None:
    """Check that all public attributes of two classifiers are equal."""
    assert one.get_params() == other.get_params()
    for name in ("history_", "metrics_", "settings_", "data_", "vocabulary_", "tokenizer_"):
        assert getattr(one, name) == getattr(other, name), name
    assert one.classes_.tolist() == other.classes_.tolist()
    assert np.array_equal(one.predict_proba(TEXTS), other.predict_proba(TEXTS))


@pytest.fixture(name="classifier", scope="module", params=KINDS)
def _classifier(request) -> TextClassifier:
    """Return a classifier of each kind, which no test changes."""
    return small(**KINDS[request.param]).fit(TEXTS, LABELS)


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_is_the_same_classifier(way, classifier, tmp_path):
    """Whatever copied it; the copy can be saved."""
    again = COPIES[way](classifier)
    assert_same(again, classifier)
    again.save(tmp_path / "model")
    loaded = TextClassifier.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(TEXTS), classifier.predict_proba(TEXTS))


@pytest.mark.parametrize("way", COPIES)
def test_a_classifier_that_is_not_fitted_is_copied(way):
    """With its parameters, and nothing else."""
    again = COPIES[way](small(tokenizer=WordTokenizer(), class_weight={"sports": 2.0}))
    assert again.get_params() == small(**again.get_params()).get_params()
    assert again.class_weight == {"sports": 2.0}
    assert not hasattr(again, "classes_")


def test_training_a_copy_leaves_the_original(classifier):
    """They share no weights."""
    before = classifier.predict_proba(TEXTS)
    again = copy.deepcopy(classifier).set_params(warm_start=True).fit(TEXTS, LABELS)
    assert not np.array_equal(again.predict_proba(TEXTS), before)
    assert np.array_equal(classifier.predict_proba(TEXTS), before)


SOME_LABELS = {
    "lists": [["oil", "up"], ["oil", "stocks"], {"sports"}, []] * 10,
    "tuples": [(1, "a"), (2, "b")] * 20,
    "numbers": [0.5, 1.5] * 20,
    "a matrix": np.eye(2)[[0, 1] * 20],
}


@pytest.mark.parametrize("kind", SOME_LABELS)
def test_labels_of_any_kind_are_copied(kind):
    """Predictions keep their form."""
    classifier = small(epochs=1).fit(TEXTS, SOME_LABELS[kind])
    for way in COPIES.values():
        again = way(classifier)
        assert_same(again, classifier)
        assert repr(again.predict(TEXTS)) == repr(classifier.predict(TEXTS))


def test_what_a_copy_costs_as_a_small_file_is_known(tmp_path):
    """A copy keeps the texts held out, by which a saved model card compares."""
    texts, labels = np.tile(TEXTS, 3), np.tile(LABELS, 3)
    classifier = small().fit(texts, labels)
    cards = []
    for each in (classifier, copy.deepcopy(classifier)):
        each.save(tmp_path / "model", weights="int8")
        cards.append((tmp_path / "model" / "README.md").read_text())
    assert cards[0] == cards[1]


def test_a_copy_leaves_global_generators_alone(fitted):
    """Its network draws no initial weights."""
    state = torch.get_rng_state()
    pickle.loads(pickle.dumps(fitted))  # noqa: S301 - ours
    assert torch.equal(torch.get_rng_state(), state)


def test_a_copy_from_a_gpu_comes_to_the_cpu_where_there_is_none(fitted, monkeypatch):
    """A pickle of another machine can be read."""
    model = copy.deepcopy(fitted)._fitted
    state = {**model.__getstate__(), "device": "cuda:7"}
    monkeypatch.setattr(type(model), "__getstate__", lambda _self: state)
    again = copy.deepcopy(fitted)
    assert {str(each.device) for each in again.network_.parameters()} == {"cpu"}
    assert np.array_equal(again.predict_proba(TEXTS), fitted.predict_proba(TEXTS))


def test_skops_names_the_types_to_trust(fitted):
    """They are three, and without trust nothing is loaded."""
    skops, errors = installed("skops.io"), installed("skops.io.exceptions")
    data = skops.dumps(fitted)
    types = skops.get_untrusted_types(data=data)
    classes = (type(fitted), type(fitted._fitted), WordPunctTokenizer)
    assert types == [f"{each.__module__}.{each.__name__}" for each in classes]
    with pytest.raises(errors.UntrustedTypesFoundException, match="TextClassifier"):
        skops.loads(data)


def test_mlflow_keeps_it_in_its_default_format(fitted, tmp_path):
    """`mlflow.sklearn` writes it with skops, and reads it with predictions."""
    installed("mlflow")
    sklearn, pyfunc = installed("mlflow.sklearn"), installed("mlflow.pyfunc")
    types = [
        "textrnn.estimator.classifier.TextClassifier",
        "textrnn.estimator.model.Model",
        "textrnn.text.tokenizers.WordPunctTokenizer",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlflow's own, of which there are many
        sklearn.save_model(fitted, tmp_path / "model", skops_trusted_types=types)
        assert_same(sklearn.load_model(str(tmp_path / "model")), fitted)
        loaded = pyfunc.load_model(str(tmp_path / "model"))
        assert list(loaded.predict(TEXTS)) == fitted.predict(TEXTS).tolist()


def test_mlflow_keeps_a_saved_folder(fitted, tmp_path):
    """A Python model with the folder as its artifact needs no type to be trusted."""
    pyfunc = installed("mlflow.pyfunc")

    class Model(pyfunc.PythonModel):
        """Predict with a saved classifier."""

        def load_context(self, context):
            self.classifier = TextClassifier.load(context.artifacts["model"])

        def predict(self, context, model_input, params=None):  # noqa: ARG002 - mlflow's
            return self.classifier.predict(model_input["text"])

    fitted.save(tmp_path / "classifier")
    artifacts = {"model": str(tmp_path / "classifier")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlflow's own, of which there are many
        pyfunc.save_model(tmp_path / "flow", python_model=Model(), artifacts=artifacts)
        loaded = pyfunc.load_model(str(tmp_path / "flow"))
        found = loaded.predict(pd.DataFrame({"text": TEXTS}))
    assert list(found) == fitted.predict(TEXTS).tolist()


# Tables.


@pytest.mark.parametrize(
    ("table", "column", "named"),
    [
        (pd.DataFrame({"text": TEXTS}), "text", r"texts\['text'\]"),
        (pl.DataFrame({"text": TEXTS}), "text", r"texts\['text'\]"),
        (TEXTS[:, np.newaxis], (slice(None), 0), r"texts\[:, 0\]"),
    ],
    ids=["pandas", "polars", "numpy"],
)
@pytest.mark.parametrize("method", ["predict", "decision_function", "fit"])
def test_a_table_with_one_column_is_refused_by_its_column(fitted, table, column, named, method):
    """The error names the column to pass."""
    arguments = (LABELS,) if method == "fit" else ()
    classifier = small() if method == "fit" else fitted
    with pytest.raises(InvalidTypeError, match=f"a column .* such as {named}, but got"):
        getattr(classifier, method)(table, *arguments)
    getattr(classifier, method)(table[column], *arguments)


# Libraries that take a classifier.


def test_scikit_learn_ensembles_searches_and_calibrates():
    """With the weights of texts, which reach every fit."""
    weights = np.linspace(0.5, 2, len(TEXTS))
    voting = VotingClassifier([("a", small()), ("b", small(cell="rnn"))], voting="soft")
    assert voting.fit(TEXTS, LABELS, sample_weight=weights).score(TEXTS, LABELS) == 1.0
    calibrated = CalibratedClassifierCV(small(), cv=2, method="isotonic")
    calibrated.fit(TEXTS, LABELS, sample_weight=weights)
    assert calibrated.predict_proba(TEXTS).shape == (40, 2)
    search = GridSearchCV(small(ngram_order=0), {"epochs": [1, 8]}, cv=2)
    assert search.fit(TEXTS, LABELS, sample_weight=weights).best_params_ == {"epochs": 8}


def test_cleanlab_finds_wrong_labels():
    """From the probabilities of cross-validation, and around the classifier itself."""
    filtering = installed("cleanlab.filter")
    ids = np.array([0, 0, 1, 1] * 10)
    wrong = ids.copy()
    wrong[[3, 8]] ^= 1
    # Few words would be learned by heart.
    classifier = small(ngram_order=1, spelling=False, epochs=2)
    probabilities = cross_val_predict(classifier, TEXTS, wrong, cv=4, method="predict_proba")
    issues = filtering.find_label_issues(wrong, probabilities, n_jobs=1)
    assert np.flatnonzero(issues).tolist() == [3, 8]


def test_mapie_gives_sets_of_labels(fitted):
    """Sets that have the label with the probability asked for."""
    mapie = installed("mapie.classification")
    texts = TEXTS.astype(object)
    conformal = mapie.SplitConformalClassifier(fitted, confidence_level=0.9, prefit=True)
    predicted, sets = conformal.conformalize(texts, LABELS).predict_set(texts)
    assert predicted.tolist() == LABELS.tolist()
    assert sets.shape == (40, 2, 1)
    assert sets[np.arange(40), (LABELS == "sports").astype(int), 0].mean() >= 0.9


def test_optuna_tunes_parameters():
    """An objective fits a classifier and gives its loss on held-out texts."""
    optuna = installed("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    valid = (TEXTS[:8], LABELS[:8])

    def objective(trial):
        epochs = trial.suggest_int("epochs", 1, 8)
        return small(epochs=epochs).fit(TEXTS, LABELS, valid).metrics_["log_loss"]

    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"epochs": [1, 8]}))
    study.optimize(objective, n_trials=2)
    assert study.best_params == {"epochs": 8}


def test_lime_explains_a_prediction(fitted):
    """The word that speaks for a label has the largest weight."""
    explainers = installed("lime.lime_text")
    explainer = explainers.LimeTextExplainer(class_names=fitted.classes_, random_state=0)
    text = "and oil prices saves"
    found = explainer.explain_instance(text, fitted.predict_proba, num_samples=100).as_list()
    assert {word for word, _ in found} == set(text.split())


def test_shap_explains_a_prediction(fitted):
    """Values of words add up to the change of the probabilities."""
    shap = installed("shap")

    def probabilities(texts):
        return fitted.predict_proba(list(texts))

    explainer = shap.Explainer(probabilities, shap.maskers.Text(r"\W+"), silent=True)
    text = "oil prices saves"
    found = explainer([text])
    values = found.values  # noqa: PD011 - they are SHAP's
    assert values.shape == (1, 3, 2)
    total = values[0].sum(axis=0) + found.base_values[0]
    np.testing.assert_allclose(total, probabilities([text])[0], atol=1e-6)
