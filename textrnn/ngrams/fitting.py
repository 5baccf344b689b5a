"""Fitting n-gram classifiers: which n-grams count, and by how much."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from textrnn.data import Batch
from textrnn.errors import InvalidValueError, check_float, check_int, expected
from textrnn.ngrams.model import NgramClassifier, distinct, ngram_keys
from textrnn.ngrams.solver import Examples, solve
from textrnn.ngrams.spelling import Spelling, check_words
from textrnn.nn.padding import check_lengths
from textrnn.training.loaders import iterate
from textrnn.training.losses import ClassWeights

__all__ = ["fit_ngrams", "ngram_path"]

_MERGED_KEYS = 2**22  # counted at a time: 32 MB


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
    words: Sequence[str] | None = None,
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
        words: The word of each token id, whose spelling shall count as well: its character n-grams
            of 3 to 5 characters, as many of them as `max_ngrams` at most. An empty string has
            none. Default: no spelling.
        previous: A classifier to go on from: its n-grams are kept, and its weights are where the
            prior is centred. What is learned of spelling needs `words` again. Default: None.

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
        words=words,
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
    words: Sequence[str] | None = None,
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
        words: The word of each token id. Default: no spelling.
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
    max_ngrams = check_int("max_ngrams", max_ngrams)
    empty = previous or NgramClassifier(
        vocab_size,
        num_classes=num_classes,
        num_ngrams=1,
        max_order=max_order,
        padding_id=padding_id,
        spelling=words is not None,
    )
    if not empty.spelling:
        words = None
    elif words is not None:
        check_words(words, empty.vocab_size)
    start, spelling = _copy(empty), None
    if previous is None or words is not None:
        counts = _Counts.of(loader, empty)
        if previous is None:
            start = counts.frequent(empty, max_ngrams)
        if words is not None:
            found = Spelling.of(words, counts.of_tokens(), texts=counts.texts, most=max_ngrams)
            if previous is None:
                start.idf[start.num_ngrams :] = found.norms
            spelling = found.matrix if found.num_char_ngrams else None
    solutions = solve(
        Examples.of(loader, start),
        start,
        variances,
        spelling=spelling,
        class_weights=class_weights,
    )
    return [_copy(start, *weights) for weights in solutions]


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


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """How many texts hold each n-gram.

    Attributes:
        keys: The n-grams, rising, ``(ngrams,)``.
        counts: How many texts hold each, ``(ngrams,)``.
        texts: How many texts there are.
        vocab_size: Number of token ids.
    """

    keys: Tensor
    counts: Tensor
    texts: int
    vocab_size: int

    @classmethod
    def of(cls, loader: Iterable[Batch], model: NgramClassifier) -> Self:
        """Count the n-grams of as many tokens as those of a model.

        Raises:
            InvalidValueError: If there are no texts.
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
        return cls(keys=keys, counts=counts, texts=texts, vocab_size=model.vocab_size)

    def frequent(self, model: NgramClassifier, most: int) -> NgramClassifier:
        """Return a classifier like another, with the n-grams that most texts hold."""
        # A stable sort, so that of equally frequent n-grams always the same are kept.
        kept = self.counts.argsort(descending=True, stable=True)[:most].sort().values
        start = NgramClassifier.from_config(model.config | {"num_ngrams": len(kept)})
        start.keys.copy_(self.keys[kept])
        idf = ((1 + self.texts) / (1 + self.counts[kept].double())).log() + 1
        start.idf[: len(kept)] = idf
        return start

    def of_tokens(self) -> Tensor:
        """Return how many texts hold each token, ``(vocab_size,)``."""
        counts = torch.zeros(self.vocab_size, dtype=torch.int64)
        single = self.keys < self.vocab_size
        counts[self.keys[single]] = self.counts[single]
        return counts


def _merge(keys: Tensor, counts: Tensor, new: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Add keys that are waiting, each counted once, to those that are counted."""
    unique: Any = torch.unique  # which has no types
    added, times = unique(torch.cat([keys[:0], *new]), return_counts=True)
    merged, places = unique(torch.cat([keys, added]), return_inverse=True)
    return merged, torch.zeros_like(merged).scatter_add_(0, places, torch.cat([counts, times]))
