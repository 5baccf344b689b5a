"""The report's sentences: each follows from the figures of an `Analysis`."""

import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from examples.ag_news.analysis import Analysis, Comparison, Row, grade
from examples.ag_news.data import CLASSES
from examples.ag_news.document import Code, Line, Strong, line
from examples.ag_news.experiments import PRESETS

__all__ = [
    "about_best",
    "about_changes",
    "about_confusion",
    "about_data",
    "about_flattery",
    "about_grade",
    "about_missing",
    "about_parts_of_flattery",
    "about_search",
    "about_seeds",
    "about_stability",
    "about_two_changes",
    "counted",
    "percent",
    "points",
    "probability",
]

_POINTS = ("no point", "one point", "two points", "three points")
_DATA = {
    "AG News": "These are all the texts that the notebook had.",
    "AG-33k": (
        "AG-33k is a part of the 120,000 training texts that the notebook had, half of it without "
        "titles. So the figures measured here can't be held against the notebook's own; the "
        "differences between experiments can."
    ),
    "AG-78k": (
        "AG-78k is 65 % of the 120,000 training texts that the notebook had, a quarter of it "
        "without titles. The figures measured here can stand beside the notebook's, but "
        "not for them."
    ),
    "sample": (
        "The sample is there to see the program work. It is far too small for conclusions about "
        "the experiments."
    ),
}


def percent(share: float) -> str:
    """Write a share as a percentage with two decimals, without the sign."""
    return f"{100 * share:.2f}"


def points(difference: float) -> str:
    """Write a difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.2f}"


def probability(p_value: float) -> str:
    """Write a p-value."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Write a number with its noun: ``1 run``, ``2 runs``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def names(items: Sequence[str]) -> Line:
    """Write names as code, with commas between them and an "and" before the last."""
    parts: list[str | Code] = []
    for place, item in enumerate(items):
        if place:
            parts.append(" and " if place == len(items) - 1 else ", ")
        parts.append(Code(item))
    return line(*parts)


def about_data(analysis: Analysis) -> Line:
    """Say what was trained and tested on."""
    data = analysis.data
    return line(
        f"{counted(len(analysis.results), 'run')} of "
        f"{counted(len(analysis.rows), 'experiment')} on ",
        Strong("the carried sample" if data["name"] == "sample" else data["name"]),
        f": {data['train_texts']:,} texts to train on, {data['validation_texts']:,} more to choose "
        f"checkpoints by, {data['test_texts']:,} test texts. ",
        _DATA.get(data["name"], "These are not the notebook's texts."),
        *(
            f" With the preset {preset.name!r}, all were run with {preset.summary}; what an "
            "experiment is said to change is meant before that."
            for preset in (PRESETS.get(result.preset) for result in analysis.results[:1])
            if preset is not None and preset.name != "full"
        ),
    )


def about_changes(analysis: Analysis) -> list[Line]:
    """Say which changes helped, which hurt, and which made no difference that shows."""
    if not analysis.comparisons:
        return [line("No experiment can be compared with its parent yet.")]
    groups = {
        verdict: [item for item in analysis.comparisons if item.verdict == verdict]
        for verdict in ("helped", "hurt", "open")
    }
    total = counted(len(analysis.comparisons), "change")
    helped, hurt, unclear = groups["helped"], groups["hurt"], groups["open"]
    lines = []
    if helped:
        lines.append(line(Strong("Helped:"), " ", _effects(helped), "."))
    else:
        lines.append(line(Strong("Helped:"), " ", f"none of the {total} compared."))
    if hurt:
        lines.append(line(Strong("Hurt:"), " ", _effects(hurt), "."))
    else:
        lines.append(line(Strong("Hurt:"), " ", f"none of the {total} compared."))
    if unclear:
        what = names([item.child for item in unclear])
        lines.append(line(Strong("No difference shown:"), " ", what, "."))
    return lines


def _effects(items: Sequence[Comparison]) -> Line:
    largest_first = sorted(items, key=lambda item: -abs(item.difference))
    parts: list[Line] = []
    for place, item in enumerate(largest_first):
        comma = ", " if place else ""
        effect = f" ({points(item.difference)} points against "
        parts.append(line(comma, Code(item.child), effect, Code(item.parent), ")"))
    return line(*parts)


def about_two_changes(analysis: Analysis) -> list[Line]:
    """Name the comparisons whose effect can't be put down to one setting."""
    lines = []
    for item in analysis.comparisons:
        if len(item.changes) > 1:
            what = ", ".join(item.changes)
            lines.append(
                line(
                    Code(item.child),
                    f" differs from its parent in {len(item.changes)} settings at once ({what}), "
                    "so its effect can't be put down to one of them.",
                )
            )
    return lines


def about_seeds(analysis: Analysis) -> Line:
    """Say what the comparisons rest on: one pair of models each, or several."""
    fewest = min(len(item.seeds) for item in analysis.comparisons)
    most = max(len(item.seeds) for item in analysis.comparisons)
    if most == 1:
        return line(
            "Each comparison is of one pair of trained models. The test says whether these two "
            "differ; how much of that another seed would change, one pair can't tell."
        )
    number = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    spreads = [row.seed_spread for row in analysis.rows if row.seed_spread is not None]
    return line(
        f"Each comparison is of {number} pairs of trained models, one for each seed, and adds up "
        "their answers text by text. From seed to seed an experiment's accuracy has a standard "
        f"deviation of {percent(min(spreads))} to {percent(max(spreads))} points."
    )


def about_flattery(analysis: Analysis) -> Line:
    """Say how much the notebook's way of reading adds."""
    excess = [result.best_look - result.accuracy for result in analysis.results]
    mean = statistics.fmean(excess)
    direction = "more" if mean >= 0 else "less"
    higher = sum(value > 0 for value in excess)
    several = ""
    if len(excess) > 1:
        several = (
            f" on average (higher in {higher} of {len(excess)} runs, between "
            f"{points(min(excess))} and {points(max(excess))})"
        )
    return line(
        "Read the notebook's way, a run's accuracy is ",
        Strong(f"{abs(100 * mean):.2f} points {direction}"),
        f" than read honestly{several}.",
    )


def about_parts_of_flattery(analysis: Analysis) -> Line:
    """Tell what choosing by test texts adds from what the draw adds."""
    choosing = statistics.fmean(row.reading - row.drawn for row in analysis.rows)
    drawing = statistics.fmean(row.drawn - row.accuracy for row in analysis.rows)
    return line(
        "Two things go into that. Choosing: the best look against the checkpoint that the "
        "validation part chose, both on the texts drawn, makes ",
        Strong(f"{points(choosing)} points"),
        ". Drawing: that checkpoint on the texts drawn against all test texts makes ",
        Strong(f"{points(drawing)} points"),
        "." if len(analysis.rows) == 1 else " (means over the experiments).",
    )


def about_stability(analysis: Analysis) -> Line:
    """Answer with numbers whether convergence is stable."""
    rows = [row for row in analysis.rows if row.stability is not None]
    if not rows:
        return line("The runs are too short to tell whether they converge steadily.")
    ranked = sorted(rows, key=lambda row: row.stability.spread)  # type: ignore[union-attr] # filtered above
    steady, restless = ranked[0], ranked[-1]
    swings = sum(row.stability.swings for row in rows if row.stability)
    real = sum(row.stability.significant_swings for row in rows if row.stability)
    share = f"{real:,} of {counted(swings, 'swing')} from one look to the next "
    verdict = (
        f"None of the {counted(swings, 'swing')} from one look to the next is significant"
        if not real
        else share + ("is" if real == 1 else "are") + " significant"
    )
    spread = line(
        "After the first third of training, the looks of a run have a standard deviation of ",
        Strong(f"{_spread(steady)} points"),
        *(
            line(" (", Code(steady.name), ")")
            if steady is restless
            else line(
                " (",
                Code(steady.name),
                ") to ",
                Strong(f"{_spread(restless)} points"),
                " (",
                Code(restless.name),
                ")",
            )
        ),
        ". ",
    )
    return line(spread, verdict, " (McNemar's test, corrected within each run).")


def _spread(row: Row) -> str:
    return percent(row.stability.spread) if row.stability else ""


def about_best(analysis: Analysis) -> Line:
    """Say which model is best, and what the test texts don't tell from it."""
    best, rivals = analysis.best, [row.name for row in analysis.rivals]
    low, high = best.interval
    first = line(
        Code(best.name),
        f" has the best validation accuracy ({percent(best.validation)} %). On the test texts it "
        "reaches ",
        Strong(f"{percent(best.accuracy)} %"),
        f" (95 % interval {percent(low)} to {percent(high)}).",
    )
    if len(analysis.rows) == 1:
        return line(first, " There is no other experiment to compare it with.")
    if not rivals:
        return line(first, " It differs from every other experiment more than chance explains.")
    others = len(analysis.rows) - 1
    if len(rivals) == others:
        text = f" The test texts don't tell it from any of the {others} others."
        return line(first, text if others > 1 else " The test texts don't tell it from the other.")
    return line(first, " The test texts don't tell it from ", names(rivals), ".")


def about_grade(analysis: Analysis) -> Line:
    """Give the best model's grade by the notebook's scale."""
    best = analysis.best
    honest, reading = grade(best.accuracy), grade(best.reading)
    first = line(
        "The notebook's task gave one point from 90 % on, two from 91 % and three from 91.5 %. "
        f"Read honestly, {percent(best.accuracy)} % make ",
        Strong(_POINTS[honest]),
    )
    if honest == reading:
        return line(first, f"; read the notebook's way, {percent(best.reading)} % make as many.")
    return line(
        first,
        f"; read the notebook's way, {percent(best.reading)} % would make ",
        _POINTS[reading],
        ".",
    )


def about_search(analysis: Analysis) -> Line | None:
    """Say what the small search found, judged by the validation part."""
    found = [row for row in analysis.rows if row.group == "search"]
    parent = next((row for row in analysis.rows if found and row.name == found[0].parent), None)
    if not found or parent is None:
        return None
    top = max(found, key=lambda row: row.validation)
    gain = top.validation - parent.validation
    runs = f"Of the {counted(len(found), 'setting')} that the search tried, "
    if gain <= 0:
        return line(
            runs,
            "none has a better validation accuracy than ",
            Code(parent.name),
            f" ({percent(parent.validation)} %).",
        )
    return line(
        runs,
        Code(top.name),
        f" has the best validation accuracy: {percent(top.validation)} %, {points(gain)} points "
        "against ",
        Code(parent.name),
        ".",
    )


def about_confusion(counts: NDArray[np.int64]) -> Line:
    """Name the best and the worst class, and the most common confusion."""
    totals = counts.sum(axis=1)
    shares = counts.diagonal() / totals.clip(min=1)
    best, worst = int(shares.argmax()), int(shares.argmin())
    wrong = counts - np.diag(counts.diagonal())
    if not wrong.any():
        return line("Every test text is right.")
    label, prediction = divmod(int(wrong.argmax()), len(CLASSES))
    number = int(wrong[label, prediction])
    return line(
        f"{CLASSES[best]} is recognised best ({percent(shares[best])} % of its texts), "
        f"{CLASSES[worst]} least ({percent(shares[worst])} %). The most common mistake is "
        f"{CLASSES[label]} taken for {CLASSES[prediction]}: {counted(number, 'text')} of "
        f"{int(totals[label]):,}."
    )


def about_missing(analysis: Analysis) -> list[Line]:
    """Say what has no result, and why."""
    begun = {name for name, _ in analysis.unfinished}
    others = [name for name in analysis.missing if name not in begun]
    lines = []
    if begun:
        runs = [f"{name} (seed {seed})" for name, seed in analysis.unfinished]
        lines.append(line(Strong("Begun, but not finished:"), " ", names(runs), "."))
    if others:
        lines.append(line(Strong("Not run:"), " ", names(others), "."))
    return lines
