"""AG News from the included sample, from Parquet files or from the Hugging Face Hub.

A text is the title, a space and the description, as in the Hub's `fancyzhx/ag_news`.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textrnn.errors import CorruptFileError, InvalidValueError, TextrnnError, import_extra

__all__ = ["CLASSES", "SAMPLE", "Corpus", "Texts", "load", "load_folder", "split"]

CLASSES = ("World", "Sports", "Business", "Sci/Tech")
"""The names of the class ids 0 to 3."""

SAMPLE = Path(__file__).with_name("sample")
HUB_NAME = "fancyzhx/ag_news"

# Known data sets by fingerprint, so that each figure names its data. AG-33k and AG-78k are parts of
# the training texts, merged from partial copies.
_KNOWN = {"2be31f9019fb4835": "AG-33k", "e832637a7e9fd280": "AG-78k", "e5427090e77465f0": "sample"}


@dataclass(frozen=True)
class Texts:
    """Texts and their class ids, 0 to 3."""

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
    """The texts of a run."""

    name: str  # "AG News", "AG-33k", "AG-78k", "sample", or the number of texts
    fingerprint: str  # first 16 hex digits of a SHA-256 of all texts
    train: Texts
    validation: Texts  # 5 % of the training texts, stratified by class, always the same
    test: Texts

    @classmethod
    def of(cls, train: Texts, test: Texts) -> "Corpus":
        """Split off the validation part and identify the data set."""
        fingerprint = hashlib.sha256(train.digest() + test.digest()).hexdigest()[:16]
        name = _KNOWN.get(fingerprint, f"other data ({len(train):,} + {len(test):,} texts)")
        if (len(train), len(test)) == (120_000, 7_600):
            name = "AG News"
        return cls(name, fingerprint, *split(train, 0.05, seed=0), test)

    def describe(self) -> dict[str, Any]:
        """Return name, fingerprint and numbers of texts for the result file."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        sizes = {f"{part}_texts": len(texts) for part, texts in parts.items()}
        return {"name": self.name, "fingerprint": self.fingerprint, **sizes}


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
        return Corpus.of(*_load_hub())
    return Corpus.of(*load_folder(SAMPLE if source == "sample" else Path(source)))


def load_folder(folder: Path) -> tuple[Texts, Texts]:
    """Load `train.parquet` and `test.parquet` from a folder."""
    return _load_file(folder, "train"), _load_file(folder, "test")


def _load_file(folder: Path, part: str) -> Texts:
    path = folder / f"{part}.parquet"
    if not path.is_file():
        raise InvalidValueError(
            f"{folder} has no {part}.parquet: set --data to a folder with train.parquet and "
            "test.parquet or to hub, or omit it for the included sample."
        )
    parquet = import_extra("pyarrow.parquet", extra="examples")
    texts: list[Any] = []
    labels: list[Any] = []
    try:
        # In batches, as a whole table would keep several times the memory of its texts.
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["text", "label"], use_threads=False):
                texts += batch["text"].to_pylist()
                labels += batch["label"].to_pylist()
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise CorruptFileError(f"{path} has no columns `text` and `label`: {reason}") from error
    return _checked(texts, labels, str(path))


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


def _load_hub() -> tuple[Texts, Texts]:
    """Load all 120,000 + 7,600 texts from the Hugging Face Hub, or from its local cache."""
    datasets = import_extra("datasets", extra="examples")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        loaded = datasets.load_dataset(HUB_NAME)
    except Exception as error:  # a failed download raises many kinds of errors
        raise TextrnnError(
            f"{HUB_NAME} can't be loaded from the Hugging Face Hub ({type(error).__name__}): "
            "connect to the network, or set --data DIR to a folder with Parquet files, or omit "
            " --data for the included sample."
        ) from error
    train, test = (
        _checked(list(loaded[part]["text"]), list(loaded[part]["label"]), f"{HUB_NAME} ({part})")
        for part in ("train", "test")
    )
    return train, test
