"""Cut emoji, and text of scripts that are written without spaces, into characters.

A character is one as readers see it: a letter with its accents and vowel signs, or an emoji with
its skin tone, joined parts or region.
"""

import functools
import re
from typing import Any

__all__ = ["any_characters", "words_and_characters"]

# All text that needs the slower pattern, and some that does not; found at the speed of C.
_CANDIDATES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u1aff\u20e3\u21a9-\uabff\uf900-\uffff\U00010000-\U0010ffff]"
)
_JOINERS = r"\u200c\u200d"  # ZWNJ and ZWJ
# Letters of Chinese, Japanese, Thai, Lao, Khmer, Myanmar and related scripts (lb=SA), no digits.
_UNSPACED = r"[[\p{lb=SA}\p{scx=Hani}\p{scx=Hira}\p{scx=Kana}\p{scx=Bopo}]&&\w--\p{Nd}]"
# Marks, two vowel signs that are letters to Unicode, marks of half-width Katakana, and letters that
# are written below the one before.
_TAIL = rf"(?:[\p{{M}}{_JOINERS}\u0e33\u0eb3\uff9e\uff9f]|(?<=[\u1039\u17d2\u1a60])\p{{L}})*"
# Signs that are older than emoji, such as "(c)" and arrows, stay in runs of punctuation.
_PICTURE = r"[\p{ExtPict}--[\w\u00a9-\u2199]]"
_EMOJI = (
    r"\U0001f3f4[\U000e0020-\U000e007f]+"  # the flag of a region
    r"|\p{RI}{1,2}"  # that of a country
    r"|[0-9#*]\u20e3"  # a keycap
    rf"|(?:{_PICTURE}\p{{EMod}}?|\p{{EMod}}|\p{{ExtPict}}(?=\u200d))(?:\u200d\p{{ExtPict}}\p{{EMod}}?)*"
)


def words_and_characters(text: str) -> list[str]:
    """Return the words, runs of punctuation, emoji and characters of scripts without spaces."""
    with_marks, all_kinds = _patterns()
    found: list[str] = (all_kinds if _CANDIDATES.search(text) else with_marks).findall(text)
    return found


@functools.cache
def _patterns() -> tuple[Any, Any]:
    """Return the pattern of words and punctuation, and that which also finds single characters."""
    import regex  # `re` splits the words of Hindi or Tamil at their vowel signs

    joined = rf"[{_JOINERS}]{{0,2}}{_UNSPACED}"
    word = rf"(?:(?!{joined}|\p{{ExtPict}}\u200d)\w)+"
    emoji = rf"{_PICTURE}|[\p{{RI}}\p{{EMod}}]|\p{{ExtPict}}\u200d"
    sign = r"(?:[^\w\s\x1c-\x1f]|\u200d)"  # emoji are joined by U+200D
    return (
        regex.compile(rf"\w+|{sign}+"),
        regex.compile(rf"{_EMOJI}|{joined}{_TAIL}|{word}|(?:(?!{emoji}){sign})+", regex.VERSION1),
    )


@functools.cache
def any_characters() -> Any:
    """Return the pattern of single characters of all scripts, and of white space between them."""
    import regex

    space = r"[\s\x1c-\x1f]"
    return regex.compile(
        rf"{space}+|{_EMOJI}|[{_JOINERS}]{{0,2}}[^\s\x1c-\x1f]{_TAIL}", regex.VERSION1
    )
