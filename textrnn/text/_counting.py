"""Counting tokens, and checking tokens and counts that were handed in."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from textrnn.errors import InvalidTypeError, InvalidValueError, check_int, expected, show

__all__ = ["check_counts", "check_specials", "check_tokens", "count_tokens"]

_BATCH_TOKENS = 2**12


def count_tokens(token_lists: object) -> Counter[str]:
    """Count the tokens of texts in one pass, never holding more than a few texts' tokens.

    Args:
        token_lists: An iterable of each text's tokens.

    Raises:
        InvalidTypeError: If a text is not an iterable of tokens, or is a plain string, or a token
            is not a string.
    """
    if isinstance(token_lists, str | bytes) or not isinstance(token_lists, Iterable):
        raise InvalidTypeError(expected("token_lists", "an iterable of token lists", token_lists))
    counts: Counter[Any] = Counter()
    for tokens in _batches(token_lists):
        try:
            counts.update(tokens)
        except TypeError:  # what has no hash is no string
            check_tokens(tokens, each=True)
            raise
    check_tokens(counts, each=True)
    return counts


def _batches(token_lists: Iterable[object]) -> Iterator[list[Any]]:
    """Yield the tokens of consecutive texts as soon as there are enough of them."""
    batch: list[object] = []
    for index, tokens in enumerate(token_lists):
        if type(tokens) is list:  # the usual case, found out fast
            batch += tokens
        elif isinstance(tokens, str | bytes) or not isinstance(tokens, Iterable):
            raise InvalidTypeError(expected(f"token_lists[{index}]", "a list of tokens", tokens))
        else:
            batch.extend(tokens)
        if len(batch) >= _BATCH_TOKENS:
            yield batch
            batch = []
    yield batch


def check_tokens(tokens: object, *, each: bool = False) -> list[str]:
    """Return an iterable of tokens as a list, if it is not a plain string.

    Args:
        tokens: The tokens.
        each: Whether to check that each token is a string, which takes longer.

    Raises:
        InvalidTypeError: If something is of another type.
    """
    if isinstance(tokens, str | bytes) or not isinstance(tokens, Iterable):
        raise InvalidTypeError(expected("tokens", "a list of strings", tokens))
    items = tokens if isinstance(tokens, list) else list(tokens)
    if each and set(map(type, items)) - {str}:
        for token in items:
            if not isinstance(token, str):
                raise InvalidTypeError(expected("token", "a string", token))
    return items


def check_counts(counts: object) -> dict[str, int]:
    """Return `counts` with plain strings and integers, if each token has a positive count.

    Raises:
        InvalidTypeError: If `counts` is no mapping from strings to integers.
        InvalidValueError: If a count is below 1.
    """
    if not isinstance(counts, Mapping):
        raise InvalidTypeError(expected("counts", "a mapping from tokens to counts", counts))
    check_tokens(counts, each=True)
    return {
        str(token): n if type(n) is int and n > 0 else check_int(f"counts[{show(token)}]", n)
        for token, n in counts.items()
    }


def check_specials(specials: object) -> tuple[str, ...]:
    """Return the special tokens as a tuple, if there are at least four and all differ.

    Raises:
        InvalidTypeError: If `specials` is a plain string or no sequence of strings.
        InvalidValueError: If there are too few, or one is empty or occurs twice.
    """
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
