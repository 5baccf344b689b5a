"""Result files: one JSON file per finished run, with everything that the report needs."""

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
        experiment: Name of the experiment.
        parent: Name of the experiment to compare with, or None.
        change: Description of the change.
        group: Group of the experiment.
        seed: Seed of weights, order and dropout.
        preset: Name of the preset.
        precision: `"fp32"`, `"bf16"` or `"fp16"`.
        settings: Settings of the run.
        data: Name, fingerprint and numbers of texts of the data set.
        environment: Device, versions, commit.
        vocabulary_size: Size of the vocabulary.
        parameters: Number of trainable parameters.
        steps_per_epoch: Updates per epoch.
        seconds: Time of the run with all evaluations.
        look_seconds: Time of the evaluations on the drawn test texts.
        texts_per_second: Training texts per second, without evaluations on the drawn test texts.
        history: Records of the trainer.
        looks: Evaluations on the drawn test texts.
        chosen: `step`, `epoch` and validation `accuracy` of the selected checkpoint.
        predictions: Class predicted by that checkpoint, one digit per test text.
        labels: True class, one digit per test text.
        mistakes: The most confident mistakes: row, text, label, prediction, confidence.
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
        """Whether each test text is classified correctly."""
        return [a == b for a, b in zip(self.predictions, self.labels, strict=True)]

    @property
    def accuracy(self) -> float:
        """Accuracy of the selected checkpoint on all test texts."""
        return sum(self.correct) / len(self.labels)

    @property
    def best_look(self) -> float:
        """Accuracy by the notebook's method: the best evaluation on the drawn test texts."""
        return max(float(look["accuracy"]) for look in self.looks)

    def identity(self) -> dict[str, Any]:
        """Return the values that identify a run."""
        return {
            "experiment": self.experiment,
            "settings": self.settings,
            "precision": self.precision,
            "seed": self.seed,
            "fingerprint": self.data["fingerprint"],
        }


def write_text(path: Path, text: str) -> None:
    """Write a file atomically."""
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
    """Write a result file with one line per record of a list."""
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
    """Read a result file."""
    try:
        values = json.loads(path.read_text("utf-8"))
        version = values.pop("format_version")
        result = Result(**values)
        complete = len(result.labels) == len(result.predictions) > 0 and result.looks
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptFileError(f"{path} is not a result file ({error!r}); delete it.") from error
    if version != _VERSION or not complete:
        raise CorruptFileError(f"{path} is not a complete result file of this version; delete it.")
    return result


def load_results(folder: Path) -> list[Result]:
    """Read all result files of a folder, sorted by experiment and seed."""
    paths: Iterable[Path] = sorted((folder / "runs").glob("*.json"))
    return sorted(
        (load_result(path) for path in paths), key=lambda result: (result.experiment, result.seed)
    )
