"""A sparse matrix that is multiplied from both sides, again and again."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

__all__ = ["SparseMatrix"]


@dataclass(frozen=True, kw_only=True)
class SparseMatrix:
    """A sparse matrix, kept by rows and by columns, since each product needs one of the two.

    Attributes:
        columns: The columns of all entries, one row after the other, int32 ``(entries,)``.
        values: Their values, ``(entries,)``.
        row_starts: Where each row begins, int32 ``(rows,)``.
        rows: The rows of all entries, one column after the other, int32 ``(entries,)``.
        row_values: Their values in that order, ``(entries,)``.
        column_starts: Where each column begins, int32 ``(columns,)``.
    """

    columns: Tensor
    values: Tensor
    row_starts: Tensor
    rows: Tensor
    row_values: Tensor
    column_starts: Tensor

    @classmethod
    def of(cls, columns: Tensor, values: Tensor, lengths: Tensor, *, num_columns: int) -> Self:
        """Make a matrix of its entries, one row after the other.

        Args:
            columns: The columns of the entries, int32 ``(entries,)``.
            values: Their values, ``(entries,)``.
            lengths: How many of them each row has, ``(rows,)``.
            num_columns: Number of columns.

        Returns:
            The matrix.

        Example:
            >>> matrix = SparseMatrix.of(
            ...     torch.tensor([1, 0, 2]).int(),
            ...     torch.tensor([5.0, 6.0, 7.0]),
            ...     torch.tensor([1, 2]),
            ...     num_columns=3,
            ... )
            >>> matrix.times(torch.eye(3))
            tensor([[0., 5., 0.],
                    [6., 0., 7.]])
            >>> torch.equal(matrix.transposed_times(torch.eye(2)), matrix.times(torch.eye(3)).T)
            True
        """
        rows = torch.arange(len(lengths), dtype=torch.int32).repeat_interleave(lengths)
        order = columns.argsort(stable=True)  # (entries,)
        per_column = torch.bincount(columns, minlength=num_columns)
        return cls(
            columns=columns,
            values=values,
            row_starts=(lengths.cumsum(0) - lengths).int(),
            rows=rows[order],
            row_values=values[order],
            column_starts=(per_column.cumsum(0) - per_column).int(),
        )

    def times(self, right: Tensor) -> Tensor:
        """Return the matrix times another, ``(columns, n)``: ``(rows, n)``."""
        return nn.functional.embedding_bag(
            self.columns, right, self.row_starts, per_sample_weights=self.values, mode="sum"
        )

    def transposed_times(self, right: Tensor, *, binary: bool = False) -> Tensor:
        """Return the transposed matrix times another, ``(rows, n)``: ``(columns, n)``.

        Args:
            right: The other matrix.
            binary: Whether every entry counts as 1.
        """
        values = torch.ones_like(self.row_values) if binary else self.row_values
        return nn.functional.embedding_bag(
            self.rows, right, self.column_starts, per_sample_weights=values, mode="sum"
        )
