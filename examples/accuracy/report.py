"""The report: a table of accuracies with their spread, the differences, the time, a picture."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.accuracy.data import SENTENCE_RULE, TASKS, VALIDATION_SHARE
from examples.accuracy.results import Result, load_results
from examples.ag_news.results import write_text
from textrnn.errors import InvalidValueError, import_extra

__all__ = ["Row", "report", "rows_of", "write_report"]

_PARTS = ("test", "validation")
_COLORS = (
    *("#1d5fa8", "#d9741a", "#2c8a50", "#a0519a", "#c23b30", "#5b6776"),
    *("#17a2b8", "#b8960c", "#7a4a21", "#e377c2", "#1b1b1b"),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """The runs of one method at one task.

    Args:
        task: the task's name.
        method: the method's name.
        runs: the runs, by seed.
        rival: the baseline with the highest mean at the same task; None for baselines, and where
            there is none.
    """

    task: str
    method: str
    runs: Sequence[Result]
    rival: "Row | None" = None

    @property
    def accuracies(self) -> list[float]:
        """The accuracy of each run, in percent."""
        return [100 * run.accuracy for run in self.runs]

    @property
    def mean(self) -> float:
        """The mean accuracy, in percent."""
        return statistics.fmean(self.accuracies)

    @property
    def spread(self) -> float:
        """The accuracies' standard deviation, in points; 0 for a single run."""
        return statistics.stdev(self.accuracies) if len(self.runs) > 1 else 0.0

    @property
    def differences(self) -> list[float]:
        """The difference to the best baseline, in points, seed by seed.

        A baseline without chance has one run, which stands against each of the others.
        """
        if self.rival is None:
            return []
        theirs = {run.seed: 100 * run.accuracy for run in self.rival.runs}
        if len(theirs) == 1:
            theirs = dict.fromkeys((run.seed for run in self.runs), *theirs.values())
        return [100 * run.accuracy - theirs[run.seed] for run in self.runs if run.seed in theirs]

    def seconds(self, name: str) -> float:
        """Return the mean of a time."""
        return statistics.fmean(run.seconds[name] for run in self.runs)


def rows_of(results: Sequence[Result]) -> list[Row]:
    """Group runs by task and method, and find each task's best baseline.

    Args:
        results: runs that the same part judged, in the order of the report.

    Returns:
        A row for each task and method.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.task, result.method), []).append(result)
    rows = [Row(task=task, method=name, runs=runs) for (task, name), runs in groups.items()]
    best: dict[str, Row] = {}
    for row in rows:
        if row.runs[0].baseline and (row.task not in best or row.mean > best[row.task].mean):
            best[row.task] = row
    return [
        row if row.runs[0].baseline else Row(**{**vars(row), "rival": best.get(row.task)})
        for row in rows
    ]


def write_report(folder: Path) -> list[Path]:
    """Write `test.md` and `validation.md` on the results in a folder, each with its picture.

    Args:
        folder: where the results are.

    Returns:
        The reports.

    Raises:
        InvalidValueError: there are no results.
        CorruptFileError: a file is no result.
    """
    written = []
    for part in _PARTS:
        results = load_results(folder, part)
        if results:
            rows = rows_of(results)
            draw(rows, folder / f"{part}.svg")
            path = folder / f"{part}.md"
            write_text(path, report(rows, part))
            written.append(path)
    if not written:
        raise InvalidValueError(f"There is no finished run in {folder} to report on.")
    return written


def report(rows: Sequence[Row], part: str) -> str:
    """Return the report as Markdown.

    Args:
        rows: what was measured.
        part: what judged: ``"test"`` or ``"validation"``.
    """
    return "\n".join(_lines(rows, part)) + "\n"


def _lines(rows: Sequence[Row], part: str) -> Iterator[str]:
    share = f"{VALIDATION_SHARE:.0%}".replace("%", " %")
    judged = {
        "test": "on the test texts",
        "validation": f"on validation parts, {share} of the training texts; no test text was read",
    }
    yield f"# Accuracy {judged[part]}\n"
    yield (
        "Means over the runs, with the standard deviation behind ±. Each seed draws other texts "
        "where only a part of the training texts is learnt from, the same for every method. "
        "Differences are to the best baseline, seed by seed, in percentage points. Where nothing "
        "is random there is one run.\n"
    )
    yield from _summary(rows)
    yield f"![Accuracy by the number of training texts]({part}.svg)\n"
    for title, group in _by_data(rows).items():
        yield from _table(title, group)
    yield from _settings(rows)
    yield from _environments(rows)


def _summary(rows: Sequence[Row]) -> Iterator[str]:
    recipes = [name for name in _methods(rows) if not _runs(rows, name)[0].baseline]
    if not recipes or not any(row.rival for row in rows):
        return
    yield "## Difference to the best baseline\n"
    yield "| learnt from | best baseline | " + " | ".join(recipes) + " |"
    yield "|---|---|" + "---:|" * len(recipes)
    for task in dict.fromkeys(row.task for row in rows):
        found = {row.method: row for row in rows if row.task == task}
        rivals = [row.rival for row in found.values() if row.rival]
        if not rivals:
            continue
        cells = [_difference(found[name]) if name in found else "" for name in recipes]
        best = f"{rivals[0].runs[0].title}, {_spread(rivals[0].accuracies)}"
        yield f"| {_learnt(rivals[0])} | {best} | " + " | ".join(cells) + " |"
    yield ""


def _table(title: str, rows: Sequence[Row]) -> Iterator[str]:
    judged = rows[0].runs[0].data["judge_texts"]
    words = rows[0].runs[0].data["mean_words"]
    yield f"## {title}\n"
    yield f"Judged by {judged:,} texts; a training text has {words:g} words on average.\n"
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
            _spread(row.accuracies),
            str(len(row.runs)),
            _difference(row),
            f"{_short(row.seconds('fit'))} ({_short(row.seconds('fit_processor'))})",
            _short(row.seconds("fit") / texts * 10_000),
            _short(row.seconds("predict")),
        ]
        yield "| " + " | ".join(cells) + " |"
    yield ""


def _settings(rows: Sequence[Row]) -> Iterator[str]:
    yield "## What was compared\n"
    for name in _methods(rows):
        first = _runs(rows, name)[0]
        told = ", ".join(f"`{key}={value!r}`" for key, value in first.settings.items())
        rest = "the other settings are the library's own" if told else "with its defaults"
        yield f"- **{first.title}** (`{name}`): {told + '; ' if told else ''}{rest}"
    if any(TASKS[row.task].sentences for row in rows):
        yield f"- **short sentences**: {SENTENCE_RULE}"
    yield ""


def _environments(rows: Sequence[Row]) -> Iterator[str]:
    results = [run for row in rows for run in row.runs]
    yield "## Where\n"
    places: dict[str, int] = {}
    for run in results:
        told = _place(run.environment)
        places[told] = places.get(told, 0) + 1
    for place, count in places.items():
        yield f"- {count} run{'s' * (count > 1)}: {place}"
    commits = {run.environment["commit"] for run in results if not run.baseline}
    if len(commits) > 1:
        yield (
            f"\nThe runs of textrnn come from {len(commits)} states of its code, so the same "
            "settings need not mean the same. Another `--output` keeps them apart."
        )


def _place(environment: Mapping[str, Any]) -> str:
    packages = ("python", "torch", "numpy", "textrnn", "scikit-learn", "fasttext-numpy2")
    versions = ", ".join(f"{name} {environment[name]}" for name in packages if name in environment)
    commit = environment["commit"]
    state = f"commit {commit[:10]}{'+' * commit.endswith('+')}" if commit else "no commit"
    threads = environment["threads"]
    device = f"{environment['device_name']}, {threads} thread{'s' * (threads > 1)}"
    return f"{device}; {versions}; {state}"


def _by_data(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.runs[0].data["title"], []).append(row)
    for group in groups.values():
        group.sort(key=lambda row: row.runs[0].data["train_texts"])
    return groups


def _methods(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.method for row in rows))


def _runs(rows: Sequence[Row], method: str) -> Sequence[Result]:
    return next(row.runs for row in rows if row.method == method)


def _learnt(row: Row) -> str:
    data = row.runs[0].data
    whole = "all " * (TASKS[row.task].size is None)
    return f"{data['title']}, {whole}{data['train_texts']:,}"


def _spread(values: Sequence[float], form: str = ".2f") -> str:
    mean = format(statistics.fmean(values), form)
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def _difference(row: Row) -> str:
    return _spread(row.differences, "+.2f") if row.differences else ""


def _short(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 100 else f"{seconds:,.0f}"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw accuracy by the number of training texts, a panel for each data set.

    Args:
        rows: what was measured.
        path: where the picture goes.
    """
    matplotlib = import_extra("matplotlib", extra="benchmarks")
    figures = import_extra("matplotlib.figure", extra="benchmarks")
    groups = _by_data(rows)
    colors = {name: _COLORS[i % len(_COLORS)] for i, name in enumerate(_methods(rows))}
    with matplotlib.rc_context({"svg.hashsalt": "textrnn", "font.size": 9}):
        figure = figures.Figure(figsize=(1 + 3.6 * len(groups), 3.6), layout="constrained")
        panels = figure.subplots(1, len(groups), squeeze=False)[0]
        for axes, (title, group) in zip(panels, groups.items(), strict=True):
            for name in _methods(group):
                found = [row for row in group if row.method == name]
                axes.errorbar(
                    [row.runs[0].data["train_texts"] for row in found],
                    [row.mean for row in found],
                    [row.spread for row in found],
                    color=colors[name],
                    linestyle="--" if found[0].runs[0].baseline else "-",
                    marker="o",
                    markersize=4,
                    capsize=2,
                    label=found[0].runs[0].title,
                )
            sizes = sorted({row.runs[0].data["train_texts"] for row in group})
            axes.set_xscale("log")
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30)
            axes.set_xticks([], minor=True)
            axes.set_title(title, loc="left", fontsize=10)
            axes.set_xlabel("training texts")
            axes.grid(color="#e6eaef")
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        panels[0].set_ylabel("accuracy, %")
        handles: dict[str, Any] = {}
        for axes in panels:
            handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
        figure.savefig(path, metadata={"Date": None})
