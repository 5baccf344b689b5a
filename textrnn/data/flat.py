"""Encoded texts as flat tensors, in memory or mapped from a folder."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from textrnn.data.batching import FetchedTexts
from textrnn.data.corpus.stored import Block, MappedFolder

__all__ = ["FlatTexts"]

_TEXTS_AT_A_TIME = 8192  # texts that are copied at a time, to bound the memory


class FlatTexts:
    """Texts as slices of one flat tensor of ids, with their labels and weights."""

    # A selection from memory copies its ids. One from a folder stays mapped, and gathers
    # `input_ids` only on access. Mapped tensors are pickled as the name of their folder.

    def __init__(
        self,
        input_ids: Tensor,  # int32 (ids,)
        lengths: Tensor,  # int64 (texts,)
        labels: Tensor | None = None,  # int64 (texts,) or float32 (texts, classes)
        *,
        offsets: Tensor | None = None,  # int64 (texts + 1,), computed if texts are consecutive
        starts: Tensor | None = None,  # int64 (texts,), if they are not
        weights: Tensor | None = None,  # float32 (texts,)
        folder: MappedFolder | None = None,
    ) -> None:
        if starts is None:
            offsets = _offsets_of(lengths) if offsets is None else offsets
            starts = offsets[:-1]
        self.lengths = lengths
        self.labels = labels
        self.weights = weights
        self._flat = input_ids
        self._offsets = offsets
        self._starts = starts
        self._folder = folder

    @property
    def input_ids(self) -> Tensor:
        """Ids of all texts, one text after another, int32 `(ids,)`."""
        if self._offsets is not None:
            return self._flat
        return _gather(self._flat, self._starts, self.lengths)

    @property
    def offsets(self) -> Tensor:
        """Start of each text in `input_ids`, and the end of the last one, int64 `(texts + 1,)`."""
        return _offsets_of(self.lengths) if self._offsets is None else self._offsets

    @property
    def num_ids(self) -> int:
        """Number of ids of all texts."""
        return int(self.lengths.sum()) if self._offsets is None else len(self._flat)

    @property
    def num_classes(self) -> int:
        """The largest class id + 1, or the width of the targets; 0 without labels."""
        if self.labels is None or not len(self.labels):
            return 0
        if self._folder is not None and self.labels is self._folder.tensors.get("labels"):
            return self._folder.num_classes  # known without reading all labels
        return self.labels.shape[1] if self.labels.ndim == 2 else int(self.labels.max()) + 1

    def __len__(self) -> int:
        return len(self.lengths)

    def fetch(self, positions: Tensor) -> FetchedTexts:
        """Return texts without copying their ids."""
        if self._folder is not None:
            self._folder.touch(len(positions))
        return FetchedTexts(
            self._flat,
            self._starts[positions],
            self.lengths[positions],
            None if self.labels is None else self.labels[positions],
            positions,
            None if self.weights is None else self.weights[positions],
        )

    def select(self, positions: Tensor) -> "FlatTexts":
        """Return some of the texts, in the order given."""
        starts, lengths = self._starts[positions], self.lengths[positions]
        labels = None if self.labels is None else self.labels[positions]
        weights = None if self.weights is None else self.weights[positions]
        if self._folder is None:
            ids = _gather(self._flat, starts, lengths)
            return FlatTexts(ids, lengths, labels, weights=weights)
        return FlatTexts(
            self._flat, lengths, labels, starts=starts, weights=weights, folder=self._folder
        )

    def blocks(self) -> Iterator[Block]:
        """Yield blocks of consecutive texts, at least one, which may be empty."""
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
            del state["_starts"]  # a view of the offsets
        for name, tensor in self._mapped().items():
            if state[name] is tensor:
                del state[name]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._folder = state["_folder"]
        vars(self).update(self._mapped() | state)
        if self._offsets is not None:
            self._starts = self._offsets[:-1]

    def _mapped(self) -> dict[str, Tensor | None]:
        """Return the tensors of the folder, if there is one, by the attributes that hold them."""
        if self._folder is None:
            return {}
        tensors = self._folder.tensors
        return {
            "_flat": tensors["input_ids"],
            "_offsets": tensors["offsets"],
            "lengths": tensors["lengths"],
            "labels": tensors.get("labels"),
        }


def _offsets_of(lengths: Tensor) -> Tensor:
    """Return the start of each text, and the end of the last one."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def _gather(input_ids: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """Copy the ids of texts from anywhere in a flat tensor, one text after another."""
    offsets = _offsets_of(lengths)
    gathered = torch.empty(int(offsets[-1]), dtype=torch.int32)
    for first in range(0, len(starts), _TEXTS_AT_A_TIME):
        block = slice(first, first + _TEXTS_AT_A_TIME)
        targets = offsets[:-1][block]
        # The source of each id is its target plus the distance that its text moves.
        moved = (starts[block] - targets).repeat_interleave(lengths[block])
        target = torch.arange(len(moved)) + int(targets[0])
        gathered[target[0] : target[-1] + 1] = input_ids[target + moved]
    return gathered
