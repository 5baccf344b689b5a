"""Counts that add up exactly, and the scores that follow from them."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from textrnn.errors import InvalidTypeError, InvalidValueError, expected
from textrnn.training.reports import ClassScores

__all__ = ["CountingMetric", "check_names", "check_total", "divide", "mean", "scores"]


class CountingMetric:
    """What the built-in metrics share: one tensor of counts, cut into named sections."""

    def __init__(self, num_classes: int, **sections: int) -> None:
        self.num_classes = num_classes
        self._sections = {**sections, "nan": 1, "outside": 1}
        self.counts = torch.zeros(sum(self._sections.values()), dtype=torch.int64)

    def to(self, device: torch.device | str) -> Self:
        """Move the counts to a device, as `update` otherwise does with the first logits."""
        with torch.inference_mode(False):  # or they could not be changed outside of it
            self.counts = self.counts.to(device)
        return self

    def reset(self) -> None:
        """Forget all batches."""
        with torch.inference_mode(False):
            self.counts = torch.zeros_like(self.counts)

    def merge(self, other: Self) -> Self:
        """Add what another metric with the same settings has counted, and return this one.

        Raises:
            InvalidValueError: If `other` is another kind of metric or has other settings.
        """
        if repr(self) != repr(other):
            raise InvalidValueError(f"Expected `other` to be {self!r}, but got {other!r}.")
        self.counts += other.counts.to(self.counts.device)
        return self

    def _split(self, counts: Tensor) -> dict[str, Tensor]:
        """Name the sections of the counts, as views."""
        sections = torch.split(counts, list(self._sections.values()))
        return dict(zip(self._sections, sections, strict=True))

    def _check_logits(self, logits: object) -> Tensor:
        """Return the logits without infinities, after moving the counts to where they are."""
        if not isinstance(logits, Tensor) or not logits.is_floating_point():
            raise InvalidTypeError(expected("logits", "a tensor of floating-point numbers", logits))
        if logits.dim() != 2 or logits.shape[1] != self.num_classes:
            rule = f"of shape (batch, {self.num_classes})"
            raise InvalidValueError(expected("logits", rule, tuple(logits.shape)))
        if self.counts.device != logits.device:
            self.to(logits.device)
        logits = logits.detach()
        if logits.dtype not in {torch.float32, torch.float64}:
            logits = logits.float()
        largest = torch.finfo(logits.dtype).max
        return logits.clamp(-largest, largest)  # NaN stays

    def _fetch(self, rule: str) -> dict[str, Tensor]:
        """Bring the counts to the CPU and make sure that all labels fitted the rule."""
        counts = self._split(self.counts.cpu())
        if num_outside := int(counts["outside"]):
            raise InvalidValueError(
                f"Expected `labels` to be {rule}, but {num_outside} texts have others."
            )
        return counts


def check_names(names: Sequence[object] | None, number: int) -> Sequence[object]:
    """Return the classes' names, or their ids where there are none."""
    if names is None:
        return range(number)
    if len(names) != number:
        raise InvalidValueError(expected("labels", f"{number} names", names))
    return names


def check_total(total: int) -> int:
    """Return the number of texts, if there were any."""
    if total == 0:
        raise InvalidValueError("Expected at least one text before a metric's value, but got none.")
    return total


def divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide in double precision; 0 / 0 is 0."""
    return numerator.double() / denominator.clamp(min=1)


def mean(values: Tensor, weights: Tensor) -> float:
    """Return the weighted mean; without any weight it is 0."""
    return float((values * weights).sum() / weights.sum().clamp(min=1))


def scores(
    names: Sequence[object], hits: Tensor, support: Tensor, predicted: Tensor, valid: float
) -> tuple[tuple[ClassScores, ...], Tensor]:
    """Return each class's scores multiplied by `valid`, and their F1 as a tensor."""
    f1 = divide(2 * hits, support + predicted)
    columns = [divide(hits, predicted), divide(hits, support), f1]
    values = (valid * torch.stack(columns, dim=1)).tolist()
    classes = tuple(
        ClassScores(name, precision, recall, f1_score, number)
        for name, (precision, recall, f1_score), number in zip(
            names, values, support.tolist(), strict=True
        )
    )
    return classes, f1
