"""Vocabularies: from tokens to ids and back."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, ClassVar, Self, SupportsIndex

from textrnn._storage import corrupt, read_json, write_json
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
from textrnn.text.bulk import batches, check_tokenizer, count_words
from textrnn.text.tokenizers import Tokenizer, WordTokenizer

__all__ = ["SPECIALS", "Vocabulary", "check_specials"]

SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
_BATCH_TOKENS = 2**12
_FORMAT = 1
_KEYS = ("format", "specials", "left_out", "words")


@dataclass(frozen=True, init=False, repr=False)
class Vocabulary:
    """The tokens that a model knows, and their ids.

    Special tokens come first: padding 0, unknown 1, beginning 2, end 3, then any others. Words
    follow by descending count, then alphabetically (by code point), so the same texts always give
    the same ids. Without words, only the special tokens remain.

    A token of a text that equals a special token is not that special token: it is counted as left
    out and encoded as unknown, so a literal `<pad>` in a text never becomes padding. Only
    `vocabulary["<pad>"]` and `decode` refer to special tokens by name. Tokens are compared as they
    are; `WordPunctTokenizer` normalizes texts before it splits them.

    Vocabularies are immutable; two with the same tokens and counts are equal.

    Args:
        counts: Count of each word; 0 for a word that no text has.
        min_freq: Minimum count of a word; 0 keeps words that no text has. Default: 1.
        max_size: Maximum number of tokens, special tokens included; the most frequent words are
            kept. None is no limit. Default: None.
        specials: The tokens for padding, unknown words, the beginning and the end of a text, in
            this order, and any others. Default: `("<pad>", "<unk>", "<bos>", "<eos>")`.

    Raises:
        InvalidTypeError: If a count or a limit is not an integer, or a token is not a string.
        InvalidValueError: If a count or a limit is out of range, or if `specials` has fewer than
            four tokens, an empty token or a duplicate.

    Example:
        >>> vocabulary = Vocabulary({"prices": 2, "soar": 1, "oil": 2})
        >>> vocabulary.tokens
        ('<pad>', '<unk>', '<bos>', '<eos>', 'oil', 'prices', 'soar')
        >>> vocabulary["soar"], "gas" in vocabulary, len(vocabulary)
        (6, False, 7)
    """

    pad_id: ClassVar[int] = 0
    """Id of padding."""
    unk_id: ClassVar[int] = 1
    """Id of unknown tokens."""
    bos_id: ClassVar[int] = 2
    """Id of the beginning of a text."""
    eos_id: ClassVar[int] = 3
    """Id of the end of a text."""

    _tokens: tuple[str, ...]
    _counts: tuple[int, ...]
    _num_specials: int
    _ids: dict[str, int] = field(compare=False)  # of words, because texts have no special tokens

    def __init__(
        self,
        counts: Mapping[str, int],
        *,
        min_freq: SupportsIndex = 1,
        max_size: SupportsIndex | None = None,
        specials: Sequence[str] = SPECIALS,
    ) -> None:
        first = check_specials(specials)
        least = check_int("min_freq", min_freq, minimum=0)
        most = None
        if max_size is not None:
            most = check_int("max_size", max_size, minimum=len(first)) - len(first)
        known = _check_counts(counts)
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
        ids = {word: index for index, word in enumerate(words, start=len(first))}
        object.__setattr__(self, "_ids", ids)

    @classmethod
    def build(
        cls,
        token_lists: Iterable[Iterable[str]],
        *,
        min_freq: SupportsIndex = 1,
        max_size: SupportsIndex | None = None,
        specials: Sequence[str] = SPECIALS,
    ) -> Self:
        """Build a vocabulary from tokenized texts, in one pass.

        Args:
            token_lists: The tokens of each text: any iterable of iterables of strings.
            min_freq: Minimum count of a word. Default: 1.
            max_size: Maximum number of tokens, special tokens included. None is no limit. Default:
                None.
            specials: The special tokens, as for the class. Default:
                `("<pad>", "<unk>", "<bos>", "<eos>")`.

        Returns:
            The vocabulary.

        Raises:
            InvalidTypeError: If a text is a plain string instead of its tokens, or a token is not a
                string.
            InvalidValueError: If a limit or the special tokens are invalid for the class.

        Example:
            >>> Vocabulary.build([["oil", "prices"], ["oil"]], min_freq=2).tokens
            ('<pad>', '<unk>', '<bos>', '<eos>', 'oil')
        """
        counts = _count_tokens(token_lists)
        return cls(counts, min_freq=min_freq, max_size=max_size, specials=specials)

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        tokenizer: Tokenizer | None = None,
        *,
        min_freq: SupportsIndex = 1,
        max_size: SupportsIndex | None = None,
        specials: Sequence[str] = SPECIALS,
    ) -> Self:
        """Build a vocabulary from texts, in one pass.

        The result equals `Vocabulary.build(map(tokenizer, texts))`. `WordTokenizer` and
        `WordPunctTokenizer` process many texts at once, which is faster.

        Args:
            texts: The texts: any iterable of strings.
            tokenizer: Splits a text into tokens. None is `WordTokenizer()`. Default: None.
            min_freq: Minimum count of a word. Default: 1.
            max_size: Maximum number of tokens, special tokens included. None is no limit. Default:
                None.
            specials: The special tokens, as for the class. Default:
                `("<pad>", "<unk>", "<bos>", "<eos>")`.

        Returns:
            The vocabulary.

        Raises:
            InvalidTypeError: If `texts` is a single string or contains anything but strings, or if
                `tokenizer` is not callable or returns anything but a list of strings.
            InvalidValueError: If a limit or the special tokens are invalid for the class.

        Example:
            >>> Vocabulary.from_texts(["Oil prices soar.", "Oil!"], min_freq=2).tokens
            ('<pad>', '<unk>', '<bos>', '<eos>', 'oil')
        """
        split: Tokenizer = WordTokenizer() if tokenizer is None else tokenizer
        check_tokenizer(split)
        counts = count_words(batches(texts), split)
        return cls(counts, min_freq=min_freq, max_size=max_size, specials=specials)

    @property
    def tokens(self) -> tuple[str, ...]:
        """All tokens in the order of their ids."""
        return self._tokens

    @property
    def counts(self) -> tuple[int, ...]:
        """Count of each token, in the order of `tokens`.

        The unknown token has the count of all tokens that were left out, and other special tokens
        have 0. So the sum is the number of tokens that were counted.
        """
        return self._counts

    @property
    def specials(self) -> tuple[str, ...]:
        """The special tokens."""
        return self._tokens[: self._num_specials]

    @property
    def get(self) -> Callable[[str, int], int]:
        """The function `get(word, default)`, which returns a word's id, or `default` without one.

        Special tokens are no words, so they give `default`. It checks nothing and is the fastest
        way to look up many tokens of texts.

        Example:
            >>> Vocabulary({"oil": 1}).get("gas", 0)
            0
        """
        return self._ids.get

    def __getitem__(self, token: str) -> int:
        """Return the id of a token."""
        if not isinstance(token, str):
            raise InvalidTypeError(expected("token", "a string", token))
        if token in self._ids:
            return self._ids[token]
        if token in self.specials:
            return self.specials.index(token)
        raise MissingKeyError(
            f"Unknown token {show(token)}. The vocabulary has {len(self)} tokens, such as "
            f"{listing(self._tokens[:8])}; `encode` maps others to "
            f"{show(self._tokens[self.unk_id])}."
        )

    def __contains__(self, token: object) -> bool:
        return isinstance(token, str) and (token in self._ids or token in self.specials)

    def __len__(self) -> int:
        return len(self._tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tokens)

    def __repr__(self) -> str:
        words = [show(word) for word in self._tokens[self._num_specials :][:4]]
        more = ["..."] if len(self) > self._num_specials + len(words) else []
        return f"<Vocabulary of {len(self)} tokens: {', '.join(words + more) or 'no words'}>"

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Return the ids of a text's tokens; those that are no words get the unknown token's id.

        Special tokens are no words: a literal `<pad>` in a text is unknown.

        Args:
            tokens: The tokens of a text.

        Returns:
            The id of each token.

        Raises:
            InvalidTypeError: If `tokens` is a plain string, or a token is not a string.

        Example:
            >>> Vocabulary({"oil": 1}).encode(["oil", "gas", "<pad>"])
            [4, 1, 1]
        """
        tokens = _check_tokens(tokens)
        ids = list(map(self.get, tokens, repeat(self.unk_id)))
        if self.unk_id in ids:  # only a string can be known
            _check_tokens(tokens, each=True)
        return ids

    def decode(self, ids: Iterable[SupportsIndex], *, skip_specials: bool = False) -> list[str]:
        """Return the tokens of ids.

        Args:
            ids: A sequence, array or tensor of integers `(tokens,)`.
            skip_specials: Leave out special tokens. Default: False.

        Returns:
            The tokens.

        Raises:
            InvalidTypeError: If an id is not an integer.
            InvalidValueError: If an id is out of range.

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
        """Return the fraction of tokens that are words of this vocabulary.

        Args:
            token_lists: The tokens of each text, or the count of each token.

        Returns:
            A number from 0 to 1, and 1 if there are no tokens.

        Raises:
            InvalidTypeError: If a text is a plain string instead of its tokens, or a token is not a
                string.
            InvalidValueError: If a count is negative.

        Example:
            >>> Vocabulary({"oil": 1}).coverage([["oil", "prices"], ["oil", "soars"]])
            0.5
        """
        if isinstance(token_lists, Mapping):
            counts = _check_counts(token_lists)
        else:
            counts = _count_tokens(token_lists)
        known = sum(n for token, n in counts.items() if token in self._ids)
        total = sum(counts.values())
        return known / total if total else 1.0

    def merge(
        self,
        other: "Vocabulary",
        *,
        min_freq: SupportsIndex = 1,
        max_size: SupportsIndex | None = None,
    ) -> "Vocabulary":
        """Return the vocabulary with the summed counts of two.

        Words that either vocabulary left out are not counted. To get the vocabulary of all texts,
        build both with `min_freq=1` and set the limits here.

        Args:
            other: A vocabulary with the same special tokens.
            min_freq: Minimum count of a word. Default: 1.
            max_size: Maximum number of tokens, special tokens included. None is no limit. Default:
                None.

        Returns:
            The merged vocabulary.

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
        """Write the vocabulary as readable JSON, atomically.

        Args:
            path: The file to write. Its folder must exist.

        Raises:
            OSError: If the file can't be written. An existing file stays intact.

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
        """Read a vocabulary written by `save`; the content is checked.

        Args:
            path: The file.

        Returns:
            The vocabulary.

        Raises:
            OSError: If the file is missing or can't be read.
            CorruptFileError: If the file does not contain a valid vocabulary.
        """
        data = read_json(path, what="vocabulary")
        try:
            return cls.from_dict(data)
        except TextrnnError as error:
            raise corrupt(path, "vocabulary", str(error).rstrip(".")) from None

    def to_dict(self) -> dict[str, Any]:
        """Return the vocabulary as a dictionary for JSON.

        Returns:
            The format's version, the special tokens, the count of tokens left out, and the count
            of each word.

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
        """Build a vocabulary from the result of `to_dict`.

        Args:
            data: A dictionary as returned by `to_dict`.

        Returns:
            The vocabulary.

        Raises:
            InvalidTypeError: If an entry has the wrong type.
            InvalidValueError: If an entry is missing, unknown or out of range.

        Example:
            >>> vocabulary = Vocabulary({"oil": 2})
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
        counts = _check_counts(data["words"])
        if not counts.keys().isdisjoint(specials):
            raise InvalidValueError(expected("words", "without special tokens", specials))
        if left_out := check_int("left_out", data["left_out"], minimum=0):
            counts[specials[cls.unk_id]] = left_out
        return cls(counts, min_freq=0, specials=specials)


def _count_tokens(token_lists: object) -> Counter[str]:
    """Count the tokens of texts in one pass with bounded memory."""
    if isinstance(token_lists, str | bytes) or not isinstance(token_lists, Iterable):
        raise InvalidTypeError(expected("token_lists", "an iterable of token lists", token_lists))
    counts: Counter[Any] = Counter()
    for tokens in _token_batches(token_lists):
        try:
            counts.update(tokens)
        except TypeError:  # unhashable, so probably not a string
            _check_tokens(tokens, each=True)
            raise
    _check_tokens(counts, each=True)
    return counts


def _token_batches(token_lists: Iterable[object]) -> Iterator[list[Any]]:
    """Join the tokens of consecutive texts into batches."""
    batch: list[object] = []
    for index, tokens in enumerate(token_lists):
        if type(tokens) is list:  # the usual case, checked fast
            batch += tokens
        elif isinstance(tokens, str | bytes) or not isinstance(tokens, Iterable):
            raise InvalidTypeError(expected(f"token_lists[{index}]", "a list of tokens", tokens))
        else:
            batch.extend(tokens)
        if len(batch) >= _BATCH_TOKENS:
            yield batch
            batch = []
    yield batch


def _check_tokens(tokens: object, *, each: bool = False) -> list[str]:
    """Return tokens as a list, unless they are a plain string or `each` finds another type."""
    if isinstance(tokens, str | bytes) or not isinstance(tokens, Iterable):
        raise InvalidTypeError(expected("tokens", "a list of strings", tokens))
    items = tokens if isinstance(tokens, list) else list(tokens)
    if each and set(map(type, items)) - {str}:
        for token in items:
            if not isinstance(token, str):
                raise InvalidTypeError(expected("token", "a string", token))
    return items


def _check_counts(counts: object) -> dict[str, int]:
    """Return counts with plain strings and integers, if none is negative."""
    if not isinstance(counts, Mapping):
        raise InvalidTypeError(expected("counts", "a mapping from tokens to counts", counts))
    _check_tokens(counts, each=True)
    return {
        str(token): n
        if type(n) is int and n >= 0
        else check_int(f"counts[{show(token)}]", n, minimum=0)
        for token, n in counts.items()
    }


def check_specials(specials: object) -> tuple[str, ...]:
    """Return special tokens as a tuple, if there are at least four and all differ."""
    if isinstance(specials, str | bytes) or not isinstance(specials, Sequence):
        raise InvalidTypeError(expected("specials", "a sequence of strings", specials))
    for index, token in enumerate(specials):
        if not isinstance(token, str):
            raise InvalidTypeError(expected(f"specials[{index}]", "a string", token))
        if not token:
            raise InvalidValueError(expected(f"specials[{index}]", "a non-empty string", token))
    if len(specials) < 4:
        rule = "the tokens for padding, unknown words, the beginning and the end, and any others"
        raise InvalidValueError(expected("specials", rule, specials))
    if len(set(specials)) < len(specials):
        raise InvalidValueError(expected("specials", "tokens that all differ", specials))
    return tuple(map(str, specials))
