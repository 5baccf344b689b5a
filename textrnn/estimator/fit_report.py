"""The report of a fit: contributions of the network and of n-grams, and unknown words."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from textrnn._results import Tabular
from textrnn._text_table import Table
from textrnn.errors import InvalidTypeError, check_float, check_int, check_keys, expected

__all__ = ["FitReport", "accuracies", "gain_error"]

_PARTS = ("ngrams", "network", "both")
_WITHOUT_NETWORK = (
    "No network was trained: on few texts, it seldom adds to n-grams. network=True trains one."
)
_ERRORS = 2  # standard errors that a gain must exceed
_ROUNDING = 1e-9  # of a difference of two accuracies


@dataclass(frozen=True, kw_only=True)
class FitReport(Tabular):
    """The contributions of the recurrent network and the linear model over n-grams.

    A part that was not trained or measured has no entry. It prints as a table, and has `to_json`.

    Attributes:
        texts: Number of validation texts, held out or given.
        accuracy: Share of validation texts that "ngrams", "network" and "both" label correctly; for
            multi-label data, with all labels right at the threshold 0.5.
        blend_weights: Blend weight of "ngrams" and "network".
        cpu_seconds: CPU time to fit "ngrams" and "network", all threads of the process included.
        gain_error: Standard error of `gain`, from the texts that either n-grams alone or both label
            correctly, but not the other; None if not both were measured.
        unknown_words: Share of the words of the validation texts that are outside the vocabulary;
            None if there are no such words.

    Example:
        >>> report = FitReport(
        ...     texts=1000,
        ...     accuracy={"ngrams": 0.89, "network": 0.85, "both": 0.892},
        ...     blend_weights={"ngrams": 0.8, "network": 0.2},
        ...     cpu_seconds={"ngrams": 3.0, "network": 12.0},
        ...     gain_error=0.003,
        ...     unknown_words=0.052,
        ... )
        >>> print(report)
                 accuracy  blend weight  CPU seconds
        n-grams    0.8900          0.80          3.0
        network    0.8500          0.20         12.0
        both       0.8920                       15.0
        <BLANKLINE>
        On 1,000 validation texts, the network adds nothing beyond noise to n-grams (+0.0020,
        standard error 0.0030): network=False leaves it out, and saves 12.0 CPU seconds.
        <BLANKLINE>
        5.2% of the words of the validation texts are unknown.
    """

    texts: int
    accuracy: Mapping[str, float] = field(default_factory=dict)
    blend_weights: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    gain_error: float | None = None
    unknown_words: float | None = None

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Return the report that `to_dict` made plain data of; the data is not trusted."""
        check_keys("report", data, cls.__dataclass_fields__)
        two = _PARTS[:2]
        for name, parts, maximum in (
            ("accuracy", _PARTS, 1.0),
            ("blend_weights", two, 1e9),
            ("cpu_seconds", two, 1e12),
        ):
            if not isinstance(data[name], Mapping) or not data[name].keys() <= set(parts):
                rule = f"a mapping of {', '.join(parts)}"
                raise InvalidTypeError(expected(name, rule, data[name]))
            for value in data[name].values():
                check_float(name, value, minimum=0, maximum=maximum)
        check_int("texts", data["texts"], minimum=0)
        if (error := data["gain_error"]) is not None:
            check_float("gain_error", error, minimum=0, maximum=1)
        compared = len(data["accuracy"]) == 3 and len(data["cpu_seconds"]) == 2
        if (error is not None) != compared:
            rule = "the standard error of a difference in accuracy"
            raise InvalidTypeError(expected("gain_error", rule, error))
        if (share := data["unknown_words"]) is not None:
            check_float("unknown_words", share, minimum=0, maximum=1)
        return cls(**data)

    @property
    def gain(self) -> float | None:
        """Accuracy that the network adds to n-grams alone; None if not both were measured."""
        if "both" not in self.accuracy:
            return None
        return self.accuracy["both"] - self.accuracy["ngrams"]

    @property
    def conclusion(self) -> str:
        """Whether the network adds to the accuracy, in a sentence."""
        if self.gain is None or self.gain_error is None:
            return self._of_one()
        start = f"On {self.texts:,} validation texts, the network adds"
        found = f"({self.gain:+.4f}, standard error {self.gain_error:.4f})"
        if self.gain > _ERRORS * self.gain_error + _ROUNDING:
            return f"{start} to the accuracy of n-grams {found}."
        return (
            f"{start} nothing beyond noise to n-grams {found}: network=False leaves it out, and "
            f"saves {self.cpu_seconds['network']:.1f} CPU seconds."
        )

    def _of_one(self) -> str:
        """Return the conclusion where not both parts were trained and measured."""
        parts = ""
        if "network" not in self.cpu_seconds:
            parts = f"{_WITHOUT_NETWORK} "
        elif "ngrams" not in self.cpu_seconds:
            parts = "No n-grams were fitted. "
        if self.accuracy:
            return f"{parts}Measured on {self.texts:,} validation texts."
        cause = "training was interrupted" if self.texts else "there were no validation texts"
        return f"{parts}Nothing was measured: {cause}."

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data for JSON."""
        return asdict(self)

    def rows(self) -> list[list[str]]:
        """Return the rows of its table, the first of which is the head."""
        seconds = dict(self.cpu_seconds)
        if len(seconds) == 2:
            seconds["both"] = sum(seconds.values())
        rows = [["", "accuracy", "blend weight", "CPU seconds"]]
        rows += [
            [
                "n-grams" if name == "ngrams" else name,
                _number(self.accuracy.get(name), 4),
                _number(self.blend_weights.get(name), 2),
                _number(seconds[name], 1),
            ]
            for name in _PARTS
            if name in seconds
        ]
        return rows

    def _tables(self) -> list[Table | str]:
        """Return the table, the conclusion and the share of unknown words, if there is one."""
        parts: list[Table | str] = [Table(self.rows()), self.conclusion]
        if self.unknown_words is not None:
            share = f"{self.unknown_words:.1%}"
            parts.append(f"{share} of the words of the validation texts are unknown.")
        return parts


def accuracies(right: Mapping[str, NDArray[np.bool_]]) -> dict[str, float]:
    """Return the share of texts that each part labels correctly."""
    return {name: float(each.mean()) for name, each in right.items()}


def gain_error(right: Mapping[str, NDArray[np.bool_]]) -> float:
    """Return the standard error of the accuracy that the network adds, as in McNemar's test."""
    # McNemar, "Note on the sampling error of the difference between correlated proportions", 1947.
    differ = right["both"] != right["ngrams"]  # (texts,)
    return math.sqrt(differ.sum()) / len(differ)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
