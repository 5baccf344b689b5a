"""Give texts that look the same the same characters.

Accented letters are composed (Unicode's NFC), and invisible characters are dropped: soft hyphens,
zero-width spaces, byte order marks, marks of direction and variation selectors. Characters that
change the appearance of a text stay, or become what they mean.
"""

import functools
import re
import unicodedata
from typing import Any

__all__ = ["compose", "is_plain", "normalize"]

# Characters other than letters, digits and signs that are written between spaces, composed and
# visible: Latin, Greek, Cyrillic, Hebrew, Arabic and Hangul without marks, and their punctuation.
_NOT_PLAIN = re.compile(
    "[^\x00-\xac\xae-\xb1\xb4-\xb8\xba\xbb\xbf-\u02af\u0388-\u038a\u038e-\u03a1\u03a3-\u0482"
    "\u048a-\u052f\u05d0-\u05ea\u060c\u061b\u061f-\u064a\u0660-\u066f\u0671-\u06d5\u1e00-\u1eff"
    "\u2010-\u2027\u202f-\u203e\u20a0-\u20bf\u2116\u2122\uac00-\ud7a3]"
)

_JOINERS = r"\u200c\u200d"  # ZWNJ and ZWJ
_TAGS = r"\U000e0020-\U000e007f"
# Where joiners and tags are visible, by Unicode's rules for identifiers (UAX #31) and emoji. Each
# rule begins with the character, so that long looks back are rare and the time stays linear.
_VISIBLE = (
    r"\u200d(?<=[\p{ExtPict}\p{EMod}].)(?=\p{ExtPict})",  # in a family or a profession
    rf"[{_TAGS}](?<=\U0001f3f4[{_TAGS}]{{1,16}})",  # in the flag of a region
    r"\u200d(?<=\p{ccc=9}.)|\u200d(?=\p{ccc=9})",  # next to a virama, in Indic scripts
    r"\u200c(?<=\p{ccc=9}.)(?=\u200c*\p{L})",  # after a virama, before a letter
    # Between letters that join, as in Persian.
    r"\u200c(?<=[\p{jt=D}\p{jt=L}]\p{jt=T}*.)(?=[\u200c\p{jt=T}]*[\p{jt=R}\p{jt=D}])",
)


def normalize(text: str) -> str:
    """Compose a text's accents (NFC), and drop invisible characters that carry no meaning."""
    if is_plain(text):
        return text
    text = compose(text)
    _, invisible, rules = _patterns()
    if not invisible.search(text):
        return text
    for pattern, replacement in rules:
        # Without what was between them, a letter and its accent compose.
        text = compose(pattern.sub(replacement, text))
    return text


def is_plain(text: str) -> bool:
    """Return whether a text is sure to be normal, and to have only words that `re` can find."""
    return text.isascii() or not _NOT_PLAIN.search(text)


def compose(text: str) -> str:
    """Compose a text's accents (NFC), with at most 30 on a letter."""
    if text.isascii():
        return text
    # No language has more (UAX #15), and the time to sort them grows with their square.
    stacked, *_ = _patterns()
    return unicodedata.normalize("NFC", stacked.sub(r"\1", text))


@functools.cache
def _patterns() -> tuple[Any, Any, tuple[tuple[Any, str], ...]]:
    """Return patterns for stacks of marks and for invisible characters, and the replacements."""
    import regex  # `re` does not know Unicode's properties

    rules = (
        # Scripts without blanks, such as Thai and Khmer, divide words by zero-width spaces.
        (r"(?<=\p{lb=SA})\u200b|\u200b(?=\p{lb=SA})", " "),
        (rf"(?![{_JOINERS}{_TAGS}])\p{{DI}}", ""),
        (rf"(?!{'|'.join(_VISIBLE)})[{_JOINERS}{_TAGS}]", ""),
    )
    return (
        regex.compile(r"(\P{ccc=0}{30})\P{ccc=0}+"),
        regex.compile(r"\p{DI}"),
        tuple((regex.compile(pattern), replacement) for pattern, replacement in rules),
    )
