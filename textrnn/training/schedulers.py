"""Learning-rate schedules by name, all of them over PyTorch's own schedulers.

Each function returns a `SchedulerFactory`, which makes the scheduler once the optimizer and the
number of steps are known, and raises an `InvalidValueError` or `InvalidTypeError` if an argument is
invalid. Rates are relative to those of the optimizer, so parameter groups keep their ratio.

Example:
    >>> from textrnn.training import schedulers
    >>> factory = schedulers.linear_warmup(warmup=2)
    >>> schedulers.simulate(factory, lr=3.0, total_steps=5)
    [1.0, 2.0, 3.0, 2.0, 1.0]
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
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
    InvalidValueError,
    MissingKeyError,
    check_choice,
    check_float,
    check_int,
    expected,
    listing,
    show,
)

__all__ = [
    "NAMES",
    "Interval",
    "SchedulerFactory",
    "by_name",
    "constant",
    "cosine",
    "cosine_warmup",
    "exponential",
    "linear_warmup",
    "one_cycle",
    "plateau",
    "simulate",
    "slanted_triangular",
    "step",
]

Interval: TypeAlias = Literal["step", "evaluation", "epoch"]
"""When a scheduler's `step()` is called: after each training step, evaluation or epoch."""


@dataclass(frozen=True)
class SchedulerFactory:
    """A schedule without its optimizer yet; it can be compared, printed and written to JSON.

    Calling it again with the same optimizer starts the schedule anew, from the rates that the
    optimizer had before the first call (its parameter groups keep them as `base_lr`).

    Args:
        name: One of `NAMES`.
        arguments: The keyword arguments of the function with this name, without `interval`.
        interval: When to step: `"step"`, `"evaluation"` or `"epoch"`.

    Raises:
        MissingKeyError: If there is no schedule of this name.
        InvalidValueError: If there is no such interval.

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
        _check_name(self.name)
        check_choice("interval", self.interval, get_args(Interval))
        object.__setattr__(self, "arguments", dict(self.arguments))

    def __call__(self, optimizer: Optimizer, total_steps: int) -> LRScheduler:
        """Make the scheduler.

        Args:
            optimizer: The optimizer.
            total_steps: Total number of calls of the scheduler's `step()`.

        Returns:
            The scheduler.

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
            group.pop("initial_lr", None)  # left by an earlier scheduler
        return _BUILDERS[self.name](optimizer, total_steps, **self.arguments)

    def __repr__(self) -> str:
        arguments = {**self.arguments, "interval": self.interval}
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"

    def __hash__(self) -> int:
        return hash((self.name, tuple(sorted(self.arguments.items())), self.interval))

    def to_dict(self) -> dict[str, Any]:
        """Return the name and all arguments; `by_name(**data)` makes the factory from them.

        Example:
            >>> SchedulerFactory("cosine", {"min_factor": 0.0}, interval="step").to_dict()
            {'name': 'cosine', 'min_factor': 0.0, 'interval': 'step'}
        """
        return {"name": self.name, **self.arguments, "interval": self.interval}


def constant(*, interval: Interval = "epoch") -> SchedulerFactory:
    """Keep the rate constant.

    Args:
        interval: When to step: `"step"`, `"evaluation"` or `"epoch"`. Default: `"epoch"`.

    Example:
        >>> simulate(constant(), lr=1.0, total_steps=3)
        [1.0, 1.0, 1.0]
    """
    return SchedulerFactory("constant", {}, interval)


def step(
    *, step_size: int = 1, gamma: float = 0.1, interval: Interval = "epoch"
) -> SchedulerFactory:
    """Multiply the rate by `gamma` every `step_size` steps (`torch.optim.lr_scheduler.StepLR`).

    Args:
        step_size: Number of steps between two changes. Default: 1.
        gamma: Factor, above 0. Default: 0.1.
        interval: When to step: `"step"`, `"evaluation"` or `"epoch"`. Default: `"epoch"`.

    Example:
        >>> simulate(step(step_size=2, gamma=0.5), lr=1.0, total_steps=5)
        [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    arguments = {
        "step_size": check_int("step_size", step_size),
        "gamma": _check_positive("gamma", gamma),
    }
    return SchedulerFactory("step", arguments, interval)


def exponential(*, gamma: float = 0.9, interval: Interval = "epoch") -> SchedulerFactory:
    """Multiply the rate by `gamma` at each step (`torch.optim.lr_scheduler.ExponentialLR`).

    Args:
        gamma: Factor, above 0. Default: 0.9.
        interval: When to step: `"step"`, `"evaluation"` or `"epoch"`. Default: `"epoch"`.

    Example:
        >>> simulate(exponential(gamma=0.5), lr=1.0, total_steps=4)
        [1.0, 0.5, 0.25, 0.125]
    """
    return SchedulerFactory("exponential", {"gamma": _check_positive("gamma", gamma)}, interval)


def cosine(*, min_factor: float = 0.0, interval: Interval = "step") -> SchedulerFactory:
    """Lower the rate along half a cosine (Loshchilov and Hutter, 2017, "SGDR", one cycle).

    Args:
        min_factor: Share of the rate that is left after the last step, from 0 to 1. Default: 0.0.
        interval: When to step: `"step"`, `"evaluation"` or `"epoch"`. Default: `"step"`.

    Example:
        >>> rates = simulate(cosine(), lr=1.0, total_steps=4)
        >>> [round(rate, 4) for rate in rates]
        [1.0, 0.8536, 0.5, 0.1464]
    """
    return SchedulerFactory("cosine", {"min_factor": _check_min_factor(min_factor)}, interval)


def one_cycle(
    *,
    max_lr: float | None = None,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    cycle_momentum: bool = True,
    interval: Interval = "step",
) -> SchedulerFactory:
    """Raise the rate to a peak, then lower it far below its start, both along half a cosine.

    From Smith and Topin (2018), "Super-Convergence"; `torch.optim.lr_scheduler.OneCycleLR`.

    Args:
        max_lr: Peak of every parameter group. Default: the optimizer's rates.
        pct_start: Share of the steps before the peak, between 0 and 1. Default: 0.3.
        div_factor: Peak divided by the first rate. Default: 25.0.
        final_div_factor: First rate divided by the last one. Default: 10000.0.
        cycle_momentum: Whether the momentum (or Adam's first beta) falls from 0.95 to 0.85 while
            the rate rises, and the reverse. Optimizers without momentum keep none. Default: True.
        interval: When to step: `"step"`, `"evaluation"` or `"epoch"`. Default: `"step"`.

    Example:
        >>> rates = simulate(one_cycle(pct_start=0.5), lr=1.0, total_steps=6)
        >>> [round(rate, 4) for rate in rates]
        [0.04, 0.52, 1.0, 0.75, 0.25, 0.0]
    """
    arguments = {
        "max_lr": None if max_lr is None else _check_positive("max_lr", max_lr),
        "pct_start": check_float("pct_start", pct_start, minimum=0.0, maximum=1.0, exclusive=True),
        "div_factor": _check_positive("div_factor", div_factor),
        "final_div_factor": _check_positive("final_div_factor", final_div_factor),
        "cycle_momentum": bool(cycle_momentum),
    }
    return SchedulerFactory("one_cycle", arguments, interval)


def linear_warmup(*, warmup: float = 0.1, interval: Interval = "step") -> SchedulerFactory:
    """Raise the rate linearly, then lower it linearly to 0.

    No step has a rate of 0: with `w` warm-up steps, step `t` has `(t + 1) / (w + 1)` of the rate,
    step `w` all of it, and the rate reaches 0 after the last step.

    Args:
        warmup: Steps before the peak, as a share of all steps (a float from 0 to 1) or as their
            number (an integer). Default: 0.1.
        interval: When to step: `"step"`, `"evaluation"` or `"epoch"`. Default: `"step"`.

    Example:
        >>> simulate(linear_warmup(warmup=0.25), lr=1.0, total_steps=4)
        [0.5, 1.0, 0.6666666666666666, 0.3333333333333333]
    """
    return SchedulerFactory("linear_warmup", {"warmup": _check_warmup(warmup)}, interval)


def cosine_warmup(
    *, warmup: float = 0.1, min_factor: float = 0.0, interval: Interval = "step"
) -> SchedulerFactory:
    """Raise the rate linearly as `linear_warmup` does, then lower it along half a cosine.

    Args:
        warmup: Steps before the peak, as a share of all steps (a float from 0 to 1) or as their
            number (an integer). Default: 0.1.
        min_factor: Share of the rate that is left after the last step, from 0 to 1. Default: 0.0.
        interval: When to step: `"step"`, `"evaluation"` or `"epoch"`. Default: `"step"`.

    Example:
        >>> rates = simulate(cosine_warmup(warmup=2), lr=1.0, total_steps=6)
        >>> [round(rate, 4) for rate in rates]
        [0.3333, 0.6667, 1.0, 0.8536, 0.5, 0.1464]
    """
    arguments = {"warmup": _check_warmup(warmup), "min_factor": _check_min_factor(min_factor)}
    return SchedulerFactory("cosine_warmup", arguments, interval)


def slanted_triangular(
    *, cut_fraction: float = 0.1, ratio: float = 32.0, interval: Interval = "step"
) -> SchedulerFactory:
    """Raise the rate linearly and quickly, then lower it linearly and slowly.

    From Howard and Ruder (2018), "Universal Language Model Fine-tuning for Text Classification",
    equation 3: with `cut = floor(T * cut_fraction)`, step `t` has `(1 + p (ratio - 1)) / ratio` of
    the rate, where `p` is `t / cut` before the peak and `1 - (t - cut) / (T - cut)` after it. The
    paper's `cut (1 / cut_fraction - 1)` equals `T - cut` where `T * cut_fraction` is a whole
    number; elsewhere it would lower the rate below 0.

    Args:
        cut_fraction: Share of the steps before the peak, from 0 to 1. Default: 0.1.
        ratio: Peak divided by the lowest rate, at least 1. Default: 32.0.
        interval: When to step: `"step"`, `"evaluation"` or `"epoch"`. Default: `"step"`.

    Example:
        >>> simulate(slanted_triangular(cut_fraction=0.2, ratio=8), lr=8.0, total_steps=10)
        [1.0, 4.5, 8.0, 7.125, 6.25, 5.375, 4.5, 3.625, 2.75, 1.875]
    """
    arguments = {
        "cut_fraction": check_float("cut_fraction", cut_fraction, minimum=0.0, maximum=1.0),
        "ratio": check_float("ratio", ratio, minimum=1.0),
    }
    return SchedulerFactory("slanted_triangular", arguments, interval)


def plateau(
    *,
    factor: float = 0.1,
    patience: int = 2,
    mode: Literal["min", "max"] = "min",
    threshold: float = 1e-4,
    cooldown: int = 0,
    min_lr: float = 0.0,
    interval: Interval = "evaluation",
) -> SchedulerFactory:
    """Lower the rate when a metric stops improving (`torch.optim.lr_scheduler.ReduceLROnPlateau`).

    Args:
        factor: Factor of the rate, between 0 and 1. Default: 0.1.
        patience: Number of steps without improvement to accept. Default: 2.
        mode: `"min"` or `"max"`: whether lower or higher values are better. Default: `"min"`.
        threshold: Smallest change, as a share of the best value, that counts as an improvement.
            Default: 0.0001.
        cooldown: Number of steps to wait after a change. Default: 0.
        min_lr: Lowest rate. Default: 0.0.
        interval: When to step: `"step"`, `"evaluation"` or `"epoch"`. Default: `"evaluation"`.

    Example:
        >>> losses = [3.0, 2.0, 2.0, 2.0, 2.0]
        >>> simulate(plateau(factor=0.5, patience=1), lr=1.0, total_steps=5, values=losses)
        [1.0, 1.0, 1.0, 1.0, 0.5]
    """
    arguments = {
        "factor": check_float("factor", factor, minimum=0.0, maximum=1.0, exclusive=True),
        "patience": check_int("patience", patience, minimum=0),
        "mode": check_choice("mode", mode, ("min", "max")),
        "threshold": check_float("threshold", threshold, minimum=0.0),
        "cooldown": check_int("cooldown", cooldown, minimum=0),
        "min_lr": check_float("min_lr", min_lr, minimum=0.0),
    }
    return SchedulerFactory("plateau", arguments, interval)


def by_name(name: str, **arguments: Any) -> SchedulerFactory:
    """Make a factory by the name of its function, for command lines and configurations.

    Args:
        name: One of `NAMES`.
        **arguments: Keyword arguments of the function.

    Returns:
        The factory.

    Raises:
        MissingKeyError: If there is no such schedule, or it has no such argument.

    Example:
        >>> by_name("exponential", gamma=0.8)
        exponential(gamma=0.8, interval='epoch')
    """
    _check_name(name)
    function: Callable[..., SchedulerFactory] = globals()[name]
    known = inspect.signature(function).parameters
    for argument in arguments:
        if argument not in known:
            raise MissingKeyError(
                f"Expected the arguments of the schedule {name!r} to be among "
                f"{listing(known)}, but got {show(argument)}."
            )
    return function(**arguments)


def simulate(
    factory: Callable[[Optimizer, int], LRScheduler],
    *,
    lr: float = 1e-3,
    total_steps: int,
    values: Sequence[float] | None = None,
) -> list[float]:
    """Return the rate of each step, without training.

    Args:
        factory: A `SchedulerFactory`, or any function of an optimizer and the number of steps.
        lr: The optimizer's rate. Default: 0.001.
        total_steps: Number of steps of the scheduler.
        values: The metric after each step, for `plateau`. Default: zeros.

    Returns:
        The rates, `total_steps` of them.

    Raises:
        InvalidValueError: If there are fewer values than steps, or a number is out of range.

    Example:
        >>> simulate(exponential(gamma=0.5), lr=0.1, total_steps=3)
        [0.1, 0.05, 0.025]
    """
    total_steps = check_int("total_steps", total_steps)
    watched = [0.0] * total_steps if values is None else list(values)
    if len(watched) < total_steps:
        raise InvalidValueError(expected("values", f"{total_steps} numbers", values))
    lr = check_float("lr", lr, minimum=0.0)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr, momentum=0.9)
    scheduler = factory(optimizer, total_steps)
    rates = []
    for value in watched[:total_steps]:
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()  # does nothing without gradients, but PyTorch warns if it is missing
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(value)
        else:
            scheduler.step()
    return rates


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise MissingKeyError(
            f"Expected the name of a schedule to be among {listing(NAMES)}, but got {show(name)}."
        )


def _check_positive(name: str, value: float) -> float:
    return check_float(name, value, minimum=0.0, exclusive=True)


def _check_min_factor(min_factor: float) -> float:
    return check_float("min_factor", min_factor, minimum=0.0, maximum=1.0)


def _check_warmup(warmup: Any) -> float:
    if isinstance(warmup, float):
        return check_float("warmup", warmup, minimum=0.0, maximum=1.0)
    return check_int("warmup", warmup, minimum=0)


# Curves: the share of the rate at step t of `total`, where t is at most `total`.


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


# Builders: functions of the optimizer, the number of steps and the schedule's arguments.


def _curve(
    curve: Callable[..., float], optimizer: Optimizer, total_steps: int, /, **arguments: Any
) -> LRScheduler:
    # A plain function is left out of the scheduler's state, which thus stays free of code.
    return LambdaLR(optimizer, lambda t: curve(min(t, total_steps), total_steps, **arguments))


def _torch(
    kind: Callable[..., LRScheduler], optimizer: Optimizer, _total_steps: int, /, **arguments: Any
) -> LRScheduler:
    return kind(optimizer, **arguments)


def _one_cycle(
    optimizer: Optimizer,
    total_steps: int,
    /,
    *,
    max_lr: float | None,
    pct_start: float,
    cycle_momentum: bool,
    **factors: Any,
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
        **factors,
    )


class _OneCycleLR(OneCycleLR):
    """PyTorch's schedule, which can be resumed with more steps than it was saved with."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        length = {"total_steps", "_schedule_phases"}
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in length})


_BUILDERS: dict[str, Callable[..., LRScheduler]] = {
    "constant": partial(_curve, _constant),
    "cosine": partial(_curve, _cosine),
    "cosine_warmup": partial(_curve, _cosine_warmup),
    "exponential": partial(_torch, ExponentialLR),
    "linear_warmup": partial(_curve, _linear_warmup),
    "one_cycle": _one_cycle,
    "plateau": partial(_torch, ReduceLROnPlateau),
    "slanted_triangular": partial(_curve, _slanted_triangular),
    "step": partial(_torch, StepLR),
}
NAMES: tuple[str, ...] = tuple(_BUILDERS)
"""The names of the schedules, for `by_name`."""
