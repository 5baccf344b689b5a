"""Read pretrained word vectors from text files of word2vec, fastText and GloVe."""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from textrnn._storage import corrupt
from textrnn.errors import CorruptFileError, InvalidTypeError, check_int, expected, show
from textrnn.text.normalization import compose
from textrnn.text.vocabulary import Vocabulary

__all__ = ["VectorCoverage", "WordVectors", "read_vectors", "words_of"]

_MAX_SIZE = 16_384  # far above any real dimension, so that a corrupt header allocates little
_MAX_LINE = 2**20  # bytes: 64 per component of the longest vector
_LARGEST = float(np.finfo(np.float32).max)
_WHAT = "vector"
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"


@dataclass(frozen=True, kw_only=True)
class VectorCoverage:
    """Coverage of a vocabulary by a file of word vectors, without special tokens.

    `print` shows a summary.

    Attributes:
        words: Number of words in the vocabulary.
        words_found: Number of words with a vector.
        other_case: Number of words with the vector of a word in another case.
        tokens: Sum of the counts of all words.
        tokens_found: Sum of the counts of words with a vector.
        missing: Words without a vector, in descending order of count.
        repeated: Number of lines ignored because their word occurred before.

    Example:
        >>> coverage = VectorCoverage(
        ...     words=2,
        ...     words_found=1,
        ...     other_case=0,
        ...     tokens=8,
        ...     tokens_found=6,
        ...     missing=("opec",),
        ...     repeated=0,
        ... )
        >>> coverage.word_share, coverage.token_share
        (0.5, 0.75)
    """

    words: int
    words_found: int
    other_case: int
    tokens: int
    tokens_found: int
    missing: tuple[str, ...]
    repeated: int

    @property
    def word_share(self) -> float:
        """Fraction of words with a vector; 1 if there are no words."""
        return self.words_found / self.words if self.words else 1.0

    @property
    def token_share(self) -> float:
        """Fraction of tokens with a vector; 1 if there are no tokens."""
        return self.tokens_found / self.tokens if self.tokens else 1.0

    def __str__(self) -> str:
        text = (
            f"{self.words_found:,} of {self.words:,} words have a vector "
            f"({self.word_share:.1%}; {self.token_share:.1%} of all tokens)."
        )
        if not self.missing:
            return text
        more = ", ..." if len(self.missing) > 10 else ""
        return f"{text} Most frequent missing words: {', '.join(self.missing[:10])}{more}."


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Word vectors in the order of a vocabulary.

    Attributes:
        matrix: The vector of each token, or zeros, float32 `(len(vocabulary), size)`.
        found: Whether each token has a vector, bool `(len(vocabulary),)`. False for padding.
        coverage: Coverage of the vocabulary.
    """

    matrix: NDArray[np.float32]
    found: NDArray[np.bool_]
    coverage: VectorCoverage

    def __repr__(self) -> str:
        rows, size = self.matrix.shape
        return f"<WordVectors of dimension {size} for {int(self.found.sum())} of {rows} tokens>"


def read_vectors(
    path: str | os.PathLike[str],
    vocabulary: Vocabulary,
    *,
    size: int | None = None,
    ignore_case: bool = False,
) -> WordVectors:
    r"""Read the word vectors of a vocabulary from a file of any length.

    Each line has a word and the components of its vector, separated by blanks. A header with the
    number of vectors and their dimension may come first (word2vec and fastText's `.vec` have one,
    GloVe has none). Files may be compressed by gzip. Only vectors of the vocabulary are held in
    memory. Words and tokens are compared in NFC, so the vector of a word in decomposed characters
    is that of the composed token. If a word occurs twice, its first vector is used.

    Tokenize texts like those the vectors were trained on. For example, a lower-case vocabulary
    finds no capitalized names unless `ignore_case` is True.

    Args:
        path: The file.
        vocabulary: The vocabulary.
        size: Dimension of the vectors. None is that of the header or the first vector. It is
            required if there is no header and the first word contains blanks. Default: None.
        ignore_case: Give a word that is missing from the file the vector of the first word that
            differs only in case. Default: False.

    Returns:
        The vectors and their coverage of the vocabulary.

    Raises:
        OSError: If the file is missing or can't be read.
        CorruptFileError: If a line is too long, has too few components or one that is not a finite
            number, or if the number of vectors differs from the header. The message names the
            line.
        InvalidTypeError: If an argument has the wrong type.
        InvalidValueError: If `size` is not positive.

    Example:
        >>> import tempfile
        >>> vocabulary = Vocabulary({"oil": 5, "prices": 3, "opec": 2})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "vectors.vec")
        ...     _ = path.write_text("3 2\noil 0.5 -1\nthe 0 0\nprices 2 1.5\n")
        ...     vectors = read_vectors(path, vocabulary)
        >>> vectors.matrix[vocabulary["prices"]]
        array([2. , 1.5], dtype=float32)
        >>> print(vectors.coverage)
        2 of 3 words have a vector (66.7%; 80.0% of all tokens). Most frequent missing words: opec.
    """
    if not isinstance(vocabulary, Vocabulary):
        raise InvalidTypeError(expected("vocabulary", "a Vocabulary", vocabulary))
    if not isinstance(ignore_case, bool):
        raise InvalidTypeError(expected("ignore_case", "a boolean", ignore_case))
    if size is not None:
        size = check_int("size", size)
    table = _Table(path, vocabulary, ignore_case=ignore_case)
    with _opened(path) as file:
        table.read(_lines(path, file), size)
    return table.vectors()


def words_of(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield the words of a file in order, but those with blanks and those that are not UTF-8."""
    size = None
    with _opened(path) as file:
        for number, line in _lines(path, file):
            if number == 1 and (header := _header(line)) is not None:
                size = header[1]
                continue
            word, *numbers = line.split()
            size = len(numbers) if size is None else size
            if len(numbers) == size:
                with suppress(UnicodeDecodeError):
                    yield word.decode()


class _Table:
    """The vectors of a vocabulary while they are read line by line."""

    def __init__(
        self, path: str | os.PathLike[str], vocabulary: Vocabulary, *, ignore_case: bool
    ) -> None:
        self.path = path
        self.vocabulary = vocabulary
        # Bytes, so that other words need not be UTF-8, and most of them are not decoded.
        self.rows: dict[bytes, list[int]] = {}
        for row, token in enumerate(vocabulary):
            if row != vocabulary.pad_id:
                key = compose(token).encode("utf-8", "surrogatepass")
                self.rows.setdefault(key, []).append(row)
        self.lowered: dict[str, list[int]] = {}
        if ignore_case:
            for row, token in enumerate(vocabulary):
                if row >= len(vocabulary.specials):
                    self.lowered.setdefault(compose(token).lower(), []).append(row)
        self.matrix = np.zeros((len(vocabulary), 0), np.float32)
        self.exact = np.zeros(len(vocabulary), np.bool_)
        self.other_case = np.zeros(len(vocabulary), np.bool_)
        self.repeated = 0

    def read(self, lines: Iterator[tuple[int, bytes]], size: int | None) -> None:
        """Read numbered lines that are not blank; None takes the dimension from the first."""
        declared, read, last = None, 0, 0
        for last, line in lines:
            if last == 1 and (header := _header(line)) is not None:
                declared, given = header
                if size not in {None, given}:
                    raise self._corrupt(last, f"declares dimension {given} instead of {size}")
                size = self._begin(last, given)
                continue
            if not self.matrix.shape[1]:
                size = self._begin(last, len(line.split()) - 1 if size is None else size)
            if read == declared:
                raise self._corrupt(last, f"exceeds the {declared} declared vectors")
            read += 1
            self._take(last, line)
        if declared not in {None, read}:
            got = f"after {read} of {declared} declared vectors"
            raise self._corrupt(last, f"is the last, {got}")
        if not read:
            raise corrupt(self.path, _WHAT, "it has no vectors")

    def _begin(self, number: int, size: int) -> int:
        """Allocate vectors of a dimension and return it."""
        if not 1 <= size <= _MAX_SIZE:
            rule = f"from 1 to {_MAX_SIZE}"
            raise self._corrupt(number, f"has vectors of dimension {size} instead of {rule}")
        self.matrix = np.zeros((len(self.vocabulary), size), np.float32)
        return size

    def _take(self, number: int, line: bytes) -> None:
        """Store the vector of a line if its word is in the vocabulary."""
        size = self.matrix.shape[1]
        word, _, numbers = line.partition(b" ")
        if numbers.count(b" ") != size - 1 or b"\t" in line:
            # The word contains blanks, or the separators are unusual.
            *start, numbers = _split(line, size)
            if not start:
                found = max(len(line.split()) - 1, 0)
                raise self._corrupt(number, f"has {found} components instead of {size}")
            word = start[0]
        rows = self.rows.get(word, [])
        if not rows and not word.isascii():
            text = word.decode("utf-8", "surrogateescape")
            word = compose(text).encode("utf-8", "surrogateescape")
            rows = self.rows.get(word, [])
        if rows and self.exact[rows[0]]:
            self.repeated += 1
            return
        wanted = rows
        if self.lowered:
            known = self.lowered.get(word.decode("utf-8", "replace").lower(), ())
            others = [each for each in known if not (self.exact[each] or self.other_case[each])]
            self.other_case[others] = True
            wanted = rows + others
        if rows:
            self.exact[rows] = True
            self.other_case[rows] = False
        if wanted:
            self.matrix[wanted] = self._parse(number, numbers)

    def _parse(self, number: int, numbers: bytes) -> NDArray[np.float32]:
        """Parse the components of a vector."""
        fields = numbers.split()
        try:
            values = np.array(list(map(float, fields)))
        except ValueError:
            values = np.array([np.nan])
        # Python allows underscores in numbers.
        if not (np.abs(values) <= _LARGEST).all() or b"_" in numbers:
            wrong = next(field for field in fields if not _is_number(field))
            rule = "a finite single-precision number"
            raise self._corrupt(number, f"has {show(wrong)} instead of {rule}")
        return values.astype(np.float32)

    def _corrupt(self, number: int, reason: str) -> CorruptFileError:
        """Return the error for a line."""
        return corrupt(self.path, _WHAT, f"line {number} {reason}")

    def vectors(self) -> WordVectors:
        """Return the vectors read so far."""
        found = self.exact | self.other_case
        first = len(self.vocabulary.specials)
        counts = np.array(self.vocabulary.counts[first:], dtype=np.int64)
        known = found[first:]
        words = self.vocabulary.tokens[first:]
        coverage = VectorCoverage(
            words=len(words),
            words_found=int(known.sum()),
            other_case=int(self.other_case.sum()),
            tokens=int(counts.sum()),
            tokens_found=int(counts[known].sum()),
            missing=tuple(words[i] for i in np.flatnonzero(~known)),
            repeated=self.repeated,
        )
        return WordVectors(self.matrix, found, coverage)


def _header(line: bytes) -> tuple[int, int] | None:
    """Return the two integers of a header, or None for another line."""
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() and len(field) < 20 for field in fields):
        return None
    return int(fields[0]), int(fields[1])


def _is_number(field: bytes) -> bool:
    """Return whether a field is a finite single-precision number."""
    try:
        return abs(float(field)) <= _LARGEST and b"_" not in field
    except ValueError:
        return False


def _split(line: bytes, size: int) -> list[bytes]:
    """Split a line into the word and its components, or return it whole if there are too few."""
    fields = line.rsplit(None, size)
    return [fields[0], b" ".join(fields[1:])] if len(fields) > size else [line]


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file, decompressing it if its first bytes are those of gzip."""
    with Path(path).open("rb") as file:
        if not file.peek(2).startswith(_GZIP):
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield cast("BinaryIO", unpacked)


def _lines(path: str | os.PathLike[str], file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield numbered lines that are not blank, with one in memory at a time."""
    number = 0
    try:
        while line := file.readline(_MAX_LINE + 1):
            number += 1
            if len(line) > _MAX_LINE:
                raise corrupt(path, _WHAT, f"line {number} is longer than {_MAX_LINE} bytes")
            if number == 1:
                line = line.removeprefix(_BOM)
            if stripped := line.rstrip(_BLANKS):
                yield number, stripped
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        reason = f"it can't be decompressed after line {number} ({error})"
        raise corrupt(path, _WHAT, reason) from None
