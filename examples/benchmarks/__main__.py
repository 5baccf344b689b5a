"""Compare the speed of textrnn with its baselines: `python -m examples.benchmarks`."""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from examples.benchmarks import deploy, fits, peers, prediction, scaling, texts, training
from examples.benchmarks.corpus import Corpus
from examples.benchmarks.measuring import Measurement
from examples.benchmarks.report import report, table, write_plot

BENCHMARKS: dict[str, Callable[[Corpus, int], Iterator[Measurement]]] = {
    "importing": texts.importing,
    "tokenizing": texts.tokenizing,
    "encoding": texts.encoding,
    "memory": texts.encoded_memory,
    "bare-loop": training.against_a_bare_loop,
    "peers-batches": peers.same_batches,
    "peers-raw": peers.raw_texts,
    "prediction": prediction.many_strings,
    "reviews": prediction.reviews,
    "latency": prediction.one_string,
    "fits": fits.fits,
    "deploy": deploy.deploy,
    "notebook": training.against_the_notebook,
    "matrix-rate": training.matrix_rate,
    "long-texts": training.long_texts,
    "growth": scaling.growth,
}


def environment() -> dict[str, object]:
    """Return versions, processor, threads, commit and date."""
    packages = ("textrnn", "torch", "numpy", "nltk", "transformers", "lightning", "skorch")
    versions: dict[str, str] = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    git = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607 # whichever git there is
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "versions": {"python": platform.python_version(), **versions},
        "processor": torch.backends.cpu.get_cpu_capability() + " and bf16" * training.has_bf16(),
        "threads": torch.get_num_threads(),
        "commit": git.stdout.strip() or None,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks and write `results.json`, `results.md` and `results.png`."""
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(BENCHMARKS),
        metavar="NAME",
        help=f"run only these: {', '.join(BENCHMARKS)}",
    )
    parser.add_argument("--repeats", type=int, default=5, help="repetitions (default: 5)")
    parser.add_argument("--data", help="folder with ag_news/ and imdb/ (default: TEXTRNN_DATA)")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"))
    options = parser.parse_args(arguments)
    corpus = Corpus(options.data)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "results.json"
    results: dict[str, dict[str, Any]] = {}
    if path.is_file():
        results = json.loads(path.read_text(encoding="utf-8"))
    for name in options.only or BENCHMARKS:
        print(f"{name}:", file=sys.stderr, flush=True)
        torch.manual_seed(0)
        rows = []
        for row in BENCHMARKS[name](corpus, options.repeats):
            print("  " + table([row.to_dict()], header=False).strip(), file=sys.stderr, flush=True)
            rows.append(row.to_dict())
        # Each benchmark has its own environment, because earlier results are kept.
        results[name] = {"environment": environment(), "rows": rows}
        # Written after each benchmark, so that an interruption loses at most one.
        ordered = {known: results[known] for known in BENCHMARKS if known in results}
        path.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
        (options.output / "results.md").write_text(report(ordered), encoding="utf-8")
        rows = [row for part in ordered.values() for row in part["rows"]]
        write_plot(rows, options.output / "results.png")
    print(report(results), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
