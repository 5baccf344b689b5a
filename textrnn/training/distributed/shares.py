"""Whether several processes have each their share of the texts, and no text twice."""

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

__all__ = ["check_lengths", "check_overlap", "check_share"]

_WHOLE = {RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler}
_ADVICE = "A `BucketBatchSampler` shares them out."


def check_share(name: str, loader: Iterable[Any], processes: Processes) -> None:
    """Make sure that a loader does not give every process all texts, where that can be seen.

    Args:
        name: What to call it in a message.
        loader: The loader.
        processes: Those that work together.

    Raises:
        InvalidValueError: If it gives all.
    """
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
    if type(inner) in _WHOLE:  # what is derived from them may know of the processes
        raise InvalidValueError(f"{expected(name, rule, type(inner).__name__)} {_ADVICE}")


def check_overlap(
    name: str, loader: Iterable[Any], indices: Sequence[Tensor], processes: Processes
) -> None:
    """Make sure that no two processes have the same text, where batches tell indices.

    Args:
        name: What to call the loader in a message.
        loader: The loader; of one with a `BucketBatchSampler` it is known.
        indices: The indices of this process's texts, batch by batch; none where they don't tell.
        processes: Those that work together.

    Raises:
        InvalidValueError: If two have.
    """
    shared_out = isinstance(loader, DataLoader) and isinstance(
        loader.batch_sampler, BucketBatchSampler
    )
    if processes.count == 1 or shared_out:
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


def check_lengths(name: str, loader: Iterable[Any], processes: Processes) -> None:
    """Make sure that all processes have as many batches, where that is known.

    Args:
        name: What to call the loader in a message.
        loader: The loader.
        processes: Those that work together.

    Raises:
        InvalidValueError: If one has more than another.
    """
    if processes.count == 1:
        return
    try:
        length = len(loader) if isinstance(loader, Sized) else None
    except TypeError:  # a DataLoader over a stream has `__len__`, but no length
        length = None
    lengths = processes.gather(length)
    if len(set(lengths)) > 1:
        raise InvalidValueError(expected(name, "of as many batches in all processes", lengths))
