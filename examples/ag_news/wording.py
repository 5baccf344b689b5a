"""Sentences of the report, made from the figures of an `Analysis`."""

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
    "AG News": "These are all texts of the notebook.",
    "AG-33k": (
        "AG-33k is a part of the notebook's 120,000 training texts; half of it has no titles. "
        "Accuracies can't be compared with those of the notebook, but differences between "
        "experiments can."
    ),
    "AG-78k": (
        "AG-78k is 65 % of the notebook's 120,000 training texts; a quarter of it has no titles. "
        "Accuracies can be shown beside those of the notebook, but do not replace them."
    ),
    "sample": (
        "The sample only demonstrates the program. It is far too small for conclusions about the "
        "experiments."
    ),
}


def percent(share: float) -> str:
    """Format a share as a percentage with two decimals, without the percent sign."""
    return f"{100 * share:.2f}"


def points(difference: float) -> str:
    """Format a difference of shares in percentage points, with its sign."""
    return f"{100 * difference:+.2f}"


def probability(p_value: float) -> str:
    """Format a p-value."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Format a number with its noun: `1 run`, `2 runs`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def names(items: Sequence[str]) -> Line:
    """Join names, as code, with commas and "and"."""
    parts: list[str | Code] = []
    for place, item in enumerate(items):
        if place:
            parts.append(" and " if place == len(items) - 1 else ", ")
        parts.append(Code(item))
    return line(*parts)


def about_data(analysis: Analysis) -> Line:
    """Describe the data."""
    data = analysis.data
    return line(
        f"{counted(len(analysis.results), 'run')} of "
        f"{counted(len(analysis.rows), 'experiment')} on ",
        Strong("the included sample" if data["name"] == "sample" else data["name"]),
        f": {data['train_texts']:,} training texts, {data['validation_texts']:,} validation texts "
        f"and {data['test_texts']:,} test texts. ",
        _DATA.get(data["name"], "These are not the texts of the notebook."),
        *(
            f" With the preset {preset.name!r}, all experiments ran with {preset.summary}; "
            "descriptions of changes refer to the full settings."
            for preset in (PRESETS.get(result.preset) for result in analysis.results[:1])
            if preset is not None and preset.name != "full"
        ),
    )


def about_changes(analysis: Analysis) -> list[Line]:
    """List the changes that helped, hurt, and made no significant difference."""
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
        lines.append(line(Strong("No significant difference:"), " ", what, "."))
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
    """Name comparisons with several changed settings."""
    lines = []
    for item in analysis.comparisons:
        if len(item.changes) > 1:
            what = ", ".join(item.changes)
            lines.append(
                line(
                    Code(item.child),
                    f" differs from its parent in {len(item.changes)} settings at once ({what}), "
                    "so its effect cannot be attributed to one of them.",
                )
            )
    return lines


def about_seeds(analysis: Analysis) -> Line:
    """State the number of seeds of the comparisons."""
    fewest = min(len(item.seeds) for item in analysis.comparisons)
    most = max(len(item.seeds) for item in analysis.comparisons)
    if most == 1:
        return line(
            "Each comparison is between one pair of trained models. The test shows whether these "
            "two differ; it does not show the variation between seeds."
        )
    number = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    spreads = [row.seed_spread for row in analysis.rows if row.seed_spread is not None]
    return line(
        f"Each comparison is between {number} pairs of trained models, one per seed, with their "
        "answers summed per text. Between seeds, the accuracy of an experiment has a standard "
        f"deviation of {percent(min(spreads))} to {percent(max(spreads))} points."
    )


def about_flattery(analysis: Analysis) -> Line:
    """Compare the notebook's method with the honest one."""
    excess = [result.best_look - result.accuracy for result in analysis.results]
    mean = statistics.fmean(excess)
    direction = "higher" if mean >= 0 else "lower"
    higher = sum(value > 0 for value in excess)
    several = ""
    if len(excess) > 1:
        several = (
            f" on average (higher in {higher} of {len(excess)} runs, between "
            f"{points(min(excess))} and {points(max(excess))})"
        )
    return line(
        "By the notebook's method, the accuracy of a run is ",
        Strong(f"{abs(100 * mean):.2f} points {direction}"),
        f" than by the honest one{several}.",
    )


def about_parts_of_flattery(analysis: Analysis) -> Line:
    """Split that difference into the effects of selection and of the draw."""
    choosing = statistics.fmean(row.reading - row.drawn for row in analysis.rows)
    drawing = statistics.fmean(row.drawn - row.accuracy for row in analysis.rows)
    return line(
        "The difference has two parts. Selection: the best evaluation, instead of the checkpoint "
        "selected on the validation part, both on the drawn texts: ",
        Strong(f"{points(choosing)} points"),
        ". Draw: that checkpoint on the drawn texts, instead of all test texts: ",
        Strong(f"{points(drawing)} points"),
        "." if len(analysis.rows) == 1 else " (means over the experiments).",
    )


def about_stability(analysis: Analysis) -> Line:
    """Describe the variation of the accuracy during training."""
    rows = [row for row in analysis.rows if row.stability is not None]
    if not rows:
        return line("The runs are too short to measure the stability of convergence.")
    ranked = sorted(rows, key=lambda row: row.stability.spread)  # type: ignore[union-attr] # filtered above
    steady, restless = ranked[0], ranked[-1]
    swings = sum(row.stability.swings for row in rows if row.stability)
    real = sum(row.stability.significant_swings for row in rows if row.stability)
    total = f"{counted(swings, 'difference')} between successive evaluations"
    verdict = (
        f"None of the {total} is significant"
        if not real
        else f"{real:,} of {total} {'is' if real == 1 else 'are'} significant"
    )
    spread = line(
        "After the first third of training, the evaluations of a run have a standard deviation of ",
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
    """Name the best model and those that do not differ significantly from it."""
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
        return line(first, " It differs significantly from every other experiment.")
    others = len(analysis.rows) - 1
    if len(rivals) == others:
        which = f"any of the {others} others" if others > 1 else "the other"
        return line(first, f" It does not differ significantly from {which}.")
    return line(first, " It does not differ significantly from ", names(rivals), ".")


def about_grade(analysis: Analysis) -> Line:
    """Grade the best model by the notebook's scale."""
    best = analysis.best
    honest, reading = grade(best.accuracy), grade(best.reading)
    first = line(
        "The notebook's task gave one point from 90 % on, two from 91 % and three from 91.5 %. "
        f"The honest accuracy of {percent(best.accuracy)} % gives ",
        Strong(_POINTS[honest]),
    )
    if honest == reading:
        return line(first, f", and so does {percent(best.reading)} % by the notebook's method.")
    return line(
        first,
        f"; {percent(best.reading)} % by the notebook's method would give ",
        _POINTS[reading],
        ".",
    )


def about_search(analysis: Analysis) -> Line | None:
    """Describe the result of the search on the validation part."""
    found = [row for row in analysis.rows if row.group == "search"]
    parent = next((row for row in analysis.rows if found and row.name == found[0].parent), None)
    if not found or parent is None:
        return None
    top = max(found, key=lambda row: row.validation)
    gain = top.validation - parent.validation
    runs = f"Of the {counted(len(found), 'setting')} of the search, "
    if gain <= 0:
        return line(
            runs,
            "none has a higher validation accuracy than ",
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
    """Name the classes with the best and the worst recall, and the most common mistake."""
    totals = counts.sum(axis=1)
    shares = counts.diagonal() / totals.clip(min=1)
    best, worst = int(shares.argmax()), int(shares.argmin())
    wrong = counts - np.diag(counts.diagonal())
    if not wrong.any():
        return line("Every test text is classified correctly.")
    label, prediction = divmod(int(wrong.argmax()), len(CLASSES))
    number = int(wrong[label, prediction])
    return line(
        f"{CLASSES[best]} has the highest recall ({percent(shares[best])} %), {CLASSES[worst]} the "
        f"lowest ({percent(shares[worst])} %). The most common mistake is {CLASSES[label]} "
        f"predicted as {CLASSES[prediction]}: {number:,} of {counted(int(totals[label]), 'text')}."
    )


def about_missing(analysis: Analysis) -> list[Line]:
    """List experiments without a result."""
    begun = {name for name, _ in analysis.unfinished}
    others = [name for name in analysis.missing if name not in begun]
    lines = []
    if begun:
        runs = [f"{name} (seed {seed})" for name, seed in analysis.unfinished]
        lines.append(line(Strong("Started but not finished:"), " ", names(runs), "."))
    if others:
        lines.append(line(Strong("Not run:"), " ", names(others), "."))
    return lines
