"""The benchmark of several processes: its figures and its table."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from examples.benchmarks import processes


@pytest.fixture(autouse=True)
def _tiny(monkeypatch) -> None:
    """Use a tiny model and vocabulary."""
    monkeypatch.setattr(processes, "MODELS", {"GRU 4": {"hidden_size": 4}})
    monkeypatch.setattr(processes, "VOCABULARY_SIZE", 50)
    monkeypatch.setattr(processes, "TEXTS", 4)


def test_made_texts_are_of_the_length_that_is_said():
    """Texts have about forty words of a known vocabulary."""
    dataset = processes.made_texts(30)
    assert len(dataset) == 30
    assert 27 <= int(dataset.lengths.min()) <= int(dataset.lengths.max()) <= 57
    assert len(dataset.vocabulary) == 50


def test_a_process_measures_its_steps(tmp_path):
    """A run measures wall time, processor time and the number of weights."""
    processes.work(1, 4, tmp_path / "found.json")
    (found,) = json.loads((tmp_path / "found.json").read_text()).values()
    assert 0 < found["busy"] < 10
    assert found["step"] > 0
    assert found["exchange"] == 0.0  # a single process exchanges nothing
    assert found["weights"] > 50 * 4


def test_set_ups_are_started_in_turns_and_compared(tmp_path, monkeypatch, capsys):
    """Each set-up runs as often as requested; the table has medians in milliseconds."""
    started: list[list[str]] = []

    def run(command: list[str], **_: Any) -> None:
        started.append(command)
        output = next(part for part in command if part.startswith("--output="))
        step = 0.001 * len(started)
        figures = {"step": step, "busy": 2 * step, "exchange": 0.5, "weights": 250_000}
        Path(output.partition("=")[2]).write_text(json.dumps({"GRU 4": figures}))

    monkeypatch.setattr(subprocess, "run", run)
    assert processes.main(["--repeats", "3", "--output", str(tmp_path / "found.json")]) == 0
    counts = [next(part for part in command if "nproc" in part) for command in started]
    assert counts == ["--nproc-per-node=1", "--nproc-per-node=1", "--nproc-per-node=2"] * 3
    row = capsys.readouterr().out.splitlines()[-1]
    assert row == "| GRU 4 | 1.0 | 4 | 5 | 6 | 8 | 10 | 12 | 500 |"
