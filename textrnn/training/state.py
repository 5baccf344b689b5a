"""`TrainingState`: where a run stands, which is all that callbacks see and a resume needs."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from textrnn.errors import MissingKeyError, listing, show
from textrnn.training.history import History

__all__ = ["TrainingState", "generator_states", "restore_generators"]


@dataclass(kw_only=True, eq=False)
class TrainingState:
    """Where a training run stands.

    Callbacks read it; of its methods, `request_stop` is theirs to call.

    Args:
        model: the network in training.
        optimizer: its optimizer; ``optimizer.param_groups`` holds the learning rates.
        epochs: how many epochs the run has in all.
        monitor: the value of an evaluation that tells which weights are best.
        mode: ``"min"`` or ``"max"``, whether less or more of it is better.
        steps_per_epoch: updates in an epoch, or None where the loader has no length.
        completed_epochs: how many epochs are over.
        batches: batches of the current epoch that an update has consumed.
        step: updates so far, over all epochs.
        loss_sum: the loss of all training texts since the last record, summed.
        loss_weight: how many texts these were (with class weights: their weights' sum).
        seconds: time spent so far, over all interruptions.
        learning_rate: the rate of the update made last (the first group's).
        evaluation: the values of the evaluation made last; empty before the first.
        best_value: the best value of `monitor` so far, or None.
        best_step: the step it was reached at.
        history: the records so far.
        stop_reason: why training is to stop, or None.
        last_checkpoint: the folder of the checkpoint written last, or None.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    epochs: int
    monitor: str = "loss"
    mode: str = "min"
    steps_per_epoch: int | None = None
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
            reason: a few words for the user, for example ``"no better loss for 3 evaluations"``.
        """
        if self.stop_reason is None:
            self.stop_reason = reason

    def monitored(self, name: str | None = None) -> float:
        """Return a value of the last evaluation.

        Args:
            name: its name. Default: `monitor`.

        Returns:
            The value.

        Raises:
            MissingKeyError: the evaluation has no such value; those it has are listed.
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
            value: the new value; NaN is never better.
            best: the best so far; None is worse than any number.
            mode: ``"min"`` or ``"max"``. Default: the state's own.

        Returns:
            Whether it is strictly better.
        """
        if math.isnan(value):
            return False
        if best is None:
            return True
        return value < best if (mode or self.mode) == "min" else value > best

    _NUMBERS = (
        "completed_epochs",
        "batches",
        "step",
        "loss_sum",
        "loss_weight",
        "seconds",
        "learning_rate",
        "best_value",
        "best_step",
    )

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the run and its records as plain values."""
        numbers = {name: getattr(self, name) for name in self._NUMBERS}
        return {**numbers, "evaluation": dict(self.evaluation), "history": self.history.to_json()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Args:
            state: those values.

        Raises:
            KeyError: one is missing.
            CorruptFileError: the history is none.
        """
        history = History.from_json(state["history"])
        numbers = {name: state[name] for name in self._NUMBERS}
        for name, value in numbers.items():
            setattr(self, name, value)
        self.evaluation = dict(state["evaluation"])
        self.history = history


def generator_states() -> dict[str, Any]:
    """Return the states of the global generators: Python's, NumPy's, torch's on every device.

    Returns:
        Plain values and tensors that `restore_generators` takes back.
    """
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 # the global one
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [str(kind), np.asarray(keys).tolist(), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_generators(states: Mapping[str, Any]) -> None:
    """Set the global generators to what `generator_states` returned.

    Args:
        states: its result; generators of GPUs that are not there are left out.
    """
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, position, has_gauss, cached = states["numpy"]
    numpy_state = (kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached)
    np.random.set_state(numpy_state)  # noqa: NPY002 # the global one
    torch.set_rng_state(states["torch"])
    cuda: list[Tensor] = list(states["cuda"])
    if torch.cuda.is_available():
        for device, state in enumerate(cuda[: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, device)
