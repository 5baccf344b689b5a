"""Running a model over a loader without training it: evaluation and prediction."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from textrnn.data import Batch
from textrnn.errors import InvalidTypeError, InvalidValueError, expected, show
from textrnn.training.distributed.processes import ALONE, Processes
from textrnn.training.distributed.shares import check_overlap, check_share
from textrnn.training.loaders import check_batch, iterate, on_device, positions_of, required_labels
from textrnn.training.losses import Loss
from textrnn.training.metrics import ClassificationMetrics, MultilabelMetrics
from textrnn.training.resume.generators import undisturbed_generators
from textrnn.training.step import Precision

__all__ = ["MetricFunction", "evaluate", "figure_names", "predict", "undisturbed_modes"]

MetricFunction: TypeAlias = Callable[[Tensor, Tensor], Any]
"""From all logits ``(texts, classes)`` and all labels ``(texts,)``, on the CPU, to one number."""


def evaluate(
    model: nn.Module,
    loader: Iterable[Batch],
    loss: Loss,
    *,
    precision: Precision,
    metrics: Mapping[str, MetricFunction] | None = None,
    processes: Processes = ALONE,
) -> dict[str, float]:
    """Measure a model on a loader.

    The figures are exact whatever the sizes of the batches. Nothing is left changed: neither the
    model's mode nor a generator, so evaluating never changes how training goes on.

    Args:
        model: The network.
        loader: Labelled batches.
        loss: The loss to report.
        precision: In which numbers to compute.
        metrics: Further figures, each a function of all logits and labels. Default: none.
        processes: Those among which the texts are shared out. Default: just this one.

    Returns:
        ``loss``, then ``accuracy``, ``macro_f1`` and whatever the metrics are called; of the texts
        of all processes, and the same in all.

    Raises:
        InvalidValueError: If the loader is empty, labels are missing or out of range, or two
            processes have the same text.
        InvalidTypeError: If the loader does not give batches, or a metric gives something else
            than a number.
    """
    check_share("loader", loader, processes)
    counted: ClassificationMetrics | MultilabelMetrics | None = None
    means: list[Tensor] = []
    weights: list[Tensor | int] = []
    kept: list[tuple[Tensor, Tensor]] = []
    indices: list[Tensor] = []
    with _undisturbed(model, loader):
        for logits, batch in _logits(model, loader, precision):
            labels = required_labels(batch)
            if counted is None:
                counted = _counter(labels, logits.shape[1])
            counted.update(logits, labels)
            means.append(loss(logits, labels))
            weights.append(loss.weight(labels))
            if metrics:
                kept.append((logits.cpu(), labels.cpu()))
            if batch.indices is not None:
                indices.append(batch.indices)
        if counted is None:
            raise InvalidValueError(expected("loader", "at least one batch", []))
        check_overlap("loader", loader, indices, processes)
        # On the CPU, for not every device has double precision.
        mean = torch.stack(means).cpu().double()  # (batches,)
        weight = torch.stack([torch.as_tensor(each) for each in weights]).cpu().double()
        parts = processes.gather(((mean * weight).sum(), weight.sum(), counted.to("cpu"), kept))
        losses, totals, counters, pairs = zip(*parts, strict=True)
        for other in counters[1:]:
            counters[0].merge(other)
        figures = {"loss": float(sum(losses) / sum(totals)), **counters[0].compute()}
        if metrics:
            rows = [pair for part in pairs for pair in part]
            logits, labels = (torch.cat(column) for column in zip(*rows, strict=True))
            for name, metric in metrics.items():
                figures[name] = _number(name, metric(logits, labels))
    return figures


def predict(
    model: nn.Module,
    loader: Iterable[Batch],
    *,
    precision: Precision,
    processes: Processes = ALONE,
) -> Tensor:
    """Return a model's logits for all texts of a loader, in the data set's order.

    Args:
        model: The network.
        loader: Batches, labelled or not. Where they tell the texts' indices, the rows are put in
            the order of the data set, which for a `torch.utils.data.Subset` is that of the subset;
            else they stay as they come.
        precision: In which numbers to compute.
        processes: Those among which the texts are shared out. Default: just this one.

    Returns:
        Logits ``(texts, classes)`` in fp32 on the CPU; of the texts of all processes, and the same
        in all.

    Raises:
        InvalidTypeError: If the loader does not give batches.
        InvalidValueError: If the loader is empty, or only some of the batches tell indices; where
            there are several processes, also if none does, or two have the same text.
    """
    check_share("loader", loader, processes)
    rows: list[Tensor] = []
    indices: list[Tensor] = []
    with _undisturbed(model, loader):
        for logits, batch in _logits(model, loader, precision):
            rows.append(logits)
            if batch.indices is not None:
                indices.append(batch.indices)
    if not rows:
        raise InvalidValueError(expected("loader", "at least one batch", []))
    if indices and len(indices) != len(rows):
        raise InvalidValueError(
            f"Expected all batches to tell indices or none, but {len(indices)} of {len(rows)} do."
        )
    if processes.count > 1 and not indices:
        raise InvalidValueError(
            "Expected the batches to tell indices, which put the logits of several processes "
            "in order, but they have none."
        )
    check_overlap("loader", loader, indices, processes)
    whole = torch.cat(processes.gather(torch.cat(rows).cpu()))  # (texts, classes)
    if not indices:
        return whole
    return whole[_order(torch.cat(processes.gather(torch.cat(indices).cpu())), loader)]


def figure_names(*, multilabel: bool | None) -> tuple[str, ...]:
    """Return the names of the figures that every evaluation gives.

    Args:
        multilabel: Whether the labels are multi-label floats; None where that is not known.

    Returns:
        The names; those of both kinds of labels where the kind is not known.

    >>> figure_names(multilabel=True)
    ('loss', 'accuracy', 'micro_f1', 'macro_f1', 'weighted_f1')
    """
    kinds = (False, True) if multilabel is None else (multilabel,)
    names = ["loss"]
    for kind in kinds:
        labels = torch.zeros(1, 1) if kind else torch.zeros(1, dtype=torch.int64)
        counted = _counter(labels, 1)
        counted.update(torch.zeros(1, 1), labels)
        names += counted.compute()
    return tuple(dict.fromkeys(names))


def _counter(labels: Tensor, num_classes: int) -> ClassificationMetrics | MultilabelMetrics:
    if labels.is_floating_point():
        return MultilabelMetrics(num_classes)
    return ClassificationMetrics(num_classes)


def _logits(
    model: nn.Module, loader: Iterable[Batch], precision: Precision
) -> Iterator[tuple[Tensor, Batch]]:
    """Run the model over a loader; give the logits of each batch, and the batch on the device."""
    num_classes = getattr(model, "num_classes", None)
    for batch in iterate(loader):
        moved = on_device(check_batch(batch), precision.device, num_classes)
        with precision.autocast():
            logits = model(moved.input_ids, moved.lengths)  # (batch, classes)
        yield logits.float(), moved


def _order(indices: Tensor, loader: Iterable[Batch]) -> Tensor:
    """Return how to put rows in the data set's order."""
    order = indices.argsort(stable=True)  # (texts,)
    chosen = positions_of(loader)
    if chosen is None:
        return order
    # In the order of the data set that the subset is taken of, then as the subset has them.
    place = np.argsort(chosen, kind="stable")  # (texts of the subset,)
    if np.array_equal(chosen[place], indices[order].numpy()):
        return order[torch.from_numpy(np.argsort(place, kind="stable"))]
    if not np.isin(indices.numpy(), chosen).all():  # the batches count in a way of their own
        return order
    found = np.searchsorted(chosen, indices.numpy(), sorter=place)  # some texts are left out
    return torch.from_numpy(place[found]).argsort(stable=True)


@contextmanager
def undisturbed_modes(model: nn.Module) -> Iterator[None]:
    """Restore at the end whether each module of a model is in training or evaluation mode."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _undisturbed(model: nn.Module, loader: Iterable[Any]) -> Iterator[None]:
    """Compute in evaluation mode, without gradients; leave modes and generators as they were."""
    with undisturbed_modes(model), undisturbed_generators(loader), torch.inference_mode():
        model.eval()
        yield


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise InvalidTypeError(
            f"Expected the metric {show(name)} to give a number, but got {show(value)}."
        ) from None
