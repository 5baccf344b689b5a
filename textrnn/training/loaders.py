"""Batches of a loader and their labels: reading ahead, checking, moving to a device."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from textrnn._processes import sheltered_from_ctrl_c
from textrnn.data import Batch, BucketBatchSampler, PaddingCollator, WordDataset
from textrnn.errors import InvalidTypeError, InvalidValueError, TrainingError, expected, show

__all__ = [
    "Feed",
    "check_batch",
    "check_labels",
    "check_labels_of",
    "iterate",
    "labels_of",
    "on_device",
    "positions_of",
    "required_labels",
]

_END = object()


class Feed:
    """The batches of one epoch, read one ahead, so that the last is known to be the last.

    The order of a `BucketBatchSampler` is a function of the epoch, so consumed batches are not even
    fetched when an epoch is resumed; any other loader is run up to the place.

    Args:
        loader: Anything that gives `Batch` objects each time it is iterated.
        epoch: The number of the epoch, from 0, for samplers with ``set_epoch``.
        consumed: How many batches of the epoch are over already.
        ahead: The batch that was read ahead when the epoch was interrupted. A loader that draws
            random numbers between the steps would not make it again. Default: the loader's.

    Raises:
        TrainingError: If the loader has fewer batches than are over already.
        InvalidTypeError: If `loader` can't be iterated, or gives something else than batches.
    """

    def __init__(
        self,
        loader: Iterable[Batch],
        *,
        epoch: int,
        consumed: int = 0,
        ahead: Batch | None = None,
    ) -> None:
        skipped = _set_epoch(loader, epoch, consumed)
        self._batches = iterate(loader)
        for _ in range(consumed - skipped):
            self._fetch()
        self.ahead = self._fetch()
        if self.ahead is None and consumed:
            raise TrainingError(
                f"The loader ends at batch {consumed} or before, where the run is to go on: "
                "it is not the loader that the run was started with."
            )
        if ahead is not None:
            self.ahead = ahead

    def exhausted(self) -> bool:
        """Tell whether the epoch is over."""
        return self.ahead is None

    def take(self, count: int) -> list[Batch]:
        """Return the next batches.

        Args:
            count: How many at most.

        Returns:
            As many of them as there are.

        Raises:
            InvalidTypeError: If the loader gives something else than a `Batch`.
        """
        taken: list[Batch] = []
        while self.ahead is not None and len(taken) < count:
            taken.append(self.ahead)
            self.ahead = self._fetch()
        return taken

    def _fetch(self) -> Batch | None:
        batch: Any = next(self._batches, _END)
        return None if batch is _END else check_batch(batch)


def _set_epoch(loader: Iterable[Any], epoch: int, consumed: int) -> int:
    """Tell a loader and its parts which epoch begins; return how many batches it leaves out."""
    parts: list[Any] = [loader]
    if isinstance(loader, DataLoader):
        sampler = loader.batch_sampler
        if isinstance(sampler, BucketBatchSampler):
            skipped = consumed if _makes_batches_alone(loader) else 0
            sampler.set_epoch(epoch, start_batch=skipped)
            return skipped
        parts += [loader.dataset, loader.sampler, sampler, getattr(sampler, "sampler", None)]
    for part in {id(part): part for part in parts}.values():
        set_epoch = getattr(part, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
    return 0


def _makes_batches_alone(loader: DataLoader[Any]) -> bool:
    """Tell whether a batch is the same whether or not those before it were made."""
    dataset: Any = loader.dataset
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    # Not what is derived from them: that may draw random numbers.
    return type(loader.collate_fn) is PaddingCollator and type(dataset) is WordDataset


def iterate(loader: Iterable[Any]) -> Iterator[Any]:
    """Begin to iterate over a loader.

    Workers that a loader starts are not reached by a Ctrl-C: it is the main process that has to
    end the step in order, and it may still need them. A loader that keeps its workers draws as many
    random numbers in each epoch as any other, so that all go on alike.

    Args:
        loader: The loader.

    Returns:
        The iterator.

    Raises:
        InvalidTypeError: If `loader` can't be iterated.
    """
    if not isinstance(loader, Iterable):
        raise InvalidTypeError(expected("loader", "an iterable of batches", loader))
    if (
        isinstance(loader, DataLoader)
        and loader.persistent_workers
        and getattr(loader, "_iterator", None) is not None
    ):
        torch.empty((), dtype=torch.int64).random_(generator=loader.generator)
    with sheltered_from_ctrl_c():
        return iter(loader)


def check_batch(batch: Any) -> Batch:
    """Return what a loader gave, if it is a `Batch`.

    Args:
        batch: What a loader gave.

    Returns:
        The same object.

    Raises:
        InvalidTypeError: If it is something else.
    """
    if not isinstance(batch, Batch):
        raise InvalidTypeError(
            f"Expected the loader to give `Batch` objects, but got {show(batch)}. "
            "A DataLoader does with `collate_fn=PaddingCollator(...)`."
        )
    return batch


def required_labels(batch: Batch) -> Tensor:
    """Return the labels of a batch that must have them.

    Args:
        batch: The batch.

    Returns:
        Class ids `(batch,)`, or floats `(batch, classes)`.

    Raises:
        InvalidValueError: If it has none.
    """
    if batch.labels is None:
        raise InvalidValueError("Expected the batches to have labels, but they have none.")
    return batch.labels


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
