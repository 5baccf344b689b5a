"""Schedulers in a run: those of PyTorch, stepped at their interval."""

from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from tests import toys
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.training import LearningRateMonitor, Trainer, schedulers
from textrnn.training.scheduling import Scheduler
from textrnn.training.step import TrainingStep

TRAIN, EVAL = toys.make_dataset(10), toys.make_dataset(5, seed=1)
COUNTS = {"step": 6, "evaluation": 3, "epoch": 3}


def rates(scheduler: Any, **settings: Any) -> list[float]:
    """Return the rate of each step of a run of three epochs of two steps."""
    interval = settings.pop("scheduler_interval", None)
    monitor = LearningRateMonitor()
    trainer = toys.make_trainer(
        scheduler=scheduler, scheduler_interval=interval, callbacks=[monitor]
    )
    trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=3, **settings)
    return monitor.learning_rates


@pytest.mark.parametrize(
    ("interval", "settings", "expected"),
    [
        ("step", {}, [1, 0.5, 0.25, 0.125, 0.0625, 0.03125]),
        ("epoch", {}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ("evaluation", {}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ("evaluation", {"eval_every": 3}, [1, 1, 1, 0.5, 0.5, 0.5]),
        ("evaluation", {"eval_every": 1}, [1, 0.5, 0.25, 0.125, 0.0625, 0.03125]),
    ],
)
def test_a_scheduler_steps_at_its_interval(interval, settings, expected):
    """After steps, evaluations or epochs; the trainer's interval overrides that of a factory."""
    own = rates(schedulers.exponential(gamma=0.5, interval=interval), **settings)
    assert own == pytest.approx([0.01 * factor for factor in expected])
    told = rates(schedulers.exponential(gamma=0.5), scheduler_interval=interval, **settings)
    assert told == own


@pytest.mark.parametrize(
    ("interval", "settings", "total"),
    [
        ("step", {}, 6),
        ("epoch", {"eval_every": 2}, 3),
        ("evaluation", {}, 3),
        ("evaluation", {"eval_every": 3}, 2),
        ("evaluation", {"eval_every": 4}, 2),
        ("evaluation", {"eval_every": 100}, 1),
    ],
)
def test_a_factory_gets_the_number_of_its_steps(interval, settings, total):
    """It is the number of steps, epochs or evaluations, including the last evaluation."""
    told: list[tuple[str, int]] = []
    stepped: list[int] = []

    class Counted(lr_scheduler.LambdaLR):
        def step(self, epoch: int | None = None) -> None:
            stepped.append(1)
            super().step(epoch)

    def factory(optimizer: torch.optim.Optimizer, total_steps: int) -> Any:
        told.append((type(optimizer).__name__, total_steps))
        return Counted(optimizer, lambda _: 1.0)

    rates(factory, scheduler_interval=interval, **settings)
    assert told == [("Adam", total)]
    assert len(stepped) == total + 1  # PyTorch takes the first step itself


def test_a_torch_scheduler_is_used_as_it_is():
    """It steps after each epoch by default."""
    for interval, expected in ((None, [1, 1, 0.1, 0.1, 0.01, 0.01]), ("step", None)):
        model = toys.make_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        scheduler = lr_scheduler.ExponentialLR(optimizer, 0.1)
        monitor = LearningRateMonitor()
        trainer = toys.make_trainer(
            model,
            optimizer=optimizer,
            scheduler=scheduler,
            scheduler_interval=interval,
            callbacks=[monitor],
        )
        trainer.fit(toys.bucketed(TRAIN), epochs=3)
        assert monitor.learning_rates == pytest.approx(expected or [10.0**-i for i in range(6)])


def test_a_plateau_follows_the_monitored_metric():
    """The rate falls when the metric has not improved for `patience` steps."""
    always_worse = schedulers.plateau(factor=0.5, patience=0, threshold=0.99)
    assert rates(always_worse) == pytest.approx([0.01, 0.01, 0.01, 0.01, 0.005, 0.005])
    model = toys.make_model()
    monitor = LearningRateMonitor()
    values = iter([0.1, 0.2, 0.1])
    trainer = toys.make_trainer(
        model,
        scheduler=schedulers.plateau(factor=0.5, patience=0, mode="max"),
        metrics={"drawn": lambda *_: next(values)},
        monitor="drawn",
        mode="max",
        callbacks=[monitor],
    )
    trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=3)
    assert monitor.learning_rates == pytest.approx([0.01] * 6)
    assert float(trainer.optimizer.param_groups[0]["lr"]) == pytest.approx(0.005)


def test_a_plateau_waits_for_its_first_evaluation():
    """If it steps more often than there are evaluations, it starts with the first one."""
    plateau = schedulers.plateau(patience=0, interval="epoch")
    assert rates(plateau, eval_every=100) == pytest.approx([0.01] * 6)


def test_a_skipped_update_does_not_step_the_schedule(monkeypatch):
    """In fp16 an update whose gradients overflow keeps the rate."""
    model = toys.make_model()
    monitor = LearningRateMonitor()
    trainer = toys.make_trainer(
        model,
        precision="fp16",
        scheduler=schedulers.exponential(gamma=0.5, interval="step"),
        callbacks=[monitor],
    )
    overflowing = iter([False, True, False, False])

    def update(self: Any) -> bool:
        if next(overflowing):
            next(self.model.parameters()).grad.fill_(torch.inf)
        return original(self)

    original = TrainingStep.update
    monkeypatch.setattr(TrainingStep, "update", update)
    trainer.fit(toys.bucketed(TRAIN), epochs=2)
    assert monitor.learning_rates == pytest.approx([0.01, 0.005, 0.005, 0.0025])


@pytest.mark.parametrize(
    ("scheduler", "interval", "counts", "error", "message"),
    [
        (3, None, COUNTS, InvalidTypeError, "`scheduler` to be a torch scheduler or its factory"),
        (lambda *_: 3, None, COUNTS, InvalidTypeError, "a torch scheduler or its factory"),
        (None, "week", COUNTS, InvalidValueError, "`scheduler_interval` to be one of 'step', 'ev"),
        (None, "", COUNTS, InvalidValueError, "`scheduler_interval` to be one of 'step', 'ev"),
        (
            schedulers.cosine(),
            None,
            {**COUNTS, "step": None},
            InvalidValueError,
            "to be one that works without the number of steps, for this loader, but got cosine",
        ),
        (
            lambda *_: lr_scheduler.ConstantLR(torch.optim.SGD([torch.zeros(1)])),
            None,
            COUNTS,
            InvalidValueError,
            "Expected `scheduler` to be over the trainer's optimizer",
        ),
    ],
)
def test_invalid_schedulers_are_refused(scheduler, interval, counts, error, message):
    """The error comes when training starts, before the first step."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    with pytest.raises(error, match=message):
        Scheduler(scheduler, optimizer, interval, counts)


def start(trainer: Trainer, *, evaluates: bool) -> None:
    """Start to train."""
    trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL) if evaluates else None, epochs=1)


@pytest.mark.parametrize(
    ("scheduler", "settings", "evaluates", "message"),
    [
        (schedulers.plateau(), {}, False, "`eval_loader` to be given for a scheduler that needs"),
        (
            schedulers.exponential(interval="evaluation"),
            {},
            False,
            "`eval_loader` to be given for a scheduler that needs",
        ),
        (
            schedulers.plateau(),
            {"monitor": "accuracy", "mode": "max"},
            True,
            "to be a plateau with mode='max', as for the trainer, but got \"mode='min'\"",
        ),
    ],
)
def test_schedulers_that_do_not_fit_the_run_are_refused(scheduler, settings, evaluates, message):
    """Those that need evaluations that don't exist, and a plateau with the other mode."""
    with pytest.raises(InvalidValueError, match=message):
        start(toys.make_trainer(scheduler=scheduler, **settings), evaluates=evaluates)


def test_without_a_scheduler_nothing_happens():
    """It has no state and no name, and steps change nothing."""
    scheduler = Scheduler(None, torch.optim.SGD([torch.zeros(1)], lr=0.1), None, COUNTS)
    scheduler.step("epoch", toys.make_state())
    scheduler.load_state_dict({})
    scheduler.check("max", evaluates=False)
    assert scheduler.state_dict() == {}
    assert scheduler.name is None
