"""Counting words with bounded memory: exact while all words fit, with bounded errors afterwards."""

import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.text import Vocabulary, WordPunctTokenizer, WordTokenizer
from textrnn.text import counter as counter_module
from textrnn.text.counter import WordCounter

LETTERS = st.lists(st.sampled_from("aaaaabbbccdefghijklmnop"), max_size=12).map(" ".join)
TEXTS = st.lists(LETTERS, max_size=20)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=12)


def counted(parts, **options):
    """Return a counter updated with each of some columns of texts."""
    counter = WordCounter(**options)
    for texts in parts:
        counter.update(texts)
    return counter


def quietly(counter, **options):
    """Return the vocabulary of a counter, and whether it warned."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        vocabulary = counter.vocabulary(**options)
    return vocabulary, bool(caught)


@given(
    st.lists(ANY_TEXT, max_size=8),
    st.sampled_from([WordTokenizer(), WordPunctTokenizer(lowercase=False), str.split, list]),
    st.integers(1, 3),
    st.none() | st.integers(4, 12),
)
def test_counts_are_exact_while_all_words_fit(texts, tokenizer, min_freq, max_size):
    """The vocabulary equals `Vocabulary.build` for any texts, tokenizer and limits."""
    counter = counted([texts[:3], texts[3:]], tokenizer=tokenizer)
    vocabulary = counter.vocabulary(min_freq=min_freq, max_size=max_size)
    exact = Vocabulary.build(map(tokenizer, texts), min_freq=min_freq, max_size=max_size)
    assert vocabulary == exact
    assert vocabulary.tokens == exact.tokens
    assert counter.max_error == 0
    assert counter.num_tokens == sum(len(tokenizer(text)) for text in texts)


@given(st.lists(TEXTS, max_size=8), st.integers(1, 12))
def test_the_bounds_hold_after_words_were_dropped(parts, max_words):
    """Counts are too low by at most the error, never too high, and the error is bounded."""
    counter = counted(parts, max_words=max_words, tokenizer=str.split)
    exact = Counter(word for texts in parts for text in texts for word in text.split())
    for word, count in counter._counts.items():
        assert count <= exact[word] <= counter._most(word) <= count + counter.max_error
    for word in exact.keys() - counter._counts.keys():
        assert exact[word] <= counter.max_error
    assert counter.num_words <= max_words
    assert counter.num_tokens == exact.total()
    assert counter.max_error <= 2 * exact.total() / max_words


@given(
    st.lists(TEXTS, min_size=1, max_size=8),
    st.integers(1, 12),
    st.integers(1, 6),
    st.none() | st.integers(4, 8),
)
def test_a_vocabulary_without_a_warning_is_exact(parts, max_words, min_freq, max_size):
    """Without a warning, the words and their counts are those of an exact count."""
    counter = counted(parts, max_words=max_words, tokenizer=str.split)
    vocabulary, warned = quietly(counter, min_freq=min_freq, max_size=max_size)
    lists = [text.split() for texts in parts for text in texts]
    exact = Vocabulary.build(lists, min_freq=min_freq, max_size=max_size)
    assert warned or vocabulary == exact
    assert sum(vocabulary.counts) == sum(exact.counts)


def test_frequent_words_stay_exact_while_rare_ones_are_dropped():
    """There is no warning if dropped words can't affect the vocabulary."""
    parts = [["oil oil oil gas gas gas", f"rare{i} odd{i}"] for i in range(50)]
    counter = counted(parts, max_words=10)
    assert 0 < counter.max_error < 50
    vocabulary, warned = quietly(counter, min_freq=100)
    assert not warned
    assert dict(zip(vocabulary.tokens[4:], vocabulary.counts[4:], strict=True)) == {
        "gas": 150,
        "oil": 150,
    }
    assert vocabulary.counts[1] == 100
    assert quietly(counter, min_freq=1)[1]
    assert quietly(counter, max_size=4) == (Vocabulary({"<unk>": 400}), False)


def test_the_warning_states_the_error():
    """The warning states the limit, the maximum error and a remedy."""
    counter = counted([["a b c d"]], max_words=2, tokenizer=str.split)
    assert counter.max_error == 1
    with pytest.warns(
        UserWarning, match=r"more than 2 distinct words, .* too low by up to 1, .*max_words"
    ):
        assert counter.vocabulary().tokens[4:] == ()


def test_special_tokens_in_the_texts_are_left_out():
    """A word that equals a special token is left out, as in any vocabulary."""
    texts = ["<unk> oil <pad>", "<unk>"]
    counter = counted([texts], tokenizer=str.split)
    assert counter.vocabulary() == Vocabulary.build(map(str.split, texts))


def test_zipfian_words_are_counted_far_better_than_the_bound():
    """With room for a tenth of Zipf-distributed words, the frequent ones are right."""
    generator = np.random.default_rng(0)
    draws = generator.zipf(1.3, 200_000)
    lists = [" ".join(map(str, part)) for part in draws.reshape(-1, 100).tolist()]
    exact = Counter(map(str, draws.tolist()))
    counter = WordCounter(str.split, max_words=len(exact) // 10)
    for first in range(0, len(lists), 50):
        counter.update(lists[first : first + 50])
    assert 0 < counter.max_error < 0.1 * 2 * counter.num_tokens / counter.max_words
    top = [word for word, _ in exact.most_common(200)]
    vocabulary, _ = quietly(counter, max_size=204)
    assert len(set(top) & set(vocabulary)) >= 198


@pytest.mark.parametrize("tokenizer", [WordTokenizer(), WordPunctTokenizer(), str.split])
def test_workers_do_not_affect_the_result(monkeypatch, tokenizer):
    """The same words are dropped at the same times for any number of workers."""
    monkeypatch.setattr(counter_module, "_BATCHES", 1)
    texts = [f"word{i % 97} odd{i} oil " * 400 for i in range(60)]
    one = counted([texts], tokenizer=tokenizer, max_words=30)
    two = counted([texts], tokenizer=tokenizer, max_words=30, num_workers=2)
    assert one.max_error > 0
    assert two.max_error == one.max_error
    assert two._counts == one._counts
    assert two._missed == one._missed


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"tokenizer": 3}, InvalidTypeError, "`tokenizer` to be a callable, but got 3"),
        ({"max_words": 0}, InvalidValueError, "`max_words` to be a positive integer, but got 0"),
        ({"num_workers": -1}, InvalidValueError, "`num_workers` to be a non-negative integer"),
        (
            {"tokenizer": lambda text: text.split(), "num_workers": 1},
            InvalidTypeError,
            "`tokenizer` to be picklable for worker processes",
        ),
    ],
)
def test_bad_options_are_named(options, kind, message):
    """An invalid argument raises an error before anything is counted."""
    with pytest.raises(kind, match=message):
        WordCounter(**options)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_bad_texts_are_named(num_workers):
    """Invalid texts and tokens raise the same errors with and without workers."""
    counter = WordCounter(num_workers=num_workers)
    with pytest.raises(InvalidTypeError, match="`texts` to be a sequence of strings"):
        counter.update("oil")
    with pytest.raises(InvalidTypeError, match=r"`texts\[1\]` to be a string, but got None"):
        counter.update(["oil", None])
    with pytest.raises(InvalidTypeError, match="`tokenizer` to return a list of strings"):
        WordCounter(str.upper, num_workers=num_workers).update(["oil"])
    with pytest.raises(InvalidValueError, match="min_freq"):
        counter.vocabulary(min_freq=0)
