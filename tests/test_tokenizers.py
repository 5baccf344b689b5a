"""Tokenizers equal NLTK's where words have spaces between them, and cut all other scripts."""

import pickle
import re
import string
import subprocess
import sys
import unicodedata
from itertools import groupby, islice
from pathlib import Path

import nltk
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.tokenize import NLTKWordTokenizer, word_tokenize, wordpunct_tokenize

from tests import strategies
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.text import CharTokenizer, WordPunctTokenizer, WordTokenizer, normalization, tokenizers

PUNCTUATION = str.maketrans("", "", string.punctuation)
OPTIONS = st.fixed_dictionaries(
    {name: st.booleans() for name in ("lowercase", "remove_punctuation", "normalize")}
)
NORMALIZING = st.sampled_from(
    [
        *(WordPunctTokenizer(), WordPunctTokenizer(lowercase=False)),
        *(WordTokenizer(normalize=True), WordTokenizer(normalize=True, lowercase=False)),
    ]
)
CUT = (
    r"[[\p{lb=SA}\p{scx=Hani}\p{scx=Hira}\p{scx=Kana}\p{scx=Bopo}]&&\w]|[\p{ExtPict}\p{EMod}\p{RI}]"
)
ALL = "".join(map(chr, range(sys.maxunicode + 1)))
ACCENTED = ["\u00e9t\u00e9", "e\u0301te\u0301", "\u00e9te\u0301"]
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
FLAG = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


def reference(text, *, lowercase=True, remove_punctuation=True, normalize=False):
    """Prepare a text step by step and tokenize it with NLTK."""
    if normalize:
        text = normalization.normalize(text)
    if lowercase:
        text = text.lower()
    if remove_punctuation:
        text = text.translate(PUNCTUATION)
    return word_tokenize(text, preserve_line=True)


@settings(max_examples=500)
@given(text=strategies.texts(), options=OPTIONS)
def test_tokens_are_those_of_nltk(text, options):
    """Tokens equal NLTK's after lower-casing and deleting punctuation, for any Unicode text."""
    assert WordTokenizer(**options)(text) == reference(text, **options)


@given(text=strategies.texts(), tokenizer=NORMALIZING | st.just(WordTokenizer()))
def test_tokenizing_is_idempotent(text, tokenizer):
    """Tokenizing the joined tokens gives the same tokens."""
    tokens = tokenizer(text)
    assert tokenizer(" ".join(tokens)) == tokens


@given(text=strategies.texts(), tokenizer=NORMALIZING, data=st.data())
def test_texts_that_look_the_same_have_the_same_tokens(text, tokenizer, data):
    """Decomposed accents and invisible characters anywhere change no token."""
    tokens = tokenizer(text)
    assert tokenizer(unicodedata.normalize("NFD", text)) == tokens
    invisible = st.text("\u00ad\u034f\u200e\u202e\u2060\u2066\ufe0f\ufeff\U000e0100", max_size=2)
    apart = "".join(data.draw(invisible) + character for character in text)
    assert tokenizer(apart + data.draw(invisible)) == tokens


@given(text=strategies.texts(), tokenizer=NORMALIZING)
def test_no_token_is_invisible(text, tokenizer):
    """A token has at least one character that can be seen."""
    assert all(regex.search(r"\P{Default_Ignorable_Code_Point}", word) for word in tokenizer(text))


@pytest.mark.parametrize("tokenizer", [WordPunctTokenizer(), WordTokenizer(normalize=True)])
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        *((text, ["\u00e9t\u00e9"]) for text in ACCENTED),
        ("co\u00adop so\u200bft zero\u2060width \ufeffbom", ["coop", "soft", "zerowidth", "bom"]),
        ("\u200eleft\u200f \u202eright\u202c \u00ad \u200b", ["left", "right"]),
        ("fr\u200dee fr\u200cee free\u200c \u200d", ["free", "free", "free"]),
        ("e\u200b\u0301", ["\u00e9"]),
        ("\u212b \u2126", ["\u00e5", "\u03c9"]),
        ("\u1112\u1161\u11ab", ["\ud55c"]),
        ("\u2764\ufe0f \u2764", ["\u2764", "\u2764"]),
        (FAMILY, [FAMILY]),
        ("\u2764\ufe0f\u200d\U0001f525", ["\u2764\u200d\U0001f525"]),
        (
            "\U0001f3c3\U0001f3fd\u200d\u2642\ufe0f\u200d",
            ["\U0001f3c3\U0001f3fd\u200d\u2642"],
        ),
        (f"{FLAG} a\U000e0067", [FLAG, "a"]),
        ("\u0645\u06cc\u200c\u0631\u0648\u0645", ["\u0645\u06cc\u200c\u0631\u0648\u0645"]),
        ("\u0645\u06cc\u200c\u200c\u0631\u200c", ["\u0645\u06cc\u200c\u0631"]),
        ("\u0631\u200c\u0645", ["\u0631\u0645"]),  # letters that don't join in any case
        ("\u0915\u094d\u200d\u0937", ["\u0915\u094d\u200d\u0937"]),
        ("\u0915\u094d\u200c\u0937", ["\u0915\u094d\u200c\u0937"]),
        ("\u0d28\u0d4d\u200d \u0c30\u0c4d\u200c", ["\u0d28\u0d4d\u200d", "\u0c30\u0c4d"]),
        ("\u09b0\u200d\u09cd\u09af", ["\u09b0\u200d\u09cd\u09af"]),
        ("\u0915\u200d\u0937", ["\u0915\u0937"]),
        ("\u1780\u200b\u1781\u200b\u200b\u200b", ["\u1780", "\u1781"]),
    ],
)
def test_texts_are_normalized(tokenizer, text, tokens):
    """Accents compose, what is invisible goes, and joiners stay where they can be seen."""
    assert tokenizer(text) == tokens
    assert tokenizer(unicodedata.normalize("NFD", text)) == tokens
    assert tokenizer(f"{text} x") == [*tokens, "x"]


def test_the_default_word_tokenizer_takes_texts_as_they_are():
    """Without `normalize`, words have the characters of the text, as in NLTK."""
    assert WordTokenizer()(" ".join(ACCENTED)) == ACCENTED
    assert WordTokenizer()("co\u00adop \u200b") == ["co\u00adop", "\u200b"]


@pytest.mark.parametrize("tokenizer", [WordPunctTokenizer(), WordTokenizer(normalize=True)])
def test_every_invisible_character_is_dropped(tokenizer):
    """No default-ignorable character of Unicode divides or changes a Latin word."""
    invisible = regex.findall(
        r"\p{Default_Ignorable_Code_Point}", "".join(map(chr, range(0xE1000)))
    )
    assert len(invisible) > 4000
    assert {word for c in invisible for word in tokenizer(f"a{c}b")} == {"ab"}


@pytest.mark.parametrize("piece", ["\u200c", "\u00ad", "\U000e0067", "\u0645\u064b\u200c"])
def test_time_is_linear_in_invisible_characters(piece):
    """Long runs of invisible characters do not stop a program for minutes."""
    for text in (piece * 300_000, "\u0645" + piece * 300_000 + "\u200c"):
        assert len(WordPunctTokenizer()(text)) <= 1


def test_stacks_of_marks_are_cut():
    """Of more than 30 marks on a letter the first are kept, so that sorting a million is fast."""
    (word,) = WordPunctTokenizer()("o" + "\u0301\u0327" * 500_000)
    assert word == unicodedata.normalize("NFC", "o" + "\u0301\u0327" * 15)


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
    """Some texts have words that a person can check."""
    assert WordTokenizer()(text) == tokens


def test_options_keep_case_and_punctuation():
    """Each option works alone and together with the other."""
    text = "GM can't!"
    assert WordTokenizer(lowercase=False)(text) == ["GM", "cant"]
    assert WordTokenizer(remove_punctuation=False)(text) == ["gm", "ca", "n't", "!"]
    both = WordTokenizer(lowercase=False, remove_punctuation=False)
    assert both(text) == ["GM", "ca", "n't", "!"]


@pytest.mark.slow
@pytest.mark.parametrize("lowercase", [True, False])
def test_every_code_point_is_handled_as_in_nltk(lowercase):
    """Every character equals NLTK, next to contractions and in place of a letter of one."""
    characters = map(chr, range(sys.maxunicode + 1))
    known = (c for c in characters if unicodedata.category(c) not in {"Cn", "Co"})
    text = " ".join(f"gotta{character}wanna g{character}mme" for character in known)
    # NLTK takes longer for all of them than the time limit of its patterns.
    prepared = (text.lower() if lowercase else text).translate(PUNCTUATION)
    expected = tokenizers.nltk_tokenizer()(prepared)
    # Comparing in a variable: explaining how two such lists differ would take pytest minutes.
    equal = WordTokenizer(lowercase=lowercase)(text) == expected
    assert equal


def test_a_very_long_text_is_tokenized():
    """Ten million characters with quotation marks and contractions are tokenized correctly."""
    words = ["oil", "\u201c", "prices", "\u201d", "can", "not", "soar"]
    tokens = WordTokenizer()("Oil \u201cprices\u201d cannot soar! " * 400_000)
    assert len(tokens) == 400_000 * len(words)
    assert all(tokens[start :: len(words)] == [word] * 400_000 for start, word in enumerate(words))


def test_the_time_limit_of_nltk_is_lifted(monkeypatch):
    """A long text is tokenized even if it exceeds the time limit of NLTK's patterns."""
    redos = pytest.importorskip("nltk.redos")
    monkeypatch.setattr(redos, "DEFAULT_TIMEOUT", 1e-9)
    text = "oil, 'gas' " * 10_000
    with pytest.raises(TimeoutError):
        NLTKWordTokenizer().tokenize(text)
    tokens = WordTokenizer(remove_punctuation=False)(text)
    assert tokens == ["oil", ",", "'", "gas", "'"] * 10_000


def test_an_nltk_without_a_time_limit_works(monkeypatch):
    """Not every release of NLTK has a time limit to lift."""
    monkeypatch.delattr(nltk, "redos", raising=False)
    monkeypatch.setitem(sys.modules, "nltk.redos", None)
    tokenize = tokenizers.nltk_tokenizer.__wrapped__()
    assert tokenize("oil, 'gas'") == ["oil", ",", "'", "gas", "'"]


def test_the_default_options_do_not_import_nltk():
    """Neither importing the module nor using the default options imports NLTK."""
    program = (
        "import sys, textrnn.text as text\n"
        "text.WordTokenizer()('They \u201ccannot\u201d, she said')\n"
        "assert 'nltk' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-X", "utf8", "-c", program], check=True)  # noqa: S603 - our own


@pytest.mark.parametrize("text", [None, 3, b"oil", ["oil"], float("nan")])
def test_texts_must_be_strings(text):
    """Anything but a string raises an error that names the argument."""
    with pytest.raises(InvalidTypeError, match=r"Expected `text` to be a string, but got"):
        WordTokenizer()(text)


@pytest.mark.parametrize("name", ["lowercase", "remove_punctuation", "normalize"])
def test_options_must_be_booleans(name):
    """A number does not pass as an option."""
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
    assert tokenizer.normalize == options["normalize"]


def test_a_subclass_or_another_object_is_another_tokenizer():
    """Tokenizers of different classes are never equal."""

    class Reversed(WordTokenizer):
        """A tokenizer that reverses the words."""

        def __call__(self, text: str) -> list[str]:
            return super().__call__(text)[::-1]

    assert Reversed() != WordTokenizer()
    assert WordTokenizer() != str.split
    assert repr(Reversed()).startswith("Reversed(")


def test_options_can_not_be_changed():
    """Setting an option raises an error."""
    with pytest.raises(AttributeError):
        WordTokenizer().lowercase = False


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ([], InvalidTypeError, r"Expected `options` to be a mapping, but got \[\]"),
        (
            {"lowercase": True},
            InvalidValueError,
            "keys 'lowercase', 'normalize', 'remove_punctuation', but got 'lowercase'",
        ),
        (
            WordTokenizer().to_dict() | {"language": "en"},
            InvalidValueError,
            "but got 'language', 'lowercase', 'normalize', 'remove_punctuation'",
        ),
        (
            WordTokenizer().to_dict() | {"lowercase": "yes"},
            InvalidTypeError,
            "Expected `lowercase` to be a boolean, but got 'yes'",
        ),
    ],
)
def test_wrong_options_are_named(options, error, message):
    """Missing, unknown and wrong options raise errors that name them."""
    with pytest.raises(error, match=message):
        WordTokenizer.from_dict(options)


def _column(path: Path):
    from pyarrow import parquet

    return parquet.read_table(path, columns=["text"])["text"].to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize("part", ["train", "test"])
def test_all_of_ag_news_equals_nltk(data_dir, part):
    """Tokens equal NLTK's for every text of AG News."""
    tokenizer = WordTokenizer()
    for text in _column(data_dir / "ag_news" / f"{part}.parquet"):
        assert tokenizer(text) == reference(text)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["train", "test", "unsup"])
def test_all_of_imdb_equals_nltk(data_dir, part):
    """Tokens equal NLTK's for every review of IMDB.

    NLTK takes minutes for all reviews, so it tokenizes each distinct string between white space
    once, and one review in fifty as a whole. Without punctuation no rule crosses white space.
    """
    tokenizer = WordTokenizer()
    reviews = _column(data_dir / "imdb" / f"{part}.parquet")
    cleaned = [review.lower().translate(PUNCTUATION) for review in reviews]
    pieces = list({piece for text in cleaned for piece in text.split()})
    tokens = tokenizers.nltk_tokenizer()(" \x00 ".join(pieces))
    groups = [list(group) for is_end, group in groupby(tokens, "\x00".__eq__) if not is_end]
    words = dict(zip(pieces, groups, strict=True))
    for review, text in zip(reviews, cleaned, strict=True):
        assert tokenizer(review) == [word for piece in text.split() for word in words[piece]]
    for review in islice(reviews, 0, None, 50):
        assert tokenizer(review) == reference(review)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("我喜欢iPhone手机,价格3000元!!", "我 喜 欢 iphone 手 机 , 价 格 3000 元 !!"),
        ("スーパーでﾊﾞﾅﾅを買った。", "ス ー パ ー で ﾊﾞ ﾅ ﾅ を 買 っ た 。"),
        ("น้ำแข็ง ๒๕๖๓", "น้ำ แ ข็ ง ๒๕๖๓"),
        ("ພາສາລາວ", "ພ າ ສ າ ລ າ ວ"),
        ("ខ្ញុំស្រឡាញ់", "ខ្ញុំ ស្រ ឡា ញ់"),
        ("မြန်မာစကား", "မြ န် မာ စ ကား"),
        ("ㄅㄆ人", "ㄅ ㄆ 人"),
        ("한국어 텍스트", "한국어 텍스트"),
        ("मुझे हिन्दी", "मुझे हिन्दी"),
        ("great👍🏽👍!!!❤️❤️", "great 👍🏽 👍 !!! ❤ ❤"),
        (f"{FAMILY}{FAMILY}{FLAG}🇯🇵🇨🇳", f"{FAMILY} {FAMILY} {FLAG} 🇯🇵 🇨🇳"),
        ("1️⃣2️⃣ ©®→", "1⃣ 2⃣ ©®→"),
        ("B🅰r Ⓜetro", "b🅰r ⓜetro"),
    ],
)
def test_scripts_without_spaces_and_emoji_are_cut_into_characters(text, tokens):
    """Such a character is a token with its marks; words of other scripts stay whole."""
    assert WordPunctTokenizer()(text) == tokens.split()


@given(text=st.text(regex.findall(r"(?V1)[\p{L}&&[\p{Han}\p{Hira}\p{Kana}\p{lb=SA}]]", ALL)))
def test_characters_of_scripts_without_spaces_make_up_the_text(text):
    """Joined tokens are the text, and no token has two letters that stand side by side."""
    tokens = WordPunctTokenizer()(text)
    assert "".join(tokens) == normalization.normalize(text)
    assert CharTokenizer()(text) == tokens


@given(text=strategies.texts(), lowercase=st.booleans())
def test_text_with_spaces_has_the_same_words_by_every_way(text, lowercase):
    """Fast ways for plain text find the words that `regex` does, marks and joiners included."""
    text = normalization.normalize(regex.sub(CUT + "|\u20e3", "", text, flags=regex.V1))
    words = regex.findall(r"\w+|(?:[^\w\s\x1c-\x1f]|\u200d)+", text.lower() if lowercase else text)
    assert WordPunctTokenizer(lowercase=lowercase)(text) == words
    assert WordPunctTokenizer(lowercase=lowercase)(f"{text} 好")[:-1] == words


def test_plain_characters_are_words_or_signs_to_every_pattern():
    """Each one is normal, visible and, unless a sign, a letter to `re` and `regex` alike."""
    plain = list(filter(normalization.is_plain, ALL))
    assert len(plain) > 12_000
    for character in plain:
        assert unicodedata.normalize("NFC", character) == character
        assert not regex.match(rf"[\p{{DI}}\p{{M}}]|{CUT}", character, flags=regex.V1) or (
            character in "\xa9\xae\u203c\u2122"
        )
        kinds = (module.match(r"(\w)|(\s)", character) for module in (re, regex))
        first, second = ((None, None) if kind is None else kind.groups() for kind in kinds)
        assert first == second or character in "\x1c\x1d\x1e\x1f"


@given(text=strategies.texts())
def test_characters_are_visible_and_make_up_the_text(text):
    """A `CharTokenizer` loses nothing but the amount of white space."""
    tokens = CharTokenizer(lowercase=False)(text)
    assert "".join(tokens) == " ".join(normalization.normalize(text).split())
    assert all(each == " " or each.strip() for each in tokens)


def test_a_char_tokenizer_keeps_graphemes_together():
    """A letter comes with its marks, and an emoji is one character."""
    assert CharTokenizer()(f" A  né\u0301\t{FAMILY}한 นำ้") == [
        "a",
        " ",
        "n",
        "é\u0301",
        " ",
        FAMILY,
        "한",
        " ",
        "นำ้",
    ]
    assert CharTokenizer()("") == CharTokenizer()(" \n") == []


@settings(max_examples=300)
@given(text=strategies.texts(), lowercase=st.booleans())
def test_words_and_punctuation_are_those_of_nltk(text, lowercase):
    """Tokens equal NLTK's `wordpunct_tokenize`, for any normalized text of words with spaces."""
    # Python treats four control characters as white space, but some versions of NLTK do not; newer
    # ones also treat accents as parts of words.
    text = text.translate(dict.fromkeys(range(0x1C, 0x20)))
    text = regex.sub(r"\p{Default_Ignorable_Code_Point}", "", text)
    text = "".join(c for c in unicodedata.normalize("NFC", text) if not unicodedata.combining(c))
    text = regex.sub(CUT, "", text, flags=regex.VERSION1)
    found = WordPunctTokenizer(lowercase=lowercase)(text)
    assert found == wordpunct_tokenize(text.lower() if lowercase else text)


def test_words_of_every_script_stay_whole():
    """Accents and vowel signs belong to words, control characters separate them."""
    words = ["\u0939\u093f\u0928\u094d\u0926\u0940", "x\u0301t\u00e9", "straße", "서울에서"]
    assert WordPunctTokenizer()("\x1c".join(words) + "\x1f!") == [*words, "!"]
    assert WordPunctTokenizer()("a\x1cb\x1d") == ["a", "b"]


def test_words_and_punctuation_are_separate_tokens():
    """Runs of word characters and of punctuation are separate tokens."""
    assert WordPunctTokenizer()("A well-known, GREAT film!!!") == [
        *("a", "well", "-", "known", ",", "great", "film", "!!!")
    ]
    assert WordPunctTokenizer(lowercase=False)("It's _so_") == ["It", "'", "s", "_so_"]


@pytest.mark.parametrize(
    ("kind", "other"), [(WordPunctTokenizer, CharTokenizer), (CharTokenizer, WordPunctTokenizer)]
)
def test_other_tokenizers_are_equal_by_their_option(kind, other):
    """Equality, hash, dictionary, repr and pickle follow the option, which is read-only."""
    tokenizer = kind(lowercase=False)
    assert tokenizer == kind.from_dict(tokenizer.to_dict()) != other(lowercase=False)
    assert tokenizer == eval(repr(tokenizer))  # noqa: S307 - that is what such a repr promises
    assert tokenizer == pickle.loads(pickle.dumps(tokenizer))  # noqa: S301 - our own bytes
    assert hash(tokenizer) == hash(kind(lowercase=False))
    assert tokenizer != kind()
    assert tokenizer != WordTokenizer(lowercase=False)
    assert kind().lowercase
    with pytest.raises(AttributeError):
        tokenizer.lowercase = True


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: WordPunctTokenizer(lowercase=1), InvalidTypeError, "`lowercase` to be a boolean"),
        (lambda: CharTokenizer(lowercase="no"), InvalidTypeError, "`lowercase` to be a boolean"),
        (lambda: CharTokenizer()(b"oil"), InvalidTypeError, "`text` to be a string"),
        (lambda: WordPunctTokenizer()(b"oil"), InvalidTypeError, "`text` to be a string"),
        (lambda: WordPunctTokenizer.from_dict([]), InvalidTypeError, "`options` to be a mapping"),
        (
            lambda: WordPunctTokenizer.from_dict({"case": True}),
            InvalidValueError,
            "`options` to have the keys 'lowercase', but got 'case'",
        ),
    ],
)
def test_wrong_arguments_of_word_punct_tokenizers_are_named(call, error, message):
    """Errors name the argument."""
    with pytest.raises(error, match=message):
        call()
