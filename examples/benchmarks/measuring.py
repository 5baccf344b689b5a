"""Timing: a benchmark and its baseline run in turns; results are medians and spreads."""

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
        name: Name of the benchmark.
        against: Name of the baseline; empty for a figure without one. Default: "".
        unit: Unit of `value`; `"x"` is a ratio. Default: "x".
        value: Median of the repetitions.
        low: Minimum of the repetitions.
        high: Maximum of the repetitions.
        bar: Required value, or None. Default: None.
        aim: Desired value, or None. Default: None.
        smaller_is_better: Whether the bar is an upper limit. Default: False.
        details: Further values for the result file. Default: none.
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
        """Return whether the median reaches a goal, or None without a goal."""
        if goal is None:
            return None
        return self.value <= goal if self.smaller_is_better else self.value >= goal

    def to_dict(self) -> dict[str, Any]:
        """Return the row as a dictionary."""
        return asdict(self)


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of a call, without garbage collection."""
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
    """Time two calls in turns, so that changes of the machine affect both equally."""
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
    """Return a row with the ratio of work per second between a benchmark and its baseline."""
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
    """Return a row with the median of a figure over its repetitions."""
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
