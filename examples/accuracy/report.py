"""The report: accuracies, differences, times and a plot."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.accuracy.data import SENTENCE_RULE, TASKS, VALIDATION_SHARE
from examples.accuracy.drawing import (
    draw_accuracies,
    draw_costs,
    draw_differences,
    draw_overview,
)
from examples.accuracy.results import PACKAGES, load_results
from examples.accuracy.rows import (
    Row,
    by_data,
    by_difference,
    largest,
    methods_of,
    rows_of,
    runs_of,
)
from examples.ag_news.results import write_text
from textrnn.errors import InvalidValueError

__all__ = ["overview", "report", "spread", "write_report"]

_PARTS = ("test", "validation")


def write_report(folder: Path, reference: str | None = None) -> list[Path]:
    """Write `test.md` and `validation.md` for the results of a folder, each with its plots."""
    written = []
    for part in _PARTS:
        results = load_results(folder, part)
        if results:
            rows = rows_of(results, reference)
            draw = draw_accuracies if reference is None else draw_differences
            draw(rows, folder / f"{part}.svg")
            draw_costs(rows, folder / f"{part}-seconds.svg")
            if reference is None:
                draw_overview(rows, folder / f"{part}-overview.svg")
                write_text(folder / f"{part}-overview.md", overview(rows))
            path = folder / f"{part}.md"
            write_text(path, report(rows, part, reference))
            written.append(path)
    if not written:
        raise InvalidValueError(f"There are no finished runs in {folder}.")
    return written


def overview(rows: Sequence[Row]) -> str:
    """Return a table of accuracy and time on the largest task of each data set."""
    tasks = largest(rows)
    found = [{row.method: _cell(row, group) for row in group} for group in tasks.values()]
    titles = [title.removesuffix(" texts") for title in tasks]
    lines = ["| method | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    for name in sorted(methods_of(rows), key=lambda name: runs_of(rows, name)[0].baseline):
        cells = [cells.get(name, "") for cells in found]
        lines.append(f"| {runs_of(rows, name)[0].title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: Row, group: Sequence[Row]) -> str:
    bold = "**" if row.mean == max(each.mean for each in group) else ""
    return f"{bold}{row.mean:.1f} %{bold}, {_short(row.seconds('fit_processor'))} s"


def report(rows: Sequence[Row], part: str, reference: str | None = None) -> str:
    """Return the report as Markdown."""
    return "\n".join(_lines(rows, part, reference)) + "\n"


def _lines(rows: Sequence[Row], part: str, reference: str | None) -> Iterator[str]:
    share = f"{VALIDATION_SHARE:.0%}".replace("%", " %")
    judged = {
        "test": "on the test texts",
        "validation": f"on validation parts, {share} of the training texts; no test text was read",
    }
    yield f"# Accuracy {judged[part]}\n"
    rival = "the best baseline" if reference is None else f"`{reference}`"
    yield (
        "Mean ± standard deviation over the runs. If a task uses a part of the training texts, "
        "each seed draws another part, the same for every method. Differences are to "
        f"{rival}, per seed, in percentage points. Where nothing is random, there is one run.\n"
    )
    if any(row.rival for row in rows):
        yield f"## Difference to {rival}\n"
        yield from _summary(rows) if reference is None else _differences(rows)
        yield ""
    drawn = "Accuracy by number of training texts" if reference is None else "Differences"
    yield f"![{drawn}]({part}.svg)\n"
    yield f"![Accuracy by processor seconds of the fit]({part}-seconds.svg)\n"
    for title, group in by_data(rows).items():
        yield from _table(title, group)
    yield from _settings(rows)
    yield from _environments(rows)


def _summary(rows: Sequence[Row]) -> Iterator[str]:
    recipes = [name for name in methods_of(rows) if not runs_of(rows, name)[0].baseline]
    yield "| training texts | best baseline | " + " | ".join(recipes) + " |"
    yield "|---|---|" + "---:|" * len(recipes)
    for task in dict.fromkeys(row.task for row in rows):
        found = {row.method: row for row in rows if row.task == task}
        rivals = [row.rival for row in found.values() if row.rival]
        if not rivals:
            continue
        cells = [_difference(found[name]) if name in found else "" for name in recipes]
        best = f"{rivals[0].runs[0].title}, {spread(rivals[0].accuracies)}"
        yield f"| {_learnt(rivals[0])} | {best} | " + " | ".join(cells) + " |"


def _differences(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a row for each method, sorted by mean difference."""
    rivals = {row.task: row.rival for row in rows if row.rival}
    heads = [f"{_learnt(rival)}: {spread(rival.accuracies)}" for rival in rivals.values()]
    yield "| method | " + " | ".join(heads) + " |"
    yield "|---|" + "---:|" * len(rivals)
    for name in by_difference(rows):
        found = {row.task: row for row in rows if row.method == name}
        cells = [_difference(found[task]) if task in found else "" for task in rivals]
        yield f"| {found.popitem()[1].runs[0].title} | " + " | ".join(cells) + " |"


def _table(title: str, rows: Sequence[Row]) -> Iterator[str]:
    judged = rows[0].runs[0].data["judge_texts"]
    words = rows[0].runs[0].data["mean_words"]
    yield f"## {title}\n"
    yield f"{judged:,} evaluation texts; {words:g} words per training text on average.\n"
    yield (
        "| training texts | method | accuracy, % | runs | difference | fit, s (processor) | "
        "per 10,000 texts, s | predict, s |"
    )
    yield "|---:|---|---:|---:|---:|---:|---:|---:|"
    for row in rows:
        first = row.runs[0]
        texts = first.data["train_texts"]
        cells = [
            f"{texts:,}",
            first.title,
            spread(row.accuracies),
            str(len(row.runs)),
            _difference(row),
            f"{_short(row.seconds('fit'))} ({_short(row.seconds('fit_processor'))})",
            _short(row.seconds("fit") / texts * 10_000),
            _short(row.seconds("predict")),
        ]
        yield "| " + " | ".join(cells) + " |"
    yield ""


def _settings(rows: Sequence[Row]) -> Iterator[str]:
    yield "## Methods\n"
    for name in methods_of(rows):
        first = runs_of(rows, name)[0]
        told = ", ".join(f"`{key}={value!r}`" for key, value in first.settings.items())
        rest = "other settings: defaults" if told else "default settings"
        yield f"- **{first.title}** (`{name}`): {told + '; ' if told else ''}{rest}"
    if any(TASKS[row.task].sentences for row in rows):
        yield f"- **short sentences**: {SENTENCE_RULE}"
    yield ""


def _environments(rows: Sequence[Row]) -> Iterator[str]:
    results = [run for row in rows for run in row.runs]
    yield "## Environment\n"
    places: dict[str, int] = {}
    for run in results:
        told = _place(run.environment)
        places[told] = places.get(told, 0) + 1
    for place, count in places.items():
        yield f"- {count} run{'s' * (count > 1)}: {place}"
    commits = {run.environment["commit"] for run in results if not run.baseline}
    if len(commits) > 1:
        yield (
            f"\nThe runs of textrnn come from {len(commits)} commits, so equal settings may give "
            "different results. Use another `--output` to separate them."
        )


def _place(environment: Mapping[str, Any]) -> str:
    packages = ("python", "torch", "numpy", "textrnn", *PACKAGES)
    versions = ", ".join(f"{name} {environment[name]}" for name in packages if name in environment)
    commit = environment["commit"]
    state = f"commit {commit[:10]}{'+' * commit.endswith('+')}" if commit else "no commit"
    threads = environment["threads"]
    device = f"{environment['device_name']}, {threads} thread{'s' * (threads > 1)}"
    return f"{device}; {versions}; {state}"


def _learnt(row: Row) -> str:
    data = row.runs[0].data
    whole = "all " * (TASKS[row.task].size is None)
    return f"{data['title']}, {whole}{data['train_texts']:,}"


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Return the mean of values and, if there are several, their standard deviation."""
    mean = format(statistics.fmean(values), form)
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def _difference(row: Row) -> str:
    return spread(row.differences, "+.2f") if row.differences else ""


def _short(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 100 else f"{seconds:,.0f}"
