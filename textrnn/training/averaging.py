"""Averages of the weights over the steps (EMA, SWA), with torch's `AveragedModel`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, cast

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from textrnn.errors import InvalidTypeError, InvalidValueError, check_choice, check_float, expected

__all__ = ["WeightAveraging"]


@dataclass(frozen=True, kw_only=True)
class WeightAveraging:
    """Average the weights over the steps; the average is evaluated and kept.

    Args:
        kind: `"ema"` for an exponential moving average (after Polyak and Juditsky, 1992), or
            `"swa"` for the mean of all steps from `start` on (Izmailov et al., 2018, "Averaging
            weights leads to wider optima and better generalization"). Default: `"ema"`.
        decay: Decay rate of an EMA, between 0 and 1. Default: 0.999.
        start: Share of all steps after which averaging begins. Default: 0.0 for EMA, 0.75 for
            SWA.

    Raises:
        InvalidValueError: If an argument is out of range.

    Example:
        >>> WeightAveraging(kind="swa")
        WeightAveraging(kind='swa', decay=0.999, start=0.75)
    """

    kind: str = "ema"
    decay: float = 0.999
    start: float | None = None

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("ema", "swa"))
        check_float("decay", self.decay, minimum=0.0, maximum=1.0, exclusive=True)
        start = {"ema": 0.0, "swa": 0.75}[self.kind] if self.start is None else self.start
        start = check_float("start", start, minimum=0.0, maximum=1.0)
        object.__setattr__(self, "start", start)

    @classmethod
    def of(cls, value: "str | WeightAveraging") -> Self | "WeightAveraging":
        """Return `value`, or if it is a kind, the averaging of that kind with its defaults."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            rule = "'ema', 'swa' or a WeightAveraging"
            raise InvalidTypeError(expected("weight_averaging", rule, value))
        return cls(kind=check_choice("weight_averaging", value, ("ema", "swa")))

    def first_step(self, total_steps: int | None) -> int:
        """Return the number of steps before averaging begins; an unknown total is None."""
        if not self.start:
            return 0
        if total_steps is None:
            raise InvalidValueError(
                expected("start", "0 for a loader without a length", self.start)
            )
        return int(self.start * total_steps)

    def begin(self, model: nn.Module) -> AveragedModel:
        """Return PyTorch's averaged model, with no step averaged yet."""
        # torch does not annotate these two.
        ema = cast("Callable[[float], Callable[..., None]]", get_ema_multi_avg_fn)
        swa = cast("Callable[[], Callable[..., None]]", get_swa_multi_avg_fn)
        function = ema(self.decay) if self.kind == "ema" else swa()
        return AveragedModel(model, multi_avg_fn=function)
