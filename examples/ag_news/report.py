"""Write the report: `report.md` with plots, and a self-contained `report.html`."""

from collections.abc import Callable, Sequence
from pathlib import Path

from examples.ag_news import plots, wording
from examples.ag_news.analysis import Analysis, Row, grade
from examples.ag_news.document import (
    Block,
    Bullets,
    Cards,
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
from examples.ag_news.experiments import PRESETS
from examples.ag_news.results import write_text
from examples.ag_news.sections import (
    best_section,
    changes_section,
    convergence_section,
    flattery_section,
)
from examples.ag_news.wording import percent, points

__all__ = ["compose", "write_report"]


def write_report(analysis: Analysis, folder: Path) -> tuple[Path, Path]:
    """Write `report.md`, `report.html` and the plots, and return the paths of both reports."""
    blocks = compose(analysis, folder / "plots")
    title = f"AG News with recurrent networks ({analysis.data['name']})"
    markdown, page = folder / "report.md", folder / "report.html"
    write_text(markdown, to_markdown(blocks, folder=folder))
    write_text(page, to_html(blocks, title=title))
    return markdown, page


def compose(analysis: Analysis, folder: Path) -> list[Block]:
    """Write the plots to a folder and return the blocks of the report."""
    sections: Sequence[Callable[[Analysis, Path], list[Block]]] = (
        _summary,
        _figures,
        changes_section,
        flattery_section,
        convergence_section,
        best_section,
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
            "Its accuracy",
            f"{percent(best.accuracy)} %",
            f"95 % interval {percent(low)} to {percent(high)}",
        ),
        (
            "By the notebook's method",
            f"{percent(best.reading)} %",
            f"{points(best.reading - best.accuracy)} points",
        ),
        ("Grade by the notebook's scale", f"{points_made} of 3", "for the honest accuracy"),
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
        "Change",
        "Notebook, %",
        "Its method, %",
        "Honest, %",
        *(["Deviation of seeds"] if several else []),
        "Validation, %",
        "Parameters",
        "Minutes",
        "Texts/s",
    ]
    return [
        Heading("All figures"),
        Paragraph(
            line(
                '"Notebook" is the figure that the notebook printed. "Its method" evaluates these '
                "runs as the notebook did: accuracy on 5,000 test texts drawn with replacement (or "
                "the same share of a smaller test set), measured twice per epoch, best value. "
                '"Honest" is the accuracy on all test texts, measured once with the checkpoint '
                "selected on the validation part (with its 95 % interval). Times include all "
                "evaluations; texts/s counts training texts, without the notebook's evaluations."
            )
        ),
        Table(
            header, "llrrr" + "r" * several + "rrrr", [_row(row, several) for row in analysis.rows]
        ),
        Figure(
            path,
            "Accuracy of each experiment",
            "Accuracy of each experiment by both methods, and the figure of the notebook.",
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
            f"Vocabulary: {min(words):,} to {max(words):,} entries; minimum counts refer to "
            "120,000 texts and are scaled to the number of texts"
        ),
        line("Versions: ", versions),
        line(
            "Commit: ",
            all_of([environment["commit"] or "not in a checkout" for environment in environments]),
        ),
    ]
    return [Heading("Environment"), Bullets(items)]
