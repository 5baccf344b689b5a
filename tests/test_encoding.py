"""Encoding a column of texts equals encoding text by text."""

import string
import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import strategies
from textrnn.data import WordDataset
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.text import (
    CharTokenizer,
    Vocabulary,
    WordCounter,
    WordPunctTokenizer,
    WordTokenizer,
    bulk,
    encode_texts,
)
from textrnn.text.encoding import TextEncoder

WORDS = ["oil", "prices", "soar", "can", "not", "a", "b", "\ud83d", "1", "!", "|", "\x1f", "\u03c2"]
WORDS += ["\u00e9", "a\u00e9", "e\u0301", "ab", "\u0645", "\u0645\u200c\u0645"]
VOCABULARY = Vocabulary.build([WORDS])
TOKENIZERS = st.one_of(
    st.builds(
        WordTokenizer,
        lowercase=st.booleans(),
        remove_punctuation=st.booleans(),
        normalize=st.booleans(),
    ),
    st.builds(WordPunctTokenizer, lowercase=st.booleans()),
    st.builds(CharTokenizer, lowercase=st.booleans()),
)


def text_by_text(texts, tokenizer, *, max_length, add_bos, add_eos):
    """Encode each text on its own."""
    rows = []
    for text in texts:
        ids = VOCABULARY.encode(tokenizer(text))
        if max_length is not None:
            ids = ids[: max_length - add_bos - add_eos]
        rows.append([2] * add_bos + ids + [3] * add_eos)
    return rows


@given(
    texts=st.lists(st.lists(st.sampled_from([*WORDS[:9], "new", "<unk>", "", "N"])), max_size=6),
    max_length=st.none() | st.integers(2, 6),
    batch_texts=st.integers(1, 3),
)
def test_unknown_words_are_handed_on(texts, max_length, batch_texts):
    """Each `<unk>` of the ids is one of the unknown words, which are different and ascending."""
    encode = TextEncoder(lambda text: texts[int(text)], VOCABULARY, max_length=max_length)
    with mock.patch.object(bulk, "_BATCH_CHARACTERS", 2 * batch_texts):
        ids, lengths, unknown = encode.with_unknown(map(str, range(len(texts))))
        assert np.array_equal(ids, encode(map(str, range(len(texts))))[0])
    cut = [text[: None if max_length is None else max_length - 2] for text in texts]
    expected = [word for text in cut for word in text if word not in WORDS]
    assert unknown.words == sorted(set(expected))
    assert [unknown.words[row] for row in unknown.rows] == expected
    assert unknown.positions.tolist() == np.flatnonzero(ids == VOCABULARY.unk_id).tolist()
    rows = unknown.by_token(len(ids))
    assert rows.dtype == np.int32
    assert np.array_equal(np.flatnonzero(rows >= 0), unknown.positions)
    assert lengths.sum() == len(ids)


@given(
    texts=st.lists(strategies.texts(), max_size=6),
    tokenizer=TOKENIZERS,
    max_length=st.none() | st.integers(2, 6),
    edges=st.fixed_dictionaries({"add_bos": st.booleans(), "add_eos": st.booleans()}),
    batch_characters=st.sampled_from([1, 9, 2**16]),
)
def test_columns_equal_single_texts(texts, tokenizer, max_length, edges, batch_characters):
    """Ids equal those of single texts, for any batches, built-in and custom tokenizers."""
    rows = text_by_text(texts, tokenizer, max_length=max_length, **edges)
    with mock.patch.object(bulk, "_BATCH_CHARACTERS", batch_characters):
        for cut in (tokenizer, tokenizer.__call__):
            ids, lengths = encode_texts(
                iter(texts), cut, VOCABULARY, max_length=max_length, **edges
            )
            assert ids.dtype == np.int32
            assert lengths.dtype == np.int64
            assert lengths.tolist() == [len(row) for row in rows]
            assert ids.tolist() == [number for row in rows for number in row]


def test_a_truncated_text_keeps_its_end():
    """Truncation removes the last words and keeps `<bos>` and `<eos>`."""
    ids, lengths = encode_texts(
        ["oil prices soar", "oil prices", ""], WordTokenizer(), VOCABULARY, max_length=4
    )
    oil, prices = VOCABULARY.encode(["oil", "prices"])
    assert ids.tolist() == [2, oil, prices, 3, 2, oil, prices, 3, 2, 3]
    assert lengths.tolist() == [4, 4, 2]


def test_no_texts_give_empty_arrays():
    """No texts have no ids and no lengths."""
    ids, lengths = encode_texts([], WordTokenizer(), VOCABULARY)
    assert (ids.shape, ids.dtype) == ((0,), np.int32)
    assert (lengths.shape, lengths.dtype) == ((0,), np.int64)


def test_texts_without_words_may_be_empty():
    """A text without words has no ids if there is no `<bos>` and no `<eos>`."""
    ids, lengths = encode_texts(
        ["", "oil", "?!"], WordTokenizer(), VOCABULARY, add_bos=False, add_eos=False
    )
    assert ids.tolist() == VOCABULARY.encode(["oil"])
    assert lengths.tolist() == [0, 1, 0]


@pytest.mark.parametrize("tokenizer", [WordTokenizer(), WordPunctTokenizer()])
@pytest.mark.parametrize(
    "character", [*string.punctuation, *map(chr, range(32)), "\x7f", "\x85", "\xff", "\uffff"]
)
def test_no_character_ends_a_text(tokenizer, character):
    """Texts stay separate whatever characters they contain, the internal divider included."""
    texts = [f"oil{character}{character} a {character} b", character, f"{character}1"]
    rows = text_by_text(texts, tokenizer, max_length=None, add_bos=True, add_eos=True)
    ids, lengths = encode_texts(texts, tokenizer, VOCABULARY)
    assert lengths.tolist() == [len(row) for row in rows]
    assert ids.tolist() == [number for row in rows for number in row]


@pytest.mark.parametrize(
    ("specials", "text", "tokenizer"),
    [
        (("<pad>", "<unk>", "<bos>", "<eos>"), "<pad> oil <bos> <eos> <unk>", str.split),
        (("<pad>", "<unk>", "<bos>", "<eos>"), "<pad> oil <bos> <eos> <unk>", lambda t: t.split()),
        (("pad", "unk", "bos", "eos"), "PAD oil bos eos unk!", WordTokenizer()),
        (("pad", "unk", "bos", "eos"), "PAD oil bos eos unk", WordPunctTokenizer()),
        (("<", "pad", ">", "eos"), "<oil> pad", WordPunctTokenizer()),
        (("<", "pad", ">", "eos"), "<oil> pad", WordTokenizer(remove_punctuation=False)),
    ],
)
def test_special_tokens_in_texts_are_unknown(specials, text, tokenizer):
    """A text that spells out special tokens gets no special ids but the unknown one."""
    vocabulary = Vocabulary.from_texts([text], tokenizer, specials=specials)
    assert vocabulary.tokens[4:] in {("oil",), ("!", "oil")}
    counter = WordCounter(tokenizer)
    counter.update([text])
    assert counter.vocabulary(specials=specials) == vocabulary
    expected = [token if token in {"oil", "!"} else specials[1] for token in tokenizer(text)]
    ids, _ = encode_texts([text], tokenizer, vocabulary, add_bos=False, add_eos=False)
    assert vocabulary.decode(ids) == expected
    assert vocabulary.encode(tokenizer(text)) == ids.tolist()
    data = WordDataset([text], None, vocabulary, tokenizer)
    assert data[0]["input_ids"].tolist() == [2, *ids.tolist(), 3]


def test_subclasses_of_str_are_tokens():
    """Strings from a NumPy array are valid tokens."""
    ids, _ = encode_texts(["oil a"], lambda text: list(np.array(text.split())), VOCABULARY)
    assert ids.tolist() == [2, *VOCABULARY.encode(["oil", "a"]), 3]


@pytest.mark.parametrize("kind", [WordTokenizer, WordPunctTokenizer])
def test_subclasses_of_a_tokenizer_are_called(kind):
    """A subclass is called for each text, because it may tokenize differently."""

    class Backwards(kind):
        """A tokenizer that reverses the words."""

        def __call__(self, text: str) -> list[str]:
            return super().__call__(text)[::-1]

    ids, _ = encode_texts(["oil prices"], Backwards(), VOCABULARY, add_bos=False, add_eos=False)
    assert ids.tolist() == VOCABULARY.encode(["prices", "oil"])


@pytest.mark.parametrize("tokenizer", [WordTokenizer(), WordPunctTokenizer(), str.split])
def test_memory_does_not_grow_with_the_texts(tokenizer):
    """Encoding a stream needs memory for the result and one batch of texts."""
    texts = (f"oil prices soar {number}" for number in range(50_000))
    tracemalloc.start()
    try:
        ids, lengths = encode_texts(texts, tokenizer, VOCABULARY)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(ids) == lengths.sum() == 300_000
    assert peak - ids.nbytes - lengths.nbytes < 2 * 2**20
    assert ids.base is None  # nothing larger is kept alive


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", [WordTokenizer(), WordPunctTokenizer()])
@pytest.mark.parametrize("name", ["ag_news/train", "ag_news/test", "imdb/train", "imdb/test"])
def test_columns_of_real_texts_equal_single_texts(data_dir, name, tokenizer):
    """Real texts have the same vocabulary and ids as a column and text by text."""
    from pyarrow import parquet

    texts = parquet.read_table(data_dir / f"{name}.parquet", columns=["text"])["text"].to_pylist()
    vocabulary = Vocabulary.from_texts(texts, tokenizer, min_freq=5)
    assert vocabulary == Vocabulary.build(map(tokenizer, texts), min_freq=5)
    at_once = encode_texts(texts, tokenizer, vocabulary, max_length=256)
    singly = encode_texts(texts, tokenizer.__call__, vocabulary, max_length=256)
    for ours, theirs in zip(at_once, singly, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"texts": "oil"}, InvalidTypeError, "`texts` to be a sequence of strings, but got 'oil'"),
        (
            {"texts": b"oil"},
            InvalidTypeError,
            "`texts` to be a sequence of strings, but got b'oil'",
        ),
        ({"texts": None}, InvalidTypeError, "`texts` to be a sequence of strings, but got None"),
        ({"texts": 3}, InvalidTypeError, "`texts` to be a sequence of strings, but got 3"),
        (
            {"texts": ["a", "b", "c", None]},
            InvalidTypeError,
            r"Expected `texts\[3\]` to be a string, but got None\.",
        ),
        (
            {"texts": ["a"] * 40_000 + [float("nan")]},
            InvalidTypeError,
            r"`texts\[40000\]` to be a string, but got nan",
        ),
        ({"tokenizer": None}, InvalidTypeError, "`tokenizer` to be a callable, but got None"),
        (
            {"tokenizer": str.upper},
            InvalidTypeError,
            "Expected `tokenizer` to return a list of strings, but got 'OIL'",
        ),
        ({"tokenizer": list.copy}, TypeError, "descriptor 'copy'"),
        (
            {"tokenizer": lambda _: ["a", 3]},
            InvalidTypeError,
            r"`tokenizer` to return a list of strings, but got \['a', 3\]",
        ),
        (
            {"tokenizer": lambda _: None},
            InvalidTypeError,
            "`tokenizer` to return a list of strings, but got None",
        ),
        ({"vocabulary": {"oil": 4}}, InvalidTypeError, "`vocabulary` to be a Vocabulary"),
        ({"max_length": 1}, InvalidValueError, "`max_length` to be an integer of at least 2"),
        ({"max_length": 2.0}, InvalidTypeError, "`max_length` to be an integer of at least 2"),
        (
            {"max_length": 0, "add_bos": False, "add_eos": False},
            InvalidValueError,
            "`max_length` to be a positive integer, but got 0",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    """An invalid argument raises an error with its name, its rule and its value."""
    usual = {"texts": ["Oil!"], "tokenizer": WordTokenizer(), "vocabulary": VOCABULARY}
    arguments = usual | arguments
    if arguments["tokenizer"] is str.upper:
        arguments["texts"] = ["oil"]
    with pytest.raises(error, match=message):
        encode_texts(**arguments)
