"""What is compared: the runs of each method at each task, and their differences."""

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
    "methods_of",
    "rows_of",
    "runs_of",
]


@dataclass(frozen=True, kw_only=True)
class Row:
    """The runs of one method at one task.

    Args:
        task: the task's name.
        method: the method's name.
        runs: the runs, by seed.
        rival: what it is compared with at the same task: the baseline with the highest mean, or the
            method that is the reference. None for a rival itself, and where there is none.
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
        """The accuracies' standard deviation, in points; 0 for a single run."""
        return statistics.stdev(self.accuracies) if len(self.runs) > 1 else 0.0

    @property
    def differences(self) -> list[float]:
        """The difference to the rival, in points, seed by seed.

        A rival without chance has one run, which stands against each of the others.
        """
        if self.rival is None:
            return []
        theirs = {run.seed: 100 * run.accuracy for run in self.rival.runs}
        if len(theirs) == 1:
            theirs = dict.fromkeys((run.seed for run in self.runs), *theirs.values())
        return [100 * run.accuracy - theirs[run.seed] for run in self.runs if run.seed in theirs]

    def seconds(self, name: str) -> float:
        """Return the mean of a time."""
        return statistics.fmean(run.seconds[name] for run in self.runs)


def rows_of(results: Sequence[Result], reference: str | None = None) -> list[Row]:
    """Group runs by task and method, and find what each is compared with.

    Args:
        results: runs that the same part judged, in the order of the report.
        reference: the method that all others are compared with; None for each task's best baseline,
            with which other baselines are not compared.

    Returns:
        A row for each task and method.

    Raises:
        MissingKeyError: no run is of the reference.
    """
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
    """Complain if the method to compare with is none of those that there are.

    Args:
        name: the reference.
        methods: the methods' names.

    Raises:
        MissingKeyError: it is none of them.
    """
    methods = list(methods)
    if name not in methods:
        raise MissingKeyError(
            f"There is no run of the method {name!r} to compare with; there are: "
            f"{', '.join(methods)}."
        )


def _leads(row: Row, best: Row | None) -> bool:
    return row.runs[0].baseline and (best is None or row.mean > best.mean)


def _competes(row: Row, reference: str | None) -> bool:
    return not row.runs[0].baseline if reference is None else row.method != reference


def by_data(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each data set, those with fewer training texts first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.runs[0].data["title"], []).append(row)
    for group in groups.values():
        group.sort(key=lambda row: row.runs[0].data["train_texts"])
    return groups


def methods_of(rows: Sequence[Row]) -> list[str]:
    """Return the names of the methods, each once."""
    return list(dict.fromkeys(row.method for row in rows))


def by_difference(rows: Sequence[Row]) -> list[str]:
    """Return the names of the methods that have a rival, the best mean difference first."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.differences:
            found.setdefault(row.method, []).append(statistics.fmean(row.differences))
    return sorted(found, key=lambda name: -statistics.fmean(found[name]))


def runs_of(rows: Sequence[Row], method: str) -> Sequence[Result]:
    """Return the runs of a method at the first of its tasks."""
    return next(row.runs for row in rows if row.method == method)
