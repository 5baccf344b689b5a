"""Step a torch scheduler after each training step, evaluation or epoch."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, get_args

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from textrnn.errors import InvalidTypeError, InvalidValueError, check_choice, expected
from textrnn.training.schedulers import Interval
from textrnn.training.state import TrainingState

__all__ = ["Interval", "Scheduler", "SchedulerLike"]

SchedulerLike: TypeAlias = LRScheduler | Callable[[torch.optim.Optimizer, int], LRScheduler]
"""A torch scheduler, or a function of the optimizer and the number of its steps."""


class Scheduler:
    """A torch scheduler and its interval, or no scheduler."""

    def __init__(
        self,
        scheduler: SchedulerLike | None,
        optimizer: torch.optim.Optimizer,
        interval: str | None,
        counts: Mapping[str, int | None],
    ) -> None:
        chosen = getattr(scheduler, "interval", "epoch") if interval is None else interval
        self.interval = check_choice("scheduler_interval", chosen, get_args(Interval))
        made: object = scheduler
        if callable(scheduler) and not isinstance(scheduler, LRScheduler):
            count = counts[self.interval]
            if count is None:
                rule = f"one that works without the number of {self.interval}s, for this loader"
                raise InvalidValueError(expected("scheduler", rule, scheduler))
            made = scheduler(optimizer, count)
        if made is not None and not isinstance(made, LRScheduler):
            raise InvalidTypeError(
                expected("scheduler", "a torch scheduler or its factory", scheduler)
            )
        self.scheduler = made
        if self.scheduler is not None and self.scheduler.optimizer is not optimizer:
            raise InvalidValueError(
                expected("scheduler", "over the trainer's optimizer", scheduler)
            )

    @property
    def name(self) -> str | None:
        """The name of the scheduler's class, or None."""
        return None if self.scheduler is None else type(self.scheduler).__name__

    def check(self, mode: str, *, evaluates: bool) -> None:
        """Check that the scheduler gets the evaluations that it needs, and has the same mode."""
        plateau = isinstance(self.scheduler, ReduceLROnPlateau)
        waits = plateau or (self.scheduler is not None and self.interval == "evaluation")
        if waits and not evaluates:
            rule = "given for a scheduler that needs evaluations"
            raise InvalidValueError(expected("eval_loader", rule, None))
        if isinstance(self.scheduler, ReduceLROnPlateau) and self.scheduler.mode != mode:
            rule = f"a plateau with mode={mode!r}, as for the trainer"
            raise InvalidValueError(expected("scheduler", rule, f"mode={self.scheduler.mode!r}"))

    def step(self, interval: Interval, state: TrainingState) -> None:
        """Step if what has just ended, `interval`, is the scheduler's own interval."""
        if self.scheduler is None or interval != self.interval:
            return
        if isinstance(self.scheduler, ReduceLROnPlateau):
            if state.evaluation:  # it needs the monitored value
                self.scheduler.step(state.monitored())
        else:
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the torch scheduler."""
        return {} if self.scheduler is None else self.scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state of the torch scheduler."""
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state)
