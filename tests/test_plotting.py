"""Plots show the given numbers, which the tests read from their axes."""

import math
import subprocess
import sys
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from textrnn import plotting
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingDependencyError,
    MissingKeyError,
)
from textrnn.training import schedulers
from textrnn.training.history import History

RECORDS = [
    {"epoch": 1, "step": 5, "loss": 1.5, "learning_rate": 0.1},
    {"epoch": 1, "step": 10, "loss": 1.0, "eval_loss": 1.1, "eval_accuracy": 0.6},
    {"epoch": 2, "step": 20, "loss": 0.5, "eval_loss": 0.9, "eval_accuracy": 0.8},
    {"epoch": 3, "step": 30, "loss": 0.3, "eval_loss": 1.0, "eval_accuracy": 0.75},
]
CURVE = SimpleNamespace(
    rates=(1e-3, 1e-2, 1e-1, 1.0),
    losses=(2.0, 1.5, 0.5, 9.0),
    smoothed=(2.0, 1.6, 0.8, 3.0),
    suggestion=1e-2,
)


def lines_of(axes) -> list[list[tuple[float, float]]]:
    """Return the points of each line of some axes."""
    return [list(zip(*map(list, line.get_data()), strict=True)) for line in axes.lines]


def texts_of(axes) -> list[str]:
    """Return the texts of some axes."""
    return [text.get_text() for text in axes.texts]


TRIALS = [
    {"trial": 0, "log_loss": 0.5, "pruned": False},
    {"trial": 1, "log_loss": 0.4, "pruned": True},
    {"trial": 2, "log_loss": 0.3, "pruned": False},
    {"trial": 4, "log_loss": math.inf, "pruned": True},
]


def test_trials_show_the_best_so_far():
    """Pruned trials, whose losses are of fewer texts, are never the best."""
    (axes,) = plotting.plot_trials(TRIALS).axes
    defaults, complete, pruned, best = axes.lines
    assert defaults.get_ydata() == [0.5, 0.5]
    assert list(zip(complete.get_xdata(), complete.get_ydata(), strict=True)) == [
        (0, 0.5),
        (2, 0.3),
    ]
    assert list(pruned.get_xdata()) == [1, 4]
    assert pruned.get_ydata()[0] == 0.4
    assert math.isnan(pruned.get_ydata()[1])
    assert list(best.get_ydata()) == [0.5, 0.5, 0.3, 0.3]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["defaults", "complete", "pruned", "best so far"]
    (axes,) = plotting.plot_trials(TRIALS[:1], ax=Figure().subplots()).axes
    assert len(axes.lines) == 3


@pytest.mark.parametrize(
    ("trials", "kind", "message"),
    [
        ([], InvalidValueError, "Expected `trials` to be one trial or more"),
        ([3], InvalidTypeError, "Expected `trials` to be a sequence of mappings"),
        ([{"trial": 0, "log_loss": 0.5}], MissingKeyError, "A trial has no 'pruned'."),
        ([{**TRIALS[0], "log_loss": "low"}], InvalidTypeError, "Expected `log_loss`"),
    ],
)
def test_trials_that_are_none_are_named(trials, kind, message):
    """Before anything is drawn."""
    with pytest.raises(kind) as error:
        plotting.plot_trials(trials)
    assert message in str(error.value)


def test_a_history_shows_losses_and_accuracies():
    """The left panel has both losses, the right one the accuracies with their best marked."""
    figure = plotting.plot_history(History(RECORDS))
    losses, accuracies = figure.axes
    assert lines_of(losses) == [
        [(5, 1.5), (10, 1.0), (20, 0.5), (30, 0.3)],
        [(10, 1.1), (20, 0.9), (30, 1.0)],
    ]
    assert sorted(texts_of(losses)) == ["evaluation", "training"]
    assert lines_of(accuracies) == [[(10, 0.6), (20, 0.8), (30, 0.75)], [(20, 0.8)]]
    assert texts_of(accuracies) == ["evaluation", "80.00 %"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Loss", "Accuracy"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["step", "step"]


def test_lines_and_their_labels_have_one_colour():
    """Each line and its label have the same colour."""
    axes = plotting.plot_history(RECORDS).axes[0]
    labels = {text.get_text(): to_hex(text.get_color()) for text in axes.texts}
    training, evaluation = (to_hex(line.get_color()) for line in axes.lines)
    assert labels == {"training": training, "evaluation": evaluation}
    assert training != evaluation


def test_a_history_without_evaluations_has_one_panel():
    """Without evaluations only the training loss is plotted."""
    figure = plotting.plot_history([{"step": 1, "loss": 2.0}])
    (axes,) = figure.axes
    assert lines_of(axes) == [[(1, 2.0)]]
    assert texts_of(axes) == ["training"]


def test_a_history_may_be_drawn_over_epochs():
    """The epoch axis uses the length of the first epoch, also for an incomplete last one."""
    records = [*RECORDS, {"epoch": 4, "step": 35, "loss": 0.2}]
    losses, accuracies = plotting.plot_history(records, x="epoch").axes
    assert [x for x, _ in lines_of(losses)[0]] == [0.5, 1, 2, 3, 3.5]
    assert [x for x, _ in lines_of(accuracies)[0]] == [1, 2, 3]
    assert losses.get_xlabel() == "epoch"


def test_a_history_may_show_another_metric():
    """Values from 0 to 1 are shown in per cent, and others as they are."""
    records = [{"step": n, "loss": 1.0, "eval_macro_f1": n / 4, "eval_score": n} for n in (1, 2, 3)]
    figure = plotting.plot_history(records, metric="macro_f1")
    assert figure.axes[1].get_title(loc="left") == "Macro F1"
    assert texts_of(figure.axes[1])[1] == "75.00 %"
    assert texts_of(plotting.plot_history(records, metric="score").axes[1])[1] == "3"


def test_values_that_are_not_finite_leave_a_gap():
    """NaN and infinite values leave a gap in the line."""
    records = [
        {"step": n, "loss": value, "eval_accuracy": accuracy}
        for n, (value, accuracy) in enumerate([(1.0, 0.5), (math.inf, math.nan), (0.5, 0.4)])
    ]
    figure = plotting.plot_history(records)
    figure.draw_without_rendering()
    assert math.isnan(lines_of(figure.axes[0])[0][1][1])
    assert texts_of(figure.axes[1]) == ["evaluation", "50.00 %"]
    nothing = plotting.plot_history([{"step": 1, "loss": math.nan, "eval_accuracy": math.nan}])
    nothing.draw_without_rendering()
    assert texts_of(nothing.axes[0]) == texts_of(nothing.axes[1]) == []


@pytest.mark.parametrize(
    ("history", "settings", "error", "message"),
    [
        ([], {}, InvalidValueError, r"`history` to be records with a 'loss', but got \[\]"),
        ([{"step": 1}], {}, InvalidValueError, "`history` to be records with a 'loss'"),
        ([1.0], {}, InvalidTypeError, r"`history` to be a sequence of mappings, but got \[1.0\]"),
        (None, {}, InvalidTypeError, "`history` to be a sequence of mappings, but got None"),
        ([{"loss": 1.0}], {}, MissingKeyError, "has no 'step'; it has 'loss'"),
        (
            [{"loss": 1, "step": 1}],
            {"x": "epoch"},
            MissingKeyError,
            "no 'epoch'; it has 'loss', 's",
        ),
        (RECORDS, {"x": "time"}, InvalidValueError, "`x` to be one of 'step', 'epoch'"),
        ([{"loss": "?", "step": 1}], {}, InvalidTypeError, r"`loss` to be a number, but got '\?'"),
    ],
)
def test_bad_histories_are_refused(history, settings, error, message):
    """The message names the missing or wrong value."""
    with pytest.raises(error, match=message):
        plotting.plot_history(history, **settings)


def test_a_comparison_shows_a_line_for_each_run():
    """Each run has a line, and labels are sorted by the last values."""
    worse = [{"step": 10, "eval_accuracy": 0.5}, {"step": 20, "eval_accuracy": 0.7}]
    figure = plotting.plot_comparison({"exp1": RECORDS, "baseline": worse})
    (axes,) = figure.axes
    assert lines_of(axes) == [[(10, 0.6), (20, 0.8), (30, 0.75)], [(10, 0.5), (20, 0.7)]]
    assert texts_of(axes) == ["baseline", "exp1"]
    losses = plotting.plot_comparison({"a": RECORDS}, name="loss", x="epoch")
    assert losses.axes[0].get_title(loc="left") == "Loss"
    assert losses.axes[0].get_xlabel() == "epoch"


def test_labels_of_lines_that_end_together_do_not_overlap():
    """Labels keep their order and a line's height between them."""
    histories = {f"run {n}": [{"step": 1, "eval_accuracy": 0.9}] for n in range(6)}
    histories["low"] = [{"step": 1, "eval_accuracy": 0.1}]
    axes = plotting.plot_comparison(histories).axes[0]
    heights = [text.xy[1] for text in axes.texts]
    assert np.diff(heights).min() == pytest.approx(0.065)
    assert texts_of(axes)[0] == "low"
    assert heights[0] == pytest.approx(axes.transLimits.transform((1, 0.1))[1])


def test_bad_comparisons_are_refused():
    """The number of runs is limited to the number of colours, and must not be 0."""
    for number in (0, 8):
        histories = {str(n): RECORDS for n in range(number)}
        with pytest.raises(InvalidValueError, match="`histories` to be 1 to 7 runs"):
            plotting.plot_comparison(histories)
    with pytest.raises(MissingKeyError, match="has no 'eval_f1'; it has 'epoch', 'eval_accuracy'"):
        plotting.plot_comparison({"a": RECORDS}, name="eval_f1")
    with pytest.raises(InvalidValueError, match="`x` to be one of"):
        plotting.plot_comparison({"a": RECORDS}, x="loss")


def test_learning_rates_are_drawn_over_the_steps():
    """A schedule is plotted from step 0, a history at its recorded steps."""
    rates = schedulers.simulate(schedulers.step(gamma=0.5), lr=1.0, total_steps=3)
    axes = plotting.plot_learning_rate(rates).axes[0]
    assert lines_of(axes) == [[(0, 1.0), (1, 0.5), (2, 0.25)]]
    assert axes.get_ylim()[0] == 0
    from_history = plotting.plot_learning_rate(History(RECORDS), log=True).axes[0]
    assert lines_of(from_history) == [[(5, 0.1)]]
    assert from_history.get_yscale() == "log"


def test_bad_learning_rates_are_refused():
    """Rates must be numbers, or records with a learning rate."""
    with pytest.raises(InvalidValueError, match=r"`rates` to be at least one rate, but got \[\]"):
        plotting.plot_learning_rate([])
    with pytest.raises(InvalidTypeError, match="`rates` to be a number, but got 'high'"):
        plotting.plot_learning_rate(["high"])
    with pytest.raises(MissingKeyError, match="has no 'learning_rate'; it has 'step'"):
        plotting.plot_learning_rate([{"step": 1}])


def test_a_range_test_shows_both_curves_and_the_suggestion():
    """The suggestion is marked on the smoothed curve, and diverging losses are cut off."""
    axes = plotting.plot_lr_finder(CURVE).axes[0]
    raw, smoothed, dot = lines_of(axes)
    assert raw == list(zip(CURVE.rates, CURVE.losses, strict=True))
    assert smoothed == list(zip(CURVE.rates, CURVE.smoothed, strict=True))
    assert dot == [(1e-2, pytest.approx(1.6))]
    assert texts_of(axes) == ["steepest at 0.01"]
    assert axes.get_ylim()[1] < max(CURVE.losses)


def test_a_range_test_without_a_suggestion_has_no_dot():
    """Without a suggestion no point is marked."""
    flat = SimpleNamespace(rates=(0.1, 1), losses=(1.0, 1.0), smoothed=(1.0, 1.0), suggestion=None)
    figure = plotting.plot_lr_finder(flat)
    figure.draw_without_rendering()
    assert len(figure.axes[0].lines) == 2
    assert texts_of(figure.axes[0]) == []


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_confusions_show_their_counts(kind):
    """Each cell has its number, each row and column its name."""
    axes = plotting.plot_confusion(kind([[9, 1200], [2, 8]]), ["no", "yes"]).axes[0]
    assert texts_of(axes) == ["9", "1,200", "2", "8"]
    assert [text.get_position() for text in axes.texts] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    np.testing.assert_array_equal(axes.images[0].get_array(), [[9, 1200], [2, 8]])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["no", "yes"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["no", "yes"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "label")


def test_normalized_confusions_show_shares_of_each_label():
    """Rows sum to 1, and those of classes without texts are zero."""
    axes = plotting.plot_confusion([[3, 1], [0, 0]], normalize=True).axes[0]
    assert texts_of(axes) == ["75 %", "25 %", "0 %", "0 %"]
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0.75, 0.25], [0, 0]])


def test_confusions_of_many_classes_have_a_colour_bar():
    """With many classes a colour bar replaces the numbers."""
    figure = plotting.plot_confusion(np.eye(50), [f"class {n}" for n in range(50)])
    axes, scale = figure.axes
    assert texts_of(axes) == []
    assert [tick.get_text() for tick in axes.get_xticklabels()][:2] == ["class 0", "class 2"]
    assert axes.get_xticklabels()[0].get_rotation() == 45
    assert scale.get_label() == "<colorbar>"
    assert max(figure.get_size_inches()) < 10


def test_empty_confusions_can_be_drawn():
    """A matrix of zeros can be plotted."""
    assert texts_of(plotting.plot_confusion([[0]]).axes[0]) == ["0"]


@pytest.mark.parametrize(
    ("matrix", "labels", "error", "message"),
    [
        ([[1, 2]], None, InvalidValueError, r"shape \(classes, classes\), but got \(1, 2\)"),
        ([], None, InvalidValueError, r"shape \(classes, classes\), but got \(0,\)"),
        ([[-1]], None, InvalidValueError, "`matrix` to be counts throughout"),
        ([[math.nan]], None, InvalidValueError, "`matrix` to be counts throughout"),
        ([["x"]], None, InvalidTypeError, "`matrix` to be numbers throughout"),
        ([[1]], ["a", "b"], InvalidValueError, r"`labels` to be 1 names, but got \['a', 'b'\]"),
    ],
)
def test_bad_confusions_are_refused(matrix, labels, error, message):
    """A matrix must be square and hold counts, with one name for each class."""
    with pytest.raises(error, match=message):
        plotting.plot_confusion(matrix, labels)


def test_lengths_are_counted_in_whole_tokens():
    """Bars count all texts, and their edges lie between whole numbers."""
    lengths = torch.tensor([2, 3, 3, 130])
    axes = plotting.plot_lengths(lengths).axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == 4
    assert {bar.get_x() % 1 for bar in axes.patches} == {0.5}
    assert {bar.get_width() for bar in axes.patches} == {3.0}
    assert axes.get_title(loc="left") == "Lengths of 4 texts, median 3"


@pytest.mark.parametrize(("limit", "text"), [(3, "25.0 % are longer"), (130, "0.0 % are longer")])
def test_a_limit_tells_how_many_texts_it_cuts(limit, text):
    """A text of exactly the limit's length is not cut."""
    axes = plotting.plot_lengths([2, 3, 3, 130], max_length=limit).axes[0]
    assert texts_of(axes) == [f"limit {limit}: {text}"]
    assert list(axes.lines[0].get_xdata()) == [limit + 0.5] * 2


@pytest.mark.parametrize(
    ("lengths", "limit", "error", "message"),
    [
        ([], None, InvalidValueError, "`lengths` to be one number of tokens for each text"),
        ([[1]], None, InvalidValueError, "`lengths` to be one number of tokens for each text"),
        ([-1], None, InvalidValueError, "`lengths` to be one number of tokens for each text"),
        ([math.inf], None, InvalidValueError, "`lengths` to be one number of tokens"),
        (["a"], None, InvalidTypeError, "`lengths` to be numbers throughout"),
        ([1], 0, InvalidValueError, "`max_length` to be a positive integer, but got 0"),
    ],
)
def test_bad_lengths_are_refused(lengths, limit, error, message):
    """Lengths must be a flat sequence of non-negative numbers."""
    with pytest.raises(error, match=message):
        plotting.plot_lengths(lengths, max_length=limit)


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plotting.plot_comparison({"a": RECORDS}, ax=ax),
        lambda ax: plotting.plot_learning_rate([0.1], ax=ax),
        lambda ax: plotting.plot_lr_finder(CURVE, ax=ax),
        lambda ax: plotting.plot_confusion([[1]], ax=ax),
        lambda ax: plotting.plot_lengths([1], ax=ax),
    ],
)
def test_plots_are_drawn_into_given_axes(draw):
    """Given axes are drawn into, also in a subfigure, and their figure is returned."""
    figure = Figure()
    for axes in (figure.subplots(1, 2)[1], figure.subfigures(1, 2)[0].subplots()):
        before = len(figure.axes)
        assert draw(axes) is figure
        assert len(figure.axes) == before
        assert axes.has_data()


def test_names_are_shown_as_they_are():
    """Names with "$" are not parsed as formulas."""
    name = "a $^ b $"
    for figure in (
        plotting.plot_confusion([[1]], [name]),
        plotting.plot_comparison({name: RECORDS}),
        plotting.plot_comparison({"a": [{"step": 1, name: 1.0}]}, name=name),
    ):
        figure.draw_without_rendering()


def test_plots_are_saved_without_a_display(tmp_path):
    """All plots can be saved to files, and no global setting changes."""
    settings = dict(mpl.rcParams)
    figures = [
        plotting.plot_history(RECORDS),
        plotting.plot_comparison({"a": RECORDS, "b": RECORDS}),
        plotting.plot_learning_rate([0.1, 0.2]),
        plotting.plot_lr_finder(CURVE),
        plotting.plot_confusion([[1, 2], [3, 4]]),
        plotting.plot_lengths([1, 2, 3], max_length=2),
    ]
    for number, figure in enumerate(figures):
        figure.savefig(tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")
    figures[0].savefig(tmp_path / "history.svg")
    assert "<svg" in (tmp_path / "history.svg").read_text()
    assert dict(mpl.rcParams) == settings


def test_plotting_never_imports_pyplot():
    """`pyplot`, which keeps figures in memory, is not imported."""
    code = (
        "import sys; from textrnn import plotting; assert 'matplotlib' not in sys.modules; "
        "plotting.plot_lengths([1]); assert 'matplotlib.figure' in sys.modules; "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own interpreter


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    """The message names the extra to install."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'textrnn\[plot\]'"):
        plotting.plot_lengths([1])
