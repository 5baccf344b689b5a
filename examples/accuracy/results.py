"""Result files: one JSON file per run, written when the run has finished."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from examples.accuracy.baselines import BASELINES
from examples.accuracy.data import TASKS, Data, Task
from examples.accuracy.methods import Method
from examples.ag_news.results import choose_device, describe_environment, write_text
from textrnn.errors import CorruptFileError, InvalidValueError

__all__ = [
    "PACKAGES",
    "Result",
    "finished",
    "load_results",
    "measure",
    "result_path",
    "save_result",
]

PACKAGES = ("scikit-learn", "fasttext-numpy2", "vowpalwabbit")
"""Packages of the baselines, whose versions are recorded."""

_VERSION = 1
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of one run.

    Args:
        task: Name of the task.
        part: Evaluation texts: `"test"` or `"validation"`.
        method: Name of the method.
        title: Name of the method in a report.
        baseline: Whether the method is a baseline.
        seed: Seed of the method and of the draw of the texts.
        settings: Settings of the method.
        data: Title, fingerprint, numbers of texts, mean number of words per training text.
        accuracy: Share of correct predictions, from 0 to 1.
        correct: Number of correct predictions.
        seconds: Wall and processor time of training and of prediction.
        facts: Properties of the trained model.
        environment: Device, versions, commit.
    """

    task: str
    part: str
    method: str
    title: str
    baseline: bool
    seed: int
    settings: dict[str, Any]
    data: dict[str, Any]
    accuracy: float
    correct: int
    seconds: dict[str, float]
    facts: dict[str, Any]
    environment: dict[str, Any]

    def identity(self) -> dict[str, Any]:
        """Return the values that identify a run."""
        return {"settings": self.settings, "fingerprint": self.data["fingerprint"]}


def measure(task: Task, data: Data, method: Method, *, part: str, seed: int, device: str) -> Result:
    """Train and evaluate a method; baselines run on the CPU."""
    fitted, fit_wall, fit_processor = _timed(
        lambda: method.fit(
            data.train.texts, data.train.labels, seed=seed, unlabelled=data.unlabelled
        )
    )
    found, wall, processor = _timed(lambda: fitted.predict(data.judge.texts))
    pairs = zip(found, data.judge.labels, strict=True)
    correct = sum(prediction == label for prediction, label in pairs)
    return Result(
        task=task.name,
        part=part,
        method=method.name,
        title=method.title,
        baseline=method.baseline,
        seed=seed,
        settings=dict(method.settings),
        data=_describe(data),
        accuracy=correct / len(data.judge),
        correct=correct,
        seconds={
            "fit": fit_wall,
            "fit_processor": fit_processor,
            "predict": wall,
            "predict_processor": processor,
        },
        facts=dict(fitted.facts),
        environment=_environment("cpu" if method.baseline else device),
    )


def _timed(work: Callable[[], _T]) -> tuple[_T, float, float]:
    """Return the result of a call, its wall time and its processor time in seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    value = work()
    seconds = time.perf_counter() - wall, time.process_time() - processor
    return value, round(seconds[0], 3), round(seconds[1], 3)


def _describe(data: Data) -> dict[str, Any]:
    words = sum(len(text.split()) for text in data.train.texts)
    return {
        "title": data.title,
        "fingerprint": data.fingerprint,
        "train_texts": len(data.train),
        "judge_texts": len(data.judge),
        "unlabelled_texts": len(data.unlabelled or ()),
        "mean_words": round(words / len(data.train), 1),
    }


def _environment(device: str) -> dict[str, Any]:
    described = describe_environment(choose_device(device))
    for package in PACKAGES:
        try:
            described[package] = version(package)
        except PackageNotFoundError:
            continue
    return described


def result_path(folder: Path, task: Task, part: str, method: Method, seed: int) -> Path:
    """Return the path of a result file."""
    return folder / part / f"{task.name}-{method.name}-seed{seed}.json"


def finished(path: Path, settings: Mapping[str, Any], fingerprint: str) -> Result | None:
    """Return the result of a finished run, or None; raise an error if it is of another run."""
    if not path.exists():
        return None
    result = _load(path)
    plain = json.loads(json.dumps(dict(settings)))
    if result.identity() != {"settings": plain, "fingerprint": fingerprint}:
        raise InvalidValueError(
            f"{path} has other settings or other texts: choose another --output, or another name "
            "for the recipe."
        )
    return result


def save_result(path: Path, result: Result) -> None:
    """Write a result file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"format_version": _VERSION, **asdict(result)}
    write_text(path, json.dumps(values, ensure_ascii=False, indent=1) + "\n")


def load_results(folder: Path, part: str) -> list[Result]:
    """Read the results of a folder, in the order of tasks and methods."""
    places = {name: place for place, name in enumerate([*TASKS, *BASELINES])}
    results = [_load(path) for path in sorted((folder / part).glob("*.json"))]
    last = len(places)
    return sorted(
        results,
        key=lambda row: (places[row.task], places.get(row.method, last), row.method, row.seed),
    )


def _load(path: Path) -> Result:
    try:
        values = json.loads(path.read_text("utf-8"))
        known = values.pop("format_version") == _VERSION
        result = Result(**values)
        known = known and result.task in TASKS and result.data["judge_texts"] >= result.correct
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptFileError(f"{path} is not a result file ({error!r}); delete it.") from error
    if not known:
        raise CorruptFileError(f"{path} is not a result file of this version; delete it.")
    return result
