"""The labels of a loader: found without running it, and checked before the first step."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from textrnn.data import Batch
from textrnn.errors import InvalidValueError
from textrnn.training.feed import required_labels

__all__ = ["check_labels", "check_labels_of", "labels_of", "on_device", "positions_of"]


def check_labels(labels: Tensor, num_classes: int | None, *, what: str = "`labels`") -> None:
    """Make sure that labels are what a loss over so many classes can take.

    Args:
        labels: Class ids ``(texts,)``, or ``(texts, classes)`` floats for multi-label data.
        num_classes: How many classes there are, or None where that is not known.
        what: What to call them in a message.

    Raises:
        InvalidValueError: If the form is wrong or a label is out of range; the first text that
            has such a label is named.

    >>> check_labels(torch.tensor([0, 3, 1]), num_classes=3)
    Traceback (most recent call last):
        ...
    textrnn.errors.InvalidValueError: Expected `labels` to be from 0 to 2, but text 1 has 3.
    """
    multilabel = labels.is_floating_point()
    columns = labels.shape[1] if multilabel and labels.ndim == 2 else None
    if (
        labels.ndim != 1 + multilabel
        or labels.dtype == torch.bool
        or (multilabel and num_classes not in {None, columns})
    ):
        number = "one column" if num_classes is None else f"{num_classes} columns, one"
        got = f"{labels.dtype} of shape {tuple(labels.shape)}"
        raise InvalidValueError(
            f"Expected {what} to be class ids, one per text, or floats with {number} per class, "
            f"but got {got}."
        )
    if not labels.numel():
        return
    last = 1 if multilabel else torch.iinfo(labels.dtype).max
    last = last if multilabel or num_classes is None else num_classes - 1
    low, high = (bound.item() for bound in torch.aminmax(labels))
    if low >= 0 and high <= last:  # false for NaN
        return
    place = (~((labels >= 0) & (labels <= last))).nonzero()[0]
    text, wrong = int(place[0]), labels[tuple(place)].item()
    rule = "0 or more" if not multilabel and num_classes is None else f"from 0 to {last}"
    raise InvalidValueError(f"Expected {what} to be {rule}, but text {text} has {wrong}.")


def positions_of(loader: Iterable[Any]) -> NDArray[np.int64] | None:
    """Return which texts of the whole data set a loader's data set consists of.

    Args:
        loader: Any loader.

    Returns:
        For a `DataLoader` over a `Subset` the position of each of its texts in the data set that
        the subset was taken of, ``(texts,)``; otherwise None.
    """
    chosen = None
    dataset = loader.dataset if isinstance(loader, DataLoader) else None
    while isinstance(dataset, Subset):
        indices = np.asarray(dataset.indices, dtype=np.int64)
        chosen = indices if chosen is None else indices[chosen]
        dataset = dataset.dataset
    return chosen


def labels_of(loader: Iterable[Any]) -> Tensor | None:
    """Find all labels of a loader without running it.

    Args:
        loader: A `DataLoader` over a data set (or a `Subset` of one) with `labels`, or a list of
            batches.

    Returns:
        The labels, ``(texts,)`` or ``(texts, classes)``; None where they can't be known.

    Raises:
        InvalidValueError: If texts are known to have no labels, or batches have labels of
            different form.
    """
    if isinstance(loader, DataLoader):
        dataset, chosen = loader.dataset, positions_of(loader)
        while isinstance(dataset, Subset):
            dataset = dataset.dataset
        labels = getattr(dataset, "labels", ...)
        if labels is None:
            raise InvalidValueError("Expected the data set to have labels, but it has none.")
        if not isinstance(labels, Tensor):
            return None
        return labels if chosen is None else labels[torch.from_numpy(chosen)]
    if not isinstance(loader, Sequence) or not all(isinstance(each, Batch) for each in loader):
        return None
    parts = [required_labels(batch) for batch in loader]
    if len({(part.is_floating_point(), part.shape[1:]) for part in parts}) > 1:
        raise InvalidValueError("Expected all batches to have labels of one form, but they differ.")
    return torch.cat(parts) if parts else None


def check_labels_of(name: str, loader: Iterable[Any], num_classes: int | None) -> Tensor | None:
    """Find wrong or missing labels before the first step, where they can be seen.

    Args:
        name: What to call the loader in a message.
        loader: The loader.
        num_classes: How many classes there are, or None where that is not known.

    Returns:
        What `labels_of` finds.

    Raises:
        InvalidValueError: If labels are missing, of a wrong shape or out of range.
    """
    labels = labels_of(loader)
    if labels is not None:
        check_labels(labels, num_classes, what=f"the labels of `{name}`")
    return labels


def on_device(batch: Batch, device: torch.device, num_classes: int | None) -> Batch:
    """Return a batch on a device, if its labels fit.

    A label that is out of range would break a GPU for the rest of the process, so labels are
    looked at before they leave the CPU.

    Args:
        batch: The batch.
        device: Where to.
        num_classes: How many classes there are, or None where that is not known.

    Returns:
        The same batch where it is there already, else a copy.

    Raises:
        InvalidValueError: If a label is wrong.
    """
    if batch.input_ids.device == device:
        return batch
    if batch.labels is not None and batch.labels.device.type == "cpu":
        check_labels(batch.labels, num_classes)
    return batch.to(device, non_blocking=True)
