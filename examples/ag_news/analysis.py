"""Compute the figures of the report from results.

Accuracies are shares from 0 to 1, differences are child minus parent. Figures of an experiment are
means over its seeds.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.ag_news.data import CLASSES
from examples.ag_news.evaluation import draw_like_the_notebook
from examples.ag_news.experiments import EXPERIMENTS, notebook_facts
from examples.ag_news.results import Result
from examples.ag_news.significance import (
    bootstrap_interval,
    holm,
    mcnemar,
    sign_flip_test,
    wilson_interval,
)
from textrnn.errors import InvalidValueError

__all__ = ["LEVEL", "Analysis", "Comparison", "Row", "Stability", "analyse", "confusion", "grade"]

LEVEL = 0.05
"""Significance level of adjusted p-values."""


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Variation of the evaluations on the drawn test texts after the first third of training.

    Args:
        looks: Number of evaluations per run.
        spread: Standard deviation.
        width: Maximum minus minimum.
        drift: Mean of the later half minus mean of the earlier half.
        swings: Number of pairs of successive evaluations over all runs.
        significant_swings: Number of pairs that differ by McNemar's test with Holm's correction.
    """

    looks: int
    spread: float
    width: float
    drift: float
    swings: int
    significant_swings: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of one experiment.

    Args:
        name: Name of the experiment.
        change: Description of the change.
        group: Group of the experiment.
        parent: Experiment to compare with, or None.
        results: One result per seed.
        notebook: Best accuracy in the notebook, or None.
        notebook_spread: Standard deviation of the notebook's evaluations, or None.
        reading: Accuracy by the notebook's method.
        accuracy: Accuracy of the selected checkpoint on all test texts.
        drawn: Accuracy of the selected checkpoint on the drawn test texts.
        interval: 95 % confidence interval of `accuracy`.
        validation: Accuracy of the selected checkpoint on the validation part.
        stability: Variation of the evaluations, or None if there are too few.
    """

    name: str
    change: str
    group: str
    parent: str | None
    results: Sequence[Result]
    notebook: float | None
    notebook_spread: float | None
    reading: float
    accuracy: float
    drawn: float
    interval: tuple[float, float]
    validation: float
    stability: Stability | None

    @property
    def first(self) -> Result:
        """The result of the first seed."""
        return self.results[0]

    @property
    def seconds(self) -> float:
        """Mean time of a run in seconds."""
        return statistics.fmean(result.seconds for result in self.results)

    @property
    def texts_per_second(self) -> float:
        """Mean number of training texts per second."""
        return statistics.fmean(result.texts_per_second for result in self.results)

    @property
    def seed_spread(self) -> float | None:
        """Standard deviation of the accuracy over seeds, or None for a single seed."""
        values = [result.accuracy for result in self.results]
        return statistics.stdev(values) if len(values) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparison of an experiment with its parent on the same test texts.

    Args:
        child: Name of the experiment.
        parent: Name of its parent.
        changes: Settings that differ, as name to (parent, child).
        seeds: Seeds of both experiments.
        difference: Accuracy of the child minus accuracy of the parent.
        interval: 95 % bootstrap interval of the difference.
        gained: Number of texts that only the child classifies correctly, over all seeds.
        lost: Number of texts that only the parent classifies correctly.
        p_value: P-value of the exact paired test.
        adjusted: P-value adjusted for all comparisons.
        notebook: Difference in the notebook, or None.
    """

    child: str
    parent: str
    changes: Mapping[str, tuple[Any, Any]]
    seeds: Sequence[int]
    difference: float
    interval: tuple[float, float]
    gained: int
    lost: int
    p_value: float
    adjusted: float
    notebook: float | None

    @property
    def verdict(self) -> str:
        """`"helped"`, `"hurt"`, or `"open"` without a significant difference."""
        if self.adjusted >= LEVEL or self.difference == 0:
            return "open"
        return "helped" if self.difference > 0 else "hurt"


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """All figures of the report.

    Args:
        data: Name, fingerprint and sizes of the data set.
        rows: Experiments with results, in the order of the table.
        comparisons: Comparisons of experiments whose parents have results.
        best: Row with the best validation accuracy.
        rivals: Rows that do not differ significantly from the best.
        missing: Experiments without a result.
        unfinished: Experiments and seeds that were started and have no result.
    """

    data: Mapping[str, Any]
    rows: Sequence[Row]
    comparisons: Sequence[Comparison]
    best: Row
    rivals: Sequence[Row]
    missing: Sequence[str]
    unfinished: Sequence[tuple[str, int]]

    @property
    def results(self) -> list[Result]:
        """All runs."""
        return [result for row in self.rows for result in row.results]


def confusion(result: Result) -> NDArray[np.int64]:
    """Return the confusion matrix of a run, `(label, prediction)`."""
    counts = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    pairs = (list(map(int, result.labels)), list(map(int, result.predictions)))
    np.add.at(counts, pairs, 1)
    return counts


def grade(accuracy: float) -> int:
    """Return the points of the notebook's task for an accuracy, 0 to 3."""
    return sum(round(accuracy, 6) >= bound for bound in (0.90, 0.91, 0.915))


def analyse(results: Sequence[Result], *, unfinished: Sequence[tuple[str, int]] = ()) -> Analysis:
    """Compute the figures of the report from results on the same data."""
    if not results:
        raise InvalidValueError("There are no finished runs.")
    if len({result.data["fingerprint"] for result in results}) > 1:
        raise InvalidValueError("The results are of different data sets: report each separately.")
    grouped: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda result: result.seed):
        grouped.setdefault(result.experiment, []).append(result)
    names = [*EXPERIMENTS, *(name for name in grouped if name not in EXPERIMENTS)]
    rows = [_row(grouped[name]) for name in names if name in grouped]
    best = max(rows, key=lambda row: (row.validation, -row.first.parameters))
    return Analysis(
        data=results[0].data,
        rows=rows,
        comparisons=_comparisons(rows),
        best=best,
        rivals=_rivals(best, rows),
        missing=[name for name in EXPERIMENTS if name not in grouped],
        unfinished=sorted(set(unfinished) - {(run.experiment, run.seed) for run in results}),
    )


def _row(results: Sequence[Result]) -> Row:
    first, facts = results[0], notebook_facts().get(results[0].experiment)
    words = EXPERIMENTS.get(first.experiment, first)
    accuracy = statistics.fmean(result.accuracy for result in results)
    draw = draw_like_the_notebook(len(first.labels))
    logged = [value for value in facts["eval_accuracy"] if value is not None] if facts else []
    kept = logged[math.ceil(len(logged) / 3) :]
    return Row(
        name=first.experiment,
        change=words.change,
        group=words.group,
        parent=first.parent,
        results=results,
        notebook=facts["best"] / 100 if facts else None,
        notebook_spread=statistics.stdev(kept) if kept else None,
        reading=statistics.fmean(result.best_look for result in results),
        accuracy=accuracy,
        drawn=statistics.fmean(draw.accuracy(np.array(run.correct)[draw.rows]) for run in results),
        interval=wilson_interval(accuracy * len(first.labels), len(first.labels)),
        validation=statistics.fmean(result.chosen["accuracy"] for result in results),
        stability=_stability(results),
    )


def _stability(results: Sequence[Result]) -> Stability | None:
    kept = [result.looks[math.ceil(len(result.looks) / 3) :] for result in results]
    if min(map(len, kept)) < 2:
        return None
    values = [[float(look["accuracy"]) for look in looks] for looks in kept]
    halves = [(run[: len(run) // 2], run[len(run) // 2 :]) for run in values]
    swings = [mcnemar(look["gained"], look["lost"]) for looks in kept for look in looks[1:]]
    return Stability(
        looks=min(map(len, kept)),
        spread=statistics.fmean(map(statistics.stdev, values)),
        width=statistics.fmean(max(run) - min(run) for run in values),
        drift=statistics.fmean(
            statistics.fmean(late) - statistics.fmean(early) for early, late in halves
        ),
        swings=len(swings),
        significant_swings=sum(p_value < LEVEL for p_value in holm(swings)),
    )


def _paired(child: Row, parent: Row) -> tuple[list[int], NDArray[np.int64]]:
    """Return common seeds, and the difference in correct answers for each text."""
    ours = {result.seed: result for result in child.results}
    theirs = {result.seed: result for result in parent.results}
    seeds = sorted(ours.keys() & theirs.keys())
    difference = np.zeros(len(child.first.labels), dtype=np.int64)
    for seed in seeds:
        difference += np.array(ours[seed].correct, dtype=np.int64)
        difference -= np.array(theirs[seed].correct, dtype=np.int64)
    return seeds, difference


def _comparisons(rows: Sequence[Row]) -> list[Comparison]:
    by_name = {row.name: row for row in rows}
    pairs = [(row, by_name[row.parent]) for row in rows if row.parent in by_name]
    paired = [(child, parent, *_paired(child, parent)) for child, parent in pairs]
    paired = [pair for pair in paired if pair[2]]
    p_values = [sign_flip_test(difference) for *_, difference in paired]
    adjusted = holm(p_values)
    comparisons = []
    for (child, parent, seeds, difference), p_value, level in zip(
        paired, p_values, adjusted, strict=True
    ):
        gains = [_gains(child, parent, seed) for seed in seeds]
        comparisons.append(
            Comparison(
                child=child.name,
                parent=parent.name,
                changes=_changes(child.first, parent.first),
                seeds=seeds,
                difference=float(difference.mean()) / len(seeds),
                interval=bootstrap_interval(difference / len(seeds)),
                gained=sum(gained for gained, _ in gains),
                lost=sum(lost for _, lost in gains),
                p_value=p_value,
                adjusted=level,
                notebook=None
                if child.notebook is None or parent.notebook is None
                else child.notebook - parent.notebook,
            )
        )
    return comparisons


def _gains(child: Row, parent: Row, seed: int) -> tuple[int, int]:
    ours, theirs = (
        next(result.correct for result in row.results if result.seed == seed)
        for row in (child, parent)
    )
    pairs = list(zip(ours, theirs, strict=True))
    return sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)


def _changes(child: Result, parent: Result) -> dict[str, tuple[Any, Any]]:
    ours = {**child.settings, "precision": child.precision}
    theirs = {**parent.settings, "precision": parent.precision}
    return {name: (theirs.get(name), ours[name]) for name in ours if theirs.get(name) != ours[name]}


def _rivals(best: Row, rows: Sequence[Row]) -> list[Row]:
    paired = [(row, *_paired(row, best)) for row in rows if row is not best]
    paired = [pair for pair in paired if pair[1]]
    adjusted = holm([sign_flip_test(difference) for *_, difference in paired])
    return [pair[0] for pair, p_value in zip(paired, adjusted, strict=True) if p_value >= LEVEL]
