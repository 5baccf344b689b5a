"""The benchmark of fits: the figures of a method, and a row for each of them."""

import json
from types import SimpleNamespace

import pytest

from examples.benchmarks import fits
from examples.benchmarks.corpus import Split

TEXTS = Split(
    ["oil prices soar", "stocks fall", "the striker scores", "a keeper"] * 8, [2, 2, 1, 1] * 8
)


@pytest.fixture(name="path")
def _path(tmp_path):
    path = tmp_path / "texts.json"
    path.write_text(json.dumps([TEXTS.texts, TEXTS.labels, TEXTS.texts]), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["fast", "linear-svc"])
def test_a_method_is_measured(path, name):
    """A process measures its fit, predictions and memory."""
    found = fits.measure(name, path)
    assert set(found) == set(fits.FIGURES)
    assert found["memory"] > 50
    assert all(value >= 0 for value in found.values())


def test_each_figure_has_a_row_for_each_method(monkeypatch, path):
    """Rows are grouped by figure; methods that are not installed have none."""
    given = dict.fromkeys(fits.FIGURES, 2.0)
    monkeypatch.setattr(fits, "_measured", lambda name, _: given | {"fit": float(len(name))})
    monkeypatch.setattr(fits, "find_spec", lambda name: name == "sklearn" or None)
    del path
    rows = list(fits.fits(SimpleNamespace(train=TEXTS, test=TEXTS), 5))
    assert [row.name for row in rows[:3]] == [
        "fit, textrnn, default",
        "fit, textrnn, fast",
        "fit, LinearSVC, words + characters",
    ]
    assert [row.value for row in rows[:3]] == [7, 4, 10]
    assert len(rows) == 3 * len(fits.FIGURES)


def test_a_process_that_fails_is_an_error(tmp_path):
    """Without texts there are no figures."""
    with pytest.raises(fits.subprocess.CalledProcessError):
        fits._measured("fast", tmp_path / "none")
