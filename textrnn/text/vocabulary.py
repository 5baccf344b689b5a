"""From tokens to ids and back."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, NoReturn, Self, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from textrnn._files import corrupt, read_json, write_json
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingKeyError,
    TextrnnError,
    check_int,
    expected,
    listing,
    show,
)
from textrnn.text._columns import iterate_words
from textrnn.text._counting import check_counts, check_specials, count_tokens
from textrnn.text.tokenizer import Tokenizer, WordTokenizer

__all__ = ["Vocabulary"]

_SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
_FORMAT = 1
_KEYS = ("format", "specials", "left_out", "words")


class Vocabulary:
    """The tokens a model knows, each with its id.

    The special tokens come first: padding 0, unknown 1, beginning 2, end 3, then any others. The
    words follow by falling count, those of equal count in alphabetical order (by code point), so
    the same texts always give the same ids. A token of the texts that equals a special one is not a
    word: it is counted as left out. Without any words, a vocabulary of the special tokens alone is
    what comes out.

    A vocabulary can't be changed; two with the same tokens and counts are equal.

    Args:
        counts: How often each word occurs, at least 1.
        min_freq: How often a word must occur to be kept (default: 1).
        max_size: The most entries, special tokens included; the most frequent words are kept
            (default: no limit).
        specials: The special tokens: those for padding, unknown words, the beginning and the end of
            a text, in this order, and any others.

    Raises:
        InvalidTypeError: If a count or a limit is not an integer, or a token not a string.
        InvalidValueError: If a count is below 1, a limit is out of range, or `specials` has less
            than four tokens, an empty one or one twice.

    Example:
        >>> vocabulary = Vocabulary({"prices": 2, "soar": 1, "oil": 2})
        >>> vocabulary.tokens
        ('<pad>', '<unk>', '<bos>', '<eos>', 'oil', 'prices', 'soar')
        >>> vocabulary["soar"], "gas" in vocabulary, len(vocabulary)
        (6, False, 7)
    """

    __slots__ = ("_counts", "_ids", "_num_specials", "_tokens")

    _counts: tuple[int, ...]
    _ids: dict[str, int]
    _num_specials: int
    _tokens: tuple[str, ...]

    def __init__(
        self,
        counts: Mapping[str, int],
        *,
        min_freq: SupportsIndex = 1,
        max_size: SupportsIndex | None = None,
        specials: Sequence[str] = _SPECIALS,
    ) -> None:
        specials = check_specials(specials)
        least = check_int("min_freq", min_freq)
        most = None
        if max_size is not None:
            most = check_int("max_size", max_size, minimum=len(specials)) - len(specials)
        counts = check_counts(counts)
        kept = [
            (-count, token)
            for token, count in counts.items()
            if count >= least and token not in specials
        ]
        kept.sort()
        del kept[len(kept) if most is None else most :]
        words = [token for _, token in kept]
        word_counts = [-count for count, _ in kept]
        special_counts = [0] * len(specials)
        special_counts[1] = sum(counts.values()) - sum(word_counts)
        tokens = (*specials, *words)
        for name, value in (
            ("_tokens", tokens),
            ("_counts", (*special_counts, *word_counts)),
            ("_ids", {token: index for index, token in enumerate(tokens)}),
            ("_num_specials", len(specials)),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def build(
        cls,
        token_lists: Iterable[Iterable[str]],
        *,
        min_freq: SupportsIndex = 1,
        max_size: SupportsIndex | None = None,
        specials: Sequence[str] = _SPECIALS,
    ) -> Self:
        """Count the tokens of texts in one pass and keep the frequent ones.

        Args:
            token_lists: Each text's tokens; a generator will do.
            min_freq: How often a word must occur to be kept (default: 1).
            max_size: The most entries, special tokens included (default: no limit).
            specials: The special tokens, as for the class.

        Raises:
            InvalidTypeError: If a text is a plain string instead of its tokens, or a token is not a
                string.
            InvalidValueError: As for the class.

        Example:
            >>> Vocabulary.build([["oil", "prices"], ["oil"]], min_freq=2).tokens
            ('<pad>', '<unk>', '<bos>', '<eos>', 'oil')
        """
        counts = count_tokens(token_lists)
        return cls(counts, min_freq=min_freq, max_size=max_size, specials=specials)

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        tokenizer: Tokenizer | None = None,
        *,
        min_freq: SupportsIndex = 1,
        max_size: SupportsIndex | None = None,
        specials: Sequence[str] = _SPECIALS,
    ) -> Self:
        """Tokenize texts, count their tokens in one pass and keep the frequent ones.

        The result equals that of ``Vocabulary.build(map(tokenizer, texts))``; with a
        `WordTokenizer` it comes faster, as many texts are cut at once.

        Args:
            texts: The texts.
            tokenizer: What cuts a text into tokens (default: ``WordTokenizer()``).
            min_freq: How often a word must occur to be kept (default: 1).
            max_size: The most entries, special tokens included (default: no limit).
            specials: The special tokens, as for the class.

        Raises:
            InvalidTypeError: If `texts` is a single string or holds anything else than strings, or
                if `tokenizer` returns anything but a list of strings.
            InvalidValueError: As for the class.

        Example:
            >>> Vocabulary.from_texts(["Oil prices soar.", "Oil!"], min_freq=2).tokens
            ('<pad>', '<unk>', '<bos>', '<eos>', 'oil')
        """
        counts: Counter[str] = Counter()
        for batch in iterate_words(texts, WordTokenizer() if tokenizer is None else tokenizer):
            counts.update(batch.words)
        return cls(counts, min_freq=min_freq, max_size=max_size, specials=specials)

    @property
    def tokens(self) -> tuple[str, ...]:
        """All tokens in the order of their ids."""
        return self._tokens

    @property
    def counts(self) -> tuple[int, ...]:
        """How often each token occurred, in the order of `tokens`.

        The count of the unknown token is that of all the tokens left out; those of the other
        special tokens are 0. So the sum is the number of tokens that were counted.
        """
        return self._counts

    @property
    def specials(self) -> tuple[str, ...]:
        """The special tokens."""
        return self._tokens[: self._num_specials]

    @property
    def pad_id(self) -> int:
        """The id of padding, 0."""
        return 0

    @property
    def unk_id(self) -> int:
        """The id of unknown tokens, 1."""
        return 1

    @property
    def bos_id(self) -> int:
        """The id of a text's beginning, 2."""
        return 2

    @property
    def eos_id(self) -> int:
        """The id of a text's end, 3."""
        return 3

    def __getitem__(self, token: str) -> int:
        """Return the id of a token that is known."""
        if not isinstance(token, str):
            raise InvalidTypeError(expected("token", "a string", token))
        try:
            return self._ids[token]
        except KeyError:
            raise MissingKeyError(
                f"No token {show(token)} among the {len(self)} of this vocabulary; "
                f"`encode` gives unknown tokens the id of {show(self._tokens[1])}."
            ) from None

    def __contains__(self, token: object) -> bool:
        return isinstance(token, str) and token in self._ids

    def __len__(self) -> int:
        return len(self._tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tokens)

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return each token's id, or that of the unknown token.

        Args:
            tokens: The tokens of a text.

        Raises:
            InvalidTypeError: If `tokens` is a plain string, or a token is not a string.

        Example:
            >>> Vocabulary({"oil": 1}).encode(["oil", "gas"])
            [4, 1]
        """
        tokens = _token_list(tokens)
        ids = list(map(self._ids.get, tokens, repeat(1)))
        if 1 in ids:
            _check_strings(tokens)
        return ids

    def encode_array(self, tokens: Iterable[str]) -> NDArray[np.int32]:
        """Return what `encode` does, as an array.

        Args:
            tokens: The tokens.

        Returns:
            Their ids, int32 ``(tokens,)``.

        Raises:
            InvalidTypeError: If `tokens` is a plain string, or a token is not a string.

        Example:
            >>> Vocabulary({"oil": 1}).encode_array(["oil", "gas"])
            array([4, 1], dtype=int32)
        """
        tokens = _token_list(tokens)
        ids = np.fromiter(map(self._ids.get, tokens, repeat(1)), np.int32, len(tokens))
        if 1 in ids:
            _check_strings(tokens)
        return ids

    def decode(self, ids: Iterable[SupportsIndex], *, skip_specials: bool = False) -> list[str]:
        """Return the tokens that have these ids.

        Args:
            ids: The ids: integers, or an array or tensor ``(tokens,)`` of them.
            skip_specials: Whether to leave out the special tokens (default: False).

        Raises:
            InvalidTypeError: If an id is not an integer.
            InvalidValueError: If an id is that of no token.

        Example:
            >>> Vocabulary({"oil": 1}).decode([2, 4, 3], skip_specials=True)
            ['oil']
        """
        if not isinstance(ids, Iterable):
            raise InvalidTypeError(expected("ids", "a sequence of integers", ids))
        values = ids.tolist() if hasattr(ids, "tolist") else ids
        tokens = []
        for index, value in enumerate(values):
            number = check_int(f"ids[{index}]", value, minimum=0)
            if number >= len(self):
                raise InvalidValueError(
                    expected(f"ids[{index}]", f"an id below {len(self)}", number)
                )
            if not (skip_specials and number < self._num_specials):
                tokens.append(self._tokens[number])
        return tokens

    def coverage(self, token_lists: Iterable[Iterable[str]] | Mapping[str, int]) -> float:
        """Return the share of tokens that are words of this vocabulary.

        Args:
            token_lists: Each text's tokens, or how often each token occurs.

        Returns:
            A number from 0 to 1; 1 where there are no tokens.

        Raises:
            InvalidTypeError: If a text is a plain string instead of its tokens, or a token is not a
                string.
            InvalidValueError: If a count is below 1.

        Example:
            >>> Vocabulary({"oil": 1}).coverage([["oil", "prices"], ["oil", "soars"]])
            0.5
        """
        if isinstance(token_lists, Mapping):
            counts = check_counts(token_lists)
        else:
            counts = count_tokens(token_lists)
        get, first = self._ids.get, self._num_specials
        known = sum(count for token, count in counts.items() if get(token, 0) >= first)
        total = sum(counts.values())
        return known / total if total else 1.0

    def merge(
        self,
        other: "Vocabulary",
        *,
        min_freq: SupportsIndex = 1,
        max_size: SupportsIndex | None = None,
    ) -> "Vocabulary":
        """Return the vocabulary of both sets of texts together, ordered by the summed counts.

        A word that one of the two had left out counts only as often as the other kept it, so build
        both with ``min_freq=1`` and cut here for the same result as from all texts at once.

        Args:
            other: A vocabulary with the same special tokens.
            min_freq: How often a word must occur in both together to be kept (default: 1).
            max_size: The most entries, special tokens included (default: no limit).

        Raises:
            InvalidTypeError: If `other` is not a vocabulary.
            InvalidValueError: If the special tokens differ, or a limit is out of range.

        Example:
            >>> Vocabulary({"oil": 2, "gas": 1}).merge(Vocabulary({"gas": 2})).tokens[4:]
            ('gas', 'oil')
        """
        if not isinstance(other, Vocabulary):
            raise InvalidTypeError(expected("other", "a Vocabulary", other))
        if other.specials != self.specials:
            rule = f"a vocabulary with the special tokens {show(self.specials)}"
            raise InvalidValueError(expected("other", rule, other.specials))
        counts: Counter[str] = Counter()
        for part in (self, other):
            counts.update({token: n for token, n in zip(part, part.counts, strict=True) if n})
        return Vocabulary(counts, min_freq=min_freq, max_size=max_size, specials=self.specials)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary as JSON that a person can read, whole or not at all.

        Args:
            path: The file to write; its folder must exist.

        Raises:
            OSError: If it can't be written; an old file is intact then.

        Example:
            >>> import tempfile
            >>> vocabulary = Vocabulary({"oil": 2, "prices": 1})
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     vocabulary.save(f"{folder}/vocabulary.json")
            ...     Vocabulary.load(f"{folder}/vocabulary.json") == vocabulary
            True
        """
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a vocabulary that `save` wrote; the file is not trusted.

        Args:
            path: The file.

        Raises:
            OSError: If it is missing or can't be read.
            CorruptFileError: If it holds no vocabulary.
        """
        data = read_json(path, what="vocabulary")
        try:
            return cls.from_dict(data)
        except TextrnnError as error:
            raise corrupt(path, "vocabulary", str(error).rstrip(".")) from None

    def to_dict(self) -> dict[str, Any]:
        """Return everything about the vocabulary, ready for JSON.

        Example:
            >>> Vocabulary({"oil": 2, "gas": 1}, min_freq=2).to_dict()
            {'format': 1, 'specials': ['<pad>', '<unk>', '<bos>', '<eos>'], 'left_out': 1,
            'words': {'oil': 2}}
        """
        first = self._num_specials
        return {
            "format": _FORMAT,
            "specials": list(self.specials),
            "left_out": self._counts[1],
            "words": dict(zip(self._tokens[first:], self._counts[first:], strict=True)),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the vocabulary that `to_dict` described.

        Args:
            data: What `to_dict` returned.

        Raises:
            InvalidTypeError: If a part has the wrong type.
            InvalidValueError: If a part is missing, unknown or impossible.

        Example:
            >>> vocabulary = Vocabulary({"oil": 2, "gas": 1})
            >>> Vocabulary.from_dict(vocabulary.to_dict()) == vocabulary
            True
        """
        if not isinstance(data, Mapping):
            raise InvalidTypeError(expected("data", "a mapping", data))
        if set(data) != set(_KEYS):
            raise InvalidValueError(
                f"Expected `data` to have the keys {listing(_KEYS)}, but got {listing(data)}."
            )
        if check_int("format", data["format"]) != _FORMAT:
            raise InvalidValueError(expected("format", f"{_FORMAT}", data["format"]))
        specials = check_specials(data["specials"])
        counts = check_counts(data["words"])
        if not counts.keys().isdisjoint(specials):
            raise InvalidValueError(expected("words", "without special tokens", specials))
        if left_out := check_int("left_out", data["left_out"], minimum=0):
            counts[specials[1]] = left_out
        return cls(counts, specials=specials)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"A vocabulary can't be changed, so `{name}` can't be set.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"A vocabulary can't be changed, so `{name}` can't be deleted.")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_dict, (self.to_dict(),)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return (
            self._tokens == other._tokens
            and self._counts == other._counts
            and self._num_specials == other._num_specials
        )

    def __hash__(self) -> int:
        return hash((self._tokens, self._counts, self._num_specials))

    def __repr__(self) -> str:
        words = ", ".join(map(show, self._tokens[self._num_specials :][:3]))
        return f"<Vocabulary of {len(self)} tokens: {words or 'no words'}{', ...'}>"


def _token_list(tokens: Iterable[str]) -> list[str]:
    """Return tokens as a list, unless they are a plain string."""
    if isinstance(tokens, list):
        return tokens
    if isinstance(tokens, str | bytes) or not isinstance(tokens, Iterable):
        raise InvalidTypeError(expected("tokens", "a list of strings", tokens))
    return list(tokens)


def _check_strings(tokens: list[str]) -> None:
    """Raise if a token is not a string; none that is known can be anything else."""
    for index, token in enumerate(tokens):
        if not isinstance(token, str):
            raise InvalidTypeError(expected(f"tokens[{index}]", "a string", token))
