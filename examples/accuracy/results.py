"""Result files: one JSON file for each run, written whole when the run is over."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from examples.accuracy.data import TASKS, Data, Task
from examples.accuracy.methods import BASELINES, Method
from examples.ag_news.environment import choose_device, describe_environment
from examples.ag_news.results import write_text
from textrnn.errors import CorruptFileError, InvalidValueError

__all__ = ["Result", "finished", "load_results", "measure", "result_path", "save_result"]

_VERSION = 1
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one run gave.

    Args:
        task: the task's name.
        part: what judged: ``"test"`` or ``"validation"``.
        method: the method's name.
        title: the method's name in a report.
        baseline: whether it is one.
        seed: of the draw of the texts and of all that is random in the method.
        settings: what the method was told.
        data: title and fingerprint of the texts, those without labels included; how many there are;
            words of a training text.
        accuracy: the share of texts that got their label.
        correct: how many these are.
        seconds: wall and processor time, of learning and of prediction.
        facts: what the method tells of itself.
        environment: device, versions, commit.
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
        """Return what a second run must share to be the same one."""
        return {"settings": self.settings, "fingerprint": self.data["fingerprint"]}


def measure(task: Task, data: Data, method: Method, *, part: str, seed: int, device: str) -> Result:
    """Train a method and judge it.

    Args:
        task: what is learnt.
        data: its texts.
        method: the method.
        part: what judges, for the record.
        seed: of all that is random in it.
        device: where recipes train; baselines have the processor.

    Returns:
        What came out.
    """
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
    """Return what a call gives, and its seconds of wall and of processor time in all threads."""
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
    for package in ("scikit-learn", "fasttext-numpy2"):
        try:
            described[package] = version(package)
        except PackageNotFoundError:
            continue
    return described


def result_path(folder: Path, task: Task, part: str, method: Method, seed: int) -> Path:
    """Return where a run's result goes."""
    return folder / part / f"{task.name}-{method.name}-seed{seed}.json"


def finished(path: Path, settings: Mapping[str, Any], fingerprint: str) -> Result | None:
    """Return the result of a run that was made before, or None.

    Args:
        path: where it would be.
        settings: the method's settings now.
        fingerprint: of the texts now.

    Raises:
        InvalidValueError: there is a result, but of other settings or other texts.
        CorruptFileError: the file is no result.
    """
    if not path.exists():
        return None
    result = _load(path)
    plain = json.loads(json.dumps(dict(settings)))
    if result.identity() != {"settings": plain, "fingerprint": fingerprint}:
        raise InvalidValueError(
            f"{path} comes from other settings or other texts: choose another --output, or another "
            "name for the recipe."
        )
    return result


def save_result(path: Path, result: Result) -> None:
    """Write a result file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"format_version": _VERSION, **asdict(result)}
    write_text(path, json.dumps(values, ensure_ascii=False, indent=1) + "\n")


def load_results(folder: Path, part: str) -> list[Result]:
    """Return all results of a folder that one part judged, in the order of the tasks.

    Raises:
        CorruptFileError: a file is no result.
    """
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
        raise CorruptFileError(f"{path} is no result file ({error!r}); delete it.") from error
    if not known:
        raise CorruptFileError(f"{path} is no result file of this version; delete it.")
    return result
