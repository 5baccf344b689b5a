"""What is compared: recipes of `TextClassifier` beside a linear model and fastText."""

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
    "Method",
    "Recipe",
    "TfIdf",
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
        predict: from texts to class ids.
        facts: what is worth keeping about it, as plain values.
    """

    predict: Callable[[Sequence[str]], Sequence[int]]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Method(Protocol):
    """A way to learn to label texts."""

    @property
    def name(self) -> str:
        """What the command line calls it."""

    @property
    def title(self) -> str:
        """What a report calls it."""

    @property
    def baseline(self) -> bool:
        """Whether it is what the others are compared with."""

    @property
    def random(self) -> bool:
        """Whether two seeds give two models of the same texts."""

    @property
    def unlabelled(self) -> bool:
        """Whether it learns from texts without labels as well."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it is told, as plain values."""

    def prepare(self) -> None:
        """Import what it needs."""

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        *,
        seed: int,
        unlabelled: Sequence[str] | None = None,
    ) -> Fitted:
        """Learn."""


@dataclass(frozen=True)
class TfIdf:
    """TF-IDF of words and pairs of words, and logistic regression, by scikit-learn."""

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
        """The arguments of scikit-learn's classes; the rest are their defaults."""
        return {
            "ngram_range": [1, self.ngrams],
            "sublinear_tf": True,
            "C": self.strength,
            "max_iter": self.iterations,
        }

    def prepare(self) -> None:
        """Import scikit-learn, or say which extra brings it."""
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
        """Learn; nothing in it is random."""
        del seed, unlabelled
        words = import_extra("sklearn.feature_extraction.text", extra=_EXTRA)
        linear = import_extra("sklearn.linear_model", extra=_EXTRA)
        vectorizer = words.TfidfVectorizer(ngram_range=(1, self.ngrams), sublinear_tf=True)
        model = linear.LogisticRegression(C=self.strength, max_iter=self.iterations)
        model.fit(vectorizer.fit_transform(texts), labels)
        facts = {"features": len(vectorizer.vocabulary_), "iterations": int(model.n_iter_.max())}
        return Fitted(lambda rows: model.predict(vectorizer.transform(rows)).tolist(), facts)


@dataclass(frozen=True)
class FastText:
    """fastText with pairs of words, on lower-case texts with marks cut off, as its manual has it.

    One thread, since several write over each other's weights and no run could be repeated.
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
        """The arguments of `train_supervised`; the rest are its defaults."""
        return {"wordNgrams": 2, "epoch": self.epochs, "lr": self.learning_rate, "thread": 1}

    def prepare(self) -> None:
        """Import fastText, or say which extra brings it."""
        import_extra("fasttext", extra=_EXTRA)

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        *,
        seed: int,
        unlabelled: Sequence[str] | None = None,
    ) -> Fitted:
        """Learn from a file of lines in an order drawn anew."""
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


def plain_line(text: str) -> str:
    r"""Return a text in one line, in lower case, with marks cut off from words.

    Example:
        >>> plain_line("Oil (Brent)\nsoars!")
        'oil ( brent ) soars !'
    """
    cut = _MARKS.sub(r" \1 ", text.replace("<br />", " ").lower())
    return " ".join(cut.replace("__label__", " ").split())  # which fastText takes for a label


@dataclass(frozen=True)
class Recipe:
    """`TextClassifier` with some settings.

    Args:
        name: what the command line calls it.
        settings: arguments of `TextClassifier`; none are its defaults. Besides there may be
            `unlabelled`: whether it learns from the data set's texts without labels as well.
        device: where to train.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"

    @property
    def title(self) -> str:
        """What a report calls it."""
        return f"textrnn, {self.name}"

    @property
    def baseline(self) -> bool:
        """No: it is what the baselines are there for."""
        return False

    @property
    def random(self) -> bool:
        """Yes: weights and order are drawn."""
        return True

    @property
    def unlabelled(self) -> bool:
        """Whether its settings say so."""
        return bool(self.settings.get(_UNLABELLED, False))

    def prepare(self) -> None:
        """Complain at once about settings that there are not."""
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
        """Learn; a tenth of the texts tells when to stop, unless the settings say otherwise."""
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
        FastText(),
        FastText("fasttext-25", "fastText, 25 epochs", epochs=25, learning_rate=1.0),
    )
}
"""What people would pick instead. The last is for few texts, which 5 epochs hardly begin with."""

RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "best": {"preset": "best"},
    "best-unlabelled": {"preset": "best", "unlabelled": True},
}
"""Settings of `TextClassifier` that have a name."""


def read_recipe(words: Sequence[str], *, device: str) -> Recipe:
    """Return the recipe that the command line describes.

    Args:
        words: a name, followed by settings as `key=value`, the value as JSON or a plain string. A
            name without settings is one of `RECIPES`.
        device: where to train.

    Raises:
        InvalidValueError: the name is not known or is none, or a setting has no value.

    Example:
        >>> read_recipe(["wide", "hidden_size=256", "cell=lstm"], device="cpu").settings
        {'hidden_size': 256, 'cell': 'lstm'}
    """
    name, *pairs = words
    if not _NAME.fullmatch(name):
        rule = "a recipe's name of small letters, digits, hyphens and dots"
        raise InvalidValueError(f"Expected {rule}, but got {show(name)}.")
    if name in BASELINES:
        raise InvalidValueError(f"Expected a recipe, but {show(name)} is a baseline.")
    if not pairs and name not in RECIPES:
        raise InvalidValueError(
            f"There is no recipe {show(name)}; there are: {', '.join(RECIPES)}. A new one needs "
            "settings: --recipe NAME key=value ..."
        )
    if pairs and name in RECIPES:
        raise InvalidValueError(f"The recipe {show(name)} has its settings: choose another name.")
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
