"""Rows of a report: the runs of each method on each task, and their differences."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from examples.accuracy.results import Result
from textrnn.errors import MissingKeyError

__all__ = [
    "Row",
    "by_data",
    "by_difference",
    "check_reference",
    "largest",
    "methods_of",
    "rows_of",
    "runs_of",
]


@dataclass(frozen=True, kw_only=True)
class Row:
    """The runs of one method on one task.

    Args:
        task: Name of the task.
        method: Name of the method.
        runs: One result per seed.
        rival: Row of the same task to compare with: the baseline with the highest mean accuracy, or
            the reference method. None for the rival itself, or if there is none. Default: None.
    """

    task: str
    method: str
    runs: Sequence[Result]
    rival: "Row | None" = None

    @property
    def accuracies(self) -> list[float]:
        """The accuracy of each run, in percent."""
        return [100 * run.accuracy for run in self.runs]

    @property
    def mean(self) -> float:
        """The mean accuracy, in percent."""
        return statistics.fmean(self.accuracies)

    @property
    def spread(self) -> float:
        """Standard deviation of the accuracies in points; 0 for a single run."""
        return statistics.stdev(self.accuracies) if len(self.runs) > 1 else 0.0

    @property
    def differences(self) -> list[float]:
        """Difference to the rival in points, per seed; a single run is compared with all."""
        if self.rival is None:
            return []
        theirs = {run.seed: 100 * run.accuracy for run in self.rival.runs}
        if len(theirs) == 1:
            theirs = dict.fromkeys((run.seed for run in self.runs), *theirs.values())
        return [100 * run.accuracy - theirs[run.seed] for run in self.runs if run.seed in theirs]

    def seconds(self, name: str) -> float:
        """Return the mean of a time over the runs."""
        return statistics.fmean(run.seconds[name] for run in self.runs)


def rows_of(results: Sequence[Result], reference: str | None = None) -> list[Row]:
    """Group results by task and method, and find the row that each is compared with."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.task, result.method), []).append(result)
    rows = [Row(task=task, method=name, runs=runs) for (task, name), runs in groups.items()]
    if reference is not None:
        check_reference(reference, methods_of(rows))
    rivals: dict[str, Row] = {}
    for row in rows:
        best = rivals.get(row.task)
        if row.method == reference if reference is not None else _leads(row, best):
            rivals[row.task] = row
    return [
        replace(row, rival=rivals.get(row.task)) if _competes(row, reference) else row
        for row in rows
    ]


def check_reference(name: str, methods: Iterable[str]) -> None:
    """Raise an error if the reference is not one of the methods."""
    methods = list(methods)
    if name not in methods:
        raise MissingKeyError(
            f"There is no run of the method {name!r} to compare with; choose from: "
            f"{', '.join(methods)}."
        )


def _leads(row: Row, best: Row | None) -> bool:
    return row.runs[0].baseline and (best is None or row.mean > best.mean)


def _competes(row: Row, reference: str | None) -> bool:
    return not row.runs[0].baseline if reference is None else row.method != reference


def by_data(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group rows by data set, sorted by the number of training texts."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.runs[0].data["title"], []).append(row)
    for group in groups.values():
        group.sort(key=lambda row: row.runs[0].data["train_texts"])
    return groups


def largest(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each data set's largest task, by a title with its number of texts."""
    found = {}
    for title, group in by_data(rows).items():
        last = [row for row in group if row.task == group[-1].task]
        found[f"{title}, {last[0].runs[0].data['train_texts']:,} texts"] = last
    return found


def methods_of(rows: Sequence[Row]) -> list[str]:
    """Return the distinct names of the methods."""
    return list(dict.fromkeys(row.method for row in rows))


def by_difference(rows: Sequence[Row]) -> list[str]:
    """Return the methods with a rival, sorted by decreasing mean difference."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.differences:
            found.setdefault(row.method, []).append(statistics.fmean(row.differences))
    return sorted(found, key=lambda name: -statistics.fmean(found[name]))


def runs_of(rows: Sequence[Row], method: str) -> Sequence[Result]:
    """Return the runs of a method on the first of its tasks."""
    return next(row.runs for row in rows if row.method == method)
