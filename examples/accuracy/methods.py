"""Methods to compare: recipes of `TextClassifier`, two linear models, fastText, Vowpal Wabbit."""

import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from textrnn import TextClassifier
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    expected,
    import_extra,
    show,
)

__all__ = [
    "BASELINES",
    "RECIPES",
    "FastText",
    "Fitted",
    "LinearSvc",
    "Method",
    "Recipe",
    "TfIdf",
    "VowpalWabbit",
    "plain_line",
    "read_recipe",
]

_EXTRA = "benchmarks"
_MARKS = re.compile(r"([.!?,:;'\"()/])")
_UNLABELLED = "unlabelled"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Args:
        predict: Function from texts to class ids.
        facts: Properties of the model for the result file. Default: none.
    """

    predict: Callable[[Sequence[str]], Sequence[int]]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """A method of text classification."""

    @property
    def name(self) -> str:
        """Name on the command line."""

    @property
    def title(self) -> str:
        """Name in a report."""

    @property
    def baseline(self) -> bool:
        """Whether other methods are compared with it."""

    @property
    def random(self) -> bool:
        """Whether the model depends on the seed."""

    @property
    def unlabelled(self) -> bool:
        """Whether it also uses unlabelled texts."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings for the result file."""

    def prepare(self) -> None:
        """Check the settings and import optional packages."""

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        *,
        seed: int,
        unlabelled: Sequence[str] | None = None,
    ) -> Fitted:
        """Train a model."""


@dataclass(frozen=True)
class TfIdf:
    """TF-IDF of words and pairs of words with logistic regression, from scikit-learn."""

    name: str = "tf-idf"
    title: str = "TF-IDF + logistic regression"
    baseline: bool = True
    random: bool = False
    unlabelled: bool = False
    ngrams: int = 2
    strength: float = 10.0
    iterations: int = 1000

    @property
    def settings(self) -> Mapping[str, Any]:
        """Arguments of the scikit-learn classes that differ from their defaults."""
        return {
            "ngram_range": [1, self.ngrams],
            "sublinear_tf": True,
            "C": self.strength,
            "max_iter": self.iterations,
        }

    def prepare(self) -> None:
        """Import scikit-learn."""
        import_extra("sklearn.feature_extraction.text", extra=_EXTRA)
        import_extra("sklearn.linear_model", extra=_EXTRA)

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        *,
        seed: int,
        unlabelled: Sequence[str] | None = None,
    ) -> Fitted:
        """Train the model, which does not depend on the seed."""
        del seed, unlabelled
        words = import_extra("sklearn.feature_extraction.text", extra=_EXTRA)
        linear = import_extra("sklearn.linear_model", extra=_EXTRA)
        vectorizer = words.TfidfVectorizer(ngram_range=(1, self.ngrams), sublinear_tf=True)
        model = linear.LogisticRegression(C=self.strength, max_iter=self.iterations)
        model.fit(vectorizer.fit_transform(texts), labels)
        facts = {"features": len(vectorizer.vocabulary_), "iterations": int(model.n_iter_.max())}
        return Fitted(lambda rows: model.predict(vectorizer.transform(rows)).tolist(), facts)


@dataclass(frozen=True)
class LinearSvc:
    """A linear support vector machine on TF-IDF of words and characters, from scikit-learn."""

    name: str = "linear-svc"
    title: str = "LinearSVC, words + characters"
    baseline: bool = True
    random: bool = False
    unlabelled: bool = False
    ngrams: int = 2
    characters: tuple[int, int] = (2, 5)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Arguments of the scikit-learn classes that differ from their defaults."""
        return {
            "words": {"ngram_range": [1, self.ngrams], "sublinear_tf": True},
            "characters": {
                "analyzer": "char_wb",
                "ngram_range": [*self.characters],
                "sublinear_tf": True,
            },
        }

    def prepare(self) -> None:
        """Import scikit-learn."""
        for part in ("feature_extraction.text", "pipeline", "svm"):
            import_extra(f"sklearn.{part}", extra=_EXTRA)

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        *,
        seed: int,
        unlabelled: Sequence[str] | None = None,
    ) -> Fitted:
        """Train the model, which does not depend on the seed."""
        del seed, unlabelled
        features = import_extra("sklearn.feature_extraction.text", extra=_EXTRA)
        pipelines = import_extra("sklearn.pipeline", extra=_EXTRA)
        svm = import_extra("sklearn.svm", extra=_EXTRA)
        parts = [
            features.TfidfVectorizer(**arguments | {"ngram_range": tuple(arguments["ngram_range"])})
            for arguments in self.settings.values()
        ]
        model = pipelines.make_pipeline(pipelines.make_union(*parts), svm.LinearSVC())
        model.fit(texts, labels)
        facts = {"features": sum(len(part.vocabulary_) for part in parts)}
        return Fitted(lambda rows: model.predict(rows).tolist(), facts)


@dataclass(frozen=True)
class FastText:
    """fastText with pairs of words, on lower-case texts with separated punctuation.

    It runs in one thread, because results of several threads are not reproducible.
    """

    name: str = "fasttext"
    title: str = "fastText, 5 epochs"
    baseline: bool = True
    random: bool = True
    unlabelled: bool = False
    epochs: int = 5
    learning_rate: float = 0.5

    @property
    def settings(self) -> Mapping[str, Any]:
        """Arguments of `train_supervised` that differ from their defaults."""
        return {"wordNgrams": 2, "epoch": self.epochs, "lr": self.learning_rate, "thread": 1}

    def prepare(self) -> None:
        """Import fastText."""
        import_extra("fasttext", extra=_EXTRA)

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        *,
        seed: int,
        unlabelled: Sequence[str] | None = None,
    ) -> Fitted:
        """Train on a file of lines in random order."""
        del unlabelled
        fasttext = import_extra("fasttext", extra=_EXTRA)
        order = np.random.default_rng(seed).permutation(len(texts)).tolist()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "train.txt")
            with path.open("w", encoding="utf-8", errors="replace") as file:
                file.writelines(f"__label__{labels[i]} {plain_line(texts[i])}\n" for i in order)
            model = fasttext.train_supervised(str(path), seed=seed, verbose=0, **self.settings)

        def predict(rows: Sequence[str]) -> list[int]:
            found, _ = model.predict([plain_line(text) for text in rows])
            return [int(answer[0].removeprefix("__label__")) for answer in found]

        return Fitted(predict, {"words": len(model.words)})


@dataclass(frozen=True)
class VowpalWabbit:
    """Vowpal Wabbit with pairs of words, on lower-case texts with separated punctuation."""

    name: str = "vowpal-wabbit"
    title: str = "Vowpal Wabbit"
    baseline: bool = True
    random: bool = True
    unlabelled: bool = False
    passes: int = 5

    @property
    def settings(self) -> Mapping[str, Any]:
        """Options of the command line that differ from their defaults."""
        return {"ngram": 2, "passes": self.passes, "b": 24, "loss_function": "logistic"}

    def prepare(self) -> None:
        """Import Vowpal Wabbit."""
        import_extra("vowpalwabbit", extra=_EXTRA)

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        *,
        seed: int,
        unlabelled: Sequence[str] | None = None,
    ) -> Fitted:
        """Train on a file of lines in random order, with one classifier against all per class."""
        del unlabelled
        vowpal = import_extra("vowpalwabbit", extra=_EXTRA)
        order = np.random.default_rng(seed).permutation(len(texts)).tolist()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "train.txt")
            with path.open("w", encoding="utf-8", errors="replace") as file:
                file.writelines(f"{labels[i] + 1} {_features(texts[i])}\n" for i in order)
            files = {"data": path, "cache_file": Path(folder, "train.cache")}
            options = {"oaa": max(labels) + 1, **self.settings, **files}
            words = [f"{'-' * min(len(key), 2)}{key} {value}" for key, value in options.items()]
            model = vowpal.Workspace(" ".join([*words, "--quiet"]))

        def predict(rows: Sequence[str]) -> list[int]:
            return [int(model.predict(_features(text))) - 1 for text in rows]

        return Fitted(predict)


def _features(text: str) -> str:
    """Return a text as Vowpal Wabbit reads it, without the signs that it reserves."""
    return "| " + plain_line(text).replace(":", "COLON").replace("|", "BAR")


def plain_line(text: str) -> str:
    """Return a text as one line in lower case with separated punctuation."""
    cut = _MARKS.sub(r" \1 ", text.replace("<br />", " ").lower())
    return " ".join(cut.replace("__label__", " ").split())  # reserved by fastText for labels


@dataclass(frozen=True)
class Recipe:
    """`TextClassifier` with some settings.

    Args:
        name: Name on the command line.
        settings: Arguments of `TextClassifier`, and `unlabelled`: whether to use the unlabelled
            texts of the data set. Default: none.
        device: Device for training. Default: "auto".
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"

    @property
    def title(self) -> str:
        """Name in a report."""
        return f"textrnn, {self.name}"

    @property
    def baseline(self) -> bool:
        """A recipe is not a baseline."""
        return False

    @property
    def random(self) -> bool:
        """Weights and the order of the texts depend on the seed."""
        return True

    @property
    def unlabelled(self) -> bool:
        """Whether the settings include `unlabelled`."""
        return bool(self.settings.get(_UNLABELLED, False))

    def prepare(self) -> None:
        """Raise an error for invalid settings."""
        if not isinstance(self.settings.get(_UNLABELLED, False), bool):
            raise InvalidTypeError(
                expected(_UNLABELLED, "true or false", self.settings[_UNLABELLED])
            )
        self._classifier(seed=0)

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        *,
        seed: int,
        unlabelled: Sequence[str] | None = None,
    ) -> Fitted:
        """Train a `TextClassifier`."""
        classifier = self._classifier(seed=seed).fit(texts, labels, unlabelled=unlabelled)
        facts = {
            "settings": dict(classifier.settings_),
            "epochs": classifier.history_[-1]["epoch"],
            "stopped": classifier.stopped_,
            "metrics": dict(classifier.metrics_),
            "weights": sum(weight.numel() for weight in classifier.network_.parameters()),
            "words": len(classifier.vocabulary_),
        }
        return Fitted(lambda rows: classifier.predict(rows).tolist(), facts)

    def _classifier(self, *, seed: int) -> TextClassifier:
        classifier = TextClassifier(seed=seed, device=self.device)
        arguments = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.settings.items()
            if name != _UNLABELLED
        }
        return classifier.set_params(**arguments)


BASELINES: dict[str, Method] = {
    method.name: method
    for method in (
        TfIdf(),
        LinearSvc(),
        VowpalWabbit(),
        FastText(),
        FastText("fasttext-25", "fastText, 25 epochs", epochs=25, learning_rate=1.0),
    )
}
"""Baselines by name; fastText has 25 epochs as well, for small data sets."""

RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "fast": {"preset": "fast"},
    "best": {"preset": "best"},
    "best-unlabelled": {"preset": "best", "unlabelled": True},
}
"""Named settings of `TextClassifier`."""


def read_recipe(words: Sequence[str], *, device: str) -> Recipe:
    """Parse a recipe: a name, and settings as `key=value` with JSON or plain strings."""
    name, *pairs = words
    if not _NAME.fullmatch(name):
        rule = "a recipe name of lower-case letters, digits, hyphens and dots"
        raise InvalidValueError(f"Expected {rule}, but got {show(name)}.")
    if name in BASELINES:
        raise InvalidValueError(f"Expected a recipe, but {show(name)} is a baseline.")
    if not pairs and name not in RECIPES:
        raise InvalidValueError(
            f"There is no recipe {show(name)}; choose from: {', '.join(RECIPES)}. A new one needs "
            "settings: --recipe NAME key=value ..."
        )
    if pairs and name in RECIPES:
        raise InvalidValueError(f"The recipe {show(name)} has fixed settings: choose another name.")
    settings = dict(RECIPES.get(name, {}))
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark or not key:
            raise InvalidValueError(f"Expected a setting as key=value, but got {show(pair)}.")
        if key in {"seed", "device"}:
            raise InvalidValueError(f"Expected {key!r} from --{key.replace('seed', 'seeds')}.")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return Recipe(name, settings, device)
