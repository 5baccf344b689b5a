"""Recipes of `TextClassifier`: named settings to compare."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from examples.accuracy.baselines import BASELINES
from examples.accuracy.methods import Fitted
from textrnn import TextClassifier
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    check_float,
    expected,
    import_extra,
    show,
)
from textrnn.estimator import tune

__all__ = ["RECIPES", "Recipe", "read_recipe"]

_UNLABELLED, _MINUTES = "unlabelled", "minutes"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True)
class Recipe:
    """`TextClassifier` with some settings.

    Args:
        name: Name on the command line.
        settings: Arguments of `TextClassifier`, and `unlabelled`: whether to use the unlabelled
            texts of the data set; or `minutes`: the time of a search for the other settings.
            Default: none.
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
        if _MINUTES in self.settings:
            check_float(_MINUTES, self.settings[_MINUTES], minimum=0.0, exclusive=True)
            import_extra("optuna", extra="tune")
            if self.unlabelled:
                raise InvalidValueError(expected(_UNLABELLED, "false with `minutes`", True))
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
        classifier = self._classifier(seed=seed)
        facts: dict[str, Any] = {}
        if _MINUTES in self.settings:
            params = self._arguments() | {"seed": seed, "device": self.device}
            tuning = tune(texts, labels, minutes=self.settings[_MINUTES], **params)
            classifier, facts = tuning.classifier, {"tuned": tuning.params, "trials": tuning.trials}
        else:
            classifier.fit(texts, labels, unlabelled=unlabelled)
        facts |= {
            "settings": dict(classifier.settings_),
            "epochs": classifier.history_[-1]["epoch"] if classifier.history_ else 0,
            "stopped": classifier.stopped_,
            "metrics": dict(classifier.metrics_),
            "report": classifier.report_.to_dict(),
            "weights": sum(weight.numel() for weight in classifier.network_.parameters()),
            "words": len(classifier.vocabulary_),
        }
        return Fitted(lambda rows: classifier.predict(rows).tolist(), facts)

    def _classifier(self, *, seed: int) -> TextClassifier:
        classifier = TextClassifier(seed=seed, device=self.device)
        return classifier.set_params(**self._arguments())

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments of `TextClassifier`."""
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.settings.items()
            if name not in {_UNLABELLED, _MINUTES}
        }


RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "fast": {"preset": "fast"},
    "best": {"preset": "best"},
    "best-unlabelled": {"preset": "best", "unlabelled": True},
    "tuned": {"minutes": 10},
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
