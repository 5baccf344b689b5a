"""Fit the weights of n-grams: logistic regression with a normal prior.

A linear model has one best solution, which L-BFGS finds in seconds, so there is no learning rate,
no number of epochs and no seed.
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

__all__ = ["SparseMatrix", "solve"]

_MAX_STEPS = 100
_HISTORY_SIZE = 10  # past steps that L-BFGS keeps, each as two copies of the weights


@dataclass(frozen=True, kw_only=True)
class SparseMatrix:
    """A sparse matrix, stored by rows and by columns, for products from both sides."""

    # By rows: the column and the value of each entry (entries,), and the start of each row (rows,).
    columns: Tensor
    values: Tensor
    row_starts: Tensor
    # By columns: the same with the roles exchanged.
    rows: Tensor
    row_values: Tensor
    column_starts: Tensor

    @classmethod
    def of(cls, columns: Tensor, values: Tensor, lengths: Tensor, *, num_columns: int) -> Self:
        """Build a matrix from its entries, row by row, and the number of entries of each row."""
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
        """Return the product with a matrix `(columns, n)`, `(rows, n)`."""
        return nn.functional.embedding_bag(
            self.columns, right, self.row_starts, per_sample_weights=self.values, mode="sum"
        )

    def transposed_times(self, right: Tensor, *, binary: bool = False) -> Tensor:
        """Return the product of the transpose with a matrix `(rows, n)`, `(columns, n)`."""
        values = torch.ones_like(self.row_values) if binary else self.row_values
        return nn.functional.embedding_bag(
            self.rows, right, self.column_starts, per_sample_weights=values, mode="sum"
        )


def solve(
    loader: Iterable[Batch],
    start: NgramClassifier,
    variances: Sequence[float],
    *,
    spelling: SparseMatrix | None = None,
    class_weights: ClassWeights = None,
) -> list[tuple[Tensor, Tensor]]:
    """Return weight `(features, classes)` and bias `(classes,)` for each of several priors."""
    examples = _Examples.of(loader, start)
    if isinstance(class_weights, str) and class_weights == "balanced":
        class_weights = balanced_weights(examples.labels, start.num_classes)
    loss_of = Loss(class_weights=class_weights)
    ratios = _LogCountRatios.of(examples, start, spelling)
    center = start.weight.detach()  # of the prior
    # The last row is the bias, which has no prior.
    scales = center.new_zeros(ratios.num_scales + 1, start.num_classes)  # (scales + 1, classes)
    scales[-1] = start.bias.detach()
    solutions = []
    for variance in variances:  # each starts at the solution of the one before
        penalty = 1 / (len(examples.labels) * variance)
        optimizer: Any = torch.optim.LBFGS(
            [scales],
            max_iter=_MAX_STEPS,
            history_size=_HISTORY_SIZE,
            tolerance_grad=1e-7,
            tolerance_change=1e-9,
            line_search_fn="strong_wolfe",
        )

        def loss_and_gradient(penalty: float = penalty) -> Tensor:
            free = scales[:-1]
            logits = examples.matrix.times(center + ratios.weight(free)) + scales[-1]
            with torch.enable_grad():
                logits.requires_grad_()  # (texts, classes)
                loss = loss_of(logits, examples.labels)
                (grad_logits,) = torch.autograd.grad(loss, logits)  # (texts, classes)
            gradient = torch.empty_like(scales)
            grad_weight = examples.matrix.transposed_times(grad_logits)  # (features, classes)
            gradient[:-1] = ratios.scale_gradient(grad_weight) + penalty * free
            gradient[-1] = grad_logits.sum(dim=0)
            scales.grad = gradient
            total: Tensor = loss.detach() + penalty / 2 * free.square().sum()
            return total

        with torch.no_grad():
            optimizer.step(loss_and_gradient)
        solutions.append((center + ratios.weight(scales[:-1]), scales[-1].clone()))
    return solutions


@dataclass(frozen=True, kw_only=True)
class _Examples:
    """Texts as a matrix `(texts, features)`, with their labels."""

    matrix: SparseMatrix
    labels: Tensor  # class ids (texts,), or floats (texts, classes)

    @classmethod
    def of(cls, loader: Iterable[Batch], model: NgramClassifier) -> Self:
        """Compute the features of all texts of a loader, and check their labels."""
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
        """Return the labels as floats, `(texts, classes)`."""
        if self.labels.is_floating_point():
            return self.labels.contiguous()
        return nn.functional.one_hot(self.labels.long(), num_classes).float()


@dataclass(frozen=True, kw_only=True)
class _LogCountRatios:
    """Log-count ratios, by which scales, the fitted parameters, are multiplied to give weights."""

    # The weight of an n-gram is its scale times its ratio, that of a token's spelling the sum of
    # such products over its character n-grams, as `spelling` (tokens, char_ngrams) has them.
    ratios: Tensor  # (ngrams, classes)
    spelling: SparseMatrix | None
    spelling_ratios: Tensor  # (char_ngrams, classes)
    tokens: int  # that have a weight for their spelling

    @classmethod
    def of(cls, examples: _Examples, model: NgramClassifier, spelling: SparseMatrix | None) -> Self:
        """Compute the ratios from the number of texts of each class with each n-gram."""
        targets = examples.targets(model.num_classes)  # (texts, classes)
        counts = [
            examples.matrix.transposed_times(part, binary=True)  # (features, classes)
            for part in (targets, 1 - targets)
        ]
        texts = targets.sum(dim=0)  # (classes,)

        def ratios(ours: Tensor, theirs: Tensor) -> Tensor:
            others = len(targets) - texts
            return ((ours + 1) / (texts + 2)).log() - ((theirs + 1) / (others + 2)).log()

        spelling_ratios = texts.new_empty(0, model.num_classes)
        if spelling is not None:
            # A text counts once for each of its words that have a character n-gram.
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
        """Number of scales of each class."""
        return len(self.ratios) + len(self.spelling_ratios)

    def weight(self, scales: Tensor) -> Tensor:
        """Return the weights `(features, classes)` for scales `(scales, classes)`."""
        weight = scales[: len(self.ratios)] * self.ratios  # (ngrams, classes)
        if not self.tokens:
            return weight
        if self.spelling is None:
            return nn.functional.pad(weight, (0, 0, 0, self.tokens))
        spelled = self.spelling.times(scales[len(self.ratios) :] * self.spelling_ratios)
        return torch.cat([weight, spelled])

    def scale_gradient(self, gradient: Tensor) -> Tensor:
        """Return the gradient of the scales, given that of the weights."""
        scales = gradient[: len(self.ratios)] * self.ratios  # (ngrams, classes)
        if self.spelling is None:
            return scales
        spelled = self.spelling.transposed_times(gradient[len(self.ratios) :].contiguous())
        return torch.cat([scales, spelled * self.spelling_ratios])
