"""Texts with their labels, encoded once into one flat array of ids."""

import copy
import operator
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Self, SupportsIndex, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from textrnn.data.columns import read_labels, read_rows, read_texts
from textrnn.data.items import FetchedTexts, make_item
from textrnn.data.splitting import draw_stratified
from textrnn.errors import InvalidTypeError, InvalidValueError, check_float, check_int, expected
from textrnn.text import Tokenizer, Vocabulary, encode_texts

__all__ = ["WordDataset"]

_SELECT_TEXTS = 65_536  # texts that `select` copies at a time, to bound its memory
Positions: TypeAlias = Sequence[int] | NDArray[np.integer] | Tensor
"""Numbers of texts in a data set."""


class WordDataset(Dataset[dict[str, Any]]):
    """Texts as ids of their tokens, with labels where there are any.

    All texts are tokenized and encoded once, when the data set is made, into one flat array of
    four bytes a token; lists of tokens are never kept. `dataset[i]` is a dictionary with
    `"input_ids"` (int64 of shape `(time,)`), `"label"` (an int, or a float tensor of shape
    `(classes,)` for multi-label; absent without labels) and `"index"` (`i` itself). With
    `PaddingCollator`, a `torch.utils.data.DataLoader` fetches each batch with one gather.

    Every text has at least one id: one without any words is the begin and the end token, and
    `<unk>` where neither is added.

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
        input_ids: Ids of all texts, one after another, int32 of shape `(ids,)`.
        offsets: Text `i` is `input_ids[offsets[i]:offsets[i + 1]]`; int64 of shape `(texts + 1,)`.
        lengths: Number of ids of each text, int64 of shape `(texts,)`.
        labels: int64 of shape `(texts,)`, float32 of shape `(texts, classes)`, or None.
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
        empty = lengths == 0
        if empty.any():
            flat = np.insert(flat, lengths.cumsum()[empty], vocabulary.unk_id)
            lengths[empty] = 1
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.input_ids = torch.from_numpy(flat)
        self.lengths = torch.from_numpy(lengths)
        self.offsets = _offsets(self.lengths)
        self.labels = targets

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
        columns = [text_column] if label_column is None else [text_column, label_column]
        blocks = read_rows(dataset, columns)
        labels: list[Any] = []

        def texts() -> Iterator[str]:
            for rows in blocks:
                if label_column is not None:
                    if -1 in rows[label_column]:
                        index = len(labels) + rows[label_column].index(-1)
                        rule = "a class id (label_column=None if the rows have no labels)"
                        raise InvalidValueError(expected(f"{label_column}[{index}]", rule, -1))
                    labels.extend(rows[label_column])
                yield from rows[text_column]

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

    @property
    def num_classes(self) -> int:
        """Number of classes: the largest label + 1, or the targets' width; 0 without labels."""
        if self.labels is None or not len(self.labels):
            return 0
        return self.labels.shape[1] if self.labels.ndim == 2 else int(self.labels.max()) + 1

    def __repr__(self) -> str:
        labelled = f"{self.num_classes} classes" if self.labels is not None else "no labels"
        return f"<WordDataset: {len(self):,} texts, {len(self.input_ids):,} ids, {labelled}>"

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.lengths)

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
        try:
            position = operator.index(index)
        except TypeError:
            position = None
        if position is None or isinstance(index, bool):
            raise InvalidTypeError(expected("index", "an integer", index))
        if not -len(self) <= position < len(self):
            raise self._no_such_text(position)
        position %= len(self)
        first, end = self.offsets[position : position + 2].tolist()
        label = None if self.labels is None else self.labels[position]
        return make_item(self.input_ids[first:end], label, position)

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
        positions = self._positions(indices)
        return FetchedTexts(
            self.input_ids,
            self.offsets[positions],
            self.lengths[positions],
            None if self.labels is None else self.labels[positions],
            positions,
        )

    def select(self, indices: Positions) -> Self:
        """Return a data set of some of the texts, in the order given and numbered anew.

        The ids are copied. `torch.utils.data.Subset` does without that, and every part of the
        library takes one, but its items keep the numbers of the whole.

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
        positions = self._positions(indices)
        part = copy.copy(self)
        part.lengths = self.lengths[positions]
        part.offsets = _offsets(part.lengths)
        part.labels = None if self.labels is None else self.labels[positions]
        part.input_ids = torch.empty(int(part.offsets[-1]), dtype=torch.int32)
        for first in range(0, len(positions), _SELECT_TEXTS):
            block = slice(first, first + _SELECT_TEXTS)
            lengths, starts = part.lengths[block], part.offsets[:-1][block]
            # Each id comes from where it goes to, plus what its text has moved.
            moved = (self.offsets[positions[block]] - starts).repeat_interleave(lengths)
            place = torch.arange(len(moved)) + int(starts[0])
            part.input_ids[place[0] : place[-1] + 1] = self.input_ids[place + moved]
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

    def _positions(self, indices: Positions) -> Tensor:
        """Return checked, non-negative positions as int64 of shape `(indices,)`."""
        try:
            positions = np.asarray(indices)  # for short lists faster than torch's
        except (TypeError, ValueError):
            positions = np.empty(())
        if positions.ndim == 1 and not len(positions):
            return torch.empty(0, dtype=torch.int64)
        if positions.ndim != 1 or positions.dtype.kind not in "iu":
            raise InvalidTypeError(expected("indices", "a sequence of integers", indices))
        low, high = int(positions.min()), int(positions.max())
        if low < -len(self) or high >= len(self):
            raise self._no_such_text(low if low < -len(self) else high)
        positions = positions.astype(np.int64)
        return torch.from_numpy(positions if low >= 0 else positions % len(self))

    def _no_such_text(self, position: int) -> IndexError:
        # Python's own class is what ends a loop over a sequence.
        return IndexError(expected("index", f"that of one of the {len(self)} texts", position))


def _check_count(labels: Tensor | None, texts: int) -> None:
    """Refuse labels that are more or fewer than the texts."""
    if labels is not None and len(labels) != texts:
        raise InvalidValueError(expected("labels", f"as many as the {texts} texts", len(labels)))


def _offsets(lengths: Tensor) -> Tensor:
    """Return where each text begins, and where the last one ends."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
