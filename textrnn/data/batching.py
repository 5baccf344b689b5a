"""Batches: ids of texts of different length, padded to one rectangle.

`PaddingCollator` makes a `Batch`, the form in which every network of the library takes its input,
of the items that a data set gives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, overload

import numpy as np
import torch
from torch import Tensor

from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingKeyError,
    check_int,
    expected,
    listing,
)

__all__ = ["Batch", "FetchedTexts", "PaddingCollator", "make_item"]


class FetchedTexts(Sequence[dict[str, Any]]):
    """Texts that a data set hands over at once: a sequence of items that are made when asked for.

    It looks into the data set's flat array of ids, so fetching costs no copy, and `PaddingCollator`
    needs one gather. Any other collate function sees an ordinary sequence of items. Pickled, it
    becomes a list of them.

    Args:
        input_ids: Ids of all texts of the data set, one after another, of shape `(ids,)`.
        starts: Where each fetched text begins in `input_ids`, int64 of shape `(batch,)`.
        lengths: Number of ids of each fetched text, int64 of shape `(batch,)`.
        labels: Labels of the fetched texts, of shape `(batch,)` or `(batch, classes)`, or None.
        indices: Positions of the fetched texts in the data set, int64 of shape `(batch,)`, or None.

    Example:
        >>> texts = FetchedTexts(
        ...     torch.tensor([2, 7, 3, 2, 3]), torch.tensor([3, 0]), torch.tensor([2, 3]),
        ...     torch.tensor([1, 0]), torch.tensor([1, 0]),
        ... )
        >>> texts[0]
        {'input_ids': tensor([2, 3]), 'label': 1, 'index': 1}
    """

    __slots__ = ("indices", "input_ids", "labels", "lengths", "starts")

    def __init__(
        self,
        input_ids: Tensor,
        starts: Tensor,
        lengths: Tensor,
        labels: Tensor | None = None,
        indices: Tensor | None = None,
    ) -> None:
        self.input_ids = input_ids
        self.starts = starts
        self.lengths = lengths
        self.labels = labels
        self.indices = indices

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.starts)

    @overload
    def __getitem__(self, position: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, position: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, position: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """Return one item, or the list of those in a slice."""
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        start = int(self.starts[position])
        ids = self.input_ids[start : start + int(self.lengths[position])]
        label = None if self.labels is None else self.labels[position]
        return make_item(ids, label, None if self.indices is None else int(self.indices[position]))

    def __reduce__(self) -> tuple[type[list[dict[str, Any]]], tuple[list[dict[str, Any]]]]:
        # The items alone: the flat array that they are cut from may be gigabytes.
        return list, (list(self),)


def make_item(input_ids: Tensor, label: Tensor | None, index: int | None) -> dict[str, Any]:
    """Make the item of one text, with copies of what is cut from the data set.

    Args:
        input_ids: Ids of the text, of shape `(time,)`.
        label: Class id of shape `()`, or targets of shape `(classes,)`, or None.
        index: Position of the text in its data set, or None.

    Returns:
        `"input_ids"` as int64, and `"label"` and `"index"` where they are known.

    Example:
        >>> make_item(torch.tensor([2, 3], dtype=torch.int32), torch.tensor(1), None)
        {'input_ids': tensor([2, 3]), 'label': 1}
    """
    item: dict[str, Any] = {"input_ids": input_ids.to(torch.int64, copy=True)}
    if label is not None:
        item["label"] = label.clone() if label.ndim else int(label)
    if index is not None:
        item["index"] = index
    return item


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Texts of a batch, padded on the right.

    The batch is small and immutable; `to` and `pin_memory` give new ones. `lengths` stays on the
    CPU, where packing a sequence for a recurrent network wants it.

    Args:
        input_ids: Ids of the tokens, int64 of shape `(batch, time)`.
        lengths: Number of real tokens of each text, int64 of shape `(batch,)` on the CPU. What
            follows them in a row of `input_ids` is padding.
        labels: Class ids, int64 of shape `(batch,)`; or float targets of shape
            `(batch, classes)` for multi-label; or None.
        indices: Positions of the texts in their data set, int64 of shape `(batch,)`, or None.

    Raises:
        InvalidTypeError: If one of them is not a tensor.
        InvalidValueError: If the shapes don't fit each other or `lengths` is not on the CPU.

    Example:
        >>> batch = Batch(torch.tensor([[2, 5, 3], [2, 3, 0]]), torch.tensor([3, 2]))
        >>> len(batch), batch.labels
        (2, None)
    """

    input_ids: Tensor
    lengths: Tensor
    labels: Tensor | None = None
    indices: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("input_ids", "lengths"):
            if not isinstance(getattr(self, name), Tensor):
                raise InvalidTypeError(expected(name, "a tensor", getattr(self, name)))
        if self.input_ids.ndim != 2:
            shape = tuple(self.input_ids.shape)
            raise InvalidValueError(expected("input_ids", "of shape (batch, time)", shape))
        if self.lengths.device.type != "cpu":
            device = str(self.lengths.device)
            raise InvalidValueError(expected("lengths", "on the CPU", device))
        size = len(self.input_ids)
        for name, ndims in (("lengths", (1,)), ("labels", (1, 2)), ("indices", (1,))):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, Tensor):
                raise InvalidTypeError(expected(name, "a tensor or None", value))
            if value.ndim not in ndims or len(value) != size:
                rule = f"a tensor with one entry for each of the {size} texts"
                raise InvalidValueError(expected(name, rule, tuple(value.shape)))

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.input_ids)

    def to(self, device: torch.device | str | int, non_blocking: bool = False) -> Self:
        """Return the batch on `device`, with `lengths` still on the CPU.

        Args:
            device: Where to.
            non_blocking: Whether a copy from pinned memory may overlap with what follows.

        Returns:
            A new batch; tensors that are there already are shared with it.

        Example:
            >>> batch = Batch(torch.tensor([[2, 3]]), torch.tensor([2]))
            >>> batch.to("meta").input_ids.device, batch.to("meta").lengths.device
            (device(type='meta'), device(type='cpu'))
        """
        return replace(
            self,
            **{
                name: value.to(device, non_blocking=non_blocking)
                for name, value in self._movable().items()
            },
        )

    def pin_memory(self) -> Self:
        """Return the batch in page-locked memory, from which copies to a GPU are asynchronous.

        `torch.utils.data.DataLoader` calls this where it is told `pin_memory=True`. `lengths`
        never leaves the CPU, so it is not pinned.

        Returns:
            A new batch.
        """
        return replace(
            self, **{name: value.pin_memory() for name, value in self._movable().items()}
        )

    def _movable(self) -> dict[str, Tensor]:
        """Return the tensors that may leave the CPU, by name."""
        tensors = {"input_ids": self.input_ids, "labels": self.labels, "indices": self.indices}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}


class PaddingCollator:
    """Makes a `Batch` of items, padded on the right to the longest of them.

    It is the `collate_fn` of a `torch.utils.data.DataLoader`. An item is a mapping with
    `"input_ids"` (a tensor, array or sequence of at least one id), perhaps a `"label"` (a class
    id, or a vector of floats for multi-label) and perhaps an `"index"`; further keys are ignored.
    `FetchedTexts` are padded with one gather, with the same result as their items.

    Args:
        pad_id: Id that fills the rows up, 0 unless told.
        max_length: Number of ids to cut longer texts to, or None. A cut text keeps its last id,
            which is the end-of-sequence token if it had one.

    Raises:
        InvalidTypeError: If an argument is not an integer.
        InvalidValueError: If `pad_id` is negative or `max_length` not positive.

    Example:
        >>> collate = PaddingCollator(pad_id=0, max_length=4)
        >>> batch = collate([
        ...     {"input_ids": [2, 5, 6, 7, 3], "label": 1},
        ...     {"input_ids": [2, 3], "label": 0},
        ... ])
        >>> batch.input_ids
        tensor([[2, 5, 6, 3],
                [2, 3, 0, 0]])
        >>> batch.lengths, batch.labels
        (tensor([4, 2]), tensor([1, 0]))
    """

    def __init__(self, pad_id: int = 0, max_length: int | None = None) -> None:
        self.pad_id = check_int("pad_id", pad_id, minimum=0)
        self.max_length = None if max_length is None else check_int("max_length", max_length)

    def __repr__(self) -> str:
        return f"PaddingCollator(pad_id={self.pad_id}, max_length={self.max_length})"

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> Batch:
        """Pad the items of one batch.

        Args:
            items: The items, in the order of the batch's rows.

        Returns:
            The batch; its width is the length of the longest text after cutting.

        Raises:
            MissingKeyError: If an item has no `"input_ids"`.
            InvalidTypeError: If an item is no mapping or one of its values has the wrong type.
            InvalidValueError: If there are no items, a text has no ids, or only some of the items
                have a label (an index), or the labels differ in form.
        """
        if not len(items):
            raise InvalidValueError(expected("items", "at least one item", items))
        texts = items if isinstance(items, FetchedTexts) else _gather_items(items)
        input_ids, lengths = self._pad(texts)
        return Batch(input_ids, lengths, texts.labels, texts.indices)

    def _pad(self, texts: FetchedTexts) -> tuple[Tensor, Tensor]:
        """Gather rows from the flat ids; return them with their lengths after cutting."""
        # NumPy, because its calls cost a third of torch's on arrays as small as a batch.
        starts, lengths = texts.starts.numpy(), texts.lengths.numpy()
        last = starts + lengths - 1  # (batch,)
        if self.max_length is not None:
            lengths = np.minimum(lengths, self.max_length)
        step = np.arange(lengths.max())  # (time,)
        end = lengths - 1
        # Padding reads a text's last kept id over and over, so no read leaves the text.
        place = np.minimum(step, end[:, np.newaxis])  # (batch, time)
        place += starts[:, np.newaxis]
        place[np.arange(len(end)), end] = last
        input_ids = texts.input_ids.numpy()[place].astype(np.int64)
        input_ids[step > end[:, np.newaxis]] = self.pad_id
        return torch.from_numpy(input_ids), torch.from_numpy(lengths)


def _gather_items(items: Sequence[Mapping[str, Any]]) -> FetchedTexts:
    """Lay the ids of single items one after another, with their labels and indices."""
    rows = [_ids_of(item) for item in items]
    lengths = torch.tensor([len(row) for row in rows])
    labels = _labels_of(_column(items, "label"))
    indices = _column(items, "index")
    return FetchedTexts(
        torch.cat(rows),
        lengths.cumsum(0) - lengths,
        lengths,
        labels,
        None
        if indices is None
        else torch.tensor([check_int("index", i, minimum=0) for i in indices]),
    )


def _ids_of(item: Mapping[str, Any]) -> Tensor:
    """Return the ids of one item as int64 of shape `(time,)`."""
    if not isinstance(item, Mapping):
        raise InvalidTypeError(expected("items", "mappings with 'input_ids'", item))
    if "input_ids" not in item:
        raise MissingKeyError(
            f"Expected items with 'input_ids', but got one with: {listing(item)}."
        )
    rule = "a flat sequence of at least one integer"
    try:
        ids = torch.as_tensor(item["input_ids"])
    except (TypeError, ValueError, RuntimeError):
        raise InvalidTypeError(expected("input_ids", rule, item["input_ids"])) from None
    if ids.ndim != 1 or not len(ids):
        raise InvalidValueError(expected("input_ids", rule, item["input_ids"]))
    if ids.dtype.is_floating_point or ids.dtype.is_complex or ids.dtype == torch.bool:
        raise InvalidTypeError(expected("input_ids", rule, item["input_ids"]))
    return ids.to("cpu", torch.long)


def _column(items: Sequence[Mapping[str, Any]], key: str) -> list[Any] | None:
    """Return what all items have under `key`, or None where none of them has anything."""
    values = [item.get(key) for item in items]
    missing = sum(value is None for value in values)
    if missing == len(values):
        return None
    if missing:
        raise InvalidValueError(
            f"Expected all items of a batch to have {key!r} or none, "
            f"but {missing} of {len(values)} have none."
        )
    return values


def _labels_of(values: list[Any] | None) -> Tensor | None:
    """Return class ids of shape `(batch,)`, or float targets of shape `(batch, classes)`."""
    if values is None:
        return None
    if not isinstance(values[0], Tensor | np.ndarray | list | tuple) or not np.ndim(values[0]):
        return torch.tensor([check_int("label", value, minimum=0) for value in values])
    try:
        labels = torch.stack([torch.as_tensor(value, dtype=torch.float32) for value in values])
    except (TypeError, ValueError, RuntimeError):
        labels = torch.empty(0)
    if labels.ndim != 2:
        rule = "a class id in every item, or in every item a vector of as many numbers"
        raise InvalidValueError(expected("label", rule, values))
    return labels
