"""Fit the weights of n-grams: logistic regression with a normal prior.

A linear model has one best solution, which L-BFGS finds in seconds, so there is no learning rate,
no number of epochs and no seed.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from textrnn.data import Batch
from textrnn.errors import InvalidValueError, expected
from textrnn.ngrams.model import NgramClassifier
from textrnn.training.loaders import (
    check_labels,
    check_total,
    iterate,
    join_weights,
    required_labels,
)
from textrnn.training.losses import ClassWeights, Loss, balanced_weights

__all__ = ["SparseMatrix", "numbered", "solve"]

_MAX_STEPS = 100
_TOLERANCE = 1e-5  # expected gain of a step, as a share of the loss, below which a fit ends
_HISTORY_SIZE = 20  # past steps that L-BFGS keeps, each as four matrices (texts, classes)
_MAX_HISTORY_VALUES = 2**27  # in all of them: 512 MB
_MAX_EVALUATIONS = 20  # of the loss in a line search
_VECTOR_SQUARE = 10.0  # of the ratio of each dimension of vectors
_LINE_TOLERANCE = 0.1  # derivative that ends a line search, as a share of that at its start


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
    variances: Iterable[float],
    *,
    spelling: SparseMatrix | None = None,
    norms: Tensor | None = None,
    class_weights: ClassWeights = None,
) -> Iterator[dict[str, Tensor]]:
    """Yield the weights by name, those of character n-grams included, for each of several priors.

    `spelling` `(words, char_ngrams)` has the character n-grams of all tokens and unknown words, and
    `norms` `(words,)` the norms of its rows before scaling; without them, weights of spelling stay
    those of `start`.
    """
    unknown = start.idf[:0] if norms is None else norms[start.vocab_size :]
    examples = _Examples.of(loader, start, unknown)
    if isinstance(class_weights, str) and class_weights == "balanced":
        class_weights = balanced_weights(examples.labels, start.num_classes, examples.weights)
    return map(_Solver(examples, start, spelling, Loss(class_weights=class_weights)), variances)


class _Solver:
    """L-BFGS with a coefficient for each text and class, from which the weights follow."""

    # All gradients of the scales are sums of features of texts, and so are the best scales (the
    # representer theorem). A vector is two matrices (texts + 1, classes): the coefficients of the
    # texts, with the bias as the last row, and the logits that they add to the texts. Its products
    # with others need no features, nor does a line search: each step multiplies by them only once.

    def __init__(
        self,
        examples: "_Examples",
        start: NgramClassifier,
        spelling: SparseMatrix | None,
        loss: Loss,
    ) -> None:
        self.examples = examples
        self.center = start.weight.detach()  # of the prior
        self.char_center = start.char_weight
        self.loss_of = loss
        self.ratios = _LogCountRatios.of(examples, start, spelling)
        center = self.center
        if spelling is not None:  # unknown words follow the features
            unknown = spelling.times(self.char_center)[start.vocab_size :]
            center = torch.cat([center, unknown])
        self.offset = examples.matrix.times(center)  # (texts, classes)
        texts = len(examples.labels)
        self.point = self.offset.new_zeros(2, texts + 1, start.num_classes)
        self.point[:, -1] = start.bias.detach()
        self.penalty = 0.0
        size = _MAX_HISTORY_VALUES // (4 * texts * start.num_classes)
        # Past steps, the changes of the gradient with them, and the products of both.
        self.pairs: deque[tuple[Tensor, Tensor, float]] = deque(
            maxlen=min(max(size, 2), _HISTORY_SIZE)
        )

    @torch.no_grad()
    def __call__(self, variance: float) -> dict[str, Tensor]:
        """Return the best weights, found from those of the prior before."""
        self._set_penalty(1 / (self.examples.total * variance))
        loss, slopes = self._loss(self.offset + _logits(self.point))
        gradient = self._gradient(slopes)
        for _ in range(_MAX_STEPS):
            step = self._direction(gradient)
            gain = -_dot(gradient, step)
            if gain <= (_TOLERANCE * self._total(loss) if self.pairs else 0):
                break
            length, loss, slopes = self._search(step, gain)
            step *= length
            self.point += step
            before, gradient = gradient, self._gradient(slopes)
            self._remember(step, gradient - before)
        sums = self.examples.matrix.transposed_times(self.point[0, :-1])  # (features, classes)
        best = {
            "weight": self.center + self.ratios.weight(sums)[: len(self.center)],
            "bias": self.point[0, -1].clone(),
        }
        if self.ratios.spelling is not None:
            best["char_weight"] = self.char_center + self.ratios.char_weight(sums)
        return best

    def _set_penalty(self, penalty: float) -> None:
        """Set the weight of the L2 penalty, which changes the curvature along past steps."""
        change, self.penalty = penalty - self.penalty, penalty
        pairs = tuple(self.pairs)
        self.pairs.clear()
        for step, difference, _ in pairs:
            difference[:, :-1] += change * step[:, :-1]
            self._remember(step, difference)

    def _remember(self, step: Tensor, difference: Tensor) -> None:
        curvature = _dot(step, difference)
        if curvature > 0:  # else lost in rounding
            self.pairs.append((step, difference, curvature))

    def _weight(self, coefficients: Tensor) -> Tensor:
        """Return the weights, less those of the prior, `(features, classes)`."""
        return self.ratios.weight(self.examples.matrix.transposed_times(coefficients[:-1]))

    def _loss(self, logits: Tensor) -> tuple[float, Tensor]:
        """Return the mean loss and its gradient, `(texts, classes)`."""
        with torch.enable_grad():
            labels, weights = self.examples.labels, self.examples.weights
            loss = self.loss_of(logits.requires_grad_(), labels, weights)
            (slopes,) = torch.autograd.grad(loss, logits)
        return float(loss), slopes

    def _total(self, loss: float) -> float:
        """Return the mean loss plus the penalty."""
        return loss + self.penalty / 2 * _dot(*2 * (self.point[:, :-1],))

    def _gradient(self, slopes: Tensor) -> Tensor:
        """Return the gradient at the present point, `(2, texts + 1, classes)`."""
        gradient = torch.empty_like(self.point)
        torch.add(slopes, self.point[0, :-1], alpha=self.penalty, out=gradient[0, :-1])
        gradient[:, -1] = slopes.sum(dim=0)
        gradient[1, :-1] = self.examples.matrix.times(self._weight(gradient[0]))
        return gradient

    def _direction(self, gradient: Tensor) -> Tensor:
        """Return the quasi-Newton step (Nocedal and Wright, 2006, algorithm 7.4)."""
        step, shares = -gradient, []
        for past, difference, curvature in reversed(self.pairs):
            shares.append(_dot(past, step) / curvature)
            step.sub_(difference, alpha=shares[-1])
        if self.pairs:
            _, difference, curvature = self.pairs[-1]
            step *= curvature / _dot(difference, difference)
        for past, difference, curvature in self.pairs:
            step.add_(past, alpha=shares.pop() - _dot(difference, step) / curvature)
        return step

    def _search(self, step: Tensor, gain: float) -> tuple[float, float, Tensor]:
        """Return a nearly optimal step length, and the loss with its gradient there."""
        start, along = self.offset + _logits(self.point), _logits(step)  # (texts, classes)
        slope = self.penalty * _dot(step[:, :-1], self.point[:, :-1])
        curvature = self.penalty * _dot(step[:, :-1], step[:, :-1])
        # A guess for the first step, from an upper bound of the curvature of the loss.
        squares = along.square().sum(dim=1)  # (texts,)
        if self.examples.weights is not None:
            squares *= self.examples.weights
        guess = gain / (float(squares.sum()) / self.examples.total + curvature)
        guess = 1.0 if self.pairs else guess
        low, high = (0.0, -gain), None  # lengths, and the ever larger derivatives there
        for _ in range(_MAX_EVALUATIONS):
            length = guess
            loss, slopes = self._loss(start + length * along)
            derivative = float((slopes * along).sum()) + slope + length * curvature
            if abs(derivative) <= _LINE_TOLERANCE * gain:
                break
            if derivative > 0:
                high = (length, derivative)
            else:
                low = (length, derivative)
            if high is None:
                guess = length * gain / max(gain + derivative, gain / 10)
            else:
                share = low[1] / (low[1] - high[1])  # where a line between the two is 0
                guess = low[0] + min(max(share, 0.1), 0.9) * (high[0] - low[0])
        return length, loss, slopes


def _logits(vector: Tensor) -> Tensor:
    """Return the logits of the texts, `(texts, classes)`."""
    return vector[1, :-1] + vector[1, -1]


def _dot(left: Tensor, right: Tensor) -> float:
    """Return the inner product of the scales and the bias that two vectors stand for."""
    return float((left[0] * right[1]).sum())


def numbered(batch: Batch, number: int) -> Tensor | None:
    """Return the unknown words of a batch if some count, each below their number."""
    if not number or batch.unknown is None:
        return None
    rows = batch.unknown.cpu()
    if rows.numel() and int(rows.max()) >= number:
        raise InvalidValueError(expected("unknown", f"numbers below {number}", int(rows.max())))
    return rows


@dataclass(frozen=True, kw_only=True)
class _Examples:
    """Texts as a matrix `(texts, features)`, with their labels and weights."""

    matrix: SparseMatrix
    labels: Tensor  # class ids (texts,), or floats (texts, classes)
    weights: Tensor | None  # (texts,)
    total: float  # of the weights

    @classmethod
    def of(cls, loader: Iterable[Batch], model: NgramClassifier, norms: Tensor) -> Self:
        """Compute the features of all texts of a loader, and check their labels."""
        # `norms` are those of the unknown words, whose columns follow those of the features.
        columns, values, lengths, labels = [], [], [], []
        weights: list[Tensor | None] = []
        for batch in iterate(loader):
            targets = required_labels(batch).cpu()
            check_labels(targets, model.num_classes)
            labels.append(targets)
            weights.append(batch.weights)
            ids, rows = batch.input_ids.cpu(), numbered(batch, len(norms))
            unknown = None if rows is None else (rows, norms.unsqueeze(1))
            places, amounts = model.features(ids, batch.lengths, unknown)
            if model.vector_size:
                sums = model.vector_sums(ids, batch.lengths)  # (batch, size)
                dense = torch.arange(model.num_sparse, model.num_features)
                places = torch.cat([places, dense.expand_as(sums)], dim=1)
                amounts = torch.cat([amounts, sums], dim=1)
            held = amounts != 0  # (batch, features)
            columns.append(places[held].int())
            values.append(amounts[held])
            lengths.append(held.sum(dim=1))
        if not labels:
            raise InvalidValueError(expected("loader", "at least one text", []))
        matrix = SparseMatrix.of(
            torch.cat(columns),
            torch.cat(values),
            torch.cat(lengths),
            num_columns=model.num_features + len(norms),
        )
        texts = join_weights(weights, [len(part) for part in labels])
        total = float(sum(map(len, labels)) if texts is None else texts.double().sum())
        check_total(total)
        return cls(matrix=matrix, labels=torch.cat(labels), weights=texts, total=total)

    def counts(self, num_classes: int) -> tuple[Tensor, Tensor]:
        """Return how often each text counts for and against each class, `(texts, classes)`."""
        ours = self.labels
        if not ours.is_floating_point():
            ours = nn.functional.one_hot(ours.long(), num_classes)
        ours = ours.float().contiguous()
        if self.weights is None:
            return ours, 1 - ours
        weights = self.weights.unsqueeze(1)  # (texts, 1)
        return ours * weights, (1 - ours) * weights


@dataclass(frozen=True, kw_only=True)
class _LogCountRatios:
    """Log-count ratios, by which scales, the fitted parameters, are multiplied to give weights."""

    # The weight of an n-gram is its scale times its ratio, that of a token's spelling the sum of
    # such products over its character n-grams, as `spelling` (tokens, char_ngrams) has them. For
    # the dimensions of vectors, which texts don't count, all ratios are the same.
    squares: Tensor  # of the ratios, (ngrams, classes)
    vectors: slice  # the features that are dimensions of vectors
    spelling: SparseMatrix | None
    spelling_squares: Tensor  # (char_ngrams, classes)

    @classmethod
    def of(cls, examples: _Examples, model: NgramClassifier, spelling: SparseMatrix | None) -> Self:
        """Compute the ratios from the number of texts of each class with each n-gram."""
        both = examples.counts(model.num_classes)  # (texts, classes) each
        counts = [
            examples.matrix.transposed_times(part, binary=True)  # (features, classes)
            for part in both
        ]
        texts = both[0].sum(dim=0)  # (classes,)

        def squares(ours: Tensor, theirs: Tensor) -> Tensor:
            others = examples.total - texts
            ratios = ((ours + 1) / (texts + 2)).log() - ((theirs + 1) / (others + 2)).log()
            return ratios.square_()

        vectors = slice(model.num_sparse, model.num_features)
        spelling_squares = texts.new_empty(0, model.num_classes)
        if spelling is not None:
            # A text counts once for each of its words that have a character n-gram.
            by_word = [_words(each, model.num_ngrams, vectors) for each in counts]
            parts = (spelling.transposed_times(each, binary=True) for each in by_word)
            spelling_squares = squares(*parts)
        return cls(
            squares=squares(*(each[: model.num_ngrams] for each in counts)),
            vectors=vectors,
            spelling=spelling,
            spelling_squares=spelling_squares,
        )

    def weight(self, sums: Tensor) -> Tensor:
        """Return the weights `(features, classes)` for coefficients times the texts' features."""
        ngrams = len(self.squares)  # scales are sums times ratios, weights are scales times ratios
        weight = torch.zeros_like(sums)
        torch.mul(sums[:ngrams], self.squares, out=weight[:ngrams])
        torch.mul(sums[self.vectors], _VECTOR_SQUARE, out=weight[self.vectors])
        if self.spelling is not None:
            words = self.spelling.times(self.char_weight(sums))  # (words, classes)
            tokens = self.vectors.start - ngrams
            weight[ngrams : self.vectors.start] = words[:tokens]
            weight[self.vectors.stop :] = words[tokens:]
        return weight

    def char_weight(self, sums: Tensor) -> Tensor:
        """Return the weights of the character n-grams, `(char_ngrams, classes)`."""
        if self.spelling is None:
            return self.spelling_squares  # none
        words = _words(sums, len(self.squares), self.vectors)
        return self.spelling.transposed_times(words) * self.spelling_squares


def _words(rows: Tensor, ngrams: int, vectors: slice) -> Tensor:
    """Return the rows of the spelling of tokens and of unknown words, `(words, classes)`."""
    return torch.cat([rows[ngrams : vectors.start], rows[vectors.stop :]])
