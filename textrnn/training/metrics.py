"""Streaming metrics: exact for any division into batches, and without waiting for the device.

The whole state of a metric is one tensor of integers. Its result therefore depends neither on the
batches nor on their order, and adding up several processes is exact too.
"""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    check_float,
    check_int,
    expected,
)
from textrnn.training.reports import ClassificationReport, ClassScores, MultilabelReport

__all__ = ["ClassificationMetrics", "MultilabelMetrics"]

_INTEGERS = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
_UNIT = 2**32  # a probability is added up as a whole number of 1 / _UNIT; fits 2**31 texts


class _CountingMetric:
    """A metric whose state is one tensor of counts, divided into named sections."""

    _rule: str  # for labels

    def __init__(self, num_classes: int, **sections: int) -> None:
        self.num_classes = num_classes
        self._sections = {**sections, "nan": 1, "outside": 1}
        self.counts = torch.zeros(sum(self._sections.values()), dtype=torch.int64)

    def to(self, device: torch.device | str) -> Self:
        """Move the counts to a device, and return this metric; `update` follows the logits."""
        with torch.inference_mode(False):  # or they could not be changed outside of it
            self.counts = self.counts.to(device)
        return self

    def reset(self) -> None:
        """Forget all batches."""
        with torch.inference_mode(False):
            self.counts = torch.zeros_like(self.counts)

    def merge(self, other: Self) -> Self:
        """Add the counts of another metric with the same settings, and return this one.

        Raises:
            InvalidValueError: If `other` is another kind of metric or has other settings.
        """
        if repr(self) != repr(other):
            raise InvalidValueError(f"Expected `other` to be {self!r}, but got {other!r}.")
        self.counts += other.counts.to(self.counts.device)
        return self

    def _split(self, counts: Tensor) -> dict[str, Tensor]:
        """Return views of the sections by name."""
        sections = torch.split(counts, list(self._sections.values()))
        return dict(zip(self._sections, sections, strict=True))

    def _check_logits(self, logits: object) -> Tensor:
        """Return the logits without infinities, after moving the counts to their device."""
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

    def _fetch(self) -> dict[str, Tensor]:
        """Return the sections on the CPU after checking that no labels were out of range."""
        counts = self._split(self.counts.cpu())
        if num_outside := int(counts["outside"]):
            raise InvalidValueError(
                f"Expected `labels` to be {self._rule}, but {num_outside} texts have others."
            )
        return counts

    def _names(self, names: Sequence[object] | None) -> Sequence[object]:
        """Return the names of the classes, by default their ids."""
        if names is None:
            return range(self.num_classes)
        if len(names) != self.num_classes:
            raise InvalidValueError(expected("labels", f"{self.num_classes} names", names))
        return names


class ClassificationMetrics(_CountingMetric):
    """Accuracy, F1, calibration error, top-k accuracy and confusions; each text has one class.

    Precision, recall and F1 are 0 where their denominator is 0, and `macro_f1` is the mean over
    the classes that occur among the labels or the predictions, both as in scikit-learn.

    `calibration_error` is the expected calibration error: texts are put into bins of equal width
    by the probability of their predicted class, and the distances between a bin's accuracy and its
    mean probability are averaged, weighted by the bins' sizes (Guo et al., 2017, "On Calibration
    of Modern Neural Networks", equation 3).

    Among equal logits the lower class id ranks first. An infinite logit counts as the largest
    finite number. A text with a NaN among its logits makes every value NaN and is left out of the
    confusions.

    Args:
        num_classes: Number of classes.
        top_k: Values of `k` of `top_k_accuracy`, the fraction of texts whose class is among
            the `k` most probable ones. Default: none.
        num_bins: Number of bins of the calibration error. Default: 15.

    Raises:
        InvalidTypeError: If a setting has a wrong type.
        InvalidValueError: If a setting is out of range.

    Attributes:
        counts: State of the metric, an int64 tensor on the logits' device. Its sum over
            processes (`torch.distributed.all_reduce(metrics.counts)`) is the state of all.

    Example:
        >>> metrics = ClassificationMetrics(3, top_k=(2,))
        >>> metrics.update(torch.tensor([[4.0, 0.0, 0.0], [0.0, 1.0, 2.0]]), torch.tensor([0, 1]))
        >>> metrics.update(torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([2]))
        >>> {name: round(value, 4) for name, value in metrics.compute().items()}
        {'accuracy': 0.6667, 'macro_f1': 0.5556, 'weighted_f1': 0.5556,
         'calibration_error': 0.2336, 'top_2_accuracy': 1.0}
    """

    def __init__(self, num_classes: int, *, top_k: Sequence[int] = (), num_bins: int = 15) -> None:
        num_classes = check_int("num_classes", num_classes)
        self.num_bins = check_int("num_bins", num_bins)
        self.top_k = tuple(check_int("top_k", k) for k in top_k)
        if max(self.top_k, default=1) > num_classes:
            rule = f"numbers from 1 to {num_classes}, the number of classes"
            raise InvalidValueError(expected("top_k", rule, self.top_k))
        super().__init__(
            num_classes, confusion=num_classes**2, bins=3 * self.num_bins, hits=len(self.top_k)
        )
        self._rule = f"class ids from 0 to {num_classes - 1}"

    def __repr__(self) -> str:
        settings = f"top_k={self.top_k}, num_bins={self.num_bins}"
        return f"ClassificationMetrics({self.num_classes}, {settings})"

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch.

        Args:
            logits: Floating-point numbers of shape `(batch, classes)`.
            labels: Class ids of shape `(batch,)`. Labels on the CPU are checked here, others when
                a result is computed.

        Raises:
            InvalidTypeError: If an argument is not a tensor or holds another kind of numbers.
            InvalidValueError: If a shape is wrong or a label is not a class id.
        """
        logits = self._check_logits(logits)
        labels = self._check_labels(labels, len(logits)).to(logits.device, non_blocking=True)
        outside = (labels < 0) | (labels >= self.num_classes)  # (batch,)
        nan = logits.isnan().any(dim=1)
        valid = ~(outside | nan)
        labels = labels.clamp(0, self.num_classes - 1)

        predictions = logits.argmax(dim=1)
        probabilities = logits.softmax(dim=1).amax(dim=1).nan_to_num()  # of the predictions
        edges = torch.arange(1, self.num_bins, device=logits.device).to(logits) / self.num_bins
        bins = torch.bucketize(probabilities, edges)  # a bin holds its upper edge
        own = logits.gather(1, labels[:, None])  # (batch, 1)
        lower = torch.arange(self.num_classes, device=logits.device) < labels[:, None]
        ranks = ((logits > own) | ((logits == own) & lower)).sum(dim=1)  # 0 is the best

        counts = self._split(self.counts)
        pairs = labels * self.num_classes + predictions
        counts["confusion"].index_add_(0, pairs, valid.long())
        sizes, right, confidence = counts["bins"].view(3, self.num_bins)
        sizes.index_add_(0, bins, valid.long())
        right.index_add_(0, bins, (valid & (ranks == 0)).long())
        confidence.index_add_(0, bins, valid * (probabilities * _UNIT).round().long())
        for i, k in enumerate(self.top_k):
            counts["hits"][i] += (valid & (ranks < k)).sum()
        counts["nan"] += nan.sum()
        counts["outside"] += outside.sum()

    def _check_labels(self, labels: object, batch_size: int) -> Tensor:
        if not isinstance(labels, Tensor) or labels.dtype not in _INTEGERS:
            raise InvalidTypeError(expected("labels", "a tensor of integers", labels))
        if labels.shape != (batch_size,):
            rule = f"of shape ({batch_size},), one class id for each text"
            raise InvalidValueError(expected("labels", rule, tuple(labels.shape)))
        if labels.device.type == "cpu":
            outside = labels[(labels < 0) | (labels >= self.num_classes)]
            if len(outside):
                raise InvalidValueError(expected("labels", self._rule, int(outside[0])))
        return labels.long()

    def compute(self) -> dict[str, float]:
        """Return the values of all batches so far.

        Returns:
            `accuracy`, `macro_f1`, `weighted_f1`, `calibration_error` and `top_{k}_accuracy` for
            each `k`.

        Raises:
            InvalidValueError: If there was no text yet or a label was not a class id.
        """
        report = self.report()
        values = {
            "accuracy": report.accuracy,
            "macro_f1": report.macro_f1,
            "weighted_f1": report.weighted_f1,
            "calibration_error": report.calibration_error,
        }
        return values | {f"top_{k}_accuracy": value for k, value in report.top_k_accuracy.items()}

    def report(self, labels: Sequence[object] | None = None) -> ClassificationReport:
        """Return all values, also for each class.

        Args:
            labels: Names of the classes in the order of their ids. Default: the ids.

        Returns:
            The report.

        Raises:
            InvalidValueError: If there are more or fewer names than classes, if there was no
                text yet, or if a label was not a class id.
        """
        names = self._names(labels)
        counts = self._fetch()
        confusion = counts["confusion"].view(self.num_classes, self.num_classes)
        sizes, right, confidence = counts["bins"].view(3, self.num_bins).double()
        total = _check_total(int(sizes.sum()) + int(counts["nan"]))
        valid = math.nan if counts["nan"] else 1.0  # multiplies every value
        hits = confusion.diagonal()
        support, predicted = confusion.sum(dim=1), confusion.sum(dim=0)
        classes, f1 = _class_scores(names, hits, support, predicted, valid)
        occurs = (support + predicted) > 0
        return ClassificationReport(
            accuracy=valid * int(hits.sum()) / total,
            macro_f1=valid * _mean(f1, occurs),
            weighted_f1=valid * _mean(f1, support),
            calibration_error=valid * float((right - confidence / _UNIT).abs().sum()) / total,
            classes=classes,
            confusion=tuple(map(tuple, confusion.tolist())),
            top_k_accuracy={
                k: valid * number / total
                for k, number in zip(self.top_k, counts["hits"].tolist(), strict=True)
            },
        )


class MultilabelMetrics(_CountingMetric):
    """Accuracy and F1 of texts that have any number of labels each.

    A label is predicted where the sigmoid of its logit is above the threshold. `accuracy` is the
    fraction of texts with exactly the right labels (subset accuracy). F1 is 0 where its denominator
    is 0. All are as in scikit-learn. A text with a NaN among its logits makes every value NaN and
    is left out of the counts.

    Args:
        num_labels: Number of labels.
        threshold: Probability above which a label is predicted. Default: 0.5.

    Raises:
        InvalidTypeError: If a setting has a wrong type.
        InvalidValueError: If a setting is out of range.

    Attributes:
        counts: State of the metric, an int64 tensor on the logits' device. Its sum over
            processes (`torch.distributed.all_reduce(metrics.counts)`) is the state of all.

    Example:
        >>> metrics = MultilabelMetrics(2)
        >>> metrics.update(torch.tensor([[2.0, -1.0], [1.0, 1.0]]), torch.tensor([[1, 0], [0, 1]]))
        >>> {name: round(value, 4) for name, value in metrics.compute().items()}
        {'accuracy': 0.5, 'micro_f1': 0.8, 'macro_f1': 0.8333, 'weighted_f1': 0.8333}
    """

    _rule = "0 or 1 throughout"

    def __init__(self, num_labels: int, *, threshold: float = 0.5) -> None:
        num_labels = check_int("num_labels", num_labels)
        self.threshold = check_float("threshold", threshold, minimum=0.0, maximum=1.0)
        super().__init__(
            num_labels, hits=num_labels, support=num_labels, predicted=num_labels, exact=1, total=1
        )

    def __repr__(self) -> str:
        return f"MultilabelMetrics({self.num_classes}, threshold={self.threshold})"

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch.

        Args:
            logits: Floating-point numbers of shape `(batch, labels)`.
            labels: Zeros and ones of the same shape and of any type. Labels on the CPU are checked
                here, others when a result is computed.

        Raises:
            InvalidTypeError: If an argument is not a tensor or the logits are not floats.
            InvalidValueError: If a shape is wrong or a label is neither 0 nor 1.
        """
        logits = self._check_logits(logits)
        labels = self._check_labels(labels, logits).to(logits.device, non_blocking=True)
        truth = labels == 1  # (batch, labels)
        outside = ~(truth | (labels == 0)).all(dim=1)  # (batch,)
        nan = logits.isnan().any(dim=1)
        valid = ~(outside | nan)
        predictions = logits.sigmoid() > self.threshold

        counts = self._split(self.counts)
        counts["hits"] += (truth & predictions & valid[:, None]).sum(dim=0)
        counts["support"] += (truth & valid[:, None]).sum(dim=0)
        counts["predicted"] += (predictions & valid[:, None]).sum(dim=0)
        counts["exact"] += ((truth == predictions).all(dim=1) & valid).sum()
        counts["total"] += len(logits)
        counts["nan"] += nan.sum()
        counts["outside"] += outside.sum()

    def _check_labels(self, labels: object, logits: Tensor) -> Tensor:
        if not isinstance(labels, Tensor):
            raise InvalidTypeError(expected("labels", "a tensor", labels))
        if labels.shape != logits.shape:
            rule = f"of the logits' shape {tuple(logits.shape)}"
            raise InvalidValueError(expected("labels", rule, tuple(labels.shape)))
        if labels.device.type == "cpu":
            outside = labels[(labels != 0) & (labels != 1)]
            if len(outside):
                raise InvalidValueError(expected("labels", self._rule, outside[0].item()))
        return labels

    def compute(self) -> dict[str, float]:
        """Return the values of all batches so far.

        Returns:
            `accuracy`, `micro_f1`, `macro_f1` and `weighted_f1`.

        Raises:
            InvalidValueError: If there was no text yet or a label was neither 0 nor 1.
        """
        report = self.report()
        return {
            "accuracy": report.accuracy,
            "micro_f1": report.micro_f1,
            "macro_f1": report.macro_f1,
            "weighted_f1": report.weighted_f1,
        }

    def report(self, labels: Sequence[object] | None = None) -> MultilabelReport:
        """Return all values, also for each label.

        Args:
            labels: Names of the labels in the order of their ids. Default: the ids.

        Returns:
            The report.

        Raises:
            InvalidValueError: If there are more or fewer names than labels, if there was no
                text yet, or if a label was neither 0 nor 1.
        """
        names = self._names(labels)
        counts = self._fetch()
        total = _check_total(int(counts["total"]))
        valid = math.nan if counts["nan"] else 1.0  # multiplies every value
        hits, support, predicted = counts["hits"], counts["support"], counts["predicted"]
        classes, f1 = _class_scores(names, hits, support, predicted, valid)
        micro = _divide(2 * hits.sum(), support.sum() + predicted.sum())
        return MultilabelReport(
            accuracy=valid * int(counts["exact"]) / total,
            micro_f1=valid * float(micro),
            macro_f1=valid * float(f1.mean()),
            weighted_f1=valid * _mean(f1, support),
            classes=classes,
            num_texts=total,
        )


def _check_total(total: int) -> int:
    if total == 0:
        raise InvalidValueError("Expected at least one text before a metric's value, but got none.")
    return total


def _class_scores(
    names: Sequence[object], hits: Tensor, support: Tensor, predicted: Tensor, valid: float
) -> tuple[tuple[ClassScores, ...], Tensor]:
    """Return each class's scores multiplied by `valid`, and their F1 as a tensor."""
    f1 = _divide(2 * hits, support + predicted)
    columns = [_divide(hits, predicted), _divide(hits, support), f1]
    values = (valid * torch.stack(columns, dim=1)).tolist()
    classes = tuple(
        ClassScores(name, precision, recall, f1_score, number)
        for name, (precision, recall, f1_score), number in zip(
            names, values, support.tolist(), strict=True
        )
    )
    return classes, f1


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide in double precision; 0 / 0 is 0."""
    return numerator.double() / denominator.clamp(min=1)


def _mean(values: Tensor, weights: Tensor) -> float:
    """Return the weighted mean, 0 if all weights are 0."""
    return float((values * weights).sum() / weights.sum().clamp(min=1))
