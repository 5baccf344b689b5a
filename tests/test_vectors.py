"""Word vectors from text files are aligned, counted and validated."""

import gzip
import os
import tracemalloc
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textrnn.errors import CorruptFileError, InvalidTypeError, InvalidValueError
from textrnn.text import Vocabulary, WordVectors, read_vectors
from textrnn.text.vectors import words_of

VOCABULARY = Vocabulary({"oil": 6, "prices": 3, "paris": 2, "opec": 1})
OIL, PRICES, PARIS, OPEC = (VOCABULARY[word] for word in ("oil", "prices", "paris", "opec"))
GLOVE = "the 0 0 0\noil 1 2 3\nParis 7 8 9\nprices -0.5 1e-3 4.25\n"
FASTTEXT = "4 3\n" + GLOVE.replace("\n", " \n")


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file of vectors and returns its path."""

    def write_file(content: str | bytes, name: str = "vectors.txt") -> Path:
        path: Path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def fails(path: Path, match: str, **settings: object) -> None:
    """Assert that a file is refused with a message."""
    with pytest.raises(CorruptFileError, match=match) as caught:
        read_vectors(path, VOCABULARY, **settings)
    assert path.name in str(caught.value)


def same(one: WordVectors, other: WordVectors) -> bool:
    """Return whether two results are equal."""
    return (
        np.array_equal(one.matrix, other.matrix)
        and np.array_equal(one.found, other.found)
        and one.coverage == other.coverage
    )


def test_rows_follow_the_vocabulary(write):
    """The vector of a word is in the row of its id; other rows are zero."""
    vectors = read_vectors(write(GLOVE), VOCABULARY)
    expected = np.zeros((len(VOCABULARY), 3), np.float32)
    expected[OIL], expected[PRICES] = (1, 2, 3), (-0.5, 1e-3, 4.25)
    np.testing.assert_array_equal(vectors.matrix, expected)
    assert vectors.matrix.dtype == np.float32
    assert vectors.found.nonzero()[0].tolist() == [OIL, PRICES]
    assert repr(vectors) == "<WordVectors of dimension 3 for 2 of 8 tokens>"


@pytest.mark.parametrize(
    "content",
    [
        FASTTEXT,
        GLOVE.replace("\n", "\r\n"),
        GLOVE.replace(" ", "\t"),
        GLOVE.replace(" ", "  "),
        GLOVE.rstrip("\n"),
        GLOVE + "\n\n",
        "\ufeff" + FASTTEXT,
        gzip.compress(GLOVE.encode()),
        gzip.compress(FASTTEXT.encode()),
    ],
    ids=["header", "crlf", "tabs", "blanks", "end", "empty", "bom", "gzip", "gzip-header"],
)
def test_all_file_formats_give_equal_vectors(write, content):
    """A header, other blanks, line ends, a byte order mark and gzip don't affect the result."""
    plain = read_vectors(write(GLOVE, "plain"), VOCABULARY)
    assert same(read_vectors(write(content), VOCABULARY), plain)


def test_coverage_counts_words_and_tokens(write):
    """Found words are counted once and by occurrences; missing words are listed."""
    coverage = read_vectors(write(GLOVE), VOCABULARY).coverage
    assert (coverage.words, coverage.words_found, coverage.word_share) == (4, 2, 0.5)
    assert (coverage.tokens, coverage.tokens_found, coverage.token_share) == (12, 9, 0.75)
    assert coverage.missing == ("paris", "opec")
    assert str(coverage) == (
        "2 of 4 words have a vector (50.0%; 75.0% of all tokens). "
        "Most frequent missing words: paris, opec."
    )


def test_complete_and_empty_coverage(write):
    """The coverage is 1 if all words are found, or if there are none."""
    whole = read_vectors(write("a 1\nb 2\n"), Vocabulary({"a": 1, "b": 1})).coverage
    assert str(whole) == "2 of 2 words have a vector (100.0%; 100.0% of all tokens)."
    empty = read_vectors(write("a 1\n"), Vocabulary({})).coverage
    assert (empty.word_share, empty.token_share, empty.missing) == (1.0, 1.0, ())


def test_a_long_list_of_missing_words_is_truncated(write):
    """The summary shows ten missing words."""
    vocabulary = Vocabulary({f"w{i:02}": 20 - i for i in range(12)})
    shown = str(read_vectors(write("a 1\n"), vocabulary).coverage)
    assert shown.endswith("w08, w09, ....")
    assert "w10" not in shown


def test_ignore_case_finds_words_in_another_case(write):
    """A missing word gets the vector of the first word in another case."""
    path = write("PARIS 1 1\nParis 2 2\nOil 3 3\noil 4 4\nOIL 5 5\n")
    strict = read_vectors(path, VOCABULARY)
    assert strict.found.nonzero()[0].tolist() == [OIL]
    vectors = read_vectors(path, VOCABULARY, ignore_case=True)
    assert vectors.matrix[PARIS].tolist() == [1, 1]
    assert vectors.matrix[OIL].tolist() == [4, 4]  # its own, though it came later
    assert vectors.coverage.other_case == 1
    assert vectors.coverage.words_found == 2


def test_words_that_differ_in_case_can_share_a_vector(write):
    """One vector serves all cases of a word, but not special tokens."""
    vocabulary = Vocabulary({"Oil": 2, "oil": 1, "OIL": 1})
    vectors = read_vectors(write("<UNK> 9\noil 1\n"), vocabulary, ignore_case=True)
    assert vectors.matrix[4:].tolist() == [[1.0]] * 3
    assert vectors.coverage.other_case == 2
    assert not vectors.found[:4].any()


def test_special_tokens_except_padding_get_vectors(write):
    """The unknown token gets its vector, as in GloVe; padding stays zero."""
    vectors = read_vectors(write("<unk> 1\n<pad> 2\n"), VOCABULARY)
    assert vectors.matrix[:4, 0].tolist() == [0, 1, 0, 0]
    assert vectors.coverage.words_found == 0


def test_the_first_of_two_vectors_is_used(write):
    """Repeated words are ignored and counted."""
    vectors = read_vectors(write("oil 1\noil 2\nthe 1\nthe 2\noil 3\n"), VOCABULARY)
    assert vectors.matrix[OIL] == 1
    assert vectors.coverage.repeated == 2


def test_words_are_compared_in_composed_characters(write):
    """Words and tokens match in either form of an accent; the first of equal words counts."""
    composed, decomposed, other = "\u00e9t\u00e9", "e\u0301te\u0301", "\u00c9t\u00c9"
    for words in ([composed], [decomposed], [decomposed, composed]):
        for first, second in ((composed, decomposed), (decomposed, composed)):
            path = write(f"the 0\n{first} 1\n{second} 2\n")
            vectors = read_vectors(path, Vocabulary(dict.fromkeys(words, 1)))
            assert vectors.matrix[4:].tolist() == [[1.0]] * len(words)
            assert vectors.coverage.words_found == len(words)
            assert vectors.coverage.repeated == 1
    path = write("E\u0301TE\u0301 3\n")
    vectors = read_vectors(path, Vocabulary({composed: 1, other: 1}), ignore_case=True)
    assert vectors.matrix[4:].tolist() == [[3.0], [3.0]]
    assert vectors.coverage.other_case == 2


def test_words_that_are_not_utf_8_match_no_token(write):
    """Bytes that are not UTF-8 are neither decoded nor composed into a token."""
    vocabulary = Vocabulary({"\u00e9": 1, "\udce9": 1})
    vectors = read_vectors(write(b"\xe9 1\n\xcc\x81\xff 1\ne\xcc 1\n"), vocabulary)
    assert not vectors.found.any()


def test_words_may_contain_blanks(write):
    """The last fields are the components; `size` is needed if the first word has blanks."""
    vocabulary = Vocabulary({". . .": 2, "at me": 1, "oil": 1})
    vectors = read_vectors(write("oil 1 2\n. . . 3 4\nat me 5 6\n"), vocabulary)
    assert vectors.matrix[4:].tolist() == [[3, 4], [5, 6], [1, 2]]
    path = write(". . . 3 4\noil 1 2\n")
    assert read_vectors(path, vocabulary, size=2).matrix[4].tolist() == [3, 4]
    with pytest.raises(CorruptFileError, match="line 2 has 2 components instead of 4"):
        read_vectors(path, vocabulary)


@pytest.mark.parametrize("header", ["", "5 2\n"])
def test_words_are_listed_in_the_order_of_the_file(write, header):
    """Words with blanks and words that are not UTF-8 are left out."""
    lines = f"{header}oil 1 2\nNew York 1 2\ncaf\u00e9 1 2 \n".encode() + b"\xff 1 2\nthe\t1\t2"
    assert list(words_of(write(lines))) == ["oil", "caf\u00e9", "the"]


def test_words_may_be_any_bytes(write):
    """Other words need not be UTF-8, and words of the vocabulary may be any string."""
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
        ("5 2\n", "line 1 is the last, after 0 of 5 declared vectors"),
        ("oil\n", "line 1 has vectors of dimension 0 instead of from 1 to 16384"),
        ("oil 1 2\nthe 1\n", "line 2 has 1 components instead of 2"),
        ("oil 1 2\nthe\n", "line 2 has 0 components instead of 2"),
        ("2 2\noil 1 2\n", "line 2 is the last, after 1 of 2 declared vectors"),
        ("1 2\noil 1 2\nthe 1 2\n", "line 3 exceeds the 1 declared vectors"),
        ("1 99999999999\noil 1\n", "line 1 has vectors of dimension 99999999999"),
        ("1 0\noil\n", "line 1 has vectors of dimension 0"),
        ("the 1\noil x\n", "line 2 has b'x' instead of a finite single-precision number"),
        ("the 1\noil nan\n", "line 2 has b'nan' instead of a finite single-precision number"),
        ("the 1\noil -inf\n", "line 2 has b'-inf' instead of a finite single-precision number"),
        ("the 1\noil 1e39\n", "line 2 has b'1e39' instead of a finite single-precision number"),
        ("the 1\noil 1_0\n", "line 2 has b'1_0' instead of a finite single-precision number"),
        (
            "the 1\noil 1\x002\n",
            r"line 2 has b'1\\x002' instead of a finite",
        ),
        ("oil" + " 1" * 20_000, "line 1 has vectors of dimension 20000"),
        ("the 1\n" + "x" * (2**20 + 1) + " 1\n", "line 2 is longer than 1048576 bytes"),
        (b"\x1f\x8bnonsense", "it can't be decompressed after line 0"),
        (gzip.compress(GLOVE.encode(), mtime=0)[:-12], "it can't be decompressed after line"),
        (
            gzip.compress(GLOVE.encode(), mtime=0)[:-6] + b"\0" * 6,
            "it can't be decompressed after line 4",
        ),
    ],
)
def test_invalid_files_are_refused(write, content, match):
    """The message names the file, the line and the fault."""
    fails(write(content), match)


def test_another_size_is_refused(write):
    """A file with vectors of another dimension is refused at its first line."""
    fails(write(FASTTEXT), "line 1 declares dimension 3 instead of 4", size=4)
    fails(write(GLOVE), "line 1 has 3 components instead of 4", size=4)


def test_wrong_arguments_are_named(write):
    """Errors name the invalid argument."""
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
    """Reading a large file needs memory only for the vectors of the vocabulary."""
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
def test_arbitrary_bytes_are_read_or_refused(tmp_path_factory, content):
    """Arbitrary files give finite vectors or a `CorruptFileError`."""
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
    ).filter(lambda words: len({normalize("NFC", word) for word in words}) == len(words))
)
def test_components_are_read_exactly(tmp_path_factory, words):
    """Each row equals the written components, for any words and numbers."""
    path = tmp_path_factory.getbasetemp() / f"exact-{os.getpid()}"
    lines = [f"{word} {' '.join(map(repr, numbers))}\n" for word, numbers in words.items()]
    head = f"{len(words)} 3\n"
    path.write_bytes((head + "".join(lines)).encode("utf-8", "surrogatepass"))
    vocabulary = Vocabulary(dict.fromkeys(words, 1))
    vectors = read_vectors(path, vocabulary)
    for word, numbers in words.items():
        if word != "<pad>":
            assert vectors.matrix[vocabulary[word]].tolist() == numbers
