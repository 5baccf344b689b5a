"""`TrainingState`: the progress of a run, as callbacks see it and a resume restores it."""

import json
import math
import secrets
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from textrnn.errors import CorruptFileError, MissingKeyError, listing, show
from textrnn.training.history import History

__all__ = ["TrainingState", "checked", "metric_name", "read_state"]

# The fields that a resume needs, besides the evaluation and the history.
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


@dataclass(kw_only=True, eq=False)
class TrainingState:
    """The progress of a training run.

    The trainer creates it and passes it to callbacks, which may read it and call `request_stop`.

    Args:
        model: The network in training.
        optimizer: Its optimizer; `optimizer.param_groups` holds the learning rates.
        epochs: Total number of epochs.
        monitor: Metric that selects the best weights. Default: `"loss"`.
        mode: `"min"` or `"max"`: whether lower or higher values of it are better. Default: `"min"`.
        steps_per_epoch: Updates per epoch, or None if the loader has no length. Default: None.
        evaluation_names: Metrics of an evaluation; empty without evaluations. Default: ().
        completed_epochs: Number of completed epochs. Default: 0.
        batches: Consumed batches of the current epoch. Default: 0.
        step: Updates so far, over all epochs. Default: 0.
        loss_sum: Sum of the training loss over the texts since the last record. Default: 0.0.
        loss_weight: Number of these texts, or the sum of their class weights. Default: 0.0.
        seconds: Training time in seconds, including that before interruptions. Default: 0.0.
        learning_rate: Rate of the last update, in the first parameter group. Default: 0.0.
        evaluation: Metrics of the last evaluation. Default: {}.
        best_value: Best value of `monitor`, or None before the first evaluation. Default: None.
        best_step: Step of the best value. Default: 0.
        history: The records. Default: an empty `History`.
        stop_reason: The reason of a requested stop, or None. Default: None.
        last_checkpoint: Folder of the last checkpoint, or None. Default: None.
        run_id: Identifier of the run, kept when resuming. Default: a random one.
    """

    model: nn.Module = field(repr=False)
    optimizer: torch.optim.Optimizer = field(repr=False)
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
    history: History = field(default_factory=History, repr=False)
    stop_reason: str | None = None
    last_checkpoint: str | None = None
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def epoch(self) -> int:
        """The current epoch, from 1; after the end, the last one."""
        return min(self.completed_epochs + 1, self.epochs)

    @property
    def loss(self) -> float:
        """The mean training loss since the last record; NaN if there was no step."""
        return self.loss_sum / self.loss_weight if self.loss_weight else math.nan

    def request_stop(self, reason: str) -> None:
        """Request a stop after the current step; the first of several reasons is kept.

        Args:
            reason: A few words for the user, such as `"no better loss for 3 evaluations"`.
        """
        if self.stop_reason is None:
            self.stop_reason = reason

    def monitored(self, name: str | None = None) -> float:
        """Return a metric of the last evaluation.

        Args:
            name: Name of the metric, such as `"loss"` or, as in the history, `"eval_loss"`.
                Default: `monitor`.

        Returns:
            Its value.

        Raises:
            MissingKeyError: If there is no such metric; the message lists the metrics.
        """
        name = metric_name(self.monitor if name is None else name, self.evaluation)
        if name not in self.evaluation:
            raise MissingKeyError(
                f"The evaluation has no metric {show(name)}; it has {listing(self.evaluation)}."
            )
        return self.evaluation[name]

    def improves(self, value: float, best: float | None, *, mode: str | None = None) -> bool:
        """Return whether a value is strictly better than the best so far.

        Args:
            value: The new value; NaN is never better.
            best: The best value so far; None is worse than any number.
            mode: `"min"` or `"max"`. Default: the state's `mode`.

        Returns:
            Whether the value is better.
        """
        if math.isnan(value):
            return False
        if best is None:
            return True
        return value < best if (mode or self.mode) == "min" else value > best

    def state_dict(self) -> dict[str, Any]:
        """Return the progress and the records as values that JSON can represent."""
        return {
            **{name: getattr(self, name) for name in _FIELDS},
            "evaluation": dict(self.evaluation),
            "history": json.loads(self.history.to_json()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the progress that `state_dict` returned.

        Args:
            state: The returned values.

        Raises:
            CorruptFileError: If a value is missing or of a wrong type; nothing is changed then.
        """
        for name, value in read_state(state).items():
            setattr(self, name, value)


def metric_name(name: str, names: Container[str]) -> str:
    """Return the name of a metric in an evaluation; the history puts `eval_` before it."""
    plain = str(name).removeprefix("eval_")
    return plain if name not in names and plain in names else name


def read_state(state: Any) -> dict[str, Any]:
    """Return the attributes in a saved `TrainingState.state_dict()`, if all of them are valid."""
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
    """Return a saved value if it exists and has one of the types; a boolean is no number."""
    if not isinstance(state, Mapping) or name not in state:
        raise CorruptFileError(f"{show(name)} is missing from {show(state)}.")
    value = state[name]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        names = " or ".join(each.__name__ for each in types)
        raise CorruptFileError(f"Expected {show(name)} to be of type {names}, not {show(value)}.")
    return value
