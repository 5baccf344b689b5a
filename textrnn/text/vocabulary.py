"""From tokens to ids and back."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, ClassVar, Self, SupportsIndex

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
from textrnn.text._columns import count_words
from textrnn.text._counting import check_counts, check_specials, check_tokens, count_tokens
from textrnn.text.tokenizers import Tokenizer, WordTokenizer

__all__ = ["Vocabulary"]

_SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
_FORMAT = 1
_KEYS = ("format", "specials", "left_out", "words")


@dataclass(frozen=True, init=False, repr=False)
class Vocabulary:
    """The tokens that a model knows, each with its id.

    The special tokens come first: padding 0, unknown 1, beginning 2, end 3, then any others. The
    words follow by falling count, and alphabetically (by code point) where counts are equal, so
    the same texts always give the same ids. A token of the texts that equals a special one is no
    word: it is counted as left out. Without any words, the special tokens alone come out.

    A vocabulary can't be changed; two with the same tokens and counts are equal.

    Args:
        counts: How often each word occurs, at least 1.
        min_freq: How often a word must occur to be kept (default: 1).
        max_size: The most entries, special tokens included; the most frequent words are kept
            (default: no limit).
        specials: The tokens for padding, unknown words, the beginning and the end of a text, in
            this order, and any others (default: ``("<pad>", "<unk>", "<bos>", "<eos>")``).

    Raises:
        InvalidTypeError: If a count or a limit is not an integer, or a token not a string.
        InvalidValueError: If a count or a limit is out of range, or `specials` has fewer than four
            tokens, an empty one or one twice.

    Example:
        >>> vocabulary = Vocabulary({"prices": 2, "soar": 1, "oil": 2})
        >>> vocabulary.tokens
        ('<pad>', '<unk>', '<bos>', '<eos>', 'oil', 'prices', 'soar')
        >>> vocabulary["soar"], "gas" in vocabulary, len(vocabulary)
        (6, False, 7)
    """

    pad_id: ClassVar[int] = 0
    """The id of padding."""
    unk_id: ClassVar[int] = 1
    """The id of unknown tokens."""
    bos_id: ClassVar[int] = 2
    """The id of a text's beginning."""
    eos_id: ClassVar[int] = 3
    """The id of a text's end."""

    _tokens: tuple[str, ...]
    _counts: tuple[int, ...]
    _num_specials: int
    _ids: dict[str, int] = field(compare=False)

    def __init__(
        self,
        counts: Mapping[str, int],
        *,
        min_freq: SupportsIndex = 1,
        max_size: SupportsIndex | None = None,
        specials: Sequence[str] = _SPECIALS,
    ) -> None:
        first = check_specials(specials)
        least = check_int("min_freq", min_freq)
        most = None
        if max_size is not None:
            most = check_int("max_size", max_size, minimum=len(first)) - len(first)
        known = check_counts(counts)
        # Sorting is stable, so the words stay in alphabetical order where counts are equal.
        words = sorted(word for word, n in known.items() if n >= least and word not in first)
        words.sort(key=known.__getitem__, reverse=True)
        del words[len(words) if most is None else most :]
        word_counts = [known[word] for word in words]
        left_out = sum(known.values()) - sum(word_counts)
        tokens = (*first, *words)
        object.__setattr__(self, "_tokens", tokens)
        object.__setattr__(self, "_counts", (0, left_out, *[0] * (len(first) - 2), *word_counts))
        object.__setattr__(self, "_num_specials", len(first))
        object.__setattr__(self, "_ids", {token: index for index, token in enumerate(tokens)})

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
            InvalidValueError: If a limit or the special tokens are not as for the class.

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

        The result is that of ``Vocabulary.build(map(tokenizer, texts))``; a `WordTokenizer` cuts
        many texts at once here.

        Args:
            texts: The texts.
            tokenizer: What cuts a text into tokens (default: ``WordTokenizer()``).
            min_freq: How often a word must occur to be kept (default: 1).
            max_size: The most entries, special tokens included (default: no limit).
            specials: The special tokens, as for the class.

        Raises:
            InvalidTypeError: If `texts` is a single string or holds anything else than strings, or
                if `tokenizer` returns anything but a list of strings.
            InvalidValueError: If a limit or the special tokens are not as for the class.

        Example:
            >>> Vocabulary.from_texts(["Oil prices soar.", "Oil!"], min_freq=2).tokens
            ('<pad>', '<unk>', '<bos>', '<eos>', 'oil')
        """
        counts = count_words(texts, WordTokenizer() if tokenizer is None else tokenizer)
        return cls(counts, min_freq=min_freq, max_size=max_size, specials=specials)

    @property
    def tokens(self) -> tuple[str, ...]:
        """All tokens in the order of their ids."""
        return self._tokens

    @property
    def counts(self) -> tuple[int, ...]:
        """How often each of `tokens` occurred.

        The unknown token has the count of all that was left out and the other special tokens have
        none, so the sum is the number of tokens that were counted.
        """
        return self._counts

    @property
    def specials(self) -> tuple[str, ...]:
        """The special tokens."""
        return self._tokens[: self._num_specials]

    @property
    def get(self) -> Callable[[str, int], int]:
        """The method ``get(token, default)``: a token's id, or `default` where it has none.

        It checks nothing, which makes it the fastest way to look up one token after another.

        Example:
            >>> Vocabulary({"oil": 1}).get("gas", 0)
            0
        """
        return self._ids.get

    def __getitem__(self, token: str) -> int:
        """Return the id of a known token."""
        if not isinstance(token, str):
            raise InvalidTypeError(expected("token", "a string", token))
        if token in self._ids:
            return self._ids[token]
        raise MissingKeyError(
            f"No token {show(token)} among the {len(self)} of this vocabulary, such as "
            f"{listing(self._tokens[:8])}; `encode` takes it for {show(self._tokens[self.unk_id])}."
        )

    def __contains__(self, token: object) -> bool:
        return isinstance(token, str) and token in self._ids

    def __len__(self) -> int:
        return len(self._tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tokens)

    def __repr__(self) -> str:
        words = [show(word) for word in self._tokens[self._num_specials :][:4]]
        more = ["..."] if len(self) > self._num_specials + len(words) else []
        return f"<Vocabulary of {len(self)} tokens: {', '.join(words + more) or 'no words'}>"

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return each token's id, that of the unknown token where it has none.

        Args:
            tokens: The tokens of a text.

        Raises:
            InvalidTypeError: If `tokens` is a plain string, or a token is not a string.

        Example:
            >>> Vocabulary({"oil": 1}).encode(["oil", "gas"])
            [4, 1]
        """
        tokens = check_tokens(tokens)
        ids = list(map(self.get, tokens, repeat(self.unk_id)))
        if self.unk_id in ids:  # only a string can be known
            check_tokens(tokens, each=True)
        return ids

    def decode(self, ids: Iterable[SupportsIndex], *, skip_specials: bool = False) -> list[str]:
        """Return the tokens that have these ids.

        Args:
            ids: The ids: integers, or an array or tensor ``(tokens,)`` of them.
            skip_specials: Whether to leave out the special tokens (default: False).

        Raises:
            InvalidTypeError: If an id is not an integer.
            InvalidValueError: If no token has an id.

        Example:
            >>> Vocabulary({"oil": 1}).decode([2, 4, 3], skip_specials=True)
            ['oil']
        """
        values = ids.tolist() if hasattr(ids, "tolist") else ids
        if not isinstance(values, Iterable) or isinstance(values, str | bytes):
            raise InvalidTypeError(expected("ids", "a sequence of integers", ids))
        tokens = []
        for index, value in enumerate(values):
            number = check_int(f"ids[{index}]", value, minimum=0)
            if number >= len(self):
                rule = f"an id below {len(self)}"
                raise InvalidValueError(expected(f"ids[{index}]", rule, number))
            if not (skip_specials and number < self._num_specials):
                tokens.append(self._tokens[number])
        return tokens

    def coverage(self, token_lists: Iterable[Iterable[str]] | Mapping[str, int]) -> float:
        """Return the share of tokens that are words of this vocabulary.

        Args:
            token_lists: Each text's tokens, or how often each token occurs.

        Returns:
            A number from 0 to 1, which is 1 where there are no tokens.

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
            counts = dict(count_tokens(token_lists))
        get, first = self.get, self._num_specials
        known = sum(n for token, n in counts.items() if get(token, 0) >= first)
        total = sum(counts.values())
        return known / total if total else 1.0

    def merge(
        self,
        other: "Vocabulary",
        *,
        min_freq: SupportsIndex = 1,
        max_size: SupportsIndex | None = None,
    ) -> "Vocabulary":
        """Return the vocabulary of both sets of texts, ordered by the summed counts.

        A word counts only as often as the two had kept it, so build both with ``min_freq=1`` and
        cut here to get what all the texts at once would give.

        Args:
            other: A vocabulary with the same special tokens.
            min_freq: How often a word must occur to be kept (default: 1).
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
        """Return all there is to the vocabulary, ready for JSON.

        Example:
            >>> Vocabulary({"oil": 2, "gas": 1}, min_freq=2).to_dict()
            {'format': 1, 'specials': ['<pad>', '<unk>', '<bos>', '<eos>'], 'left_out': 1,
            'words': {'oil': 2}}
        """
        first = self._num_specials
        return {
            "format": _FORMAT,
            "specials": list(self.specials),
            "left_out": self._counts[self.unk_id],
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
            counts[specials[cls.unk_id]] = left_out
        return cls(counts, specials=specials)
