"""Vocabularies are deterministic, reversible and safe to load."""

import copy
import json
import os
import pickle
from collections import Counter
from itertools import chain
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tests import strategies
from textrnn.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    MissingKeyError,
)
from textrnn.text import Vocabulary, WordPunctTokenizer, WordTokenizer, bulk

SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
LIMITS = st.fixed_dictionaries(
    {"min_freq": st.integers(1, 4), "max_size": st.none() | st.integers(4, 8)}
)


@given(token_lists=strategies.token_lists(), limits=LIMITS)
def test_words_are_kept_and_ordered_by_count_and_alphabet(token_lists, limits):
    """Special tokens come first, then the frequent words by count and alphabet."""
    vocabulary = Vocabulary.build(token_lists, **limits)
    counts = Counter(chain.from_iterable(token_lists))
    words = sorted(
        (word for word in counts if counts[word] >= limits["min_freq"] and word not in SPECIALS),
        key=lambda word: (-counts[word], word),
    )
    if limits["max_size"] is not None:
        words = words[: limits["max_size"] - len(SPECIALS)]
    assert vocabulary.tokens == (*SPECIALS, *words)
    assert vocabulary.counts[4:] == tuple(counts[word] for word in words)
    assert sum(vocabulary.counts) == counts.total()
    assert [vocabulary[token] for token in vocabulary] == list(range(len(vocabulary)))


@given(token_lists=strategies.token_lists(), data=st.data())
def test_the_order_of_texts_does_not_matter(token_lists, data):
    """Shuffled texts from a generator give the same vocabulary."""
    shuffled = data.draw(st.permutations(token_lists))
    vocabulary = Vocabulary.build(iter(tokens) for tokens in shuffled)
    assert vocabulary == Vocabulary.build(token_lists)
    assert hash(vocabulary) == hash(Vocabulary.build(token_lists))


@given(
    texts=st.lists(strategies.texts()),
    limits=LIMITS,
    batch_characters=st.sampled_from([1, 30, 2**16]),
)
def test_texts_and_their_tokens_give_equal_vocabularies(texts, limits, batch_characters):
    """Counting a column of texts equals counting the tokens text by text."""
    with mock.patch.object(bulk, "_BATCH_CHARACTERS", batch_characters):
        for tokenizer in (
            *(WordTokenizer(), WordTokenizer(lowercase=False), WordTokenizer(normalize=True)),
            *(WordPunctTokenizer(), WordPunctTokenizer(lowercase=False), str.split),
        ):
            vocabulary = Vocabulary.from_texts(iter(texts), tokenizer, **limits)
            assert vocabulary == Vocabulary.build(map(tokenizer, texts), **limits)
        assert Vocabulary.from_texts(texts) == Vocabulary.from_texts(texts, WordTokenizer())


@given(first=strategies.token_lists(), second=strategies.token_lists(), limits=LIMITS)
def test_merging_equals_building_from_all_texts(first, second, limits):
    """Merging complete vocabularies of two parts equals building from all texts."""
    merged = Vocabulary.build(first).merge(Vocabulary.build(second), **limits)
    assert merged == Vocabulary.build(first + second, **limits)


@given(token_lists=strategies.token_lists(), limits=LIMITS)
def test_saving_copying_and_pickling_change_nothing(tmp_path_factory, token_lists, limits):
    """A vocabulary equals its copy from a file, a dictionary, a deepcopy and a pickle."""
    vocabulary = Vocabulary.build(token_lists, **limits)
    path = tmp_path_factory.getbasetemp() / "vocabulary.json"
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    assert Vocabulary.from_dict(vocabulary.to_dict()) == vocabulary
    assert copy.deepcopy(vocabulary) == vocabulary
    pickled = pickle.loads(pickle.dumps(vocabulary))  # noqa: S301 - our own bytes
    assert pickled == vocabulary
    assert pickled.encode(vocabulary.tokens[4:]) == list(range(4, len(vocabulary)))


@given(token_lists=strategies.token_lists(), others=strategies.token_lists())
def test_decoding_undoes_encoding(token_lists, others):
    """Known tokens are restored, others become the unknown token."""
    vocabulary = Vocabulary.build(token_lists)
    for tokens in others:
        known = [token if token in vocabulary.tokens[4:] else "<unk>" for token in tokens]
        ids = vocabulary.encode(tokens)
        assert vocabulary.decode(ids) == known
        assert vocabulary.encode(iter(tokens)) == ids
        assert [vocabulary.get(token, 1) for token in tokens] == ids
        assert vocabulary.decode(ids, skip_specials=True) == [
            token for token in known if token not in SPECIALS
        ]


@given(token_lists=strategies.token_lists(), limits=LIMITS)
def test_coverage_is_the_fraction_of_known_words(token_lists, limits):
    """Coverage follows from the counts, and is the same for texts and for counts."""
    vocabulary = Vocabulary.build(token_lists, **limits)
    counts = Counter(chain.from_iterable(token_lists))
    assume(counts)
    share = 1 - vocabulary.counts[vocabulary.unk_id] / counts.total()
    assert vocabulary.coverage(token_lists) == pytest.approx(share)
    assert vocabulary.coverage(counts) == vocabulary.coverage(token_lists)


def test_coverage_of_nothing_is_complete():
    """The coverage of no tokens is 1."""
    assert Vocabulary({}).coverage([]) == Vocabulary({}).coverage([[], []]) == 1.0


def test_a_long_stream_of_texts_is_counted():
    """Every token of a long stream is counted."""
    vocabulary = Vocabulary.build(("oil", "gas", "oil") for _ in range(20_000))
    assert vocabulary.counts == (0, 0, 0, 0, 40_000, 20_000)


def test_words_that_no_text_has_are_kept_where_asked_for():
    """With `min_freq=0`, words of count 0 come last, also in a file."""
    counts = {"never": 0, "oil": 2, "also": 0}
    assert Vocabulary(counts).tokens[4:] == ("oil",)
    vocabulary = Vocabulary(counts, min_freq=0)
    assert vocabulary.tokens[4:] == ("oil", "also", "never")
    assert Vocabulary.from_dict(vocabulary.to_dict()) == vocabulary


def test_min_freq_is_inclusive():
    """A word that occurs exactly `min_freq` times is kept."""
    texts = ["often " * 26, "rarely " * 25]
    assert Vocabulary.from_texts(texts, min_freq=26).tokens[4:] == ("often",)


def test_without_words_the_special_tokens_remain():
    """Without texts every token is unknown."""
    vocabulary = Vocabulary.build([])
    assert vocabulary == Vocabulary.from_texts([]) == Vocabulary({})
    assert vocabulary.tokens == vocabulary.specials == SPECIALS
    assert vocabulary.encode(["oil"]) == [vocabulary.unk_id]
    assert Vocabulary.build([["oil"]], max_size=4).tokens == SPECIALS


def test_special_tokens_in_texts_are_left_out():
    """Special tokens in texts are counted as left out and keep their ids."""
    vocabulary = Vocabulary.build([["<pad>", "oil", "<unk>", "oil"]])
    assert vocabulary.tokens == (*SPECIALS, "oil")
    assert vocabulary.counts == (0, 2, 0, 0, 2)
    assert vocabulary.coverage([["<pad>", "oil"]]) == 0.5


@given(tokens=st.lists(st.sampled_from([*SPECIALS, "[SEP]", "oil", "gas"])))
def test_special_tokens_in_texts_are_unknown(tokens):
    """No text can contain padding, a beginning or an end; by name they keep their ids."""
    vocabulary = Vocabulary({"oil": 2, "<eos>": 1}, specials=(*SPECIALS, "[SEP]"))
    ids = [{"oil": 5}.get(token, 1) for token in tokens]
    assert vocabulary.encode(tokens) == ids
    assert [vocabulary.get(token, 1) for token in tokens] == ids
    assert [vocabulary[token] for token in vocabulary] == [0, 1, 2, 3, 4, 5]
    assert all(token in vocabulary for token in vocabulary)


def test_special_tokens_can_be_renamed_and_added():
    """The first four special tokens have fixed roles under any name; others follow."""
    vocabulary = Vocabulary({"oil": 1, "[SEP]": 1}, specials=["P", "U", "B", "E", "[SEP]"])
    assert vocabulary.tokens == ("P", "U", "B", "E", "[SEP]", "oil")
    assert vocabulary.specials == ("P", "U", "B", "E", "[SEP]")
    ids = (vocabulary.pad_id, vocabulary.unk_id, vocabulary.bos_id, vocabulary.eos_id)
    assert ids == (0, 1, 2, 3)
    assert vocabulary.decode([0, 4, 5, 1], skip_specials=True) == ["oil"]
    assert Vocabulary.from_dict(vocabulary.to_dict()) == vocabulary


def test_counts_and_tokens_from_numpy_become_plain():
    """Counts and tokens from NumPy become plain ones, so that they can be saved."""
    words, counts = np.unique(["b", "a", "b"], return_counts=True)
    vocabulary = Vocabulary(dict(zip(words, counts, strict=True)), min_freq=np.int64(1))
    assert vocabulary == Vocabulary({"b": 2, "a": 1})
    assert {type(token) for token in vocabulary} == {str}
    assert {type(count) for count in vocabulary.counts} == {int}


@pytest.mark.parametrize(
    "ids", [[4, 1], (4, 1), np.array([4, 1], np.int32), torch.tensor([4, 1]), iter([4, 1])]
)
def test_ids_of_any_kind_are_decoded(ids):
    """Lists, tuples, arrays, tensors and generators of ids are decoded."""
    assert Vocabulary({"oil": 1}).decode(ids) == ["oil", "<unk>"]


def test_a_vocabulary_is_a_collection_of_tokens():
    """Length, membership, iteration and repr refer to tokens."""
    vocabulary = Vocabulary({"oil": 3, "gas": 2})
    assert len(vocabulary) == 6
    assert "oil" in vocabulary
    assert "<eos>" in vocabulary
    assert "coal" not in vocabulary
    assert ["oil"] not in vocabulary
    assert list(vocabulary) == list(vocabulary.tokens)
    assert repr(vocabulary) == "<Vocabulary of 6 tokens: 'oil', 'gas'>"
    assert repr(Vocabulary({})) == "<Vocabulary of 4 tokens: no words>"
    many = Vocabulary.from_texts(["a b c d e " + "x" * 1000])
    assert repr(many) == "<Vocabulary of 10 tokens: 'a', 'b', 'c', 'd', ...>"


def test_equality_covers_everything():
    """Vocabularies with other counts, special tokens or words differ, as do other objects."""
    vocabulary = Vocabulary({"oil": 3})
    assert vocabulary != Vocabulary({"oil": 2})
    assert vocabulary != Vocabulary({"oil": 3, "gas": 1})
    assert vocabulary != Vocabulary({"oil": 3}, specials=["<pad>", "<unk>", "<bos>", "</s>"])
    assert vocabulary != vocabulary.tokens


def test_vocabularies_are_immutable():
    """Attributes can't be set or deleted, and inner values are immutable."""
    vocabulary = Vocabulary({"oil": 3})
    with pytest.raises(AttributeError):
        vocabulary.pad_id = 3
    with pytest.raises(AttributeError):
        del vocabulary._tokens
    with pytest.raises(TypeError):
        vocabulary.tokens[0] = "oil"
    vocabulary.to_dict()["words"]["gas"] = 1
    assert "gas" not in vocabulary


def test_the_error_for_an_unknown_token_lists_known_ones():
    """The message shows the token, some known ones and what `encode` does."""
    with pytest.raises(MissingKeyError, match=r"Unknown token 'gas'.* 5 tokens.* 'oil'; `encode`"):
        Vocabulary({"oil": 1})["gas"]
    with pytest.raises(InvalidTypeError, match="Expected `token` to be a string, but got 4"):
        Vocabulary({"oil": 1})[4]


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Vocabulary(["oil"]), InvalidTypeError, "`counts` to be a mapping from tokens"),
        (lambda: Vocabulary({3: 1}), InvalidTypeError, "`token` to be a string, but got 3"),
        (lambda: Vocabulary({"a": -1}), InvalidValueError, r"`counts\['a'\]` to be a non-neg"),
        (lambda: Vocabulary({"a": 1.0}), InvalidTypeError, r"`counts\['a'\]` to be a non-neg"),
        (lambda: Vocabulary({"a": True}), InvalidTypeError, r"`counts\['a'\]` to be a non-neg"),
        (lambda: Vocabulary({}, min_freq=-1), InvalidValueError, "`min_freq` to be a non-neg"),
        (lambda: Vocabulary({}, min_freq=2.5), InvalidTypeError, "`min_freq` to be a non-neg"),
        (lambda: Vocabulary({}, max_size=3), InvalidValueError, "`max_size` .* at least 4"),
        (lambda: Vocabulary({}, max_size="9"), InvalidTypeError, "`max_size` .* at least 4"),
        (
            lambda: Vocabulary({}, max_size=4, specials=(*SPECIALS, "x")),
            InvalidValueError,
            "`max_size` to be an integer of at least 5, but got 4",
        ),
        (lambda: Vocabulary({}, specials="abcd"), InvalidTypeError, "`specials` to be a sequence"),
        (lambda: Vocabulary({}, specials={"a"}), InvalidTypeError, "`specials` to be a sequence"),
        (lambda: Vocabulary({}, specials=["a", "b", "c"]), InvalidValueError, "`specials` .* end"),
        (lambda: Vocabulary({}, specials=["a", "b", "a", "d"]), InvalidValueError, "all differ"),
        (
            lambda: Vocabulary({}, specials=["a", "", "c", "d"]),
            InvalidValueError,
            r"`specials\[1\]` to be a non-empty string",
        ),
        (
            lambda: Vocabulary({}, specials=["a", "b", None, "d"]),
            InvalidTypeError,
            r"`specials\[2\]` to be a string, but got None",
        ),
        (lambda: Vocabulary.build("oil"), InvalidTypeError, "`token_lists` .* but got 'oil'"),
        (lambda: Vocabulary.build(None), InvalidTypeError, "`token_lists` .* but got None"),
        (
            lambda: Vocabulary.build([["oil"], "gas"]),
            InvalidTypeError,
            r"`token_lists\[1\]` to be a list of tokens, but got 'gas'",
        ),
        (
            lambda: Vocabulary.build([["oil"], 3]),
            InvalidTypeError,
            r"`token_lists\[1\]` to be a list of tokens, but got 3",
        ),
        (lambda: Vocabulary.build([["oil", 3]]), InvalidTypeError, "`token` .* but got 3"),
        (lambda: Vocabulary.build([["oil", []]]), InvalidTypeError, r"`token` .* but got \[\]"),
        (lambda: Vocabulary.from_texts("oil"), InvalidTypeError, "`texts` to be a sequence"),
        (lambda: Vocabulary.from_texts(["a"], 3), InvalidTypeError, "`tokenizer` .* but got 3"),
        (lambda: Vocabulary.from_texts(["a"], str), InvalidTypeError, "`tokenizer` to return a"),
        (lambda: Vocabulary.from_texts(["a", 1]), InvalidTypeError, r"`texts\[1\]` .* got 1"),
        (lambda: Vocabulary({}).encode("oil"), InvalidTypeError, "`tokens` to be a list"),
        (lambda: Vocabulary({}).encode(None), InvalidTypeError, "`tokens` to be a list"),
        (lambda: Vocabulary({}).encode(["a", 3]), InvalidTypeError, "`token` .* but got 3"),
        (lambda: Vocabulary({}).decode(3), InvalidTypeError, "`ids` to be a sequence of integers"),
        (
            lambda: Vocabulary({}).decode("3"),
            InvalidTypeError,
            "`ids` to be a sequence of integers",
        ),
        (lambda: Vocabulary({}).decode([0, 4]), InvalidValueError, r"`ids\[1\]` .* below 4, .* 4"),
        (lambda: Vocabulary({}).decode([-1]), InvalidValueError, r"`ids\[0\]` .* but got -1"),
        (lambda: Vocabulary({}).decode([2.0]), InvalidTypeError, r"`ids\[0\]` .* but got 2.0"),
        (lambda: Vocabulary({}).decode([True]), InvalidTypeError, r"`ids\[0\]` .* but got True"),
        (
            lambda: Vocabulary({}).decode(torch.tensor([[1]])),
            InvalidTypeError,
            r"`ids\[0\]` to be a non-negative integer, but got \[1\]",
        ),
        (lambda: Vocabulary({}).coverage(["oil"]), InvalidTypeError, r"`token_lists\[0\]`"),
        (lambda: Vocabulary({}).coverage({"a": -1}), InvalidValueError, r"`counts\['a'\]`"),
        (lambda: Vocabulary({}).merge({}), InvalidTypeError, "`other` to be a Vocabulary"),
        (
            lambda: Vocabulary({}).merge(Vocabulary({}, specials=["P", "U", "B", "E"])),
            InvalidValueError,
            "`other` to be a vocabulary with the special tokens .*<pad>.* but got .*'P'",
        ),
    ],
)
def test_wrong_arguments_are_named(build, error, message):
    """An invalid argument raises an error with its name, its rule and its value."""
    with pytest.raises(error, match=message):
        build()


def test_errors_of_a_generator_are_raised_unchanged():
    """An error inside a generator of tokens is raised unchanged."""

    def tokens():
        yield "oil"
        raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        Vocabulary.build([tokens()])


def test_unhashable_strings_are_refused():
    """Tokens that are strings without a hash raise an error."""

    class Unhashable(str):
        """A string without a hash."""

        __slots__ = ()
        __hash__ = None

    with pytest.raises(TypeError, match="unhashable"):
        Vocabulary.build([[Unhashable("oil")]])


def test_the_file_is_readable(tmp_path):
    """Each word and its count are on a line of their own."""
    Vocabulary({"\u00f6l": 3, "gas": 2}).save(tmp_path / "vocabulary.json")
    lines = (tmp_path / "vocabulary.json").read_text("utf-8").splitlines()
    assert '    "\u00f6l": 3,' in lines
    assert '    "gas": 2' in lines


def test_the_order_of_a_file_does_not_matter(tmp_path):
    """Ids follow from the counts, so the order of keys in a file does not matter."""
    vocabulary = Vocabulary({"b": 3, "c": 2, "a": 1})
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(vocabulary.to_dict(), sort_keys=True))
    assert Vocabulary.load(path) == vocabulary


def test_saving_is_all_or_nothing(tmp_path, monkeypatch):
    """A full disk leaves the existing file intact."""
    path = tmp_path / "vocabulary.json"
    Vocabulary({"old": 1}).save(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            Vocabulary({"new": 1}).save(path)
    assert Vocabulary.load(path) == Vocabulary({"old": 1})
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "Expected `format` to be 1, but got 2"),
        ({"format": "1"}, "Expected `format` to be a positive integer, but got '1'"),
        ({"format": ...}, "to have the keys .*'format'"),
        ({"words": ...}, "to have the keys .*'words'"),
        ({"extra": 1}, "but got 'extra', 'format'"),
        ({"words": ["oil"]}, "`counts` to be a mapping"),
        ({"words": {"oil": -1}}, r"`counts\['oil'\]` to be a non-negative integer, but got -1"),
        ({"words": {"oil": 1.5}}, r"`counts\['oil'\]` to be a non-negative integer, but got 1.5"),
        ({"words": {"oil": True}}, r"`counts\['oil'\]` to be a non-negative integer, but got Tr"),
        ({"words": {"oil": float("nan")}}, "'NaN' is not a finite number"),
        ({"words": {"<bos>": 1}}, "`words` to be without special tokens"),
        ({"words": None}, "`counts` to be a mapping"),
        ({"left_out": -1}, "`left_out` to be a non-negative integer"),
        ({"left_out": None}, "`left_out` to be a non-negative integer"),
        ({"specials": "abcd"}, "`specials` to be a sequence of strings"),
        ({"specials": ["a", "a", "b", "c"]}, "tokens that all differ"),
        ({"specials": ["a", "b", "c", 4]}, r"`specials\[3\]` to be a string"),
    ],
)
def test_a_hostile_file_is_refused(tmp_path, change, reason):
    """Invalid content raises one kind of error, which names the file and the fault."""
    data = Vocabulary({"oil": 1}).to_dict() | change
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not ...}))
    with pytest.raises(CorruptFileError, match=reason) as caught:
        Vocabulary.load(path)
    assert "vocabulary.json" in str(caught.value)
    assert not str(caught.value).endswith("..")


@pytest.mark.parametrize("data", ["[]", "null", "3", '{"a": 1, "a": 2}', "", "{", '"<pad>"'])
def test_other_files_are_refused(tmp_path, data):
    """Other JSON, and files that are not JSON, raise an error."""
    (tmp_path / "vocabulary.json").write_text(data)
    with pytest.raises(CorruptFileError, match=r"vocabulary\.json"):
        Vocabulary.load(tmp_path / "vocabulary.json")


def test_a_word_twice_in_a_file_is_refused(tmp_path):
    """A duplicate key raises an error instead of replacing the first count."""
    (tmp_path / "file").write_text(
        json.dumps(Vocabulary({"oil": 1}).to_dict()).replace('"oil": 1', '"oil": 1, "oil": 2')
    )
    with pytest.raises(CorruptFileError, match="names a key twice"):
        Vocabulary.load(tmp_path / "file")


def test_a_missing_file_raises_the_usual_error(tmp_path):
    """A missing file raises `FileNotFoundError`."""
    with pytest.raises(FileNotFoundError):
        Vocabulary.load(tmp_path / "missing.json")
