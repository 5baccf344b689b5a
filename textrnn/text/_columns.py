"""Whole columns of texts to words, in batches that fit the processor's cache."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from textrnn.errors import InvalidTypeError, expected, show
from textrnn.text._splitting import ENCODED_PUNCTUATION, space_words
from textrnn.text.tokenizer import Tokenizer, WordTokenizer

__all__ = ["WordBatch", "iterate_words"]

_BATCH_CHARACTERS = 2**15
# UTF-8 never uses the byte 255, so it can divide texts. Made a punctuation mark, of which the texts
# are rid, it still does so once the bytes are a string again.
_DIVIDER = b" \xff"
_DIVIDER_TO_BAR = bytes(range(255)) + b"|"


class WordBatch(NamedTuple):
    """The words of some consecutive texts, one text's after the other's."""

    words: list[str]
    lengths: list[int]


def iterate_words(
    texts: Iterable[str], tokenizer: Tokenizer, *, limit: int | None = None
) -> Iterator[WordBatch]:
    """Yield the words of `texts` in batches, never those of all texts at a time.

    Args:
        texts: The texts.
        tokenizer: What cuts them. An exact `WordTokenizer` that removes punctuation cuts a whole
            batch at once; the words are the same.
        limit: How many words of a text to yield at most.

    Raises:
        InvalidTypeError: If `texts` is a single string, or holds anything else than strings, or if
            `tokenizer` can't be called or returns anything but a list of strings.
    """
    if not callable(tokenizer):
        raise InvalidTypeError(expected("tokenizer", "a callable", tokenizer))
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise InvalidTypeError(expected("texts", "a sequence of strings", texts))
    for batch in _batches(texts):
        rows: Iterable[list[str]]
        # A subclass may cut differently, so only the class itself is known well enough.
        if type(tokenizer) is WordTokenizer and tokenizer.remove_punctuation:
            rows = _cut_at_once(batch, lowercase=tokenizer.lowercase, limit=limit)
        else:
            rows = (_checked(tokenizer(text))[:limit] for text in batch)
        words: list[str] = []
        lengths: list[int] = []
        for row in rows:
            words += row
            lengths.append(len(row))
        yield WordBatch(words, lengths)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield consecutive texts until they have enough characters together."""
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


def _cut_at_once(texts: list[str], *, lowercase: bool, limit: int | None) -> Iterator[list[str]]:
    """Yield each text's words, as `WordTokenizer` without punctuation finds them."""
    column = [text.lower() for text in texts] if lowercase else texts
    data = _DIVIDER.join([text.encode("utf-8", "surrogatepass") for text in column])
    joined = data.translate(_DIVIDER_TO_BAR, ENCODED_PUNCTUATION).decode("utf-8", "surrogatepass")
    most = -1 if limit is None else limit
    for row in space_words(joined, lower_case=lowercase).split("|"):
        yield row.split(None, most)[:limit]


def _checked(tokens: object) -> list[str]:
    """Return what a tokenizer gave, if that is a list of strings."""
    if isinstance(tokens, list) and all(isinstance(token, str) for token in tokens):
        return tokens
    raise InvalidTypeError(
        f"Expected `tokenizer` to return a list of strings, but got {show(tokens)}."
    )
