"""How a classifier is trained where its user says nothing: settings by the size of the data."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    check_choice,
    check_float,
    check_int,
    expected,
)
from textrnn.estimator.labels import label_from_json, label_to_json

__all__ = ["MAX_LENGTH", "PRESETS", "Settings", "params_from_json", "params_to_json"]

MAX_LENGTH = 2**31 - 1
"""The largest `max_length`, which limits nothing."""

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "best": {"pretrain_epochs": 1},
}
"""What a preset sets, of the parameters that its user left None."""

_MANY_TEXTS = 20_000  # so many that three words in a row, or rare ones, come again

_WHOLE = {
    "hidden_size": 1,
    "embedding_size": 1,
    "num_layers": 1,
    "min_freq": 1,
    "max_vocab_size": 4,
    "max_length": 3,
    "epochs": 1,
    "batch_size": 1,
    "patience": 1,
    "pretrain_epochs": 0,
    "ngram_order": 0,
    "max_ngrams": 1,
    "seed": 0,
}
_SHARES = (
    "dropout",
    "embedding_dropout",
    "layer_dropout",
    "word_dropout",
    "label_smoothing",
    "validation_fraction",
)
_FLAGS = ("bidirectional", "spelling")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that a training needs to know, with nothing left open.

    The attributes are the parameters of `TextClassifier` of the same names.

    Raises:
        InvalidTypeError: If one has the wrong type.
        InvalidValueError: If one is out of range.
    """

    cell: str
    hidden_size: int
    embedding_size: int
    num_layers: int
    bidirectional: bool
    pooling: str | tuple[str, ...]
    dropout: float
    embedding_dropout: float
    layer_dropout: float
    word_dropout: float
    min_freq: int
    max_vocab_size: int | None
    max_length: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    label_smoothing: float
    max_grad_norm: float
    weight_averaging: str | None
    validation_fraction: float
    patience: int
    pretrain_epochs: int
    ngram_order: int
    max_ngrams: int
    spelling: bool
    precision: str
    seed: int

    def __post_init__(self) -> None:
        for name, minimum in _WHOLE.items():
            value = getattr(self, name)
            if value is not None or name != "max_vocab_size":
                self._set(name, check_int(name, value, minimum=minimum))
        self._set("max_length", min(self.max_length, MAX_LENGTH))
        for name in _SHARES:
            self._set(name, check_float(name, getattr(self, name), minimum=0.0, maximum=1.0))
        self._set("weight_decay", check_float("weight_decay", self.weight_decay, minimum=0.0))
        for name in ("learning_rate", "max_grad_norm"):
            value = check_float(name, getattr(self, name), minimum=0.0, exclusive=True)
            self._set(name, value)
        if self.validation_fraction == 1:
            raise InvalidValueError(expected("validation_fraction", "a number below 1", 1))
        wrong = [name for name in _FLAGS if not isinstance(getattr(self, name), bool)]
        if wrong:
            raise InvalidTypeError(expected(wrong[0], "a boolean", getattr(self, wrong[0])))
        check_choice("cell", self.cell, ("rnn", "gru", "lstm"))
        check_choice("precision", self.precision, ("fp32", "bf16", "fp16"))
        if self.weight_averaging is not None:
            check_choice("weight_averaging", self.weight_averaging, ("ema", "swa"))

    def _set(self, name: str, value: float) -> None:
        """Store what a check gave: a plain number, whatever it was before."""
        object.__setattr__(self, name, value)

    @classmethod
    def choose(
        cls,
        params: Mapping[str, Any],
        *,
        num_texts: int,
        multi_label: bool,
        num_unlabelled: int = 0,
    ) -> Self:
        """Check a classifier's parameters and fill in those that are None.

        Args:
            params: The classifier's parameters.
            num_texts: How many labelled texts there are to learn from.
            multi_label: Whether a text has any number of labels.
            num_unlabelled: How many texts there are without labels.

        Returns:
            The settings.

        Raises:
            InvalidTypeError: If a parameter has the wrong type.
            InvalidValueError: If a parameter is out of range.

        Example:
            >>> from textrnn import TextClassifier
            >>> params = TextClassifier(epochs=3).get_params()
            >>> settings = Settings.choose(params, num_texts=5000, multi_label=False)
            >>> settings.epochs, settings.batch_size
            (3, 64)
        """
        preset = params["preset"]
        if preset is not None:
            check_choice("preset", preset, PRESETS)
        chosen = _by_size(num_texts, num_unlabelled) | PRESETS[preset or "default"]
        chosen.setdefault("label_smoothing", 0.0 if multi_label else 0.1)
        for name in cls.__dataclass_fields__:
            if name not in chosen or params[name] is not None:
                chosen[name] = params[name]
        return cls(**chosen)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        return asdict(self)


def _by_size(num_texts: int, num_unlabelled: int) -> dict[str, Any]:
    """Return the settings that depend on the number of texts."""
    few_unlabelled = num_unlabelled < _MANY_TEXTS  # else they hold ever so many rare words
    return {
        "pretrain_epochs": 0,
        "ngram_order": 2 if num_texts < _MANY_TEXTS else 3,
        "max_ngrams": 2**18 if num_texts < _MANY_TEXTS else 2**19,
        "spelling": num_texts < _MANY_TEXTS,
        "hidden_size": 128,
        "embedding_size": 128,
        "dropout": 0.3,
        "embedding_dropout": 0.3,
        "word_dropout": 0.1,
        "min_freq": 1 if num_texts + num_unlabelled < 2000 else 2 if few_unlabelled else 5,
        "max_length": 1000,
        "epochs": round(min(max(4 + 500 / math.sqrt(num_texts), 5), 40)),
        "batch_size": 2 ** round(math.log2(min(max(num_texts / 80, 8), 128))),
        "learning_rate": 2e-3,
    }


def params_to_json(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as plain data for JSON.

    Args:
        params: Strings, numbers, tuples of these, None, and mappings from labels to numbers.

    Raises:
        InvalidTypeError: If one is anything else.

    Example:
        >>> params_to_json({"pooling": ("max", "mean"), "class_weight": {"spam": 2.0}})
        {'pooling': ['max', 'mean'], 'class_weight': {'by_label': [['spam', 2.0]]}}
    """
    return {name: _plain(name, value) for name, value in params.items()}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {"by_label": [[label_to_json(k), _plain(name, v)] for k, v in value.items()]}
    if isinstance(value, tuple | list):
        return [_plain(name, part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, str | bool | int | float | None):
        raise InvalidTypeError(expected(name, "a value that can be written as JSON", value))
    return value


def params_from_json(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that `params_to_json` described, lists as tuples.

    Args:
        data: What `params_to_json` returned.

    Raises:
        InvalidTypeError: If it is anything else.

    Example:
        >>> params_from_json({"pooling": ["max", "mean"], "class_weight": {"by_label": [[3, 2.0]]}})
        {'pooling': ('max', 'mean'), 'class_weight': {3: 2.0}}
    """
    return {name: _restored(name, value) for name, value in data.items()}


def _restored(name: str, value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(value)
    if isinstance(value, dict) and value.keys() == {"by_label"}:
        pairs = value["by_label"]
        if isinstance(pairs, list) and all(map(_is_weight, pairs)):
            return {label_from_json(label): number for label, number in pairs}
    if not isinstance(value, str | bool | int | float | None):
        raise InvalidTypeError(expected(name, "a plain value", value))
    return value


def _is_weight(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and type(pair[1]) in {int, float}
