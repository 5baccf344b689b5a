"""The curve over the number of texts, and its extrapolation."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from examples.accuracy import curve
from examples.accuracy.curve import ALL_TEXTS, Curve, main, read_curves, table
from textrnn.errors import InvalidValueError

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "examples" / "accuracy" / "results"
SIZES = [5_000, 10_000, 20_000, 40_000]


def law(texts):
    """Return the accuracy of an error of 60 / n ** 0.2."""
    return 100 - 60 * texts**-0.2


def test_a_power_law_is_continued():
    """Errors that follow a power law give its value, with an interval of no width."""
    exact = Curve("exact", {size: [law(size) - 1, law(size) + 1] for size in SIZES})
    assert exact.extrapolate(ALL_TEXTS, SIZES) == pytest.approx([law(ALL_TEXTS)] * 3, abs=1e-6)


def test_the_interval_is_that_of_a_regression():
    """The interval is the 95 % prediction interval of a linear regression of the logarithms."""
    accuracies = [80.0, 85.0, 86.0, 89.0]
    rough = Curve("rough", {size: [value] for size, value in zip(SIZES, accuracies, strict=True)})
    x, y = np.log(SIZES), np.log(100 - np.array(accuracies))
    line = stats.linregress(x, y)
    step = np.log(ALL_TEXTS)
    noise = np.square(y - line.intercept - line.slope * x).sum() / 2
    width = stats.t.ppf(0.975, 2) * np.sqrt(
        noise * (1 + 1 / 4 + (step - x.mean()) ** 2 / np.square(x - x.mean()).sum())
    )
    center = line.intercept + line.slope * step
    expected = [100 - np.exp(center + side) for side in (0, width, -width)]
    assert rough.extrapolate(ALL_TEXTS, SIZES) == pytest.approx(expected, rel=1e-5)


def test_a_law_needs_three_sizes():
    """Two points would fit any line."""
    short = Curve("short", {5_000: [80.0], 10_000: [85.0]})
    with pytest.raises(InvalidValueError, match="short: a power law needs three numbers of texts"):
        short.extrapolate(ALL_TEXTS, short.sizes())


def test_the_check_leaves_out_the_largest_size():
    """The last row predicts the largest size from the others."""
    runs = {size: [law(size)] for size in SIZES}
    lines = table([Curve("news", {**runs, 80_000: [50.0]})]).splitlines()
    assert lines[-3] == "| 80,000 | 50.00 |"
    assert lines[-1] == (
        "| 80,000, extrapolated from fewer, as a check | {0:.1f} ({0:.1f} to {0:.1f}) |"
    ).format(law(80_000))


def test_a_missing_result_is_an_error(tmp_path, capsys):
    """Without results there is no curve, and nothing is written."""
    assert main(["--output", str(tmp_path), "--experiments", str(tmp_path)]) == 1
    assert "a power law needs three numbers of texts" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_committed_table_is_that_of_the_committed_runs():
    """The table and its copies come from the committed results of both examples."""
    found = table(read_curves(RESULTS, ROOT / "examples" / "ag_news" / "results" / "ag-78k"))
    assert (RESULTS / "curve.md").read_text("utf-8") == found
    assert found in (ROOT / "examples" / "ag_news" / "README.md").read_text("utf-8")


def test_the_picture_is_the_same_each_time(tmp_path):
    """Two pictures of the same curves are equal byte by byte."""
    curves = [Curve("news", {size: [law(size)] for size in SIZES})]
    curve.draw(curves, tmp_path / "a.svg")
    curve.draw(curves, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "extrapolation" in (tmp_path / "a.svg").read_text("utf-8")
