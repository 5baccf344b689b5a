"""Tokenizers: from a text to its words.

Without ASCII punctuation NLTK's word tokenizer cuts only at white space, around Unicode's quotation
marks and dashes, and inside six contractions. `WordTokenizer` implements these rules itself,
because importing NLTK takes longer than tokenizing a data set. Text that keeps its punctuation goes
through NLTK.
"""

import functools
import re
import string
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeAlias, TypeGuard

from textrnn.errors import InvalidTypeError, InvalidValueError, expected, listing
from textrnn.text.normalization import normalize

__all__ = [
    "ENCODED_PUNCTUATION",
    "TOKENIZERS",
    "Tokenizer",
    "WordPunctTokenizer",
    "WordTokenizer",
    "describe_tokenizer",
    "is_known",
    "nltk_tokenizer",
    "space_contractions",
    "space_quotes",
]

ENCODED_PUNCTUATION = string.punctuation.encode()
_IN_ASCII = re.compile(r"\w+|[^\w\s\x1c-\x1f]+", re.ASCII)
_OPTIONS = ("lowercase", "remove_punctuation", "normalize")  # of a `WordTokenizer`
_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")
_QUOTES_AND_DASHES = re.compile("[\u00ab\u201c\u2018\u201e\u00bb\u201d\u2019\u2012-\u2015]")

# All are cut after three letters, and only between characters that are not part of a word.
_CONTRACTIONS = ("cannot", "gimme", "gonna", "gotta", "lemme", "wanna")
_END = dict.fromkeys(_CONTRACTIONS, r"(?!\w)") | {"wanna": r"(?!\S)"}
# A pattern that begins with plain letters is found fast, hence the look-behind after the word.
_IN_LOWER_CASE = {word: re.compile(rf"{word}(?<!\w{word}){_END[word]}") for word in _CONTRACTIONS}
_IN_ANY_CASE = re.compile(
    "|".join(rf"(?<!\w){word}{_END[word]}" for word in _CONTRACTIONS), re.IGNORECASE
)

Tokenizer: TypeAlias = Callable[[str], list[str]]
"""Any callable from a text to the list of its tokens. A custom one also has to normalize them."""


class WordTokenizer:
    r"""Split a text into lower-case words without punctuation, as NLTK does.

    The words are those of `nltk.word_tokenize(text, preserve_line=True)` after lower-casing the
    text and deleting every character of `string.punctuation`. This holds for every string,
    including very long texts and lone surrogates. A text without words gives an empty list. No
    download is needed, and NLTK is only imported if punctuation is kept.

    Like NLTK it takes texts as they are: "café" in composed and in decomposed characters (NFC and
    NFD) are two words, and a soft hyphen is part of a word. Set `normalize=True` for texts from
    several sources.

    Tokenizers are immutable; two with the same options are equal.

    Args:
        lowercase: Lower-case the text first. Default: True.
        remove_punctuation: Delete ASCII punctuation after lower-casing. If False, most texts go
            through NLTK, which is about a hundred times slower; `WordPunctTokenizer` is a fast
            tokenizer that keeps punctuation. Default: True.
        normalize: First normalize texts as `WordPunctTokenizer` does: NFC, without invisible
            characters. The words are then those of NLTK for the normalized text. Default: False.

    Raises:
        InvalidTypeError: If an option is not a boolean.

    Example:
        >>> tokenizer = WordTokenizer()
        >>> tokenizer("Oil prices can't soar, they cannot!")
        ['oil', 'prices', 'cant', 'soar', 'they', 'can', 'not']
        >>> WordTokenizer(remove_punctuation=False)("Oil prices can't soar!")
        ['oil', 'prices', 'ca', "n't", 'soar', '!']
        >>> WordTokenizer(normalize=True)("cafe\u0301 co\u00adop")
        ['café', 'coop']
    """

    def __init__(
        self, *, lowercase: bool = True, remove_punctuation: bool = True, normalize: bool = False
    ) -> None:
        options = (lowercase, remove_punctuation, normalize)
        for name, value in zip(_OPTIONS, options, strict=True):
            if not isinstance(value, bool):
                raise InvalidTypeError(expected(name, "a boolean", value))
        self._lowercase, self._remove_punctuation, self._normalize = options

    @property
    def lowercase(self) -> bool:
        """Whether texts are lower-cased."""
        return self._lowercase

    @property
    def remove_punctuation(self) -> bool:
        """Whether ASCII punctuation is deleted."""
        return self._remove_punctuation

    @property
    def normalize(self) -> bool:
        """Whether texts are normalized."""
        return self._normalize

    def __call__(self, text: str) -> list[str]:
        """Split a text into words.

        Args:
            text: Any string.

        Returns:
            The words in order. None of them is empty or contains white space.

        Raises:
            InvalidTypeError: If `text` is not a string.
        """
        if not isinstance(text, str):
            raise InvalidTypeError(expected("text", "a string", text))
        if self._normalize:
            text = normalize(text)
        if self._lowercase:
            text = text.lower()
        if self._remove_punctuation:
            # In UTF-8 only ASCII has bytes below 128, and deleting bytes is far faster than
            # str.translate.
            data = text.encode("utf-8", "surrogatepass").translate(None, ENCODED_PUNCTUATION)
            text = data.decode("utf-8", "surrogatepass")
        elif _PUNCTUATION.search(text):
            return nltk_tokenizer()(text)
        return space_contractions(space_quotes(text), lowercase=self._lowercase).split()

    def to_dict(self) -> dict[str, bool]:
        """Return the options as a dictionary for JSON.

        Returns:
            Each option's name and value.

        Example:
            >>> WordTokenizer(lowercase=False).to_dict()
            {'lowercase': False, 'remove_punctuation': True, 'normalize': False}
        """
        return {name: getattr(self, name) for name in _OPTIONS}

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """Build a tokenizer from the result of `to_dict`.

        Args:
            options: Each option's name and value.

        Returns:
            The tokenizer.

        Raises:
            InvalidTypeError: If `options` is not a mapping, or an option is not a boolean.
            InvalidValueError: If an option is missing or unknown.

        Example:
            >>> tokenizer = WordTokenizer(lowercase=False)
            >>> WordTokenizer.from_dict(tokenizer.to_dict()) == tokenizer
            True
        """
        _check_options(options, _OPTIONS)
        return cls(**options)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WordTokenizer):
            return NotImplemented
        return type(self) is type(other) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((type(self), *self.to_dict().values()))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.to_dict().items())
        return f"{type(self).__name__}({options})"


class WordPunctTokenizer:
    r"""Split a text into lower-case words and runs of punctuation.

    The rules are those of `nltk.wordpunct_tokenize`. A word is a run of letters (with their accents
    and vowel signs), digits and underscores. Any other run of characters between white space is a
    token too. So "well-known" has two words and a hyphen, and "great!!!" contains the word "great".

    Texts are normalized first, so that what looks the same is the same token. Accents are composed
    (Unicode's NFC). Characters that can't be seen are dropped: soft hyphens, zero-width spaces,
    byte order marks, marks of direction, variation selectors and the others that Unicode calls
    default-ignorable. Those that carry meaning stay: joiners (ZWJ, ZWNJ) in emoji, next to a virama
    in Indic scripts and between letters that join, as in Persian; tags in flags. A zero-width space
    in a script without blanks, such as Thai and Khmer, is a blank.

    Tokenizers are immutable; two with the same options are equal.

    Args:
        lowercase: Lower-case the text first. Default: True.

    Raises:
        InvalidTypeError: If an option is not a boolean.

    Example:
        >>> tokenizer = WordPunctTokenizer()
        >>> tokenizer("Oil prices can't soar!!!")
        ['oil', 'prices', 'can', "'", 't', 'soar', '!!!']
        >>> tokenizer("cafe\u0301 co\u00adop")
        ['café', 'coop']
    """

    def __init__(self, *, lowercase: bool = True) -> None:
        if not isinstance(lowercase, bool):
            raise InvalidTypeError(expected("lowercase", "a boolean", lowercase))
        self._lowercase = lowercase

    @property
    def lowercase(self) -> bool:
        """Whether texts are lower-cased."""
        return self._lowercase

    def __call__(self, text: str) -> list[str]:
        """Split a text into words and punctuation.

        Args:
            text: Any string.

        Returns:
            The tokens in order. None of them is empty or contains white space.

        Raises:
            InvalidTypeError: If `text` is not a string.
        """
        if not isinstance(text, str):
            raise InvalidTypeError(expected("text", "a string", text))
        text = normalize(text)
        if self._lowercase:
            text = text.lower()
        words = _IN_ASCII if text.isascii() else _in_any_script()
        tokens: list[str] = words.findall(text)
        return tokens

    def to_dict(self) -> dict[str, bool]:
        """Return the options as a dictionary for JSON.

        Returns:
            Each option's name and value.

        Example:
            >>> WordPunctTokenizer().to_dict()
            {'lowercase': True}
        """
        return {"lowercase": self._lowercase}

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Self:
        """Build a tokenizer from the result of `to_dict`.

        Args:
            options: Each option's name and value.

        Returns:
            The tokenizer.

        Raises:
            InvalidTypeError: If `options` is not a mapping, or an option is not a boolean.
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


TOKENIZERS = {kind.__name__: kind for kind in (WordPunctTokenizer, WordTokenizer)}


def is_known(tokenizer: Tokenizer) -> TypeGuard[WordPunctTokenizer | WordTokenizer]:
    """Return whether a tokenizer can be saved as JSON, which excludes subclasses."""
    return type(tokenizer) in TOKENIZERS.values()


def describe_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the type and options of a tokenizer for JSON; a custom one has only its name."""
    if is_known(tokenizer):
        return {"type": type(tokenizer).__name__, "options": tokenizer.to_dict()}
    name = getattr(tokenizer, "__qualname__", type(tokenizer).__qualname__)
    return {"type": "custom", "options": name}


@functools.cache
def _in_any_script() -> Any:
    """Return the pattern in which accents and vowel signs are part of a word."""
    import regex  # `re` splits the words of Hindi, Tamil or Thai at their vowel signs

    return regex.compile(r"\w+|(?:[^\w\s\x1c-\x1f]|\u200d)+")  # emoji are joined by U+200D


def space_quotes(text: str) -> str:
    """Put blanks around Unicode's quotation marks and dashes."""
    if text.isascii() or not _QUOTES_AND_DASHES.search(text):
        return text
    return _QUOTES_AND_DASHES.sub(r" \g<0> ", text)


def space_contractions(text: str, *, lowercase: bool) -> str:
    """Put blanks around and inside NLTK's contractions in a text without ASCII punctuation."""
    # Patterns that ignore case match these two as "i", which str.lower does not turn them into.
    dotless = not text.isascii() and ("\u0131" in text or "\u0130" in text)
    lowered = text if lowercase else text.lower()
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
    if dotless or not lowercase:
        return _IN_ANY_CASE.sub(lambda match: f" {match[0][:3]} {match[0][3:]} ", text)
    for word, pattern in _IN_LOWER_CASE.items():
        if word in text:
            text = pattern.sub(f" {word[:3]} {word[3:]} ", text)
    return text


@functools.cache
def nltk_tokenizer() -> Callable[[str], list[str]]:
    """Return NLTK's word tokenizer without the time limit of its patterns."""
    from nltk.tokenize.destructive import NLTKWordTokenizer

    tokenizer = NLTKWordTokenizer()
    tokenize: Callable[[str], list[str]] = tokenizer.tokenize
    try:
        from nltk import redos
    except ImportError:  # an NLTK without the limit
        return tokenize

    def unlimited(rule: tuple[Any, str]) -> tuple[Any, str]:
        pattern, replacement = rule
        return redos.compile(pattern, timeout=None), replacement

    for name in ("STARTING_QUOTES", "PUNCTUATION", "ENDING_QUOTES"):
        setattr(tokenizer, name, [unlimited(rule) for rule in getattr(tokenizer, name)])
    for name in ("PARENS_BRACKETS", "DOUBLE_DASHES"):
        setattr(tokenizer, name, unlimited(getattr(tokenizer, name)))
    return tokenize


def _check_options(options: object, names: tuple[str, ...]) -> None:
    """Raise an error unless `options` is a mapping with exactly these keys."""
    if not isinstance(options, Mapping):
        raise InvalidTypeError(expected("options", "a mapping", options))
    if set(options) != set(names):
        raise InvalidValueError(
            f"Expected `options` to have the keys {listing(names)}, but got {listing(options)}."
        )
