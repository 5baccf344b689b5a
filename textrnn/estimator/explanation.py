"""Explanations of texts, as marked words, HTML and JSON."""

import os
import sys
from dataclasses import dataclass
from html import escape
from typing import Any

from textrnn._results import Result, Results
from textrnn._text_table import printable

__all__ = ["Explanation", "Explanations", "plain_label"]

_FOR, _AGAINST = (0, 114, 178), (213, 94, 0)  # distinct for readers with any colour vision
_SHOWN = 0.1  # share of the largest weight from which a weight is written beside its word
_MIN_OPACITY = 0.03  # fainter marks are not told from the page
_MAX_OPACITY = 0.6  # leaves the text of light and dark pages legible


@dataclass(frozen=True, kw_only=True)
class Explanation(Result):
    """The logit of a label for a text, divided among the words.

    `bias`, `weights` and `residual` add up to `logit`. It prints as a line of words, coloured on a
    terminal, with the weight of each word that has at least a tenth of the largest weight; a
    notebook shows all words with their background in the colour of their weight.

    Attributes:
        label: The label.
        predicted: Whether the classifier assigns the label to the text.
        probability: Probability of the label.
        logit: Logit of the label.
        bias: Logit of a text of unknown words for the network, plus that of no words for n-grams.
        residual: Error of numerical integration; only rounding without a recurrent network.
        words: Words of the text, as the tokenizer splits it.
        weights: Weight of each word; positive for the label. Words beyond `max_length` have 0.
    """

    label: Any
    predicted: bool
    probability: float
    logit: float
    bias: float
    residual: float
    words: tuple[str, ...]
    weights: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as plain data for JSON; labels that JSON lacks are strings."""
        lists = {"words": list(self.words), "weights": list(self.weights)}
        return {**vars(self), "label": plain_label(self.label), **lists}

    def __str__(self) -> str:
        coloured = sys.stdout is not None and sys.stdout.isatty() and "NO_COLOR" not in os.environ
        largest = self._largest
        parts = [f"{printable(self.label)} {self.probability:.2f}:"]
        for word, weight in zip(self.words, self.weights, strict=True):
            text, share = printable(word), abs(weight) / largest
            if share >= _SHOWN:
                text = f"{text}({weight:+.2f})"
            if share >= _SHOWN and coloured:
                text = f"\x1b[{'34' if weight > 0 else '33'}{';1' * (share > 0.5)}m{text}\x1b[0m"
            parts.append(text)
        return " ".join(parts)

    def _repr_html_(self) -> str:
        """Return HTML whose colours are legible on light and dark pages."""
        words = " ".join(map(self._mark, self.words, self.weights))
        sums = f"logit {self.logit:.2f} = bias {self.bias:+.2f}, words {sum(self.weights):+.2f}"
        if abs(self.residual) >= 0.005:
            sums += f", not attributed {self.residual:+.2f}"
        return (
            '<div style="line-height:1.8;overflow-wrap:anywhere;margin:0.5em 0">'
            f"<strong>{escape(printable(self.label))}</strong> {self.probability:.2f} "
            f'<small style="opacity:0.75">({sums})</small><br>{words}</div>'
        )

    @property
    def _largest(self) -> float:
        return max(map(abs, self.weights), default=0.0) or 1.0

    def _mark(self, word: str, weight: float) -> str:
        """Return a word in HTML, in the colour of its weight."""
        opacity = _MAX_OPACITY * abs(weight) / self._largest
        text = escape(printable(word))
        if opacity < _MIN_OPACITY:
            return text
        red, green, blue = _FOR if weight > 0 else _AGAINST
        style = f"background:rgba({red},{green},{blue},{opacity:.2f})"
        return (
            f'<span title="{weight:+.3f}" style="{style};border-radius:3px;padding:1px 2px">'
            f"{text}</span>"
        )


class Explanations(Results[Explanation]):
    """Explanations of several texts, which print and show one after the other."""

    __slots__ = ()


def plain_label(label: Any) -> Any:
    """Return a label as JSON has it, else as a string."""
    return label if label is None or isinstance(label, bool | int | float | str) else str(label)
