"""Plots of the report, as SVG texts that depend only on the figures."""

import io
import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import numpy as np
from numpy.typing import NDArray

from examples.ag_news.analysis import Comparison, Row, confusion
from examples.ag_news.data import CLASSES
from examples.ag_news.experiments import notebook_facts
from examples.ag_news.results import Result
from textrnn.errors import import_extra
from textrnn.plotting import plot_confusion as draw_confusion

__all__ = [
    "plot_accuracies",
    "plot_accuracy_curves",
    "plot_changes",
    "plot_confusion",
    "plot_loss_curves",
]

P = ParamSpec("P")

_INK, _BLUE, _ORANGE, _GREY = "#1b2430", "#1d5fa8", "#d9741a", "#a7b0bb"
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#c6cdd6",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "font.size": 9,
    "grid.color": "#e6eaef",
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "svg.fonttype": "none",  # text stays text, which is smaller
    "svg.hashsalt": "textrnn",  # makes the ids in the file reproducible
}


def _svg(draw: Callable[Concatenate[Any, P], None]) -> Callable[P, str]:
    """Let a function draw into the axes of a new figure, and return it as SVG."""

    @wraps(draw)
    def plot(*args: P.args, **kwargs: P.kwargs) -> str:
        matplotlib = import_extra("matplotlib", extra="examples")
        figures = import_extra("matplotlib.figure", extra="examples")
        with matplotlib.rc_context(_STYLE):
            figure = figures.Figure(layout="constrained")
            draw(figure.subplots(), *args, **kwargs)
            file = io.StringIO()
            figure.savefig(file, format="svg", metadata={"Date": None})
            return file.getvalue()

    return plot


def _ranked(axes: Any, names: Sequence[str], xlabel: str, *entries: tuple[str, str, str]) -> None:
    """Set up axes with a line for each name, and a legend of (marker, color, label)."""
    # Narrow, so that the text stays legible on a phone.
    axes.figure.set_size_inches(4.8, 0.75 + 0.19 * len(entries) + 0.24 * len(names))
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(xlabel)
    for marker, color, label in entries:
        axes.plot([], [], marker, color=color, label=label, mew=2 if marker == "|" else 1)
    axes.figure.legend(loc="outside upper left")


@_svg
def plot_accuracies(axes: Any, rows: Sequence[Row]) -> None:
    """Plot the honest accuracy of each experiment with its interval and the other figures."""
    entries = [("o", _BLUE, "all test texts, once (bar: 95 % interval)")]
    for place, row in enumerate(rows):
        axes.plot(_percent(row.interval), [place, place], color=_BLUE, linewidth=3, alpha=0.35)
        axes.plot(100 * row.accuracy, place, "o", color=_BLUE, markersize=6)
        if row.reading is not None:
            axes.plot(100 * row.reading, place, "D", color=_ORANGE, markersize=4.5)
        if row.notebook is not None:
            axes.plot(100 * row.notebook, place, "|", color=_INK, markersize=10, mew=2)
    if any(row.reading is not None for row in rows):
        entries.append(("D", _ORANGE, "the notebook's method: best value on drawn texts"))
    if any(row.notebook is not None for row in rows):
        entries.append(("|", _INK, "the notebook's own figure, with 120,000 texts"))
    _ranked(axes, [row.name for row in rows], "accuracy, %", *entries)


@_svg
def plot_changes(axes: Any, comparisons: Sequence[Comparison]) -> None:
    """Plot the effect of each change on the honest accuracy with its interval."""
    colors = {"helped": "#2c8a50", "hurt": "#c23b30", "open": _GREY}
    axes.axvline(0, color=_INK, linewidth=1)
    for place, item in enumerate(comparisons):
        color = colors[item.verdict]
        axes.plot(_percent(item.interval), [place, place], color=color, linewidth=3, alpha=0.6)
        axes.plot(100 * item.difference, place, "o", color=color, markersize=6)
        if item.notebook is not None:
            axes.plot(100 * item.notebook, place, "|", color=_INK, markersize=10, mew=2)
    labels = {"helped": "helped", "hurt": "hurt", "open": "no significant difference"}
    used = {item.verdict for item in comparisons}
    entries = [("o", colors[verdict], labels[verdict]) for verdict in labels if verdict in used]
    if any(item.notebook is not None for item in comparisons):
        entries.append(("|", _INK, "the notebook's own difference"))
    names = [item.child.name for item in comparisons]
    _ranked(axes, names, "difference in accuracy, points (right: better)", *entries)


@_svg
def plot_accuracy_curves(axes: Any, row: Row, rows: Sequence[Row]) -> None:
    """Plot the evaluations of an experiment, with the notebook's log in the background."""
    _panel(axes, row)
    logged = _percent(notebook_facts().get(row.name, {}).get("eval_accuracy", ()))
    axes.plot(np.arange(len(logged)) / 2, logged, color=_GREY)
    for run in row.results:
        epochs = [(look["step"] - 1) / run.steps_per_epoch for look in run.looks]
        axes.plot(epochs, _percent([look["accuracy"] for look in run.looks]), color=_BLUE)
        chosen = run.chosen["step"] / run.steps_per_epoch
        axes.plot(chosen, 100 * run.accuracy, "o", color=_ORANGE, markersize=4, clip_on=False)
    axes.set_ylim(_limits(rows))


@_svg
def plot_loss_curves(axes: Any, row: Row) -> None:
    """Plot the losses of an experiment on training texts and on the validation part."""
    _panel(axes, row)
    for run in row.results:
        half = max(1, run.steps_per_epoch // 2)  # without records a few steps after another
        records = [record for record in run.history if record["step"] % half == 0]
        epochs = [record["step"] / run.steps_per_epoch for record in records]
        axes.plot(epochs, [record["loss"] for record in records], color=_BLUE)
        axes.plot(epochs, [record["eval_loss"] for record in records], color=_ORANGE)
        chosen = run.chosen["step"] / run.steps_per_epoch
        axes.axvline(chosen, color=_ORANGE, linewidth=1, linestyle=":")
    axes.set_ylim(bottom=0)


@_svg
def plot_confusion(axes: Any, result: Result) -> None:
    """Plot the confusion matrix of a run."""
    axes.figure.set_size_inches(4.2, 3.8)
    axes.grid(visible=False)
    draw_confusion(confusion(result), CLASSES, ax=axes)


def _panel(axes: Any, row: Row) -> None:
    axes.figure.set_size_inches(2.3, 1.8)
    axes.set_title(row.name)
    axes.set_xlim(0, row.first.settings["epochs"])
    axes.locator_params(axis="x", integer=True, nbins=5)


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    """Return limits of the accuracy axis that fit the evaluations after the first epoch."""
    shown = [look["accuracy"] for row in rows for run in row.results for look in run.looks[2:]]
    shown += [run.accuracy for row in rows for run in row.results]
    logs = [notebook_facts().get(row.name, {}).get("eval_accuracy", [])[2:] for row in rows]
    shown += [value for log in logs for value in log if value is not None]
    return 100 * float(np.percentile(shown, 2)) - 0.5, min(100.0, 100 * max(shown) + 0.5)


def _percent(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else 100 * value for value in values])
