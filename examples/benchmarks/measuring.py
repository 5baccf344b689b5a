"""How things are timed: in turns with their baseline, several times, medians with spreads."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One row of the table.

    Args:
        name: What was measured.
        against: What it was measured against; empty for a plain figure.
        unit: What `value` counts: `"x"` for a ratio.
        value: The median.
        low: The least of the repetitions.
        high: The greatest of the repetitions.
        bar: What `value` must reach, or None.
        aim: What it should reach, or None.
        smaller_is_better: Whether the bar is an upper one.
        details: Whatever else is worth keeping, as plain values.
    """

    name: str
    against: str = ""
    unit: str = "x"
    value: float
    low: float
    high: float
    bar: float | None = None
    aim: float | None = None
    smaller_is_better: bool = False
    details: dict[str, Any] = field(default_factory=dict)

    def reaches(self, goal: float | None) -> bool | None:
        """Tell whether the median reaches a goal; None where there is no goal."""
        if goal is None:
            return None
        return self.value <= goal if self.smaller_is_better else self.value >= goal

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain values."""
        return asdict(self)


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds a call takes, without a garbage collection in it."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    finally:
        gc.enable()


def in_turns(
    ours: Callable[[], object], theirs: Callable[[], object], *, repeats: int, warm_up: int = 1
) -> tuple[list[float], list[float]]:
    """Time two pieces of work in turns, so that a drifting machine slows both alike.

    Args:
        ours: The one.
        theirs: The other.
        repeats: How many times each is timed.
        warm_up: How many times each runs before, untimed.

    Returns:
        The seconds of each call of the one, and of the other.
    """
    for _ in range(warm_up):
        ours()
        theirs()
    pairs = [(timed(ours), timed(theirs)) for _ in range(repeats)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def ratio(
    name: str,
    against: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    work: tuple[float, float] = (1.0, 1.0),
    bar: float | None = None,
    aim: float | None = None,
    **details: Any,
) -> Measurement:
    """Make a row of how many times as fast the one is as the other.

    Args:
        name: What was measured.
        against: What it was measured against.
        ours: Seconds of each call of the one.
        theirs: Seconds of each call of the other, in the same turns.
        work: How much work a call of each does, in the same unit; the ratio is of work per second.
        bar: What the ratio must reach.
        aim: What it should reach.
        **details: Whatever else is worth keeping.

    Returns:
        The row, with the median of the turns' ratios.
    """
    ratios = [
        (work[0] / mine) / (work[1] / other) for mine, other in zip(ours, theirs, strict=True)
    ]
    rates = {
        "per_second": work[0] / statistics.median(ours),
        "per_second_baseline": work[1] / statistics.median(theirs),
    }
    return Measurement(
        name=name,
        against=against,
        value=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        bar=bar,
        aim=aim,
        details={**rates, "repeats": len(ratios), **details},
    )


def figure(
    name: str,
    values: Sequence[float],
    *,
    unit: str,
    bar: float | None = None,
    aim: float | None = None,
    smaller_is_better: bool = True,
    **details: Any,
) -> Measurement:
    """Make a row of a plain figure, from its repetitions."""
    return Measurement(
        name=name,
        unit=unit,
        value=statistics.median(values),
        low=min(values),
        high=max(values),
        bar=bar,
        aim=aim,
        smaller_is_better=smaller_is_better,
        details={"repeats": len(values), **details},
    )
