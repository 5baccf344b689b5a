"""Encoded texts as flat tensors, in memory or mapped from a folder."""

from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor

from textrnn.data.batching import FetchedTexts
from textrnn.data.corpus.stored import Block, MappedFolder

__all__ = ["FlatTexts"]

_TEXTS_AT_A_TIME = 8192  # that are copied, to bound the memory


class FlatTexts:
    """Texts as stretches of one flat tensor of ids, with their labels.

    A selection from texts in memory has a tensor of its own. One from mapped texts still looks into
    the mapped ids, so that it is small, and gathers `input_ids` only when asked for them. Pickled,
    mapped tensors are the name of their folder, and are mapped again where they arrive.

    Args:
        input_ids: The ids that texts look into, int32 of shape `(ids,)`.
        lengths: Number of ids of each text, int64 of shape `(texts,)`.
        labels: int64 of shape `(texts,)`, float32 of shape `(texts, classes)`, or None.
        offsets: Where each text begins and the last one ends, int64 of shape `(texts + 1,)`, if
            that is there already.
        starts: Where each text begins, int64 of shape `(texts,)`, if they don't lie one after
            another.
        folder: Whose tensors these are, or None.

    Attributes:
        lengths: As given.
        labels: As given.

    Example:
        >>> ids = torch.tensor([2, 7, 3, 2, 3], dtype=torch.int32)
        >>> texts = FlatTexts(ids, torch.tensor([3, 2]))
        >>> len(texts), texts.offsets.tolist(), texts.select([1]).input_ids.tolist()
        (2, [0, 3, 5], [2, 3])
    """

    def __init__(
        self,
        input_ids: Tensor,
        lengths: Tensor,
        labels: Tensor | None = None,
        *,
        offsets: Tensor | None = None,
        starts: Tensor | None = None,
        folder: MappedFolder | None = None,
    ) -> None:
        self._flat = input_ids
        self.lengths = lengths
        self.labels = labels
        if offsets is None and starts is None:
            offsets = _offsets_of(lengths)
        self._offsets = offsets
        self._starts = lengths if offsets is None else offsets[:-1]
        if starts is not None:
            self._starts = starts
        self._folder = folder

    @classmethod
    def mapped(cls, folder: MappedFolder) -> Self:
        """Return the texts of a folder, without loading them."""
        return cls(**folder.tensors, folder=folder)

    @property
    def input_ids(self) -> Tensor:
        """Ids of all texts, one after another, int32 of shape `(ids,)`."""
        if self._offsets is not None:
            return self._flat
        return _gather(self._flat, self._starts, self.lengths)

    @property
    def offsets(self) -> Tensor:
        """Where each text begins in `input_ids`, and where the last one ends."""
        return _offsets_of(self.lengths) if self._offsets is None else self._offsets

    @property
    def num_ids(self) -> int:
        """Number of ids of all texts."""
        return int(self.lengths.sum()) if self._offsets is None else len(self._flat)

    @property
    def num_classes(self) -> int:
        """The largest label + 1, or the targets' width; 0 without labels."""
        if self.labels is None or not len(self.labels):
            return 0
        if self._folder is not None and self.labels is self._folder.tensors.get("labels"):
            return self._folder.num_classes  # known without reading them all
        return self.labels.shape[1] if self.labels.ndim == 2 else int(self.labels.max()) + 1

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.lengths)

    def fetch(self, positions: Tensor) -> FetchedTexts:
        """Return texts without copying their ids.

        Args:
            positions: Which ones, int64 of shape `(batch,)`, from 0.
        """
        if self._folder is not None:
            self._folder.touch(len(positions))
        return FetchedTexts(
            self._flat,
            self._starts[positions],
            self.lengths[positions],
            None if self.labels is None else self.labels[positions],
            positions,
        )

    def select(self, positions: Tensor) -> "FlatTexts":
        """Return some of the texts, in the order given.

        Args:
            positions: Which ones, int64 of shape `(texts,)`, from 0.
        """
        starts, lengths = self._starts[positions], self.lengths[positions]
        labels = None if self.labels is None else self.labels[positions]
        if self._folder is None:
            return FlatTexts(_gather(self._flat, starts, lengths), lengths, labels)
        return FlatTexts(self._flat, lengths, labels, starts=starts, folder=self._folder)

    def blocks(self) -> Iterator[Block]:
        """Yield the texts, some at a time; of no texts, one empty block."""
        for first in range(0, max(len(self), 1), _TEXTS_AT_A_TIME):
            block = slice(first, first + _TEXTS_AT_A_TIME)
            lengths = self.lengths[block]
            if self._folder is not None:
                self._folder.touch(len(lengths))
            ids = _gather(self._flat, self._starts[block], lengths)
            labels = None if self.labels is None else self.labels[block].numpy()
            yield ids.numpy(), lengths.numpy(), labels

    def __getstate__(self) -> dict[str, Any]:
        state = vars(self).copy()
        if self._offsets is not None:
            del state["_starts"]  # a view of them
        if self._folder is not None:
            for name, tensor in _attributes(self._folder).items():
                if state[name] is tensor:
                    del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["_folder"] is not None:
            vars(self).update(_attributes(state["_folder"]))
        vars(self).update(state)
        if self._offsets is not None:
            self._starts = self._offsets[:-1]


def _attributes(folder: MappedFolder) -> dict[str, Tensor | None]:
    """Return the tensors of a folder by the names of the attributes that hold them."""
    return {
        "_flat": folder.tensors["input_ids"],
        "_offsets": folder.tensors["offsets"],
        "lengths": folder.tensors["lengths"],
        "labels": folder.tensors.get("labels"),
    }


def _offsets_of(lengths: Tensor) -> Tensor:
    """Return where each text begins, and where the last one ends."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def _gather(input_ids: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """Copy texts from anywhere in a flat tensor of ids, one after another."""
    offsets = _offsets_of(lengths)
    gathered = torch.empty(int(offsets[-1]), dtype=torch.int32)
    for first in range(0, len(starts), _TEXTS_AT_A_TIME):
        block = slice(first, first + _TEXTS_AT_A_TIME)
        goals = offsets[:-1][block]
        # Each id comes from where it goes to, plus what its text has moved.
        moved = (starts[block] - goals).repeat_interleave(lengths[block])
        place = torch.arange(len(moved)) + int(goals[0])
        gathered[place[0] : place[-1] + 1] = input_ids[place + moved]
    return gathered
