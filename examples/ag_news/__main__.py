"""`python -m examples.ag_news`: run the experiments and write their report."""

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from examples.ag_news.analysis import analyse
from examples.ag_news.data import load
from examples.ag_news.environment import choose_device
from examples.ag_news.experiments import EXPERIMENTS, PRESETS, Experiment
from examples.ag_news.plots import plot_run
from examples.ag_news.report import write_report
from examples.ag_news.results import Result, load_results
from examples.ag_news.runner import Runner, begun_runs
from examples.ag_news.wording import counted
from textrnn.errors import TextrnnError
from textrnn.training.distributed import join

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 after an error, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        if options.list:
            _list(options)
        else:
            if not options.report_only:
                _run(options)
            if join().is_main:
                _report(options.output)
    except TextrnnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.ag_news",
        description="Run the AG News experiments and write their report. Finished runs are "
        "skipped, interrupted ones are resumed.",
    )
    add = parser.add_argument
    add("--list", action="store_true", help="list the experiments and exit")
    add("--only", nargs="+", metavar="NAME", help="run only these experiments, in this order")
    add(
        "--data",
        default="sample",
        metavar="DIR",
        help="folder with train and test files (Parquet or the official CSV), or 'hub' for all "
        "120,000 texts; default: the included sample",
    )
    add("--preset", choices=PRESETS, default="full", help=_preset_help())
    add("--epochs", type=_positive, help="number of epochs of every experiment")
    add("--seeds", type=_positive, default=1, help="number of seeds per experiment; default: 1")
    add("--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="default: fp32")
    add("--device", default="auto", help="for example cpu or cuda:1; default: CUDA if available")
    add("--output", type=Path, default=Path("runs/ag_news"), help="default: runs/ag_news")
    add("--report-only", action="store_true", help="write the report of the existing results")
    return parser


def _preset_help() -> str:
    presets = "; ".join(f"{preset.name}: {preset.summary}" for preset in PRESETS.values())
    return f"{presets}; default: full"


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, but got {text!r}")
    return number


def _chosen(options: argparse.Namespace) -> list[Experiment]:
    """Return the experiments to run, with the settings of the options."""
    names = options.only or list(EXPERIMENTS)
    unknown = [name for name in names if name not in EXPERIMENTS]
    if unknown:
        there = ", ".join(EXPERIMENTS)
        raise TextrnnError(f"There is no experiment {unknown[0]!r}; choose from: {there}.")
    preset = PRESETS[options.preset]
    return [preset.apply(EXPERIMENTS[name], epochs=options.epochs) for name in names]


def _list(options: argparse.Namespace) -> None:
    width = max(map(len, EXPERIMENTS))
    for experiment in _chosen(options):
        parent = f" (against {experiment.parent})" if experiment.parent else ""
        epochs = f"{experiment.epochs:>2} epochs"
        print(f"{experiment.name:<{width}}  {epochs}  {experiment.change}{parent}")


def _run(options: argparse.Namespace) -> None:
    experiments = _chosen(options)
    processes = join()  # before choosing a device
    device = choose_device(options.device)
    corpus = load(options.data)
    runner = Runner(corpus, options.output, device, options.precision, options.preset)
    plan = [(experiment, seed) for seed in range(options.seeds) for experiment in experiments]
    texts, runs = f"{len(corpus.train):,} training texts", counted(len(plan), "run")
    workers = f" in {processes.count} processes" * (processes.count > 1)
    _tell(f"{corpus.name}: {texts}, on {device}{workers}, {runs}")
    start = time.monotonic()
    for number, (experiment, seed) in enumerate(plan, start=1):
        title = f"[{number}/{len(plan)}] {experiment.name}" + f" seed {seed}" * (options.seeds > 1)
        result = processes.from_main(partial(runner.finished, experiment, seed))
        if result is None:
            result = runner.run(experiment, seed, title=title)
            _tell(f"{title}: {_line(result)}; {(time.monotonic() - start) / 60:.1f} min so far")
        else:
            _tell(f"{title}: finished before; {_line(result)}")
        if processes.is_main:
            plot = f"{experiment.name}-seed{seed}.png"
            plot_run(options.output / "plots" / "runs" / plot, result)


def _tell(line: str) -> None:
    """Print a line in the main process."""
    if join().is_main:
        print(line)


def _line(result: Result) -> str:
    return (
        f"accuracy {100 * result.accuracy:.2f} % on the test texts "
        f"(by the notebook's method: {100 * result.best_look:.2f} %)"
    )


def _report(folder: Path) -> None:
    analysis = analyse(load_results(folder), unfinished=begun_runs(folder))
    markdown, page = write_report(analysis, folder)
    print(f"report: {markdown} and {page}; plots: {folder / 'plots'}")


if __name__ == "__main__":
    sys.exit(main())
