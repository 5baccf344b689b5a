"""Sections of the report: changes, evaluation methods, convergence, best model."""

from pathlib import Path

from examples.ag_news import plots, wording
from examples.ag_news.analysis import Analysis, Comparison, Row, confusion
from examples.ag_news.data import CLASSES
from examples.ag_news.document import (
    Block,
    Bullets,
    Chip,
    Code,
    Figure,
    Heading,
    Line,
    Paragraph,
    Table,
    line,
)
from examples.ag_news.experiments import notebook_facts
from examples.ag_news.wording import percent, points, probability

__all__ = ["best_section", "changes_section", "convergence_section", "flattery_section"]

_MISTAKES_SHOWN = 10
_TEXT_SHOWN = 260
_VERDICTS = {
    "helped": Chip("helped", "good"),
    "hurt": Chip("hurt", "bad"),
    "open": Chip("no significant difference"),
}


def changes_section(analysis: Analysis, folder: Path) -> list[Block]:
    """Compare each experiment with its parent."""
    heading = Heading("Which changes helped")
    if not analysis.comparisons:
        return [heading, Paragraph(wording.about_changes(analysis)[0])]
    path = folder / "changes.svg"
    plots.plot_changes(path, analysis.comparisons)
    number = wording.counted(len(analysis.comparisons), "comparison")
    search = wording.about_search(analysis)
    notes = [*wording.about_two_changes(analysis), *([search] if search else [])]
    return [
        heading,
        Paragraph(
            line(
                "Each experiment is compared with its parent on the same test texts. A change "
                "helped or hurt if the exact paired test (McNemar's, or its extension to sums over "
                f"seeds) is significant at 5 % after Holm's correction for {number}. Intervals are "
                "from the paired bootstrap. "
            )
            + wording.about_seeds(analysis)
        ),
        Table(
            (
                "Experiment",
                "Parent",
                "Changed settings",
                "Points",
                "95 % interval",
                "Gained, lost",
                "p, corrected",
                "Verdict",
                "Notebook's points",
                "Notebook's conclusion",
            ),
            "lllrrrrlrl",
            [_comparison(item) for item in analysis.comparisons],
        ),
        *([Bullets(notes)] if notes else []),
        Figure(
            path,
            "Effect of each change",
            "Difference in honest accuracy between an experiment and its parent, with its 95 % "
            "interval. A stroke marks the difference in the notebook.",
        ),
    ]


def _comparison(item: Comparison) -> list[Line]:
    low, high = item.interval
    changes = ", ".join(
        f"{name} {_plain(old)} to {_plain(new)}" for name, (old, new) in item.changes.items()
    )
    author = notebook_facts().get(item.child, {}).get("author")
    return [
        line(Code(item.child)),
        line(Code(item.parent)),
        line(changes),
        line(points(item.difference)),
        line(f"{points(low)} to {points(high)}"),
        line(f"{item.gained:,}, {item.lost:,}"),
        line(probability(item.adjusted)),
        line(_VERDICTS[item.verdict]),
        line("" if item.notebook is None else points(item.notebook)),
        line(author or ""),
    ]


def _plain(value: object) -> str:
    if isinstance(value, list):
        return " + ".join(map(str, value))
    return "none" if value is None else str(value)


def flattery_section(analysis: Analysis, folder: Path) -> list[Block]:
    """Compare the notebook's method of evaluation with the honest one."""
    del folder
    rows = [
        [
            line(Code(row.name)),
            line(percent(row.reading)),
            line(percent(row.drawn)),
            line(percent(row.accuracy)),
            line(points(row.reading - row.drawn)),
            line(points(row.drawn - row.accuracy)),
            line(points(row.reading - row.accuracy)),
        ]
        for row in analysis.rows
    ]
    header = (
        "Experiment",
        "Best evaluation, drawn texts, %",
        "Selected checkpoint, drawn texts, %",
        "Selected checkpoint, all test texts, %",
        "Selection, points",
        "Draw, points",
        "Total",
    )
    return [
        Heading("The notebook's method of evaluation"),
        Paragraph(wording.about_flattery(analysis)),
        Paragraph(wording.about_parts_of_flattery(analysis)),
        Table(header, "lrrrrrr", rows),
    ]


def convergence_section(analysis: Analysis, folder: Path) -> list[Block]:
    """Describe the stability of convergence and show the curves."""
    accuracy, loss = folder / "accuracy-curves.svg", folder / "loss-curves.svg"
    plots.plot_accuracy_curves(accuracy, analysis.rows)
    plots.plot_loss_curves(loss, analysis.rows)
    rows = [_stability(row) for row in analysis.rows if row.stability]
    header = (
        "Experiment",
        "Evaluations",
        "Deviation, points",
        "Notebook's deviation",
        "Range",
        "Later minus earlier half",
        "Significant differences",
        "Selected checkpoint",
    )
    return [
        Heading("Is the convergence stable?"),
        Paragraph(wording.about_stability(analysis)),
        *([Table(header, "lrrrrrrl", rows)] if rows else []),
        Figure(
            accuracy,
            "Accuracy during training",
            "Accuracy on the drawn test texts, twice per epoch, with the notebook's log in the "
            "background (gaps where its source lost a value). A dot marks the selected checkpoint, "
            "at its accuracy on all test texts.",
        ),
        Figure(
            loss,
            "Loss during training",
            "Loss on training texts (mean since the previous point) and on the validation part.",
        ),
    ]


def _stability(row: Row) -> list[Line]:
    stability = row.stability
    if stability is None:
        return []
    epochs = [result.chosen["step"] / result.steps_per_epoch for result in row.results]
    chosen = ", ".join(f"{epoch:.1f}" for epoch in epochs)
    return [
        line(Code(row.name)),
        line(f"{stability.looks}"),
        line(percent(stability.spread)),
        line("" if row.notebook_spread is None else percent(row.notebook_spread)),
        line(percent(stability.width)),
        line(points(stability.drift)),
        line(f"{stability.significant_swings} of {stability.swings}"),
        line(f"after {chosen} of {row.first.settings['epochs']} epochs"),
    ]


def best_section(analysis: Analysis, folder: Path) -> list[Block]:
    """Describe the best model: grade, confusion matrix, most confident mistakes."""
    result = analysis.best.first
    path = folder / "confusion.svg"
    counts = confusion(result)
    plots.plot_confusion(path, counts)
    mistakes = [
        [
            line(_shortened(mistake["text"])),
            line(CLASSES[mistake["label"]]),
            line(CLASSES[mistake["prediction"]]),
            line(f"{100 * mistake['confidence']:.1f} %"),
        ]
        for mistake in result.mistakes[:_MISTAKES_SHOWN]
    ]
    blocks: list[Block] = [
        Heading("The best model"),
        Paragraph(wording.about_best(analysis)),
        Paragraph(wording.about_grade(analysis)),
        Paragraph(wording.about_confusion(counts)),
        Figure(
            path,
            "Confusion matrix of the best model",
            f"Confusion matrix of {result.experiment} (seed {result.seed}) on all test texts.",
        ),
    ]
    if mistakes:
        blocks += [
            Heading("Its most confident mistakes", 3),
            Table(("Text", "True class", "Predicted", "Confidence"), "lllr", mistakes),
        ]
    return blocks


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _TEXT_SHOWN else f"{text[:_TEXT_SHOWN].rstrip()} ..."
