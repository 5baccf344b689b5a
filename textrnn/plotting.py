"""Plot histories, learning rates, trials, confusion matrices, explanations and text lengths.

Each function returns a `matplotlib.figure.Figure` made without `pyplot`: it needs no display and
no closing, and changes no global state. Save it with `figure.savefig("plot.png")`, restyle it
through `figure.axes`, or pass `ax` to draw into your own axes. matplotlib is an optional
dependency (`pip install 'textrnn[plot]'`), imported when the first plot is made.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from textrnn._text_table import printable
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingKeyError,
    check_choice,
    check_int,
    expected,
    import_extra,
    listing,
    show,
)

__all__ = [
    "Records",
    "plot_comparison",
    "plot_confusion",
    "plot_explanation",
    "plot_history",
    "plot_learning_rate",
    "plot_lengths",
    "plot_lr_finder",
    "plot_trials",
]

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure


Records: TypeAlias = Sequence[Mapping[str, float]]
"""Records of a `History`: mappings with `step`, `epoch` and the measured values."""

# Okabe and Ito (2008), "Color Universal Design": distinct for readers with any colour vision.
_BLUE, _VERMILLION, _GREY = "#0072B2", "#D55E00", "#8C8C8C"
_COLOURS = (_BLUE, _VERMILLION, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_INK, _FAINT = "#333333", "#E3E3E3"
_MAX_ANNOTATED_CLASSES = 20  # with a number in each cell


def plot_history(
    history: Records, *, metric: str = "accuracy", x: Literal["step", "epoch"] = "step"
) -> "matplotlib.figure.Figure":
    """Plot the losses of a training run, and a metric of its evaluations beside them.

    Args:
        history: A `History`, or a sequence of mappings with `step` and `loss` or `eval_loss`.
            Without `eval_` values of the metric there is no right panel.
        metric: Metric name without `eval_`; its maximum is marked. Default: "accuracy".
        x: Horizontal axis: `"step"`, or `"epoch"` in lengths of the first epoch. Default: "step".

    Returns:
        The figure.

    Raises:
        InvalidTypeError: If `history` is not a sequence of mappings, or a value is not a number.
        InvalidValueError: If no record has a loss, or `x` is unknown.
        MissingKeyError: If a record with a loss has no `step`, or no `epoch` where `x` needs it.

    Example:
        >>> figure = plot_history([
        ...     {"epoch": 1, "step": 10, "loss": 1.2, "eval_loss": 1.0, "eval_accuracy": 0.7},
        ...     {"epoch": 2, "step": 20, "loss": 0.8, "eval_loss": 0.9, "eval_accuracy": 0.8},
        ... ])
        >>> [axes.get_title(loc="left") for axes in figure.axes]
        ['Loss', 'Accuracy']
    """
    check_choice("x", x, ("step", "epoch"))
    lines = {
        label: _values(history, name, x)
        for label, name in {"training": "loss", "evaluation": "eval_loss"}.items()
        if any(name in record for record in _records(history))
    }
    if not lines:
        raise InvalidValueError(expected("history", "records with a 'loss'", history))
    has_metric = any(f"eval_{metric}" in record for record in history)
    figure, axes = _new_figure(1 + has_metric)
    _draw_lines(axes[0], lines, colours={"training": _GREY, "evaluation": _BLUE})
    _style(axes[0], title="Loss", xlabel=x)
    if has_metric:
        line = _values(history, f"eval_{metric}", x)
        _draw_lines(axes[1], {"evaluation": line}, colours={"evaluation": _BLUE})
        _format_percent(axes[1], line[1])
        _mark_highest(axes[1], *line)
        _style(axes[1], title=_title(metric), xlabel=x)
    return figure


def plot_comparison(
    histories: Mapping[str, Records],
    *,
    name: str = "eval_accuracy",
    x: Literal["step", "epoch"] = "step",
    ax: "matplotlib.axes.Axes | None" = None,
) -> "matplotlib.figure.Figure":
    """Plot one value of several runs.

    Args:
        histories: Histories of one to seven runs, by name.
        name: Name of the value in the records. Default: "eval_accuracy".
        x: Horizontal axis: `"step"`, or `"epoch"` in lengths of the first epoch. Default: "step".
        ax: Axes to draw into; None makes a new figure. Default: None.

    Returns:
        The figure.

    Raises:
        InvalidTypeError: If a history is not a sequence of mappings, or a value is not a number.
        InvalidValueError: If there are no histories or more than seven, or `x` is unknown.
        MissingKeyError: If a history lacks the value, its `step`, or its `epoch`.

    Example:
        >>> gru = [{"step": 10, "eval_accuracy": 0.7}, {"step": 20, "eval_accuracy": 0.8}]
        >>> rnn = [{"step": 10, "eval_accuracy": 0.6}, {"step": 20, "eval_accuracy": 0.7}]
        >>> figure = plot_comparison({"gru": gru, "rnn": rnn})
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['rnn', 'gru']
    """
    check_choice("x", x, ("step", "epoch"))
    if not 1 <= len(histories) <= len(_COLOURS):
        raise InvalidValueError(expected("histories", f"1 to {len(_COLOURS)} runs", histories))
    lines = {run: _values(history, name, x) for run, history in histories.items()}
    figure, axes = _new_figure(1, ax)
    _draw_lines(axes[0], lines, colours=dict(zip(lines, _COLOURS, strict=False)))
    _format_percent(axes[0], [value for _, values in lines.values() for value in values])
    _style(axes[0], title=_title(name), xlabel=x)
    return figure


def plot_trials(
    trials: Sequence[Mapping[str, Any]], *, ax: "matplotlib.axes.Axes | None" = None
) -> "matplotlib.figure.Figure":
    """Plot the loss of each trial of a search, and the lowest so far.

    Args:
        trials: The trials of a `Tuning`: mappings with `trial`, `log_loss` and `pruned`, the one of
            the defaults first.
        ax: Axes to draw into; None makes a new figure. Default: None.

    Returns:
        The figure.

    Raises:
        InvalidTypeError: If `trials` is not a sequence of mappings, or a value is not a number.
        InvalidValueError: If there are no trials.
        MissingKeyError: If a trial lacks one of the keys.

    Example:
        >>> figure = plot_trials([
        ...     {"trial": 0, "log_loss": 0.52, "pruned": False},
        ...     {"trial": 1, "log_loss": 0.61, "pruned": True},
        ...     {"trial": 2, "log_loss": 0.49, "pruned": False},
        ... ])
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['defaults', 'complete', 'pruned', 'best so far']
    """
    rows = _records(trials, "trials")
    if not rows:
        raise InvalidValueError(expected("trials", "one trial or more", trials))
    for name in ("trial", "log_loss", "pruned"):
        if any(name not in row for row in rows):
            raise MissingKeyError(f"A trial has no {show(name)}.")
    xs = [_number("trial", row["trial"]) for row in rows]
    losses = [_number("log_loss", row["log_loss"]) for row in rows]
    ys = [loss if math.isfinite(loss) else math.nan for loss in losses]
    pruned = [bool(row["pruned"]) for row in rows]
    figure, axes = _new_figure(1, ax)
    axes[0].axhline(ys[0], color=_GREY, linewidth=1, linestyle="--", label="defaults")
    for chosen, style in ((False, "o"), (True, "x")):
        points = [(x, y) for x, y, cut in zip(xs, ys, pruned, strict=True) if cut == chosen]
        if points:
            label = "pruned" if chosen else "complete"
            colour = _GREY if chosen else _BLUE
            axes[0].plot(*zip(*points, strict=True), style, color=colour, markersize=5, label=label)
    whole = [math.inf if cut else y for y, cut in zip(ys, pruned, strict=True)]
    lowest = [low if math.isfinite(low) else math.nan for low in accumulate(whole, min)]
    axes[0].step(xs, lowest, where="post", color=_VERMILLION, linewidth=2, label="best so far")
    axes[0].legend(frameon=False, fontsize=9)
    _style(axes[0], title="Log loss on held-out texts", xlabel="trial")
    return figure


def plot_learning_rate(
    rates: Sequence[float] | Records,
    *,
    log: bool = False,
    ax: "matplotlib.axes.Axes | None" = None,
) -> "matplotlib.figure.Figure":
    """Plot a learning rate over the steps.

    Args:
        rates: Learning rate of each step, as `simulate` returns them, or a history.
        log: Whether the vertical axis is logarithmic. Default: False.
        ax: Axes to draw into; None makes a new figure. Default: None.

    Returns:
        The figure.

    Raises:
        InvalidTypeError: If a rate is not a number.
        InvalidValueError: If there are no rates.
        MissingKeyError: If the history has no `learning_rate`.

    Example:
        >>> from textrnn.training import schedulers
        >>> rates = schedulers.simulate(schedulers.cosine_warmup(), total_steps=100)
        >>> figure = plot_learning_rate(rates)
        >>> figure.axes[0].get_xlabel()
        'step'
    """
    if len(rates) == 0:
        raise InvalidValueError(expected("rates", "at least one rate", rates))
    first: object = rates[0]
    if isinstance(first, Mapping):
        line = _values(rates, "learning_rate", "step")
    else:
        line = [float(t) for t in range(len(rates))], [_number("rates", rate) for rate in rates]
    figure, axes = _new_figure(1, ax)
    axes[0].plot(*line, color=_BLUE, linewidth=2)
    if log:
        axes[0].set_yscale("log")
    else:
        axes[0].set_ylim(bottom=0)
        axes[0].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    _style(axes[0], title="Learning rate", xlabel="step")
    return figure


def plot_lr_finder(
    curve: Any, *, ax: "matplotlib.axes.Axes | None" = None
) -> "matplotlib.figure.Figure":
    """Plot the losses of a learning-rate range test and the suggested rate.

    Args:
        curve: Result of `find_learning_rate`, or an object with its attributes.
        ax: Axes to draw into; None makes a new figure. Default: None.

    Returns:
        The figure.

    Example:
        >>> from textrnn.training.lr_finder import LearningRateCurve
        >>> losses = (2.0, 1.5, 1.0)
        >>> curve = LearningRateCurve((0.01, 0.1, 1.0), losses, losses, suggestion=0.1)
        >>> plot_lr_finder(curve).axes[0].get_xscale()
        'log'
    """
    rates, losses, smoothed = (np.array(v) for v in (curve.rates, curve.losses, curve.smoothed))
    figure, axes = _new_figure(1, ax)
    axes[0].plot(rates, losses, color=_GREY, linewidth=1, alpha=0.6)
    axes[0].plot(rates, smoothed, color=_BLUE, linewidth=2)
    axes[0].set_xscale("log")
    low, high = smoothed.min(), max(smoothed[0], np.median(losses))
    axes[0].set_ylim(low - 0.15 * (high - low), high + 0.35 * (high - low) + 1e-9)
    if curve.suggestion is not None:
        height = float(np.interp(np.log(curve.suggestion), np.log(rates), smoothed))
        axes[0].plot(curve.suggestion, height, "o", color=_VERMILLION, markersize=7)
        text = f"steepest at {curve.suggestion:.2g}"
        # On the left there is room, since the curve falls towards the right.
        _annotate(axes[0], text, (curve.suggestion, height), (-9, -3), ha="right")
    _style(axes[0], title="Loss over the learning rate", xlabel="learning rate")
    return figure


def plot_confusion(
    matrix: Any,
    labels: Sequence[object] | None = None,
    *,
    normalize: bool = False,
    ax: "matplotlib.axes.Axes | None" = None,
) -> "matplotlib.figure.Figure":
    """Plot a confusion matrix.

    Args:
        matrix: Confusion matrix `(classes, classes)`, true classes in rows and predicted ones in
            columns: a report's `confusion`, an array or a tensor.
        labels: Class names; None shows the class ids. Default: None.
        normalize: Whether to show each row as shares instead of counts. Default: False.
        ax: Axes to draw into; None makes a new figure. Default: None.

    Returns:
        The figure.

    Raises:
        InvalidTypeError: If `matrix` does not hold numbers.
        InvalidValueError: If `matrix` is empty, not square or does not hold counts, or the number
            of `labels` differs from the number of classes.

    Example:
        >>> figure = plot_confusion([[9, 1], [2, 8]], ["no", "yes"], normalize=True)
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['90 %', '10 %', '20 %', '80 %']
    """
    counts = _array("matrix", matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise InvalidValueError(expected("matrix", "of shape (classes, classes)", counts.shape))
    if not (np.isfinite(counts) & (counts >= 0)).all():
        raise InvalidValueError(expected("matrix", "counts throughout", matrix))
    names = [str(name) for name in (range(len(counts)) if labels is None else labels)]
    if len(names) != len(counts):
        raise InvalidValueError(expected("labels", f"{len(counts)} names", labels))
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    shown = shares if normalize else counts
    few = len(counts) <= _MAX_ANNOTATED_CLASSES
    size = 1.6 + 0.62 * len(counts) if few else 8.0
    figure, (axes,) = _new_figure(1, ax, width=size + 0.3, height=size)
    # The square root keeps rare confusions visible beside frequent correct predictions.
    scale = import_extra("matplotlib.colors", extra="plot").PowerNorm(
        0.5, vmin=0, vmax=1 if normalize else max(1, counts.max())
    )
    image = axes.imshow(shown, cmap="Blues", norm=scale)
    if few:
        for (row, column), value in np.ndenumerate(shown):
            text = f"{value:.0%}".replace("%", " %") if normalize else f"{value:,.0f}"
            colour = "white" if scale(value) > 0.6 else _INK
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    else:
        figure.colorbar(image, ax=axes, shrink=0.8)
    step = -(-len(names) // 40)  # at most 40 names stay legible
    ticks = range(0, len(names), step)
    # Without `parse_math` a "$" in a name would start a formula.
    axes.set_yticks(ticks, names[::step], parse_math=False)
    long = len(counts) > 6 or max(map(len, names)) > 10
    slant: Any = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if long else {}
    axes.set_xticks(ticks, names[::step], parse_math=False, **slant)
    _style(axes, title="Confusions", xlabel="prediction", ylabel="label", grid=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def plot_explanation(
    explanation: Any, *, max_words: int = 15, ax: "matplotlib.axes.Axes | None" = None
) -> "matplotlib.figure.Figure":
    """Plot the weights of the words of a text, in the order of the text.

    Args:
        explanation: One of the results of `TextClassifier.explain`, or an object with its
            attributes.
        max_words: Maximum number of words; those with the largest weights are shown, and the sum of
            the others. Default: 15.
        ax: Axes to draw into; None makes a new figure. Default: None.

    Returns:
        The figure.

    Raises:
        InvalidTypeError: If `max_words` is not an integer.
        InvalidValueError: If `max_words` is below 1.

    Example:
        >>> from types import SimpleNamespace
        >>> explanation = SimpleNamespace(
        ...     words=("oil", "prices", "soar"), weights=(1.5, 1.0, -0.2), label="business",
        ...     logit=2.8, bias=0.5, residual=0.0)
        >>> figure = plot_explanation(explanation)
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['oil', 'prices', 'soar', 'bias']
    """
    max_words = check_int("max_words", max_words)
    weights = np.array(explanation.weights, dtype=np.float64)  # (words,)
    kept = np.sort(np.argsort(-np.abs(weights), kind="stable")[:max_words])
    names = [printable(explanation.words[i]) for i in kept]
    heights = weights[kept].tolist()
    colours = [_BLUE if height >= 0 else _VERMILLION for height in heights]
    rest = {"bias": explanation.bias}
    if len(weights) > len(kept):
        others = f"{len(weights) - len(kept)} other words"
        rest = {others: float(weights.sum() - weights[kept].sum()), **rest}
    names, heights = [*names, *rest], [*heights, *rest.values()]
    colours += [_GREY] * len(rest)
    figure, (axes,) = _new_figure(1, ax, height=1.0 + 0.26 * len(names))
    bars = axes.barh(range(len(names)), heights, color=colours, height=0.7)
    axes.bar_label(bars, fmt="{:+.2f}", padding=3, fontsize=8, color=_INK)
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.margins(x=0.15, y=0.02)
    axes.invert_yaxis()
    axes.set_yticks(range(len(names)), names, parse_math=False)
    title = f"{explanation.label}: logit {explanation.logit:.2f}"
    _style(axes, title=title, xlabel="weight", grid=False)
    axes.tick_params(axis="y", length=0)
    return figure


def plot_lengths(
    lengths: Any,
    *,
    max_length: int | None = None,
    ax: "matplotlib.axes.Axes | None" = None,
) -> "matplotlib.figure.Figure":
    """Plot a histogram of text lengths, and the share of texts above a limit.

    Args:
        lengths: Number of tokens of each text, such as `dataset.lengths`.
        max_length: Length limit to mark; None marks none. Default: None.
        ax: Axes to draw into; None makes a new figure. Default: None.

    Returns:
        The figure.

    Raises:
        InvalidTypeError: If `lengths` does not hold numbers, or `max_length` is not an integer.
        InvalidValueError: If there are no lengths, one is negative, or `max_length` is below 1.

    Example:
        >>> figure = plot_lengths([3, 5, 5, 8], max_length=6)
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['limit 6: 25.0 % are longer']
    """
    numbers = _array("lengths", lengths)
    counted = numbers.ndim == 1 and numbers.size and np.isfinite(numbers).all()
    if not counted or numbers.min() < 0:
        raise InvalidValueError(expected("lengths", "one number of tokens for each text", lengths))
    figure, (axes,) = _new_figure(1, ax)
    highest = int(numbers.max())
    width = max(1, math.ceil((highest + 1) / 60))  # whole tokens in each bar
    edges = [edge - 0.5 for edge in range(0, highest + width + 1, width)]
    axes.hist(numbers, bins=edges, color=_BLUE)
    if max_length is not None:
        max_length = check_int("max_length", max_length)
        cut = float((numbers > max_length).mean())
        axes.axvline(max_length + 0.5, color=_VERMILLION, linewidth=1.5)
        text, at = f"limit {max_length}: {100 * cut:.1f} % are longer", (max_length + 0.5, 0.95)
        offset, ha = ((-6, 0), "right") if max_length > highest * 0.6 else ((6, 0), "left")
        _annotate(axes, text, at, offset, ha=ha, xycoords=("data", "axes fraction"))
    title = f"Lengths of {numbers.size:,} texts, median {int(np.median(numbers))}"
    _style(axes, title=title, xlabel="tokens", ylabel="texts")
    return figure


def _new_figure(
    panels: int,
    ax: "matplotlib.axes.Axes | None" = None,
    *,
    width: float = 5.2,
    height: float = 3.4,
) -> "tuple[matplotlib.figure.Figure, Sequence[matplotlib.axes.Axes]]":
    """Return a new figure with panels side by side, or the figure of the user's axes."""
    module = import_extra("matplotlib.figure", extra="plot")
    if ax is not None:
        return ax.figure.figure, [ax]  # also of a subfigure the whole figure
    figure = module.Figure(figsize=(width * panels, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)  # inches
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _style(axes: Any, *, title: str, xlabel: str, ylabel: str = "", grid: bool = True) -> None:
    """Set the title, the labels and a plain style."""
    axes.set_title(title, loc="left", color=_INK, fontsize=11, fontweight="bold", parse_math=False)
    axes.set_xlabel(xlabel, color=_INK)
    axes.set_ylabel(ylabel, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GREY)
    axes.tick_params(which="both", colors=_INK, labelsize=9)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis="y", color=_FAINT, linewidth=0.8)


def _draw_lines(
    axes: Any, lines: Mapping[str, tuple[list[float], list[float]]], *, colours: Mapping[str, str]
) -> None:
    """Draw lines, each labelled at its end on the right of the axes."""
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
        style = {"va": "center", "color": colours[name], "fontsize": 9, "parse_math": False}
        _annotate(axes, name, (1.0, height), (5, 0), xycoords="axes fraction", **style)


def _apart(heights: list[float], *, gap: float) -> list[float]:
    """Spread sorted numbers to a minimum distance from one another."""
    raised, lowered = list(heights), list(heights)
    for i in range(1, len(heights)):
        raised[i] = max(raised[i], raised[i - 1] + gap)
        lowered[-i - 1] = min(lowered[-i - 1], lowered[-i] - gap)
    return [(high + low) / 2 for high, low in zip(raised, lowered, strict=True)]


def _mark_highest(axes: Any, xs: list[float], ys: list[float]) -> None:
    """Mark the first maximum of a line with a dot and its value."""
    finite = [(y, x) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
    if not finite:
        return
    y = max(finite)[0]
    x = next(x for value, x in finite if value == y)
    axes.plot(x, y, "o", color=_VERMILLION, markersize=7, zorder=3)
    text = f"{100 * y:.2f} %" if 0 <= y <= 1 else f"{y:.4g}"
    _annotate(axes, text, (x, y), (0, 8), ha="center", fontsize=9)


def _annotate(
    axes: Any, text: str, at: tuple[float, float], offset: tuple[int, int], **style: Any
) -> None:
    """Write text at an offset in points from a position."""
    style = {"color": _VERMILLION} | style
    axes.annotate(text, at, xytext=offset, textcoords="offset points", **style)


def _format_percent(axes: Any, values: Sequence[float]) -> None:
    """Format the vertical axis in per cent if all values are from 0 to 1."""
    if all(0 <= value <= 1 for value in values if math.isfinite(value)):
        ticker = import_extra("matplotlib.ticker", extra="plot")
        axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0, symbol=" %"))


def _title(name: str) -> str:
    """Return a metric's name as a title, such as "Macro F1" for `eval_macro_f1`."""
    words = name.removeprefix("eval_").replace("_f1", "_F1").replace("_", " ")
    return words[:1].upper() + words[1:]


def _records(history: Any, name: str = "history") -> list[Mapping[str, float]]:
    """Return the records of a history after checking that they are mappings."""
    rows = list(history) if isinstance(history, Iterable) else [history]
    if not all(isinstance(row, Mapping) for row in rows):
        raise InvalidTypeError(expected(name, "a sequence of mappings", history))
    return rows


def _values(history: Any, name: str, x: str) -> tuple[list[float], list[float]]:
    """Return the steps or epochs and the values of a recorded name, infinities as NaN."""
    every = _records(history)
    rows = [row for row in every if name in row]
    for wanted in (name, "step", *(["epoch"] if x == "epoch" else [])):
        if not rows or any(wanted not in row for row in rows):
            known = dict.fromkeys(key for row in every for key in row)
            raise MissingKeyError(f"The history has no {show(wanted)}; it has {listing(known)}.")
    xs = [_number("step", row["step"]) for row in rows]
    if x == "epoch":
        first = min(row["epoch"] for row in rows)
        length = max(row["step"] for row in rows if row["epoch"] == first) / first
        xs = [step / length for step in xs]
    ys = [_number(name, row[name]) for row in rows]
    return xs, [y if math.isfinite(y) else math.nan for y in ys]


def _number(name: str, value: Any) -> float:
    """Return a number of any type as a float."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidTypeError(expected(name, "a number", value)) from None


def _array(name: str, values: Any) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Return numbers of any type as an array."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidTypeError(expected(name, "numbers throughout", values)) from None
