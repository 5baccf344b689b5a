"""From a text to its words."""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeAlias

from textrnn.errors import InvalidTypeError, InvalidValueError, expected, listing
from textrnn.text._splitting import (
    has_punctuation,
    nltk_tokenizer,
    remove_punctuation,
    space_contractions,
    space_quotes,
)

__all__ = ["Tokenizer", "WordPunctTokenizer", "WordTokenizer"]

_WORD_OR_PUNCTUATION = r"\w+|[^\w\s\x1c-\x1f]+"
_IN_ASCII = re.compile(_WORD_OR_PUNCTUATION)

Tokenizer: TypeAlias = Callable[[str], list[str]]
"""What cuts a text into tokens: any callable from a string to a list of strings."""


class WordTokenizer:
    """Cut a text into lower-case words without punctuation, as NLTK finds them.

    The words are those of ``nltk.word_tokenize(text, preserve_line=True)``, for every string, after
    the text was lower-cased and every character of `string.punctuation` was deleted. Nothing needs
    to be downloaded, and without punctuation NLTK is not even loaded. Texts of any length and lone
    surrogates are fine; a text without words gives an empty list.

    A tokenizer can't be changed; two with the same options are equal.

    Args:
        lowercase: Whether to lower-case the text first (default: True).
        remove_punctuation: Whether to delete ASCII punctuation, after lower-casing (default: True).
            Punctuation that is kept makes most texts go through NLTK, a hundred times slower; see
            `WordPunctTokenizer` for words and punctuation at a good speed.

    Raises:
        InvalidTypeError: If an option is not a boolean.

    Example:
        >>> tokenizer = WordTokenizer()
        >>> tokenizer("Oil prices can't soar, they cannot!")
        ['oil', 'prices', 'cant', 'soar', 'they', 'can', 'not']
        >>> WordTokenizer(remove_punctuation=False)("Oil prices can't soar!")
        ['oil', 'prices', 'ca', "n't", 'soar', '!']
    """

    __slots__ = ("_lowercase", "_remove_punctuation")

    def __init__(self, *, lowercase: bool = True, remove_punctuation: bool = True) -> None:
        for name, value in (("lowercase", lowercase), ("remove_punctuation", remove_punctuation)):
            if not isinstance(value, bool):
                raise InvalidTypeError(expected(name, "a boolean", value))
        self._lowercase = lowercase
        self._remove_punctuation = remove_punctuation

    @property
    def lowercase(self) -> bool:
        """Whether texts are lower-cased."""
        return self._lowercase

    @property
    def remove_punctuation(self) -> bool:
        """Whether ASCII punctuation is deleted."""
        return self._remove_punctuation

    def __call__(self, text: str) -> list[str]:
        """Return the words of `text`.

        Args:
            text: Any string.

        Returns:
            The words in their order; none is empty or holds white space.

        Raises:
            InvalidTypeError: If `text` is not a string.
        """
        if not isinstance(text, str):
            raise InvalidTypeError(expected("text", "a string", text))
        if self._lowercase:
            text = text.lower()
        if self._remove_punctuation:
            text = remove_punctuation(text)
        elif has_punctuation(text):
            return nltk_tokenizer()(text)
        return space_contractions(space_quotes(text), lower_case=self._lowercase).split()

    def to_dict(self) -> dict[str, bool]:
        """Return the options, ready for JSON.

        Example:
            >>> WordTokenizer(lowercase=False).to_dict()
            {'lowercase': False, 'remove_punctuation': True}
        """
        return {"lowercase": self._lowercase, "remove_punctuation": self._remove_punctuation}

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """Return the tokenizer that `to_dict` described.

        Args:
            options: What `to_dict` returned.

        Raises:
            InvalidTypeError: If `options` is no mapping or an option is not a boolean.
            InvalidValueError: If an option is missing or unknown.

        Example:
            >>> WordTokenizer.from_dict({"lowercase": False, "remove_punctuation": True})
            WordTokenizer(lowercase=False, remove_punctuation=True)
        """
        _check_options(options, ("lowercase", "remove_punctuation"))
        return cls(**options)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WordTokenizer):
            return NotImplemented
        return type(self) is type(other) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((type(self), self._lowercase, self._remove_punctuation))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(lowercase={self._lowercase}, "
            f"remove_punctuation={self._remove_punctuation})"
        )


class WordPunctTokenizer:
    """Cut a text into lower-case words and runs of punctuation.

    A word is a run of letters with their accents and vowel signs, digits and underscores; what
    stands between words and is not white space is a token as well. So "well-known" has two words,
    and "great!!!" is not another word than "great". That is how ``nltk.wordpunct_tokenize`` cuts.

    A tokenizer can't be changed; two with the same options are equal.

    Args:
        lowercase: Whether to lower-case the text first (default: True).

    Raises:
        InvalidTypeError: If an option is not a boolean.

    Example:
        >>> tokenizer = WordPunctTokenizer()
        >>> tokenizer("Oil prices can't soar!!!")
        ['oil', 'prices', 'can', "'", 't', 'soar', '!!!']
    """

    __slots__ = ("_lowercase",)

    def __init__(self, *, lowercase: bool = True) -> None:
        if not isinstance(lowercase, bool):
            raise InvalidTypeError(expected("lowercase", "a boolean", lowercase))
        self._lowercase = lowercase

    @property
    def lowercase(self) -> bool:
        """Whether texts are lower-cased."""
        return self._lowercase

    def __call__(self, text: str) -> list[str]:
        """Return the words and the punctuation of `text`.

        Args:
            text: Any string.

        Returns:
            The tokens in their order; none is empty or holds white space.

        Raises:
            InvalidTypeError: If `text` is not a string.
        """
        if not isinstance(text, str):
            raise InvalidTypeError(expected("text", "a string", text))
        if self._lowercase:
            text = text.lower()
        words = _IN_ASCII if text.isascii() else _in_any_script()
        tokens: list[str] = words.findall(text)
        return tokens

    def to_dict(self) -> dict[str, bool]:
        """Return the options, ready for JSON.

        Example:
            >>> WordPunctTokenizer().to_dict()
            {'lowercase': True}
        """
        return {"lowercase": self._lowercase}

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """Return the tokenizer that `to_dict` described.

        Args:
            options: What `to_dict` returned.

        Raises:
            InvalidTypeError: If `options` is no mapping or an option is not a boolean.
            InvalidValueError: If an option is missing or unknown.

        Example:
            >>> WordPunctTokenizer.from_dict({"lowercase": False})
            WordPunctTokenizer(lowercase=False)
        """
        _check_options(options, ("lowercase",))
        return cls(**options)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WordPunctTokenizer):
            return NotImplemented
        return type(self) is type(other) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((type(self), self._lowercase))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(lowercase={self._lowercase})"


@functools.cache
def _in_any_script() -> Any:
    """Return the pattern with Unicode's idea of a word, to which accents and vowel signs belong."""
    import regex  # `re` cuts the words of Hindi, Tamil or Thai at their vowel signs

    return regex.compile(_WORD_OR_PUNCTUATION)


def _check_options(options: object, names: tuple[str, ...]) -> None:
    """Refuse what is no mapping with exactly these keys."""
    if not isinstance(options, Mapping):
        raise InvalidTypeError(expected("options", "a mapping", options))
    if set(options) != set(names):
        raise InvalidValueError(
            f"Expected `options` to have the keys {listing(names)}, but got {listing(options)}."
        )
