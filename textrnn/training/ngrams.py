"""Fitting n-gram classifiers: which n-grams count, and by how much.

A linear model has one best solution, which a second-order method finds in seconds, so nothing here
has a learning rate, epochs or a seed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from textrnn.data import Batch
from textrnn.errors import InvalidValueError, check_float, check_int, expected
from textrnn.nn.masking import check_lengths
from textrnn.nn.ngrams import NgramClassifier, distinct, ngram_keys
from textrnn.training.feed import iterate, required_labels
from textrnn.training.labels import check_labels
from textrnn.training.losses import ClassWeights, Loss, balanced_weights

__all__ = ["fit_ngrams", "ngram_path"]

_MERGED_KEYS = 2**22  # counted at a time: 32 MB
_MAX_STEPS = 100
_HISTORY = 10  # steps that are remembered, each with two copies of the weights


def fit_ngrams(
    loader: Iterable[Batch],
    *,
    vocab_size: int,
    num_classes: int,
    prior_variance: float = 10.0,
    max_order: int = 2,
    max_ngrams: int = 2**18,
    class_weights: ClassWeights = None,
    padding_id: int = 0,
    previous: NgramClassifier | None = None,
) -> NgramClassifier:
    """Choose the n-grams of texts, and fit their weights.

    Each n-gram begins with its log-count ratio, how much more often texts of a class hold it than
    others do, which logistic regression then scales (Wang and Manning, "Baselines and Bigrams:
    Simple, Good Sentiment and Topic Classification", 2012).

    Args:
        loader: Batches with labels, which can be gone through more than once: a list or a
            `DataLoader`. Class ids, or ``(batch, classes)`` floats for multi-label data.
        vocab_size: Number of token ids.
        num_classes: Number of classes.
        prior_variance: How far a scale may move from 0; more of it fits the texts more closely
            (the inverse of the L2 penalty).
        max_order: The most tokens of an n-gram.
        max_ngrams: The most n-grams; the most frequent are kept.
        class_weights: As the `Trainer` takes them. Default: none.
        padding_id: The id that fills texts up.
        previous: A classifier to go on from: its n-grams are kept, and its weights are where the
            prior is centred. Default: None.

    Returns:
        The classifier, on the CPU, in evaluation mode.

    Raises:
        InvalidTypeError: If an argument has the wrong type.
        InvalidValueError: If an argument is out of range, there are no texts, or labels are missing
            or wrong.

    Example:
        >>> batch = Batch(
        ...     input_ids=torch.tensor([[2, 5, 7, 3], [2, 6, 7, 3]]),
        ...     lengths=torch.tensor([4, 4]),
        ...     labels=torch.tensor([0, 1]),
        ... )
        >>> model = fit_ngrams([batch], vocab_size=10, num_classes=2)
        >>> model(batch.input_ids).argmax(dim=1)
        tensor([0, 1])
    """
    return ngram_path(
        loader,
        vocab_size=vocab_size,
        num_classes=num_classes,
        prior_variances=(prior_variance,),
        max_order=max_order,
        max_ngrams=max_ngrams,
        class_weights=class_weights,
        padding_id=padding_id,
        previous=previous,
    )[0]


def ngram_path(
    loader: Iterable[Batch],
    *,
    vocab_size: int,
    num_classes: int,
    prior_variances: Sequence[float] = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
    max_order: int = 2,
    max_ngrams: int = 2**18,
    class_weights: ClassWeights = None,
    padding_id: int = 0,
    previous: NgramClassifier | None = None,
) -> list[NgramClassifier]:
    """Fit one classifier for each of several priors, for a validation part to choose from.

    Each goes on from the one before it, so that all together cost little more than the last.

    Args:
        loader: As for `fit_ngrams`, as is everything that is not said here.
        vocab_size: Number of token ids.
        num_classes: Number of classes.
        prior_variances: A prior variance for each classifier, best rising.
        max_order: The most tokens of an n-gram.
        max_ngrams: The most n-grams.
        class_weights: As the `Trainer` takes them. Default: none.
        padding_id: The id that fills texts up.
        previous: A classifier to go on from. Default: None.

    Returns:
        The classifiers, in the order of `prior_variances`; they share `keys` and `idf`.

    Raises:
        InvalidTypeError: If an argument has the wrong type.
        InvalidValueError: If an argument is out of range, there are no texts, or labels are missing
            or wrong.
    """
    variances = [
        check_float("prior_variance", each, minimum=0.0, exclusive=True) for each in prior_variances
    ]
    if previous is None:
        max_ngrams = check_int("max_ngrams", max_ngrams)
        empty = NgramClassifier(
            vocab_size,
            num_classes=num_classes,
            num_ngrams=1,
            max_order=max_order,
            padding_id=padding_id,
        )
        keys, idf = _count(loader, empty, max_ngrams)
        start = NgramClassifier.from_config(empty.config | {"num_ngrams": len(keys)})
        start.keys.copy_(keys)
        start.idf.copy_(idf)
    else:
        start = _copy(previous)
    examples = _Examples.of(loader, start)
    return [_copy(start, *weights) for weights in _solve(examples, start, variances, class_weights)]


def _copy(
    model: NgramClassifier, weight: Tensor | None = None, bias: Tensor | None = None
) -> NgramClassifier:
    """Return a classifier with the n-grams of another, and with these weights or its own."""
    new = NgramClassifier.from_config(model.config)
    new.keys, new.idf = model.keys.cpu(), model.idf.cpu()
    with torch.no_grad():
        new.weight.copy_(model.weight if weight is None else weight)
        new.bias.copy_(model.bias if bias is None else bias)
    return new.eval()


def _count(
    loader: Iterable[Batch], model: NgramClassifier, max_ngrams: int
) -> tuple[Tensor, Tensor]:
    """Find the n-grams of most texts.

    Returns:
        Their keys, rising, and their inverse document frequencies, both ``(ngrams,)``.
    """
    keys, counts = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    waiting: list[Tensor] = []
    texts = 0
    for batch in iterate(loader):
        ids = batch.input_ids
        lengths = check_lengths(batch.lengths, *ids.shape)
        texts += len(lengths)
        found, times = distinct(
            ngram_keys(ids, lengths, vocab_size=model.vocab_size, max_order=model.max_order)
        )  # (batch, ngrams)
        waiting.append(found[(times > 0) & (found >= 0)].cpu())
        if sum(map(len, waiting)) >= _MERGED_KEYS:
            keys, counts = _merge(keys, counts, waiting)
            waiting = []
    if not texts:
        raise InvalidValueError(expected("loader", "at least one text", []))
    keys, counts = _merge(keys, counts, waiting)
    # A stable sort, so that of equally frequent n-grams always the same are kept.
    kept = counts.argsort(descending=True, stable=True)[:max_ngrams].sort().values
    idf = ((1 + texts) / (1 + counts[kept].double())).log() + 1
    return keys[kept], idf.float()


def _merge(keys: Tensor, counts: Tensor, new: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Add keys that are waiting, each counted once, to those that are counted."""
    unique: Any = torch.unique  # which has no types
    added, times = unique(torch.cat([keys[:0], *new]), return_counts=True)
    merged, places = unique(torch.cat([keys, added]), return_inverse=True)
    return merged, torch.zeros_like(merged).scatter_add_(0, places, torch.cat([counts, times]))


@dataclass(frozen=True, kw_only=True)
class _Examples:
    """Texts as rows of a sparse matrix, which is kept by rows and by columns.

    Attributes:
        columns: The n-grams of all texts, one text after the other, ``(entries,)``.
        values: Their values, ``(entries,)``.
        row_starts: Where each text begins, ``(texts,)``.
        rows: The texts of all n-grams, one n-gram after the other, ``(entries,)``.
        row_values: Their values in that order, ``(entries,)``.
        column_starts: Where each n-gram begins, ``(ngrams,)``.
        labels: Class ids ``(texts,)``, or ``(texts, classes)`` floats.
    """

    columns: Tensor
    values: Tensor
    row_starts: Tensor
    rows: Tensor
    row_values: Tensor
    column_starts: Tensor
    labels: Tensor

    @classmethod
    def of(cls, loader: Iterable[Batch], model: NgramClassifier) -> "_Examples":
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
        column, value, length = torch.cat(columns), torch.cat(values), torch.cat(lengths)
        row = torch.arange(len(length), dtype=torch.int32).repeat_interleave(length)
        order = column.argsort(stable=True)  # (entries,)
        per_column = torch.bincount(column, minlength=model.num_ngrams)
        return cls(
            columns=column,
            values=value,
            row_starts=(length.cumsum(0) - length).int(),
            rows=row[order],
            row_values=value[order],
            column_starts=(per_column.cumsum(0) - per_column).int(),
            labels=torch.cat(labels),
        )

    def times(self, weight: Tensor) -> Tensor:
        """Return the matrix times weights ``(ngrams, classes)``: ``(texts, classes)``."""
        return nn.functional.embedding_bag(
            self.columns, weight, self.row_starts, per_sample_weights=self.values, mode="sum"
        )

    def transposed_times(self, each: Tensor, *, binary: bool = False) -> Tensor:
        """Return the transposed matrix, or where it is not 0, times ``(texts, classes)``."""
        values = torch.ones_like(self.row_values) if binary else self.row_values
        return nn.functional.embedding_bag(
            self.rows, each, self.column_starts, per_sample_weights=values, mode="sum"
        )


def _ratios(examples: _Examples, num_classes: int) -> Tensor:
    """Return the log-count ratio of each n-gram and class, ``(ngrams, classes)``."""
    targets = examples.labels
    if not targets.is_floating_point():
        targets = nn.functional.one_hot(targets.long(), num_classes).float()  # (texts, classes)
    ours = examples.transposed_times(targets.contiguous(), binary=True)  # (ngrams, classes)
    theirs = examples.transposed_times(1 - targets, binary=True)
    texts = targets.sum(dim=0)  # (classes,)
    return ((ours + 1) / (texts + 2)).log() - ((theirs + 1) / (len(targets) - texts + 2)).log()


def _solve(
    examples: _Examples,
    start: NgramClassifier,
    variances: Sequence[float],
    class_weights: ClassWeights,
) -> list[tuple[Tensor, Tensor]]:
    """Return the weights and the bias for each prior variance."""
    if isinstance(class_weights, str) and class_weights == "balanced":
        class_weights = balanced_weights(examples.labels, start.num_classes)
    loss_of = Loss(class_weights=class_weights)
    ratios = _ratios(examples, start.num_classes)  # (ngrams, classes)
    texts, ngrams = len(examples.labels), start.num_ngrams
    center = start.weight.detach()
    # The last row is the bias, which has no prior.
    scales = torch.zeros(ngrams + 1, start.num_classes)  # (ngrams + 1, classes)
    scales[-1] = start.bias.detach()
    solutions = []
    for variance in variances:
        penalty = 1 / (texts * variance)
        optimizer: Any = torch.optim.LBFGS(
            [scales],
            max_iter=_MAX_STEPS,
            history_size=_HISTORY,
            tolerance_grad=1e-7,
            tolerance_change=1e-9,
            line_search_fn="strong_wolfe",
        )

        def loss_and_gradient(penalty: float = penalty) -> Tensor:
            weight = scales[:-1]
            logits = examples.times(center + weight * ratios) + scales[-1]  # (texts, classes)
            with torch.enable_grad():
                logits.requires_grad_()
                loss = loss_of(logits, examples.labels)
                (slope,) = torch.autograd.grad(loss, logits)  # (texts, classes)
            gradient = torch.empty_like(scales)
            gradient[:-1] = examples.transposed_times(slope) * ratios + penalty * weight
            gradient[-1] = slope.sum(dim=0)
            scales.grad = gradient
            total: Tensor = loss.detach() + penalty / 2 * weight.square().sum()
            return total

        with torch.no_grad():
            optimizer.step(loss_and_gradient)
        solutions.append((center + scales[:-1] * ratios, scales[-1].clone()))
    return solutions
