"""What a data set hands over: single texts, or many of them at once.

An *item* is one text, a dictionary with `"input_ids"` and, where they are known, `"label"` and
`"index"`.
"""

from collections.abc import Sequence
from typing import Any, overload

import torch
from torch import Tensor

__all__ = ["FetchedTexts", "make_item"]


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
