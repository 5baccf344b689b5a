"""Columns of texts and labels, and the batches to train on or to predict."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from textrnn.data import Batch, BucketBatchSampler, PaddingCollator, WordDataset
from textrnn.data.targets import read_weights
from textrnn.errors import InvalidTypeError, InvalidValueError, expected
from textrnn.runtime.batches import batches_by_length
from textrnn.runtime.labels import LabelValues, label_values
from textrnn.text import Vocabulary
from textrnn.text.columns import read_texts
from textrnn.text.spelling import UnknownWords
from textrnn.training.distributed.processes import join

__all__ = [
    "Examples",
    "Loader",
    "RandomPart",
    "WithUnknown",
    "WordDropout",
    "batch_rows",
    "learning_loader",
    "padded_batch",
    "prediction_loader",
    "read_eval_set",
    "read_examples",
    "read_sample_weight",
    "read_strings",
]

Examples: TypeAlias = tuple[list[str], LabelValues]
"""Texts, and a label or a list of labels for each."""

Loader: TypeAlias = "DataLoader[dict[str, Any]]"

_MAX_PREDICTED_IDS = 131_072  # in a batch, padding included, to bound the memory
_MAX_PREDICTED_TEXTS = 4096  # which share the products with each different word


def read_strings(name: str, texts: Any) -> list[str]:
    """Return the strings of a column of any kind; `name` is the argument in messages."""
    strings = list(read_texts(texts, name))
    for position, text in enumerate(strings):
        if not isinstance(text, str):
            raise InvalidTypeError(expected(f"{name}[{position}]", "a string", text))
    return strings


def read_examples(
    texts: Any, labels: Any, names: tuple[str, str] = ("texts", "labels")
) -> Examples:
    """Return the texts and labels of two columns; `names` are the arguments in messages."""
    strings, values = read_strings(names[0], texts), label_values(labels, names[1])
    if len(values) != len(strings):
        rule = f"as many as the {len(strings)} texts"
        raise InvalidValueError(expected(names[1], rule, len(values)))
    if not strings:
        raise InvalidValueError(expected(names[0], "at least one text", []))
    return strings, values


def read_eval_set(eval_set: Any) -> Examples:
    """Return the texts and labels of a pair of columns."""
    try:
        texts, labels = eval_set
    except (TypeError, ValueError):
        raise InvalidTypeError(expected("eval_set", "a pair (texts, labels)", eval_set)) from None
    return read_examples(texts, labels, ("eval_set[0]", "eval_set[1]"))


def read_sample_weight(weights: Any, texts: int) -> NDArray[np.float64] | None:
    """Return the weight of each text, `(texts,)`; None weights all alike."""
    return None if weights is None else read_weights(weights, texts, "sample_weight")


class WordDropout:
    """Collate a batch, with words replaced by `<unk>` with probability `p` (Iyyer et al., 2015)."""

    def __init__(
        self,
        collate: "PaddingCollator | RandomPart",
        vocabulary: Vocabulary,
        p: float,
        *,
        seed: int,
    ) -> None:
        self.collate = collate
        self.unk_id = vocabulary.unk_id
        self.first_word = len(vocabulary.specials)
        self.p = p
        # The processes that train together hide different words.
        self._generator = np.random.default_rng([seed, join().rank, 1])

    def __call__(self, items: Sequence[Any]) -> Batch:
        """Return the batch."""
        batch = self.collate(items)
        ids = batch.input_ids  # (batch, time)
        drawn = torch.from_numpy(self._generator.random(tuple(ids.shape)) < self.p)
        hidden = drawn & (ids >= self.first_word)
        return replace(batch, input_ids=ids.masked_fill(hidden, self.unk_id))


class RandomPart:
    """Collate a batch, with a random part of each text of more than `max_length` tokens."""

    def __init__(
        self, collate: PaddingCollator, pad_id: int, max_length: int, *, seed: int
    ) -> None:
        self.collate = collate
        self.pad_id = pad_id
        self.max_length = max_length
        self._generator = np.random.default_rng([seed, join().rank, 2])

    def __call__(self, items: Sequence[Any]) -> Batch:
        """Return the batch."""
        batch = self.collate(items)
        room = (batch.lengths - self.max_length).clamp(min=0)  # (batch,)
        if not room.any():
            return batch
        starts = torch.from_numpy(self._generator.integers(room.numpy() + 1))  # (batch,)
        lengths = batch.lengths.clamp(max=self.max_length)
        steps = torch.arange(self.max_length)  # (time,)
        places = (starts.unsqueeze(1) + steps).clamp(max=batch.input_ids.shape[1] - 1)
        ids = batch.input_ids.gather(1, places)  # (batch, time)
        ids = ids.masked_fill(steps >= lengths.unsqueeze(1), self.pad_id)
        return replace(batch, input_ids=ids, lengths=lengths)


def learning_loader(
    dataset: WordDataset,
    *,
    batch_size: int,
    word_dropout: float,
    max_length: int,
    seed: int,
    pin_memory: bool,
) -> Loader:
    """Return batches to train on, in another order in each epoch."""
    pad_id = dataset.vocabulary.pad_id
    collate: Any = PaddingCollator(pad_id)
    if int(dataset.lengths.max()) > max_length:
        collate = RandomPart(collate, pad_id, max_length, seed=seed)
    if word_dropout:
        collate = WordDropout(collate, dataset.vocabulary, word_dropout, seed=seed)
    return _loader(
        dataset,
        BucketBatchSampler(dataset, batch_size, seed=seed),
        collate,
        pin_memory=pin_memory,
    )


def prediction_loader(dataset: WordDataset, *, shared: bool = False) -> Loader:
    """Return batches to predict; `shared` divides them among processes that train together."""
    rank, world_size = (None, None) if shared else (0, 1)
    sampler = BucketBatchSampler(
        dataset,
        min(max(_MAX_PREDICTED_IDS // int(dataset.lengths.max()), 1), _MAX_PREDICTED_TEXTS),
        shuffle=False,
        rank=rank,
        world_size=world_size,
    )
    return _loader(dataset, sampler, PaddingCollator(dataset.vocabulary.pad_id))


def _loader(
    dataset: WordDataset, sampler: BucketBatchSampler, collate: Any, *, pin_memory: bool = False
) -> Loader:
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # PyTorch draws a seed for workers, even without any
    )


class WithUnknown:
    """Batches of a data set with the unknown words of its texts, numbered from `first` on."""

    def __init__(
        self, loader: Any, dataset: WordDataset, unknown: UnknownWords, *, first: int = 0
    ) -> None:
        self.loader, self.offsets = loader, dataset.offsets
        self.rows: Tensor | None = None  # (total,)
        if unknown.words:
            rows = unknown.by_token(len(dataset.input_ids)).astype(np.int64)
            self.rows = torch.from_numpy(np.where(rows < 0, rows, rows + first))

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.loader:
            if self.rows is None:
                yield batch
                continue
            steps = torch.arange(batch.input_ids.shape[1])  # (time,)
            places = self.offsets[batch.indices].unsqueeze(1) + steps  # (batch, time)
            rows = self.rows[places.clamp(max=len(self.rows) - 1)]
            padding = steps >= batch.lengths.unsqueeze(1)  # (batch, time)
            yield replace(batch, unknown=rows.masked_fill(padding, -1))


def batch_rows(lengths: NDArray[np.int64], *, threads: int = 1) -> list[NDArray[np.int64]]:
    """Return the texts of each batch to predict, the longest first; each thread gets as much."""
    total, longest = int(lengths.sum()), int(lengths.max())
    batches = math.ceil(total / _MAX_PREDICTED_IDS / threads) * threads
    share = math.ceil(total / batches) + longest
    max_ids = min(share, _MAX_PREDICTED_IDS) if threads > 1 else _MAX_PREDICTED_IDS
    return list(batches_by_length(lengths, max_ids=max_ids, max_texts=_MAX_PREDICTED_TEXTS))


def padded_batch(
    ids: NDArray[np.int32], starts: NDArray[np.int64], sizes: NDArray[np.int64], pad_id: int
) -> tuple[Tensor, Tensor]:
    """Return the padded ids `(batch, time)` and the lengths of texts, the longest first."""
    steps = np.arange(sizes[0])  # (time,)
    places = np.minimum(starts[:, np.newaxis] + steps, len(ids) - 1)  # (batch, time)
    padded = ids[places].astype(np.int64)
    padded[steps >= sizes[:, np.newaxis]] = pad_id
    return torch.from_numpy(padded), torch.from_numpy(sizes)
