"""Result files: one JSON file for each finished run, with all that the report needs."""

import json
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from textrnn.errors import CorruptFileError

__all__ = ["Result", "load_result", "load_results", "save_result", "write_text"]

_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run.

    Args:
        experiment: the experiment's name.
        parent: the name of the one it is compared with, or None.
        change: what it changes, in words.
        group: the experiment's group.
        seed: of weights, order and dropout.
        preset: the preset's name.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
        settings: the experiment's settings as they were run.
        data: the data set: name, fingerprint, numbers of texts.
        environment: device, versions, commit.
        vocabulary_size: entries of the vocabulary.
        parameters: trainable numbers of the model.
        steps_per_epoch: updates in an epoch.
        seconds: time of the run, evaluations and looks included.
        look_seconds: what the looks at the drawn test texts took of it.
        texts_per_second: training texts a second, evaluations included, looks not.
        history: the trainer's records.
        looks: the looks at the drawn test texts.
        chosen: ``step``, ``epoch`` and validation ``accuracy`` of the checkpoint chosen.
        predictions: a digit for each test text, the class predicted by that checkpoint.
        labels: a digit for each test text, its class.
        mistakes: the surest mistakes: row, text, label, prediction, confidence.
    """

    experiment: str
    parent: str | None
    change: str
    group: str
    seed: int
    preset: str
    precision: str
    settings: dict[str, Any]
    data: dict[str, Any]
    environment: dict[str, Any]
    vocabulary_size: int
    parameters: int
    steps_per_epoch: int
    seconds: float
    look_seconds: float
    texts_per_second: float
    history: list[dict[str, float]]
    looks: list[dict[str, Any]]
    chosen: dict[str, Any]
    predictions: str
    labels: str
    mistakes: list[dict[str, Any]]

    @property
    def correct(self) -> list[bool]:
        """Whether each test text is right."""
        return [a == b for a, b in zip(self.predictions, self.labels, strict=True)]

    @property
    def accuracy(self) -> float:
        """The honest reading: accuracy on all test texts."""
        return sum(self.correct) / len(self.labels)

    @property
    def best_look(self) -> float:
        """The notebook's reading: the best of all looks."""
        return max(float(look["accuracy"]) for look in self.looks)

    def identity(self) -> dict[str, Any]:
        """Return what decided the numbers: experiment, settings, precision, seed and data."""
        return {
            "experiment": self.experiment,
            "settings": self.settings,
            "precision": self.precision,
            "seed": self.seed,
            "fingerprint": self.data["fingerprint"],
        }


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink()


def save_result(path: Path, result: Result) -> None:
    """Write a result; rows of long tables stand on a line each."""
    values = {"format_version": _VERSION, **asdict(result)}
    parts = []
    for name, value in values.items():
        if isinstance(value, list) and value:
            rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in value)
            text = f"[\n  {rows}\n ]"
        else:
            text = json.dumps(value, ensure_ascii=False)
        parts.append(f' "{name}": {text}')
    write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


def load_result(path: Path) -> Result:
    """Read a result file.

    Args:
        path: the file.

    Returns:
        The result.

    Raises:
        CorruptFileError: it is not one, or not one of this format.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
        version = values.pop("format_version")
        result = Result(**values)
        complete = len(result.labels) == len(result.predictions) > 0 and result.looks
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptFileError(f"{path} is no result file ({error!r}); delete it.") from error
    if version != _VERSION or not complete:
        raise CorruptFileError(f"{path} is no whole result file of this version; delete it.")
    return result


def load_results(folder: Path) -> list[Result]:
    """Read all result files of a folder, by experiment's name and seed."""
    paths: Iterable[Path] = sorted((folder / "runs").glob("*.json"))
    return sorted(
        (load_result(path) for path in paths), key=lambda result: (result.experiment, result.seed)
    )
