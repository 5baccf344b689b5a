"""A linear classifier over n-grams: words and short sequences of words."""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, Self

import torch
from torch import Tensor, nn

from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    check_int,
    check_keys,
    expected,
)
from textrnn.nn.padding import check_lengths, resolve_lengths
from textrnn.text.spelling import spell

__all__ = ["NgramClassifier", "check_vectors", "longest_order", "ngram_keys", "unique_per_row"]

_MAX_KEY = 2**63 - 1


class NgramClassifier(nn.Module):
    """Classify texts by a linear model over their n-grams.

    The value of an n-gram in a text is `(1 + log(count)) * idf`; the values of a text are scaled to
    norm 1. Word order beyond an n-gram is lost, but weights of rare n-grams are learned
    independently of all others. `textrnn.ngrams.fit_ngrams` chooses n-grams and fits weights.

    With character n-grams, each token also has a weight that follows from its own ones, so that
    rare words share what is learned about words with the same stem. Both parts of a text have the
    same norm. Words outside the vocabulary have such a weight alone, which `spell` computes.

    With `vector_size`, a text has further features: the weighted sum of the vectors of its tokens,
    scaled to norm 1. Vectors that were learned elsewhere give a meaning to tokens that no training
    text has. The weights of frequent tokens are low (Arora et al., "A Simple but Tough-to-Beat
    Baseline for Sentence Embeddings", 2017).

    Args:
        vocab_size: Number of token ids.
        num_classes: Number of classes.
        num_ngrams: Number of n-grams that have weights.
        max_order: Maximum n-gram length in tokens. Default: 2.
        padding_id: Id of padding. Default: 0.
        num_char_ngrams: Number of character n-grams that have weights; with 0, the spelling of
            tokens is ignored. Default: 0.
        vector_size: Dimension of the tokens' vectors; 0 without vectors. Default: 0.

    Attributes:
        keys: Keys of the n-grams, ascending, int64 `(num_ngrams,)`.
        idf: Inverse document frequency of each n-gram, then with character n-grams a factor for the
            spelling of each token, then with vectors the weight of each token's vector.
        weight: Weights `(num_features, num_classes)`: those of the n-grams, of the tokens' spelling
            and of the dimensions of vectors; initially zero.
        vectors: Vector of each token, `(vocab_size, vector_size)`, which no gradient changes;
            initially zero. None without vectors.
        bias: Bias `(num_classes,)`, initially zero.
        char_keys: Keys of the character n-grams, ascending, int64 `(num_char_ngrams,)`, or None.
        char_idf: Their inverse document frequencies `(num_char_ngrams,)`, or None.
        char_weight: Their weights `(num_char_ngrams, num_classes)`, initially zero, or None.

    Raises:
        InvalidTypeError: If an argument has a wrong type.
        InvalidValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> model = NgramClassifier(10, num_classes=2, num_ngrams=3)
        >>> _ = model.keys.copy_(torch.tensor([5, 7, 57]))  # tokens 5 and 7, and the pair of both
        >>> _ = model.weight.data.copy_(torch.tensor([[0.0, 1.0], [0.0, 0.0], [2.0, 0.0]]))
        >>> model(torch.tensor([[5, 8, 7]]))  # two known n-grams, each with the value 1 / sqrt(2)
        tensor([[0.0000, 0.7071]], grad_fn=<AddBackward0>)
    """

    keys: Tensor
    idf: Tensor
    vectors: nn.Parameter | None
    char_keys: Tensor
    char_idf: Tensor
    char_weight: Tensor

    def __init__(
        self,
        vocab_size: int,
        *,
        num_classes: int,
        num_ngrams: int,
        max_order: int = 2,
        padding_id: int = 0,
        num_char_ngrams: int = 0,
        vector_size: int = 0,
    ) -> None:
        super().__init__()
        self.vocab_size = check_int("vocab_size", vocab_size)
        self.num_classes = check_int("num_classes", num_classes)
        self.num_ngrams = check_int("num_ngrams", num_ngrams)
        self.max_order = check_int("max_order", max_order)
        self.padding_id = check_int("padding_id", padding_id, minimum=0)
        if self.max_order > longest_order(self.vocab_size):
            rule = f"so small that {vocab_size} ** max_order is below 2 ** 63"
            raise InvalidValueError(expected("max_order", rule, max_order))
        self.num_char_ngrams = check_int("num_char_ngrams", num_char_ngrams, minimum=0)
        self.vector_size = check_int("vector_size", vector_size, minimum=0)
        self.register_buffer("keys", torch.arange(self.num_ngrams))
        factors = self.num_sparse + self.vocab_size * (self.vector_size > 0)
        self.register_buffer("idf", torch.ones(factors, dtype=torch.float32))
        self.weight = nn.Parameter(
            torch.zeros(self.num_features, self.num_classes, dtype=torch.float32)
        )
        self.bias = nn.Parameter(torch.zeros(self.num_classes, dtype=torch.float32))
        size = self.num_char_ngrams
        chars = {
            "char_keys": torch.arange(size),
            "char_idf": torch.ones(size, dtype=torch.float32),
            "char_weight": torch.zeros(size, self.num_classes, dtype=torch.float32),
        }
        for name, values in chars.items():
            self.register_buffer(name, values if size else None)

        self.vectors = None
        if self.vector_size:
            vectors = torch.zeros(self.vocab_size, self.vector_size, dtype=torch.float32)
            self.vectors = nn.Parameter(vectors, requires_grad=False)

    @property
    def num_sparse(self) -> int:
        """Number of n-grams, plus that of tokens with character n-grams."""
        return self.num_ngrams + self.vocab_size * bool(self.num_char_ngrams)

    @property
    def num_features(self) -> int:
        """Number of rows of `weight`: `num_sparse`, plus the dimension of vectors."""
        return self.num_sparse + self.vector_size

    @property
    def config(self) -> dict[str, Any]:
        """All constructor arguments as JSON values, for `from_config`."""
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return a new classifier with the `config` of another.

        Args:
            config: All constructor arguments by name.

        Returns:
            A classifier whose weights are zero.

        Raises:
            InvalidTypeError: If `config` is not a mapping, or a value has a wrong type.
            InvalidValueError: If a value is invalid.
            MissingKeyError: If arguments are missing or unknown.

        Example:
            >>> model = NgramClassifier(100, num_classes=4, num_ngrams=50)
            >>> NgramClassifier.from_config(model.config).config == model.config
            True
        """
        check_keys("config", config, signature(cls).parameters)
        return cls(**config)

    def spell(self, words: Sequence[str]) -> Tensor:
        """Return norms and weights of words by their spelling.

        Args:
            words: The words.

        Returns:
            Norm and weights of the known character n-grams of each word, `(words, 1 +
            num_classes)`; zeros for a word without any.

        Example:
            >>> model = NgramClassifier(10, num_classes=2, num_ngrams=3, num_char_ngrams=4)
            >>> model.spell(["awful", "awfully"]).shape
            torch.Size([2, 3])
        """
        spelled = torch.zeros(len(words), 1 + self.num_classes, dtype=torch.float32)
        if self.num_char_ngrams:
            keys, idf = self.char_keys.cpu().numpy(), self.char_idf.float().cpu().numpy()
            norms, weights = spell(words, keys, idf, self.char_weight.float().cpu().numpy())
            spelled[:, 0], spelled[:, 1:] = torch.from_numpy(norms), torch.from_numpy(weights)
        return spelled.to(self.idf)

    def features(
        self,
        input_ids: Tensor,
        lengths: Tensor | None = None,
        unknown: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the known n-grams of texts and their values, without the sums of vectors.

        Args:
            input_ids: Token ids, integers `(batch, time)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`;
                None counts up to the last id that is not padding. Default: None.
            unknown: Unknown words: the row of each in the result of `spell`, -1 for all other
                tokens, int64 `(batch, time)`, and that result. Default: None.

        Returns:
            Rows of `weight`, int64 `(batch, n)`, and their values, `(batch, n)`; rows of the batch
            end in values of 0. With character n-grams, `num_ngrams + id` is the row of a token, and
            `num_features` plus its row that of an unknown word. The values of a text have norm 1,
            or 0 if it has no known n-grams.

        Raises:
            InvalidTypeError: If `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, a length is out of range, or a text has only
                padding and no given length.
        """
        if lengths is None:
            lengths = resolve_lengths(input_ids, self.padding_id)
        lengths = check_lengths(lengths, *input_ids.shape)
        keys = ngram_keys(
            input_ids, lengths, vocab_size=self.vocab_size, max_order=self.max_order
        )  # (batch, ngrams)
        places = torch.searchsorted(self.keys, keys).clamp_(max=self.num_ngrams - 1)
        # Unknown n-grams get the index after the last one, which sorts to the end.
        last = self.num_features + (0 if unknown is None else len(unknown[1]))
        places = places.masked_fill(self.keys[places] != keys, last)
        if self.num_char_ngrams:  # the keys of single tokens are their ids
            tokens = keys[:, : input_ids.shape[1]]  # (batch, time)
            spelled = (tokens + self.num_ngrams).masked_fill(
                (tokens < 0) | (tokens >= self.vocab_size), last
            )
            if unknown is not None:
                rows = unknown[0]  # (batch, time)
                spelled = torch.where(rows >= 0, rows + self.num_features, spelled)
            places = torch.cat([places, spelled], dim=1)  # (batch, ngrams + time)
        places, counts = unique_per_row(places)  # (batch, features)
        known = (counts > 0) & (places < last)
        places = places.masked_fill(~known, 0)
        times = counts.clamp(min=1).to(self.idf.dtype)  # (batch, features)
        idf = self.idf[: self.num_sparse]
        if unknown is not None:  # after the dimensions of vectors
            idf = torch.cat([idf, idf.new_zeros(self.vector_size), unknown[1][:, 0]])
        values = (1 + times.log()) * idf[places] * known  # (batch, features)
        if not self.num_char_ngrams:
            return places, _normalize(values)
        by_spelling = places >= self.num_ngrams  # (batch, features)
        halves = _normalize(values * ~by_spelling) + _normalize(values * by_spelling)
        return places, _normalize(halves)

    def vector_sums(self, input_ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the weighted sums of the vectors of texts, for the last rows of `weight`.

        The weight of a vector is that of its token times `1 + log(count)`.

        Args:
            input_ids: Token ids, integers `(batch, time)`.
            lengths: Number of real tokens of each text, as for `features`. Default: None.

        Returns:
            The sums, scaled to norm 1, or 0 where they are 0: `(batch, vector_size)`.

        Raises:
            InvalidTypeError: If `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, a length is out of range, or a text has only
                padding and no given length.
        """
        if lengths is None:
            lengths = resolve_lengths(input_ids, self.padding_id)
        lengths = check_lengths(lengths, *input_ids.shape)
        sums = self.weight.new_zeros(len(input_ids), self.vector_size)
        if self.vectors is None:
            return sums
        steps = torch.arange(input_ids.shape[1], device=input_ids.device)  # (time,)
        real = steps < lengths.to(input_ids.device).unsqueeze(1)  # (batch, time)
        real &= (input_ids >= 0) & (input_ids < self.vocab_size)
        texts, steps = real.nonzero(as_tuple=True)  # (total,)
        entries, counts = torch.unique(
            texts * self.vocab_size + input_ids[texts, steps], return_counts=True
        )  # (entries,)
        texts, tokens = entries // self.vocab_size, entries % self.vocab_size
        tokens, places = torch.unique(tokens, return_inverse=True)
        if not len(tokens):
            return sums
        # In double precision, as the vectors of a long text may nearly cancel out.
        factors = (1 + counts.log()) * self.idf[self.num_sparse :][tokens][places]  # (entries,)
        bags = nn.functional.embedding_bag(
            places,
            self.vectors[tokens].double(),
            torch.searchsorted(texts, torch.arange(len(input_ids), device=texts.device)),
            per_sample_weights=factors.double(),
            mode="sum",
        )  # (batch, size)
        return _normalize(bags).to(sums)

    def forward(
        self,
        input_ids: Tensor,
        lengths: Tensor | None = None,
        unknown: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Compute the logits of a batch of texts.

        Args:
            input_ids: Token ids, integers `(batch, time)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`;
                None counts up to the last id that is not padding. Default: None.
            unknown: Unknown words, as for `features`; without them, these have no weights.
                Default: None.

        Returns:
            The logits, `(batch, num_classes)`.

        Raises:
            InvalidTypeError: If `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, a length is out of range, or a text has only
                padding and no given length.
        """
        places, values = self.features(input_ids, lengths, unknown)  # (batch, ngrams)
        values = values.to(self.weight.dtype)
        others = torch.zeros_like(places, dtype=torch.bool)
        if unknown is not None:
            others = places >= self.num_features  # (batch, ngrams)
        logits = self.bias + nn.functional.embedding_bag(
            places.masked_fill(others, 0),
            self.weight,
            per_sample_weights=values.masked_fill(others, 0),
            mode="sum",
        )  # (batch, classes)
        if unknown is not None:
            texts, columns = others.nonzero(as_tuple=True)  # (entries,)
            rows = places[texts, columns] - self.num_features
            weights = unknown[1][rows, 1:].to(values)  # (entries, classes)
            found = values[texts, columns].unsqueeze(1) * weights
            logits = logits.index_add(0, texts, found)
        if self.vectors is not None:
            sums = self.vector_sums(input_ids, lengths).to(values)  # (batch, size)
            logits = logits + sums @ self.weight[-self.vector_size :]
        return logits

    def extra_repr(self) -> str:
        """Return the arguments."""
        return ", ".join(f"{name}={value}" for name, value in self.config.items())


def check_vectors(vectors: Any, vocab_size: int) -> int:
    """Return the dimension of vectors, one for each token id."""
    rule = f"a vector of finite numbers for each of {vocab_size} token ids"
    if not (isinstance(vectors, Tensor) and vectors.is_floating_point()):
        raise InvalidTypeError(expected("vectors", rule, vectors))
    if vectors.ndim != 2 or len(vectors) != vocab_size or not vectors.shape[1]:
        raise InvalidValueError(expected("vectors", rule, tuple(vectors.shape)))
    if not bool(vectors.isfinite().all()):
        raise InvalidValueError(expected("vectors", rule, vectors[~vectors.isfinite()][0].item()))
    return int(vectors.shape[1])


def ngram_keys(input_ids: Tensor, lengths: Tensor, *, vocab_size: int, max_order: int) -> Tensor:
    """Return a key of each n-gram, `(batch, ngrams)`: single tokens, pairs, ...; -1 at padding."""
    # A key is the ids of an n-gram, read as digits in base `vocab_size`. N-grams of different
    # lengths have different keys, since no real token has the id 0.
    input_ids = input_ids.long()  # (batch, time)
    ends = lengths.to(input_ids.device).unsqueeze(1)  # (batch, 1)
    steps = torch.arange(input_ids.shape[1], device=input_ids.device)  # (time,)
    keys, parts = input_ids, []
    for order in range(1, max_order + 1):
        if order > 1:
            keys = keys[:, :-1] * vocab_size + input_ids[:, order - 1 :]
        parts.append(keys.masked_fill(steps[order - 1 :] >= ends, -1))  # (batch, time - order + 1)
    return torch.cat(parts, dim=1)  # (batch, ngrams)


def longest_order(vocab_size: int) -> int:
    """Return the maximum n-gram length whose keys fit into 64 bits."""
    order = 1
    while order < 63 and vocab_size ** (order + 1) <= _MAX_KEY:
        order += 1
    return order


def unique_per_row(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ascending unique values of each row and their counts, 0 after the last of them."""
    values = values.sort(dim=1).values  # (batch, n)
    new = torch.ones_like(values, dtype=torch.bool)
    new[:, 1:] = values[:, 1:] != values[:, :-1]
    places = new.cumsum(dim=1) - 1  # (batch, n): index of each value among the unique ones
    counts = torch.zeros_like(values).scatter_add_(1, places, torch.ones_like(values))
    # All values written to a place are equal, so their order does not matter.
    return values.scatter(1, places, values), counts


def _normalize(values: Tensor) -> Tensor:
    """Return rows scaled to norm 1; rows of zeros stay zero."""
    # In double precision, as the rounding of a sum depends on the width of a batch's rows.
    norms: Tensor = torch.linalg.vector_norm(values, dim=1, keepdim=True, dtype=torch.float64)
    return values / norms.clamp(min=1e-12).to(values.dtype)
