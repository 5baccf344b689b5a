"""The texts to learn from and to judge by: whole sets, small parts of them, short sentences.

The test file of a set is opened for its test texts and never otherwise: where a validation part
judges, it is cut from the training texts.
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
"""The part of the training texts that judges in place of the test texts."""

SENTENCE_RULE = (
    "of each review the first sentence that has 6 to 30 words, with the review's label; a sentence "
    "ends at a line break, at its tag, or where white space follows `.`, `!` or `?` (quotation "
    "marks and brackets may stand between); a word is a piece between white space that has a "
    "letter or a digit; a review without such a sentence gives none"
)
"""How short sentences are made of reviews."""

_FEWEST_WORDS, _MOST_WORDS = 6, 30
_BREAK = re.compile(r"<br\s*/?>|[\r\n]", re.IGNORECASE)
_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+")
_SIZES = (1_000, 2_500, 5_000, 10_000)

# SHA-256 of known training texts (its first 16 hex digits), so that no figure goes by a wrong name.
_KNOWN = {"1a318d7eca9265e8": "AG-33k", "099a2a16df5b9028": "IMDB"}
_COMPLETE = {"ag_news": 120_000}
_FAMILIES = {"ag_news": "AG News", "imdb": "IMDB"}


@dataclass(frozen=True)
class Task:
    """What to learn.

    Args:
        name: what the command line calls it.
        source: the folder of the data set.
        size: how many training texts to draw, or None for all.
        sentences: whether the texts are short sentences cut from the set's.
    """

    name: str
    source: str
    size: int | None = None
    sentences: bool = False


def _tasks() -> dict[str, Task]:
    made = [Task("ag-news", "ag_news"), Task("imdb", "imdb")]
    made.append(Task("sentences", "imdb", sentences=True))
    for whole in made[:]:
        made += [
            Task(f"{whole.name}-{size}", whole.source, size, whole.sentences) for size in _SIZES
        ]
    return {task.name: task for task in sorted(made, key=lambda task: task.name.split("-")[0])}


TASKS = _tasks()
"""All tasks by name."""


@dataclass(frozen=True)
class Data:
    """The texts of one run.

    Args:
        title: the data set's name in a report.
        train: what to learn from.
        judge: what to judge by.
        unlabelled: more texts to learn from, without labels; None where the method takes none.
    """

    title: str
    train: Texts
    judge: Texts
    unlabelled: Sequence[str] | None = None

    @property
    def fingerprint(self) -> str:
        """16 hex digits that tell these texts from all others."""
        digests = self.train.digest() + self.judge.digest()
        if self.unlabelled is not None:
            digests += Texts(self.unlabelled, [-1] * len(self.unlabelled)).digest()
        return hashlib.sha256(digests).hexdigest()[:16]


class Reader:
    """Reads data sets from a folder.

    Args:
        folder: a folder with `ag_news/` and `imdb/`, each with `train.parquet` and `test.parquet`,
            and with `unsup.parquet` where there are texts without labels.
        validation: whether a part of the training texts judges, rather than the test texts.
    """

    def __init__(self, folder: Path, *, validation: bool) -> None:
        self.folder = folder
        self.validation = validation
        self._read = cache(self._whole)
        self._read_unlabelled = cache(self._unlabelled)

    @property
    def part(self) -> str:
        """What judges: ``"validation"`` or ``"test"``."""
        return "validation" if self.validation else "test"

    def read(self, task: Task, seed: int, *, unlabelled: bool = False) -> Data:
        """Return a task's texts.

        Args:
            task: the task.
            seed: of the draw, where the task has a part of the training texts.
            unlabelled: whether to add the set's texts without labels, all of them.

        Raises:
            InvalidValueError: a file is missing, or has fewer texts than the task needs.
            CorruptFileError: a file holds no labelled texts.
        """
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
        """Complain at once where a file is missing.

        Args:
            tasks: the tasks.
            unlabelled: whether texts without labels are needed.

        Raises:
            InvalidValueError: one is missing; the message says where it should be.
        """
        parts = ["train", *["test"] * (not self.validation), *["unsup"] * unlabelled]
        for source in dict.fromkeys(task.source for task in tasks):
            for part in parts:
                path = self._path(source, part)
                if not path.is_file():
                    raise InvalidValueError(
                        f"There is no {path}: name the folder with ag_news/ and imdb/ by --data or "
                        "by the variable TEXTRNN_DATA, or choose other texts by --only."
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
    """Choose texts so that every class has its share.

    Each class gives its share rounded down, and those with the largest remainders one more. With
    the same seed a small choice is a part of a larger one, but for such roundings.

    Args:
        labels: class ids of all texts.
        count: how many texts to choose.
        seed: of the draw.

    Returns:
        The rows chosen, in ascending order.

    Example:
        >>> rows = stratified([0, 0, 0, 0, 1, 1], 3, seed=0)
        >>> [[0, 0, 0, 0, 1, 1][row] for row in rows]
        [0, 0, 1]
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
    """Return a text's first sentence of 6 to 30 words by `SENTENCE_RULE`, or None.

    Args:
        text: the text.

    Example:
        >>> first_sentence('Wow! "I saw this film twice last week." It is <br />good.')
        '"I saw this film twice last week."'
    """
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
    """Return the first fitting sentence of each text that has one, with the text's label."""
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
    """Read a file with the columns `text` and `label`; texts without a label are left out."""
    columns = _read_columns(path, ["text", "label"])
    if not all(type(label) is int and label >= 0 for label in columns["label"]):
        raise CorruptFileError(f"{path} has labels that are no class ids.")
    return Texts(columns["text"], columns["label"])


def _read_columns(path: Path, names: list[str]) -> dict[str, list[Any]]:
    """Read columns of a file, among them `text`, which has to hold strings."""
    parquet = import_extra("pyarrow.parquet", extra="benchmarks")
    try:
        table = parquet.read_table(path, columns=names)
        columns = {name: table[name].to_pylist() for name in names}
    except (OSError, ValueError, KeyError) as error:
        wanted = f"column{'s' * (len(names) > 1)} `{'` and `'.join(names)}`"
        reason = str(error).partition("\n")[0]
        raise CorruptFileError(f"{path} has no {wanted}: {reason}") from error
    if not all(isinstance(text, str) for text in columns["text"]):
        raise CorruptFileError(f"{path} has texts that are no strings.")
    return columns
