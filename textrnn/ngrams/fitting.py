"""Fit n-gram classifiers: choose the n-grams, and fit their weights."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from textrnn.data import Batch
from textrnn.errors import InvalidValueError, check_float, check_int, expected
from textrnn.ngrams.model import NgramClassifier, check_vectors, ngram_keys, unique_per_row
from textrnn.ngrams.solver import numbered, solve
from textrnn.ngrams.spelling import Spelling, check_words
from textrnn.nn.padding import check_lengths
from textrnn.training.loaders import check_total, iterate, join_weights
from textrnn.training.losses import ClassWeights

__all__ = ["fit_ngrams", "ngram_path"]

_RARE = 2e-3  # share of a token, counted once in a text, whose vector has half of its weight
_MERGE_SIZE = 2**22  # keys that are merged at a time: 32 MB


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
    vectors: Tensor | None = None,
    previous: NgramClassifier | None = None,
) -> NgramClassifier:
    """Fit an n-gram classifier by logistic regression.

    The most frequent n-grams are kept. The weight of each is its log-count ratio, which compares
    its frequency in texts of a class with that in others, times a fitted scale (Wang and Manning,
    "Baselines and Bigrams: Simple, Good Sentiment and Topic Classification", 2012).

    Args:
        loader: Batches with labels that can be iterated over repeatedly, such as a list or a
            `DataLoader`. Labels are class ids `(batch,)`, or floats `(batch, classes)` for
            multi-label data. A text of weight 2 counts like the same text twice, one of weight 0
            not at all.
        vocab_size: Number of token ids.
        num_classes: Number of classes.
        prior_variance: Variance of the normal prior of the scales, the inverse of the L2 penalty;
            larger values fit the texts more closely. Default: 10.
        max_order: Maximum n-gram length in tokens. Default: 2.
        max_ngrams: Maximum number of n-grams. Default: 262144.
        class_weights: Class weights, as for the `Trainer`. Default: None.
        padding_id: Id of padding. Default: 0.
        words: Word of each token id, to also fit weights of at most `max_ngrams` character n-grams
            of 3 to 5 characters; an empty string has none. The unknown words that batches number
            may follow. None ignores spelling. Default: None.
        vectors: Vector of each token id, `(vocab_size, size)`, to also fit weights of the sum of
            those of a text. Zeros have no meaning. Default: None.
        previous: Classifier to continue from: its n-grams and character n-grams are kept, and the
            prior is centred on its weights. Weights of spelling are only fitted with `words`; the
            vectors are its own. Default: None.

    Returns:
        The classifier, on the CPU, in evaluation mode.

    Raises:
        InvalidTypeError: If an argument has a wrong type.
        InvalidValueError: If an argument is out of range, there are no texts, or labels are missing
            or invalid.

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
    path = ngram_path(
        loader,
        vocab_size=vocab_size,
        num_classes=num_classes,
        prior_variances=(prior_variance,),
        max_order=max_order,
        max_ngrams=max_ngrams,
        class_weights=class_weights,
        padding_id=padding_id,
        words=words,
        vectors=vectors,
        previous=previous,
    )
    return next(path)


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
    vectors: Tensor | None = None,
    previous: NgramClassifier | None = None,
) -> Iterator[NgramClassifier]:
    """Fit an n-gram classifier for each of several prior variances, to select one of them.

    Each fit starts at the previous solution, so all together take little longer than the last one.
    The iterator fits a classifier when it reaches it.

    Args:
        loader: Batches with labels, as for `fit_ngrams`.
        vocab_size: Number of token ids.
        num_classes: Number of classes.
        prior_variances: Prior variances of the scales, preferably ascending. Default: (1, 3, 10,
            30, 100, 300).
        max_order: Maximum n-gram length in tokens. Default: 2.
        max_ngrams: Maximum number of n-grams. Default: 262144.
        class_weights: Class weights, as for the `Trainer`. Default: None.
        padding_id: Id of padding. Default: 0.
        words: Word of each token id, as for `fit_ngrams`. Default: None.
        vectors: Vector of each token id, as for `fit_ngrams`. Default: None.
        previous: Classifier to continue from, as for `fit_ngrams`. Default: None.

    Returns:
        An iterator of classifiers in the order of `prior_variances`, with the same `keys` and
        `idf`.

    Raises:
        InvalidTypeError: If an argument has a wrong type.
        InvalidValueError: If an argument is out of range, there are no texts, or labels are missing
            or invalid.

    Example:
        >>> batch = Batch(input_ids=torch.tensor([[5, 7], [6, 7]]), labels=torch.tensor([0, 1]),
        ...               lengths=torch.tensor([2, 2]))
        >>> path = ngram_path([batch], vocab_size=10, num_classes=2, prior_variances=(1.0, 10.0))
        >>> weak, strong = [model.weight.detach().abs().max() for model in path]
        >>> bool(weak < strong)
        True
    """
    variances = [
        check_float("prior_variance", each, minimum=0.0, exclusive=True) for each in prior_variances
    ]
    max_ngrams = check_int("max_ngrams", max_ngrams)
    spelling = None
    number = 0 if words is None else max(len(words) - vocab_size, 0)  # of unknown words
    if previous is None:
        empty = NgramClassifier(
            vocab_size,
            num_classes=num_classes,
            num_ngrams=1,
            max_order=max_order,
            padding_id=padding_id,
            vector_size=0 if vectors is None else check_vectors(vectors, vocab_size),
        )
        if vectors is not None:
            empty.vectors = _constant(vectors)
        if words is not None:
            check_words(words, empty.vocab_size)
        counts = _NgramCounts.of(loader, empty, number)
        if words is not None:
            spelling = Spelling.most_frequent(
                words, counts.of_words(), texts=counts.texts, max_ngrams=max_ngrams
            )
        start = counts.most_frequent(empty, max_ngrams, spelling)
        if start.vector_size:
            start.idf[start.num_sparse :] = _vector_weights(counts.of_tokens())
    else:
        start = _copy(previous, {})
        if words is not None and start.num_char_ngrams:
            check_words(words, start.vocab_size)
            spelling = Spelling.of(words, start.char_keys, start.char_idf)
    solutions = solve(
        loader,
        start,
        variances,
        spelling=None if spelling is None else spelling.matrix,
        norms=None if spelling is None else spelling.norms,
        class_weights=class_weights,
    )
    return (_copy(start, weights) for weights in solutions)


def _copy(model: NgramClassifier, weights: Mapping[str, Tensor]) -> NgramClassifier:
    """Return a copy of a classifier on the CPU, with other weights, by name."""
    new = NgramClassifier.from_config(model.config)
    chars = model.num_char_ngrams > 0
    for name in ("keys", "idf", *["char_keys", "char_idf"] * chars):  # shared
        setattr(new, name, getattr(model, name).cpu())
    if model.vectors is not None:
        new.vectors = _constant(model.vectors)
    with torch.no_grad():
        for name in ("weight", "bias", *["char_weight"] * chars):
            getattr(new, name).copy_(weights.get(name, getattr(model, name)))
    return new.eval()


def _vector_weights(texts_with: Tensor) -> Tensor:
    """Return low weights for frequent tokens, from the number of texts with each, `(tokens,)`."""
    shares = texts_with / texts_with.sum().clamp(min=1)
    return (_RARE / (_RARE + shares)).float()


def _constant(vectors: Tensor) -> nn.Parameter:
    """Return vectors as a parameter on the CPU that shares their memory and has no gradient."""
    return nn.Parameter(vectors.detach().float().cpu(), requires_grad=False)


@dataclass(frozen=True, kw_only=True)
class _NgramCounts:
    """Number of texts with each n-gram."""

    # A text counts as often as its weight says.
    keys: Tensor  # ascending, (ngrams,)
    counts: Tensor  # (ngrams,)
    texts: float  # in all
    vocab_size: int
    unknown: Tensor  # number of texts with each unknown word, (unknown words,)

    @classmethod
    def of(cls, loader: Iterable[Batch], model: NgramClassifier, number: int) -> Self:
        """Count the n-grams that a model could have, and so many unknown words."""
        unknown = torch.zeros(number, dtype=torch.float64)
        keys, counts = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.float64)
        waiting: list[tuple[Tensor, Tensor | None]] = []
        texts, total = 0, 0.0
        for batch in iterate(loader):
            ids = batch.input_ids
            lengths = check_lengths(batch.lengths, *ids.shape)
            texts += len(lengths)
            if (rows := numbered(batch, number)) is not None:
                rows, times = unique_per_row(rows)  # (batch, time)
                shares = torch.ones(len(ids)) if batch.weights is None else batch.weights.cpu()
                shares = shares.double().unsqueeze(1) * ((times > 0) & (rows >= 0))
                unknown.index_add_(0, rows.clamp(min=0).flatten(), shares.flatten())
            found, times = unique_per_row(
                ngram_keys(ids, lengths, vocab_size=model.vocab_size, max_order=model.max_order)
            )  # (batch, ngrams)
            held, weights = (times > 0) & (found >= 0), batch.weights
            total += len(lengths) if weights is None else float(weights.double().sum())
            if weights is not None:
                weights = weights.to(held.device).unsqueeze(1).expand_as(held)  # (batch, ngrams)
                held &= weights > 0
                weights = weights[held].cpu()
            waiting.append((found[held].cpu(), weights))
            if sum(len(part) for part, _ in waiting) >= _MERGE_SIZE:
                keys, counts = _merge(keys, counts, waiting)
                waiting = []
        if not texts:
            raise InvalidValueError(expected("loader", "at least one text", []))
        check_total(total)
        keys, counts = _merge(keys, counts, waiting)
        size = model.vocab_size
        return cls(keys=keys, counts=counts, texts=total, vocab_size=size, unknown=unknown)

    def most_frequent(
        self, model: NgramClassifier, max_ngrams: int, spelling: Spelling | None
    ) -> NgramClassifier:
        """Return a classifier like `model` with the n-grams of most texts, and of spelling."""
        # A stable sort makes the choice among equally frequent n-grams deterministic.
        kept = self.counts.argsort(descending=True, stable=True)[:max_ngrams].sort().values
        numbers = {
            "num_ngrams": len(kept),
            "num_char_ngrams": 0 if spelling is None else spelling.num_char_ngrams,
        }
        start = NgramClassifier.from_config(model.config | numbers)
        start.vectors = model.vectors
        start.keys.copy_(self.keys[kept])
        idf = ((1 + self.texts) / (1 + self.counts[kept])).log() + 1
        start.idf[: len(kept)] = idf
        if spelling is not None:
            start.idf[len(kept) : start.num_sparse] = spelling.norms[: model.vocab_size]
            start.char_keys.copy_(spelling.keys)
            start.char_idf.copy_(spelling.idf)
        return start

    def of_tokens(self) -> Tensor:
        """Return the number of texts with each token, `(vocab_size,)`."""
        counts = torch.zeros(self.vocab_size, dtype=torch.float64)
        single = self.keys < self.vocab_size
        counts[self.keys[single]] = self.counts[single]
        return counts

    def of_words(self) -> Tensor:
        """Return the number of texts with each token and each unknown word, `(words,)`."""
        return torch.cat([self.of_tokens(), self.unknown])


def _merge(
    keys: Tensor, counts: Tensor, new: Sequence[tuple[Tensor, Tensor | None]]
) -> tuple[Tensor, Tensor]:
    """Add new keys, of which each occurrence counts 1 or as its weight says, to counted ones."""
    unique: Any = torch.unique  # untyped
    found = torch.cat([keys[:0], *(part for part, _ in new)])
    weights = join_weights([each for _, each in new], [len(part) for part, _ in new])
    if weights is None:
        added, times = unique(found, return_counts=True)
    else:
        added, places = unique(found, return_inverse=True)
        times = _sums(places, weights, len(added))
    merged, places = unique(torch.cat([keys, added]), return_inverse=True)
    return merged, _sums(places, torch.cat([counts, times]), len(merged))


def _sums(places: Tensor, amounts: Tensor, size: int) -> Tensor:
    """Return the sum of the amounts of each place, `(size,)`."""
    return torch.zeros(size, dtype=torch.float64).scatter_add_(0, places, amounts.double())
