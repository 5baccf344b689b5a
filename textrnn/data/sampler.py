"""Sample batches of texts of similar length, in an order that depends only on seed and epoch.

Batches of random texts are mostly padding, since short texts meet long ones. `BucketBatchSampler`
shuffles all texts, sorts them by length within pools of many batches, cuts the pools into batches
and shuffles these, so that every epoch still has different batches.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch.distributed
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler, Subset

from textrnn.errors import InvalidTypeError, InvalidValueError, check_int, expected

__all__ = ["BucketBatchSampler"]

_POOL_BATCHES = 100  # smaller pools mix better, but with 50 AG News is 5 % padding, with 100 2 %


class BucketBatchSampler(Sampler[list[int]]):
    """Sample batches of texts of similar length, as lists of positions.

    Use it as the `batch_sampler` of a `torch.utils.data.DataLoader`. Each epoch has every text
    exactly once, and all batches but the last are full. The order depends only on `seed` and the
    epoch, which `set_epoch` sets and iterating does not advance. Global random generators are not
    used.

    With several processes (`torch.distributed`), batches of `world_size * batch_size` texts are
    formed as in one process, and each is cut into consecutive parts, one per rank: all ranks get
    the same number of batches, of similar length, and none is empty. A short last batch is divided
    as evenly as possible. If it has fewer texts than there are ranks, it borrows from the batch
    before; with a `batch_size` of 1, it is merged with that batch.

    Args:
        dataset_or_lengths: A `WordDataset` (or any data set with `lengths`), a
            `torch.utils.data.Subset` of one, or the lengths of the texts.
        batch_size: Number of texts per batch and process.
        shuffle: Use a different order in each epoch. Otherwise batches go from the longest texts to
            the shortest, so the first one shows whether memory suffices. Default: True.
        drop_last: Leave out the short last batch: different texts in each epoch with `shuffle`, the
            shortest ones without. Default: False.
        seed: Random seed, a non-negative integer. Default: 0.
        rank: Rank of this process. None asks `torch.distributed` at the start of each epoch.
            Default: None.
        world_size: Number of processes, given together with `rank`. Default: None.

    Attributes:
        batch_size: As given.
        epoch: The epoch whose order is next, 0 at first.

    Raises:
        InvalidTypeError: If an argument has the wrong type.
        InvalidValueError: If an argument is out of range, or an epoch starts with fewer texts than
            processes.

    Example:
        >>> sampler = BucketBatchSampler([3, 9, 4, 8], batch_size=2, shuffle=False)
        >>> list(sampler)
        [[1, 3], [2, 0]]
    """

    def __init__(
        self,
        dataset_or_lengths: Dataset[Any] | Sequence[int] | Tensor | NDArray[Any],
        batch_size: int,
        *,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        lengths = _lengths_of(dataset_or_lengths)
        self.batch_size = check_int("batch_size", batch_size)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = check_int("seed", seed, minimum=0)
        self.epoch = 0
        self._start_batch = 0
        self._shard: tuple[int, int] | None = None
        if (rank is None) != (world_size is None):
            raise InvalidValueError(
                "Expected `rank` and `world_size` to be given together, "
                f"but got {rank!r} and {world_size!r}."
            )
        if rank is not None and world_size is not None:
            world_size = check_int("world_size", world_size)
            if check_int("rank", rank, minimum=0) >= world_size:
                raise InvalidValueError(expected("rank", f"below {world_size}", rank))
            self._shard = rank, world_size
        # Ascending keys are descending lengths. Small ones, because NumPy sorts 16 bits by radix.
        longest = int(lengths.max(initial=0))
        small = np.min_scalar_type(longest)
        self._keys = np.subtract(longest, lengths, dtype=small, casting="unsafe")

    def __len__(self) -> int:
        """Return the number of batches per epoch, the same on every rank."""
        return len(self._bounds(self.shard[1])) - 1

    def __iter__(self) -> Iterator[list[int]]:
        """Iterate over this rank's batches of the epoch, from the `start_batch` of `set_epoch`."""
        rank, world_size = self.shard
        bounds = self._bounds(world_size)
        # Computed now, not at the first batch, so that a later `set_epoch` has no effect.
        order = self._order(world_size * self.batch_size)
        return self._cut(order, bounds[self._start_batch :], rank, world_size)

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Set the epoch that determines the order of the next iterations.

        Call it before each epoch, as with `torch.utils.data.DistributedSampler`. An interrupted
        training run resumes with `start_batch`: no earlier batch is fetched.

        Args:
            epoch: Number of the epoch, from 0.
            start_batch: Number of batches to skip, until the next `set_epoch`; `len` still counts
                them. Default: 0.

        Raises:
            InvalidTypeError: If an argument is not an integer.
            InvalidValueError: If one is negative, or the epoch has fewer than `start_batch`
                batches.

        Example:
            >>> sampler = BucketBatchSampler([5] * 10, batch_size=2, seed=1)
            >>> batches = list(sampler)
            >>> sampler.set_epoch(0, start_batch=4)
            >>> list(sampler) == batches[4:]
            True
        """
        epoch = check_int("epoch", epoch, minimum=0)
        start_batch = check_int("start_batch", start_batch, minimum=0)
        if start_batch > len(self):
            rule = f"at most the number of batches ({len(self)})"
            raise InvalidValueError(expected("start_batch", rule, start_batch))
        self.epoch = epoch
        self._start_batch = start_batch

    @property
    def shard(self) -> tuple[int, int]:
        """Rank and number of processes, as given or from `torch.distributed`."""
        if self._shard is not None:
            return self._shard
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    def _bounds(self, world_size: int) -> NDArray[np.int64]:
        """Return the bounds of the batches of all processes together in the order."""
        texts, size = len(self._keys), world_size * self.batch_size
        bounds = np.arange(0, texts + 1, size)
        short = texts - int(bounds[-1])
        if not short or self.drop_last:
            return bounds
        bounds = np.append(bounds, texts)
        if short < world_size:
            if texts < world_size:
                rule = f"at least one text for each of the {world_size} processes"
                raise InvalidValueError(expected("dataset_or_lengths", rule, texts))
            if self.batch_size > 1:
                bounds[-2] -= world_size - short
            else:
                bounds = np.delete(bounds, -2)
        return bounds

    def _order(self, size: int) -> NDArray[Any]:
        """Return all positions as consecutive batches of `size`, the short one last."""
        texts = len(self._keys)
        full = texts // size
        if not self.shuffle:
            return np.argsort(self._keys, kind="stable")
        generator = np.random.default_rng([self.seed, self.epoch])
        # In place and in small integers: with many millions of texts, each copy takes gigabytes.
        order: NDArray[Any] = np.arange(texts, dtype=np.int32 if texts < 2**31 else np.int64)
        generator.shuffle(order)
        if self.drop_last:
            order = order[: full * size]
        pool = size * _POOL_BATCHES
        whole = max(len(order) // pool - 1, 0) * pool
        # The last pool includes the remainder.
        for start in range(0, whole + 1, pool):
            part = order[start : start + pool if start < whole else None]
            part[:] = part[np.argsort(self._keys[part], kind="stable")]
        rest = order[whole:]
        # The short batch has texts of any length, not always the longest or the shortest.
        short = len(order) - full * size
        if short:
            start = int(generator.integers(len(rest) - short + 1))
            rest[start:] = np.roll(rest[start:], -short)
        order[: full * size] = generator.permutation(
            order[: full * size].reshape(full, size)
        ).ravel()
        return order

    @staticmethod
    def _cut(
        order: NDArray[Any], bounds: NDArray[np.int64], rank: int, world_size: int
    ) -> Iterator[list[int]]:
        """Yield the part of each batch that belongs to `rank`."""
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            size = end - start
            first, last = rank * size // world_size, (rank + 1) * size // world_size
            yield order[start + first : start + last].tolist()


def _lengths_of(source: Any) -> NDArray[np.int64]:
    """Return the lengths of the texts of a data set or a subset of one, or the lengths given."""
    if isinstance(source, Subset):
        return _lengths_of(source.dataset)[np.asarray(source.indices, dtype=np.int64)]
    rule = "a WordDataset, a Subset of one, or a sequence of lengths"
    if isinstance(source, Dataset) and not hasattr(source, "lengths"):
        raise InvalidTypeError(expected("dataset_or_lengths", rule, source))
    try:
        lengths = np.asarray(getattr(source, "lengths", source))
    except (TypeError, ValueError):
        raise InvalidTypeError(expected("dataset_or_lengths", rule, source)) from None
    if lengths.ndim != 1 or (len(lengths) and lengths.dtype.kind not in "iu"):
        raise InvalidTypeError(expected("dataset_or_lengths", rule, source))
    if len(lengths) and lengths.min() < 0:
        raise InvalidValueError(expected("lengths", "non-negative", int(lengths.min())))
    return lengths.astype(np.int64, copy=False)
