"""The plots of a report."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.accuracy.rows import Row, by_data, by_difference, largest, methods_of
from textrnn.errors import import_extra

__all__ = ["COLORS", "draw_accuracies", "draw_costs", "draw_differences", "draw_overview", "tidy"]

_MAX_COLUMNS = 4  # of panels
COLORS = (
    *("#1d5fa8", "#d9741a", "#2c8a50", "#a0519a", "#c23b30", "#5b6776"),
    *("#17a2b8", "#b8960c", "#7a4a21", "#e377c2", "#1b1b1b"),
)


def draw_accuracies(rows: Sequence[Row], path: Path) -> None:
    """Plot accuracy by number of training texts, with one panel per data set."""
    matplotlib = import_extra("matplotlib", extra="benchmarks")
    figures = import_extra("matplotlib.figure", extra="benchmarks")
    groups = by_data(rows)
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(methods_of(rows))}
    with matplotlib.rc_context({"svg.hashsalt": "textrnn", "font.size": 9}):
        figure = figures.Figure(figsize=(1 + 3.6 * len(groups), 3.6), layout="constrained")
        panels = figure.subplots(1, len(groups), squeeze=False)[0]
        for axes, (title, group) in zip(panels, groups.items(), strict=True):
            for name in methods_of(group):
                found = [row for row in group if row.method == name]
                axes.errorbar(
                    [row.runs[0].data["train_texts"] for row in found],
                    [row.mean for row in found],
                    [row.spread for row in found],
                    color=colors[name],
                    linestyle="--" if found[0].runs[0].baseline else "-",
                    marker="o",
                    markersize=4,
                    capsize=2,
                    label=found[0].runs[0].title,
                )
            sizes = sorted({row.runs[0].data["train_texts"] for row in group})
            axes.set_xscale("log")
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30)
            axes.set_xticks([], minor=True)
            axes.set_title(title, loc="left", fontsize=10)
            axes.set_xlabel("training texts")
            tidy(axes)
        panels[0].set_ylabel("accuracy, %")
        _add_legend(figure, panels)
        figure.savefig(path, metadata={"Date": None})


def draw_costs(rows: Sequence[Row], path: Path) -> None:
    """Plot accuracy by processor seconds of the fit, with one panel per task."""
    matplotlib = import_extra("matplotlib", extra="benchmarks")
    figures = import_extra("matplotlib.figure", extra="benchmarks")
    tasks = list(dict.fromkeys(row.task for row in rows))
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(methods_of(rows))}
    columns = min(len(tasks), _MAX_COLUMNS)
    lines = -(-len(tasks) // columns)
    with matplotlib.rc_context({"svg.hashsalt": "textrnn", "font.size": 9}):
        size = (1 + 3.2 * columns, 0.8 + 2.8 * lines)
        figure = figures.Figure(figsize=size, layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, task in zip(panels, tasks, strict=False):
            for row in (row for row in rows if row.task == task):
                first = row.runs[0]
                axes.errorbar(
                    row.seconds("fit_processor"),
                    row.mean,
                    row.spread,
                    color=colors[row.method],
                    marker="s" if first.baseline else "o",
                    markersize=5,
                    capsize=2,
                    linestyle="none",
                    label=first.title,
                )
            data = first.data
            axes.set_xscale("log")
            axes.set_title(f"{data['title']}, {data['train_texts']:,}", loc="left", fontsize=10)
            axes.set_xlabel("processor seconds of the fit")
            axes.set_ylabel("accuracy, %")
            tidy(axes)
        for axes in panels[len(tasks) :]:
            axes.set_visible(False)
        _add_legend(figure, panels)
        figure.savefig(path, metadata={"Date": None})


def draw_overview(rows: Sequence[Row], path: Path) -> None:
    """Plot accuracy by processor seconds on the largest task of each data set, to be small."""
    matplotlib = import_extra("matplotlib", extra="benchmarks")
    figures = import_extra("matplotlib.figure", extra="benchmarks")
    tickers = import_extra("matplotlib.ticker", extra="benchmarks")
    groups = largest(rows)
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(methods_of(rows))}
    columns = min(len(groups), 2)
    lines = -(-len(groups) // columns)
    options = {"svg.hashsalt": "textrnn", "svg.fonttype": "none", "font.size": 10}
    with matplotlib.rc_context(options):
        size = (1 + 3 * columns, 0.9 + 2.3 * lines)
        figure = figures.Figure(figsize=size, layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, (title, group) in zip(panels, groups.items(), strict=False):
            for row in group:
                first = row.runs[0]
                axes.plot(
                    row.seconds("fit_processor"),
                    row.mean,
                    color=colors[row.method],
                    marker="s" if first.baseline else "o",
                    markersize=7 if first.baseline else 11,
                    linestyle="none",
                    label=first.title,
                )
            axes.set_xscale("log", subs=[])
            axes.xaxis.set_major_locator(tickers.LogLocator(subs=(1, 3)))
            axes.xaxis.set_major_formatter("{x:,g}")
            axes.margins(0.15)
            axes.set_title(title, loc="left", fontsize=10)
            tidy(axes)
        for axes in panels[len(groups) :]:
            axes.set_visible(False)
        for axes in panels[len(groups) - columns : len(groups)]:  # the lowest of each column
            axes.set_xlabel("processor seconds of training")
        figure.supylabel("accuracy, %", fontsize=10)
        _add_legend(figure, panels)
        figure.savefig(path, metadata={"Date": None})


def draw_differences(rows: Sequence[Row], path: Path) -> None:
    """Plot differences to the reference: a small dot per seed, a large one for the mean."""
    matplotlib = import_extra("matplotlib", extra="benchmarks")
    figures = import_extra("matplotlib.figure", extra="benchmarks")
    names = by_difference(rows)
    tasks = list(dict.fromkeys(row.task for row in rows if row.differences))
    with matplotlib.rc_context({"svg.hashsalt": "textrnn", "font.size": 9}):
        size = (2 + 3.2 * max(len(tasks), 1), 1.2 + 0.22 * len(names))
        figure = figures.Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, max(len(tasks), 1), squeeze=False, sharey=True)[0]
        for axes, task in zip(panels, tasks, strict=False):
            found = [row for row in rows if row.task == task and row.differences]
            for row in found:
                place = names.index(row.method)
                axes.plot(row.differences, [place] * len(row.differences), ".", color="#9fb4cc")
                axes.plot(statistics.fmean(row.differences), place, "o", color=COLORS[0])
            data = found[0].runs[0].data
            axes.set_title(f"{data['title']}, {data['train_texts']:,}", loc="left", fontsize=10)
            axes.axvline(0, color="#5b6776", linewidth=0.8)
            axes.set_yticks(range(len(names)), names)
            axes.set_xlabel("difference, points")
            tidy(axes)
        panels[0].invert_yaxis()
        figure.savefig(path, metadata={"Date": None})


def _add_legend(figure: Any, panels: Sequence[Any]) -> None:
    """Add one legend for all panels."""
    handles: dict[str, Any] = {}
    for axes in panels:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)


def tidy(axes: Any) -> None:
    """Add a faint grid and remove the upper and right frame."""
    axes.grid(color="#e6eaef")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
