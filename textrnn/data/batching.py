"""Batches of encoded texts, and the collate function that pads texts to one length."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, overload

import numpy as np
import torch
from torch import Tensor

from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingKeyError,
    check_float,
    check_int,
    expected,
    listing,
)

__all__ = ["Batch", "FetchedTexts", "PaddingCollator"]


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """A batch of texts, padded on the right: the input of every network of the library.

    A batch is immutable; `to` and `pin_memory` return new ones. `lengths` stays on the CPU, where
    packing a sequence for a recurrent network needs it.

    Args:
        input_ids: Ids of the tokens, int64 `(batch, time)`.
        lengths: Number of tokens of each text without padding, int64 `(batch,)` on the CPU.
        labels: Class ids, int64 `(batch,)`; or, for multi-label, targets, float `(batch, classes)`;
            or None. Default: None.
        indices: Positions of the texts in their data set, int64 `(batch,)`, or None. Default: None.
        weights: Weights of the texts in the loss, float `(batch,)`, or None for 1 each. Default:
            None.
        unknown: Number of the word at each unknown token, -1 at known ones, int64 `(batch, time)`,
            or None. Default: None.

    Raises:
        InvalidTypeError: If one of them is not a tensor.
        InvalidValueError: If the shapes don't match or `lengths` is not on the CPU.

    Example:
        >>> batch = Batch(torch.tensor([[2, 5, 3], [2, 3, 0]]), torch.tensor([3, 2]))
        >>> len(batch), batch.labels
        (2, None)
    """

    input_ids: Tensor
    lengths: Tensor
    labels: Tensor | None = None
    indices: Tensor | None = None
    weights: Tensor | None = None
    unknown: Tensor | None = None

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
        for name in ("lengths", "labels", "indices", "weights"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, Tensor):
                raise InvalidTypeError(expected(name, "a tensor or None", value))
            if value.ndim not in ((1, 2) if name == "labels" else (1,)) or len(value) != size:
                rule = f"a tensor with one entry for each of the {size} texts"
                raise InvalidValueError(expected(name, rule, tuple(value.shape)))
        if self.unknown is not None and self.unknown.shape != self.input_ids.shape:
            rule = f"of the shape of `input_ids`, {tuple(self.input_ids.shape)}"
            raise InvalidValueError(expected("unknown", rule, tuple(self.unknown.shape)))

    def __len__(self) -> int:
        return len(self.input_ids)

    def to(self, device: torch.device | str | int, non_blocking: bool = False) -> Self:
        """Return the batch on `device`, with `lengths` still on the CPU.

        Args:
            device: The device to copy to.
            non_blocking: Let a copy from pinned memory overlap with further work. Default: False.

        Returns:
            A new batch; tensors that are already there are shared with it.

        Example:
            >>> batch = Batch(torch.tensor([[2, 3]]), torch.tensor([2]))
            >>> batch.to("meta").input_ids.device, batch.to("meta").lengths.device
            (device(type='meta'), device(type='cpu'))
        """
        return self._moved(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Return the batch in page-locked memory, for asynchronous copies to a GPU.

        `torch.utils.data.DataLoader` calls this with `pin_memory=True`.

        Returns:
            A new batch; its `lengths`, which never leave the CPU, are not pinned.
        """
        return self._moved(Tensor.pin_memory)

    def _moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        """Return the batch with all tensors moved but the lengths."""
        names = ("input_ids", "labels", "indices", "weights", "unknown")
        tensors = {name: getattr(self, name) for name in names}
        return replace(self, **{name: move(t) for name, t in tensors.items() if t is not None})


class PaddingCollator:
    """Make a `Batch` of items, padded on the right to the longest of them.

    Use it as the `collate_fn` of a `torch.utils.data.DataLoader`. An item is a mapping with
    `"input_ids"` (a tensor, array or sequence of at least one id), optionally `"label"` (a class
    id, or a vector of floats for multi-label), `"index"` and `"weight"`; further keys are ignored.
    Texts that a `WordDataset` fetches together are padded with one gather.

    Args:
        pad_id: Id of padding. Default: 0.
        max_length: Maximum number of ids per text. Longer texts keep their last id, which is
            `<eos>` if they have one. None does not truncate. Default: None.

    Raises:
        InvalidTypeError: If an argument is not an integer. When called, if an item is not a mapping
            or one of its values has the wrong type.
        InvalidValueError: If `pad_id` is negative or `max_length` is not positive. When called, if
            there are no items, a text has no ids, only some items have a label, an index or a
            weight, a weight is negative or infinite, or there are labels of different kinds.
        MissingKeyError: When called, if an item has no `"input_ids"`.

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
        """Pad the items of one batch, of which each becomes a row."""
        if not len(items):
            raise InvalidValueError(expected("items", "at least one item", items))
        texts = items if isinstance(items, FetchedTexts) else _gather_items(items)
        input_ids, lengths = _pad(texts, self.pad_id, self.max_length)
        return Batch(input_ids, lengths, texts.labels, texts.indices, texts.weights)


@dataclass(eq=False, repr=False, slots=True)
class FetchedTexts(Sequence[dict[str, Any]]):
    """Texts of one batch as views of a flat tensor of ids; items are made on access."""

    input_ids: Tensor  # (ids,), of the whole data set
    starts: Tensor  # (batch,)
    lengths: Tensor  # (batch,)
    labels: Tensor | None = None  # (batch,) or (batch, classes)
    indices: Tensor | None = None  # (batch,)
    weights: Tensor | None = None  # (batch,)

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, position: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, position: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, position: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """Return an item that shares no memory with the data set, or a list of items."""
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        start = int(self.starts[position])
        ids = self.input_ids[start : start + int(self.lengths[position])]
        item: dict[str, Any] = {"input_ids": ids.to(torch.int64, copy=True)}
        if self.labels is not None:
            label = self.labels[position]
            item["label"] = label.clone() if label.ndim else int(label)
        if self.indices is not None:
            item["index"] = int(self.indices[position])
        if self.weights is not None:
            item["weight"] = float(self.weights[position])
        return item

    def __reduce__(self) -> tuple[type[list[dict[str, Any]]], tuple[list[dict[str, Any]]]]:
        # Pickle as a list of items, because the flat tensor may be gigabytes.
        return list, (list(self),)


def _pad(texts: FetchedTexts, pad_id: int, max_length: int | None) -> tuple[Tensor, Tensor]:
    """Gather rows from the flat ids; return them with their lengths after truncation."""
    # NumPy, because its calls cost a third of torch's on arrays as small as a batch.
    starts, lengths = texts.starts.numpy(), texts.lengths.numpy()
    last = starts + lengths - 1  # (batch,)
    if max_length is not None:
        lengths = np.minimum(lengths, max_length)
    step = np.arange(lengths.max())  # (time,)
    end = lengths - 1
    # Padding reads a text's last kept id repeatedly, so no read leaves the text.
    source = np.minimum(step, end[:, np.newaxis])  # (batch, time)
    source += starts[:, np.newaxis]
    source[np.arange(len(end)), end] = last
    input_ids = texts.input_ids.numpy()[source].astype(np.int64)
    input_ids[step > end[:, np.newaxis]] = pad_id
    return torch.from_numpy(input_ids), torch.from_numpy(lengths)


def _gather_items(items: Sequence[Mapping[str, Any]]) -> FetchedTexts:
    """Concatenate the ids of single items, with their labels and indices."""
    rows = [_ids_of(item) for item in items]
    lengths = torch.tensor([len(row) for row in rows])
    labels = _labels_of(_values_of(items, "label"))
    checked = [check_int("index", i, minimum=0) for i in _values_of(items, "index") or ()]
    indices = torch.tensor(checked) if checked else None
    values = [check_float("weight", w, minimum=0.0) for w in _values_of(items, "weight") or ()]
    weights = torch.tensor(values, dtype=torch.float32) if values else None
    starts = lengths.cumsum(0) - lengths  # (batch,)
    return FetchedTexts(torch.cat(rows), starts, lengths, labels, indices, weights)


def _ids_of(item: Mapping[str, Any]) -> Tensor:
    """Return the ids of one item as int64 `(time,)`."""
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


def _values_of(items: Sequence[Mapping[str, Any]], key: str) -> list[Any] | None:
    """Return the value of each item under `key`, or None if no item has one."""
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
    """Return class ids, int64 `(batch,)`, or targets, float32 `(batch, classes)`."""
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
