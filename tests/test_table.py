"""The table of words gives what a dictionary would."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textrnn.text import _table
from textrnn.text._table import Words, WordTable

# Bytes that are alike in their beginning, their end or their zeros, and have all lengths around
# the limits of eight, fifteen and sixteen bytes.
ALIKE = st.builds(
    lambda letter, length, end: letter * length + end,
    st.sampled_from([b"a", b"\x00", b"\xff"]),
    st.integers(0, 18),
    st.sampled_from([b"a", b"b", b"\x00", b"ab"]),
)
WORDS = st.lists(ALIKE | st.binary(min_size=1, max_size=20), max_size=60)


@given(batches=st.lists(WORDS, max_size=5), colliding=st.booleans())
def test_learning_numbers_words_as_they_come(batches, colliding):
    """Each new word gets the next id, each old one its own, even if all of them collide."""
    factors = [np.uint64(0)] * 3 if colliding else _table._FACTORS
    expected = {}
    with mock.patch.object(_table, "_FACTORS", factors):
        table = WordTable()
        for batch in batches:
            ids = table.learn(Words.join(batch))
            assert ids.dtype == np.int32
            assert ids.tolist() == [expected.setdefault(word, len(expected)) for word in batch]
        assert table.words == list(expected)


@given(known=WORDS, others=WORDS, colliding=st.booleans())
def test_finding_changes_nothing(known, others, colliding):
    """A known word has the id of its place, any other has none, and none is added."""
    factors = [np.uint64(0)] * 3 if colliding else _table._FACTORS
    known = list(dict.fromkeys(known))
    with mock.patch.object(_table, "_FACTORS", factors):
        table = WordTable(known)
        ids = table.find(Words.join(known + others)).tolist()
    places = {word: index for index, word in enumerate(known)}
    assert ids == [places.get(word, -1) for word in known + others]
    assert table.words == known


def test_a_table_grows_with_its_words():
    """Many words, added one by one and all at once, are all found."""
    words = [str(number).encode() for number in range(3000)]
    grown = WordTable()
    for word in words:
        grown.learn(Words.join([word]))
    assert grown.find(Words.join(words)).tolist() == list(range(3000))
    assert WordTable(words).find(Words.join(words)).tolist() == list(range(3000))


@pytest.mark.parametrize("limit", [None, 0, 1, 2])
@given(
    texts=st.lists(
        st.lists(st.text(st.characters(exclude_characters=" |", exclude_categories=()), min_size=1))
    )
)
def test_texts_are_split_into_words(limit, texts):
    """Words are found whatever blanks surround them, and each text has as many as it should."""
    texts = texts or [[]]
    words, counts = Words.split("|".join("  ".join(["", *text]) for text in texts), limit=limit)
    expected = [text[:limit] for text in texts]
    spelled = [word.decode("utf-8", "surrogatepass") for word in words.spell(slice(None))]
    assert spelled == [word for text in expected for word in text]
    assert counts.tolist() == [len(text) for text in expected]
