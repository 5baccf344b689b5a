"""Training and evaluation texts: whole data sets, small parts of them, short sentences.

With `validation=True`, a part of the training texts is evaluated and no test file is read.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from examples.ag_news.data import Texts
from textrnn.errors import CorruptFileError, InvalidValueError, import_extra

__all__ = [
    "SENTENCE_RULE",
    "TASKS",
    "VALIDATION_SHARE",
    "Data",
    "Reader",
    "Task",
    "cut_sentences",
    "first_sentence",
    "stratified",
]

VALIDATION_SHARE = 0.2
"""Share of the training texts that replaces the test texts."""

SENTENCE_RULE = (
    "of each review the first sentence that has 6 to 30 words, with the review's label; a sentence "
    "ends at a line break, at its tag, or where white space follows `.`, `!` or `?` (quotation "
    "marks and brackets may stand between); a word is a piece between white space that has a "
    "letter or a digit; a review without such a sentence gives none"
)
"""Rule that extracts short sentences from reviews."""

_FEWEST_WORDS, _MOST_WORDS = 6, 30
_BREAK = re.compile(r"<br\s*/?>|[\r\n]", re.IGNORECASE)
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+")
_SIZES = (1_000, 2_500, 5_000, 10_000)
_LARGE_SIZES = (5_000, 10_000, 20_000, 40_000)

# First 16 hex digits of the SHA-256 of known training texts, so that each report names its data.
_KNOWN = {
    "1a318d7eca9265e8": "AG-33k",
    "e9fa427a13c36e55": "AG-78k",
    "099a2a16df5b9028": "IMDB",
}
_COMPLETE = {"ag_news": 120_000}
_FAMILIES = {"ag_news": "AG News", "ag_news_78k": "AG News", "imdb": "IMDB"}


@dataclass(frozen=True)
class Task:
    """A classification task.

    Args:
        name: Name on the command line.
        source: Folder of the data set.
        size: Number of training texts to draw, or None for all.
        sentences: Whether the texts are short sentences extracted from the data set.
    """

    name: str
    source: str
    size: int | None = None
    sentences: bool = False


def _tasks() -> dict[str, Task]:
    made = [Task("ag-78k", "ag_news_78k"), Task("ag-news", "ag_news"), Task("imdb", "imdb")]
    made.append(Task("sentences", "imdb", sentences=True))
    for whole in made[:]:
        sizes = _LARGE_SIZES if whole.name == "ag-78k" else _SIZES
        made += [
            Task(f"{whole.name}-{size}", whole.source, size, whole.sentences) for size in sizes
        ]
    return {task.name: task for task in sorted(made, key=lambda task: task.name.split("-")[0])}


TASKS = _tasks()
"""All tasks by name."""


@dataclass(frozen=True)
class Data:
    """The texts of one run.

    Args:
        title: Name of the data set in a report.
        train: Training texts.
        judge: Evaluation texts.
        unlabelled: Unlabelled training texts; None if the method uses none.
    """

    title: str
    train: Texts
    judge: Texts
    unlabelled: Sequence[str] | None = None

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of a SHA-256 of all texts."""
        digests = self.train.digest() + self.judge.digest()
        if self.unlabelled is not None:
            digests += Texts(self.unlabelled, [-1] * len(self.unlabelled)).digest()
        return hashlib.sha256(digests).hexdigest()[:16]


class Reader:
    """Read data sets from a folder with one folder each, such as `ag_news/` and `imdb/`."""

    def __init__(self, folder: Path, *, validation: bool) -> None:
        self.folder = folder
        self.validation = validation
        self._read = cache(self._whole)
        self._read_unlabelled = cache(self._unlabelled)

    @property
    def part(self) -> str:
        """Evaluation texts: `"validation"` or `"test"`."""
        return "validation" if self.validation else "test"

    def read(self, task: Task, seed: int, *, unlabelled: bool = False) -> Data:
        """Return the texts of a task; `seed` draws a part of the training texts."""
        data = self._read(task.source, task.sentences)
        if unlabelled:
            data = replace(data, unlabelled=self._read_unlabelled(task.source, task.sentences))
        if task.size is None:
            return data
        if task.size > len(data.train):
            raise InvalidValueError(
                f"{task.name} needs {task.size:,} training texts, but {data.title} has "
                f"{len(data.train):,}."
            )
        rows = stratified(data.train.labels, task.size, seed=seed)
        return replace(data, train=data.train.select(rows))

    def check(self, tasks: Sequence[Task], *, unlabelled: bool = False) -> None:
        """Raise an error if a file of the tasks is missing."""
        parts = ["train", *["test"] * (not self.validation), *["unsup"] * unlabelled]
        for source in dict.fromkeys(task.source for task in tasks):
            for part in parts:
                path = self._path(source, part)
                if not path.is_file():
                    raise InvalidValueError(
                        f"There is no {path}: set the folder that has {source}/ with --data "
                        "or the variable TEXTRNN_DATA, or choose other tasks with --only."
                    )

    def _path(self, source: str, part: str) -> Path:
        return self.folder / source / f"{part}.parquet"

    def _whole(self, source: str, sentences: bool) -> Data:
        train = _read_parquet(self._path(source, "train"))
        title = _title(source, train) + ", short sentences" * sentences
        if self.validation:
            count = round(VALIDATION_SHARE * len(train))
            held_out = set(stratified(train.labels, count, seed=0))
            judge = train.select(sorted(held_out))
            train = train.select([row for row in range(len(train)) if row not in held_out])
        else:
            judge = _read_parquet(self._path(source, "test"))
        if sentences:
            train, judge = cut_sentences(train), cut_sentences(judge)
        return Data(title, train, judge)

    def _unlabelled(self, source: str, sentences: bool) -> list[str]:
        column = _read_columns(self._path(source, "unsup"), ["text"])["text"]
        cut = map(first_sentence, column)
        return [sentence for sentence in cut if sentence is not None] if sentences else column


def stratified(labels: Sequence[int], count: int, *, seed: int) -> list[int]:
    """Draw sorted positions of `count` texts, stratified by class.

    With the same seed, a small draw is a part of a larger one, except for rounding.
    """
    ids = np.asarray(labels)
    generator = np.random.default_rng(seed)
    classes, counts = np.unique(ids, return_counts=True)
    shares = counts * count / len(ids)
    quotas = shares.astype(int)
    by_remainder = np.argsort(quotas - shares, kind="stable")
    quotas[by_remainder[: count - quotas.sum()]] += 1
    chosen: list[int] = []
    for label, quota in zip(classes, quotas, strict=True):
        chosen += generator.permutation(np.flatnonzero(ids == label))[:quota].tolist()
    return sorted(chosen)


def first_sentence(text: str) -> str | None:
    """Return the first sentence of 6 to 30 words by `SENTENCE_RULE`, or None."""
    for line in _BREAK.split(text):
        start = 0
        for end in [*(match.end() for match in _END.finditer(line)), len(line)]:
            sentence = line[start:end].strip()
            words = sum(any(map(str.isalnum, piece)) for piece in sentence.split())
            if _FEWEST_WORDS <= words <= _MOST_WORDS:
                return sentence
            start = end
    return None


def cut_sentences(texts: Texts) -> Texts:
    """Replace each text by its first sentence of 6 to 30 words; drop texts without one."""
    pairs = [
        (sentence, label)
        for text, label in zip(texts.texts, texts.labels, strict=True)
        if (sentence := first_sentence(text)) is not None
    ]
    return Texts([sentence for sentence, _ in pairs], [label for _, label in pairs])


def _title(source: str, train: Texts) -> str:
    name = _KNOWN.get(train.digest().hex()[:16])
    if name is not None:
        return name
    if len(train) == _COMPLETE.get(source):
        return _FAMILIES[source]
    return f"{_FAMILIES[source]} ({len(train):,} training texts)"


def _read_parquet(path: Path) -> Texts:
    """Read the columns `text` and `label` of a Parquet file."""
    columns = _read_columns(path, ["text", "label"])
    if not all(type(label) is int and label >= 0 for label in columns["label"]):
        raise CorruptFileError(f"{path} has labels that are not class ids.")
    return Texts(columns["text"], columns["label"])


def _read_columns(path: Path, names: list[str]) -> dict[str, list[Any]]:
    """Read columns of a Parquet file, including `text`, which must contain strings."""
    parquet = import_extra("pyarrow.parquet", extra="benchmarks")
    try:
        table = parquet.read_table(path, columns=names)
        columns = {name: table[name].to_pylist() for name in names}
    except (OSError, ValueError, KeyError) as error:
        wanted = f"column{'s' * (len(names) > 1)} `{'` and `'.join(names)}`"
        reason = str(error).partition("\n")[0]
        raise CorruptFileError(f"{path} has no {wanted}: {reason}") from error
    if not all(isinstance(text, str) for text in columns["text"]):
        raise CorruptFileError(f"{path} has texts that are not strings.")
    return columns
