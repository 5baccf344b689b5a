"""Measure a corpus larger than memory: `python -m examples.benchmarks.corpora --gigabytes 10`.

The corpus is generated from the words of AG News as JSON lines. Counting, encoding, opening and
training run in separate processes, and the peak memory of each is measured. The same is done with a
tenth of the size, which shows what grows with the corpus.
"""

import argparse
import gc
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from examples.benchmarks.corpus import Corpus
from textrnn import (
    BucketBatchSampler,
    PaddingCollator,
    RecurrentClassifier,
    Trainer,
    Vocabulary,
    WordDataset,
    WordTokenizer,
)
from textrnn.data import FileRows
from textrnn.text import WordCounter
from textrnn.training import Callback, TrainingState

BLOCK = 50_000  # texts generated at a time
RARE = 0.005  # share of words that are random numbers, which stand for names and typos
VOCABULARY = 50_000
STEPS = 300  # training steps; their texts are drawn from the whole corpus


def lines(corpus: Corpus, size: int) -> Iterator[str]:
    """Yield JSON lines with a total of `size` bytes."""
    generator = np.random.default_rng(0)
    written = seed = 0
    while written < size:
        part = corpus.made(BLOCK, seed=seed)
        seed += 1
        for text, label in zip(part.texts, part.labels, strict=True):
            # One rare word at most, to save time: a text has some forty words.
            rare = f" {generator.integers(10**9)}" if generator.random() < 40 * RARE else ""
            line = json.dumps({"text": text + rare, "label": label}, ensure_ascii=False) + "\n"
            yield line
            written += len(line.encode())
            if written >= size:
                return


def make(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Write the corpus as JSON lines."""
    count = 0
    with (path / "texts.jsonl").open("w", encoding="utf-8") as file:
        for line in lines(Corpus(options.data), int(options.gigabytes * 1e9)):
            file.write(line)
            count += 1
    return {"texts": count, "bytes": (path / "texts.jsonl").stat().st_size}


def count_words(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Count the words and build a vocabulary of the most frequent ones."""
    counter = WordCounter(num_workers=options.workers)
    counter.update(FileRows(path / "texts.jsonl").texts())
    vocabulary = counter.vocabulary(max_size=VOCABULARY)
    vocabulary.save(path / "vocabulary.json")
    return {
        "tokens": counter.num_tokens,
        "words_held": counter.num_words,
        "max_words": counter.max_words,
        "max_error": counter.max_error,
        "least_count": vocabulary.counts[-1],
    }


def build(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Encode the texts into a folder."""
    dataset = WordDataset.build(
        path / "encoded",
        FileRows(path / "texts.jsonl"),
        Vocabulary.load(path / "vocabulary.json"),
        WordTokenizer(),
        max_length=256,
        num_workers=options.workers,
    )
    size = sum(file.stat().st_size for file in (path / "encoded").iterdir())
    ids = len(dataset.input_ids)
    return {"texts": len(dataset), "ids": ids, "bytes": size, "bytes_per_id": size / ids}


def verify(path: Path, _: argparse.Namespace) -> dict[str, Any]:
    """Open the folder without and with a check of the ids."""
    start = time.perf_counter()
    WordDataset.open(path / "encoded")
    opened = time.perf_counter()
    WordDataset.open(path / "encoded", verify=True)
    return {
        "open_seconds": round(opened - start, 3),
        "verify_seconds": round(time.perf_counter() - opened, 3),
    }


class StopAfter(Callback):
    """Stop a run after `steps` steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_batch_end(self, state: TrainingState) -> None:
        """Stop after the last step."""
        if state.step >= self.steps:
            state.request_stop("the benchmark has enough steps")


def train(path: Path, _: argparse.Namespace) -> dict[str, Any]:
    """Train on some batches of an epoch over all texts."""
    start = time.perf_counter()
    dataset = WordDataset.open(path / "encoded")
    sampler = BucketBatchSampler(dataset, 128, seed=0)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=PaddingCollator())
    model = RecurrentClassifier(len(dataset.vocabulary), num_classes=4, cell="gru", hidden_size=32)
    trainer = Trainer(model, progress=False, callbacks=[StopAfter(STEPS)])
    trainer.fit(loader, epochs=1)
    seconds = time.perf_counter() - start
    gc.collect()
    start = time.perf_counter()
    next(iter(loader))  # draws the order of a whole epoch
    return {
        "steps": STEPS,
        "seconds_with_opening": round(seconds, 2),
        "seconds_to_first_batch": round(time.perf_counter() - start, 2),
    }


PARTS: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "make": make,
    "count": count_words,
    "build": build,
    "open": verify,
    "train": train,
}


def memory() -> dict[str, float]:
    """Return the peak memory and the current memory of this process in MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    figures = dict(line.split(":", 1) for line in status if line.startswith(("VmHWM", "Rss")))
    names = {"VmHWM": "peak_mib", "RssAnon": "own_mib", "RssFile": "mapped_mib"}
    return {name: round(int(figures[key].split()[0]) / 1024, 1) for key, name in names.items()}


def run_part(name: str, path: Path, options: argparse.Namespace, size: float) -> dict[str, Any]:
    """Run one part in a separate process and return its figures."""
    command = [sys.executable, "-m", "examples.benchmarks.corpora", "--part", name]
    command += ["--gigabytes", str(size), "--folder", str(path), "--workers", str(options.workers)]
    command += ["--data", options.data] if options.data else []
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 # ours
    print(f"{size} GB, {name}: {run.stdout}", end="", file=sys.stderr, flush=True)
    return dict(json.loads(run.stdout))


def measure(options: argparse.Namespace, size: float) -> dict[str, Any]:
    """Run all parts with a corpus of `size` gigabytes, and delete it."""
    if options.folder:
        Path(options.folder).mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="corpora-", dir=options.folder))
    try:
        return {name: run_part(name, path, options, size) for name in PARTS}
    finally:
        shutil.rmtree(path)


def main(arguments: list[str] | None = None) -> int:
    """Measure both sizes and write `corpora.json`."""
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.corpora")
    parser.add_argument("--gigabytes", type=float, default=10.0, help="corpus size (default: 10)")
    parser.add_argument("--workers", type=int, default=0, help="worker processes (default: 0)")
    parser.add_argument("--data", help="folder with ag_news/ (default: TEXTRNN_DATA)")
    parser.add_argument("--folder", help="folder with room for twice the size")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/corpora.json"))
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if options.part:
        start = time.perf_counter()
        figures = PARTS[options.part](Path(options.folder), options)
        seconds = {"seconds": round(time.perf_counter() - start, 2)}
        print(json.dumps(figures | seconds | memory()))
        return 0
    from examples.benchmarks.__main__ import environment  # not needed by the parts

    sizes = [options.gigabytes / 10, options.gigabytes]
    results = {
        "environment": environment() | {"machine": platform.machine(), "workers": options.workers},
        "corpora": {f"{size:g} GB": measure(options, size) for size in sizes},
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
