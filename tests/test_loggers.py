"""Logs hold each record once, even of an interrupted run."""

import csv
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import toys
from textrnn.errors import MissingDependencyError
from textrnn.training import (
    Callback,
    Checkpoint,
    CSVLogger,
    History,
    JSONLogger,
    LambdaCallback,
    TensorBoardLogger,
)

TRAIN, EVAL = toys.make_dataset(10), toys.make_dataset(5, seed=1)


def run(callbacks: list[Callback], **settings: Any) -> History:
    """Train for three epochs of two steps, with an evaluation after every third step."""
    settings = {"epochs": 3, "eval_every": 3} | settings
    trainer = toys.make_trainer(callbacks=callbacks)
    return trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), **settings)


def rows_of(path: Path) -> list[dict[str, float]]:
    """Read a CSV file without its empty cells."""
    with path.open(newline="") as file:
        return [
            {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(file)
        ]


def test_csv_has_a_row_for_each_record(tmp_path):
    """Columns that are added later are empty in earlier rows."""
    path = tmp_path / "logs" / "run.csv"
    history = run([CSVLogger(path)])
    assert rows_of(path) == list(history)
    assert path.read_text().splitlines()[1].endswith(",,,,,")
    assert len(history) == 4


def test_json_lines_has_a_line_for_each_record(tmp_path):
    """Each line is one JSON object."""
    path = tmp_path / "logs" / "run.jsonl"
    history = run([JSONLogger(path)])
    assert [json.loads(line) for line in path.read_text().splitlines()] == list(history)


def test_numbers_that_json_lacks_become_null(tmp_path):
    """NaN and infinities leave the file readable for every JSON parser."""
    path = tmp_path / "run.jsonl"
    logger = JSONLogger(path)
    state = toys.make_state()
    logger.on_fit_begin(state)
    state.history.append({"step": 1, "loss": math.nan, "top": -math.inf})
    logger.on_epoch_end(state)
    assert json.loads(path.read_text()) == {"step": 1, "loss": None, "top": None}


def test_logs_grow_while_training_goes_on(tmp_path):
    """The files hold each record at once."""
    csv_path, json_path = tmp_path / "run.csv", tmp_path / "run.jsonl"
    counts: list[tuple[int, int, int]] = []

    def count(state: Any) -> None:
        lines = len(json_path.read_text().splitlines())
        counts.append((len(state.history), len(rows_of(csv_path)), lines))

    watcher = LambdaCallback(on_batch_end=count)
    run([watcher, CSVLogger(csv_path), JSONLogger(json_path)])
    assert counts == [(number,) * 3 for number in (0, 0, 2, 2, 3, 4)]


def test_a_resumed_run_logs_nothing_twice(tmp_path):
    """Records after the checkpoint are removed, and then logged again."""

    class Death(Callback):
        def on_batch_end(self, state: Any) -> None:
            if state.step == 5:
                raise RuntimeError("died")

    paths = [tmp_path / "run.csv", tmp_path / "run.jsonl"]
    with pytest.raises(RuntimeError, match="died"):
        run(
            [
                CSVLogger(paths[0]),
                JSONLogger(paths[1]),
                Checkpoint(tmp_path, every_steps=2),
                Death(),
            ]
        )
    assert len(rows_of(paths[0])) == 3
    history = run(
        [CSVLogger(paths[0]), JSONLogger(paths[1]), Checkpoint(tmp_path, every_steps=2)],
        resume_from=tmp_path,
    )
    assert rows_of(paths[0]) == list(history)
    assert [json.loads(line) for line in paths[1].read_text().splitlines()] == list(history)
    assert [record["step"] for record in history] == [2, 3, 4, 6]


def test_a_new_run_starts_a_new_log(tmp_path):
    """It replaces an earlier run's log in the same file."""
    path = tmp_path / "run.csv"
    logger = CSVLogger(path)
    run([logger])
    history = run([logger], epochs=1)
    assert rows_of(path) == list(history)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read the scalars that TensorBoard would show."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
def test_tensorboard_shows_each_record_once(tmp_path):
    """After a resume, records that the interrupted run wrote after its checkpoint are hidden."""

    class Death(Callback):
        def on_batch_end(self, state: Any) -> None:
            if state.step == 5:
                raise RuntimeError("died")

    board, folder = tmp_path / "board", tmp_path / "run"
    with pytest.raises(RuntimeError, match="died"):
        run([TensorBoardLogger(board), Checkpoint(folder, every_steps=2), Death()])
    history = run([TensorBoardLogger(board), Checkpoint(folder, every_steps=2)], resume_from=folder)
    shown = scalars(board)
    assert [step for step, _ in shown["loss"]] == history["step"]
    assert [value for _, value in shown["loss"]] == pytest.approx(history["loss"])
    steps, values = history.column("eval_accuracy")
    assert [step for step, _ in shown["eval/accuracy"]] == steps
    assert [value for _, value in shown["eval/accuracy"]] == pytest.approx(values)


def test_tensorboard_names_its_extra(monkeypatch):
    """Without tensorboard the logger says at once how to get it."""
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'textrnn\[tensorboard\]'"):
        TensorBoardLogger("board")


def test_loggers_say_what_they_are(tmp_path):
    """Their repr reproduces the call."""
    assert repr(CSVLogger("run.csv")) == "CSVLogger('run.csv')"
    assert repr(JSONLogger("run.jsonl")) == "JSONLogger('run.jsonl')"
    assert repr(TensorBoardLogger(tmp_path)) == f"TensorBoardLogger({str(tmp_path)!r})"
