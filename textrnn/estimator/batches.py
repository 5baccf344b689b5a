"""From texts to the batches that a classifier learns from or predicts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from textrnn.data import Batch, BucketBatchSampler, PaddingCollator, WordDataset
from textrnn.data.columns import read_texts
from textrnn.text import Vocabulary

__all__ = ["Column", "Loader", "WordDropout", "learning_loader", "only_batch", "prediction_loader"]

Loader: TypeAlias = "DataLoader[dict[str, Any]]"

_PREDICTED_IDS = 65_536  # of a batch at most, padding included, so that memory stays bounded
_PREDICTED_TEXTS = 256


@dataclass(frozen=True)
class Column:
    """A column of texts, or some of its rows, which may be iterated any number of times.

    Args:
        texts: Anything with a length that gives strings each time it is iterated.
        rows: Which rows to take, bool `(texts,)`; None for all.

    Example:
        >>> list(Column(["oil", "gas", "war"], np.array([True, False, True])))
        ['oil', 'war']
    """

    texts: Any
    rows: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, texts: Any, name: str = "texts") -> "Column":
        """Return a column; what can be iterated only once is kept in a list.

        Args:
            texts: The texts, which are not looked at.
            name: What the argument is called, for the message.

        Raises:
            InvalidTypeError: If `texts` is no column.
        """
        column = read_texts(texts, name)
        return cls(texts if hasattr(texts, "__len__") else list(column))

    def __len__(self) -> int:
        return len(self.texts) if self.rows is None else int(self.rows.sum())

    def __iter__(self) -> Iterator[Any]:
        texts = read_texts(self.texts)
        return texts if self.rows is None else compress(texts, self.rows)


class WordDropout:
    """Collate a batch, and hide some words of its texts behind `<unk>`.

    A text is seen with other gaps in every epoch, so that no single word decides alone, and the
    unknown word gets a meaning (Iyyer et al., 2015, "Deep Unordered Composition Rivals Syntactic
    Methods for Text Classification").

    Args:
        collate: What makes the batch.
        vocabulary: Whose words the ids are; its special tokens are never hidden.
        p: The probability that a word is hidden.
    """

    def __init__(self, collate: PaddingCollator, vocabulary: Vocabulary, p: float) -> None:
        self.collate = collate
        self.unk_id = vocabulary.unk_id
        self.first_word = len(vocabulary.specials)
        self.p = p

    def __call__(self, items: Sequence[Any]) -> Batch:
        """Return the batch, with gaps drawn from torch's global generator."""
        batch = self.collate(items)
        ids = batch.input_ids  # (batch, time)
        hidden = (torch.rand(ids.shape) < self.p) & (ids >= self.first_word)
        return replace(batch, input_ids=ids.masked_fill(hidden, self.unk_id))


def learning_loader(
    dataset: WordDataset, *, batch_size: int, word_dropout: float, seed: int, pin_memory: bool
) -> Loader:
    """Return batches to learn from, in another order in each epoch.

    Args:
        dataset: The texts.
        batch_size: How many of them a batch has.
        word_dropout: The probability that a word is hidden.
        seed: Seed of the order.
        pin_memory: Whether batches lie in page-locked memory, for a GPU.
    """
    collate: Any = PaddingCollator(dataset.vocabulary.pad_id)
    if word_dropout:
        collate = WordDropout(collate, dataset.vocabulary, word_dropout)
    sampler = BucketBatchSampler(dataset, batch_size, seed=seed)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=collate, pin_memory=pin_memory)


def prediction_loader(dataset: WordDataset, *, shared: bool = False) -> Loader:
    """Return batches to predict, none of which has too many ids.

    Args:
        dataset: The texts.
        shared: Whether processes that train together share the texts out.
    """
    batch_size = _prediction_batch_size(dataset)
    rank, world_size = (None, None) if shared else (0, 1)
    sampler = BucketBatchSampler(
        dataset, batch_size, shuffle=False, rank=rank, world_size=world_size
    )
    collate = PaddingCollator(dataset.vocabulary.pad_id)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=collate)


def only_batch(dataset: WordDataset) -> Batch | None:
    """Return all texts as one batch, if they are few; to start a loader takes longer than one text.

    Args:
        dataset: The texts.
    """
    if not 0 < len(dataset) <= _prediction_batch_size(dataset):
        return None
    return PaddingCollator(dataset.vocabulary.pad_id)(dataset.__getitems__(range(len(dataset))))


def _prediction_batch_size(dataset: WordDataset) -> int:
    longest = int(dataset.lengths.max()) if len(dataset) else 1
    return min(max(_PREDICTED_IDS // longest, 1), _PREDICTED_TEXTS)
