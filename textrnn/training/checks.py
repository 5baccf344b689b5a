"""What is wrong with the arguments of a trainer, found before the first step."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

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
from textrnn.training.callbacks import ProgressBar
from textrnn.training.evaluation import MetricFunction, figure_names
from textrnn.training.hooks import Callback
from textrnn.training.labels import check_labels_of

__all__ = [
    "check_callbacks",
    "check_evaluation",
    "check_loader",
    "check_metrics",
    "check_model",
    "check_optimizer",
    "count_steps",
]


def check_model(model: Any, device: torch.device | str | None) -> tuple[nn.Module, torch.device]:
    """Return the model on the device, and the device.

    Args:
        model: A module with parameters.
        device: Where to train; None for where the model is.

    Raises:
        InvalidTypeError: If `model` is no module, or one that was made ready for several processes
            already.
        InvalidValueError: If it has no parameters, or there is no such device.
    """
    if not isinstance(model, nn.Module):
        raise InvalidTypeError(expected("model", "a torch module", model))
    if isinstance(model, nn.parallel.DistributedDataParallel):
        rule = "the module itself, without the `DistributedDataParallel` that the Trainer adds"
        raise InvalidTypeError(expected("model", rule, type(model).__name__))
    weights = next(model.parameters(), None)
    if weights is None:
        raise InvalidValueError(expected("model", "a module with parameters", model))
    if device is not None:
        try:
            model.to(torch.device(device))
        except (AssertionError, RuntimeError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise InvalidValueError(
                f"{expected('device', 'a device of this machine', device)} PyTorch says: {reason}"
            ) from error
    return model, next(model.parameters()).device


def check_optimizer(
    optimizer: torch.optim.Optimizer | None, model: nn.Module
) -> torch.optim.Optimizer:
    """Return the optimizer, or AdamW.

    Args:
        optimizer: An optimizer over parameters of the model, or None.
        model: The model.

    Raises:
        InvalidTypeError: If it is no optimizer.
        InvalidValueError: If it is not over the model's parameters.
    """
    if optimizer is None:
        weights = list(model.parameters())
        fused = all(w.is_floating_point() and w.device.type in {"cpu", "cuda"} for w in weights)
        # One kernel for a step: of a small network with many words it saves a third of the time.
        return torch.optim.AdamW(weights, fused=fused)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InvalidTypeError(expected("optimizer", "a torch optimizer", optimizer))
    owned = {id(weight) for weight in model.parameters()}
    if not any(id(w) in owned for group in optimizer.param_groups for w in group["params"]):
        raise InvalidValueError(
            expected("optimizer", "over the model's parameters", type(optimizer).__name__)
        )
    return optimizer


def check_metrics(
    metrics: Mapping[str, MetricFunction] | None,
) -> dict[str, MetricFunction]:
    """Return the metrics as a dictionary.

    Args:
        metrics: Names to functions, or None.

    Raises:
        InvalidTypeError: If they are something else.
    """
    given: Any = {} if metrics is None else metrics
    rule = "a mapping of names to functions of logits and labels"
    if not isinstance(given, Mapping):
        raise InvalidTypeError(expected("metrics", rule, given))
    if not all(isinstance(name, str) and callable(metric) for name, metric in given.items()):
        raise InvalidTypeError(expected("metrics", rule, dict(given)))
    return dict(given)


def check_callbacks(callbacks: Sequence[Callback], *, progress: bool) -> list[Callback]:
    """Return the callbacks, and a progress bar where it is wanted and there is none.

    Args:
        callbacks: The callbacks.
        progress: Whether there shall be a bar.

    Raises:
        InvalidTypeError: If one of them is none.
    """
    rule = "a list of `Callback` objects"
    given: Any = callbacks
    if not isinstance(given, Iterable):  # nor is a single callback
        raise InvalidTypeError(expected("callbacks", rule, given))
    found = list(given)
    for callback in found:
        if not isinstance(callback, Callback):
            raise InvalidTypeError(expected("callbacks", rule, callback))
    if progress and not any(isinstance(callback, ProgressBar) for callback in found):
        found.append(ProgressBar())
    return found


def check_loader(name: str, loader: Any, num_classes: int | None) -> Tensor | None:
    """Make sure that a loader can be gone through anew each time, and has right labels.

    Args:
        name: What to call it in a message.
        loader: The loader.
        num_classes: How many classes there are, or None where that is not known.

    Returns:
        All its labels, where they are known.

    Raises:
        InvalidTypeError: If it can't be iterated, or only once.
        InvalidValueError: If it is empty, or labels are missing or out of range.
    """
    if not isinstance(loader, Iterable) or isinstance(loader, Iterator):
        rule = "iterable anew each time, such as a DataLoader or a list of batches"
        raise InvalidTypeError(expected(name, rule, loader))
    if _count_batches(loader) == 0:
        raise InvalidValueError(expected(name, "at least one batch", loader))
    return check_labels_of(name, loader, num_classes)


def check_evaluation(
    labels: Tensor | None, metrics: Mapping[str, Any], monitor: str
) -> tuple[str, ...]:
    """Return the names of the figures that evaluations will give.

    Args:
        labels: The labels to evaluate on, where they are known.
        metrics: Further figures.
        monitor: The figure that is monitored.

    Raises:
        MissingKeyError: If that is not among them; those there are, are listed.
    """
    multilabel = None if labels is None else labels.is_floating_point()
    names = tuple(dict.fromkeys((*figure_names(multilabel=multilabel), *metrics)))
    if monitor not in names:
        raise MissingKeyError(
            f"Expected `monitor` to be a figure of an evaluation ({listing(names)}), "
            f"but got {show(monitor)}."
        )
    return names


def count_steps(loader: Iterable[Batch], accumulation_steps: int) -> int | None:
    """Return how many updates an epoch has.

    Args:
        loader: The training batches.
        accumulation_steps: How many of them an update takes.

    Returns:
        The number, or None where the loader has no length.
    """
    batches = _count_batches(loader)
    return None if batches is None else math.ceil(batches / accumulation_steps)


def _count_batches(loader: Iterable[Batch]) -> int | None:
    try:
        return len(loader) if isinstance(loader, Sized) else None
    except TypeError:  # a DataLoader over a stream has `__len__`, but no length
        return None
