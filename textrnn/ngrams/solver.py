"""The weights of n-grams that fit texts with labels: logistic regression with a prior.

A linear model has one best solution, which a second-order method finds in seconds, so nothing here
has a learning rate, epochs or a seed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from textrnn.data import Batch
from textrnn.ngrams.model import NgramClassifier
from textrnn.training.loaders import check_labels, iterate, required_labels
from textrnn.training.losses import ClassWeights, Loss, balanced_weights

__all__ = ["Examples", "SparseMatrix", "solve"]


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


_MAX_STEPS = 100
_HISTORY = 10  # steps that are remembered, each with two copies of the weights


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Texts described by numbers, with their labels.

    Attributes:
        matrix: A row for each text and a column for each n-gram.
        labels: Class ids ``(texts,)``, or ``(texts, classes)`` floats.
    """

    matrix: SparseMatrix
    labels: Tensor

    @classmethod
    def of(cls, loader: Iterable[Batch], model: NgramClassifier) -> Self:
        """Describe the texts of a loader by the n-grams of a model.

        Raises:
            InvalidValueError: If labels are missing or wrong.
        """
        columns, values, lengths, labels = [], [], [], []
        for batch in iterate(loader):
            targets = required_labels(batch).cpu()
            check_labels(targets, model.num_classes)
            labels.append(targets)
            places, amounts = model.features(batch.input_ids.cpu(), batch.lengths)
            held = amounts > 0  # (batch, ngrams)
            columns.append(places[held].int())
            values.append(amounts[held])
            lengths.append(held.sum(dim=1))
        matrix = SparseMatrix.of(
            torch.cat(columns),
            torch.cat(values),
            torch.cat(lengths),
            num_columns=model.num_features,
        )
        return cls(matrix=matrix, labels=torch.cat(labels))

    def targets(self, num_classes: int) -> Tensor:
        """Return the labels as floats, ``(texts, classes)``."""
        if self.labels.is_floating_point():
            return self.labels.contiguous()
        return nn.functional.one_hot(self.labels.long(), num_classes).float()


@dataclass(frozen=True, kw_only=True)
class _Basis:
    """What the weights are made of.

    The weight of an n-gram is its log-count ratio times a scale. That of a token's spelling is the
    sum over its character n-grams, which have ratios and scales of their own.

    Attributes:
        ratios: The log-count ratios of the n-grams, ``(ngrams, classes)``.
        spelling: The character n-grams of tokens, a row for each token; None if there are none.
        spelling_ratios: Their log-count ratios, ``(char_ngrams, classes)``.
        tokens: How many tokens have a weight for their spelling.
    """

    ratios: Tensor
    spelling: SparseMatrix | None
    spelling_ratios: Tensor
    tokens: int

    @classmethod
    def of(cls, examples: Examples, model: NgramClassifier, spelling: SparseMatrix | None) -> Self:
        """Compute the log-count ratios, by how many texts of each class hold what."""
        targets = examples.targets(model.num_classes)  # (texts, classes)
        counts = [
            examples.matrix.transposed_times(part, binary=True)  # (features, classes)
            for part in (targets, 1 - targets)
        ]
        texts = targets.sum(dim=0)  # (classes,)

        def ratios(ours: Tensor, theirs: Tensor) -> Tensor:
            others = len(targets) - texts
            return ((ours + 1) / (texts + 2)).log() - ((theirs + 1) / (others + 2)).log()

        spelling_ratios = torch.empty(0, model.num_classes)
        if spelling is not None:
            # A text with two words that share a character n-gram counts twice.
            by_token = [each[model.num_ngrams :] for each in counts]  # (tokens, classes)
            spelling_ratios = ratios(*(spelling.transposed_times(n, binary=True) for n in by_token))
        return cls(
            ratios=ratios(*(each[: model.num_ngrams] for each in counts)),
            spelling=spelling,
            spelling_ratios=spelling_ratios,
            tokens=model.num_features - model.num_ngrams,
        )

    @property
    def num_scales(self) -> int:
        """The number of scales of each class."""
        return len(self.ratios) + len(self.spelling_ratios)

    def weight(self, scales: Tensor) -> Tensor:
        """Return the weights that scales ``(scales, classes)`` make: ``(features, classes)``."""
        weight = scales[: len(self.ratios)] * self.ratios  # (ngrams, classes)
        if not self.tokens:
            return weight
        if self.spelling is None:
            return nn.functional.pad(weight, (0, 0, 0, self.tokens))
        spelled = self.spelling.times(scales[len(self.ratios) :] * self.spelling_ratios)
        return torch.cat([weight, spelled])

    def slope(self, gradient: Tensor) -> Tensor:
        """Return the gradient by the scales, from that by the weights."""
        slope = gradient[: len(self.ratios)] * self.ratios  # (ngrams, classes)
        if self.spelling is None:
            return slope
        spelled = self.spelling.transposed_times(gradient[len(self.ratios) :].contiguous())
        return torch.cat([slope, spelled * self.spelling_ratios])


def solve(
    examples: Examples,
    start: NgramClassifier,
    variances: Sequence[float],
    *,
    spelling: SparseMatrix | None = None,
    class_weights: ClassWeights = None,
) -> list[tuple[Tensor, Tensor]]:
    """Find the weights and the bias for each of several priors, each from where the last one was.

    Args:
        examples: Texts with labels.
        start: Whose weights are the centre of the prior.
        variances: The prior variances of the scales.
        spelling: The character n-grams of tokens, if their spelling counts.
        class_weights: As the `Trainer` takes them.

    Returns:
        For each prior the weights, ``(features, classes)``, and the bias, ``(classes,)``.
    """
    if isinstance(class_weights, str) and class_weights == "balanced":
        class_weights = balanced_weights(examples.labels, start.num_classes)
    loss_of = Loss(class_weights=class_weights)
    basis = _Basis.of(examples, start, spelling)
    center = start.weight.detach()
    # The last row is the bias, which has no prior.
    scales = torch.zeros(basis.num_scales + 1, start.num_classes)  # (scales + 1, classes)
    scales[-1] = start.bias.detach()
    solutions = []
    for variance in variances:
        penalty = 1 / (len(examples.labels) * variance)
        optimizer: Any = torch.optim.LBFGS(
            [scales],
            max_iter=_MAX_STEPS,
            history_size=_HISTORY,
            tolerance_grad=1e-7,
            tolerance_change=1e-9,
            line_search_fn="strong_wolfe",
        )

        def loss_and_gradient(penalty: float = penalty) -> Tensor:
            free = scales[:-1]
            logits = examples.matrix.times(center + basis.weight(free)) + scales[-1]
            with torch.enable_grad():
                logits.requires_grad_()  # (texts, classes)
                loss = loss_of(logits, examples.labels)
                (slope,) = torch.autograd.grad(loss, logits)  # (texts, classes)
            gradient = torch.empty_like(scales)
            gradient[:-1] = basis.slope(examples.matrix.transposed_times(slope)) + penalty * free
            gradient[-1] = slope.sum(dim=0)
            scales.grad = gradient
            total: Tensor = loss.detach() + penalty / 2 * free.square().sum()
            return total

        with torch.no_grad():
            optimizer.step(loss_and_gradient)
        solutions.append((center + basis.weight(scales[:-1]), scales[-1].clone()))
    return solutions
