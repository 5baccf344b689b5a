"""Labelled texts, encoded once as one flat array of token ids."""

import copy
import operator
import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import closing
from typing import Any, Self, SupportsIndex, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from textrnn.data.batching import FetchedTexts
from textrnn.data.corpus.building import DatasetEncoder, encode_rows
from textrnn.data.corpus.rows import HubRows
from textrnn.data.corpus.stored import MappedFolder, write_dataset
from textrnn.data.flat import FlatTexts
from textrnn.data.targets import read_labels, read_weights
from textrnn.errors import InvalidTypeError, InvalidValueError, check_float, check_int, expected
from textrnn.text import Tokenizer, Vocabulary
from textrnn.text.columns import read_texts

__all__ = ["WordDataset", "draw_stratified"]

Positions: TypeAlias = Sequence[int] | NDArray[np.integer] | Tensor
"""Positions of texts in a data set."""


class WordDataset(Dataset[dict[str, Any]]):
    """Texts encoded as token ids, with their labels if there are any.

    All texts are tokenized and encoded once, when the data set is made, into one flat int32 array;
    tokens are not kept. `dataset[i]` is a dictionary with `"input_ids"` (int64 `(time,)`),
    `"label"` (an int, or a float tensor `(classes,)` for multi-label; absent without labels),
    `"index"` (`i` itself) and `"weight"` (a float; absent without weights). With
    `PaddingCollator`, a `torch.utils.data.DataLoader` fetches each batch with one gather.

    Every text has at least one id: a text without words is `<bos>` and `<eos>`, or `<unk>` if
    neither is added.

    `build` makes data sets that are larger than memory, in a folder. These are mapped into memory
    instead of loaded, also in the workers of a loader, and are used like any other. Their tensors
    are read-only.

    Args:
        texts: The texts: a sequence or column of strings, or an iterator over them.
        labels: One class id per text, counted from 0; or, for multi-label, a matrix
            `(texts, classes)` of numbers from 0 to 1; or None. Lists, arrays, tensors and columns
            are accepted.
        vocabulary: Maps tokens to ids.
        tokenizer: Splits a text into tokens.
        max_length: Maximum number of ids per text, `<bos>` and `<eos>` included. Longer texts lose
            their last words and keep `<eos>`. None does not truncate. Default: None.
        add_bos: Begin each text with `<bos>`. Default: True.
        add_eos: End each text with `<eos>`. Default: True.
        weights: Weight of each text in the loss, a non-negative number, or None for 1 each. They
            are not saved in folders, but can be assigned again after `open`. Default: None.

    Attributes:
        vocabulary: As given.
        tokenizer: As given.
        max_length: As given.

    Raises:
        InvalidTypeError: If a text is not a string, a label is not a number, or an argument has
            the wrong type.
        InvalidValueError: If the numbers of texts, labels or weights differ, a label is missing or
            out of range, or a weight is negative, infinite or NaN, or all are 0.

    Example:
        >>> from textrnn.text import Vocabulary
        >>> vocabulary = Vocabulary.build([["oil", "prices", "soar"]])
        >>> dataset = WordDataset(["oil prices", "oil wars soar"], [0, 1], vocabulary, str.split)
        >>> len(dataset), dataset.num_classes
        (2, 2)
        >>> dataset[0]
        {'input_ids': tensor([2, 4, 5, 3]), 'label': 0, 'index': 0}
    """

    def __init__(
        self,
        texts: Iterable[str],
        labels: Any,
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        *,
        max_length: int | None = None,
        add_bos: bool = True,
        add_eos: bool = True,
        weights: Any = None,
    ) -> None:
        column = read_texts(texts)
        targets = read_labels(labels)
        if isinstance(texts, Sized):
            _check_count(targets, len(texts))  # before the work rather than after it
        encode = DatasetEncoder(
            tokenizer, vocabulary, max_length=max_length, add_bos=add_bos, add_eos=add_eos
        )
        flat, lengths = encode(column)
        _check_count(targets, len(lengths))
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._texts = FlatTexts(torch.from_numpy(flat), torch.from_numpy(lengths), targets)
        self.weights = weights

    @classmethod
    def from_hf(
        cls,
        dataset: Any,
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        *,
        text_column: str = "text",
        label_column: str | None = "label",
        max_length: int | None = None,
        add_bos: bool = True,
        add_eos: bool = True,
    ) -> Self:
        """Encode one split of a Hugging Face data set, reading it once in blocks of rows.

        Args:
            dataset: A `datasets.Dataset` or a streamed `datasets.IterableDataset`.
            vocabulary: As in `WordDataset`.
            tokenizer: As in `WordDataset`.
            text_column: Name of the column of texts. Default: `"text"`.
            label_column: Name of the column of labels; None makes a data set without labels.
                Default: `"label"`.
            max_length: As in `WordDataset`.
            add_bos: As in `WordDataset`.
            add_eos: As in `WordDataset`.

        Returns:
            The data set.

        Raises:
            InvalidTypeError: If `dataset` is not a data set, or is a mapping of splits.
            MissingKeyError: If a column does not exist.
            InvalidValueError: If a label is missing; on the Hub, -1 means that too.

        Example:
            >>> from datasets import Dataset
            >>> from textrnn.text import Vocabulary
            >>> news = Dataset.from_dict({"text": ["oil prices"], "label": [3]})
            >>> WordDataset.from_hf(news, Vocabulary.build([["oil"]]), str.split)[0]["input_ids"]
            tensor([2, 4, 1, 3])
        """
        labels: list[Any] = []

        def texts() -> Iterator[str]:
            for text, label in HubRows(dataset, text_column=text_column, label_column=label_column):
                labels.append(label)
                yield text

        encoded = cls(
            texts(),
            None,
            vocabulary,
            tokenizer,
            max_length=max_length,
            add_bos=add_bos,
            add_eos=add_eos,
        )
        encoded.labels = None if label_column is None else read_labels(labels)
        return encoded

    @classmethod
    def build(
        cls,
        folder: str | os.PathLike[str],
        rows: Iterable[tuple[str, Any]],
        vocabulary: Vocabulary,
        tokenizer: Tokenizer,
        *,
        max_length: int | None = None,
        add_bos: bool = True,
        add_eos: bool = True,
        num_workers: int = 0,
    ) -> Self:
        """Encode any number of texts into a folder, with bounded memory.

        The folder appears once everything is written; an error, Ctrl-C or a full disk leaves
        nothing behind. An existing data set is replaced.

        Args:
            folder: The folder to make; see `open`.
            rows: Pairs of a text and its label, read once: an iterator, `FileRows` or `HubRows`. A
                label is a class id or a list of numbers from 0 to 1, one per class, or None for all
                texts.
            vocabulary: Maps tokens to ids. `WordCounter` makes one of any amount of text.
            tokenizer: As in `WordDataset`.
            max_length: As in `WordDataset`.
            add_bos: As in `WordDataset`.
            add_eos: As in `WordDataset`.
            num_workers: Number of worker processes; 0 encodes in this process. Workers start like
                those of a `torch.utils.data.DataLoader`; the files are the same for any number.
                Default: 0.

        Returns:
            The data set, opened.

        Raises:
            InvalidTypeError: If a row is not such a pair, or an argument has the wrong type.
            InvalidValueError: If a label is missing or out of range, if there are labels of
                different kinds, or if `folder` holds anything but a data set.
            OSError: If the folder can't be written.

        Example:
            >>> import tempfile
            >>> from textrnn.text import Vocabulary
            >>> vocabulary = Vocabulary.build([["oil", "won"]])
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     rows = iter([("oil prices", 1), ("they won", 0)])
            ...     WordDataset.build(f"{folder}/news", rows, vocabulary, str.split)
            <WordDataset: 2 texts, 8 ids, 2 classes>
        """
        encode = DatasetEncoder(
            tokenizer, vocabulary, max_length=max_length, add_bos=add_bos, add_eos=add_eos
        )
        with closing(encode_rows(rows, encode, num_workers=num_workers)) as blocks:
            digest = write_dataset(
                folder, blocks, vocabulary=vocabulary, tokenizer=tokenizer, max_length=max_length
            )
        return cls._of(MappedFolder(folder, digest), vocabulary, tokenizer)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        *,
        tokenizer: Tokenizer | None = None,
        verify: bool = False,
    ) -> Self:
        """Open a data set written by `build` or `save`, without loading its ids.

        The folder is not trusted: sizes and checksums must match the manifest, and every text must
        lie within the ids. Only `verify` checks the ids themselves. Don't change the files while a
        process has them open; `build` and `save` may replace the whole folder at any time.

        Args:
            folder: The folder.
            tokenizer: The tokenizer of the data set, needed if it is a custom one. Default: None.
            verify: Read all ids and compare them with their checksum and the vocabulary, which
                takes as long as reading the file. Default: False.

        Returns:
            The data set.

        Raises:
            MissingFileError: If there is no such folder.
            CorruptFileError: If it does not hold a complete, undamaged data set.
            InvalidValueError: If `tokenizer` is missing, or is not the data set's.

        Example:
            >>> import tempfile
            >>> from textrnn.text import Vocabulary, WordTokenizer
            >>> vocabulary, tokenizer = Vocabulary.build([["oil"]]), WordTokenizer()
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     WordDataset(["Oil!"], [1], vocabulary, tokenizer).save(f"{folder}/news")
            ...     WordDataset.open(f"{folder}/news")[0]
            {'input_ids': tensor([2, 4, 3]), 'label': 1, 'index': 0}
        """
        mapped = MappedFolder(folder, verify=verify)
        return cls._of(mapped, mapped.vocabulary, mapped.read_tokenizer(tokenizer))

    @classmethod
    def _of(cls, folder: MappedFolder, vocabulary: Vocabulary, tokenizer: Tokenizer) -> Self:
        """Return the data set of a mapped folder."""
        dataset = cls([], None, vocabulary, tokenizer)
        dataset.max_length = folder.manifest["max_length"]
        vars(dataset)["_texts"] = FlatTexts(**folder.tensors, folder=folder)
        return dataset

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the data set into a folder, for `open`.

        The folder appears once everything is written. An existing data set is replaced.

        Args:
            folder: The folder.

        Raises:
            InvalidValueError: If `folder` holds anything but a data set, is the current folder or
                a mount point, the texts have weights, or a class id is 1,048,576 or more.
            OSError: If the folder can't be written.
        """
        if self.weights is not None:
            rule = "None for `save`; assign them after `open`"
            raise InvalidValueError(expected("weights", rule, self.weights.tolist()))
        write_dataset(
            folder,
            self._texts.blocks(),
            vocabulary=self.vocabulary,
            tokenizer=self.tokenizer,
            max_length=self.max_length,
        )

    @property
    def input_ids(self) -> Tensor:
        """Ids of all texts, one text after another, int32 `(ids,)`.

        Part of a data set in a folder, as `select` and `split` return it, gathers them in memory.
        """
        return self._texts.input_ids

    @property
    def offsets(self) -> Tensor:
        """Text `i` is `input_ids[offsets[i]:offsets[i + 1]]`; int64 `(texts + 1,)`."""
        return self._texts.offsets

    @property
    def lengths(self) -> Tensor:
        """Number of ids of each text, int64 `(texts,)`."""
        return self._texts.lengths

    @property
    def labels(self) -> Tensor | None:
        """Class ids, int64 `(texts,)`; multi-label targets, float32 `(texts, classes)`; or None."""
        return self._texts.labels

    @labels.setter
    def labels(self, labels: Tensor | None) -> None:
        self._texts.labels = labels

    @property
    def weights(self) -> Tensor | None:
        """Weight of each text, float32 `(texts,)`; or None. Others can be assigned."""
        return self._texts.weights

    @weights.setter
    def weights(self, weights: Any) -> None:
        if weights is not None:
            values = read_weights(weights, len(self)).astype(np.float32)
            weights = torch.from_numpy(values)
        self._texts.weights = weights

    @property
    def num_classes(self) -> int:
        """The largest class id + 1, or the number of columns of the targets; 0 without labels."""
        return self._texts.num_classes

    def __repr__(self) -> str:
        labelled = f"{self.num_classes} classes" if self.labels is not None else "no labels"
        return f"<WordDataset: {len(self):,} texts, {self._texts.num_ids:,} ids, {labelled}>"

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Return one text as a dictionary; negative positions count from the end."""
        try:
            position = operator.index(index)
        except TypeError:
            position = None
        if position is None or isinstance(index, bool):
            raise InvalidTypeError(expected("index", "an integer", index))
        if not -len(self) <= position < len(self):
            raise _no_such_text(position, len(self))
        return self._texts.fetch(torch.tensor([position % len(self)]))[0]

    def __getitems__(self, indices: Positions) -> FetchedTexts:
        """Return several texts at once, as `torch.utils.data.DataLoader` fetches a batch."""
        return self._texts.fetch(_read_positions(indices, len(self)))

    def select(self, indices: Positions) -> Self:
        """Return a data set of some of the texts, in the order given and renumbered.

        The ids are copied, except those in a folder, which stay there. `torch.utils.data.Subset`,
        which every part of the library accepts too, copies nothing and keeps the numbers.

        Args:
            indices: Positions of the texts; negative ones count from the end, repeats are allowed.

        Returns:
            The new data set.

        Raises:
            InvalidTypeError: If the positions are not integers.
            IndexError: If one of the texts does not exist.

        Example:
            >>> from textrnn.text import Vocabulary
            >>> vocabulary = Vocabulary.build([["b"]])
            >>> dataset = WordDataset(["a b", "b", ""], [2, 1, 0], vocabulary, str.split)
            >>> part = dataset.select([2, 0])
            >>> part.input_ids.tolist(), part.labels.tolist()
            ([2, 3, 2, 1, 4, 3], [0, 2])
        """
        part = copy.copy(self)
        vars(part)["_texts"] = self._texts.select(_read_positions(indices, len(self)))
        return part

    def split(self, fraction: float, *, seed: int = 0) -> tuple[Self, Self]:
        """Split the data set at random into two parts with the same class proportions.

        With class ids, the split is stratified: each class's number of texts in the second part is
        its share, rounded up or down. Other texts are drawn from all. Both parts keep the order of
        the texts. The result depends only on `seed`; global random generators are not used.

        Args:
            fraction: Fraction of the texts in the second part, above 0 and below 1.
            seed: Random seed, a non-negative integer. Default: 0.

        Returns:
            The rest and the part of the given size; neither is empty.

        Raises:
            InvalidTypeError: If an argument is not a number.
            InvalidValueError: If an argument is out of range or there are fewer than two texts.

        Example:
            >>> from textrnn.text import Vocabulary
            >>> texts, labels = [str(i) for i in range(10)], [0, 1] * 5
            >>> dataset = WordDataset(texts, labels, Vocabulary.build([texts]), str.split)
            >>> train, valid = dataset.split(0.4)
            >>> len(train), valid.labels.bincount().tolist()
            (6, [2, 2])
        """
        fraction = check_float("fraction", fraction, minimum=0, maximum=1, exclusive=True)
        generator = np.random.default_rng(check_int("seed", seed, minimum=0))
        if len(self) < 2:
            raise InvalidValueError(expected("dataset", "at least two texts to split", len(self)))
        if self.labels is not None and self.labels.ndim == 1:
            strata = np.unique(self.labels.numpy(), return_inverse=True)[1]
        else:
            strata = np.zeros(len(self), dtype=np.int64)
        chosen = draw_stratified(strata, fraction, generator)
        return self.select(np.flatnonzero(~chosen)), self.select(np.flatnonzero(chosen))


def draw_stratified(
    strata: NDArray[np.int64], fraction: float, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose a fraction of at least two texts, from each stratum (counted from 0) its share."""
    # Hamilton's method: round all shares down, and those with the largest remainders up until the
    # total is met. Ties are broken at random.
    counts = np.bincount(strata)
    share = counts * fraction
    quota = share.astype(np.int64)
    total = min(max(round(len(strata) * fraction), 1), len(strata) - 1)
    lot = generator.permutation(len(counts))
    by_remainder = np.lexsort((lot, quota - share))
    quota[by_remainder[: total - int(quota.sum())]] += 1
    # Shuffle, then sort by stratum: the first texts of each stratum are chosen.
    order = generator.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    rank = np.arange(len(strata)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.empty(len(strata), dtype=np.bool_)
    chosen[order] = rank < np.repeat(quota, counts)
    return chosen


def _read_positions(indices: Positions, texts: int) -> Tensor:
    """Return positions of texts, of which negative ones count from the end, as int64."""
    try:
        positions = np.asarray(indices)  # for short lists faster than torch
    except (TypeError, ValueError):
        positions = np.empty(())
    if positions.ndim == 1 and not len(positions):
        return torch.empty(0, dtype=torch.int64)
    if positions.ndim != 1 or positions.dtype.kind not in "iu":
        raise InvalidTypeError(expected("indices", "a sequence of integers", indices))
    low, high = int(positions.min()), int(positions.max())
    if low < -texts or high >= texts:
        raise _no_such_text(low if low < -texts else high, texts)
    positions = positions.astype(np.int64)
    return torch.from_numpy(positions if low >= 0 else positions % texts)


def _no_such_text(position: int, texts: int) -> IndexError:
    """Return the error for a position out of range, the built-in class that ends a `for` loop."""
    return IndexError(expected("index", f"the position of one of the {texts} texts", position))


def _check_count(labels: Tensor | None, texts: int) -> None:
    """Raise an `InvalidValueError` if the numbers of labels and texts differ."""
    if labels is not None and len(labels) != texts:
        raise InvalidValueError(expected("labels", f"as many as the {texts} texts", len(labels)))
