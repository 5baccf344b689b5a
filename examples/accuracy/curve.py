"""`python -m examples.accuracy.curve`: accuracy by number of AG News texts, extrapolated to all."""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from examples.accuracy.data import TASKS
from examples.accuracy.drawing import COLORS, tidy
from examples.accuracy.notebook import EXPERIMENT, NotebookGru
from examples.accuracy.report import spread
from examples.accuracy.results import load_results
from examples.ag_news import results as ag_news
from examples.ag_news.experiments import notebook_facts
from textrnn.errors import InvalidValueError, TextrnnError, import_extra

__all__ = ["Curve", "draw", "main", "read_curves", "table"]

ALL_TEXTS = 120_000  # of the official training set

_EXAMPLES = Path(__file__).parents[1]
_METHODS = {NotebookGru.name: NotebookGru.title, "default": "TextClassifier()"}


@dataclass(frozen=True)
class Curve:
    """The accuracies of a method in percent, a list of seeds for each number of texts."""

    title: str
    runs: Mapping[int, Sequence[float]]

    def sizes(self) -> list[int]:
        """Return the numbers of training texts, ascending."""
        return sorted(self.runs)

    def extrapolate(self, texts: int, sizes: Sequence[int]) -> tuple[float, float, float]:
        """Return the accuracy by a power law of the error, with its 95 % prediction interval.

        The law is a line through the logarithms of the mean errors of the given sizes.
        """
        if len(sizes) < 3:
            raise InvalidValueError(f"{self.title}: a power law needs three numbers of texts.")
        stats = import_extra("scipy.stats", extra="benchmarks")
        steps, step = np.log(sizes), np.log(texts)
        errors = np.log([100 - statistics.fmean(self.runs[size]) for size in sizes])
        line, covariance = np.polyfit(steps, errors, 1, cov=True)
        freedom = len(sizes) - 2
        noise = np.square(errors - np.polyval(line, steps)).sum() / freedom
        variance = np.array([step, 1.0]) @ covariance @ np.array([step, 1.0]) + noise
        width = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
        center = np.polyval(line, step)
        middle, low, high = (100 - np.exp(center + np.array([0.0, width, -width]))).tolist()
        return middle, low, high


def read_curves(folder: Path, experiments: Path) -> list[Curve]:
    """Read the curves: those of the accuracy example, and all texts of the notebook's GRU."""
    runs: dict[str, dict[int, list[float]]] = {name: {} for name in _METHODS}
    for result in load_results(folder, "test") + load_results(folder / "networks", "test"):
        if TASKS[result.task].source == "ag_news_78k" and result.method in runs:
            found = runs[result.method].setdefault(result.data["train_texts"], [])
            found.append(100 * result.accuracy)
    for run in ag_news.load_results(experiments):
        if run.experiment == EXPERIMENT.name:
            texts = run.data["train_texts"] + run.data["validation_texts"]
            runs[NotebookGru.name].setdefault(texts, []).append(100 * run.accuracy)
    return [Curve(title, runs[name]) for name, title in _METHODS.items()]


def table(curves: Sequence[Curve]) -> str:
    """Return the accuracies and the extrapolations as a table in Markdown."""
    sizes = sorted({size for curve in curves for size in curve.runs})
    lines = ["| training texts | " + " | ".join(curve.title for curve in curves) + " |"]
    lines.append("|---|" + "---:|" * len(curves))
    for size in sizes:
        cells = [spread(curve.runs[size]) if size in curve.runs else "" for curve in curves]
        lines.append(f"| {size:,} | " + " | ".join(cells) + " |")
    for texts, known, words in (
        (ALL_TEXTS, sizes, "extrapolated"),
        (max(sizes, default=0), sizes[:-1], "extrapolated from fewer, as a check"),
    ):
        cells = []
        for curve in curves:
            used = [size for size in known if size in curve.runs]
            cells.append("{:.1f} ({:.1f} to {:.1f})".format(*curve.extrapolate(texts, used)))
        lines.append(f"| {texts:,}, {words} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Plot the accuracies, the fitted laws up to all texts, and the notebook's own figure."""
    matplotlib = import_extra("matplotlib", extra="benchmarks")
    figures = import_extra("matplotlib.figure", extra="benchmarks")
    options = {"svg.hashsalt": "textrnn", "svg.fonttype": "none", "font.size": 10}
    with matplotlib.rc_context(options):
        figure = figures.Figure(figsize=(4.8, 4.4), layout="constrained")
        axes = figure.subplots()
        for curve, color in zip(curves, COLORS, strict=False):
            sizes = curve.sizes()
            for values, size in ((curve.runs[size], size) for size in sizes):
                axes.plot([size] * len(values), values, ".", color=color, alpha=0.5)
            means = [statistics.fmean(curve.runs[size]) for size in sizes]
            axes.plot(sizes, means, "o", color=color, label=curve.title)
            grid = np.geomspace(sizes[0], ALL_TEXTS, 50).astype(int).tolist()
            law = np.array([curve.extrapolate(texts, sizes) for texts in grid])
            axes.plot(grid, law[:, 0], "--", color=color, linewidth=1)
            axes.fill_between(grid, law[:, 1], law[:, 2], color=color, alpha=0.12, linewidth=0)
            axes.plot(ALL_TEXTS, law[-1, 0], "o", color=color, markerfacecolor="white")
        own = notebook_facts()[EXPERIMENT.name]["best"]
        label = "the notebook's own figure, by its method"
        axes.plot(ALL_TEXTS, own, "_", color="#1b1b1b", markersize=14, label=label)
        axes.plot([], [], "o--", color="#5b6776", markerfacecolor="white", label="extrapolation")
        sizes = [*sorted({size for curve in curves for size in curve.runs}), ALL_TEXTS]
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30)
        axes.set_xticks([], minor=True)
        axes.set_xlabel("training texts of AG News")
        axes.set_ylabel("accuracy on the 7,600 test texts, %")
        tidy(axes)
        figure.legend(loc="outside lower center")
        figure.savefig(path, metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> int:
    """Write `curve.md` and `curve.svg`; return the exit code: 0, or 1 after an error."""
    parser = argparse.ArgumentParser(prog="python -m examples.accuracy.curve", description=__doc__)
    add = parser.add_argument
    accuracy = _EXAMPLES / "accuracy" / "results"
    experiments = _EXAMPLES / "ag_news" / "results" / "ag-78k"
    add("--output", type=Path, default=accuracy, help="results of examples.accuracy")
    add("--experiments", type=Path, default=experiments, help="results of examples.ag_news")
    options = parser.parse_args(arguments)
    try:
        curves = read_curves(options.output, options.experiments)
        text = table(curves)
        draw(curves, options.output / "curve.svg")
        ag_news.write_text(options.output / "curve.md", text)
    except TextrnnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
