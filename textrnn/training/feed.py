"""One epoch of a loader, batch by batch, from any place in it."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from textrnn.data import Batch, BucketBatchSampler, PaddingCollator
from textrnn.errors import InvalidTypeError, InvalidValueError, TrainingError, expected, show

__all__ = [
    "Feed",
    "check_batch",
    "loader_generators",
    "required_labels",
    "restore_loader_generators",
]


class Feed:
    """The batches of one epoch, read one ahead, so that the last is known to be the last.

    The order of a `BucketBatchSampler` is a function of the epoch, so consumed batches are not even
    fetched when an epoch is resumed; any other loader is run up to the place.

    Args:
        loader: anything that gives `Batch` objects each time it is iterated.
        epoch: the number of the epoch, from 0, for samplers with ``set_epoch``.
        consumed: how many batches of the epoch are over already.

    Raises:
        TrainingError: the loader has fewer batches than are over already.
        InvalidTypeError: `loader` can't be iterated, or gives something else than batches.
    """

    def __init__(self, loader: Iterable[Batch], *, epoch: int, consumed: int = 0) -> None:
        fetched = consumed
        if isinstance(loader, DataLoader):
            sampler = loader.batch_sampler
            if isinstance(sampler, BucketBatchSampler):
                # A collator of another kind may draw random numbers, which must not be left out.
                start = consumed if isinstance(loader.collate_fn, PaddingCollator) else 0
                sampler.set_epoch(epoch, start_batch=start)
                fetched -= start
            else:
                for part in (sampler, loader.sampler):
                    set_epoch = getattr(part, "set_epoch", None)
                    if set_epoch is not None:
                        set_epoch(epoch)
        try:
            self._batches = iter(loader)
        except TypeError:
            raise InvalidTypeError(expected("loader", "an iterable of batches", loader)) from None
        for _ in range(fetched):
            if next(self._batches, None) is None:
                raise TrainingError(
                    f"The loader ends before batch {consumed}, where the run is to go on: "
                    "it is not the loader that the run was started with."
                )
        self._ahead: Batch | None = next(self._batches, None)

    def exhausted(self) -> bool:
        """Tell whether the epoch is over."""
        return self._ahead is None

    def take(self, count: int) -> list[Batch]:
        """Return the next batches.

        Args:
            count: how many at most.

        Returns:
            As many of them as there are.

        Raises:
            InvalidTypeError: the loader gave something else than a `Batch`.
        """
        taken: list[Batch] = []
        while self._ahead is not None and len(taken) < count:
            taken.append(check_batch(self._ahead))
            self._ahead = next(self._batches, None)
        return taken


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


def _own_generators(loader: Iterable[Batch]) -> dict[str, torch.Generator]:
    found: dict[str, torch.Generator] = {}
    if isinstance(loader, DataLoader):
        holders = {
            "loader": loader,
            "sampler": loader.sampler,
            "batch_sampler": loader.batch_sampler,
        }
        for name, holder in holders.items():
            generator = getattr(holder, "generator", None)
            if isinstance(generator, torch.Generator):
                found[name] = generator
    return found


def loader_generators(loader: Iterable[Batch]) -> dict[str, Tensor]:
    """Return the states of the generators that belong to the loader itself."""
    return {name: generator.get_state() for name, generator in _own_generators(loader).items()}


def restore_loader_generators(loader: Iterable[Batch], states: Mapping[str, Tensor]) -> None:
    """Set the loader's own generators to what `loader_generators` returned.

    Raises:
        InvalidValueError: the loader has other generators than those that were saved.
    """
    generators = _own_generators(loader)
    if generators.keys() != states.keys():
        rule = f"the loader of the run, with the generators {sorted(states)}"
        raise InvalidValueError(expected("loader", rule, sorted(generators)))
    for name, generator in generators.items():
        generator.set_state(states[name])
