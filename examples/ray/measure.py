"""Measure `predict.py` on a local cluster: `python -m examples.ray.measure`.

It labels texts that are made of the halves of two news texts each: a tenth of them in one process
without Ray, all on Ray, and all on Ray while a worker is killed. Each row must come out once.
"""

import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from threading import TIMEOUT_MAX, Timer
from unittest import mock

import pyarrow as pa
import torch
from pyarrow import parquet

from examples.ag_news.results import describe_environment
from examples.ray import predict
from examples.text_classifier.sample import read_sample
from textrnn import TextClassifier

__all__ = ["main"]

RESULTS = Path(__file__).parent / "results" / "predict.json"


def write_texts(folder: Path, texts: int, shards: int) -> None:
    """Write numbered texts into Parquet files."""
    draw = random.Random(0)
    words = [text.split() for text in read_sample("train")[0]]
    folder.mkdir()
    for shard in range(shards):
        ids = range(shard, texts, shards)
        pairs = [(draw.choice(words), draw.choice(words)) for _ in ids]
        made = [" ".join(a[: len(a) // 2] + b[len(b) // 2 :]) for a, b in pairs]
        parquet.write_table(pa.table({"id": ids, "text": made}), folder / f"{shard:03}.parquet")


def label_here(model: str, source: str) -> dict[int, str]:
    """Label the texts of a tenth of the files in this process."""
    labeller = predict.Labeller(model)
    labels: dict[int, str] = {}
    for file in sorted(Path(source).iterdir())[::10]:
        for batch in parquet.ParquetFile(file).iter_batches(predict.BATCH_SIZE):
            columns = {name: batch[name].to_numpy(zero_copy_only=False) for name in ("id", "text")}
            found = labeller(columns)
            labels.update(zip(found["id"].tolist(), found["label"].tolist(), strict=True))
    return labels


def label_on_ray(arguments: Sequence[str], workers: int, kill_after: float) -> float:
    """Label the texts with Ray, kill a worker after some seconds, and return the time."""
    pids = Path(tempfile.mkdtemp())

    class Known(predict.Labeller):
        def __init__(self, model: str) -> None:
            super().__init__(model)
            (pids / str(os.getpid())).touch()

    def kill() -> None:
        os.kill(int(next(pids.iterdir()).name), signal.SIGKILL)

    timer = Timer(kill_after, kill)
    with mock.patch.object(predict, "Labeller", Known):
        start = time.perf_counter()
        timer.start()
        predict.label(*arguments, workers=workers)
        seconds = time.perf_counter() - start
    timer.cancel()
    return seconds


def check(target: Path, texts: int, expected: dict[int, str]) -> dict[str, int]:
    """Compare the labelled rows with those of one process."""
    table = parquet.read_table(target, columns=["id", "label"])
    ids, labels = table["id"].to_pylist(), table["label"].to_pylist()
    found = dict(zip(ids, labels, strict=True))
    return {
        "rows": len(ids),
        "lost": texts - len(found),
        "doubled": len(ids) - len(found),
        "other_labels": sum(found.get(key) != label for key, label in expected.items()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the result."""
    import ray

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    environment = {"env_vars": {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}}
    ray.init(num_cpus=options.workers + 1, include_dashboard=False, runtime_env=environment)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        TextClassifier(progress=False).fit(*read_sample("train")).save(folder / "model")
        write_texts(folder / "texts", options.texts, shards=100)
        paths = [str(folder / "model"), str(folder / "texts")]
        start = time.perf_counter()
        expected = label_here(*paths)
        rate = len(expected) / (time.perf_counter() - start)
        alone = options.texts / rate  # seconds
        runs: list[dict[str, float]] = []
        for kill_after in (TIMEOUT_MAX, alone / options.workers / 2):
            target = folder / f"labelled-{len(runs)}"
            seconds = label_on_ray([*paths, str(target)], options.workers, kill_after)
            facts = {"seconds": round(seconds, 1), "texts_per_second": options.texts / seconds}
            runs.append({**facts, **check(target, options.texts, expected)})
    result = {
        "texts": options.texts,
        "workers": options.workers,
        "one_process": {"texts": len(expected), "texts_per_second": rate},
        "ray": runs[0],
        "ray_with_a_worker_killed": runs[1],
        "environment": describe_environment(torch.device("cpu")),
    }
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
