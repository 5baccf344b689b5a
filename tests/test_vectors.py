"""Word vectors from text files: aligned, counted, and never trusted."""

import gzip
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textrnn.errors import CorruptFileError, InvalidTypeError, InvalidValueError
from textrnn.text import Vocabulary, WordVectors, read_vectors

VOCABULARY = Vocabulary({"oil": 6, "prices": 3, "paris": 2, "opec": 1})
OIL, PRICES, PARIS, OPEC = (VOCABULARY[word] for word in ("oil", "prices", "paris", "opec"))
GLOVE = "the 0 0 0\noil 1 2 3\nParis 7 8 9\nprices -0.5 1e-3 4.25\n"
FASTTEXT = "4 3\n" + GLOVE.replace("\n", " \n")


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file of vectors and gives its path."""

    def write_file(content: str | bytes, name: str = "vectors.txt") -> Path:
        path: Path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def fails(path: Path, match: str, **settings: object) -> None:
    """Expect a file to be refused with such a message."""
    with pytest.raises(CorruptFileError, match=match) as caught:
        read_vectors(path, VOCABULARY, **settings)
    assert path.name in str(caught.value)


def same(one: WordVectors, other: WordVectors) -> bool:
    """Tell whether two results are equal throughout."""
    return (
        np.array_equal(one.matrix, other.matrix)
        and np.array_equal(one.found, other.found)
        and one.coverage == other.coverage
    )


def test_rows_are_those_of_the_vocabulary(write):
    """Each word's vector stands in the row of its id; other rows are zero."""
    vectors = read_vectors(write(GLOVE), VOCABULARY)
    expected = np.zeros((len(VOCABULARY), 3), np.float32)
    expected[OIL], expected[PRICES] = (1, 2, 3), (-0.5, 1e-3, 4.25)
    np.testing.assert_array_equal(vectors.matrix, expected)
    assert vectors.matrix.dtype == np.float32
    assert vectors.found.nonzero()[0].tolist() == [OIL, PRICES]
    assert repr(vectors) == "<WordVectors of 3 numbers for 2 of 8 tokens>"


@pytest.mark.parametrize(
    "content",
    [
        FASTTEXT,
        GLOVE.replace("\n", "\r\n"),
        GLOVE.replace(" ", "\t"),
        GLOVE.replace(" ", "  "),
        GLOVE.rstrip("\n"),
        GLOVE + "\n\n",
        "\ufeff" + GLOVE,
        gzip.compress(GLOVE.encode()),
        gzip.compress(FASTTEXT.encode()),
    ],
    ids=["header", "crlf", "tabs", "blanks", "end", "empty", "bom", "gzip", "gzip-header"],
)
def test_all_forms_of_a_file_are_read_alike(write, content):
    """A header, other blanks, line ends, a mark of order and compression change nothing."""
    plain = read_vectors(write(GLOVE, "plain"), VOCABULARY)
    assert same(read_vectors(write(content), VOCABULARY), plain)


def test_coverage_counts_words_and_tokens(write):
    """Words found are told by themselves and by how often they occur, missing ones by name."""
    coverage = read_vectors(write(GLOVE), VOCABULARY).coverage
    assert (coverage.words, coverage.words_found, coverage.word_share) == (4, 2, 0.5)
    assert (coverage.tokens, coverage.tokens_found, coverage.token_share) == (12, 9, 0.75)
    assert coverage.missing == ("paris", "opec")
    assert str(coverage) == (
        "2 of 4 words have a vector (50.0%; 75.0% of all tokens). "
        "The most frequent without: paris, opec."
    )


def test_coverage_of_everything_and_of_nothing(write):
    """Nothing is missing where all words or no words are there."""
    whole = read_vectors(write("a 1\nb 2\n"), Vocabulary({"a": 1, "b": 1})).coverage
    assert str(whole) == "2 of 2 words have a vector (100.0%; 100.0% of all tokens)."
    empty = read_vectors(write("a 1\n"), Vocabulary({})).coverage
    assert (empty.word_share, empty.token_share, empty.missing) == (1.0, 1.0, ())


def test_a_long_list_of_missing_words_is_cut(write):
    """Ten of them are shown."""
    vocabulary = Vocabulary({f"w{i:02}": 20 - i for i in range(12)})
    shown = str(read_vectors(write("a 1\n"), vocabulary).coverage)
    assert shown.endswith("w08, w09, ....")
    assert "w10" not in shown


def test_case_is_ignored_where_that_is_asked_for(write):
    """A word without a vector gets that of the first one in another case."""
    path = write("PARIS 1 1\nParis 2 2\nOil 3 3\noil 4 4\nOIL 5 5\n")
    strict = read_vectors(path, VOCABULARY)
    assert strict.found.nonzero()[0].tolist() == [OIL]
    vectors = read_vectors(path, VOCABULARY, ignore_case=True)
    assert vectors.matrix[PARIS].tolist() == [1, 1]
    assert vectors.matrix[OIL].tolist() == [4, 4]  # its own, though it came later
    assert vectors.coverage.other_case == 1
    assert vectors.coverage.words_found == 2


def test_a_vocabulary_with_cases_can_share_a_vector(write):
    """What the file has in lower case alone serves all its forms, and special tokens do not."""
    vocabulary = Vocabulary({"Oil": 2, "oil": 1, "OIL": 1})
    vectors = read_vectors(write("<UNK> 9\noil 1\n"), vocabulary, ignore_case=True)
    assert vectors.matrix[4:].tolist() == [[1.0]] * 3
    assert vectors.coverage.other_case == 2
    assert not vectors.found[:4].any()


def test_special_tokens_get_vectors_but_for_padding(write):
    """GloVe has a vector for unknown words; one for padding would undo its zeros."""
    vectors = read_vectors(write("<unk> 1\n<pad> 2\n"), VOCABULARY)
    assert vectors.matrix[:4, 0].tolist() == [0, 1, 0, 0]
    assert vectors.coverage.words_found == 0


def test_the_first_of_two_vectors_counts(write):
    """Later ones are counted and left out."""
    vectors = read_vectors(write("oil 1\noil 2\nthe 1\nthe 2\noil 3\n"), VOCABULARY)
    assert vectors.matrix[OIL] == 1
    assert vectors.coverage.repeated == 2


def test_words_may_have_blanks_in_them(write):
    """The numbers are what stands last; `size` helps where the first word has blanks."""
    vocabulary = Vocabulary({". . .": 2, "at me": 1, "oil": 1})
    vectors = read_vectors(write("oil 1 2\n. . . 3 4\nat me 5 6\n"), vocabulary)
    assert vectors.matrix[4:].tolist() == [[3, 4], [5, 6], [1, 2]]
    path = write(". . . 3 4\noil 1 2\n")
    assert read_vectors(path, vocabulary, size=2).matrix[4].tolist() == [3, 4]
    with pytest.raises(CorruptFileError, match="line 2 has 2 numbers instead of 4"):
        read_vectors(path, vocabulary)


def test_words_of_any_bytes_are_passed_over(write):
    """Other words need not be UTF-8, and those of the vocabulary may be any string."""
    vocabulary = Vocabulary({"\u00e9t\u00e9": 1, "\ud83d": 1})
    content = b"\xff\xfe 1\n" + "\u00e9t\u00e9 2\n".encode() + b"\xed\xa0\xbd 3\n"
    for ignore_case in (False, True):
        vectors = read_vectors(write(content), vocabulary, ignore_case=ignore_case)
        assert sorted(vectors.matrix[4:, 0].tolist()) == [2, 3]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "it has no vectors"),
        ("\n \n", "it has no vectors"),
        ("0 2\n", "it has no vectors"),
        ("5 2\n", "line 1 is the last one, after 0 vectors instead of the 5 promised"),
        ("oil\n", "line 1 is for vectors of 0 numbers instead of from 1 to 16384"),
        ("oil 1 2\nthe 1\n", "line 2 has 1 numbers instead of 2"),
        ("oil 1 2\nthe\n", "line 2 has 0 numbers instead of 2"),
        ("2 2\noil 1 2\n", "line 2 is the last one, after 1 vectors instead of the 2 promised"),
        ("1 2\noil 1 2\nthe 1 2\n", "line 3 comes after the 1 vectors promised"),
        ("1 99999999999\noil 1\n", "line 1 is for vectors of 99999999999 numbers"),
        ("1 0\noil\n", "line 1 is for vectors of 0 numbers"),
        ("the 1\noil x\n", "line 2 has b'x' instead of a finite number"),
        ("the 1\noil nan\n", "line 2 has b'nan' instead of a finite number"),
        ("the 1\noil -inf\n", "line 2 has b'-inf' instead of a finite number"),
        ("the 1\noil 1e39\n", "line 2 has b'1e39' instead of a finite number of single precision"),
        ("the 1\noil 1_0\n", "line 2 has b'1_0' instead of a finite number"),
        ("the 1\noil 1\x002\n", r"line 2 has b'1\\x002' instead of a finite number"),
        ("oil" + " 1" * 20_000, "line 1 is for vectors of 20000 numbers"),
        ("the 1\n" + "x" * (2**20 + 1) + " 1\n", "line 2 is longer than 1048576 bytes"),
        (b"\x1f\x8bnonsense", "it can't be unpacked after line 0"),
        (gzip.compress(GLOVE.encode())[:-12], "it can't be unpacked after line"),
        (gzip.compress(GLOVE.encode())[:-6] + b"\0" * 6, "it can't be unpacked after line 4"),
    ],
)
def test_what_is_no_file_of_vectors_is_refused(write, content, match):
    """The message names the file, the line and what is wrong with it."""
    fails(write(content), match)


def test_a_size_that_was_asked_for_is_held(write):
    """A file with other vectors is refused at its first line."""
    fails(write(FASTTEXT), "line 1 promises 3 numbers a vector instead of 4", size=4)
    fails(write(GLOVE), "line 1 has 3 numbers instead of 4", size=4)


def test_arguments_are_checked(write):
    """Wrong ones are named."""
    path = write(GLOVE)
    with pytest.raises(InvalidTypeError, match="`vocabulary` to be a Vocabulary"):
        read_vectors(path, ["oil"])
    with pytest.raises(InvalidTypeError, match="`ignore_case` to be a boolean"):
        read_vectors(path, VOCABULARY, ignore_case="yes")
    with pytest.raises(InvalidValueError, match="`size` to be a positive integer"):
        read_vectors(path, VOCABULARY, size=0)
    with pytest.raises(FileNotFoundError):
        read_vectors(path.with_name("missing"), VOCABULARY)


def test_memory_does_not_grow_with_the_file(write):
    """A file far larger than what is wanted of it is read in little memory."""
    line = " ".join(["0.25"] * 100)
    path = write(gzip.compress("".join(f"w{i} {line}\n" for i in range(20_000)).encode()))
    tracemalloc.start()
    try:
        read_vectors(path, VOCABULARY)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000  # unpacked, the file has ten times as much


@given(st.binary(max_size=60))
def test_any_bytes_are_vectors_or_refused(tmp_path_factory, content):
    """No file makes it fail in another way."""
    path = tmp_path_factory.getbasetemp() / f"any-{os.getpid()}"
    path.write_bytes(content)
    vocabulary = Vocabulary({"0": 1, "1": 1, "": 1})
    try:
        vectors = read_vectors(path, vocabulary, ignore_case=True)
    except CorruptFileError:
        return
    assert np.isfinite(vectors.matrix).all()
    assert len(vectors.matrix) == len(vocabulary)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters=" \t\r\n", exclude_categories=()), min_size=1),
        st.lists(
            st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3
        ),
        min_size=1,
    )
)
def test_numbers_come_back_exactly(tmp_path_factory, words):
    """Whatever the words and numbers, each row is what was written."""
    path = tmp_path_factory.getbasetemp() / f"exact-{os.getpid()}"
    lines = [f"{word} {' '.join(map(repr, numbers))}\n" for word, numbers in words.items()]
    head = f"{len(words)} 3\n"
    path.write_bytes((head + "".join(lines)).encode("utf-8", "surrogatepass"))
    vocabulary = Vocabulary(dict.fromkeys(words, 1))
    vectors = read_vectors(path, vocabulary)
    for word, numbers in words.items():
        if word != "<pad>":
            assert vectors.matrix[vocabulary[word]].tolist() == numbers
