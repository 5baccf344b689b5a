"""Histories hold plain numbers by row and column, and survive a round trip."""

import copy
import json
import math
import pickle

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textrnn.errors import CorruptFileError, InvalidTypeError, MissingKeyError
from textrnn.training import History

ROWS = [
    {"epoch": 1, "step": 10, "loss": 0.9},
    {"epoch": 1, "step": 15, "loss": 0.7, "eval_accuracy": 0.5},
    {"epoch": 2, "step": 20, "loss": math.nan, "eval_accuracy": 0.75},
]
NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats())
RECORDS = st.lists(st.dictionaries(st.text(max_size=5), NUMBERS, max_size=4), max_size=4)


def test_a_position_gives_a_record_and_a_slice_a_history():
    """A history is a sequence of records."""
    history = History(ROWS[:2])
    assert len(history) == 2
    assert history[-1] == ROWS[1]
    assert list(history) == ROWS[:2]
    assert history[1:] == History(ROWS[1:2])
    assert isinstance(history[:1], History)
    with pytest.raises(IndexError):
        history[2]


def test_a_name_gives_the_values_where_there_are_any():
    """A column skips records without the value, and has the steps of the rest."""
    history = History(ROWS)
    assert history["eval_accuracy"] == [0.5, 0.75]
    assert history["step"] == [10, 15, 20]
    assert history.column("eval_accuracy") == ([15, 20], [0.5, 0.75])
    assert history.names == ("epoch", "step", "loss", "eval_accuracy")


def test_a_column_of_records_without_steps_has_none():
    """Where a record names no step, the step is NaN."""
    steps, values = History([{"loss": 1.0}]).column("loss")
    assert math.isnan(steps[0])
    assert values == [1.0]


def test_an_unknown_name_lists_those_there_are():
    """The error for an unknown name lists the known ones."""
    with pytest.raises(MissingKeyError, match=r"no 'acuracy'; it has 'epoch', 'loss', 'step'"):
        History(ROWS[:1])["acuracy"]
    with pytest.raises(MissingKeyError, match="it has none"):
        History()["loss"]


def test_reading_returns_copies():
    """Changing a row that was given or returned does not change the history."""
    row = dict(ROWS[0])
    history = History([row])
    row["loss"] = 5.0
    for record in (history[0], next(iter(history))):
        record["loss"] = 7.0
    assert history["loss"] == [0.9]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (3, "Expected `record` to be a mapping of names to numbers, but got 3"),
        ({3: 1.0}, "Expected `record` to be a mapping of names to numbers"),
        ({"loss": "low"}, "Expected `record.'loss'.` to be a plain number, but got 'low'"),
        ({"loss": True}, "to be a plain number, but got True"),
    ],
)
def test_a_record_holds_names_and_plain_numbers(record, message):
    """Anything else is refused, and not added."""
    history = History()
    with pytest.raises(InvalidTypeError, match=message):
        history.append(record)
    assert len(history) == 0


@given(RECORDS)
def test_json_brings_back_an_equal_history(rows):
    """Integers stay integers, and NaN and the infinities come back."""
    history = History(rows)
    text = history.to_json()
    json.loads(text, parse_constant=pytest.fail)  # it is JSON that anyone can read
    back = History.from_json(text)
    assert repr(list(back)) == repr(list(history))


def test_a_file_brings_back_an_equal_history(tmp_path):
    """`load` reads what `save` wrote, and no other file is left."""
    history = History(ROWS)
    path = tmp_path / "history.json"
    history[:1].save(path)
    history.save(str(path))
    assert repr(list(History.load(path))) == repr(list(history))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[3]",
        '[{"loss": null}]',
        '[{"loss": [1]}]',
        '[{"loss": "high"}]',
        '[{"loss": true}]',
        "[" * 100_000,
        '[{"step": 1' + "0" * 400 + "}]",
    ],
)
def test_a_damaged_history_is_refused(text, tmp_path):
    """A text or file with other contents raises one kind of error."""
    with pytest.raises(CorruptFileError):
        History.from_json(text)
    path = tmp_path / "history.json"
    path.write_text(text)
    with pytest.raises(CorruptFileError):
        History.load(path)


def test_another_type_than_text_is_refused():
    """`from_json` raises the same error."""
    with pytest.raises(CorruptFileError, match="Not a history"):
        History.from_json(3)


def test_a_missing_file_is_an_os_error(tmp_path):
    """Reading needs a file, and writing a folder."""
    with pytest.raises(FileNotFoundError):
        History.load(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError):
        History().save(tmp_path / "none" / "history.json")


def test_a_history_can_be_copied_pickled_and_tabulated():
    """Other tools accept it."""
    history = History(ROWS[:2])
    assert copy.deepcopy(history) == history
    assert pickle.loads(pickle.dumps(history)) == history  # noqa: S301 # its own pickle
    assert json.loads(json.dumps(list(history))) == ROWS[:2]
    assert list(pd.DataFrame(history)["step"]) == [10, 15]


def test_equality_and_repr():
    """Histories are equal by value, have no hash, and have a short repr."""
    assert History(ROWS[:2]) == History(ROWS[:2])
    assert History(ROWS[:2]) != History(ROWS[:1])
    assert History() != []
    with pytest.raises(TypeError):
        hash(History())
    assert repr(History(ROWS[:1])) == "History(1 record of epoch, step, loss)"
    assert repr(History()) == "History(0 records of nothing)"
