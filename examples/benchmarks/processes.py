"""Measure the gain of a second process: `python -m examples.benchmarks.processes`.

It generates texts and needs no data. Steps of 128 texts run in turns in one process with one
thread, in one process with two threads, and in two processes with one thread each. The table has
the median wall time and the total processor time of a step, and the time of exchanging the
gradients alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader

from textrnn import BucketBatchSampler, PaddingCollator, RecurrentClassifier, Trainer
from textrnn.data import WordDataset
from textrnn.text import Vocabulary
from textrnn.training import LambdaCallback
from textrnn.training.distributed import join

TEXTS = 128  # per step, over all processes
VOCABULARY_SIZE = 12_000
MODELS: dict[str, dict[str, Any]] = {
    "GRU 128": {"hidden_size": 128},
    "GRU 256": {"hidden_size": 256},
    "GRU 256 x 2, both directions": {"hidden_size": 256, "num_layers": 2, "bidirectional": True},
}
SETUPS = {"1 x 1": (1, 1), "1 x 2": (1, 2), "2 x 1": (2, 1)}  # processes x threads


def made_texts(count: int) -> WordDataset:
    """Generate texts of about forty words with Zipf-distributed frequencies."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(25, 56, size=count)
    ranks = np.minimum(generator.zipf(1.2, size=int(lengths.sum())), VOCABULARY_SIZE - 5)
    words = [f"w{rank}" for rank in ranks.tolist()]
    ends = np.cumsum(lengths).tolist()
    texts = [words[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]
    vocabulary = Vocabulary.build([[f"w{i}" for i in range(VOCABULARY_SIZE - 4)]])
    labels = generator.integers(4, size=count).tolist()
    return WordDataset([" ".join(text) for text in texts], labels, vocabulary, str.split)


def measure(name: str, dataset: WordDataset, threads: int) -> dict[str, float]:
    """Train for an epoch together with the other processes and return the figures."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    processes = join()
    model = RecurrentClassifier(VOCABULARY_SIZE, num_classes=4, **MODELS[name])
    ends = [(time.perf_counter(), time.process_time())]
    watch = LambdaCallback(
        on_batch_end=lambda _state: ends.append((time.perf_counter(), time.process_time()))
    )
    trainer = Trainer(model, callbacks=[watch], progress=False)
    sampler = BucketBatchSampler(dataset, TEXTS // processes.count, seed=0)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=PaddingCollator())
    trainer.fit(loader, epochs=1)
    seconds, busy = np.diff(ends[2:], axis=0).T.tolist()  # the first two are warm-up
    size = sum(weight.numel() for weight in model.parameters())
    exchanges = [0.0]
    if processes.count > 1:
        gradients = torch.zeros(size)
        exchanges = []
        for _ in range(5):
            start = time.perf_counter()
            dist.all_reduce(gradients)
            exchanges.append(time.perf_counter() - start)
    return {
        "step": statistics.median(seconds),
        "busy": sum(processes.gather(statistics.fmean(busy))),
        "exchange": statistics.median(exchanges),
        "weights": size,
    }


def work(threads: int, steps: int, output: Path) -> None:
    """Measure all models in this process; the main process writes the figures."""
    dataset = made_texts(TEXTS * steps)
    found = {name: measure(name, dataset, threads) for name in MODELS}
    if join().is_main:
        output.write_text(json.dumps(found), encoding="utf-8")


def launch(setup: str, steps: int, output: Path) -> dict[str, dict[str, float]]:
    """Run the processes of a set-up and return their figures."""
    count, threads = SETUPS[setup]
    torchrun = ["torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    options = [f"--threads={threads}", f"--steps={steps}", f"--output={output}"]
    worker = [f"--nproc-per-node={count}", "-m", "examples.benchmarks.processes", *options]
    subprocess.run(  # noqa: S603 # the programs are ours
        [sys.executable, "-m", *torchrun, *worker],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        check=True,
    )
    found: dict[str, dict[str, float]] = json.loads(output.read_text(encoding="utf-8"))
    return found


def rows(runs: dict[str, list[dict[str, dict[str, float]]]]) -> list[str]:
    """Return the table with one row per model."""
    columns = [f"{setup}{unit}" for unit in (", ms", ", CPU ms") for setup in SETUPS]
    heads = ["model", "gradients, MB", *columns, "exchange, ms"]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for name in MODELS:
        cells = [f"{4e-6 * runs['2 x 1'][0][name]['weights']:.1f}"]
        columns_of = [(setup, key) for key in ("step", "busy") for setup in SETUPS]
        for setup, key in [*columns_of, ("2 x 1", "exchange")]:
            cells.append(f"{1000 * statistics.median(run[name][key] for run in runs[setup]):.0f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Measure all set-ups in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10, help="steps per run (default: 10)")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions (default: 3)")
    parser.add_argument("--output", type=Path, default=Path("runs/processes.json"))
    parser.add_argument("--threads", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.threads:
        work(options.threads, options.steps, options.output)
        return 0
    options.output.parent.mkdir(parents=True, exist_ok=True)
    runs: dict[str, list[dict[str, dict[str, float]]]] = {setup: [] for setup in SETUPS}
    for _ in range(options.repeats):
        for setup, found in runs.items():
            found.append(launch(setup, options.steps, options.output))
    options.output.write_text(json.dumps(runs, indent=1), encoding="utf-8")
    print("\n".join(rows(runs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
