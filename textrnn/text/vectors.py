"""Pretrained word vectors from the text files of word2vec, fastText and GloVe."""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from textrnn._storage import corrupt
from textrnn.errors import CorruptFileError, InvalidTypeError, check_int, expected, show
from textrnn.text.vocabulary import Vocabulary

__all__ = ["VectorCoverage", "WordVectors", "read_vectors"]

_MAX_SIZE = 16_384  # far more than any vectors have, so that a damaged header asks for no memory
_MAX_LINE = 2**20  # bytes: 64 for each number of the longest vector
_LARGEST = float(np.finfo(np.float32).max)
_WHAT = "vector"
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"


@dataclass(frozen=True, kw_only=True)
class VectorCoverage:
    """How much of a vocabulary a file of vectors knows; special tokens don't count.

    `print` shows it as a sentence or two.

    Attributes:
        words: How many words the vocabulary has.
        words_found: How many of them have a vector.
        other_case: How many of these have that of a word in another case.
        tokens: How often the vocabulary's words occurred in its texts.
        tokens_found: How often those that have a vector did.
        missing: The words without a vector, the most frequent first.
        repeated: How many lines were left out, since their word had come before.
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
        """The share of words that have a vector, from 0 to 1; 1 where there are no words."""
        return self.words_found / self.words if self.words else 1.0

    @property
    def token_share(self) -> float:
        """The share of all occurrences of words that have a vector, from 0 to 1."""
        return self.tokens_found / self.tokens if self.tokens else 1.0

    def __str__(self) -> str:
        text = (
            f"{self.words_found:,} of {self.words:,} words have a vector "
            f"({self.word_share:.1%}; {self.token_share:.1%} of all tokens)."
        )
        if not self.missing:
            return text
        more = ", ..." if len(self.missing) > 10 else ""
        return f"{text} The most frequent without: {', '.join(self.missing[:10])}{more}."


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Vectors in the order of a vocabulary.

    Attributes:
        matrix: A row for each token, zeros where the file has none; float32
            `(len(vocabulary), size)`.
        found: Which tokens have a vector, bool `(len(vocabulary),)`. Padding never has.
        coverage: How much of the vocabulary was found.
    """

    matrix: NDArray[np.float32]
    found: NDArray[np.bool_]
    coverage: VectorCoverage

    def __repr__(self) -> str:
        rows, size = self.matrix.shape
        return f"<WordVectors of {size} numbers for {int(self.found.sum())} of {rows} tokens>"


def read_vectors(
    path: str | os.PathLike[str],
    vocabulary: Vocabulary,
    *,
    size: int | None = None,
    ignore_case: bool = False,
) -> WordVectors:
    r"""Read the vectors of a vocabulary's words from a file of any length.

    A line is a word and its numbers, divided by blanks; a first line of two integers, the numbers
    of vectors and of their numbers, may stand before (word2vec and fastText's ``.vec`` have it,
    GloVe has not). A file compressed by gzip is read as it is. Only the vectors that are wanted
    are kept, whatever the file has; where a word comes twice, its first vector counts.

    The tokens have to be cut as the file's are: a vocabulary in lower case finds no names in a
    file that has them in capitals, unless `ignore_case`.

    Args:
        path: The file.
        vocabulary: The vocabulary.
        size: How many numbers a vector must have. Default: as many as the first one; to be given
            for a file without a first line of two integers whose first word has blanks in it.
        ignore_case: Whether a word that the file doesn't have gets the vector of the first one
            that differs from it in case alone.

    Returns:
        The vectors, and how much they cover.

    Raises:
        OSError: If the file is missing or can't be read.
        CorruptFileError: If the file is no such file: a line is too long, has too few numbers or
            something else in their place, or a number is not finite; or there are fewer or more
            vectors than the first line says. The line is named.
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
        2 of 3 words have a vector (66.7%; 80.0% of all tokens). The most frequent without: opec.
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


class _Table:
    """The rows of a vocabulary, filled line by line.

    Args:
        path: The file that the lines come from, to name it.
        vocabulary: The vocabulary.
        ignore_case: Whether words may differ in case.
    """

    def __init__(
        self, path: str | os.PathLike[str], vocabulary: Vocabulary, *, ignore_case: bool
    ) -> None:
        self.path = path
        self.vocabulary = vocabulary
        # Bytes, so that what is not wanted need not be decoded, nor be UTF-8 at all.
        self.rows = {
            token.encode("utf-8", "surrogatepass"): i for i, token in enumerate(vocabulary)
        }
        pad = vocabulary.tokens[vocabulary.pad_id]
        del self.rows[pad.encode("utf-8", "surrogatepass")]
        self.lowered: dict[str, list[int]] = {}
        if ignore_case:
            for row, token in enumerate(vocabulary):
                if row >= len(vocabulary.specials):
                    self.lowered.setdefault(token.lower(), []).append(row)
        self.matrix = np.zeros((len(vocabulary), 0), np.float32)
        self.exact = np.zeros(len(vocabulary), np.bool_)
        self.other_case = np.zeros(len(vocabulary), np.bool_)
        self.repeated = 0

    def read(self, lines: Iterator[tuple[int, bytes]], size: int | None) -> None:
        """Take what is wanted from the lines of a file.

        Args:
            lines: The lines with their numbers, none of them blank.
            size: How many numbers a vector must have, or None.

        Raises:
            CorruptFileError: If the file is no file of vectors.
        """
        promised, read, last = None, 0, 0
        for last, line in lines:
            if last == 1 and (header := _header(line)) is not None:
                promised, given = header
                if size not in {None, given}:
                    raise self._corrupt(
                        last, f"promises {given} numbers a vector instead of {size}"
                    )
                size = self._begin(last, given)
                continue
            if not self.matrix.shape[1]:
                size = self._begin(last, len(line.split()) - 1 if size is None else size)
            if read == promised:
                raise self._corrupt(last, f"comes after the {promised} vectors promised")
            read += 1
            self._take(last, line)
        if promised not in {None, read}:
            got = f"after {read} vectors instead of the {promised} promised"
            raise self._corrupt(last, f"is the last one, {got}")
        if not read:
            raise corrupt(self.path, _WHAT, "it has no vectors")

    def _begin(self, number: int, size: int) -> int:
        """Make room for vectors of that size."""
        if not 1 <= size <= _MAX_SIZE:
            rule = f"from 1 to {_MAX_SIZE}"
            raise self._corrupt(number, f"is for vectors of {size} numbers instead of {rule}")
        self.matrix = np.zeros((len(self.vocabulary), size), np.float32)
        return size

    def _take(self, number: int, line: bytes) -> None:
        """Take the vector of a line, if its word is wanted."""
        size = self.matrix.shape[1]
        word, _, numbers = line.partition(b" ")
        if numbers.count(b" ") != size - 1 or b"\t" in line:
            # The word has blanks in it, or what divides the numbers is something else.
            *start, numbers = _split(line, size)
            if not start:
                found = max(len(line.split()) - 1, 0)
                raise self._corrupt(number, f"has {found} numbers instead of {size}")
            word = start[0]
        row = self.rows.get(word)
        wanted = [] if row is None else [row]
        if row is not None and self.exact[row]:
            self.repeated += 1
            return
        if self.lowered:
            known = self.lowered.get(word.decode("utf-8", "replace").lower(), ())
            others = [each for each in known if not (self.exact[each] or self.other_case[each])]
            self.other_case[others] = True
            wanted += others
        if row is not None:
            self.exact[row] = True
            self.other_case[row] = False
        if wanted:
            self.matrix[wanted] = self._parse(number, numbers)

    def _parse(self, number: int, numbers: bytes) -> NDArray[np.float32]:
        """Return the numbers of a line."""
        fields = numbers.split()
        try:
            values = np.array(list(map(float, fields)))
        except ValueError:
            values = np.array([np.nan])
        # Python allows an underscore in a number.
        if not (np.abs(values) <= _LARGEST).all() or b"_" in numbers:
            wrong = next(field for field in fields if not _is_number(field))
            rule = "a finite number of single precision"
            raise self._corrupt(number, f"has {show(wrong)} instead of {rule}")
        return values.astype(np.float32)

    def _corrupt(self, number: int, reason: str) -> CorruptFileError:
        return corrupt(self.path, _WHAT, f"line {number} {reason}")

    def vectors(self) -> WordVectors:
        """Return what was found."""
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
    """Return the two integers that a first line consists of, if it does."""
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() and len(field) < 20 for field in fields):
        return None
    return int(fields[0]), int(fields[1])


def _is_number(field: bytes) -> bool:
    """Tell whether a field is a finite number of single precision."""
    try:
        return abs(float(field)) <= _LARGEST and b"_" not in field
    except ValueError:
        return False


def _split(line: bytes, size: int) -> list[bytes]:
    """Cut a line into the word and its numbers, or leave it whole if there are too few."""
    fields = line.rsplit(None, size)
    return [fields[0], b" ".join(fields[1:])] if len(fields) > size else [line]


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file whose first bytes tell whether it is compressed."""
    with Path(path).open("rb") as file:
        if not file.peek(2).startswith(_GZIP):
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield cast("BinaryIO", unpacked)


def _lines(path: str | os.PathLike[str], file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Give the lines that are not blank with their numbers, never more than one in memory."""
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
        reason = f"it can't be unpacked after line {number} ({error})"
        raise corrupt(path, _WHAT, reason) from None
