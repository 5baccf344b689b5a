"""`python -m examples.accuracy`: compare `TextClassifier` with its baselines."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.accuracy.baselines import BASELINES
from examples.accuracy.data import TASKS, Reader, Task
from examples.accuracy.methods import Method
from examples.accuracy.notebook import NotebookGru
from examples.accuracy.recipes import RECIPES, Recipe, read_recipe
from examples.accuracy.report import write_report
from examples.accuracy.results import (
    Result,
    finished,
    load_results,
    measure,
    result_path,
    save_result,
)
from examples.accuracy.rows import check_reference
from examples.ag_news.results import choose_device
from textrnn.errors import TextrnnError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 after an error, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        if options.list:
            _list()
        else:
            if not options.report_only:
                _run(options)
            for path in write_report(options.output, options.reference):
                print(f"report: {path}")
    except TextrnnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command again for the missing runs", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.accuracy",
        description="Compare accuracy and time of TextClassifier with TF-IDF with logistic "
        "regression and with fastText. Finished runs are skipped.",
        epilog="example:\n"
        "  python -m examples.accuracy --only imdb ag-news-1000 --validation \\\n"
        "    --recipe default --recipe wide hidden_size=256 'pooling=[\"max\"]'",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--list", action="store_true", help="list the tasks and methods, and exit")
    add("--only", nargs="+", metavar="NAME", help="run only these tasks, in this order")
    add(
        "--model",
        nargs="+",
        metavar="NAME",
        help="run only these methods: "
        f"{', '.join([*BASELINES, NotebookGru.name, *RECIPES])} or names of --recipe; "
        "default: the baselines and the recipes of --recipe",
    )
    add(
        "--recipe",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "KEY=VALUE"),
        help="a named recipe, or a new name with arguments of TextClassifier (JSON or plain "
        "words); unlabelled=true adds unlabelled texts; can be repeated; default: default",
    )
    add("--seeds", type=_positive, default=3, help="number of seeds; default: 3")
    add(
        "--validation",
        action="store_true",
        help="evaluate on a fifth of the training texts, to choose settings; reads no test file",
    )
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder with ag_news/ and imdb/, each with train.parquet and test.parquet, and "
        "unsup.parquet for recipes with unlabelled=true; default: the variable TEXTRNN_DATA",
    )
    add("--device", default="auto", help="device for recipes; default: CUDA if available")
    add("--output", type=Path, default=Path("runs/accuracy"), help="default: runs/accuracy")
    add(
        "--reference",
        metavar="NAME",
        help="compare all methods with this one; default: the best baseline",
    )
    add("--report-only", action="store_true", help="write the report of the existing results")
    return parser


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, but got {text!r}")
    return number


def _list() -> None:
    width = max(map(len, [*TASKS, *BASELINES, NotebookGru.name, *RECIPES]))
    print("tasks:")
    for task in TASKS.values():
        texts = "short sentences of reviews" if task.sentences else "texts"
        size = "all" if task.size is None else f"{task.size:,}"
        print(f"  {task.name:<{width}}  {size} {texts} of {task.source}")
    print("methods:")
    recipes = (Recipe(name, RECIPES[name]) for name in RECIPES)
    for method in [*BASELINES.values(), NotebookGru(), *recipes]:
        settings = ", ".join(f"{key}={value}" for key, value in method.settings.items())
        print(f"  {method.name:<{width}}  {method.title}" + f": {settings}" * bool(settings))


@dataclass(frozen=True)
class _Run:
    task: Task
    method: Method
    seed: int

    def __str__(self) -> str:
        return f"{self.task.name} {self.method.name} seed {self.seed}"


def _run(options: argparse.Namespace) -> None:
    tasks, methods = _tasks(options), _methods(options)
    choose_device(options.device)
    folder = options.data or Path(os.environ.get("TEXTRNN_DATA", "data"))
    reader = Reader(folder, validation=options.validation)
    reader.check(tasks, unlabelled=any(method.unlabelled for method in methods))
    for method in methods:
        method.prepare()
    if options.reference is not None:  # checked now rather than after hours of runs
        names = [method.name for method in methods]
        names += [result.method for result in load_results(options.output, reader.part)]
        check_reference(options.reference, dict.fromkeys(names))
    plan = [
        _Run(task, method, seed)
        for seed in range(options.seeds)
        for task in tasks
        for method in methods
        # A deterministic method on all texts gives the same result for each seed.
        if seed == 0 or task.size is not None or method.random
    ]
    start = time.monotonic()
    for number, run in enumerate(plan, start=1):
        data = reader.read(run.task, run.seed, unlabelled=run.method.unlabelled)
        path = result_path(options.output, run.task, reader.part, run.method, run.seed)
        result = finished(path, run.method.settings, data.fingerprint)
        before = "finished before; " if result else ""
        if result is None:
            result = measure(
                run.task,
                data,
                run.method,
                part=reader.part,
                seed=run.seed,
                device=options.device,
            )
            save_result(path, result)
        minutes = (time.monotonic() - start) / 60
        print(
            f"[{number}/{len(plan)}] {run}: {before}{_line(result)}; {minutes:.1f} min so far",
            flush=True,
        )


def _line(result: Result) -> str:
    return (
        f"accuracy {100 * result.accuracy:.2f} % on {result.data['judge_texts']:,} {result.part} "
        f"texts, trained in {result.seconds['fit']:.1f} s"
    )


def _tasks(options: argparse.Namespace) -> list[Task]:
    names = options.only or list(TASKS)
    for name in names:
        if name not in TASKS:
            raise TextrnnError(f"There is no task {name!r}; choose from: {', '.join(TASKS)}.")
    return [TASKS[name] for name in dict.fromkeys(names)]


def _methods(options: argparse.Namespace) -> list[Method]:
    described = [read_recipe(words, device=options.device) for words in options.recipe]
    recipes = {recipe.name: recipe for recipe in described}
    if len(recipes) < len(described):
        raise TextrnnError("Two recipes have the same name.")
    gru = NotebookGru(options.device)
    known: dict[str, Method] = {**BASELINES, gru.name: gru}
    known |= {name: read_recipe([name], device=options.device) for name in RECIPES}
    known |= recipes
    names = options.model or [*BASELINES, *([] if recipes else ["default"])]
    for name in names:
        if name not in known:
            raise TextrnnError(f"There is no method {name!r}; choose from: {', '.join(known)}.")
    return [known[name] for name in dict.fromkeys([*names, *recipes])]


if __name__ == "__main__":
    sys.exit(main())
