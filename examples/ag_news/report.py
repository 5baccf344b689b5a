"""Write the report: ``report.md`` with plots beside it, and ``report.html`` that holds all."""

from collections.abc import Callable, Sequence
from pathlib import Path

from examples.ag_news import plots, wording
from examples.ag_news.analysis import Analysis, Comparison, Row, grade
from examples.ag_news.data import CLASSES
from examples.ag_news.document import (
    Block,
    Bullets,
    Cards,
    Chip,
    Code,
    Figure,
    Heading,
    Line,
    Paragraph,
    Table,
    line,
    to_html,
    to_markdown,
)
from examples.ag_news.experiments import PRESETS, notebook_facts
from examples.ag_news.results import write_text
from examples.ag_news.wording import percent, points, probability

__all__ = ["compose", "write_report"]

_MISTAKES_SHOWN = 10
_TEXT_SHOWN = 260
_VERDICTS = {
    "helped": Chip("helped", "good"),
    "hurt": Chip("hurt", "bad"),
    "open": Chip("no difference shown"),
}


def write_report(analysis: Analysis, folder: Path) -> tuple[Path, Path]:
    """Write the report and its plots.

    Args:
        analysis: what to report.
        folder: where to write; plots go to ``plots`` in it.

    Returns:
        The paths of ``report.md`` and ``report.html``.
    """
    blocks = compose(analysis, folder / "plots")
    title = f"AG News with recurrent networks ({analysis.data['name']})"
    markdown, page = folder / "report.md", folder / "report.html"
    write_text(markdown, to_markdown(blocks, folder=folder))
    write_text(page, to_html(blocks, title=title))
    return markdown, page


def compose(analysis: Analysis, folder: Path) -> list[Block]:
    """Draw the plots into a folder and return the report's blocks."""
    sections: Sequence[Callable[[Analysis, Path], list[Block]]] = (
        _summary,
        _figures,
        _changes,
        _flattery,
        _convergence,
        _best,
        _making,
    )
    return [block for section in sections for block in section(analysis, folder)]


def _summary(analysis: Analysis, folder: Path) -> list[Block]:
    del folder
    best = analysis.best
    low, high = best.interval
    points_made = grade(best.accuracy)
    cards = (
        ("Best experiment", best.name, "by accuracy on the validation part"),
        (
            "Its accuracy, read honestly",
            f"{percent(best.accuracy)} %",
            f"95 % interval {percent(low)} to {percent(high)}",
        ),
        (
            "Read the notebook's way",
            f"{percent(best.reading)} %",
            f"{points(best.reading - best.accuracy)} points",
        ),
        ("Grade by the notebook's scale", f"{points_made} of 3", "of the honest accuracy"),
    )
    bullets = [
        *wording.about_changes(analysis),
        wording.about_flattery(analysis),
        wording.about_stability(analysis),
        wording.about_best(analysis),
        *wording.about_missing(analysis),
    ]
    return [
        Heading("AG News with recurrent networks", 1),
        Paragraph(wording.about_data(analysis)),
        Cards(cards),
        Bullets(bullets),
    ]


def _figures(analysis: Analysis, folder: Path) -> list[Block]:
    path = folder / "accuracies.svg"
    plots.plot_accuracies(path, analysis.rows)
    several = any(row.seed_spread is not None for row in analysis.rows)
    header = [
        "Experiment",
        "What it changes",
        "Notebook, %",
        "Its way here, %",
        "Honest, %",
        *(["Seeds' deviation"] if several else []),
        "Validation, %",
        "Parameters",
        "Minutes",
        "Texts/s",
    ]
    return [
        Heading("All figures"),
        Paragraph(
            line(
                '"Notebook" is the figure that the notebook printed. "Its way here" reads these '
                "runs as the notebook read its own: accuracy on 5,000 test texts drawn with "
                "replacement (of a smaller test set, as many in proportion), looked at twice an "
                'epoch, the best look taken. "Honest" lets the validation part choose the '
                "checkpoint and then reads all test texts once (with its 95 % interval). Times "
                "include all evaluations; texts/s counts training texts and leaves the looks out."
            )
        ),
        Table(
            header, "llrrr" + "r" * several + "rrrr", [_row(row, several) for row in analysis.rows]
        ),
        Figure(
            path,
            "Accuracy of each experiment",
            "Accuracy of each experiment, read in both ways, and the notebook's own figure.",
        ),
    ]


def _row(row: Row, several: bool) -> list[Line]:
    low, high = row.interval
    spread = "" if row.seed_spread is None else percent(row.seed_spread)
    cells = [
        line(Code(row.name)),
        line(row.change),
        line("" if row.notebook is None else percent(row.notebook)),
        line(percent(row.reading)),
        line(f"{percent(row.accuracy)} ({percent(low)} to {percent(high)})"),
        line(percent(row.validation)),
        line(f"{row.first.parameters:,}"),
        line(f"{row.seconds / 60:.1f}"),
        line(f"{row.texts_per_second:,.0f}"),
    ]
    return [*cells[:5], line(spread), *cells[5:]] if several else cells


def _changes(analysis: Analysis, folder: Path) -> list[Block]:
    heading = Heading("Which change helped")
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
                "Each experiment against its parent, on the same test texts. A change helped or "
                "hurt if the exact paired test (McNemar's; for several seeds, its extension to "
                f"their sums) says so at 5 % after Holm's correction for {number}; the interval is "
                "the paired bootstrap's. "
            )
            + wording.about_seeds(analysis)
        ),
        Table(
            (
                "Experiment",
                "Against",
                "Settings that differ",
                "Points",
                "95 % interval",
                "Gained, lost",
                "p, corrected",
                "Verdict",
                "Notebook's points",
                "Its author says",
            ),
            "lllrrrrlrl",
            [_comparison(item) for item in analysis.comparisons],
        ),
        *([Bullets(notes)] if notes else []),
        Figure(
            path,
            "Effect of each change",
            "Difference in honest accuracy between an experiment and its parent, with its 95 % "
            "interval. A stroke marks the difference of the notebook's own figures.",
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


def _flattery(analysis: Analysis, folder: Path) -> list[Block]:
    del folder
    return [
        Heading("How much the notebook's way flatters"),
        Paragraph(
            line(
                wording.about_flattery(analysis),
                " Two things go into that: taking the best of many looks at test texts, and "
                "measuring on a draw from them instead of on all.",
            )
        ),
    ]


def _convergence(analysis: Analysis, folder: Path) -> list[Block]:
    accuracy, loss = folder / "accuracy-curves.svg", folder / "loss-curves.svg"
    plots.plot_accuracy_curves(accuracy, analysis.rows)
    plots.plot_loss_curves(loss, analysis.rows)
    rows = [_stability(row) for row in analysis.rows if row.stability]
    header = (
        "Experiment",
        "Looks",
        "Deviation, points",
        "Notebook's",
        "Largest less smallest",
        "Later less earlier half",
        "Significant swings",
        "Checkpoint chosen",
    )
    return [
        Heading("Is the convergence stable?"),
        Paragraph(wording.about_stability(analysis)),
        *([Table(header, "lrrrrrrl", rows)] if rows else []),
        Figure(
            accuracy,
            "Accuracy while training",
            "Accuracy on the drawn test texts, looked at twice an epoch, with what the notebook "
            "logged behind it (gaps where its source lost a value). A dot marks the checkpoint "
            "that the validation part chose, at its accuracy on all test texts.",
        ),
        Figure(
            loss,
            "Loss while training",
            "Loss on training texts (mean since the point before) and on the validation part.",
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


def _best(analysis: Analysis, folder: Path) -> list[Block]:
    result = analysis.best.first
    path = folder / "confusion.svg"
    counts = plots.plot_confusion(path, result)
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


def _making(analysis: Analysis, folder: Path) -> list[Block]:
    del folder
    results = analysis.results

    def all_of(values: Sequence[object]) -> str:
        return ", ".join(sorted({str(value) for value in values}))

    words = [result.vocabulary_size for result in results]
    environments = [result.environment for result in results]
    presets = sorted({result.preset for result in results})
    named = [f"{name} ({PRESETS[name].summary})" if name in PRESETS else name for name in presets]
    versions = ", ".join(
        f"{name} {all_of([environment[name] for environment in environments])}"
        for name in ("python", "torch", "numpy", "textrnn")
    )
    devices = all_of(
        [
            f"{environment['device']}: {environment['device_name']}"
            + f", {wording.counted(environment['threads'], 'thread')}"
            * (environment["device"] == "cpu")
            for environment in environments
        ]
    )
    items = [
        line("Data: ", analysis.data["name"], ", fingerprint ", Code(analysis.data["fingerprint"])),
        line("Device: ", devices),
        line("Precision: ", all_of([result.precision for result in results])),
        line("Seeds: ", all_of([result.seed for result in results])),
        line("Settings: ", ", ".join(named)),
        line(
            f"Vocabulary: {min(words):,} to {max(words):,} entries; a minimum frequency is meant for "
            "120,000 texts and shrinks with their number"
        ),
        line("Versions: ", versions),
        line(
            "Commit: ",
            all_of(
                [environment["commit"] or "outside of a checkout" for environment in environments]
            ),
        ),
    ]
    return [Heading("How this was made"), Bullets(items)]
