"""Compute the figures of the report from results, with statistical tests.

Accuracies are shares from 0 to 1, differences are child minus parent. Figures of an experiment are
means over its seeds. Comparisons are paired, because two models classify the same test texts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.ag_news.data import CLASSES
from examples.ag_news.experiments import EXPERIMENTS, notebook_facts
from examples.ag_news.results import Result
from examples.ag_news.runner import draw_like_the_notebook
from textrnn.errors import InvalidValueError, import_extra

__all__ = ["Analysis", "Comparison", "Row", "analyse", "confusion", "describe_mistakes", "grade"]

LEVEL = 0.05  # significance level of adjusted p-values


def sign_flip_test(differences: NDArray[np.int64]) -> float:
    """Return the exact two-sided p-value of a paired sign-flip test for integer differences.

    It is the share of all choices of signs whose sum is at least as far from 0. With differences of
    -1, 0 and 1 this is McNemar's exact test; sums over several seeds are larger integers.
    """
    stats = import_extra("scipy.stats", extra="examples")
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    probabilities = np.ones(1)  # of the sums from -total to total, in steps of 1
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        stretched = np.zeros(2 * size * count + 1)  # the sum of `count` signs, scaled by `size`
        stretched[:: 2 * size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
        probabilities = np.convolve(probabilities, stretched)
    total = len(probabilities) // 2
    far = np.abs(np.arange(-total, total + 1)) >= abs(int(differences.sum()))
    return min(1.0, float(probabilities[far].sum()))


def bootstrap_interval(differences: NDArray[np.int64]) -> tuple[float, float]:
    """Return the 95 % percentile interval of a mean of `(seeds, texts)` by the paired bootstrap.

    Of resampled texts, the sum of all differences has a distribution that Fourier transforms give
    exactly: no random number is drawn.
    """
    sums = differences.sum(axis=0)
    texts, least = len(sums), int(sums.min())
    counts = np.bincount(sums - least)
    size = texts * (len(counts) - 1) + 1
    cumulated = np.fft.irfft(np.fft.rfft(counts / texts, size) ** texts, size).cumsum()
    low, high = (np.searchsorted(cumulated, (0.025, 0.975)) + texts * least) / differences.size
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of several tests by Holm's method, for the family-wise error rate."""
    values = np.asarray(p_values, dtype=np.float64)
    order = values.argsort(kind="stable")
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted: list[float] = raised.clip(max=1)[order.argsort()].tolist()
    return adjusted


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of one experiment."""

    name: str
    change: str
    results: Sequence[Result]  # one per seed
    accuracy: float  # of the selected checkpoint on all test texts
    interval: tuple[float, float]  # Wilson's 95 % interval of the accuracy
    seed_spread: float | None  # standard deviation of the accuracy over several seeds
    validation: float  # accuracy of the selected checkpoint on the validation part
    drawn: float  # accuracy of the selected checkpoint on the drawn test texts
    reading: float | None  # accuracy by the notebook's method, if it was used
    stability: dict[str, float] | None  # if there are enough evaluations
    notebook: float | None  # best accuracy in the notebook
    notebook_spread: float | None  # standard deviation of the notebook's evaluations
    conclusion: str | None  # of the notebook

    @property
    def first(self) -> Result:
        """The result of the first seed."""
        return self.results[0]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparison of two experiments on the same test texts, with the seeds of both."""

    child: Row
    parent: Row
    changes: dict[str, tuple[Any, Any]]  # settings that differ, as name to (parent, child)
    seeds: Sequence[int]
    difference: float
    interval: tuple[float, float]  # 95 %, by the bootstrap
    gained: int  # texts that only the child classifies correctly, over all seeds
    lost: int  # texts that only the parent classifies correctly
    p_value: float  # of the exact paired test
    adjusted: float  # for all comparisons
    notebook: float | None  # the difference in the notebook

    @property
    def verdict(self) -> str:
        """`"helped"`, `"hurt"`, or `"open"` without a significant difference."""
        if self.adjusted >= LEVEL or self.difference == 0:
            return "open"
        return "helped" if self.difference > 0 else "hurt"


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """All figures of the report."""

    rows: Sequence[Row]  # in the order of the table of experiments
    comparisons: Sequence[Comparison]  # of experiments whose parents have results
    best: Row  # by validation accuracy
    rivals: Sequence[Row]  # rows that do not differ significantly from the best
    search: tuple[Row, Row, int] | None  # best row of the search, its parent, number of rows
    missing: Sequence[str]  # experiments without a result

    def effects(self, verdict: str) -> list[Comparison]:
        """Return the comparisons with a verdict, the largest effect first."""
        found = [item for item in self.comparisons if item.verdict == verdict]
        return sorted(found, key=lambda item: -abs(item.difference))


def analyse(results: Sequence[Result]) -> Analysis:
    """Compute the figures of the report from results on the same data."""
    if not results:
        raise InvalidValueError("There are no finished runs.")
    if len({result.data["fingerprint"] for result in results}) > 1:
        raise InvalidValueError("The results are of different data sets: report each separately.")
    grouped: dict[str, list[Result]] = {name: [] for name in EXPERIMENTS}
    for result in sorted(results, key=lambda result: result.seed):
        grouped.setdefault(result.experiment, []).append(result)
    rows = {name: _row(found) for name, found in grouped.items() if found}
    best = max(rows.values(), key=lambda row: (row.validation, -row.first.parameters))
    others = _compare([(row, best) for row in rows.values() if row is not best])
    pairs = [(row, rows[row.first.parent]) for row in rows.values() if row.first.parent in rows]
    search = [pair for pair in pairs if pair[0].first.group == "search"]
    top = max(search, key=lambda pair: pair[0].validation, default=None)
    return Analysis(
        rows=list(rows.values()),
        comparisons=_compare(pairs),
        best=best,
        rivals=[item.child for item in others if item.adjusted >= LEVEL],
        search=(*top, len(search)) if top else None,
        missing=[name for name in EXPERIMENTS if name not in rows],
    )


def _row(results: Sequence[Result]) -> Row:
    stats = import_extra("scipy.stats", extra="examples")
    first, texts = results[0], len(results[0].labels)
    facts = notebook_facts().get(first.experiment, {})
    logged = [value for value in facts.get("eval_accuracy", ()) if value is not None]
    rows, counts = draw_like_the_notebook(texts)
    accuracies = [result.accuracy for result in results]
    accuracy = fmean(accuracies)
    interval = stats.binomtest(round(accuracy * texts), texts).proportion_ci(method="wilson")
    return Row(
        name=first.experiment,
        change=EXPERIMENTS.get(first.experiment, first).change,
        results=results,
        accuracy=accuracy,
        interval=(float(interval.low), float(interval.high)),
        seed_spread=stdev(accuracies) if len(results) > 1 else None,
        validation=fmean(result.chosen["accuracy"] for result in results),
        drawn=fmean(np.average(result.correct[rows], weights=counts) for result in results),
        reading=fmean(result.best_look for result in results) if first.looks else None,
        stability=_stability([run.looks[math.ceil(len(run.looks) / 3) :] for run in results]),
        notebook=facts["best"] / 100 if facts else None,
        notebook_spread=stdev(logged[math.ceil(len(logged) / 3) :]) if logged else None,
        conclusion=facts.get("author"),
    )


def _stability(looks: Sequence[Sequence[dict[str, Any]]]) -> dict[str, float] | None:
    """Describe the variation of the evaluations after the first third of training, per run."""
    if min(map(len, looks)) < 2:
        return None
    runs = [[float(look["accuracy"]) for look in run] for run in looks]
    swings = [
        sign_flip_test(np.repeat([1, -1], [look["gained"], look["lost"]]))
        for run in looks
        for look in run[1:]
    ]
    return {
        "looks": min(map(len, looks)),
        "spread": fmean(map(stdev, runs)),
        "width": fmean(max(run) - min(run) for run in runs),
        # mean of the later half minus mean of the earlier half
        "drift": fmean(fmean(run[len(run) // 2 :]) - fmean(run[: len(run) // 2]) for run in runs),
        "swings": len(swings),  # pairs of successive evaluations
        "significant": sum(p_value < LEVEL for p_value in holm(swings)),
    }


def _compare(pairs: Sequence[tuple[Row, Row]]) -> list[Comparison]:
    """Compare the rows of each (child, parent) that have a common seed."""
    found = [item for item in (_compare_two(*pair) for pair in pairs) if item is not None]
    adjusted = holm([item.p_value for item in found])
    return [replace(item, adjusted=value) for item, value in zip(found, adjusted, strict=True)]


def _compare_two(child: Row, parent: Row) -> Comparison | None:
    ours = {result.seed: result.correct.astype(np.int64) for result in child.results}
    theirs = {result.seed: result.correct.astype(np.int64) for result in parent.results}
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    # (seeds, texts): 1 where only the child is right, -1 where only the parent is
    answers = np.array([ours[seed] - theirs[seed] for seed in seeds])
    p_value = sign_flip_test(answers.sum(axis=0))
    old = {**parent.first.settings, "precision": parent.first.precision}
    new = {**child.first.settings, "precision": child.first.precision}
    changed = [name for name in new if name in old and old[name] != new[name]]
    notebook = None
    if child.notebook is not None and parent.notebook is not None:
        notebook = child.notebook - parent.notebook
    return Comparison(
        child=child,
        parent=parent,
        changes={name: (old[name], new[name]) for name in changed},
        seeds=seeds,
        difference=float(answers.mean()),
        interval=bootstrap_interval(answers),
        gained=int((answers > 0).sum()),
        lost=int((answers < 0).sum()),
        p_value=p_value,
        adjusted=p_value,
        notebook=notebook,
    )


def confusion(result: Result) -> NDArray[np.int64]:
    """Return the confusion matrix of a run, `(label, prediction)`."""
    labels, predictions = (
        np.array(list(digits), int) for digits in (result.labels, result.predictions)
    )
    counts = np.bincount(len(CLASSES) * labels + predictions, minlength=len(CLASSES) ** 2)
    return counts.reshape(len(CLASSES), len(CLASSES))


def describe_mistakes(result: Result) -> dict[str, Any]:
    """Return the classes with the best and the worst recall, and the most common mistake."""
    counts = confusion(result)
    totals = counts.sum(axis=1)
    recalls = counts.diagonal() / totals.clip(min=1)
    wrong = counts - np.diag(counts.diagonal())
    label, prediction = divmod(int(wrong.argmax()), len(CLASSES))
    return {
        "easiest": (CLASSES[int(recalls.argmax())], recalls.max()),
        "hardest": (CLASSES[int(recalls.argmin())], recalls.min()),
        "pair": (CLASSES[label], CLASSES[prediction]),
        "number": int(wrong[label, prediction]),
        "texts": int(totals[label]),
    }


def grade(accuracy: float) -> int:
    """Return the points of the notebook's task for an accuracy, 0 to 3."""
    return sum(round(accuracy, 6) >= bound for bound in (0.90, 0.91, 0.915))
