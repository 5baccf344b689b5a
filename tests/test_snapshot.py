"""Snapshots are bytes without code, and hostile ones are refused."""

import json
from collections import Counter, OrderedDict, defaultdict
from typing import Any

import numpy as np
import pytest
import torch

from tests import toys
from textrnn.errors import CorruptFileError, InvalidValueError
from textrnn.training.resume.generators import generator_states
from textrnn.training.resume.snapshot import Snapshot


def make_snapshot(**changes: Any) -> Snapshot:
    """Return a snapshot of a small run."""
    model = toys.make_model()
    states = generator_states(())
    parts: dict[str, Any] = {
        "tensors": {"model": dict(model.state_dict())},
        "optimizer": {
            "optimizer": torch.optim.Adam(model.parameters()).state_dict(),
            "scheduler": {},
            "scaler": {},
            "now": states,
            "epoch_start": states,
            "others": [],
        },
        "values": {
            "settings": {"precision": "fp32"},
            "state": toys.make_state(step=3).state_dict(),
            "callbacks": [["EarlyStopping", {"best_value": None}]],
        },
    }
    return Snapshot(**{**parts, **changes})


def test_files_bring_everything_back():
    """Tensors, torch's states and plain values are equal after a round trip."""
    snapshot = make_snapshot()
    files = snapshot.to_files()
    assert set(files) == {
        "model.safetensors",
        "optimizer.json",
        "optimizer.safetensors",
        "state.json",
    }
    back = Snapshot.from_files(files)
    assert toys.worst_difference(back.tensors, snapshot.tensors) == 0.0
    assert toys.worst_difference(back.optimizer, snapshot.optimizer) == 0.0
    assert back.values == {"format_version": 1, **snapshot.values}


def test_the_prefetched_batch_comes_back():
    """With labels and indices, or without."""
    (batch,) = toys.make_batches((3,))
    ids = {"input_ids": batch.input_ids, "lengths": batch.lengths}
    for tensors in (ids, {**ids, "labels": batch.labels, "indices": batch.indices}):
        snapshot = make_snapshot(tensors={**make_snapshot().tensors, "ahead": tensors})
        ahead = Snapshot.from_files(snapshot.to_files()).ahead()
        assert ahead is not None
        assert torch.equal(ahead.input_ids, batch.input_ids)
        assert (ahead.labels is None) is ("labels" not in tensors)
    assert make_snapshot().ahead() is None


def test_tied_and_strided_tensors_are_written():
    """Weights that share memory are written twice, views with their own elements."""
    shared = torch.arange(6.0).reshape(2, 3)
    tensors = {"model": {"a": shared, "b": shared, "c": shared.t(), "d": shared[0]}}
    back = Snapshot.from_files(make_snapshot(tensors=tensors).to_files())
    assert toys.worst_difference(back.tensors, tensors) == 0.0


def test_states_of_torch_are_made_plain():
    """NumPy's numbers and subclasses of dictionaries are written as plain ones."""

    class Level(int):
        pass

    kept = {
        "lr": np.float64(0.5),
        "count": np.int64(3),
        "flag": np.bool_(1),
        "level": Level(2),
        "pair": (1, [np.float32(0.5)]),
        "milestones": Counter({2: 1, 5: 2}),
        "ordered": OrderedDict(a=1),
        "default": defaultdict(int, a=1),
        "dtype": torch.float16,
        "device": torch.device("cpu"),
        "none": None,
        np.int64(1): "key",
    }
    optimizer = {**make_snapshot().optimizer, "scheduler": kept}
    back = Snapshot.from_files(make_snapshot(optimizer=optimizer).to_files()).optimizer
    assert back["scheduler"] == {
        "lr": 0.5,
        "count": 3,
        "flag": True,
        "level": 2,
        "pair": (1, [0.5]),
        "milestones": Counter({2: 1, 5: 2}),
        "ordered": {"a": 1},
        "default": {"a": 1},
        "dtype": torch.float16,
        "device": torch.device("cpu"),
        "none": None,
        1: "key",
    }
    assert type(back["scheduler"]["lr"]) is float
    assert type(back["scheduler"]["milestones"]) is Counter


def test_what_needs_code_is_refused_when_it_is_written():
    """The message names the place."""
    optimizer = {**make_snapshot().optimizer, "scheduler": {"rule": [max]}}
    with pytest.raises(
        TypeError, match=r"optimizer.scheduler.rule.0 is <built-in function max>, w"
    ):
        make_snapshot(optimizer=optimizer).to_files()
    with pytest.raises(TypeError, match=r"model.extra is 3, not a tensor"):
        make_snapshot(tensors={"model": {"extra": 3}}).to_files()
    with pytest.raises(TypeError, match="not JSON serializable"):
        make_snapshot(values={"settings": {1, 2}}).to_files()


def test_another_format_is_no_damage():
    """The error for a checkpoint of a later version names its format."""
    files = make_snapshot().to_files()
    values = json.loads(files["state.json"])
    files["state.json"] = json.dumps({**values, "format_version": 2}).encode()
    with pytest.raises(InvalidValueError, match=r"of format 1, which .* but got 'format 2'"):
        Snapshot.from_files(files)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"dict": [], "list": []},
        {"pickle": "gASVAA=="},
        {"dtype": "save"},
        {"dtype": "torch.nn"},
        {"device": "toaster"},
        {"tensor": "99"},
        {"dict": [[[1], 2]]},
        {"dict": [[1]]},
        {"tuple": 3},
    ],
)
def test_forged_values_of_states_are_refused(value):
    """Nothing but the kinds that are written is read."""
    files = make_snapshot().to_files()
    optimizer = json.loads(files["optimizer.json"])
    optimizer["dict"].append(["scheduler", value])
    with pytest.raises(Exception) as error:  # noqa: PT011 # of any kind, as documented
        Snapshot.from_files({**files, "optimizer.json": json.dumps(optimizer).encode()})
    assert not isinstance(error.value, InvalidValueError)


DELETED = object()


def changed(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a nested structure with one place changed."""
    key, *rest = path
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    if not rest and value is DELETED:
        del copy[key]
    else:
        copy[key] = changed(copy[key], tuple(rest), value) if rest else value
    return copy


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format_version",), "1"),
        (("format_version",), DELETED),
        (("settings",), []),
        (("state",), None),
        (("state", "step"), "three"),
        (("state", "step"), -3),
        (("state", "history"), [3]),
        (("state", "run_id"), DELETED),
        (("callbacks",), {}),
        (("callbacks", 0), 3),
        (("callbacks", 0), ["EarlyStopping"]),
        (("callbacks", 0, 0), 3),
        (("callbacks", 0, 1), [1]),
    ],
)
def test_damaged_values_are_refused(path, value):
    """Each part of the plain values is checked for its type."""
    files = make_snapshot().to_files()
    values = changed(json.loads(files["state.json"]), path, value)
    with pytest.raises((CorruptFileError, TypeError, ValueError)) as error:
        Snapshot.from_files({**files, "state.json": json.dumps(values).encode()})
    assert not isinstance(error.value, InvalidValueError)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("now",), DELETED),
        (("epoch_start",), [1]),
        (("scheduler",), None),
        (("scaler",), 3),
        (("optimizer",), torch.zeros(3)),
        (("optimizer", "state"), []),
        (("optimizer", "state"), {0: 3}),
        (("optimizer", "param_groups"), {}),
        (("optimizer", "param_groups", 0), 3),
        (("optimizer", "param_groups", 0, "params"), None),
        (("optimizer", "param_groups", 0, "lr"), "fast"),
    ],
)
def test_damaged_states_of_torch_are_refused(path, value):
    """Each part of torch's states is checked for its type."""
    snapshot = make_snapshot()
    bad = make_snapshot(optimizer=changed(snapshot.optimizer, path, value))
    with pytest.raises(CorruptFileError):
        Snapshot.from_files(bad.to_files())


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"model": {}, "ahead": {"input_ids": torch.zeros(2, 3)}},
        {"model": {}, "ahead": {"input_ids": torch.zeros(2), "lengths": torch.ones(2)}},
        {"model": {}, "ahead": {"lengths": torch.ones(2), "words": torch.ones(2)}},
    ],
)
def test_damaged_tensors_are_refused(tensors):
    """The model's tensors are required, and the prefetched ones must form a batch."""
    with pytest.raises(CorruptFileError):
        Snapshot.from_files(make_snapshot(tensors=tensors).to_files())


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.json", "optimizer.safetensors", "state.json"]
)
@pytest.mark.parametrize("data", [b"", b"\xff" * 100, b"[]", b"null"])
def test_garbage_is_refused(name, data):
    """Whatever the parsers raise, no snapshot results."""
    with pytest.raises(Exception) as error:  # noqa: PT011 # of any kind, as documented
        Snapshot.from_files({**make_snapshot().to_files(), name: data})
    assert not isinstance(error.value, InvalidValueError)


def test_files_that_do_not_belong_are_refused():
    """A checkpoint holds no other files than its own."""
    with pytest.raises(CorruptFileError, match=r"'run.py' does not belong here"):
        Snapshot.from_files({**make_snapshot().to_files(), "run.py": b""})
