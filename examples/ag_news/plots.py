"""Plots of the report, as SVG files whose bytes depend only on the figures."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.ag_news.analysis import Comparison, Row
from examples.ag_news.data import CLASSES
from examples.ag_news.experiments import notebook_facts
from examples.ag_news.results import Result
from textrnn.errors import import_extra

__all__ = [
    "plot_accuracies",
    "plot_accuracy_curves",
    "plot_changes",
    "plot_confusion",
    "plot_loss_curves",
    "plot_run",
    "training_losses",
]

_BLUE, _ORANGE, _GREY, _GREEN, _RED = "#1d5fa8", "#d9741a", "#a7b0bb", "#2c8a50", "#c23b30"
_INK, _SOFT = "#1b2430", "#5b6776"
_COLUMNS = 4
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#c6cdd6",
    "axes.grid": True,
    "axes.labelcolor": _SOFT,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": "#e6eaef",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.5,
    "svg.hashsalt": "textrnn",  # makes the ids in the file reproducible
    "text.color": _INK,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}


@contextmanager
def _figure(path: Path, *, size: tuple[float, float], **grid: Any) -> Iterator[Any]:
    """Yield the axes of a new figure and write it to a file at the end."""
    matplotlib = import_extra("matplotlib", extra="examples")
    figures = import_extra("matplotlib.figure", extra="examples")
    with matplotlib.rc_context(_STYLE):
        figure = figures.Figure(figsize=size, layout="constrained")
        yield figure.subplots(**grid)
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, metadata=metadata, dpi=150)


def plot_accuracies(path: Path, rows: Sequence[Row]) -> None:
    """Plot the honest accuracy of each experiment with its interval and the other figures."""
    with _figure(path, size=(10, 1.1 + 0.36 * len(rows))) as axes:
        for place, row in enumerate(reversed(rows)):
            low, high = (100 * bound for bound in row.interval)
            axes.plot([low, high], [place, place], color=_BLUE, linewidth=3, alpha=0.35)
            axes.plot(100 * row.accuracy, place, "o", color=_BLUE, markersize=7)
            axes.plot(100 * row.reading, place, "D", color=_ORANGE, markersize=5.5)
            if row.notebook is not None:
                axes.plot(100 * row.notebook, place, "|", color=_INK, markersize=13, mew=2)
        axes.set_yticks(range(len(rows)), [row.name for row in reversed(rows)])
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("accuracy, %")
        for marker, color, label in (
            ("o", _BLUE, "honest: all test texts, once (bar: 95 % interval)"),
            ("D", _ORANGE, "the notebook's method: best value on drawn test texts"),
            ("|", _INK, "the notebook's figure"),
        ):
            axes.plot([], [], marker, color=color, label=label, mew=2 if marker == "|" else 1)
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, columnspacing=1.4)


def plot_changes(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Plot the effect of each change on the honest accuracy with its interval."""
    colors = {"helped": _GREEN, "hurt": _RED, "open": _GREY}
    with _figure(path, size=(10, 1.2 + 0.36 * len(comparisons))) as axes:
        axes.axvline(0, color=_INK, linewidth=1)
        for place, item in enumerate(reversed(comparisons)):
            low, high = (100 * bound for bound in item.interval)
            color = colors[item.verdict]
            axes.plot([low, high], [place, place], color=color, linewidth=3, alpha=0.6)
            axes.plot(100 * item.difference, place, "o", color=color, markersize=7)
            if item.notebook is not None:
                axes.plot(100 * item.notebook, place, "|", color=_INK, markersize=13, mew=2)
        axes.set_yticks(
            range(len(comparisons)),
            [f"{item.child}  vs  {item.parent}" for item in reversed(comparisons)],
        )
        axes.set_ylim(-0.7, len(comparisons) - 0.3)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("difference in accuracy, percentage points (right: the change is better)")
        for label, color in (
            ("helped", _GREEN),
            ("hurt", _RED),
            ("no significant difference", _GREY),
        ):
            axes.plot([], [], "o", color=color, label=label)
        axes.plot([], [], "|", color=_INK, mew=2, label="the notebook's figures")
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=4, columnspacing=1.4)


def plot_accuracy_curves(path: Path, rows: Sequence[Row]) -> None:
    """Plot the evaluations of each experiment, with the notebook's log in the background."""
    low, high = _limits(rows)
    with _panels(path, rows) as panels:
        for axes, row in panels:
            facts = notebook_facts().get(row.name)
            if facts is not None:
                logged = _percent(facts["eval_accuracy"])
                axes.plot(np.arange(len(logged)) / 2, logged, color=_GREY, linewidth=1.2)
            for result in row.results:
                epochs, looks = _looks(result)
                axes.plot(epochs, looks, color=_BLUE, alpha=_alpha(row))
                chosen = result.chosen["step"] / result.steps_per_epoch
                accuracy = 100 * result.accuracy
                axes.plot(chosen, accuracy, "o", color=_ORANGE, markersize=5, clip_on=False)
            axes.set_ylim(low, high)
        _legend(
            panels,
            (_BLUE, "-", "drawn test texts"),
            (_ORANGE, "o", "selected checkpoint, all test texts"),
            (_GREY, "-", "the notebook's log"),
            label="accuracy, %",
        )


def plot_loss_curves(path: Path, rows: Sequence[Row]) -> None:
    """Plot the losses of each experiment on training and validation texts."""
    with _panels(path, rows) as panels:
        for axes, row in panels:
            for result in row.results:
                axes.plot(*training_losses(result), color=_BLUE, alpha=_alpha(row))
                axes.plot(*_evaluated(result, "eval_loss"), color=_ORANGE, alpha=_alpha(row))
                chosen = result.chosen["step"] / result.steps_per_epoch
                axes.axvline(chosen, color=_ORANGE, linewidth=1, linestyle=":")
            axes.set_ylim(bottom=0)
        _legend(
            panels,
            (_BLUE, "-", "training texts"),
            (_ORANGE, "-", "validation part"),
            (_ORANGE, ":", "selected checkpoint"),
            label="loss",
        )


def plot_confusion(path: Path, counts: NDArray[np.int64]) -> None:
    """Plot a confusion matrix from counts `(label, prediction)`."""
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    with _figure(path, size=(5.6, 4.4)) as axes:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for place, row in enumerate(counts):
            for column, count in enumerate(row):
                share = shares[place, column]
                axes.text(
                    column,
                    place,
                    f"{count:,}\n{100 * share:.1f} %",
                    ha="center",
                    va="center",
                    color="white" if share > 0.5 else _INK,
                )
        axes.set_xticks(range(len(CLASSES)), CLASSES)
        axes.set_yticks(range(len(CLASSES)), CLASSES)
        axes.grid(visible=False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")


def plot_run(path: Path, result: Result) -> None:
    """Plot the loss and the accuracy of one run."""
    with _figure(path, size=(10, 3.8), ncols=2) as (left, right):
        title = f"{result.experiment}, seed {result.seed}, on {result.data['name']}"
        left.figure.suptitle(title, fontsize=11)
        validation = {"color": _ORANGE, "markersize": 3.5, "label": "validation part"}
        left.plot(
            *training_losses(result), "o-", color=_BLUE, markersize=3.5, label="training texts"
        )
        left.plot(*_evaluated(result, "eval_loss"), "o-", **validation)
        left.set(title="loss", xlabel="epoch")
        left.set_ylim(bottom=0)
        epochs, accuracies = _evaluated(result, "eval_accuracy")
        right.plot(epochs, _percent(accuracies), "o-", **validation)
        right.plot(*_looks(result), "o-", color=_BLUE, markersize=3.5, label="drawn test texts")
        right.set(title="accuracy, %", xlabel="epoch")
        for axes in (left, right):
            axes.legend()


@contextmanager
def _panels(path: Path, rows: Sequence[Row]) -> Iterator[list[tuple[Any, Row]]]:
    """Yield the axes of each experiment in a grid of small plots."""
    columns = min(_COLUMNS, len(rows))
    lines = math.ceil(len(rows) / columns)
    size = (2.6 * columns + 0.6, 2.1 * lines + 0.7) if columns > 1 else (6.4, 3.6)
    with _figure(path, size=size, nrows=lines, ncols=columns, squeeze=False) as grid:
        panels = list(zip(grid.flat, rows, strict=False))
        for axes in grid.flat[len(rows) :]:
            axes.set_visible(False)
        for axes, row in panels:
            axes.set_title(row.name)
            axes.set_xlim(0, row.first.settings["epochs"])
            axes.locator_params(axis="x", integer=True, nbins=5)
        yield panels
        for axes, _ in panels[-columns:]:
            axes.set_xlabel("epoch")


def _legend(panels: Sequence[tuple[Any, Row]], *entries: tuple[str, str, str], label: str) -> None:
    figure = panels[0][0].figure
    lines = []
    for color, mark, text in entries:
        (entry,) = panels[0][0].plot([], [], mark, color=color, label=text)
        lines.append(entry)
    figure.legend(handles=lines, loc="outside upper center", ncols=len(entries))
    figure.supylabel(label, fontsize=9, color=_SOFT)


def training_losses(result: Result) -> tuple[list[float], list[float]]:
    """Return epochs and mean training losses of a run.

    Records are joined until they span a quarter of an epoch, because an evaluation and the end of
    an epoch may be a single step apart.
    """
    epochs, losses = [], []
    total, steps, last = 0.0, 0, 0
    for record in result.history:
        span = int(record["step"]) - last
        total, steps, last = total + record["loss"] * span, steps + span, int(record["step"])
        if 4 * steps >= result.steps_per_epoch:
            epochs.append(last / result.steps_per_epoch)
            losses.append(total / steps)
            total, steps = 0.0, 0
    return epochs, losses


def _evaluated(result: Result, name: str) -> tuple[list[float], list[float]]:
    """Return epochs and values of a metric in the evaluations of a run."""
    records = [record for record in result.history if name in record]
    epochs = [record["step"] / result.steps_per_epoch for record in records]
    return epochs, [record[name] for record in records]


def _alpha(row: Row) -> float:
    return 1.0 if len(row.results) == 1 else 0.6


def _percent(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else 100 * value for value in values])


def _looks(result: Result) -> tuple[list[float], NDArray[np.float64]]:
    epochs = [(look["step"] - 1) / result.steps_per_epoch for look in result.looks]
    return epochs, _percent([look["accuracy"] for look in result.looks])


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    """Return limits of the accuracy axis that fit the evaluations after the first epoch."""
    shown = []
    for row in rows:
        for result in row.results:
            shown.append(100 * result.accuracy)
            shown.extend(100 * look["accuracy"] for look in result.looks[2:])
        logged = notebook_facts().get(row.name, {}).get("eval_accuracy", [])
        shown.extend(100 * value for value in logged[2:] if value is not None)
    low, high = float(np.percentile(shown, 2)), max(shown)
    margin = max(0.5, 0.08 * (high - low))
    return low - margin, min(100.0, high + margin)
