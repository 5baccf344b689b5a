"""AG News from the included sample, from local files or from the Hugging Face Hub.

A text is the title, a space and the description, as in the Hub's `fancyzhx/ag_news`. Backslashes
and incomplete entities (`#39;`) of the CSV files are kept.
"""

import csv
import hashlib
import logging
import os
import socket
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textrnn.errors import CorruptFileError, InvalidValueError, TextrnnError, import_extra

__all__ = [
    "CLASSES",
    "Corpus",
    "Texts",
    "load",
    "load_folder",
    "load_hub",
    "write_parquet",
]

CLASSES = ("World", "Sports", "Business", "Sci/Tech")
"""The names of the class ids 0 to 3."""

HUB_NAME = "fancyzhx/ag_news"
SAMPLE = Path(__file__).with_name("sample")
VALIDATION_SHARE = 0.05
_VALIDATION_SEED = 0

# First 16 hex digits of the SHA-256 of known data sets, so that each figure names its data. AG-33k
# and AG-78k are parts of the training texts, merged from partial copies.
_KNOWN = {"2be31f9019fb4835": "AG-33k", "e832637a7e9fd280": "AG-78k", "e5427090e77465f0": "sample"}
_FULL_SIZES = (120_000, 7_600)


@dataclass(frozen=True)
class Texts:
    """Texts and their class ids.

    Args:
        texts: Texts.
        labels: One class id per text, 0 to 3.
    """

    texts: Sequence[str]
    labels: Sequence[int]

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, rows: Sequence[int]) -> "Texts":
        """Return the texts at the given positions."""
        return Texts([self.texts[row] for row in rows], [self.labels[row] for row in rows])

    def digest(self) -> bytes:
        """Return the SHA-256 of labels and texts."""
        digest = hashlib.sha256()
        for text, label in zip(self.texts, self.labels, strict=True):
            data = text.encode("utf-8", "surrogatepass")
            digest.update(f"{label} {len(data)} ".encode() + data)
        return digest.digest()


@dataclass(frozen=True)
class Corpus:
    """The texts of a run.

    Args:
        name: Name in every result: "AG News", "AG-33k", "AG-78k", "sample" or, for unknown files,
            the number of texts.
        fingerprint: First 16 hex digits of a SHA-256 of all texts.
        train: 95 % of the training texts.
        validation: The other 5 %, stratified by class, always the same.
        test: Test texts.
    """

    name: str
    fingerprint: str
    train: Texts
    validation: Texts
    test: Texts

    @classmethod
    def of(cls, train: Texts, test: Texts) -> "Corpus":
        """Split off the validation part and identify the data set."""
        fingerprint = hashlib.sha256(train.digest() + test.digest()).hexdigest()[:16]
        if (len(train), len(test)) == _FULL_SIZES:
            name = "AG News"
        else:
            name = _KNOWN.get(fingerprint, f"other data ({len(train):,} + {len(test):,} texts)")
        rest, part = split(train, VALIDATION_SHARE, seed=_VALIDATION_SEED)
        return cls(name, fingerprint, rest, part, test)

    def describe(self) -> dict[str, Any]:
        """Return name, fingerprint and numbers of texts for the result file."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "train_texts": len(self.train),
            "validation_texts": len(self.validation),
            "test_texts": len(self.test),
        }


def split(texts: Texts, share: float, *, seed: int) -> tuple[Texts, Texts]:
    """Return the rest and a stratified share of the texts, both in the original order."""
    labels = np.asarray(texts.labels)
    generator = np.random.default_rng(seed)
    part = np.zeros(len(texts), dtype=bool)
    for label in range(len(CLASSES)):
        rows = np.flatnonzero(labels == label)
        part[generator.choice(rows, round(share * len(rows)), replace=False)] = True
    return texts.select(np.flatnonzero(~part).tolist()), texts.select(np.flatnonzero(part).tolist())


def load(source: str) -> Corpus:
    """Load AG News from `"sample"`, `"hub"`, or a folder with a train and a test file."""
    if source == "hub":
        return Corpus.of(*load_hub())
    return Corpus.of(*load_folder(SAMPLE if source == "sample" else Path(source)))


def load_folder(folder: Path) -> tuple[Texts, Texts]:
    """Load `train` and `test` from a folder, as `.parquet` or the official `.csv` files."""
    return _load_file(folder, "train"), _load_file(folder, "test")


def _load_file(folder: Path, part: str) -> Texts:
    readers = {".parquet": _read_parquet, ".csv": _read_csv}
    for suffix, read in readers.items():
        path = folder / f"{part}{suffix}"
        if path.is_file():
            texts, labels = read(path)
            return _checked(texts, labels, str(path))
    raise InvalidValueError(
        f"{folder} has no {part}.parquet and no {part}.csv: set --data to a folder with a train "
        "and a test file or to hub, or omit it for the included sample."
    )


def _read_parquet(path: Path) -> tuple[list[Any], list[Any]]:
    parquet = import_extra("pyarrow.parquet", extra="examples")
    try:
        table = parquet.read_table(path, columns=["text", "label"])
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise CorruptFileError(f"{path} has no columns `text` and `label`: {reason}") from error
    return table["text"].to_pylist(), table["label"].to_pylist()


def _read_csv(path: Path) -> tuple[list[str], list[int]]:
    """Read the official CSV with class (from 1), title and description; skip a header."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, skipinitialspace=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} is not a CSV file in UTF-8: {error}.") from error
    header = bool(rows and rows[0]) and not rows[0][0].isdecimal()
    for number, row in enumerate(rows[header:], start=1 + header):
        if len(row) != 3 or not row[0].isdecimal():
            rule = "a class from 1 to 4, a title and a description"
            raise CorruptFileError(f"Row {number} of {path} is not {rule}.")
    rows = rows[header:]
    return [f"{title} {text}" for _, title, text in rows], [int(label) - 1 for label, _, _ in rows]


def _checked(texts: list[Any], labels: list[Any], where: str) -> Texts:
    """Return the texts if all labels are valid and each class has at least two texts."""
    if not all(isinstance(text, str) for text in texts):
        raise CorruptFileError(f"{where} has texts that are not strings.")
    for label in labels:
        if not isinstance(label, int) or not 0 <= label < len(CLASSES):
            raise CorruptFileError(f"{where} has the class {label!r}, which is not from 0 to 3.")
    if min(labels.count(label) for label in range(len(CLASSES))) < 2:
        raise CorruptFileError(f"{where} has a class with fewer than two texts.")
    return Texts(texts, labels)


def load_hub() -> tuple[Texts, Texts]:
    """Load all 120,000 + 7,600 texts from the Hugging Face Hub, or from its local cache."""
    if "datasets" not in sys.modules and not _hub_answers():
        # Read when `datasets` is imported, which then uses its cache and does not wait for the Hub.
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    datasets = import_extra("datasets", extra="examples")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        loaded = datasets.load_dataset(HUB_NAME)
    except Exception as error:  # a failed download raises many kinds of errors
        raise TextrnnError(
            f"{HUB_NAME} can't be loaded from the Hugging Face Hub ({type(error).__name__}): "
            "connect to the network, or set --data DIR to a folder with train and test files, or "
            "omit --data for the included sample."
        ) from error
    train, test = (
        _checked(list(loaded[part]["text"]), list(loaded[part]["label"]), f"{HUB_NAME} ({part})")
        for part in ("train", "test")
    )
    return train, test


def _hub_answers() -> bool:
    """Return whether the Hub can be reached within ten seconds."""
    if "https" in urllib.request.getproxies() or "HF_ENDPOINT" in os.environ:
        return True  # a direct connection proves nothing here
    try:
        socket.create_connection(("huggingface.co", 443), timeout=10).close()
    except OSError:
        return False
    return True


def write_parquet(path: Path, texts: Texts) -> None:
    """Write texts to a Parquet file that `load_folder` reads."""
    arrow = import_extra("pyarrow", extra="examples")
    parquet = import_extra("pyarrow.parquet", extra="examples")
    labels = arrow.array(list(texts.labels), arrow.int64())
    table = arrow.table({"text": list(texts.texts), "label": labels})
    parquet.write_table(table, path, compression="zstd", compression_level=19)
