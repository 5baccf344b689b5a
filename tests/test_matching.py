"""A checkpoint is accepted only by the run that it belongs to."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests import toys
from textrnn.errors import CorruptFileError, InvalidValueError
from textrnn.training import (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    History,
    LearningRateMonitor,
    ProgressBar,
    schedulers,
)
from textrnn.training.resume.matching import (
    check_form,
    check_optimizer_state,
    check_settings,
    match_callbacks,
)

TRAIN, EVAL = toys.make_dataset(20), toys.make_dataset(5, seed=1)


class Count(Callback):
    """A callback with a state of its own."""

    def __init__(self) -> None:
        self.count = 0

    def on_batch_end(self, _state: Any) -> None:
        """Count."""
        self.count += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the count."""
        return {"count": self.count}

    def load_state_dict(self, state: Any) -> None:
        """Take the count back."""
        self.count = state["count"]


def fit(
    folder: Path,
    *,
    loader: Any = None,
    model: nn.Module | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    callbacks: tuple[Callback, ...] = (),
    **settings: Any,
) -> History:
    """Train for two epochs of four steps, or go on from a checkpoint in the folder."""
    model = toys.make_model() if model is None else model
    resume = any(folder.glob("step-*"))
    trainer = toys.make_trainer(
        model,
        optimizer=optimizer(model.parameters(), lr=0.01),
        callbacks=[*callbacks, Checkpoint(folder)],
        **settings,
    )
    return trainer.fit(
        toys.bucketed(TRAIN, 5) if loader is None else loader,
        toys.bucketed(EVAL),
        epochs=3 if resume else 2,
        resume_from=folder if resume else None,
    )


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            {},
            {"optimizer": torch.optim.SGD},
            "`optimizer` to be 'Adam of .9. parameters' as in the resumed run, but got 'S",
        ),
        (
            {},
            {"scheduler": schedulers.cosine()},
            "`scheduler` to be None as in the resumed run, but got 'LambdaLR'",
        ),
        (
            {"scheduler": schedulers.exponential(interval="epoch")},
            {"scheduler": schedulers.exponential(interval="step")},
            "`scheduler_interval` to be 'epoch' as in the resumed run, but got 'step'",
        ),
        ({}, {"precision": "bf16"}, "`precision` to be 'fp32' as in the resumed run"),
        ({}, {"weight_averaging": "ema"}, "`weight_averaging` to be None as in the resumed run"),
        ({"weight_averaging": "ema"}, {}, "Expected `weight_averaging` to be .WeightAveraging"),
        ({}, {"accumulation_steps": 2}, "`accumulation_steps` to be 1 as in the resumed run"),
        (
            {},
            {"loader": toys.make_batches()[:2]},
            "`loader` to be 'one of 4 steps per epoch' as in the resumed run, but got 'one",
        ),
        ({}, {"monitor": "accuracy"}, "Expected `monitor` to be 'loss' as in the resumed run"),
        ({}, {"mode": "max"}, "Expected `mode` to be 'min' as in the resumed run, but got"),
        (
            {},
            {"model": toys.make_model(hidden_size=9)},
            "Expected `model` to be that of the resumed run, whose 'embedding.weight' is t",
        ),
        (
            {"model": toys.make_model(bidirectional=True)},
            {"optimizer": lambda weights, lr: torch.optim.Adam(list(weights) + EXTRA, lr)},
            "Expected `model` to be that of the resumed run, whose .* but got nothing",
        ),
        (
            {"loader": toys.shuffled(TRAIN, 5, generator=torch.Generator())},
            {},
            "Expected `loader` to be the run's own, whose generators are",
        ),
        (
            {"callbacks": (LearningRateMonitor(), Count())},
            {"callbacks": (LearningRateMonitor(),)},
            r"`callbacks` to be with the Count of the resumed run, but got \['LearningR",
        ),
        (
            {"callbacks": (Count(), Count())},
            {"callbacks": (Count(),)},
            r"`callbacks` to be with the Count of the resumed run",
        ),
    ],
)
def test_another_setting_than_the_runs_is_named(before, after, message, tmp_path):
    """A setting that changes the run is refused, and nothing has changed then."""
    fit(tmp_path, **before)
    model = after.pop("model", None) or toys.make_model()
    weights = toys.weights_of(model)
    with pytest.raises(InvalidValueError, match=message):
        fit(tmp_path, model=model, **after)
    assert toys.worst_difference(weights, toys.weights_of(model)) == 0.0


# As many parameters as a bidirectional model has.
EXTRA = [nn.Parameter(torch.zeros(1)) for _ in range(4)]


def test_what_does_not_change_the_run_may_change(tmp_path):
    """Callbacks without a state come and go, others may join, in any order."""
    count = Count()
    fit(tmp_path, callbacks=(EarlyStopping(9), CSVLogger(tmp_path / "a.csv"), count))
    assert count.count == 8
    again, fresh = Count(), LearningRateMonitor()
    stopper = EarlyStopping(9)
    history = fit(tmp_path, callbacks=(ProgressBar(), again, fresh, stopper))
    assert again.count == 12
    assert fresh.steps == [9, 10, 11, 12]
    assert stopper.best_value == min(history["eval_loss"])
    assert len(history) == 3


def test_callbacks_of_one_class_keep_their_order():
    """The first of them gets the first state."""
    first, second = Count(), Count()
    pairs = match_callbacks([first, Callback(), second], [("Count", {"a": 1}), ("Count", {"a": 2})])
    assert [callback for callback, _ in pairs] == [first, second]
    assert pairs == [(first, {"a": 1}), (second, {"a": 2})]


def test_a_state_that_a_callback_can_not_take_is_an_error(tmp_path):
    """Any exception of its own method is reported so."""

    class Count(Callback):
        def load_state_dict(self, state: Any) -> None:
            del state
            raise ZeroDivisionError

    fit(tmp_path, callbacks=(globals()["Count"](),))
    with pytest.raises(CorruptFileError, match=r"step-00000008 can't be used: ZeroDivisionError"):
        fit(tmp_path, callbacks=(Count(),))


def test_settings_are_compared_by_what_is_there_now():
    """A setting that the checkpoint lacks differs; further settings in it do not matter."""
    check_settings({"a": 1, "b": 2}, {"a": 1})
    with pytest.raises(InvalidValueError, match="`a` to be None as in the resumed run, b"):
        check_settings({}, {"a": 1})


@pytest.mark.parametrize(
    ("saved", "present"),
    [
        (1, 0.5),
        (0.5, 1),
        ([1], (2, 3)),
        ("text", None),
        ({"a": 1, "b": "text"}, {"a": 2, "c": []}),
        (torch.ones(2), torch.zeros(3)),
        (False, True),
    ],
)
def test_values_of_one_form_pass(saved, present):
    """Numbers stand for numbers, lists for lists; only common places are compared."""
    check_form("value", saved, present)


@pytest.mark.parametrize(
    ("saved", "present", "message"),
    [
        (None, 1.0, "value can't be None"),
        (True, 1, "value can't be True"),
        (1, True, "value can't be 1"),
        ("a", 1, "value can't be 'a'"),
        (1, "a", "value can't be 1"),
        ([1, "a"], [1, 2], "value.1 can't be 'a'"),
        ({"a": {"b": []}}, {"a": {"b": 1}}, r"value.a.b can't be \[\]"),
        (1.0, torch.zeros(1), "value can't be 1.0"),
    ],
)
def test_values_of_another_form_are_named(saved, present, message):
    """The message names the place."""
    with pytest.raises(CorruptFileError, match=message):
        check_form("value", saved, present)


@pytest.mark.parametrize(
    "make",
    [
        lambda weights: torch.optim.Adam(weights, lr=0.1, amsgrad=True),
        lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9),
        lambda weights: torch.optim.SGD(weights, lr=0.1),
        lambda weights: torch.optim.AdamW(weights, fused=True),
        torch.optim.Adafactor,
        torch.optim.ASGD,
        torch.optim.Rprop,
        torch.optim.NAdam,
        torch.optim.Adadelta,
    ],
)
def test_an_optimizers_state_is_checked(make):
    """A good state passes unchanged, a damaged one is refused; the weights do not change."""
    model = toys.make_model()
    optimizer = make(model.parameters())
    for _ in range(2):
        for weight in model.parameters():
            weight.grad = torch.ones_like(weight)
        optimizer.step()
    state = optimizer.state_dict()
    before = copy.deepcopy(state), toys.weights_of(model)
    fresh = make(toys.make_model().parameters())
    check_optimizer_state(fresh, state)
    assert toys.worst_difference(before, (state, toys.weights_of(model))) == 0.0
    damaged = copy.deepcopy(state)
    damaged["param_groups"][0]["lr"] = "fast"
    with pytest.raises(CorruptFileError, match=r"optimizer.param_groups.0.lr can't be 'fast'"):
        check_optimizer_state(fresh, damaged)
    if state["state"] and state["state"][0].get("momentum_buffer", 0) is not None:
        damaged = copy.deepcopy(state)
        damaged["state"][1] = dict.fromkeys(damaged["state"][1], "text")
        with pytest.raises((TypeError, ValueError, AttributeError)):
            check_optimizer_state(fresh, damaged)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("state", 1, "exp_avg"), None, "optimizer.state.1 has no 'exp_avg'"),
        (("state", 1, "exp_avg"), torch.zeros(2, 2), r"1.exp_avg can't have the shape \(2, 2\)"),
        (("state", 1, "exp_avg"), torch.zeros(1), r"1.exp_avg can't have the shape \(1,\)"),
        (("state", 1, "exp_avg"), torch.tensor(0.5), r"1.exp_avg can't have the shape \(\)"),
        (("state", 1, "exp_avg"), 0.5, "1.exp_avg can't be 0.5"),
        (("state", 1, "exp_avg_sq"), torch.full((1, 1), torch.nan), "exp_avg_sq can't have the sh"),
        (("state", 1, "step"), torch.tensor(torch.inf), "1.step is not finite"),
        (("state", 1, "step"), torch.tensor([3.0]), r"1.step can't have the shape \(1,\)"),
        (("state", 1, "step"), torch.tensor(-1.0), "division by zero"),
        (("state", 99), {"step": torch.tensor(1.0)}, "has no parameter 99"),
        (("param_groups", 0, "betas"), None, "betas"),
        (("param_groups", 0, "betas"), (0.9,), "values to unpack"),
        (("param_groups", 0, "betas"), (1.0, 1.0), "division by zero"),
        (("param_groups", 0, "foreach"), torch.zeros(2), "is ambiguous"),
        (("param_groups", 0, "params"), [0] * 9, "not numbered as those saved"),
        (("param_groups", 0), None, "not numbered as those saved"),
    ],
)
def test_a_state_that_no_step_could_use_is_refused(path, value, message):
    """A value is replaced, or left out for None; the optimizer stays as it is."""
    model = toys.make_model()
    optimizer = torch.optim.Adam(model.parameters())
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    check_optimizer_state(torch.optim.Adam(toys.make_model().parameters()), state)
    place: Any = state
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    before = copy.deepcopy(optimizer.state_dict()), toys.weights_of(model)
    with pytest.raises(Exception, match=message):
        check_optimizer_state(optimizer, state)
    after = optimizer.state_dict(), toys.weights_of(model)
    assert toys.worst_difference(before, after) == 0.0


def test_a_state_of_all_sizes_of_weights_is_checked():
    """Single numbers and tensors of three dimensions count as weights, too."""
    weights = [torch.ones(size, requires_grad=True) for size in [(), (1,), (4, 1), (2, 5, 3)]]
    optimizer = torch.optim.Adafactor(weights)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    state = optimizer.state_dict()
    check_optimizer_state(torch.optim.Adafactor(weights), state)
    state["state"][3]["row_var"] = torch.ones(2, 1, 3)
    with pytest.raises(CorruptFileError, match=r"3.row_var can't have the shape \(2, 1, 3\)"):
        check_optimizer_state(torch.optim.Adafactor(weights), state)


class SizeDependent(torch.optim.Optimizer):
    """Keeps a mean of the gradients of small weights, and two means of those of large ones."""

    def __init__(self, weights: Any, lr: float = 0.1) -> None:
        super().__init__(weights, {"lr": lr})

    @torch.no_grad()
    def step(self, _closure: Any = None) -> None:
        """Take a step."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if weight.numel() < 100:
                    state.setdefault("mean", torch.zeros_like(weight)).lerp_(weight.grad, 0.1)
                    weight.sub_(group["lr"] * state["mean"])
                    continue
                for axis, name in enumerate(("rows", "columns")):
                    mean = weight.grad.mean(axis)
                    state.setdefault(name, torch.zeros_like(mean)).lerp_(mean, 0.1)
                weight.sub_(group["lr"] * (state["rows"] + state["columns"][:, None]))


def test_entries_may_depend_on_the_size_of_a_weight():
    """An optimizer from elsewhere may keep other entries for large weights; damage is found."""
    weight = torch.ones(30, 40, requires_grad=True)
    weight.grad = torch.ones_like(weight)
    optimizer = SizeDependent([weight])
    optimizer.step()
    state = optimizer.state_dict()
    check_optimizer_state(SizeDependent([weight]), state)
    state["state"][0]["rows"] = torch.ones(30)
    with pytest.raises(CorruptFileError, match=r"state.0.rows can't have the shape \(30,\)"):
        check_optimizer_state(SizeDependent([weight]), state)
    del state["state"][0]["rows"]
    with pytest.raises(CorruptFileError, match=r"state.0 has no 'rows'"):
        check_optimizer_state(SizeDependent([weight]), state)


def test_checking_a_state_copies_no_weights(monkeypatch):
    """The stand-ins of the weights have a few numbers each."""
    weight = torch.ones(300, 400, requires_grad=True)
    optimizer = torch.optim.Adam([weight])
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    state, sizes = optimizer.state_dict(), []
    step = torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam,
        "step",
        lambda self: (sizes.append(self.param_groups[0]["params"][0].shape), step(self)),
    )
    check_optimizer_state(optimizer, state)
    assert set(sizes) == {(2, 3)}


def test_an_optimizer_that_can_not_be_tried_is_trusted():
    """One whose step needs more than gradients can't be tried, and is not refused for that."""
    model = toys.make_model()
    optimizer = torch.optim.LBFGS(model.parameters())
    check_optimizer_state(optimizer, optimizer.state_dict())


def test_a_scheduler_keeps_its_methods(tmp_path):
    """A state that would replace a method is refused."""
    fit(tmp_path, scheduler=schedulers.cosine())
    folder = max(tmp_path.glob("step-*"))
    states = json.loads((folder / "optimizer.json").read_text())
    dict(states["dict"])["scheduler"]["dict"].append(["step", 5])
    (folder / "optimizer.json").write_text(json.dumps(states))
    toys.reseal(folder)
    with pytest.raises(CorruptFileError, match="A scheduler's state has no 'step'"):
        fit(tmp_path, scheduler=schedulers.cosine())
