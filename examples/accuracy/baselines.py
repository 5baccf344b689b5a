"""Baselines: linear models, fastText and Vowpal Wabbit."""

import itertools
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from examples.accuracy.methods import Fitted, Method
from textrnn.errors import import_extra

__all__ = ["BASELINES", "FastText", "LinearSvc", "NbSvm", "TfIdf", "VowpalWabbit", "plain_line"]

_EXTRA = "benchmarks"
_MARKS = re.compile(r"([.!?,:;'\"()/])")


class _Baseline:
    """A method of optional packages."""

    baseline = True
    random = False
    unlabelled = False
    modules: ClassVar[tuple[str, ...]]

    def prepare(self) -> None:
        """Import the packages."""
        self.imported()

    def imported(self) -> list[Any]:
        """Return the modules."""
        return [import_extra(name, extra=_EXTRA) for name in self.modules]


@dataclass(frozen=True)
class TfIdf(_Baseline):
    """TF-IDF of words and pairs of words with logistic regression, from scikit-learn."""

    modules = ("sklearn.feature_extraction.text", "sklearn.linear_model")
    name: str = "tf-idf"
    title: str = "TF-IDF + logistic regression"
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
        words, linear = self.imported()
        vectorizer = words.TfidfVectorizer(ngram_range=(1, self.ngrams), sublinear_tf=True)
        model = linear.LogisticRegression(C=self.strength, max_iter=self.iterations)
        model.fit(vectorizer.fit_transform(texts), labels)
        facts = {"features": len(vectorizer.vocabulary_), "iterations": int(model.n_iter_.max())}
        return Fitted(lambda rows: model.predict(vectorizer.transform(rows)).tolist(), facts)


@dataclass(frozen=True)
class LinearSvc(_Baseline):
    """A linear support vector machine on TF-IDF of words and characters, from scikit-learn."""

    modules = ("sklearn.feature_extraction.text", "sklearn.pipeline", "sklearn.svm")
    name: str = "linear-svc"
    title: str = "LinearSVC, words + characters"
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
        features, pipelines, svm = self.imported()
        parts = [
            features.TfidfVectorizer(**arguments | {"ngram_range": tuple(arguments["ngram_range"])})
            for arguments in self.settings.values()
        ]
        model = pipelines.make_pipeline(pipelines.make_union(*parts), svm.LinearSVC())
        model.fit(texts, labels)
        facts = {"features": sum(len(part.vocabulary_) for part in parts)}
        return Fitted(lambda rows: model.predict(rows).tolist(), facts)


@dataclass(frozen=True)
class NbSvm(_Baseline):
    """A support vector machine on the naive Bayes log-ratios of words and pairs of words.

    Its weights are interpolated with their mean magnitude (Wang and Manning, "Baselines and
    Bigrams", 2012). There is one machine against all other classes for each class.
    """

    modules = ("sklearn.feature_extraction.text", "sklearn.svm")
    name: str = "nb-svm"
    title: str = "NB-SVM"
    ngrams: int = 2
    smoothing: float = 1.0
    interpolation: float = 0.25

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings, as in the paper."""
        return {
            "ngram_range": [1, self.ngrams],
            "alpha": self.smoothing,
            "beta": self.interpolation,
        }

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
        features, svm = self.imported()
        marks = r"\w+|[^\w\s]"
        vectorizer = features.CountVectorizer(
            ngram_range=(1, self.ngrams), binary=True, token_pattern=marks
        )
        counts, ids = vectorizer.fit_transform(texts), np.asarray(labels)
        classes, weights, biases = np.unique(ids), [], []
        for label in classes:
            inside = self.smoothing + np.asarray(counts[ids == label].sum(axis=0)).ravel()
            outside = self.smoothing + np.asarray(counts[ids != label].sum(axis=0)).ravel()
            ratio = np.log(inside / inside.sum()) - np.log(outside / outside.sum())  # (features,)
            machine = svm.LinearSVC().fit(counts.multiply(ratio).tocsr(), ids == label)
            found = machine.coef_[0]  # (features,)
            mean = np.abs(found).mean()
            weights.append(ratio * ((1 - self.interpolation) * mean + self.interpolation * found))
            biases.append(machine.intercept_[0])

        def predict(rows: Sequence[str]) -> list[int]:
            scores = vectorizer.transform(rows) @ np.array(weights).T + biases  # (texts, classes)
            return list(classes[scores.argmax(axis=1)].tolist())

        return Fitted(predict, {"features": len(vectorizer.vocabulary_)})


@dataclass(frozen=True)
class FastText(_Baseline):
    """fastText with pairs of words, on lower-case texts with separated punctuation.

    It runs in one thread, because results of several threads are not reproducible. Of several
    settings, those that are best on a tenth of the texts are used.
    """

    random = True
    modules = ("fasttext",)
    name: str = "fasttext"
    title: str = "fastText, 5 epochs"
    choices: tuple[tuple[int, float, int], ...] = ((5, 0.5, 0),)  # epochs, rate, characters

    @property
    def settings(self) -> Mapping[str, Any]:
        """Arguments of `train_supervised` that differ from their defaults."""
        names = ("epoch", "lr", "maxn")
        choices = [dict(zip(names, choice, strict=True)) for choice in self.choices]
        return {"wordNgrams": 2, "thread": 1} | (
            {"choices": choices} if len(choices) > 1 else choices[0]
        )

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
        order = np.random.default_rng(seed).permutation(len(texts)).tolist()
        lines = [f"__label__{labels[i]} {plain_line(texts[i])}" for i in order]
        choice = self.choices[0]
        if len(self.choices) > 1:
            held_out = max(len(lines) // 10, 1)
            scores = [
                _hits(self._train(lines[held_out:], seed, each), lines[:held_out])
                for each in self.choices
            ]
            choice = self.choices[int(np.argmax(scores))]
        model = self._train(lines, seed, choice)

        def predict(rows: Sequence[str]) -> list[int]:
            found, _ = model.predict([plain_line(text) for text in rows])
            return [int(answer[0].removeprefix("__label__")) for answer in found]

        return Fitted(predict, {"words": len(model.words), "chosen": list(choice)})

    def _train(self, lines: Sequence[str], seed: int, choice: tuple[int, float, int]) -> Any:
        (fasttext,) = self.imported()
        epochs, rate, characters = choice
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "train.txt")
            path.write_text("\n".join([*lines, ""]), encoding="utf-8", errors="replace")
            return fasttext.train_supervised(
                str(path),
                seed=seed,
                verbose=0,
                wordNgrams=2,
                thread=1,
                epoch=epochs,
                lr=rate,
                minn=min(characters, 2),
                maxn=characters,
            )


def _hits(model: Any, lines: Sequence[str]) -> int:
    """Return the number of lines whose label fastText predicts."""
    pairs = [line.split(" ", 1) for line in lines]
    found, _ = model.predict([text for _, text in pairs])
    return sum(answer[0] == label for answer, (label, _) in zip(found, pairs, strict=True))


@dataclass(frozen=True)
class VowpalWabbit(_Baseline):
    """Vowpal Wabbit with pairs of words, on lower-case texts with separated punctuation."""

    random = True
    modules = ("vowpalwabbit",)
    name: str = "vowpal-wabbit"
    title: str = "Vowpal Wabbit"
    passes: int = 5

    @property
    def settings(self) -> Mapping[str, Any]:
        """Options of the command line that differ from their defaults."""
        return {"ngram": 2, "passes": self.passes, "b": 24, "loss_function": "logistic"}

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
        (vowpal,) = self.imported()
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


BASELINES: dict[str, Method] = {
    method.name: method
    for method in (
        TfIdf(),
        LinearSvc(),
        VowpalWabbit(),
        NbSvm(),
        FastText(),
        FastText("fasttext-25", "fastText, 25 epochs", choices=((25, 1.0, 0),)),
        FastText(
            "fasttext-tuned",
            "fastText, tuned",
            choices=tuple(itertools.product((5, 25), (0.1, 0.5, 1.0), (0, 5))),
        ),
    )
}
"""Baselines by name; fastText has 25 epochs as well, for small data sets, and chosen settings."""
