"""`python -m examples.ag_news`: compare three models, or run the notebook's experiments."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from examples.ag_news.data import CLASSES, Texts, load
from examples.ag_news.experiments import EXPERIMENTS, Experiment
from examples.ag_news.models import probabilities, train_text_classifier, train_tf_idf
from examples.ag_news.report import write_report
from examples.ag_news.results import Result, choose_device, load_results, save_result
from examples.ag_news.runner import Runner
from textrnn import TextClassifier
from textrnn.errors import TextrnnError, check_int
from textrnn.training.distributed import join

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 after an error, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        if not options.report_only:
            _run(options)
        if join().is_main:
            print(f"report: {write_report(load_results(options.output), options.output)}")
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
        description="Train TextClassifier, a simple recurrent network and a linear model on news "
        "texts, or run the notebook's experiments, and write a report.",
    )
    add = parser.add_argument
    add(
        "--data",
        default="sample",
        metavar="DIR",
        help="folder with train.parquet and test.parquet (columns `text` and `label`), or 'hub' "
        "for all 120,000 texts; default: the included sample",
    )
    add("--device", default="auto", help="for example cpu or cuda:1; default: CUDA if available")
    add("--output", type=Path, default=Path("runs/ag_news"), help="default: runs/ag_news")
    add("--report-only", action="store_true", help="write the report of the existing results")
    add = parser.add_argument_group("experiments").add_argument
    add(
        "--experiments",
        nargs="*",
        metavar="NAME",
        help="run the notebook's experiments; finished ones are skipped, interrupted ones are "
        f"resumed; default: all, which are {', '.join(EXPERIMENTS)}",
    )
    add("--quick", action="store_true", help="two thirds of the epochs, a quarter of the width")
    add("--epochs", type=int, help="number of epochs of every experiment")
    add("--seeds", type=int, help="number of seeds per experiment; default: 1")
    add("--precision", choices=("fp32", "bf16", "fp16"), help="default: fp32")
    return parser


def _run(options: argparse.Namespace) -> None:
    """Train what the options name."""
    for name in ("epochs", "seeds"):
        if getattr(options, name) is not None:
            check_int(name, getattr(options, name))
    given = options.quick or options.epochs or options.seeds or options.precision
    if options.experiments is None and given:
        raise TextrnnError("--quick, --epochs, --seeds and --precision need --experiments.")
    experiments = [_experiment(name, options) for name in options.experiments or EXPERIMENTS]
    processes = join()  # before choosing a device
    device = choose_device(options.device)
    corpus = load(options.data)
    preset, precision = "quick" if options.quick else "full", options.precision or "fp32"
    runner = Runner(corpus, options.output, device, precision, preset)
    workers = f" in {processes.count} processes" * (processes.count > 1)
    _tell(f"{corpus.name}: {len(corpus.train):,} training texts, on {device}{workers}")
    if options.experiments is None:
        _compare_models(runner)
    else:
        seeds = range(options.seeds or 1)
        _run_all(runner, [(experiment, seed) for seed in seeds for experiment in experiments])


def _experiment(name: str, options: argparse.Namespace) -> Experiment:
    """Return an experiment with the settings of the options."""
    if name not in EXPERIMENTS:
        there = ", ".join(EXPERIMENTS)
        raise TextrnnError(f"There is no experiment {name!r}; choose from: {there}.")
    experiment = EXPERIMENTS[name].reduced() if options.quick else EXPERIMENTS[name]
    return replace(experiment, epochs=options.epochs or experiment.epochs)


def _run_all(runner: Runner, plan: Sequence[tuple[Experiment, int]]) -> None:
    """Run experiments, each with a seed, and print a line for each."""
    start = time.monotonic()
    for number, (experiment, seed) in enumerate(plan, start=1):
        title = f"[{number}/{len(plan)}] {experiment.name} seed {seed}"
        result, before = _finish(runner, experiment, seed, title)
        minutes = (time.monotonic() - start) / 60
        _tell(
            f"{title}: {'finished before; ' * before}accuracy {100 * result.accuracy:.2f} % on the "
            f"test texts (by the notebook's method: {100 * result.best_look:.2f} %); "
            f"{minutes:.1f} min so far"
        )


def _finish(runner: Runner, experiment: Experiment, seed: int, title: str) -> tuple[Result, bool]:
    """Return the result of an experiment, and whether it was finished before."""
    found = join().from_main(partial(runner.finished, experiment, seed))
    return found or runner.run(experiment, seed, title=title), found is not None


def _compare_models(runner: Runner) -> None:
    """Train three models on the same texts; print their figures and some predictions."""
    corpus, folder = runner.corpus, runner.folder
    network, _ = _finish(runner, EXPERIMENTS["baseline-mean"], 0, "baseline-mean")
    linear = train_tf_idf(corpus)
    classifier, combined = train_text_classifier(corpus, runner.device)
    if join().is_main:
        for result in (linear, combined):
            save_result(folder / "runs" / f"{result.experiment}-seed0.json", result)
        classifier.save(folder / "model")
        print(
            f"\n{table([network, linear, combined])}\n\n{_predictions(classifier, corpus.test)}\n"
        )
        print(f"model: {folder / 'model'} (load it with TextClassifier.load)")


def table(results: Sequence[Result]) -> str:
    """Return accuracy and seconds of each result as a table of text."""
    rows = [
        f"{run.experiment:<16} {100 * run.accuracy:11.2f} {run.seconds:8.1f}  {run.change}"
        for run in results
    ]
    return "\n".join([f"{'model':<16} accuracy, %  seconds", *rows])


def _predictions(classifier: TextClassifier, test: Texts) -> str:
    """Return the probabilities of a test text of each class as a table of text."""
    texts = [test.texts[test.labels.index(label)] for label in range(len(CLASSES))]
    rows = [f"{'  '.join(CLASSES)}  (probabilities of one test text of each class)"]
    for text, shares in zip(texts, probabilities(classifier, texts), strict=True):
        cells = (f"{share:{len(name)}.2f}" for name, share in zip(CLASSES, shares, strict=True))
        rows.append(f"{'  '.join(cells)}  {' '.join(text.split())[:60]}")
    return "\n".join(rows)


def _tell(line: str) -> None:
    """Print a line in the main process."""
    if join().is_main:
        print(line)


if __name__ == "__main__":
    sys.exit(main())
