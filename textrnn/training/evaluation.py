"""Evaluate a model on a loader, and predict with it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from textrnn.data import Batch
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingKeyError,
    expected,
    listing,
    show,
)
from textrnn.nn import RecurrentClassifier
from textrnn.training.distributed.processes import ALONE, Processes
from textrnn.training.distributed.shares import check_overlap, check_share
from textrnn.training.loaders import (
    check_batch,
    check_logits,
    check_total,
    draws_from_own,
    iterate,
    join_weights,
    required_labels,
    subset_positions,
    to_device,
)
from textrnn.training.losses import Loss
from textrnn.training.metrics import ClassificationMetrics, MultilabelMetrics
from textrnn.training.resume.generators import model_generators, undisturbed_generators
from textrnn.training.state import metric_name
from textrnn.training.step import Precision

__all__ = [
    "MetricFunction",
    "check_metrics",
    "check_monitor",
    "evaluate",
    "metric_names",
    "predict",
    "undisturbed_modes",
]

MetricFunction: TypeAlias = Callable[..., Any]
"""From all logits (texts, classes) and all labels (texts,), on the CPU, to one number.

If texts have weights, these (texts,) are a third argument.
"""


def evaluate(
    model: nn.Module,
    loader: Iterable[Batch],
    loss: Loss,
    *,
    precision: Precision,
    metrics: Mapping[str, MetricFunction] | None = None,
    processes: Processes = ALONE,
) -> dict[str, float]:
    """Return loss and metrics over the texts of all processes, which batch sizes don't affect."""
    check_share("loader", loader, processes)
    counter: ClassificationMetrics | MultilabelMetrics | None = None
    means: list[Tensor] = []
    weights: list[Tensor | int] = []
    kept: list[tuple[Tensor, Tensor, Tensor | None]] = []
    indices: list[Tensor] = []
    with _inference(model, loader, plain=not metrics and loss.function is None):
        for logits, batch in _logits(model, loader, precision):
            labels = required_labels(batch)
            if counter is None:
                counter = _counter(labels, logits.shape[1])
            counter.update(logits, labels)
            means.append(loss(logits, labels, batch.weights))
            weights.append(loss.weight(labels, batch.weights))
            if metrics:
                kept.append(
                    (logits.cpu(), labels.cpu(), join_weights([batch.weights], [len(batch)]))
                )
            if batch.indices is not None:
                indices.append(batch.indices)
        if counter is None:
            raise InvalidValueError(expected("loader", "at least one batch", []))
        check_overlap("loader", loader, indices, processes)
        # On the CPU, since not every device has double precision.
        mean = torch.stack(means).cpu().double()  # (batches,)
        weight = torch.stack([torch.as_tensor(each).cpu().double() for each in weights])
        parts = processes.gather(((mean * weight).sum(), weight.sum(), counter.to("cpu"), kept))
        losses, totals, counters, rows = zip(*parts, strict=True)
        check_total(sum(totals))
        for other in counters[1:]:
            counters[0].merge(other)
        values = {"loss": float(sum(losses) / sum(totals)), **counters[0].compute()}
        if metrics:
            columns = _columns([row for part in rows for row in part])
            for name, metric in metrics.items():
                values[name] = _number(name, metric(*columns))
    return values


def predict(
    model: nn.Module,
    loader: Iterable[Batch],
    *,
    precision: Precision,
    processes: Processes = ALONE,
) -> Tensor:
    """Return fp32 logits (texts, classes) on the CPU, in the data set's order if it is known."""
    check_share("loader", loader, processes)
    rows: list[Tensor] = []
    indices: list[Tensor] = []
    with _inference(model, loader):
        for logits, batch in _logits(model, loader, precision):
            rows.append(logits)
            if batch.indices is not None:
                indices.append(batch.indices)
    if not rows:
        raise InvalidValueError(expected("loader", "at least one batch", []))
    if indices and len(indices) != len(rows):
        raise InvalidValueError(
            f"Expected all batches to have indices or none, but {len(indices)} of {len(rows)} do."
        )
    if processes.count > 1 and not indices:
        raise InvalidValueError(
            "Expected the batches to have indices, which put the logits of several processes "
            "in order, but they have none."
        )
    check_overlap("loader", loader, indices, processes)
    whole = torch.cat(processes.gather(torch.cat(rows).cpu()))  # (texts, classes)
    if not indices:
        return whole
    return whole[_order(torch.cat(processes.gather(torch.cat(indices).cpu())), loader)]


def metric_names(labels: Tensor | None, metrics: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names that an evaluation gives; of both kinds of labels if they are unknown."""
    kinds = (False, True) if labels is None else (labels.is_floating_point(),)
    names = ["loss"]
    for multilabel in kinds:
        example = torch.zeros(1, 1) if multilabel else torch.zeros(1, dtype=torch.int64)
        counter = _counter(example, 1)
        counter.update(torch.zeros(1, 1), example)
        names += counter.compute()
    return tuple(dict.fromkeys((*names, *metrics)))


def check_monitor(monitor: str, names: tuple[str, ...]) -> str:
    """Return the metric to monitor, or raise an error that lists the metrics."""
    found = metric_name(monitor, names)
    if found not in names:
        raise MissingKeyError(
            f"Expected `monitor` to be a metric of the evaluation ({listing(names)}), "
            f"but got {show(monitor)}."
        )
    return found


def check_metrics(metrics: Mapping[str, MetricFunction] | None) -> dict[str, MetricFunction]:
    """Return additional metrics as a dictionary of names and functions."""
    given: Any = {} if metrics is None else metrics
    rule = "a mapping of names to functions of logits and labels"
    if not isinstance(given, Mapping) or not all(
        isinstance(name, str) and callable(metric) for name, metric in given.items()
    ):
        raise InvalidTypeError(expected("metrics", rule, given))
    return dict(given)


@contextmanager
def undisturbed_modes(model: nn.Module) -> Iterator[None]:
    """Restore the training or evaluation mode of each module of a model at the end."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _inference(model: nn.Module, loader: Iterable[Any], *, plain: bool = True) -> Iterator[None]:
    """Compute in evaluation mode without gradients; restore modes and generators at the end."""
    # Global generators are left alone where nothing draws from them, or nothing depends on them.
    own_only = draws_from_own(loader) and (
        bool(model_generators(model)) or (plain and type(model) is RecurrentClassifier)
    )
    with (
        undisturbed_modes(model),
        undisturbed_generators(loader, model, own_only=own_only),
        torch.inference_mode(),
    ):
        model.eval()
        yield


def _logits(
    model: nn.Module, loader: Iterable[Batch], precision: Precision
) -> Iterator[tuple[Tensor, Batch]]:
    """Yield the logits of each batch, and the batch on the device."""
    num_classes = getattr(model, "num_classes", None)
    for batch in iterate(loader):
        moved = to_device(check_batch(batch), precision.device, num_classes)
        with precision.autocast():
            logits = model(moved.input_ids, moved.lengths)  # (batch, classes)
        check_logits(logits, len(moved))
        yield logits.float(), moved


def _counter(labels: Tensor, num_classes: int) -> ClassificationMetrics | MultilabelMetrics:
    if labels.is_floating_point():
        return MultilabelMetrics(num_classes)
    return ClassificationMetrics(num_classes)


def _columns(rows: list[tuple[Tensor, Tensor, Tensor | None]]) -> list[Tensor]:
    """Return all logits, all labels and, where texts have weights, all of these."""
    logits, labels, parts = zip(*rows, strict=True)
    columns = [torch.cat(logits), torch.cat(labels)]
    weights = join_weights(parts, [len(part) for part in labels])
    return columns if weights is None else [*columns, weights]


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise InvalidTypeError(
            f"Expected the metric {show(name)} to give a number, but got {show(value)}."
        ) from None


def _order(indices: Tensor, loader: Iterable[Batch]) -> Tensor:
    """Return the permutation that puts rows in the data set's order."""
    order = indices.argsort(stable=True)  # (texts,)
    chosen = subset_positions(loader)
    if chosen is None:
        return order
    # In the order of the whole data set, then in that of the subset.
    place = np.argsort(chosen, kind="stable")  # (texts of the subset,)
    if np.array_equal(chosen[place], indices[order].numpy()):
        return order[torch.from_numpy(np.argsort(place, kind="stable"))]
    if not np.isin(indices.numpy(), chosen).all():  # the batches have another numbering
        return order
    found = np.searchsorted(chosen, indices.numpy(), sorter=place)  # some texts were dropped
    return torch.from_numpy(place[found]).argsort(stable=True)
