"""Texts with their labels, encoded once into one flat array of ids."""

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
from textrnn.data.columns import read_labels, read_texts
from textrnn.data.corpus.building import encode_rows, fill_empty
from textrnn.data.corpus.rows import HubRows
from textrnn.data.corpus.stored import MappedFolder, write_dataset
from textrnn.data.flat import FlatTexts
from textrnn.errors import InvalidTypeError, InvalidValueError, check_float, check_int, expected
from textrnn.text import Tokenizer, Vocabulary, encode_texts

__all__ = ["Positions", "WordDataset", "draw_stratified", "read_position", "read_positions"]

Positions: TypeAlias = Sequence[int] | NDArray[np.integer] | Tensor
"""Numbers of texts in a data set."""


def read_position(index: SupportsIndex, texts: int) -> int:
    """Return the position of one text, from 0.

    Args:
        index: The position; a negative one counts from the end.
        texts: How many texts there are.

    Raises:
        InvalidTypeError: If `index` is not an integer.
        IndexError: If there is no such text.

    Example:
        >>> read_position(-1, 10)
        9
    """
    try:
        position = operator.index(index)
    except TypeError:
        position = None
    if position is None or isinstance(index, bool):
        raise InvalidTypeError(expected("index", "an integer", index))
    if not -texts <= position < texts:
        raise _no_such_text(position, texts)
    return position % texts


def read_positions(indices: Positions, texts: int) -> Tensor:
    """Return the positions of texts, from 0, int64 of shape `(indices,)`.

    Args:
        indices: The positions; negative ones count from the end.
        texts: How many texts there are.

    Raises:
        InvalidTypeError: If the positions are not integers.
        IndexError: If one of the texts doesn't exist.

    Example:
        >>> read_positions([0, -1], 10)
        tensor([0, 9])
    """
    try:
        positions = np.asarray(indices)  # for short lists faster than torch's
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
    # Python's own class is what ends a loop over a sequence.
    return IndexError(expected("index", f"that of one of the {texts} texts", position))


def draw_stratified(
    strata: NDArray[np.int64], fraction: float, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose a fraction of the texts, from every stratum its share.

    The total is the fraction rounded, but at least one text is chosen and one is not. Each stratum
    gives its share rounded down, and those with the largest remainders one more, until the total is
    met (the method of Hamilton for seats in a parliament); equal remainders are drawn by lot.

    Args:
        strata: Stratum of each text, counted from 0 without gaps, of shape `(texts,)`; there are
            at least two texts.
        fraction: Share of the texts to choose, between 0 and 1.
        generator: Source of the randomness.

    Returns:
        Whether each text is chosen, of shape `(texts,)`.

    Example:
        >>> strata = np.array([0, 0, 0, 0, 1, 1])
        >>> chosen = draw_stratified(strata, 0.5, np.random.default_rng(0))
        >>> np.bincount(strata[chosen])
        array([2, 1])
    """
    counts = np.bincount(strata)
    share = counts * fraction
    quota = share.astype(np.int64)
    total = min(max(round(len(strata) * fraction), 1), len(strata) - 1)
    lot = generator.permutation(len(counts))
    by_remainder = np.lexsort((lot, quota - share))
    quota[by_remainder[: total - int(quota.sum())]] += 1
    # Shuffled, then stratum after stratum: the first ones of each are the chosen.
    order = generator.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    place = np.arange(len(strata)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.empty(len(strata), dtype=np.bool_)
    chosen[order] = place < np.repeat(quota, counts)
    return chosen


class WordDataset(Dataset[dict[str, Any]]):
    """Texts as ids of their tokens, with labels where there are any.

    All texts are tokenized and encoded once, when the data set is made, into one flat array of
    four bytes a token; lists of tokens are never kept. `dataset[i]` is a dictionary with
    `"input_ids"` (int64 of shape `(time,)`), `"label"` (an int, or a float tensor of shape
    `(classes,)` for multi-label; absent without labels) and `"index"` (`i` itself). With
    `PaddingCollator`, a `torch.utils.data.DataLoader` fetches each batch with one gather.

    Every text has at least one id: one without any words is the begin and the end token, and
    `<unk>` where neither is added.

    A data set that is larger than memory is made by `build` and stays in its folder, as does one
    that `open` opens: it is mapped into memory instead of loaded, also by the workers of a loader,
    and used like any other. Nothing may be written to its tensors.

    Args:
        texts: The texts: any sequence or column of strings, or an iterator over them.
        labels: A class id from 0 per text; or a matrix of shape `(texts, classes)` of numbers
            from 0 to 1 for multi-label; or None. Lists, arrays, tensors and columns will do.
        vocabulary: Gives each token its id.
        tokenizer: Makes a list of tokens of a string.
        max_length: Number of ids that longer texts are cut to, begin and end token included, or
            None. A cut text keeps its end token.
        add_bos: Whether each text begins with the begin-of-sequence token.
        add_eos: Whether each text ends with the end-of-sequence token.

    Attributes:
        vocabulary: As given.
        tokenizer: As given.
        max_length: As given.

    Raises:
        InvalidTypeError: If a text is not a string, a label not a number, or an argument of the
            wrong type.
        InvalidValueError: If texts and labels differ in number, or a label is missing or out of
            range.

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
    ) -> None:
        column = read_texts(texts)
        targets = read_labels(labels)
        if isinstance(texts, Sized):
            _check_count(targets, len(texts))  # before the work rather than after it
        flat, lengths = encode_texts(
            column,
            tokenizer,
            vocabulary,
            max_length=max_length,
            add_bos=add_bos,
            add_eos=add_eos,
        )
        _check_count(targets, len(lengths))
        flat, lengths = fill_empty(flat, lengths, vocabulary.unk_id)
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._texts = FlatTexts(torch.from_numpy(flat), torch.from_numpy(lengths), targets)

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
        """Encode one split of a Hugging Face data set, reading it once and some rows at a time.

        Args:
            dataset: A `datasets.Dataset`, or a streamed `datasets.IterableDataset`.
            vocabulary: Gives each token its id.
            tokenizer: Makes a list of tokens of a string.
            text_column: Name of the column with the texts.
            label_column: Name of the column with the labels; None leaves the texts unlabelled.
            max_length: As for the class itself.
            add_bos: As for the class itself.
            add_eos: As for the class itself.

        Returns:
            The encoded data set.

        Raises:
            InvalidTypeError: If `dataset` is not a data set, or is several of them.
            MissingKeyError: If there is no such column; the message lists those there are.
            InvalidValueError: If a label is missing, which the Hub writes as -1 too.

        Example:
            >>> from datasets import Dataset
            >>> from textrnn.text import Vocabulary
            >>> news = Dataset.from_dict({"text": ["oil prices"], "label": [3]})
            >>> WordDataset.from_hf(news, Vocabulary.build([["oil"]]), str.split)[0]["input_ids"]
            tensor([2, 4, 1, 3])
        """
        labels: list[Any] = []

        def texts() -> Iterator[str]:
            rows = HubRows(dataset, text_column=text_column, label_column=label_column)
            for text, label in rows:
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
        """Encode texts of any number into a folder, holding only some of them at a time.

        The folder appears when all is written; what is wrong with a row, a Ctrl-C or a full disk
        leave nothing behind. A data set that is there already is replaced then.

        Args:
            folder: The folder to make; see `open`.
            rows: Pairs of a text and its label, read once: an iterator, `FileRows`, `HubRows`. A
                label is a class id, or one number from 0 to 1 per class; or None for all texts.
            vocabulary: Gives each token its id. A `WordCounter` makes one of any amount of text.
            tokenizer: Makes a list of tokens of a string.
            max_length: As for the class itself.
            add_bos: As for the class itself.
            add_eos: As for the class itself.
            num_workers: How many processes encode; 0 does it all in this one. They are started as
                those of a `torch.utils.data.DataLoader` are, and change no byte of the result.

        Returns:
            The data set, opened.

        Raises:
            InvalidTypeError: If a row is no such pair, or an argument has a wrong type.
            InvalidValueError: If a label is missing or out of range, or labels differ in form; or
                if `folder` holds anything but a data set.
            OSError: If it can't be written.

        Example:
            >>> import tempfile
            >>> from textrnn.text import Vocabulary
            >>> rows = [("oil prices", 1), ("they won", 0)]
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     vocabulary = Vocabulary.build([["oil", "won"]])
            ...     WordDataset.build(f"{folder}/news", iter(rows), vocabulary, str.split)
            <WordDataset: 2 texts, 8 ids, 2 classes>
        """
        blocks = encode_rows(
            rows,
            tokenizer,
            vocabulary,
            max_length=max_length,
            add_bos=add_bos,
            add_eos=add_eos,
            num_workers=num_workers,
        )
        with closing(blocks):
            write_dataset(
                folder, blocks, vocabulary=vocabulary, tokenizer=tokenizer, max_length=max_length
            )
        return cls._of(MappedFolder(folder), vocabulary, tokenizer)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        *,
        tokenizer: Tokenizer | None = None,
        verify: bool = False,
    ) -> Self:
        """Open a data set that `build` or `save` wrote, without loading its ids.

        The folder is not trusted. What is opened has the sizes that it should have, the checksums
        are right, and each text lies inside the ids. The ids themselves are read, and compared with
        their checksum and the vocabulary, only with `verify`, since that takes as long as the disk
        needs for all of them. Don't change the files as long as a process has them open; `build`
        and `save` replace the whole folder, which does no harm.

        Args:
            folder: The folder.
            tokenizer: What the texts were cut with, if that is not a `WordTokenizer`.
            verify: Whether to read and check the ids too (default: False).

        Returns:
            The data set.

        Raises:
            FileNotFoundError: If there is no such folder.
            CorruptFileError: If it does not hold a whole and sound data set.
            InvalidValueError: If `tokenizer` is needed, or is not the data set's.

        Example:
            >>> import tempfile
            >>> from textrnn.text import Vocabulary, WordTokenizer
            >>> vocabulary, tokenizer = Vocabulary.build([["oil"]]), WordTokenizer()
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     WordDataset(["Oil!"], [1], vocabulary, tokenizer).save(f"{folder}/news")
            ...     WordDataset.open(f"{folder}/news")[0]
            {'input_ids': tensor([2, 4, 3]), 'label': 1, 'index': 0}
        """
        mapped = MappedFolder(folder)
        vocabulary = mapped.read_vocabulary()
        if verify:
            mapped.verify_ids(len(vocabulary))
        return cls._of(mapped, vocabulary, mapped.read_tokenizer(tokenizer))

    @classmethod
    def _of(cls, folder: MappedFolder, vocabulary: Vocabulary, tokenizer: Tokenizer) -> Self:
        dataset = cls([], None, vocabulary, tokenizer)
        dataset.max_length = folder.manifest["max_length"]
        vars(dataset)["_texts"] = FlatTexts.mapped(folder)
        return dataset

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the data set into a folder, from which `open` opens it.

        The folder appears when all is written, and replaces a data set that is there already.

        Args:
            folder: The folder.

        Raises:
            InvalidValueError: If `folder` holds anything but a data set.
            OSError: If it can't be written.
        """
        write_dataset(
            folder,
            self._texts.blocks(),
            vocabulary=self.vocabulary,
            tokenizer=self.tokenizer,
            max_length=self.max_length,
        )

    @property
    def input_ids(self) -> Tensor:
        """Ids of all texts, one after another, int32 of shape `(ids,)`.

        What `select` and `split` cut from a data set in a folder has them only now, in memory.
        """
        return self._texts.input_ids

    @property
    def offsets(self) -> Tensor:
        """Text `i` is `input_ids[offsets[i]:offsets[i + 1]]`; int64 of shape `(texts + 1,)`."""
        return self._texts.offsets

    @property
    def lengths(self) -> Tensor:
        """Number of ids of each text, int64 of shape `(texts,)`."""
        return self._texts.lengths

    @property
    def labels(self) -> Tensor | None:
        """Class ids, int64 of shape `(texts,)`; or float32 of shape `(texts, classes)`; or None."""
        return self._texts.labels

    @labels.setter
    def labels(self, labels: Tensor | None) -> None:
        self._texts.labels = labels

    @property
    def num_classes(self) -> int:
        """Number of classes: the largest label + 1, or the targets' width; 0 without labels."""
        return self._texts.num_classes

    def __repr__(self) -> str:
        labelled = f"{self.num_classes} classes" if self.labels is not None else "no labels"
        return f"<WordDataset: {len(self):,} texts, {self._texts.num_ids:,} ids, {labelled}>"

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._texts)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Return one text; negative indices count from the end.

        Args:
            index: Position of the text.

        Returns:
            `"input_ids"`, `"label"` if there are labels, and `"index"`.

        Raises:
            InvalidTypeError: If `index` is not an integer.
            IndexError: If there is no such text.
        """
        return self._texts.fetch(torch.tensor([read_position(index, len(self))]))[0]

    def __getitems__(self, indices: Positions) -> FetchedTexts:
        """Return many texts at once; a `torch.utils.data.DataLoader` does so for each batch.

        Args:
            indices: Positions of the texts, negative ones from the end.

        Returns:
            A sequence of the items, which `PaddingCollator` pads without making them one by one.

        Raises:
            InvalidTypeError: If the positions are not integers.
            IndexError: If one of the texts doesn't exist.
        """
        return self._texts.fetch(read_positions(indices, len(self)))

    def select(self, indices: Positions) -> Self:
        """Return a data set of some of the texts, in the order given and numbered anew.

        The ids are copied, except those in a folder, which stay there. `torch.utils.data.Subset`
        does without that too, and every part of the library takes one, but its items keep the
        numbers of the whole.

        Args:
            indices: Positions of the texts, negative ones from the end; repeats are allowed.

        Returns:
            A new data set.

        Raises:
            InvalidTypeError: If the positions are not integers.
            IndexError: If one of the texts doesn't exist.

        Example:
            >>> from textrnn.text import Vocabulary
            >>> vocabulary = Vocabulary.build([["b"]])
            >>> dataset = WordDataset(["a b", "b", ""], [2, 1, 0], vocabulary, str.split)
            >>> part = dataset.select([2, 0])
            >>> part.input_ids.tolist(), part.labels.tolist()
            ([2, 3, 2, 1, 4, 3], [0, 2])
        """
        part = copy.copy(self)
        vars(part)["_texts"] = self._texts.select(read_positions(indices, len(self)))
        return part

    def split(self, fraction: float, *, seed: int = 0) -> tuple[Self, Self]:
        """Cut the data set into two at random, each with all classes in proportion.

        Texts with class ids are drawn class by class, so that each class's number in the part is
        its share rounded up or down; others are drawn from all. Both parts keep the order of the
        texts. The draw depends on `seed` alone and leaves global random generators as they are.

        Args:
            fraction: Share of the texts that go to the second part, between 0 and 1.
            seed: Seed of the draw, a non-negative integer.

        Returns:
            The rest and the part; neither is empty, and together they hold each text once.

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


def _check_count(labels: Tensor | None, texts: int) -> None:
    """Refuse labels that are more or fewer than the texts."""
    if labels is not None and len(labels) != texts:
        raise InvalidValueError(expected("labels", f"as many as the {texts} texts", len(labels)))
