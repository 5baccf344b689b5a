"""From result files to the figures that the report tells: no words, no plots.

Accuracies are shares from 0 to 1, differences child minus parent. Where an experiment was run with
several seeds, its figures are means over them.
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
"""What an adjusted p-value must stay below to count."""


@dataclass(frozen=True, kw_only=True)
class Stability:
    """How much the looks at the drawn test texts swing after the first third of training.

    Args:
        looks: how many looks that is, in each run.
        spread: their standard deviation.
        width: the largest less the smallest.
        drift: mean of the later half of them less mean of the earlier half.
        swings: pairs of successive looks among them, over all runs.
        significant_swings: of these, how many differ by McNemar's test (Holm's correction).
    """

    looks: int
    spread: float
    width: float
    drift: float
    swings: int
    significant_swings: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured of one experiment.

    Args:
        name: the experiment.
        change: what it changes, in words.
        group: its group.
        parent: the experiment that it is compared with, or None.
        results: its runs, by seed.
        notebook: the notebook's own best accuracy, or None.
        notebook_spread: the spread of what the notebook logged, or None.
        reading: the notebook's reading of these runs: the best look.
        accuracy: the honest reading.
        drawn: accuracy of the same checkpoint on the texts that the looks saw.
        interval: its 95 % interval.
        validation: the chosen checkpoint's accuracy on the validation part.
        stability: how the looks swing, or None if there are too few.
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
        """The run of the first seed."""
        return self.results[0]

    @property
    def seconds(self) -> float:
        """Time of a run."""
        return statistics.fmean(result.seconds for result in self.results)

    @property
    def texts_per_second(self) -> float:
        """Training texts a second."""
        return statistics.fmean(result.texts_per_second for result in self.results)

    @property
    def seed_spread(self) -> float | None:
        """Standard deviation of the honest reading over seeds, or None for a single one."""
        values = [result.accuracy for result in self.results]
        return statistics.stdev(values) if len(values) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A child and its parent on the same test texts.

    Args:
        child: the experiment that changes something.
        parent: the one that it is compared with.
        changes: the settings that differ in the runs compared: name to (parent's, child's).
        seeds: the seeds that both were run with.
        difference: the child's accuracy less the parent's.
        interval: its 95 % bootstrap interval.
        gained: texts that only the child has right, over all seeds.
        lost: texts that only the parent has right.
        p_value: of the exact paired test.
        adjusted: the same, adjusted for all comparisons made.
        notebook: the difference of the notebook's own figures, or None.
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
        """``"helped"``, ``"hurt"``, or ``"open"`` where the texts show no difference."""
        if self.adjusted >= LEVEL or self.difference == 0:
            return "open"
        return "helped" if self.difference > 0 else "hurt"


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything that the report tells.

    Args:
        data: name, fingerprint and sizes of the data set.
        rows: the experiments with results, in the table's order.
        comparisons: those with a parent that has results too, in the same order.
        best: the row with the best validation accuracy.
        rivals: the other rows that the test texts don't tell from the best, by adjusted p-value.
        missing: experiments without a result.
        unfinished: experiments and seeds that were begun and have no result.
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
    """Count which classes a run takes for which.

    Args:
        result: the run.

    Returns:
        Numbers of test texts, ``(label, prediction)``.
    """
    counts = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    pairs = (list(map(int, result.labels)), list(map(int, result.predictions)))
    np.add.at(counts, pairs, 1)
    return counts


def grade(accuracy: float) -> int:
    """Return the points that the notebook's task gave for an accuracy: 0 to 3."""
    return sum(round(accuracy, 6) >= bound for bound in (0.90, 0.91, 0.915))


def analyse(results: Sequence[Result], *, unfinished: Sequence[tuple[str, int]] = ()) -> Analysis:
    """Compare and judge.

    Args:
        results: finished runs, all on the same data.
        unfinished: experiments and seeds that were begun.

    Returns:
        The figures of the report.

    Raises:
        InvalidValueError: there are no results, or some are of other data.
    """
    if not results:
        raise InvalidValueError("There is no finished run to report on.")
    if len({result.data["fingerprint"] for result in results}) > 1:
        raise InvalidValueError("The results come from different data: report on each by itself.")
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
    """Return the seeds in common, and the child's right answers less the parent's for each text."""
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
