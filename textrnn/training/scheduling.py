"""When the learning rate changes: a torch scheduler together with its moments."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, get_args

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from textrnn.errors import InvalidTypeError, InvalidValueError, check_choice, expected
from textrnn.training.schedulers import Interval
from textrnn.training.state import TrainingState

__all__ = ["Interval", "Scheduler", "SchedulerLike"]

SchedulerLike: TypeAlias = LRScheduler | Callable[[torch.optim.Optimizer, int], LRScheduler]
"""A torch scheduler, or a function of the optimizer and of how often the scheduler will step."""


class Scheduler:
    """A torch scheduler that steps at its moments, and does nothing where there is none.

    Args:
        scheduler: A torch scheduler over the optimizer, a factory of one, or None.
        optimizer: The optimizer.
        interval: After what it steps. Default: what the factory says, else ``"epoch"``.
        counts: How many steps, evaluations and epochs the run will have; None where not known.

    Raises:
        InvalidTypeError: If `scheduler` is neither.
        InvalidValueError: If it is over another optimizer, or a factory needs a number of steps
            that is not known.
    """

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
                rule = f"one that need not know the number of {self.interval}s, for this loader"
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
        """The class of the scheduler, or None."""
        return None if self.scheduler is None else type(self.scheduler).__name__

    def check(self, mode: str, *, evaluates: bool) -> None:
        """Make sure that the scheduler can do its work in this run.

        Args:
            mode: ``"min"`` or ``"max"``: how the monitored value gets better.
            evaluates: Whether there will be evaluations.

        Raises:
            InvalidValueError: If it waits for evaluations that are never made, or lowers the rate
                when the monitored value gets better.
        """
        plateau = isinstance(self.scheduler, ReduceLROnPlateau)
        waits = plateau or (self.scheduler is not None and self.interval == "evaluation")
        if waits and not evaluates:
            rule = "given for a scheduler that looks at evaluations"
            raise InvalidValueError(expected("eval_loader", rule, None))
        if isinstance(self.scheduler, ReduceLROnPlateau) and self.scheduler.mode != mode:
            rule = f"a plateau with mode={mode!r}, as the trainer has it"
            raise InvalidValueError(expected("scheduler", rule, f"mode={self.scheduler.mode!r}"))

    def step(self, moment: Interval, state: TrainingState) -> None:
        """Change the rate, if this is its moment.

        Args:
            moment: What has just ended.
            state: Where the run stands; a plateau scheduler looks at its monitored value.
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

        Args:
            state: What `state_dict` returned.
        """
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state)
