"""Columns of texts to words, many texts at once."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeGuard

import numpy as np

from textrnn.errors import InvalidTypeError, expected, show
from textrnn.text._table import Words, WordTable
from textrnn.text.tokenizers import (
    ENCODED_PUNCTUATION,
    Tokenizer,
    WordTokenizer,
    space_contractions,
    space_quotes,
)

__all__ = [
    "batches",
    "check_tokenizer",
    "count_words",
    "cuts_columns",
    "join_words",
    "split_text",
]

# Few enough that a batch and all about its words stay in the processor's cache.
_BATCH_CHARACTERS = 2**16
# UTF-8 never uses the byte 255, so it can divide texts. Made a punctuation mark, of which the texts
# are rid, it still does so once the bytes are a string again.
_ANY_CASE = bytes.maketrans(b"\xff\t\n\r\v\f\x1c\x1d\x1e\x1f", b"|" + b" " * 9)
_LOWER_CASE = _ANY_CASE.lower()
_WHITE_SPACE = re.compile(r"[^\S ]")


def check_tokenizer(tokenizer: object) -> None:
    """Raise an `InvalidTypeError` if something can't be called."""
    if not callable(tokenizer):
        raise InvalidTypeError(expected("tokenizer", "a callable", tokenizer))


def cuts_columns(tokenizer: Tokenizer) -> TypeGuard[WordTokenizer]:
    """Return whether `join_words` knows how a tokenizer cuts; a subclass may cut differently."""
    return type(tokenizer) is WordTokenizer and tokenizer.remove_punctuation


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield consecutive texts as soon as they have enough characters together.

    Raises:
        InvalidTypeError: If `texts` is a single string, or holds anything else than strings.
    """
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


def split_text(text: str, tokenizer: Tokenizer) -> list[str]:
    """Return what a tokenizer gives for a text, if that is a list of strings.

    Raises:
        InvalidTypeError: If it is anything else.
    """
    tokens: object = tokenizer(text)
    if isinstance(tokens, list) and (
        set(map(type, tokens)) <= {str} or all(isinstance(token, str) for token in tokens)
    ):
        return tokens
    raise InvalidTypeError(
        f"Expected `tokenizer` to return a list of strings, but got {show(tokens)}."
    )


def join_words(texts: list[str], *, lowercase: bool) -> str:
    """Return the words that `WordTokenizer` finds in texts without their punctuation.

    Args:
        texts: The texts.
        lowercase: Whether to lower-case them first.

    Returns:
        The words of all texts, divided by blanks, the texts by ``|``; no other white space.
    """
    if all(map(str.isascii, texts)):
        data = " \xff".join(texts).encode("latin-1")
    else:
        column = [text.lower() for text in texts] if lowercase else texts
        column = [text if text.isascii() else _spaced(text) for text in column]
        data = b" \xff".join([text.encode("utf-8", "surrogatepass") for text in column])
    table = _LOWER_CASE if lowercase else _ANY_CASE
    joined = data.translate(table, ENCODED_PUNCTUATION).decode("utf-8", "surrogatepass")
    return space_contractions(joined, lowercase=lowercase)


def _spaced(text: str) -> str:
    """Return `text` with blanks around its quotation marks and for any other white space."""
    return _WHITE_SPACE.sub(" ", space_quotes(text))


def count_words(texts: Iterable[str], tokenizer: Tokenizer) -> dict[str, int]:
    """Count the words of texts in one pass.

    Args:
        texts: The texts.
        tokenizer: What cuts them.

    Raises:
        InvalidTypeError: If `texts` is a single string, or holds anything else than strings, or if
            `tokenizer` returns anything but a list of strings.
    """
    check_tokenizer(tokenizer)
    if not cuts_columns(tokenizer):
        counter: Counter[str] = Counter()
        for batch in batches(texts):
            for text in batch:
                counter.update(split_text(text, tokenizer))
        return counter
    table = WordTable()
    counts = np.zeros(0, dtype=np.int64)
    for batch in batches(texts):
        words, _ = Words.split(join_words(batch, lowercase=tokenizer.lowercase))
        ids = table.learn(words)
        if len(table.words) > len(counts):
            counts.resize(2 * len(table.words), refcheck=False)
        np.add.at(counts, ids, 1)
    # Words hold no blanks, and one large string is faster to decode than many small ones.
    words_in_order = b" ".join(table.words).decode("utf-8", "surrogatepass").split(" ")
    return dict(zip(words_in_order, counts.tolist(), strict=False))
