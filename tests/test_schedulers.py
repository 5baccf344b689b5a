"""Schedules give their documented rates, and go through JSON, pickling and a resume."""

import json
import math
import pickle
from io import BytesIO

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from textrnn.errors import InvalidTypeError, InvalidValueError, MissingKeyError
from textrnn.training import schedulers
from textrnn.training.schedulers import SchedulerFactory

all_names = pytest.mark.parametrize("name", schedulers.NAMES)


def make_optimizer(*rates: float, kind=torch.optim.Adam, **settings) -> torch.optim.Optimizer:
    """Make an optimizer with a parameter group for each rate."""
    groups = [{"params": [torch.zeros(1)], "lr": rate} for rate in rates]
    return kind(groups, **settings)


def advance(scheduler: lr_scheduler.LRScheduler, steps: int) -> list[list[float]]:
    """Step and return the rates of each step's parameter groups."""
    rates = []
    for _ in range(steps):
        rates.append([float(group["lr"]) for group in scheduler.optimizer.param_groups])
        scheduler.optimizer.step()
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            scheduler.step(1.0)
        else:
            scheduler.step()
    return rates


def simulate_torch(make, total_steps: int) -> list[float]:
    """Return the rates of a scheduler of PyTorch's, for the rate 1."""
    return schedulers.simulate(
        lambda optimizer, _: make(optimizer), lr=1.0, total_steps=total_steps
    )


@pytest.mark.parametrize(
    ("factory", "rates"),
    [
        (schedulers.constant(), [1, 1, 1, 1, 1]),
        (schedulers.step(), [1, 0.1, 0.01, 0.001, 0.0001]),
        (schedulers.step(step_size=2, gamma=0.5), [1, 1, 0.5, 0.5, 0.25]),
        (schedulers.exponential(gamma=0.5), [1, 0.5, 0.25, 0.125, 0.0625]),
        (schedulers.cosine(), [(1 + math.cos(math.pi * t / 5)) / 2 for t in range(5)]),
        (schedulers.cosine(min_factor=1.0), [1, 1, 1, 1, 1]),
        (schedulers.linear_warmup(warmup=0), [1, 0.8, 0.6, 0.4, 0.2]),
        (schedulers.linear_warmup(warmup=0.4), [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]),
        (schedulers.linear_warmup(warmup=1.0), [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6]),
        (schedulers.linear_warmup(warmup=99), [0.01, 0.02, 0.03, 0.04, 0.05]),
        (
            schedulers.cosine_warmup(warmup=1),
            [0.5, 1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - 0.125**0.5],
        ),
        (schedulers.cosine_warmup(warmup=3, min_factor=0.5), [0.25, 0.5, 0.75, 1, 0.75]),
        (schedulers.slanted_triangular(cut_fraction=0.4, ratio=2), [0.5, 0.75, 1, 5 / 6, 4 / 6]),
        (schedulers.slanted_triangular(cut_fraction=0.0, ratio=1), [1, 1, 1, 1, 1]),
        (schedulers.plateau(factor=0.5, patience=1), [1, 1, 1, 0.5, 0.5]),
    ],
)
def test_rates_are_those_computed_by_hand(factory, rates):
    """Each of five steps has the documented rate."""
    assert schedulers.simulate(factory, lr=1.0, total_steps=5) == pytest.approx(rates, abs=1e-12)


@given(st.integers(2, 60), st.floats(0.0, 1.0))
@settings(max_examples=30)
def test_cosine_is_that_of_torch(total_steps, min_factor):
    """One cycle equals PyTorch's cosine annealing."""
    found = schedulers.simulate(
        schedulers.cosine(min_factor=min_factor), lr=1.0, total_steps=total_steps
    )
    expected = simulate_torch(
        lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, total_steps, min_factor),
        total_steps,
    )
    assert found == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 60), st.floats(0.05, 0.95))
@settings(max_examples=30)
def test_one_cycle_is_that_of_torch(total_steps, pct_start):
    """It equals PyTorch's schedule where that is defined."""
    factory = schedulers.one_cycle(pct_start=pct_start)
    found = schedulers.simulate(factory, lr=1.0, total_steps=total_steps)
    if pct_start * total_steps != 1:
        expected = simulate_torch(
            lambda optimizer: lr_scheduler.OneCycleLR(
                optimizer, 1.0, total_steps=total_steps, pct_start=pct_start
            ),
            total_steps,
        )
        assert found == pytest.approx(expected, abs=1e-12)


def test_one_cycle_starts_at_its_peak_if_the_rise_is_one_step():
    """PyTorch divides by zero there; the limit is a peak in the first step."""
    rates = schedulers.simulate(schedulers.one_cycle(pct_start=0.1), lr=1.0, total_steps=10)
    assert rates[0] == pytest.approx(1.0)
    assert rates == sorted(rates, reverse=True)


def test_slanted_triangular_is_the_paper_s():
    """If the cut is a whole number of steps, the rates are those of ULMFiT's equation 3."""
    total, cut_fraction, ratio = 50, 0.1, 32
    cut = math.floor(total * cut_fraction)
    expected = []
    for t in range(total):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_fraction - 1))
        expected.append(0.01 * (1 + p * (ratio - 1)) / ratio)
    found = schedulers.simulate(schedulers.slanted_triangular(), lr=0.01, total_steps=total)
    assert found == pytest.approx(expected, rel=1e-12)


@given(st.sampled_from(schedulers.NAMES), st.integers(1, 80))
def test_rates_stay_between_zero_and_the_optimizer_s(name, total_steps):
    """No schedule leaves the range from 0 to the rate, and every step can train."""
    rates = schedulers.simulate(schedulers.by_name(name), lr=0.5, total_steps=total_steps)
    assert len(rates) == total_steps
    assert all(0 < rate <= 0.5 * (1 + 1e-12) for rate in rates)


@given(st.integers(1, 200), st.one_of(st.integers(0, 50), st.floats(0.0, 1.0)))
def test_warm_ups_rise_to_one_peak_and_fall(total_steps, warmup):
    """Each rate is higher than the last before the peak, and lower after it."""
    for factory in (
        schedulers.linear_warmup(warmup=warmup),
        schedulers.cosine_warmup(warmup=warmup),
    ):
        rates = schedulers.simulate(factory, lr=1.0, total_steps=total_steps)
        steps = warmup if isinstance(warmup, int) else round(warmup * total_steps)
        peak = min(steps, total_steps - 1)
        assert rates[: peak + 1] == sorted(set(rates[: peak + 1]))
        assert rates[peak:] == sorted(set(rates[peak:]), reverse=True)
        assert (rates[peak] == pytest.approx(1.0)) == (steps < total_steps)


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("constant", 1.0),
        ("cosine", 0.0),
        ("cosine_warmup", 0.0),
        ("linear_warmup", 0.0),
        ("slanted_triangular", 1 / 32),
    ],
)
def test_the_final_rate_holds_after_the_last_step(name, rate):
    """Further steps after the end neither fail nor restart the schedule."""
    scheduler = schedulers.by_name(name)(make_optimizer(1.0), 10)
    advance(scheduler, 10)
    assert [found for (found,) in advance(scheduler, 15)] == pytest.approx([rate] * 15)


@all_names
def test_parameter_groups_keep_their_ratio(name):
    """A group with a tenth of the rate keeps a tenth of it throughout."""
    scheduler = schedulers.by_name(name)(make_optimizer(1.0, 0.1), 12)
    for high, low in advance(scheduler, 12):
        assert low == pytest.approx(high / 10)


@all_names
def test_a_factory_starts_anew(name):
    """A second schedule for the same optimizer gives the same rates."""
    optimizer = make_optimizer(0.2)
    first = advance(schedulers.by_name(name)(optimizer, 10), 10)
    advance(schedulers.one_cycle(max_lr=3.0)(optimizer, 10), 7)
    assert advance(schedulers.by_name(name)(optimizer, 10), 10) == first


@all_names
def test_a_rate_in_a_tensor_stays_in_a_tensor(name):
    """Optimizers whose step is captured as a graph keep their rate in a tensor."""
    optimizer = make_optimizer(torch.tensor(0.5))
    scheduler = schedulers.by_name(name)(optimizer, 10)
    rates = [rate for (rate,) in advance(scheduler, 10)]
    assert isinstance(optimizer.param_groups[0]["lr"], torch.Tensor)
    expected = schedulers.simulate(schedulers.by_name(name), lr=0.5, total_steps=10)
    assert rates == pytest.approx(expected, rel=1e-5)


@all_names
def test_a_resumed_schedule_continues_exactly(name):
    """The state is free of code, and rates after a resume equal those without one."""
    factory = schedulers.by_name(name)
    optimizer = make_optimizer(0.1, 0.2)
    scheduler = factory(optimizer, 20)
    advance(scheduler, 7)
    file = BytesIO()
    torch.save((optimizer.state_dict(), scheduler.state_dict()), file)
    expected = advance(scheduler, 13)

    file.seek(0)
    optimizer_state, scheduler_state = torch.load(file, weights_only=True)
    optimizer = make_optimizer(0.1, 0.2)
    scheduler = factory(optimizer, 20)
    optimizer.load_state_dict(optimizer_state)
    scheduler.load_state_dict(scheduler_state)
    assert advance(scheduler, 13) == expected


@pytest.mark.parametrize("name", ["cosine", "one_cycle", "linear_warmup", "slanted_triangular"])
def test_a_run_resumed_with_more_steps_follows_the_longer_schedule(name):
    """After a resume the rates are those of the longer run."""
    factory = schedulers.by_name(name)
    scheduler = factory(make_optimizer(1.0), 10)
    advance(scheduler, 10)
    longer = factory(make_optimizer(1.0), 30)
    longer.load_state_dict(scheduler.state_dict())
    advance(longer, 1)
    expected = schedulers.simulate(factory, lr=1.0, total_steps=30)
    assert [rate for (rate,) in advance(longer, 19)] == pytest.approx(expected[11:])


def test_one_cycle_cycles_an_existing_momentum():
    """Momentum and Adam's first beta fall while the rate rises; no momentum is added."""
    adam, sgd = make_optimizer(1.0), make_optimizer(1.0, kind=torch.optim.SGD, momentum=0.9)
    plain = make_optimizer(1.0, kind=torch.optim.SGD)
    for optimizer in (adam, sgd, plain):
        advance(schedulers.one_cycle(pct_start=0.5)(optimizer, 10), 4)
    assert adam.param_groups[0]["betas"] == (pytest.approx(0.85), 0.999)
    assert sgd.param_groups[0]["momentum"] == pytest.approx(0.85)
    assert plain.param_groups[0]["momentum"] == 0
    kept = make_optimizer(1.0)
    advance(schedulers.one_cycle(cycle_momentum=False)(kept, 10), 4)
    assert kept.param_groups[0]["betas"] == (0.9, 0.999)


def test_one_cycle_can_have_its_own_peak():
    """With `max_lr`, the optimizer's rate does not matter."""
    rates = schedulers.simulate(schedulers.one_cycle(max_lr=2.0), lr=7.0, total_steps=10)
    assert max(rates) == pytest.approx(2.0)


def test_a_plateau_follows_the_values():
    """The rate falls when the values stop improving, in either direction."""
    accuracies = [0.5, 0.6, 0.6, 0.6, 0.7, 0.7]
    factory = schedulers.plateau(factor=0.5, patience=1, mode="max")
    rates = schedulers.simulate(factory, lr=1.0, total_steps=6, values=accuracies)
    assert rates == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5]
    factory = schedulers.plateau(factor=0.5, patience=0, cooldown=1, min_lr=0.4)
    rates = schedulers.simulate(factory, lr=1.0, total_steps=7, values=[1.0] * 7)
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.4, 0.4, 0.4]


@pytest.mark.parametrize(
    ("name", "interval"),
    [
        ("exponential", "epoch"),
        ("step", "epoch"),
        ("plateau", "evaluation"),
        ("cosine", "step"),
        ("one_cycle", "step"),
        ("linear_warmup", "step"),
        ("cosine_warmup", "step"),
        ("slanted_triangular", "step"),
    ],
)
def test_each_schedule_has_a_default_interval(name, interval):
    """The argument `interval` overrides it."""
    assert schedulers.by_name(name).interval == interval
    assert schedulers.by_name(name, interval="epoch").interval == "epoch"


@all_names
def test_factories_are_values(name):
    """A factory equals the one restored from its repr, its JSON or its pickle."""
    factory = schedulers.by_name(name, interval="evaluation")
    assert schedulers.by_name(**json.loads(json.dumps(factory.to_dict()))) == factory
    assert pickle.loads(pickle.dumps(factory)) == factory  # noqa: S301 - made in this line
    assert eval(repr(factory), vars(schedulers)) == factory  # noqa: S307 - a repr of ours
    assert hash(schedulers.by_name(name, interval="evaluation")) == hash(factory)
    assert factory != schedulers.by_name(name, interval="epoch")


def test_every_named_function_is_public():
    """Every name is that of a function of the module."""
    assert all(getattr(schedulers, name)() == schedulers.by_name(name) for name in schedulers.NAMES)
    assert set(schedulers.NAMES) < set(schedulers.__all__)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: schedulers.step(step_size=0), InvalidValueError, "`step_size` to be a positive"),
        (lambda: schedulers.step(gamma=0), InvalidValueError, "`gamma` to be a number above 0"),
        (
            lambda: schedulers.exponential(gamma=-1),
            InvalidValueError,
            "`gamma` to be a number above",
        ),
        (lambda: schedulers.cosine(min_factor=2), InvalidValueError, "`min_factor` to be a number"),
        (
            lambda: schedulers.one_cycle(max_lr=0),
            InvalidValueError,
            "`max_lr` to be a number above",
        ),
        (
            lambda: schedulers.one_cycle(pct_start=1.0),
            InvalidValueError,
            "`pct_start` to be a number",
        ),
        (lambda: schedulers.one_cycle(div_factor=0), InvalidValueError, "`div_factor` to be a"),
        (lambda: schedulers.one_cycle(final_div_factor=0), InvalidValueError, "`final_div_factor`"),
        (
            lambda: schedulers.linear_warmup(warmup=1.5),
            InvalidValueError,
            "`warmup` to be a number",
        ),
        (
            lambda: schedulers.linear_warmup(warmup=-1),
            InvalidValueError,
            "`warmup` to be a non-neg",
        ),
        (
            lambda: schedulers.cosine_warmup(warmup="1"),
            InvalidTypeError,
            "`warmup` to be a non-neg",
        ),
        (lambda: schedulers.cosine_warmup(min_factor=-1), InvalidValueError, "`min_factor` to be"),
        (lambda: schedulers.slanted_triangular(ratio=0.5), InvalidValueError, "`ratio` to be a"),
        (
            lambda: schedulers.slanted_triangular(cut_fraction=2),
            InvalidValueError,
            "`cut_fraction`",
        ),
        (lambda: schedulers.plateau(factor=1.0), InvalidValueError, "`factor` to be a number betw"),
        (lambda: schedulers.plateau(patience=-1), InvalidValueError, "`patience` to be a non-neg"),
        (
            lambda: schedulers.plateau(mode="up"),
            InvalidValueError,
            "`mode` to be one of 'min', 'max'",
        ),
        (lambda: schedulers.plateau(threshold=-1), InvalidValueError, "`threshold` to be a number"),
        (lambda: schedulers.plateau(cooldown=-1), InvalidValueError, "`cooldown` to be a non-neg"),
        (lambda: schedulers.plateau(min_lr=-1), InvalidValueError, "`min_lr` to be a number of at"),
        (lambda: schedulers.cosine(interval="day"), InvalidValueError, "`interval` to be one of"),
        (
            lambda: schedulers.by_name("cosin"),
            MissingKeyError,
            "among 'constant', 'cosine', .*'cosin'",
        ),
        (lambda: schedulers.by_name(["cosine"]), MissingKeyError, r"but got \['cosine'\]"),
        (
            lambda: schedulers.by_name("cosine", gamma=1),
            MissingKeyError,
            "schedule 'cosine' to be among 'interval', 'min_factor', but got 'gamma'",
        ),
        (
            lambda: SchedulerFactory("cosin", {}, interval="step"),
            MissingKeyError,
            "name of a schedule to be among 'constant'",
        ),
    ],
)
def test_invalid_settings_are_refused(make, error, message):
    """A schedule checks its settings when it is made."""
    with pytest.raises(error, match=message):
        make()


def test_invalid_calls_are_refused():
    """A factory needs an optimizer and the number of steps."""
    with pytest.raises(InvalidTypeError, match=r"`optimizer` to be a torch[.]optim[.]Optimizer"):
        schedulers.cosine()(None, 10)
    with pytest.raises(
        InvalidValueError, match="`total_steps` to be a positive integer, but got 0"
    ):
        schedulers.cosine()(make_optimizer(1.0), 0)
    with pytest.raises(
        InvalidValueError, match="`total_steps` to be a positive integer, but got 0"
    ):
        schedulers.simulate(schedulers.cosine(), total_steps=0)
    with pytest.raises(InvalidValueError, match="`lr` to be a number of at least 0, but got -1"):
        schedulers.simulate(schedulers.cosine(), lr=-1, total_steps=1)
    with pytest.raises(InvalidValueError, match=r"`values` to be 2 numbers, but got \[0.5\]"):
        schedulers.simulate(schedulers.plateau(), total_steps=2, values=[0.5])
