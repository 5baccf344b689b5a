"""The n-gram classifier: one weight for each word and each sequence of words."""

from collections.abc import Mapping
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

__all__ = ["NgramClassifier", "distinct", "longest_order", "ngram_keys"]

_LARGEST_KEY = 2**63 - 1


def ngram_keys(input_ids: Tensor, lengths: Tensor, *, vocab_size: int, max_order: int) -> Tensor:
    """Number the n-grams of a batch: the ids of an n-gram, read as digits to the base `vocab_size`.

    Two n-grams have the same key only if they are the same, as long as no real token has the id 0.

    Args:
        input_ids: Token ids, `(batch, time)`.
        lengths: Number of real tokens of each text, `(batch,)`.
        vocab_size: Number of token ids.
        max_order: The most tokens of an n-gram.

    Returns:
        The keys, int64 `(batch, ngrams)`, first of all single tokens, then of all pairs and so on;
        -1 where padding is reached.

    Example:
        >>> import torch
        >>> ids, lengths = torch.tensor([[2, 7, 3], [5, 3, 0]]), torch.tensor([3, 2])
        >>> ngram_keys(ids, lengths, vocab_size=10, max_order=2)
        tensor([[ 2,  7,  3, 27, 73],
                [ 5,  3, -1, 53, -1]])
    """
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
    """Return the most tokens of an n-gram that `ngram_keys` has enough numbers for.

    Args:
        vocab_size: Number of token ids.

    Example:
        >>> longest_order(100_000), longest_order(3_000_000)
        (3, 2)
    """
    order = 1
    while order < 63 and vocab_size ** (order + 1) <= _LARGEST_KEY:
        order += 1
    return order


def distinct(values: Tensor) -> tuple[Tensor, Tensor]:
    """Find the different values of each row, and how often each stands there.

    Args:
        values: Integers, `(batch, n)`.

    Returns:
        The values in rising order, and their counts, both `(batch, n)`; a row is filled up with
        counts of 0.

    Example:
        >>> import torch
        >>> distinct(torch.tensor([[7, 5, 7], [1, 2, 3]]))
        (tensor([[5, 7, 7],
                [1, 2, 3]]), tensor([[1, 2, 0],
                [1, 1, 1]]))
    """
    values = values.sort(dim=1).values  # (batch, n)
    new = torch.ones_like(values, dtype=torch.bool)
    new[:, 1:] = values[:, 1:] != values[:, :-1]
    places = new.cumsum(dim=1) - 1  # (batch, n): to which of the distinct values each belongs
    counts = torch.zeros_like(values).scatter_add_(1, places, torch.ones_like(values))
    # All values of one place are the same, so it makes no difference which is written last.
    return values.scatter(1, places, values), counts


class NgramClassifier(nn.Module):
    """Classify texts by the words and short sequences of words that they hold.

    A text is described by its n-grams: each has `(1 + log(count)) * idf`, and the description is
    scaled to the length 1. The logits are linear in that. Order beyond an n-gram is lost, but what
    is learned about one n-gram disturbs no other, so rare ones count where a recurrent network has
    not seen enough of them. `textrnn.ngrams.fit_ngrams` chooses n-grams and weights.

    With `spelling`, the tokens describe a text once more, by weights that follow from how each is
    spelled: words that few texts hold share what is known of others with the same stem. The two
    descriptions have the same length, and together the length 1.

    Args:
        vocab_size: Number of token ids.
        num_classes: Number of logits.
        num_ngrams: Number of n-grams that have weights.
        max_order: The most tokens of an n-gram.
        padding_id: The id that fills texts up.
        spelling: Whether each token also has a weight for its spelling.

    Attributes:
        keys: The n-grams as `ngram_keys` numbers them, rising, int64 `(num_ngrams,)`.
        idf: How much less each counts because many texts hold it, `(num_ngrams,)`; with `spelling`
            then how much that of each token counts, `(num_ngrams + vocab_size,)` in all.
        weight: A row for each n-gram, with `spelling` then for that of each token, and a column for
            each class; zero at first.
        bias: `(num_classes,)`, zero at first.

    Raises:
        InvalidTypeError: If an argument is no integer.
        InvalidValueError: If an argument is out of range.

    Example:
        >>> import torch
        >>> model = NgramClassifier(10, num_classes=2, num_ngrams=3)
        >>> _ = model.keys.copy_(torch.tensor([5, 7, 57]))  # the tokens 5 and 7, and "5 7"
        >>> _ = model.weight.data.copy_(torch.tensor([[0.0, 1.0], [0.0, 0.0], [2.0, 0.0]]))
        >>> model(torch.tensor([[5, 8, 7]]))  # two n-grams are known: 1 / sqrt(2) each
        tensor([[0.0000, 0.7071]], grad_fn=<AddBackward0>)
    """

    keys: Tensor
    idf: Tensor

    def __init__(
        self,
        vocab_size: int,
        *,
        num_classes: int,
        num_ngrams: int,
        max_order: int = 2,
        padding_id: int = 0,
        spelling: bool = False,
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
        if not isinstance(spelling, bool):
            raise InvalidTypeError(expected("spelling", "a boolean", spelling))
        self.spelling = spelling
        self.register_buffer("keys", torch.arange(self.num_ngrams))
        self.register_buffer("idf", torch.ones(self.num_features))
        self.weight = nn.Parameter(torch.zeros(self.num_features, self.num_classes))
        self.bias = nn.Parameter(torch.zeros(self.num_classes))

    @property
    def num_features(self) -> int:
        """The number of n-grams, and of tokens where their spelling counts as well."""
        return self.num_ngrams + self.vocab_size * self.spelling

    @property
    def config(self) -> dict[str, Any]:
        """All constructor arguments, as JSON has them; `from_config` takes them back."""
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build a new classifier from the `config` of another.

        Args:
            config: All constructor arguments by name.

        Returns:
            A classifier with that configuration, whose weights are zero.

        Raises:
            InvalidTypeError: If `config` is not a mapping, or a value has the wrong type.
            InvalidValueError: If a value is one that it must not have.
            MissingKeyError: If arguments are missing or unknown.

        Example:
            >>> model = NgramClassifier(100, num_classes=4, num_ngrams=50)
            >>> NgramClassifier.from_config(model.config).config == model.config
            True
        """
        check_keys("config", config, signature(cls).parameters)
        return cls(**config)

    def features(self, input_ids: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Describe texts by the n-grams that have weights.

        Args:
            input_ids: Token ids, integers `(batch, time)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`;
                None derives them, to the last id that is not padding.

        Returns:
            Which n-grams a text holds, int64 `(batch, n)`, and their values, `(batch, n)`; a value
            of 0 fills a row up. With `spelling`, `num_ngrams + id` stands for a token's. The values
            of a text have the norm 1, if there are any.

        Raises:
            InvalidTypeError: If `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, a length is out of range, or a text without
                given length is padding throughout.
        """
        if lengths is None:
            lengths = resolve_lengths(input_ids, self.padding_id)
        lengths = check_lengths(lengths, *input_ids.shape)
        keys = ngram_keys(
            input_ids, lengths, vocab_size=self.vocab_size, max_order=self.max_order
        )  # (batch, ngrams)
        places = torch.searchsorted(self.keys, keys).clamp_(max=self.num_ngrams - 1)
        # What has no weights sorts to the end, behind everything that has.
        last = self.num_features
        places = places.masked_fill(self.keys[places] != keys, last)
        if self.spelling:  # the keys of single tokens are their ids
            tokens = keys[:, : input_ids.shape[1]]  # (batch, time)
            spelled = (tokens + self.num_ngrams).masked_fill(
                (tokens < 0) | (tokens >= self.vocab_size), last
            )
            places = torch.cat([places, spelled], dim=1)  # (batch, ngrams + time)
        places, counts = distinct(places)  # (batch, features)
        known = (counts > 0) & (places < last)
        places = places.masked_fill(~known, 0)
        values = (1 + counts.clamp(min=1).log()) * self.idf[places] * known  # (batch, features)
        if not self.spelling:
            return places, nn.functional.normalize(values, dim=1)
        by_spelling = places >= self.num_ngrams  # (batch, features)
        halves = [
            nn.functional.normalize(values * part, dim=1) for part in (~by_spelling, by_spelling)
        ]
        return places, nn.functional.normalize(halves[0] + halves[1], dim=1)

    def forward(self, input_ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the logits of a batch of texts.

        Args:
            input_ids: Token ids, integers `(batch, time)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`;
                None derives them, to the last id that is not padding.

        Returns:
            The logits, `(batch, num_classes)`.

        Raises:
            InvalidTypeError: If `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, a length is out of range, or a text without
                given length is padding throughout.
        """
        places, values = self.features(input_ids, lengths)  # (batch, ngrams)
        bags = nn.functional.embedding_bag(
            places, self.weight, per_sample_weights=values.to(self.weight.dtype), mode="sum"
        )
        return bags + self.bias  # (batch, classes)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return ", ".join(f"{name}={value}" for name, value in self.config.items())
