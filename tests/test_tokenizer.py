"""Words as NLTK finds them, for every string and every option."""

import pickle
import string
import subprocess
import sys
import unicodedata
from itertools import groupby, islice
from pathlib import Path

import nltk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.tokenize import NLTKWordTokenizer, word_tokenize, wordpunct_tokenize

from tests import strategies
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.text import WordPunctTokenizer, WordTokenizer, _splitting

PUNCTUATION = str.maketrans("", "", string.punctuation)
OPTIONS = st.fixed_dictionaries({"lowercase": st.booleans(), "remove_punctuation": st.booleans()})


def reference(text, *, lowercase=True, remove_punctuation=True):
    """Prepare a text step by step and let NLTK cut it."""
    if lowercase:
        text = text.lower()
    if remove_punctuation:
        text = text.translate(PUNCTUATION)
    return word_tokenize(text, preserve_line=True)


@settings(max_examples=500)
@given(text=strategies.texts(), options=OPTIONS)
def test_tokens_are_those_of_nltk(text, options):
    """Any Unicode text gives what NLTK gives after lower-casing and deleting punctuation."""
    assert WordTokenizer(**options)(text) == reference(text, **options)


@given(text=strategies.texts())
def test_tokens_joined_by_spaces_are_cut_the_same_again(text):
    """What was cut once has nothing left to be cut, lower-cased or deleted."""
    tokens = WordTokenizer()(text)
    assert WordTokenizer()(" ".join(tokens)) == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        (" \t\u3000\x85\n", []),
        ("?!... --", []),
        ("Oil prices soar, again!", ["oil", "prices", "soar", "again"]),
        ("It's a can't-do", ["its", "a", "cantdo"]),
        ("He CANNOT; I wanna.", ["he", "can", "not", "i", "wan", "na"]),
        ("cannots wannabe", ["cannots", "wannabe"]),
        ("\u201cgotta\u201d \u2014 go", ["\u201c", "got", "ta", "\u201d", "\u2014", "go"]),
        ("wanna\u20ac cannot\u20ac", ["wanna\u20ac", "can", "not", "\u20ac"]),
        ("\ud83d!\ude00", ["\ud83d\ude00"]),
        ("\u039f\u0394\u039f\u03a3!", ["\u03bf\u03b4\u03bf\u03c2"]),
    ],
)
def test_typical_and_odd_texts(text, tokens):
    """The words of some texts that a person can check."""
    assert WordTokenizer()(text) == tokens


def test_options_keep_case_and_punctuation():
    """Each option alone and both together do what their names say."""
    text = "GM can't!"
    assert WordTokenizer(lowercase=False)(text) == ["GM", "cant"]
    assert WordTokenizer(remove_punctuation=False)(text) == ["gm", "ca", "n't", "!"]
    both = WordTokenizer(lowercase=False, remove_punctuation=False)
    assert both(text) == ["GM", "ca", "n't", "!"]


@pytest.mark.slow
@pytest.mark.parametrize("lowercase", [True, False])
def test_every_code_point_is_cut_as_nltk_does(lowercase):
    """Each character that there is, beside contractions and in place of a letter of one."""
    characters = map(chr, range(sys.maxunicode + 1))
    known = (c for c in characters if unicodedata.category(c) not in {"Cn", "Co"})
    text = " ".join(f"gotta{character}wanna g{character}mme" for character in known)
    # NLTK takes longer for all of them than it grants its patterns.
    prepared = (text.lower() if lowercase else text).translate(PUNCTUATION)
    expected = _splitting.nltk_tokenizer()(prepared)
    # Comparing in a variable: explaining how two such lists differ would take pytest minutes.
    equal = WordTokenizer(lowercase=lowercase)(text) == expected
    assert equal


def test_ten_million_characters_are_cut():
    """A very long text is only longer, quotation marks and contractions included."""
    words = ["oil", "\u201c", "prices", "\u201d", "can", "not", "soar"]
    tokens = WordTokenizer()("Oil \u201cprices\u201d cannot soar! " * 400_000)
    assert len(tokens) == 400_000 * len(words)
    assert all(tokens[start :: len(words)] == [word] * 400_000 for start, word in enumerate(words))


def test_nltk_gets_as_long_as_it_takes(monkeypatch):
    """The seconds that NLTK grants a pattern don't end the cutting of a long text."""
    redos = pytest.importorskip("nltk.redos")
    monkeypatch.setattr(redos, "DEFAULT_TIMEOUT", 1e-9)
    text = "oil, 'gas' " * 10_000
    with pytest.raises(TimeoutError):
        NLTKWordTokenizer().tokenize(text)
    tokens = WordTokenizer(remove_punctuation=False)(text)
    assert tokens == ["oil", ",", "'", "gas", "'"] * 10_000


def test_an_nltk_without_such_limits_serves_as_well(monkeypatch):
    """Older releases have no time limit that would need lifting."""
    monkeypatch.delattr(nltk, "redos", raising=False)
    monkeypatch.setitem(sys.modules, "nltk.redos", None)
    tokenize = _splitting.nltk_tokenizer.__wrapped__()
    assert tokenize("oil, 'gas'") == ["oil", ",", "'", "gas", "'"]


def test_words_without_punctuation_need_no_nltk():
    """Neither the import nor the default options load NLTK, which would take seconds."""
    program = (
        "import sys, textrnn.text as text\n"
        "text.WordTokenizer()('They \u201ccannot\u201d, she said')\n"
        "assert 'nltk' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-X", "utf8", "-c", program], check=True)  # noqa: S603 - our own


@pytest.mark.parametrize("text", [None, 3, b"oil", ["oil"], float("nan")])
def test_only_strings_are_cut(text):
    """Anything but a string is refused by name."""
    with pytest.raises(InvalidTypeError, match=r"Expected `text` to be a string, but got"):
        WordTokenizer()(text)


@pytest.mark.parametrize("name", ["lowercase", "remove_punctuation"])
def test_options_must_be_booleans(name):
    """A number or a string does not pass as an option."""
    with pytest.raises(InvalidTypeError, match=f"Expected `{name}` to be a boolean, but got 1"):
        WordTokenizer(**{name: 1})


@given(options=OPTIONS, others=OPTIONS)
def test_tokenizers_are_equal_by_their_options(options, others):
    """Equality, hash, dictionary, repr and pickle all follow the options."""
    tokenizer = WordTokenizer(**options)
    assert (tokenizer == WordTokenizer(**others)) == (options == others)
    assert hash(tokenizer) == hash(WordTokenizer(**options))
    assert tokenizer.to_dict() == options
    assert WordTokenizer.from_dict(options) == tokenizer
    assert eval(repr(tokenizer)) == tokenizer  # noqa: S307 - that is what such a repr promises
    assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer  # noqa: S301 - our own bytes
    assert tokenizer.lowercase == options["lowercase"]
    assert tokenizer.remove_punctuation == options["remove_punctuation"]


def test_a_subclass_or_another_object_is_another_tokenizer():
    """What cuts differently never compares equal."""

    class Reversed(WordTokenizer):
        """A tokenizer that gives the words backwards."""

        def __call__(self, text: str) -> list[str]:
            return super().__call__(text)[::-1]

    assert Reversed() != WordTokenizer()
    assert WordTokenizer() != str.split
    assert repr(Reversed()).startswith("Reversed(")


def test_options_can_not_be_changed():
    """A tokenizer stays what it was when it was made."""
    with pytest.raises(AttributeError):
        WordTokenizer().lowercase = False


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ([], InvalidTypeError, r"Expected `options` to be a mapping, but got \[\]"),
        ({"lowercase": True}, InvalidValueError, "keys 'lowercase', 'remove_punctuation', but got"),
        (
            {"lowercase": True, "remove_punctuation": True, "language": "en"},
            InvalidValueError,
            "but got 'language', 'lowercase', 'remove_punctuation'",
        ),
        (
            {"lowercase": "yes", "remove_punctuation": True},
            InvalidTypeError,
            "Expected `lowercase` to be a boolean, but got 'yes'",
        ),
    ],
)
def test_wrong_options_are_named(options, error, message):
    """A dictionary from elsewhere is checked key by key."""
    with pytest.raises(error, match=message):
        WordTokenizer.from_dict(options)


def _column(path: Path):
    from pyarrow import parquet

    return parquet.read_table(path, columns=["text"])["text"].to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize("part", ["train", "test"])
def test_all_of_ag_news_is_cut_as_nltk_does(data_dir, part):
    """Every text gives NLTK's tokens."""
    tokenizer = WordTokenizer()
    for text in _column(data_dir / "ag_news" / f"{part}.parquet"):
        assert tokenizer(text) == reference(text)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["train", "test", "unsup"])
def test_all_of_imdb_is_cut_as_nltk_does(data_dir, part):
    """Every review gives NLTK's tokens; one in fifty is cut by NLTK as a whole.

    As NLTK takes minutes for all reviews, it cuts each different piece between white space once.
    Without punctuation no rule of its looks further than that.
    """
    tokenizer = WordTokenizer()
    reviews = _column(data_dir / "imdb" / f"{part}.parquet")
    cleaned = [review.lower().translate(PUNCTUATION) for review in reviews]
    pieces = list({piece for text in cleaned for piece in text.split()})
    tokens = _splitting.nltk_tokenizer()(" \x00 ".join(pieces))
    groups = [list(group) for is_end, group in groupby(tokens, "\x00".__eq__) if not is_end]
    words = dict(zip(pieces, groups, strict=True))
    for review, text in zip(reviews, cleaned, strict=True):
        assert tokenizer(review) == [word for piece in text.split() for word in words[piece]]
    for review in islice(reviews, 0, None, 50):
        assert tokenizer(review) == reference(review)


@settings(max_examples=300)
@given(text=strategies.texts(), lowercase=st.booleans())
def test_words_and_punctuation_are_those_of_nltk(text, lowercase):
    """Any Unicode text gives what NLTK's tokenizer of that name gives."""
    # Four control characters are white space to Python, but not to all of NLTK, which has also
    # come to count accents as parts of words.
    text = text.translate(dict.fromkeys(range(0x1C, 0x20)))
    text = "".join(c for c in unicodedata.normalize("NFC", text) if not unicodedata.combining(c))
    found = WordPunctTokenizer(lowercase=lowercase)(text)
    assert found == wordpunct_tokenize(text.lower() if lowercase else text)


def test_words_of_every_script_stay_whole():
    """Accents and vowel signs belong to the word, control characters to none."""
    words = ["\u0939\u093f\u0928\u094d\u0926\u0940", "e\u0301te\u0301", "straße", "東京"]
    assert WordPunctTokenizer()("\x1c".join(words) + "\x1f!") == [*words, "!"]
    assert WordPunctTokenizer()("a\x1cb\x1d") == ["a", "b"]


def test_words_and_punctuation_are_tokens_of_their_own():
    """What touches in the text is apart in the tokens."""
    assert WordPunctTokenizer()("A well-known, GREAT film!!!") == [
        *("a", "well", "-", "known", ",", "great", "film", "!!!")
    ]
    assert WordPunctTokenizer(lowercase=False)("It's _so_") == ["It", "'", "s", "_so_"]


def test_a_tokenizer_of_words_and_punctuation_is_a_value():
    """It equals those with its option, describes itself and can't be changed."""
    tokenizer = WordPunctTokenizer(lowercase=False)
    assert tokenizer == WordPunctTokenizer.from_dict(tokenizer.to_dict())
    assert tokenizer == eval(repr(tokenizer))  # noqa: S307 - that this works is the promise
    assert tokenizer == pickle.loads(pickle.dumps(tokenizer))  # noqa: S301 - its own
    assert hash(tokenizer) == hash(WordPunctTokenizer(lowercase=False))
    assert tokenizer != WordPunctTokenizer()
    assert tokenizer != WordTokenizer(lowercase=False)
    assert WordPunctTokenizer().lowercase
    with pytest.raises(AttributeError):
        tokenizer.lowercase = True


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: WordPunctTokenizer(lowercase=1), InvalidTypeError, "`lowercase` to be a boolean"),
        (lambda: WordPunctTokenizer()(b"oil"), InvalidTypeError, "`text` to be a string"),
        (lambda: WordPunctTokenizer.from_dict([]), InvalidTypeError, "`options` to be a mapping"),
        (
            lambda: WordPunctTokenizer.from_dict({"case": True}),
            InvalidValueError,
            "`options` to have the keys 'lowercase', but got 'case'",
        ),
    ],
)
def test_what_no_tokenizer_of_words_and_punctuation_takes(call, error, message):
    """The argument is named."""
    with pytest.raises(error, match=message):
        call()
