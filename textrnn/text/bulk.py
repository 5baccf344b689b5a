"""Tokenize and count many texts at once."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np

from textrnn.errors import InvalidTypeError, expected, show
from textrnn.text.normalization import normalize
from textrnn.text.tokenizers import (
    ENCODED_PUNCTUATION,
    Tokenizer,
    WordPunctTokenizer,
    WordTokenizer,
    space_contractions,
    space_quotes,
)

__all__ = ["batches", "check_tokenizer", "count_words", "tokenize"]

# Few enough that a batch and its tokens stay in the processor's cache.
_BATCH_CHARACTERS = 2**15
# White space to both tokenizers, so in a text a blank can replace it.
_DIVIDER = "\x1f"
_SPACE, _WORD, _PUNCTUATION = range(3)
_KINDS = bytes(
    _WORD if re.match(r"\w", character) else _SPACE if character.isspace() else _PUNCTUATION
    for character in map(chr, range(128))
).ljust(256)


def check_tokenizer(tokenizer: object) -> None:
    """Raise an `InvalidTypeError` if a tokenizer is not callable."""
    if not callable(tokenizer):
        raise InvalidTypeError(expected("tokenizer", "a callable", tokenizer))


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Group consecutive texts into batches of a similar number of characters."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise InvalidTypeError(expected("texts", "a sequence of strings", texts))
    batch: list[str] = []
    characters = 0
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidTypeError(expected(f"texts[{index}]", "a string", text))
        batch.append(text)
        characters += len(text) + 1
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def count_words(parts: Iterable[list[str]], tokenizer: Tokenizer) -> Counter[str]:
    """Count the tokens of batches of texts."""
    counts: Counter[str] = Counter()
    for texts in parts:
        column = _column(texts, tokenizer)
        if column is not None:
            counts.update(column.split())
        else:
            for text in texts:
                counts.update(_checked(tokenizer(text)))
    return counts


def tokenize(
    texts: list[str], tokenizer: Tokenizer, *, limit: int | None = None
) -> tuple[list[str], list[int]]:
    """Return the tokens of all texts, at most `limit` of each, and the number of each."""
    column = _column(texts, tokenizer)
    token_lists = (
        map(_checked, map(tokenizer, texts))
        if column is None
        else map(str.split, column.split(_DIVIDER))
    )
    tokens: list[str] = []
    lengths = []
    for found in token_lists:
        kept = found if limit is None else found[:limit]
        tokens += kept
        lengths.append(len(kept))
    return tokens, lengths


def _checked(tokens: object) -> list[str]:
    """Return the result of a custom tokenizer if it is a list of strings."""
    if isinstance(tokens, list) and (
        set(map(type, tokens)) <= {str} or all(isinstance(token, str) for token in tokens)
    ):
        return tokens
    raise InvalidTypeError(
        f"Expected `tokenizer` to return a list of strings, but got {show(tokens)}."
    )


def _column(texts: list[str], tokenizer: Tokenizer) -> str | None:
    """Join texts so that `str.split` finds their tokens, unless the tokenizer is a custom one."""
    # Subclasses may tokenize differently.
    if type(tokenizer) is WordTokenizer and tokenizer.remove_punctuation:
        if tokenizer.normalize:
            texts = [normalize(text) for text in texts]
        return _space_words(texts, tokenizer.lowercase)
    if type(tokenizer) is WordPunctTokenizer:
        return _DIVIDER.join(
            _space_kinds(group, tokenizer.lowercase)
            if is_ascii
            else _DIVIDER.join([" ".join(tokenizer(text)) for text in group])
            for is_ascii, group in groupby(texts, str.isascii)
        )
    return None


def _space_words(texts: list[str], lowercase: bool) -> str:
    """Join texts as words of a `WordTokenizer` between white space."""
    if lowercase:
        texts = [text.lower() for text in texts]
    # Text by text, since the search for quotation marks skips ASCII.
    data = _join(map(space_quotes, texts)).encode("utf-8", "surrogatepass")
    joined = data.translate(None, ENCODED_PUNCTUATION).decode("utf-8", "surrogatepass")
    return space_contractions(joined, lowercase=lowercase)


def _space_kinds(texts: Iterable[str], lowercase: bool) -> str:
    """Join ASCII texts as tokens of a `WordPunctTokenizer` between white space."""
    joined = _join(texts)
    data = (joined.lower() if lowercase else joined).encode()
    kinds = np.frombuffer(data.translate(_KINDS), np.uint8)  # (characters,)
    touching = kinds[1:] ^ kinds[:-1] == _WORD ^ _PUNCTUATION  # (characters - 1,)
    letters = np.frombuffer(data, np.uint8)
    return np.insert(letters, np.flatnonzero(touching) + 1, ord(" ")).tobytes().decode()


def _join(texts: Iterable[str]) -> str:
    """Join texts by dividers."""
    return _DIVIDER.join([text.replace(_DIVIDER, " ") for text in texts])
