"""Batches of a loader and their labels: prefetching, checking, moving to a device."""

import math
from collections.abc import Iterable, Iterator, Sequence, Sized
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
    "EpochBatches",
    "check_batch",
    "check_labels",
    "check_loader",
    "check_logits",
    "check_total",
    "check_weights",
    "count_steps",
    "draws_from_own",
    "indices_of",
    "iterate",
    "join_weights",
    "labels_of",
    "required_labels",
    "subset_positions",
    "to_device",
    "weights_of",
]

_END = object()


class EpochBatches:
    """The batches of an epoch after `consumed` ones, with one prefetched to know the last one."""

    def __init__(
        self,
        loader: Iterable[Batch],
        *,
        epoch: int,
        consumed: int = 0,
        prefetched: Batch | None = None,
    ) -> None:
        skipped = _set_epoch(loader, epoch, consumed)
        self._batches = iterate(loader)
        for _ in range(consumed - skipped):  # most loaders have to make consumed batches again
            self._fetch()
        self.prefetched = self._fetch()
        if self.prefetched is None and consumed:
            raise TrainingError(
                f"The loader ends at batch {consumed} or before, where the run should continue: "
                "it is not the loader that the run was started with."
            )
        if prefetched is not None:
            # A loader that draws random numbers between the steps would not make it again.
            self.prefetched = prefetched

    def exhausted(self) -> bool:
        """Return whether the epoch is over."""
        return self.prefetched is None

    def take(self, count: int) -> list[Batch]:
        """Return the next batches, at most `count`."""
        taken: list[Batch] = []
        while self.prefetched is not None and len(taken) < count:
            taken.append(self.prefetched)
            self.prefetched = self._fetch()
        return taken

    def _fetch(self) -> Batch | None:
        batch: Any = next(self._batches, _END)
        return None if batch is _END else check_batch(batch)


def _set_epoch(loader: Iterable[Any], epoch: int, consumed: int) -> int:
    """Set the epoch of a loader and its parts; return how many batches it will skip by itself."""
    parts: list[Any] = [loader]
    if isinstance(loader, DataLoader):
        sampler = loader.batch_sampler
        if isinstance(sampler, BucketBatchSampler):
            skipped = consumed if _batches_are_independent(loader) else 0
            sampler.set_epoch(epoch, start_batch=skipped)
            return skipped
        parts += [loader.dataset, loader.sampler, sampler, getattr(sampler, "sampler", None)]
    for part in {id(part): part for part in parts}.values():
        set_epoch = getattr(part, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
    return 0


def _batches_are_independent(loader: DataLoader[Any]) -> bool:
    """Return whether a batch is the same whether or not those before it were made."""
    # A subclass may draw random numbers.
    return type(loader.collate_fn) is PaddingCollator and type(_dataset_of(loader)) is WordDataset


def draws_from_own(loader: Iterable[Any]) -> bool:
    """Return whether a loader is known to draw nothing from global generators."""
    if getattr(loader, "draws_from_own", False) is True:
        return True
    return (
        isinstance(loader, DataLoader)
        and loader.generator is not None
        and type(loader.batch_sampler) is BucketBatchSampler
        and _batches_are_independent(loader)
    ) or (isinstance(loader, list | tuple) and all(type(batch) is Batch for batch in loader))


def iterate(loader: Iterable[Any]) -> Iterator[Any]:
    """Iterate over a loader whose workers ignore Ctrl-C and draw the same numbers in each epoch."""
    if not isinstance(loader, Iterable):
        raise InvalidTypeError(expected("loader", "an iterable of batches", loader))
    if (
        isinstance(loader, DataLoader)
        and loader.persistent_workers
        and getattr(loader, "_iterator", None) is not None
    ):
        # Any other loader draws a seed for its workers in each epoch.
        torch.empty((), dtype=torch.int64).random_(generator=loader.generator)
    with sheltered_from_ctrl_c():  # the main process may need the workers to finish its step
        return iter(loader)


def check_batch(batch: Any) -> Batch:
    """Return the batch that a loader gave, or raise an error if it is not a `Batch`."""
    if not isinstance(batch, Batch):
        raise InvalidTypeError(
            f"Expected the loader to give `Batch` objects, but got {show(batch)}. "
            "A DataLoader does with `collate_fn=PaddingCollator(...)`."
        )
    return batch


def check_loader(name: str, loader: Any, num_classes: int | None) -> Tensor | None:
    """Check that a loader can be iterated anew and has valid labels; return them where known."""
    if not isinstance(loader, Iterable) or isinstance(loader, Iterator):
        rule = "iterable anew each time, such as a DataLoader or a list of batches"
        raise InvalidTypeError(expected(name, rule, loader))
    if _count_batches(loader) == 0:
        raise InvalidValueError(expected(name, "at least one batch", loader))
    labels = labels_of(loader)
    if labels is not None:
        check_labels(labels, num_classes, name=f"the labels of `{name}`")
    weights = weights_of(loader)
    if weights is not None:
        check_weights(weights, name=f"the weights of `{name}`")
    return labels


def count_steps(loader: Iterable[Batch], accumulation_steps: int) -> int | None:
    """Return the number of updates in an epoch, or None where the loader has no length."""
    batches = _count_batches(loader)
    return None if batches is None else math.ceil(batches / accumulation_steps)


def _count_batches(loader: Iterable[Batch]) -> int | None:
    try:
        return len(loader) if isinstance(loader, Sized) else None
    except TypeError:  # a DataLoader over a stream has `__len__`, but no length
        return None


def labels_of(loader: Iterable[Any]) -> Tensor | None:
    """Return all labels of a list of batches or a data set with `labels`, or None."""
    if isinstance(loader, DataLoader):
        labels = getattr(_dataset_of(loader), "labels", ...)
        if labels is None:
            raise InvalidValueError("Expected the data set to have labels, but it has none.")
        if not isinstance(labels, Tensor):
            return None
        chosen = subset_positions(loader)
        return labels if chosen is None else labels[torch.from_numpy(chosen)]
    if not isinstance(loader, Sequence) or not all(isinstance(each, Batch) for each in loader):
        return None
    parts = [required_labels(batch) for batch in loader]
    if len({(part.is_floating_point(), part.shape[1:]) for part in parts}) > 1:
        raise InvalidValueError("Expected all batches to have labels of one form, but they differ.")
    return torch.cat(parts) if parts else None


def weights_of(loader: Iterable[Any]) -> Tensor | None:
    """Return the weights of all texts of a `WordDataset` or a list of batches, or None."""
    if isinstance(loader, DataLoader):
        dataset = _dataset_of(loader)
        weights = dataset.weights if isinstance(dataset, WordDataset) else None
        if weights is None:
            return None
        chosen = subset_positions(loader)
        return weights if chosen is None else weights[torch.from_numpy(chosen)]
    if not isinstance(loader, Sequence) or not all(isinstance(each, Batch) for each in loader):
        return None
    return join_weights([each.weights for each in loader], list(map(len, loader)))


def join_weights(parts: Sequence[Tensor | None], sizes: Sequence[int]) -> Tensor | None:
    """Return the weights of batches of these sizes, 1 where one has none; None if none has any."""
    if all(part is None for part in parts):
        return None
    ones = [torch.ones(size, dtype=torch.float32) for size in sizes]
    return torch.cat([o if w is None else w.cpu() for w, o in zip(parts, ones, strict=True)])


def indices_of(loader: Iterable[Any]) -> list[Tensor]:
    """Return the indices of a list of batches, or an empty list for any other loader."""
    if not isinstance(loader, list | tuple):
        return []
    batches = [batch for batch in loader if isinstance(batch, Batch)]
    return [batch.indices for batch in batches if batch.indices is not None]


def subset_positions(loader: Iterable[Any]) -> NDArray[np.int64] | None:
    """Return the positions of a `Subset`'s texts in the whole data set, or None without one."""
    chosen = None
    dataset = loader.dataset if isinstance(loader, DataLoader) else None
    while isinstance(dataset, Subset):
        indices = np.asarray(dataset.indices, dtype=np.int64)
        chosen = indices if chosen is None else indices[chosen]
        dataset = dataset.dataset
    return chosen


def _dataset_of(loader: DataLoader[Any]) -> Any:
    """Return the data set of a loader, or the one that its subset was taken from."""
    dataset: Any = loader.dataset
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset


def required_labels(batch: Batch) -> Tensor:
    """Return the labels of a batch, or raise an error if it has none."""
    if batch.labels is None:
        raise InvalidValueError("Expected the batches to have labels, but they have none.")
    return batch.labels


def check_logits(logits: Any, texts: int) -> None:
    """Raise an error unless a model gave logits for all texts of a batch."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        got = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise InvalidTypeError(
            f"Expected `model` to return logits (batch, classes), but got {got}."
        )
    if logits.ndim != 2 or len(logits) != texts:
        raise InvalidValueError(
            f"Expected `model` to return logits (batch, classes) for {texts} texts, "
            f"but got the shape {tuple(logits.shape)}."
        )


def check_labels(labels: Tensor, num_classes: int | None, *, name: str = "`labels`") -> None:
    """Check the shape and range of class ids (texts,) or multi-label floats (texts, classes)."""
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
            f"Expected {name} to be class ids, one per text, or floats with {number} per class, "
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
    raise InvalidValueError(f"Expected {name} to be {rule}, but text {text} has {wrong}.")


def check_weights(weights: Tensor, *, name: str = "the weights of the texts") -> None:
    """Check that weights (texts,) are finite and not negative."""
    if not weights.is_floating_point():
        raise InvalidTypeError(f"Expected {name} to be floats, but got {weights.dtype}.")
    valid = (weights >= 0) & (weights < math.inf)  # (texts,), False for NaN
    if not bool(valid.all()):
        text = int(valid.int().argmin())
        raise InvalidValueError(
            f"Expected {name} to be finite numbers of at least 0, "
            f"but text {text} has {weights[text].item()}."
        )


def check_total(weight: Tensor | float, name: str = "loader") -> None:
    """Check that the weights of a loader's texts are not all 0."""
    if not weight:
        raise InvalidValueError(f"Expected `{name}` to have a text of weight above 0.")


def to_device(batch: Batch, device: torch.device, num_classes: int | None) -> Batch:
    """Return a batch on a device; labels are checked first, as a bad one would break a GPU."""
    if batch.input_ids.device == device:
        return batch
    if batch.labels is not None and batch.labels.device.type == "cpu":
        check_labels(batch.labels, num_classes)
    return batch.to(device, non_blocking=True)
