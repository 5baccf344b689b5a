"""Texts to ids in whole columns: the same as text by text."""

import string
import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import strategies
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.text import Vocabulary, WordTokenizer, _columns, encode_texts, encoding

VOCABULARY = Vocabulary.build([["oil", "prices", "soar", "can", "not", "a", "b", "\ud83d", "1"]])


def text_by_text(texts, tokenizer, *, max_length, add_bos, add_eos):
    """Encode each text on its own, in plain words."""
    rows = []
    for text in texts:
        ids = VOCABULARY.encode(tokenizer(text))
        if max_length is not None:
            ids = ids[: max_length - add_bos - add_eos]
        rows.append([2] * add_bos + ids + [3] * add_eos)
    return rows


@given(
    texts=st.lists(strategies.texts(), max_size=6),
    tokenizer=st.builds(WordTokenizer, lowercase=st.booleans(), remove_punctuation=st.booleans()),
    max_length=st.none() | st.integers(2, 6),
    edges=st.fixed_dictionaries({"add_bos": st.booleans(), "add_eos": st.booleans()}),
    sizes=st.tuples(st.sampled_from([1, 9, 2**16]), st.sampled_from([0, 1, 1000])),
)
def test_columns_give_what_single_texts_give(texts, tokenizer, max_length, edges, sizes):
    """In whatever batches, with a table of words or without, the ids are those of single texts."""
    rows = text_by_text(texts, tokenizer, max_length=max_length, **edges)
    with (
        mock.patch.object(_columns, "_BATCH_CHARACTERS", sizes[0]),
        mock.patch.object(encoding, "_WORTH_A_TABLE", sizes[1]),
    ):
        for cut in (tokenizer, tokenizer.__call__):
            ids, lengths = encode_texts(
                iter(texts), cut, VOCABULARY, max_length=max_length, **edges
            )
            assert ids.dtype == np.int32
            assert lengths.dtype == np.int64
            assert lengths.tolist() == [len(row) for row in rows]
            assert ids.tolist() == [number for row in rows for number in row]


def test_a_cut_text_keeps_its_end():
    """The longest allowed text has its first words between beginning and end."""
    ids, lengths = encode_texts(
        ["oil prices soar", "oil prices", ""], WordTokenizer(), VOCABULARY, max_length=4
    )
    oil, prices = VOCABULARY.encode(["oil", "prices"])
    assert ids.tolist() == [2, oil, prices, 3, 2, oil, prices, 3, 2, 3]
    assert lengths.tolist() == [4, 4, 2]


def test_no_texts_give_empty_arrays():
    """Nothing to encode is encoded as nothing."""
    ids, lengths = encode_texts([], WordTokenizer(), VOCABULARY)
    assert (ids.shape, ids.dtype) == ((0,), np.int32)
    assert (lengths.shape, lengths.dtype) == ((0,), np.int64)


def test_texts_without_words_may_be_empty():
    """Without beginning and end, a text without words has no ids."""
    ids, lengths = encode_texts(
        ["", "oil", "?!"], WordTokenizer(), VOCABULARY, add_bos=False, add_eos=False
    )
    assert ids.tolist() == VOCABULARY.encode(["oil"])
    assert lengths.tolist() == [0, 1, 0]


@pytest.mark.parametrize("character", [*string.punctuation, "\x00", "\xff", "\uffff", "\n"])
def test_no_character_of_a_text_can_pass_for_the_end_of_it(monkeypatch, character):
    """Texts are told apart whatever they hold."""
    monkeypatch.setattr(encoding, "_WORTH_A_TABLE", 0)
    texts = [f"oil{character}{character} a {character} b", character, f"{character}1"]
    rows = text_by_text(texts, WordTokenizer(), max_length=None, add_bos=True, add_eos=True)
    ids, lengths = encode_texts(texts, WordTokenizer(), VOCABULARY)
    assert lengths.tolist() == [len(row) for row in rows]
    assert ids.tolist() == [number for row in rows for number in row]


def test_strings_of_other_classes_are_tokens_too():
    """A token from an array of NumPy is a string like any other."""
    ids, _ = encode_texts(["oil a"], lambda text: list(np.array(text.split())), VOCABULARY)
    assert ids.tolist() == [2, *VOCABULARY.encode(["oil", "a"]), 3]


def test_a_subclass_cuts_as_it_says():
    """The short way is only for the class whose words it knows."""

    class Backwards(WordTokenizer):
        """A tokenizer that gives the words backwards."""

        def __call__(self, text: str) -> list[str]:
            return super().__call__(text)[::-1]

    ids, _ = encode_texts(["oil prices"], Backwards(), VOCABULARY, add_bos=False, add_eos=False)
    assert ids.tolist() == VOCABULARY.encode(["prices", "oil"])


@pytest.mark.parametrize("tokenizer", [WordTokenizer(), str.split])
def test_memory_does_not_grow_with_the_texts(tokenizer):
    """Beyond its result, encoding a stream needs little more than a batch of texts does."""
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
@pytest.mark.parametrize("name", ["ag_news/train", "ag_news/test", "imdb/train", "imdb/test"])
def test_real_columns_give_what_single_texts_give(data_dir, name):
    """Real texts have the same vocabulary and the same ids both ways."""
    from pyarrow import parquet

    texts = parquet.read_table(data_dir / f"{name}.parquet", columns=["text"])["text"].to_pylist()
    tokenizer = WordTokenizer()
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
    """Each argument that can't be is refused with its name, its rule and its value."""
    usual = {"texts": ["Oil!"], "tokenizer": WordTokenizer(), "vocabulary": VOCABULARY}
    arguments = usual | arguments
    if arguments["tokenizer"] is str.upper:
        arguments["texts"] = ["oil"]
    with pytest.raises(error, match=message):
        encode_texts(**arguments)
