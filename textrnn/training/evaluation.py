"""Running a model over a loader without training it: evaluation and prediction."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from textrnn.data import Batch
from textrnn.errors import InvalidTypeError, InvalidValueError, expected, show
from textrnn.training.feed import check_batch, required_labels
from textrnn.training.losses import Loss
from textrnn.training.metrics import ClassificationMetrics, MultilabelMetrics
from textrnn.training.step import Precision

__all__ = ["MetricFunction", "evaluate", "predict"]

MetricFunction: TypeAlias = Callable[[Tensor, Tensor], Any]
"""From all logits ``(texts, classes)`` and all labels ``(texts,)``, on the CPU, to one number."""


def evaluate(
    model: nn.Module,
    loader: Iterable[Batch],
    loss: Loss,
    *,
    precision: Precision,
    metrics: Mapping[str, MetricFunction] | None = None,
) -> dict[str, float]:
    """Measure a model on a loader.

    The figures are exact whatever the sizes of the batches. Nothing is left changed: neither the
    model's mode nor the global generator, so evaluating never changes how training goes on.

    Args:
        model: the network.
        loader: labelled batches.
        loss: the loss to report.
        precision: in which numbers to compute.
        metrics: further figures, each a function of all logits and labels. Default: none.

    Returns:
        ``loss``, then ``accuracy``, ``macro_f1`` and whatever the metrics are called.

    Raises:
        InvalidValueError: the loader is empty, or a batch has no labels.
        InvalidTypeError: a metric gives something else than a number.
    """
    counted: ClassificationMetrics | MultilabelMetrics | None = None
    total, weight = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    kept: list[tuple[Tensor, Tensor]] = []
    with _undisturbed(model):
        for batch in loader:
            moved = check_batch(batch).to(precision.device, non_blocking=True)
            labels = required_labels(moved)
            with precision.autocast():
                logits = model(moved.input_ids, moved.lengths).float()  # (batch, classes)
            if counted is None:
                kind = MultilabelMetrics if labels.is_floating_point() else ClassificationMetrics
                counted = kind(logits.shape[1]).to(logits.device)
                total, weight = total.to(logits.device), weight.to(logits.device)
            counted.update(logits, labels)
            share = loss.weight(labels)
            total += loss(logits, labels).double() * share
            weight += share
            if metrics:
                kept.append((logits.cpu(), labels.cpu()))
    if counted is None:
        raise InvalidValueError(expected("loader", "at least one batch", []))
    figures = {"loss": float(total / weight), **counted.compute()}
    if metrics:
        logits, labels = (torch.cat(parts) for parts in zip(*kept, strict=True))
        figures |= {name: _number(name, metric(logits, labels)) for name, metric in metrics.items()}
    return figures


def predict(model: nn.Module, loader: Iterable[Batch], *, precision: Precision) -> Tensor:
    """Return a model's logits for all texts of a loader, in the data set's order.

    Args:
        model: the network.
        loader: batches, labelled or not. Where they tell the texts' indices, the rows are put in
            the order of these; else they stay as they come.
        precision: in which numbers to compute.

    Returns:
        Logits ``(texts, classes)`` in fp32 on the CPU.

    Raises:
        InvalidValueError: the loader is empty, or only some of the batches tell indices.
    """
    logits: list[Tensor] = []
    indices: list[Tensor] = []
    with _undisturbed(model):
        for batch in loader:
            moved = check_batch(batch).to(precision.device, non_blocking=True)
            with precision.autocast():
                logits.append(model(moved.input_ids, moved.lengths).float())  # (batch, classes)
            if batch.indices is not None:
                indices.append(batch.indices.cpu())
    if not logits:
        raise InvalidValueError(expected("loader", "at least one batch", []))
    if indices and len(indices) != len(logits):
        raise InvalidValueError(
            f"Expected all batches to tell indices or none, but {len(indices)} of {len(logits)} do."
        )
    rows = torch.cat(logits).cpu()  # (texts, classes)
    return rows[torch.cat(indices).argsort(stable=True)] if indices else rows


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Compute in evaluation mode, without gradients; leave modes and generator as they were."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        # A DataLoader draws a seed from the global generator each time it is iterated.
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise InvalidTypeError(
            f"Expected the metric {show(name)} to give a number, but got {show(value)}."
        ) from None
