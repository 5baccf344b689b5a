"""Write the report: one HTML page with its plots, from the template `report.html`."""

import statistics
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from examples.ag_news import plots
from examples.ag_news.analysis import analyse, describe_mistakes, grade
from examples.ag_news.data import CLASSES
from examples.ag_news.results import Result, write_text
from textrnn.errors import import_extra

__all__ = ["write_report"]


def write_report(results: Sequence[Result], folder: Path) -> Path:
    """Write `report.html` for results on the same data, and return its path."""
    jinja = import_extra("jinja2", extra="examples")
    environment = jinja.Environment(
        loader=jinja.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda share: f"{100 * share:.2f}",
        "points": lambda difference: f"{round(100 * difference, 2) + 0.0:+.2f}",
        "probability": lambda p_value: "< 0.001" if p_value < 0.001 else f"{p_value:.3f}",
        "mean": statistics.fmean,
        "distinct": lambda values: ", ".join(sorted(set(map(str, values)))),
        "setting": lambda value: " + ".join(
            map(str, value if isinstance(value, list) else [value])
        ),
        "image": lambda svg: f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}",
    }
    analysis = analyse(results)
    page = environment.get_template("report.html").render(
        analysis=analysis,
        best=analysis.best,
        classes=CLASSES,
        grade=grade,
        grades=("no point", "one point", "two points", "three points"),
        mistakes=describe_mistakes(analysis.best.first),
        excess=[run.best_look - run.accuracy for run in results if run.looks],
        plots=plots,
        rows=analysis.rows,
        runs=results,
    )
    path = folder / "report.html"
    write_text(path, page + "\n")
    return path
