"""Columns of texts to words, many texts at once."""

from collections.abc import Iterable, Iterator

from textrnn.errors import InvalidTypeError, expected, show
from textrnn.text._splitting import ENCODED_PUNCTUATION, space_words
from textrnn.text.tokenizer import Tokenizer, WordTokenizer

__all__ = ["iterate_words"]

# Few enough that a batch and its words stay in the processor's cache.
_BATCH_CHARACTERS = 2**13
# UTF-8 never uses the byte 255, so it can divide texts. Made a punctuation mark, of which the texts
# are rid, it still does so once the bytes are a string again.
_DIVIDER = b" \xff"
_DIVIDER_TO_BAR = bytes(range(255)) + b"|"


def iterate_words(
    texts: Iterable[str], tokenizer: Tokenizer, *, limit: int | None = None
) -> Iterator[list[str]]:
    """Yield each text's words.

    Args:
        texts: The texts.
        tokenizer: What cuts them. An exact `WordTokenizer` that removes punctuation cuts many at
            once; the words are the same.
        limit: How many words of a text to yield at most.

    Raises:
        InvalidTypeError: If `texts` is a single string, or holds anything else than strings, or if
            `tokenizer` can't be called or returns anything but a list of strings.
    """
    if not callable(tokenizer):
        raise InvalidTypeError(expected("tokenizer", "a callable", tokenizer))
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise InvalidTypeError(expected("texts", "a sequence of strings", texts))
    # A subclass may cut differently, so only the class itself is known well enough.
    if type(tokenizer) is WordTokenizer and tokenizer.remove_punctuation:
        for batch in _batches(texts):
            yield from _cut_at_once(batch, lowercase=tokenizer.lowercase, limit=limit)
    else:
        for index, text in enumerate(texts):
            yield _checked(tokenizer(_text(text, index)))[:limit]


def _text(text: object, index: int) -> str:
    """Return a text, if it is a string."""
    if not isinstance(text, str):
        raise InvalidTypeError(expected(f"texts[{index}]", "a string", text))
    return text


def _batches(texts: Iterable[object]) -> Iterator[list[str]]:
    """Yield consecutive texts as soon as they have enough characters together."""
    batch: list[str] = []
    characters = 0
    for index, text in enumerate(texts):
        batch.append(_text(text, index))
        characters += len(batch[-1]) + 1
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
    if isinstance(tokens, list) and (
        set(map(type, tokens)) <= {str} or all(isinstance(token, str) for token in tokens)
    ):
        return tokens
    raise InvalidTypeError(
        f"Expected `tokenizer` to return a list of strings, but got {show(tokens)}."
    )
