"""Check that each process has its own share of the texts, and no text twice."""

from collections.abc import Iterable, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from textrnn.data import BucketBatchSampler
from textrnn.errors import InvalidValueError, expected
from textrnn.training.distributed.processes import Processes

__all__ = ["check_batch_counts", "check_overlap", "check_share"]

_UNSHARED = {RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler}
_ADVICE = "A `BucketBatchSampler` divides the texts among the processes."


def check_share(name: str, loader: Iterable[Any], processes: Processes) -> None:
    """Check that a loader does not give all texts to every process, as far as its sampler shows."""
    if processes.count == 1 or not isinstance(loader, DataLoader):
        return
    rule = f"one that gives each of {processes.count} processes its share"
    sampler = loader.batch_sampler
    if isinstance(sampler, BucketBatchSampler):
        if sampler.shard != (processes.rank, processes.count):
            rank, world_size = sampler.shard
            got = f"that of rank {rank} of {world_size} in rank {processes.rank}"
            raise InvalidValueError(f"Expected `{name}` to be {rule}, but got {got}.")
        return
    inner = getattr(sampler, "sampler", loader.sampler)
    if type(inner) in _UNSHARED:  # a subclass may divide the texts
        raise InvalidValueError(f"{expected(name, rule, type(inner).__name__)} {_ADVICE}")


def check_overlap(
    name: str, loader: Iterable[Any], indices: Sequence[Tensor], processes: Processes
) -> None:
    """Check by the indices of each batch that no two processes have the same text."""
    divided = isinstance(loader, DataLoader) and isinstance(
        loader.batch_sampler, BucketBatchSampler
    )
    if processes.count == 1 or divided:
        return
    own = [np.unique(torch.cat(list(indices)).cpu().numpy())] if indices else []
    shares = [share for part in processes.gather(own) for share in part]
    if not shares:
        return
    texts, owners = np.unique(np.concatenate(shares), return_counts=True)  # (texts,)
    if owners.max() > 1:
        text = int(texts[owners > 1][0])
        raise InvalidValueError(
            f"Expected `{name}` to give each text to one process, "
            f"but {int(owners.max())} have text {text}. {_ADVICE}"
        )


def check_batch_counts(name: str, loader: Iterable[Any], processes: Processes) -> None:
    """Check that all processes have the same number of batches, where it is known."""
    if processes.count == 1:
        return
    try:
        length = len(loader) if isinstance(loader, Sized) else None
    except TypeError:  # a DataLoader over a stream has `__len__`, but no length
        length = None
    lengths = processes.gather(length)
    if len(set(lengths)) > 1:
        rule = "of the same number of batches in all processes"
        raise InvalidValueError(expected(name, rule, lengths))
