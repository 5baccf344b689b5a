"""What all plots share: their look, their lines, and how they read a history."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from textrnn.errors import (
    InvalidTypeError,
    MissingKeyError,
    expected,
    import_extra,
    listing,
    show,
)

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

__all__ = [
    "BLUE",
    "COLOURS",
    "GREY",
    "INK",
    "VERMILLION",
    "Records",
    "array",
    "column",
    "draw_lines",
    "mark_highest",
    "new_figure",
    "number",
    "percent",
    "records",
    "tidy",
    "title_of",
]

Records: TypeAlias = Sequence[Mapping[str, float]]
"""What a `History` is: mappings with ``step``, ``epoch`` and whatever was measured then."""

BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#8C8C8C"
COLOURS = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
INK, FAINT = "#333333", "#E3E3E3"


def new_figure(
    panels: int,
    ax: "matplotlib.axes.Axes | None" = None,
    *,
    width: float = 5.2,
    height: float = 3.4,
) -> "tuple[matplotlib.figure.Figure, Sequence[matplotlib.axes.Axes]]":
    """Make a figure with panels side by side, or take the user's axes."""
    module = import_extra("matplotlib.figure", extra="plot")
    if ax is not None:
        return ax.figure.figure, [ax]  # the figure of a subfigure is the whole one
    figure = module.Figure(figsize=(width * panels, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)  # inches
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def tidy(axes: Any, *, title: str, xlabel: str, ylabel: str = "", grid: bool = True) -> None:
    """Give axes their title and labels, and take away what is not needed to read them."""
    axes.set_title(title, loc="left", color=INK, fontsize=11, fontweight="bold", parse_math=False)
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(which="both", colors=INK, labelsize=9)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis="y", color=FAINT, linewidth=0.8)


def draw_lines(
    axes: Any, lines: Mapping[str, tuple[list[float], list[float]]], *, colours: Mapping[str, str]
) -> None:
    """Draw lines and label each where it ends, on the right of the axes."""
    for name, (xs, ys) in lines.items():
        marker = "o" if len(xs) <= 20 else ""
        axes.plot(xs, ys, color=colours[name], linewidth=2, marker=marker, markersize=4)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    ends = []
    for name, (_, ys) in lines.items():
        finite = [y for y in ys if math.isfinite(y)]
        if finite:
            ends.append(((finite[-1] - low) / (high - low), name))
    ends.sort()
    heights = _apart([height for height, _ in ends], gap=0.065)
    for (_, name), height in zip(ends, heights, strict=True):
        axes.annotate(
            name,
            (1.0, height),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=colours[name],
            fontsize=9,
            parse_math=False,  # a "$" in a name is no formula
        )


def _apart(heights: list[float], *, gap: float) -> list[float]:
    """Move sorted numbers as little as it takes to keep them a gap apart."""
    raised, lowered = list(heights), list(heights)
    for i in range(1, len(heights)):
        raised[i] = max(raised[i], raised[i - 1] + gap)
        lowered[-i - 1] = min(lowered[-i - 1], lowered[-i] - gap)
    return [(high + low) / 2 for high, low in zip(raised, lowered, strict=True)]


def mark_highest(axes: Any, xs: list[float], ys: list[float]) -> None:
    """Put a dot and its value where a line is highest for the first time."""
    finite = [(y, x) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
    if not finite:
        return
    y = max(finite)[0]
    x = next(x for value, x in finite if value == y)
    axes.plot(x, y, "o", color=VERMILLION, markersize=7, zorder=3)
    axes.annotate(
        f"{100 * y:.2f} %" if 0 <= y <= 1 else f"{y:.4g}",
        (x, y),
        xytext=(0, 8),
        textcoords="offset points",
        ha="center",
        color=VERMILLION,
        fontsize=9,
    )


def percent(axes: Any, values: Sequence[float]) -> None:
    """Write an axis in per cent if its values are shares."""
    if all(0 <= value <= 1 for value in values if math.isfinite(value)):
        ticker = import_extra("matplotlib.ticker", extra="plot")
        axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0, symbol=" %"))


def title_of(name: str) -> str:
    """Return a value's name as a title: ``eval_macro_f1`` is ``Macro F1``."""
    words = name.removeprefix("eval_").replace("_f1", "_F1").replace("_", " ")
    return words[:1].upper() + words[1:]


def records(history: Any) -> list[Mapping[str, float]]:
    """Return a history's records, after a look at their types."""
    rows = list(history) if isinstance(history, Iterable) else [history]
    if not all(isinstance(row, Mapping) for row in rows):
        raise InvalidTypeError(expected("history", "a sequence of mappings", history))
    return rows


def column(history: Any, name: str, x: str) -> tuple[list[float], list[float]]:
    """Return where a value was recorded and what it was; infinities become NaN."""
    every = records(history)
    rows = [row for row in every if name in row]
    for wanted in (name, "step", *(["epoch"] if x == "epoch" else [])):
        if not rows or any(wanted not in row for row in rows):
            known = dict.fromkeys(key for row in every for key in row)
            raise MissingKeyError(f"The history has no {show(wanted)}; it has {listing(known)}.")
    xs = [number("step", row["step"]) for row in rows]
    if x == "epoch":
        first = min(row["epoch"] for row in rows)
        length = max(row["step"] for row in rows if row["epoch"] == first) / first
        xs = [step / length for step in xs]
    ys = [number(name, row[name]) for row in rows]
    return xs, [y if math.isfinite(y) else math.nan for y in ys]


def number(name: str, value: Any) -> float:
    """Return a plain number of whatever kind of number there is."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidTypeError(expected(name, "a number", value)) from None


def array(name: str, values: Any) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Return numbers of any kind as an array."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidTypeError(expected(name, "numbers throughout", values)) from None
