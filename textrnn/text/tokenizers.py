"""Tokenizers: from a text to its words.

Without ASCII punctuation NLTK's word tokenizer cuts only at white space, around Unicode's quotation
marks and dashes, and inside six contractions. `WordTokenizer` implements these rules itself,
because importing NLTK takes longer than tokenizing a data set. Text that keeps its punctuation goes
through NLTK.

Scripts without spaces have a token for each character in `WordPunctTokenizer`; `WordTokenizer`
leaves them as NLTK does.
"""

import functools
import re
import string
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeAlias, TypeGuard

from textrnn.errors import InvalidTypeError, InvalidValueError, check_choice, expected, listing
from textrnn.text.characters import any_characters, words_and_characters
from textrnn.text.normalization import is_plain, normalize

__all__ = [
    "ENCODED_PUNCTUATION",
    "NAMES",
    "TOKENIZERS",
    "CharTokenizer",
    "Tokenizer",
    "WordPunctTokenizer",
    "WordTokenizer",
    "describe_tokenizer",
    "is_known",
    "named_tokenizer",
    "nltk_tokenizer",
    "space_contractions",
    "space_quotes",
]

ENCODED_PUNCTUATION = string.punctuation.encode()
_PLAIN = re.compile(r"\w+|[^\w\s\x1c-\x1f]+")
_IN_ASCII = re.compile(_PLAIN.pattern, re.ASCII)
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


class _Options:
    """A tokenizer with immutable options, all of them booleans; one of them is `lowercase`."""

    def __init__(self, **options: bool) -> None:
        for name, value in options.items():
            if not isinstance(value, bool):
                raise InvalidTypeError(expected(name, "a boolean", value))
        self._options = options

    @property
    def lowercase(self) -> bool:
        """Whether texts are lower-cased."""
        return self._options["lowercase"]

    def to_dict(self) -> dict[str, bool]:
        """Return the options as a dictionary for JSON.

        Returns:
            Each option's name and value.

        Example:
            >>> WordTokenizer(lowercase=False).to_dict()
            {'lowercase': False, 'remove_punctuation': True, 'normalize': False}
        """
        return dict(self._options)

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
        if not isinstance(options, Mapping):
            raise InvalidTypeError(expected("options", "a mapping", options))
        names = cls().to_dict()
        if set(options) != set(names):
            raise InvalidValueError(
                f"Expected `options` to have the keys {listing(names)}, but got {listing(options)}."
            )
        return cls(**options)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Options):
            return NotImplemented
        return type(self) is type(other) and self._options == other._options

    def __hash__(self) -> int:
        return hash((type(self), *self._options.values()))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self._options.items())
        return f"{type(self).__name__}({options})"


class WordTokenizer(_Options):
    r"""Split a text into lower-case words without punctuation, as NLTK does.

    The words are those of `nltk.word_tokenize(text, preserve_line=True)` after lower-casing the
    text and deleting every character of `string.punctuation`. This holds for every string,
    including very long texts and lone surrogates. A text without words gives an empty list. No
    download is needed, and NLTK is only imported if punctuation is kept.

    Like NLTK it takes texts as they are: "café" in composed and in decomposed characters (NFC and
    NFD) are two words, and a soft hyphen is part of a word. Set `normalize=True` for texts from
    several sources. Text without spaces, such as Chinese, stays in one piece: use
    `WordPunctTokenizer` there.

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
        super().__init__(
            lowercase=lowercase, remove_punctuation=remove_punctuation, normalize=normalize
        )

    @property
    def remove_punctuation(self) -> bool:
        """Whether ASCII punctuation is deleted."""
        return self._options["remove_punctuation"]

    @property
    def normalize(self) -> bool:
        """Whether texts are normalized."""
        return self._options["normalize"]

    def __call__(self, text: str) -> list[str]:
        """Split a text into words.

        Args:
            text: Any string.

        Returns:
            The words in order. None of them is empty or contains white space.

        Raises:
            InvalidTypeError: If `text` is not a string.
        """
        options = self._options
        text = normalize(_checked(text)) if options["normalize"] else _checked(text)
        if options["lowercase"]:
            text = text.lower()
        if options["remove_punctuation"]:
            # In UTF-8 only ASCII has bytes below 128, and deleting bytes is far faster than
            # str.translate.
            data = text.encode("utf-8", "surrogatepass").translate(None, ENCODED_PUNCTUATION)
            text = data.decode("utf-8", "surrogatepass")
        elif _PUNCTUATION.search(text):
            return nltk_tokenizer()(text)
        return space_contractions(space_quotes(text), lowercase=options["lowercase"]).split()


class WordPunctTokenizer(_Options):
    r"""Split a text into lower-case words and runs of punctuation.

    The rules are those of `nltk.wordpunct_tokenize`. A word is a run of letters (with their accents
    and vowel signs), digits and underscores. Any other run of characters between white space is a
    token too. So "well-known" has two words and a hyphen, and "great!!!" contains the word "great".

    Scripts without spaces between words have a token for each character, with its marks: Chinese
    (Han and Bopomofo), Japanese (also Hiragana and Katakana), Thai, Lao, Khmer, Myanmar and their
    relatives. N-grams of these tokens take the place of words. Each emoji is a token as well, with
    its skin tone and joined parts, and so is a flag.

    Texts are normalized first, so that texts that look the same have the same tokens. Accents are
    composed (Unicode's NFC). Invisible characters are dropped: soft hyphens, zero-width spaces,
    byte order marks, marks of direction, variation selectors and the others that Unicode calls
    default-ignorable. Meaningful ones stay: joiners (ZWJ, ZWNJ) in emoji, next to a virama
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
        >>> tokenizer("iPhone很好!!👍🏽👍")
        ['iphone', '很', '好', '!!', '👍🏽', '👍']
    """

    def __init__(self, *, lowercase: bool = True) -> None:
        super().__init__(lowercase=lowercase)

    def __call__(self, text: str) -> list[str]:
        """Split a text into words and punctuation.

        Args:
            text: Any string.

        Returns:
            The tokens in order. None of them is empty or contains white space.

        Raises:
            InvalidTypeError: If `text` is not a string.
        """
        if not _checked(text).isascii():
            text = normalize(text)
        if self._options["lowercase"]:
            text = text.lower()
        if text.isascii():
            return _IN_ASCII.findall(text)
        return _PLAIN.findall(text) if is_plain(text) else words_and_characters(text)


class CharTokenizer(_Options):
    r"""Split a text into lower-case characters.

    A character is a letter with its accents and vowel signs, a digit or a sign; emoji are as in
    `WordPunctTokenizer`, and texts are normalized in the same way. White space between characters
    is one blank, a token too, since it divides words.

    Tokenizers are immutable; two with the same options are equal.

    Args:
        lowercase: Lower-case the text first. Default: True.

    Raises:
        InvalidTypeError: If an option is not a boolean.

    Example:
        >>> CharTokenizer()("Go  now!")
        ['g', 'o', ' ', 'n', 'o', 'w', '!']
        >>> CharTokenizer()("น้ำแข็ง")
        ['น้ำ', 'แ', 'ข็', 'ง']
    """

    def __init__(self, *, lowercase: bool = True) -> None:
        super().__init__(lowercase=lowercase)

    def __call__(self, text: str) -> list[str]:
        """Split a text into characters.

        Args:
            text: Any string.

        Returns:
            The characters in order, and a blank for white space between them.

        Raises:
            InvalidTypeError: If `text` is not a string.
        """
        text = normalize(_checked(text))
        text = " ".join((text.lower() if self.lowercase else text).split())
        characters: list[str] = list(text) if text.isascii() else any_characters().findall(text)
        return characters


TOKENIZERS = {kind.__name__: kind for kind in (CharTokenizer, WordPunctTokenizer, WordTokenizer)}
NAMES: dict[str, Tokenizer] = {
    "word": WordTokenizer(),
    "wordpunct": WordPunctTokenizer(),
    "char": CharTokenizer(),
}
"""The tokenizers that options name."""


def is_known(tokenizer: Tokenizer) -> TypeGuard[CharTokenizer | WordPunctTokenizer | WordTokenizer]:
    """Return whether a tokenizer can be saved as JSON, which excludes subclasses."""
    return type(tokenizer) in TOKENIZERS.values()


def named_tokenizer(tokenizer: str | Tokenizer) -> Tokenizer:
    """Return the tokenizer of a name; any other is returned as it is."""
    if isinstance(tokenizer, str):
        return NAMES[check_choice("tokenizer", tokenizer, NAMES)]
    return tokenizer


def describe_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the type and options of a tokenizer for JSON; a custom one has only its name."""
    if is_known(tokenizer):
        return {"type": type(tokenizer).__name__, "options": tokenizer.to_dict()}
    name = getattr(tokenizer, "__qualname__", type(tokenizer).__qualname__)
    return {"type": "custom", "options": name}


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


def _checked(text: object) -> str:
    """Return a text, or raise an error if it is not a string."""
    if not isinstance(text, str):
        raise InvalidTypeError(expected("text", "a string", text))
    return text
