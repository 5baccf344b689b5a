"""The table and the plot of the benchmarks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def table(rows: Sequence[Mapping[str, Any]], *, header: bool = True) -> str:
    """Return rows as a Markdown table."""
    head = ["| what | against | median | spread | bar | aim |", "|---|---|---|---|---|---|"]
    return "\n".join((head if header else []) + [_line(row) for row in rows])


def report(benchmarks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a Markdown table for each environment of the benchmarks."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for part in benchmarks.values():
        groups.setdefault(describe(part["environment"]), []).extend(part["rows"])
    return "\n".join(f"{table(rows)}\n\n{where}\n" for where, rows in groups.items())


def describe(environment: Mapping[str, Any]) -> str:
    """Return a sentence with date, threads, processor, versions and commit."""
    versions = ", ".join(f"{name} {value}" for name, value in environment["versions"].items())
    return (
        f"Measured on {environment['date']} with {environment['threads']} threads of a processor "
        f"with {environment['processor']}; {versions}; commit "
        f"{(environment['commit'] or 'unknown')[:9]}."
    )


def _line(row: Mapping[str, Any]) -> str:
    unit = "x" if row["unit"] == "x" else f" {row['unit']}"
    spread = f"{_short(row['low'])} to {_short(row['high'])}"
    goals = [_goal(row, name) for name in ("bar", "aim")]
    cells = [row["name"], row["against"], f"{_short(row['value'])}{unit}", spread, *goals]
    return "| " + " | ".join(cells) + " |"


def _goal(row: Mapping[str, Any], name: str) -> str:
    goal = row[name]
    if goal is None:
        return ""
    met = row["value"] <= goal if row["smaller_is_better"] else row["value"] >= goal
    return f"{_short(goal)} {'reached' if met else 'missed'}"


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def write_plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot all ratios with a bar; without any, write nothing."""
    from matplotlib.figure import Figure

    ratios = [row for row in rows if row["unit"] == "x" and row["bar"] is not None]
    if not ratios:
        return
    plot = Figure(figsize=(9, 1.2 + 0.42 * len(ratios)), layout="constrained")
    axes = plot.add_subplot()
    places = list(range(len(ratios)))[::-1]
    colors = ["#0072b2" if row["value"] >= row["bar"] else "#d55e00" for row in ratios]
    axes.barh(places, [row["value"] for row in ratios], color=colors, height=0.6)
    for place, row in zip(places, ratios, strict=True):
        axes.plot([row["low"], row["high"]], [place, place], color="black", linewidth=1)
        axes.plot([row["bar"]] * 2, [place - 0.4, place + 0.4], color="#444444", linewidth=2)
        axes.annotate(f" {_short(row['value'])}x", (row["high"], place), va="center")
    labels = [f"{row['name']}\nagainst {row['against']}" for row in ratios]
    axes.set_yticks(places, labels, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("times as fast (the dark mark is the bar to reach, the thin line the spread)")
    axes.axvline(1.0, color="#999999", linewidth=1, linestyle=":")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    plot.savefig(path, dpi=150)
