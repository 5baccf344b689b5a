"""What a named schedule is: a value that becomes one of PyTorch's schedulers on demand."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ExponentialLR,
    LambdaLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

from textrnn.errors import (
    InvalidTypeError,
    MissingKeyError,
    check_choice,
    check_int,
    expected,
    listing,
    show,
)

__all__ = ["Interval", "SchedulerFactory"]

Interval: TypeAlias = Literal["step", "evaluation", "epoch"]
"""After what a scheduler's ``step()`` is called."""


@dataclass(frozen=True)
class SchedulerFactory:
    """A schedule that waits for its optimizer; the functions of `schedulers` make it.

    Calling it again with the same optimizer starts the schedule anew, from the rates that the
    optimizer had before the first call (its parameter groups remember them as ``base_lr``).

    Attributes:
        name: The name of the function that made it.
        arguments: The function's keyword arguments, `interval` aside.
        interval: After what the scheduler's ``step()`` is to be called.

    Example:
        >>> factory = SchedulerFactory("exponential", {"gamma": 0.5}, interval="epoch")
        >>> factory
        exponential(gamma=0.5, interval='epoch')
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        >>> type(factory(optimizer, total_steps=15)).__name__
        'ExponentialLR'
    """

    name: str
    arguments: Mapping[str, Any]
    interval: Interval

    def __post_init__(self) -> None:
        known = [*_CURVES, *_BUILDERS]
        if self.name not in known:
            raise MissingKeyError(
                f"Expected the name of a schedule to be among {listing(known)}, "
                f"but got {show(self.name)}."
            )
        check_choice("interval", self.interval, get_args(Interval))
        object.__setattr__(self, "arguments", dict(self.arguments))

    def __call__(self, optimizer: Optimizer, total_steps: int) -> LRScheduler:
        """Make the scheduler.

        Args:
            optimizer: Whose rates to schedule.
            total_steps: How often the scheduler's ``step()`` will be called in all.

        Raises:
            InvalidTypeError: If `optimizer` is no optimizer or `total_steps` is no integer.
            InvalidValueError: If `total_steps` is below 1.
        """
        if not isinstance(getattr(optimizer, "param_groups", None), list):
            raise InvalidTypeError(expected("optimizer", "a torch.optim.Optimizer", optimizer))
        total_steps = check_int("total_steps", total_steps)
        for group in optimizer.param_groups:
            present = group["lr"]
            rate = group.setdefault("base_lr", float(present))
            group["lr"] = torch.full_like(present, rate) if isinstance(present, Tensor) else rate
            group.pop("initial_lr", None)  # an earlier scheduler's
        if self.name in _BUILDERS:
            return _BUILDERS[self.name](optimizer, total_steps, **self.arguments)
        curve = partial(_CURVES[self.name], **self.arguments)
        # A plain function is left out of the scheduler's state, which thus stays free of code.
        return LambdaLR(optimizer, lambda t: curve(min(t, total_steps), total_steps))

    def __repr__(self) -> str:
        arguments = {**self.arguments, "interval": self.interval}
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"

    def __hash__(self) -> int:
        return hash((self.name, tuple(sorted(self.arguments.items())), self.interval))

    def to_dict(self) -> dict[str, Any]:
        """Return the name and all arguments as plain data, from which ``by_name(**data)`` makes it.

        Example:
            >>> SchedulerFactory("cosine", {"min_factor": 0.0}, interval="step").to_dict()
            {'name': 'cosine', 'min_factor': 0.0, 'interval': 'step'}
        """
        return {"name": self.name, **self.arguments, "interval": self.interval}


# The part of the rate at step t of `total`; t is at most `total`.


def _constant(_t: int, _total: int) -> float:
    return 1.0


def _cosine(t: int, total: int, *, min_factor: float) -> float:
    return min_factor + (1 - min_factor) * (1 + math.cos(math.pi * t / total)) / 2


def _linear_warmup(t: int, total: int, *, warmup: float) -> float:
    peak = _warmup_steps(warmup, total)
    return (t + 1) / (peak + 1) if t < peak else (total - t) / max(1, total - peak)


def _cosine_warmup(t: int, total: int, *, warmup: float, min_factor: float) -> float:
    peak = _warmup_steps(warmup, total)
    if t < peak:
        return (t + 1) / (peak + 1)
    return _cosine(t - peak, max(1, total - peak), min_factor=min_factor)


def _slanted_triangular(t: int, total: int, *, cut_fraction: float, ratio: float) -> float:
    cut = math.floor(total * cut_fraction)
    p = t / cut if t < cut else 1 - (t - cut) / max(1, total - cut)
    return (1 + p * (ratio - 1)) / ratio


def _warmup_steps(warmup: float, total: int) -> int:
    return warmup if isinstance(warmup, int) else round(warmup * total)


class _OneCycleLR(OneCycleLR):
    """PyTorch's schedule, which may be resumed with more steps than it was saved with."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        length = {"total_steps", "_schedule_phases"}
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in length})


def _build_one_cycle(
    optimizer: Optimizer,
    total_steps: int,
    *,
    max_lr: float | None,
    pct_start: float,
    cycle_momentum: bool,
    div_factor: float,
    final_div_factor: float,
) -> LRScheduler:
    if pct_start * total_steps == 1:
        pct_start = math.nextafter(pct_start, 0.0)  # PyTorch would divide by zero
    has_momentum = "betas" in optimizer.defaults or bool(optimizer.defaults.get("momentum"))
    return _OneCycleLR(
        optimizer,
        [float(group["lr"]) if max_lr is None else max_lr for group in optimizer.param_groups],
        total_steps=total_steps,
        pct_start=pct_start,
        cycle_momentum=cycle_momentum and has_momentum,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
    )


def _build_step(optimizer: Optimizer, _total: int, **arguments: Any) -> LRScheduler:
    return StepLR(optimizer, **arguments)


def _build_exponential(optimizer: Optimizer, _total: int, **arguments: Any) -> LRScheduler:
    return ExponentialLR(optimizer, **arguments)


def _build_plateau(optimizer: Optimizer, _total: int, **arguments: Any) -> LRScheduler:
    return ReduceLROnPlateau(optimizer, **arguments)


_CURVES: dict[str, Callable[..., float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "cosine_warmup": _cosine_warmup,
    "linear_warmup": _linear_warmup,
    "slanted_triangular": _slanted_triangular,
}
_BUILDERS: dict[str, Callable[..., LRScheduler]] = {
    "exponential": _build_exponential,
    "one_cycle": _build_one_cycle,
    "plateau": _build_plateau,
    "step": _build_step,
}
