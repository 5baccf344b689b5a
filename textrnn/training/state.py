"""`TrainingState`: where a run stands, which is all that callbacks see and a resume needs."""

import json
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from textrnn.errors import CorruptFileError, MissingKeyError, listing, show
from textrnn.training.history import History

__all__ = ["TrainingState", "checked", "read_state"]


@dataclass(kw_only=True, eq=False)
class TrainingState:
    """Where a training run stands.

    Callbacks read it; of its methods, `request_stop` is theirs to call.

    Args:
        model: The network in training.
        optimizer: Its optimizer; ``optimizer.param_groups`` holds the learning rates.
        epochs: How many epochs the run has in all.
        monitor: The value of an evaluation that tells which weights are best.
        mode: ``"min"`` or ``"max"``, whether less or more of it is better.
        steps_per_epoch: Updates in an epoch, or None where the loader has no length.
        evaluation_names: The values that an evaluation gives; empty where none will be made.
        completed_epochs: How many epochs are over.
        batches: Batches of the current epoch that an update has consumed.
        step: Updates so far, over all epochs.
        loss_sum: The loss of all training texts since the last record, summed.
        loss_weight: How many texts these were (with class weights: their weights' sum).
        seconds: Time spent so far, over all interruptions.
        learning_rate: The rate of the update made last (the first group's).
        evaluation: The values of the evaluation made last; empty before the first.
        best_value: The best value of `monitor` so far, or None.
        best_step: The step it was reached at.
        history: The records so far.
        stop_reason: Why training is to stop, or None.
        last_checkpoint: The folder of the checkpoint written last, or None.
        run_id: What tells the run from others; it stays the same when resuming.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    epochs: int
    monitor: str = "loss"
    mode: str = "min"
    steps_per_epoch: int | None = None
    evaluation_names: tuple[str, ...] = ()
    completed_epochs: int = 0
    batches: int = 0
    step: int = 0
    loss_sum: float = 0.0
    loss_weight: float = 0.0
    seconds: float = 0.0
    learning_rate: float = 0.0
    evaluation: Mapping[str, float] = field(default_factory=dict)
    best_value: float | None = None
    best_step: int = 0
    history: History = field(default_factory=History)
    stop_reason: str | None = None
    last_checkpoint: str | None = None
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def epoch(self) -> int:
        """The epoch that is under way, from 1 (the last one when all are over)."""
        return min(self.completed_epochs + 1, self.epochs)

    @property
    def loss(self) -> float:
        """The mean loss of the training texts since the last record; NaN before the first."""
        return self.loss_sum / self.loss_weight if self.loss_weight else math.nan

    def request_stop(self, reason: str) -> None:
        """Ask training to stop after the current step; the first reason given is kept.

        Args:
            reason: A few words for the user, for example ``"no better loss for 3 evaluations"``.
        """
        if self.stop_reason is None:
            self.stop_reason = reason

    def monitored(self, name: str | None = None) -> float:
        """Return a value of the last evaluation.

        Args:
            name: Its name. Default: `monitor`.

        Returns:
            The value.

        Raises:
            MissingKeyError: If the evaluation has no such value; those it has are listed.
        """
        name = self.monitor if name is None else name
        if name not in self.evaluation:
            raise MissingKeyError(
                f"An evaluation gives no {show(name)}; it gives {listing(self.evaluation)}."
            )
        return self.evaluation[name]

    def improves(self, value: float, best: float | None, *, mode: str | None = None) -> bool:
        """Tell whether a value is better than the best so far.

        Args:
            value: The new value; NaN is never better.
            best: The best so far; None is worse than any number.
            mode: ``"min"`` or ``"max"``. Default: the state's own.

        Returns:
            Whether it is strictly better.
        """
        if math.isnan(value):
            return False
        if best is None:
            return True
        return value < best if (mode or self.mode) == "min" else value > best

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the run and its records as plain values."""
        return {
            **{name: getattr(self, name) for name in _FIELDS},
            "evaluation": dict(self.evaluation),
            "history": json.loads(self.history.to_json()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Args:
            state: Those values.

        Raises:
            CorruptFileError: If one is missing or of another type; nothing has changed then.
        """
        for name, value in read_state(state).items():
            setattr(self, name, value)


# What a resume needs, and of which types it is.
_FIELDS: dict[str, tuple[type, ...]] = {
    "run_id": (str,),
    "completed_epochs": (int,),
    "batches": (int,),
    "step": (int,),
    "loss_sum": (float, int),
    "loss_weight": (float, int),
    "seconds": (float, int),
    "learning_rate": (float, int),
    "best_value": (float, int, type(None)),
    "best_step": (int,),
}


def read_state(state: Any) -> dict[str, Any]:
    """Check what `TrainingState.state_dict` is said to have returned.

    Args:
        state: What was saved.

    Returns:
        The attributes of a `TrainingState` to set.

    Raises:
        CorruptFileError: If one is missing, of another type, or negative where it counts.
    """
    fields = {name: checked(state, name, *types) for name, types in _FIELDS.items()}
    for name in ("completed_epochs", "batches", "step", "best_step"):
        if fields[name] < 0:
            raise CorruptFileError(f"Expected {show(name)} to be a count, not {fields[name]}.")
    evaluation = checked(state, "evaluation", dict)
    for name in evaluation:
        checked(evaluation, name, int, float)
    history = History.from_json(json.dumps(checked(state, "history", list)))
    return {**fields, "evaluation": evaluation, "history": history}


def checked(state: Any, name: str, *types: type) -> Any:
    """Return a value that was saved, if it is there and of the right type.

    Args:
        state: What should be a mapping.
        name: The key.
        *types: Those that will do; a boolean is no number.

    Returns:
        The value.

    Raises:
        CorruptFileError: If it is missing or of another type.

    >>> checked({"step": 3}, "step", int)
    3
    """
    if not isinstance(state, Mapping) or name not in state:
        raise CorruptFileError(f"{show(name)} is missing from {show(state)}.")
    value = state[name]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        names = " or ".join(each.__name__ for each in types)
        raise CorruptFileError(f"Expected {show(name)} to be of type {names}, not {show(value)}.")
    return value
