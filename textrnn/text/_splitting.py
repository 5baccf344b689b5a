"""Where NLTK's word tokenizer cuts: the few rules that apply once punctuation is gone, and NLTK.

Without ASCII punctuation NLTK cuts at white space, around the quotation marks and dashes of
Unicode, and inside six contractions. Those rules are stated here, because loading NLTK takes longer
than tokenizing a data set; the tests hold them to NLTK for every code point. Text that keeps its
punctuation goes to NLTK itself.
"""

import functools
import re
import string
from collections.abc import Callable
from typing import Any

__all__ = [
    "ENCODED_PUNCTUATION",
    "has_punctuation",
    "nltk_tokenizer",
    "remove_punctuation",
    "space_contractions",
    "space_quotes",
]

ENCODED_PUNCTUATION = string.punctuation.encode()
_QUOTES_AND_DASHES = re.compile("[\u00ab\u201c\u2018\u201e\u00bb\u201d\u2019\u2012-\u2015]")

# All are cut after three letters, and only where no letter, digit or underscore adjoins.
_CONTRACTIONS = ("cannot", "gimme", "gonna", "gotta", "lemme", "wanna")
_END = dict.fromkeys(_CONTRACTIONS, r"(?!\w)") | {"wanna": r"(?!\S)"}
# A pattern that begins with plain letters is found fast, hence the look-behind after the word.
_IN_LOWER_CASE = {word: re.compile(rf"{word}(?<!\w{word}){_END[word]}") for word in _CONTRACTIONS}
_IN_ANY_CASE = re.compile(
    "|".join(rf"(?<!\w){word}{_END[word]}" for word in _CONTRACTIONS), re.IGNORECASE
)
_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")

has_punctuation: Callable[[str], object] = _PUNCTUATION.search
"""Return something true if a text holds a character of `string.punctuation`."""


def remove_punctuation(text: str) -> str:
    """Return `text` without the characters of `string.punctuation`, lone surrogates included."""
    # Bytes below 128 stand only for ASCII in UTF-8, and deleting bytes is far faster than
    # str.translate.
    data = text.encode("utf-8", "surrogatepass")
    return data.translate(None, ENCODED_PUNCTUATION).decode("utf-8", "surrogatepass")


def space_quotes(text: str) -> str:
    """Return `text` with blanks around the quotation marks and dashes of Unicode."""
    if text.isascii() or not _QUOTES_AND_DASHES.search(text):
        return text
    return _QUOTES_AND_DASHES.sub(r" \g<0> ", text)


def space_contractions(text: str, *, lower_case: bool) -> str:
    """Return `text` with blanks around and inside NLTK's contractions.

    With those of `space_quotes`, made before, `str.split` finds NLTK's words.

    Args:
        text: One or more texts, divided by white space, without ASCII punctuation.
        lower_case: Whether `text` comes from `str.lower`.
    """
    # These two are an "i" as well where case is ignored, but str.lower makes none of them.
    dotless = not text.isascii() and ("\u0131" in text or "\u0130" in text)
    lowered = text if lower_case else text.lower()
    if not (
        dotless
        or "cannot" in lowered
        or "gonna" in lowered
        or "gotta" in lowered
        or "wanna" in lowered
        or "gimme" in lowered
        or "lemme" in lowered
    ):
        return text
    if dotless or not lower_case:
        return _IN_ANY_CASE.sub(lambda match: f" {match[0][:3]} {match[0][3:]} ", text)
    for word, pattern in _IN_LOWER_CASE.items():
        if word in text:
            text = pattern.sub(f" {word[:3]} {word[3:]} ", text)
    return text


@functools.cache
def nltk_tokenizer() -> Callable[[str], list[str]]:
    """Return NLTK's own word tokenizer, freed of the seconds it grants each of its patterns."""
    from nltk.tokenize.destructive import NLTKWordTokenizer

    tokenizer = NLTKWordTokenizer()
    tokenize: Callable[[str], list[str]] = tokenizer.tokenize
    try:
        from nltk import redos
    except ImportError:  # an NLTK that knows no such limit
        return tokenize

    def unlimited(rule: tuple[Any, str]) -> tuple[Any, str]:
        pattern, replacement = rule
        return redos.compile(pattern, timeout=None), replacement

    for name in ("STARTING_QUOTES", "PUNCTUATION", "ENDING_QUOTES"):
        setattr(tokenizer, name, [unlimited(rule) for rule in getattr(tokenizer, name)])
    for name in ("PARENS_BRACKETS", "DOUBLE_DASHES"):
        setattr(tokenizer, name, unlimited(getattr(tokenizer, name)))
    return tokenize
