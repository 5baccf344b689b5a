"""When the learning rate changes: a torch scheduler together with its moments."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from textrnn.errors import InvalidTypeError, InvalidValueError, check_choice, expected
from textrnn.training.state import TrainingState

__all__ = ["Interval", "Scheduler", "SchedulerLike"]

Interval: TypeAlias = Literal["step", "evaluation", "epoch"]
"""After what a scheduler steps."""

SchedulerLike: TypeAlias = LRScheduler | Callable[[torch.optim.Optimizer, int], LRScheduler]
"""A torch scheduler, or a function of the optimizer and of how often the scheduler will step."""


class Scheduler:
    """A torch scheduler that steps at its moments, and does nothing where there is none.

    Args:
        scheduler: a torch scheduler over the optimizer, a factory of one, or None.
        optimizer: the optimizer.
        interval: after what it steps. Default: what the factory says, else ``"epoch"``.
        counts: how many steps, evaluations and epochs the run will have; None where not known.

    Raises:
        InvalidTypeError: `scheduler` is neither.
        InvalidValueError: it is over another optimizer, or a factory needs a number of steps that
            is not known.
    """

    def __init__(
        self,
        scheduler: SchedulerLike | None,
        optimizer: torch.optim.Optimizer,
        interval: str | None,
        counts: dict[str, int | None],
    ) -> None:
        chosen = interval or getattr(scheduler, "interval", "epoch")
        self.interval = check_choice("scheduler_interval", chosen, ("step", "evaluation", "epoch"))
        if scheduler is None or isinstance(scheduler, LRScheduler):
            self.scheduler = scheduler
        elif callable(scheduler):
            count = counts[self.interval]
            if count is None:
                rule = f"one that need not know the number of {self.interval}s, for this loader"
                raise InvalidValueError(expected("scheduler", rule, scheduler))
            self.scheduler = scheduler(optimizer, count)
        if not (scheduler is None or isinstance(getattr(self, "scheduler", None), LRScheduler)):
            raise InvalidTypeError(
                expected("scheduler", "a torch scheduler or its factory", scheduler)
            )
        if self.scheduler is not None and self.scheduler.optimizer is not optimizer:
            raise InvalidValueError(
                expected("scheduler", "over the trainer's optimizer", scheduler)
            )

    @property
    def needs_evaluation(self) -> bool:
        """Whether it can't step without a value of an evaluation."""
        return isinstance(self.scheduler, ReduceLROnPlateau)

    def step(self, moment: Interval, state: TrainingState) -> None:
        """Change the rate, if this is its moment.

        Args:
            moment: what has just ended.
            state: where the run stands; a plateau scheduler looks at its monitored value.
        """
        if self.scheduler is None or moment != self.interval:
            return
        if isinstance(self.scheduler, ReduceLROnPlateau):
            if state.evaluation:
                self.scheduler.step(state.monitored())
        else:
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the scheduler's state."""
        return {} if self.scheduler is None else self.scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the scheduler's state back.

        Raises:
            InvalidValueError: it is that of a run with a scheduler, and this has none, or the
                other way round.
        """
        if bool(state) != (self.scheduler is not None):
            rule = "the scheduler of the run that is resumed"
            raise InvalidValueError(expected("scheduler", rule, self.scheduler))
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state)
