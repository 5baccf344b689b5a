"""Scores of a classifier's settings on parts of the texts that are held out."""

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from textrnn._version import __version__
from textrnn.errors import InvalidValueError, expected
from textrnn.estimator.batches import Examples
from textrnn.estimator.learning import learn
from textrnn.estimator.model import logits_of
from textrnn.estimator.settings import OPTIONS, Data, choose_settings
from textrnn.runtime.labels import LabelMatrix, LabelSet
from textrnn.text.tokenizers import is_known
from textrnn.training.loop import CTRL_C
from textrnn.training.losses import Loss, balanced_weights

__all__ = ["FOLDS", "Score", "Scoring"]

_LOGGER = logging.getLogger("textrnn")

FOLDS = 5
"""The number of parts into which the texts are divided."""

_SCORED_TEXTS = 10_000  # held out by all parts together; where there are more, some parts are not
_BLOCKS = 10  # of a part, whose losses tell how much two settings differ by chance
_MIN_TEXTS = 100


class Score(NamedTuple):
    """How well a classifier does on a part that is held out."""

    losses: list[float]  # of the blocks of the part
    accuracy: float


class Scoring:
    """Train classifiers without parts of the texts, and score them on these."""

    def __init__(self, params: Mapping[str, Any], examples: Examples) -> None:
        self.params = params
        self.texts, values = examples
        if len(self.texts) < _MIN_TEXTS:
            raise InvalidValueError(
                expected("texts", f"at least {_MIN_TEXTS} texts", len(self.texts))
            )
        self.labels = LabelSet.of(values)
        self.targets = self.labels.encode(values)  # (texts,) or (texts, labels)
        facts = Data(
            len(self.texts), 0, self.labels.multi_label, characters=sum(map(len, self.texts))
        )
        self.settings = choose_settings(params, facts)
        self.loss = self._loss()
        self.folds = _folds(self.targets, self.settings["seed"])  # (texts,)
        self.parts = min(FOLDS, math.ceil(FOLDS * _SCORED_TEXTS / len(self.texts)))

    @property
    def fingerprint(self) -> str:
        """A hash of all that a score depends on but the settings of a trial."""
        params = {option.name: self.params[option.name] for option in OPTIONS if option.saved}
        tokenizer = self.params["tokenizer"]
        if tokenizer is not None:
            params["tokenizer"] = repr(tokenizer) if is_known(tokenizer) else "own"
        facts = [__version__, self.texts, self.labels.names, self.targets.tolist(), params]
        return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def score(self, params: Mapping[str, Any], part: int) -> Score:
        """Train with further parameters and return the score on a part."""
        held_out = self.folds == part  # (texts,)
        with _without_log():
            model = learn(
                {**self.params, "progress": False, **params},
                self._select(~held_out),
                self._select(held_out),
                None,
                before=None,
                sample_weight=None,
            )
        if model.data["stopped"] == CTRL_C:
            raise KeyboardInterrupt
        assert model.eval_texts is not None  # noqa: S101 - for the type checker
        logits = logits_of(model.network, *model.eval_texts)  # (texts, classes)
        targets = torch.from_numpy(self.targets[held_out])
        blocks = range(min(_BLOCKS, len(logits)))
        losses = [float(self.loss(logits[k::_BLOCKS], targets[k::_BLOCKS])) for k in blocks]
        return Score(losses, model.metrics["accuracy"])

    def _select(self, chosen: NDArray[np.bool_]) -> Examples:
        """Return the chosen texts and their labels, in a form that knows all labels."""
        texts, targets = list(compress(self.texts, chosen)), self.targets[chosen]
        if self.labels.multi_label:
            return texts, LabelMatrix(targets.astype(np.int64), self.labels.names)
        return texts, [self.labels.names[index] for index in targets]

    def _loss(self) -> Loss:
        weights = self.labels.class_weights(self.params["class_weight"])
        if isinstance(weights, str):
            weights = balanced_weights(torch.from_numpy(self.targets), len(self.labels))
        return Loss(class_weights=weights)


def _folds(targets: NDArray[Any], seed: int) -> NDArray[np.int64]:
    """Return the part `(texts,)` that holds out each text, in proportion to the classes; or -1."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(targets))
    folds = np.empty(len(targets), dtype=np.int64)
    if targets.ndim == 2:
        folds[order] = np.arange(len(targets)) % FOLDS
        return folds
    order = order[np.argsort(targets[order], kind="stable")]
    folds[order] = np.arange(len(targets)) % FOLDS
    folds[(np.bincount(targets) == 1)[targets]] = -1  # the only text of a class is trained on
    return folds


@contextmanager
def _without_log() -> Iterator[None]:
    """Log only warnings."""
    level = _LOGGER.level
    _LOGGER.setLevel(logging.WARNING)
    try:
        yield
    finally:
        _LOGGER.setLevel(level)
