"""The state of a run, as callbacks read it and a resume restores it."""

import json
import math

import pytest

from tests import toys
from textrnn.errors import CorruptFileError, MissingKeyError
from textrnn.training import History
from textrnn.training.state import checked


def test_epochs_count_from_one():
    """After the end, the current epoch is the last one."""
    state = toys.make_state(epochs=2)
    assert state.epoch == 1
    state.completed_epochs = 1
    assert state.epoch == 2
    state.completed_epochs = 2
    assert state.epoch == 2


def test_the_loss_is_the_mean_over_texts():
    """It is NaN before the first text."""
    state = toys.make_state()
    assert math.isnan(state.loss)
    state.loss_sum, state.loss_weight = 3.0, 4.0
    assert state.loss == 0.75


def test_the_first_reason_to_stop_is_kept():
    """Later requests don't overwrite why training stops."""
    state = toys.make_state()
    state.request_stop("enough")
    state.request_stop("too much")
    assert state.stop_reason == "enough"


def test_a_metric_of_the_last_evaluation_is_found_by_name():
    """The default is the monitored metric; the message for an unknown one lists the others."""
    state = toys.make_state(monitor="accuracy", evaluation={"loss": 1.0, "accuracy": 0.5})
    assert state.monitored() == 0.5
    assert state.monitored("loss") == 1.0
    with pytest.raises(MissingKeyError, match="no metric 'f1'; it has 'accuracy', 'loss'"):
        state.monitored("f1")


@pytest.mark.parametrize(
    ("value", "best", "mode", "better"),
    [
        (1.0, None, None, True),
        (math.nan, None, None, False),
        (math.nan, 1.0, None, False),
        (1.0, 1.0, None, False),
        (0.9, 1.0, None, True),
        (0.9, 1.0, "max", False),
        (1.1, 1.0, "max", True),
        (math.inf, 1.0, "max", True),
    ],
)
def test_better_is_strictly_better(value, best, mode, better):
    """The default mode is "min"; NaN is never better, and any number is better than None."""
    assert toys.make_state().improves(value, best, mode=mode) is better


def test_the_repr_is_one_line_of_figures():
    """Model, optimizer and records stay out of it."""
    text = repr(toys.make_state(step=7, history=History([{"step": 7, "loss": 0.5}])))
    assert text.startswith("TrainingState(epochs=2, monitor='loss', mode='min', ")
    assert "step=7" in text
    assert "\n" not in text
    assert "history" not in text


def test_a_state_goes_through_json():
    """Another state restores its JSON and has the same progress."""
    state = toys.make_state(
        completed_epochs=1,
        batches=3,
        step=9,
        loss_sum=1.5,
        loss_weight=7.0,
        seconds=2.5,
        learning_rate=0.1,
        evaluation={"loss": math.nan},
        best_value=0.5,
        best_step=4,
        history=History([{"step": 4, "loss": math.inf}]),
    )
    other = toys.make_state()
    other.load_state_dict(json.loads(json.dumps(state.state_dict())))
    assert repr(other.state_dict()) == repr(state.state_dict())
    assert other.run_id == state.run_id
    assert other.history == state.history
    assert toys.make_state().run_id != state.run_id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": -1}, "Expected 'step' to be a count, not -1"),
        ({"step": 1.5}, "Expected 'step' to be of type int, not 1.5"),
        ({"batches": True}, "Expected 'batches' to be of type int, not True"),
        ({"best_value": "low"}, "'best_value' to be of type float or int or NoneType"),
        ({"evaluation": [1]}, "Expected 'evaluation' to be of type dict"),
        ({"evaluation": {"loss": None}}, "Expected 'loss' to be of type int or float"),
        ({"history": {}}, "Expected 'history' to be of type list"),
        ({"history": [{"loss": None}]}, "Not a record of a history"),
        ({"run_id": 5}, "Expected 'run_id' to be of type str"),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(change, message):
    """Values of a wrong type are found before any of them is set."""
    good = toys.make_state(step=5).state_dict()
    state = toys.make_state()
    before = repr(state.state_dict())
    with pytest.raises(CorruptFileError, match=message):
        state.load_state_dict({**good, **change})
    assert repr(state.state_dict()) == before


def test_missing_values_are_named():
    """A missing value is an error, also if the state is not a mapping."""
    with pytest.raises(CorruptFileError, match=r"'run_id' is missing from \{\}"):
        toys.make_state().load_state_dict({})
    with pytest.raises(CorruptFileError, match="'step' is missing from 'text'"):
        checked("text", "step", int)
