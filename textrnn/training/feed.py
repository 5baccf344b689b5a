"""One epoch of a loader, batch by batch, from any place in it."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from textrnn._processes import sheltered_from_ctrl_c
from textrnn.data import Batch, BucketBatchSampler, PaddingCollator, WordDataset
from textrnn.errors import InvalidTypeError, InvalidValueError, TrainingError, expected, show

__all__ = ["Feed", "check_batch", "iterate", "required_labels"]

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
