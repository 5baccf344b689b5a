"""Result files: one JSON file per finished run, with everything that the report needs."""

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import textrnn
from examples.ag_news.data import Texts
from textrnn.errors import CorruptFileError, InvalidValueError
from textrnn.training.distributed import join

__all__ = [
    "Result",
    "choose_device",
    "describe_environment",
    "describe_predictions",
    "load_results",
    "save_result",
    "write_text",
]

_VERSION = 1
_MISTAKES_KEPT = 20


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run."""

    experiment: str
    parent: str | None  # the experiment to compare with
    change: str
    group: str  # "notebook", "pooling", "search", or "model": not the notebook's training
    seed: int = 0
    preset: str = "full"  # "full", or "quick" with reduced settings
    precision: str = "fp32"
    settings: dict[str, Any]
    data: dict[str, Any]  # name, fingerprint and numbers of texts
    environment: dict[str, Any]  # device, versions, commit
    vocabulary_size: int
    parameters: int
    steps_per_epoch: int = 0
    seconds: float  # of the run with all evaluations
    look_seconds: float = 0.0  # of the evaluations on drawn test texts
    texts_per_second: float  # training texts, without the time of those evaluations
    history: list[dict[str, float]] = field(default_factory=list)
    looks: list[dict[str, Any]] = field(default_factory=list)  # evaluations on drawn test texts
    chosen: dict[str, Any]  # step, epoch and validation accuracy of the selected checkpoint
    predictions: str  # of that checkpoint, one digit per test text
    labels: str
    mistakes: list[dict[str, Any]]  # the most confident ones

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each test text is classified correctly."""
        return np.array([a == b for a, b in zip(self.predictions, self.labels, strict=True)])

    @property
    def accuracy(self) -> float:
        """Accuracy of the selected checkpoint on all test texts."""
        return float(self.correct.mean())

    @property
    def best_look(self) -> float:
        """Accuracy by the notebook's method: the best evaluation on the drawn test texts."""
        return max(float(look["accuracy"]) for look in self.looks)

    def identity(self) -> list[Any]:
        """Return what identifies a run, beside experiment and seed."""
        return [self.settings, self.precision, self.data["fingerprint"]]


def describe_predictions(probabilities: NDArray[np.floating], test: Texts) -> dict[str, Any]:
    """Return predictions, labels and most confident mistakes for the result file.

    `probabilities` has the shape `(texts, classes)`.
    """
    predictions, confidences = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predictions != np.asarray(test.labels))
    surest = wrong[np.argsort(-confidences[wrong], kind="stable")][:_MISTAKES_KEPT]
    mistakes = [
        {
            "row": row,
            "text": test.texts[row],
            "label": test.labels[row],
            "prediction": int(predictions[row]),
            "confidence": round(float(confidences[row]), 4),
        }
        for row in surest.tolist()
    ]
    return {
        "predictions": "".join(map(str, predictions.tolist())),
        "labels": "".join(map(str, test.labels)),
        "mistakes": mistakes,
    }


def write_text(path: Path, text: str) -> None:
    """Write a file atomically."""
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text, "utf-8", newline="\n")
    beside.replace(path)


def save_result(path: Path, result: Result) -> None:
    """Write a result file with one line per record of a list."""
    parts = []
    for name, value in {"format_version": _VERSION, **asdict(result)}.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value:
            rows = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in value)
            text = f"[\n  {rows}\n ]"
        parts.append(f' "{name}": {text}')
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


def load_result(path: Path) -> Result:
    """Read a result file."""
    try:
        values = json.loads(path.read_text("utf-8"))
        version = values.pop("format_version")
        result = Result(**values)
        complete = len(result.labels) == len(result.predictions) > 0 and (
            result.looks or result.group == "model"
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptFileError(f"{path} is not a result file ({error!r}); delete it.") from error
    if version != _VERSION or not complete:
        raise CorruptFileError(f"{path} is not a complete result file of this version; delete it.")
    return result


def load_results(folder: Path) -> list[Result]:
    """Read all result files of a folder, sorted by experiment and seed."""
    results = map(load_result, (folder / "runs").glob("*.json"))
    return sorted(results, key=lambda result: (result.experiment, result.seed))


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `"auto"` is CUDA if available, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise InvalidValueError(f"The device {name!r} can't be used here: {reason}") from error
    return device


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Return device, versions and commit for the result file."""
    return {
        "device": str(device),
        "device_name": _device_name(device),
        "threads": torch.get_num_threads(),
        "processes": join().count,
        "platform": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "textrnn": textrnn.__version__,
        "commit": _commit(Path(__file__).parent),
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit(folder: Path) -> str | None:
    """Return the commit of a checkout, with `+` after changes, or None outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return None
    describe = [git, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    answer = subprocess.run(  # noqa: S603 # the program found on the path, with fixed arguments
        describe, cwd=folder, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None
