"""Texts of the benchmarks."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from textrnn import Vocabulary, WordDataset, WordTokenizer

MIN_FREQ = 26  # the notebook keeps words that occur more than 25 times


@dataclass(frozen=True)
class Split:
    """Texts with their class ids."""

    texts: list[str]
    labels: list[int]

    def head(self, count: int) -> "Split":
        """Return the first `count` texts."""
        return Split(self.texts[:count], self.labels[:count])


def read(path: Path) -> Split:
    """Read a Parquet file with the columns `text` and `label`."""
    if not path.is_file():
        raise SystemExit(
            f"There is no {path}: set the folder with the data sets with --data or the variable "
            "TEXTRNN_DATA."
        )
    table = pq.read_table(path, columns=["text", "label"])
    return Split(table["text"].to_pylist(), table["label"].to_pylist())


class Corpus:
    """The data sets of a folder (default: `TEXTRNN_DATA`), read when first used."""

    def __init__(self, folder: str | None = None) -> None:
        self.folder = Path(folder or os.environ.get("TEXTRNN_DATA", "data"))

    @cached_property
    def train(self) -> Split:
        """The training texts of AG-33k."""
        return read(self.folder / "ag_news" / "train.parquet")

    @cached_property
    def test(self) -> Split:
        """The 7,600 test texts of AG News."""
        return read(self.folder / "ag_news" / "test.parquet")

    @cached_property
    def imdb(self) -> Split:
        """The training texts of IMDB."""
        return read(self.folder / "imdb" / "train.parquet")

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of AG-33k with the notebook's minimum count."""
        return Vocabulary.from_texts(self.train.texts, WordTokenizer(), min_freq=MIN_FREQ)

    def encoded(self, split: Split, *, max_length: int = 256) -> WordDataset:
        """Encode texts."""
        return WordDataset(
            split.texts, split.labels, self.vocabulary, WordTokenizer(), max_length=max_length
        )

    def made(self, count: int, *, seed: int = 0) -> Split:
        """Generate texts with the word frequencies and lengths of AG-33k."""
        generator = np.random.default_rng(seed)
        words, frequencies = self._words
        lengths = generator.choice(self._lengths, count)
        labels = generator.integers(0, 4, count)
        drawn = generator.choice(len(words), int(lengths.sum()), p=frequencies)
        marked = generator.random(len(drawn)) < 0.1
        drawn[marked] = 10 * generator.integers(0, 20, int(marked.sum()))
        drawn[marked] += np.repeat(labels, lengths)[marked]
        ends = lengths.cumsum()
        pieces = [words[i] for i in drawn.tolist()]
        texts = [
            " ".join(pieces[end - length : end])
            for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
        ]
        return Split(texts, labels.tolist())

    @cached_property
    def _words(self) -> tuple[list[str], np.ndarray]:
        vocabulary = Vocabulary.from_texts(self.train.texts)
        counts = np.array(vocabulary.counts[4:], dtype=np.float64)
        return list(vocabulary.tokens[4:]), counts / counts.sum()

    @cached_property
    def _lengths(self) -> np.ndarray:
        tokenizer = WordTokenizer()
        return np.array([max(len(tokenizer(text)), 1) for text in self.train.texts[:5000]])
