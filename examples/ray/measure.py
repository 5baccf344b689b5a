"""Measure both programs on a local cluster: `python -m examples.ray.measure`.

`predict.py` labels texts that are made of the halves of two news texts each: a tenth of them in one
process without Ray, all on Ray, and all on Ray while a worker is killed. Each row must come out
once. `train.py` trains twice, once while a worker is killed. The weights must be the same.
"""

import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import torch
from pyarrow import parquet

from examples.ag_news.results import describe_environment
from examples.ray import predict, train
from examples.text_classifier.sample import read_sample
from textrnn import TextClassifier
from textrnn.training import LambdaCallback, TrainingState

__all__ = ["main", "train_twice"]

RESULTS = Path(__file__).parent / "results" / "measured.json"

_LAST_STEP = 45  # of the worker that is killed: between two checkpoints


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


def label_on_ray(
    arguments: Sequence[str], workers: int, last_batch: int | None = None
) -> dict[str, float]:
    """Label the texts with Ray; the first worker that comes to the last batch is killed there."""
    folder = Path(tempfile.mkdtemp())
    died = folder / "died"

    class Known(predict.Labeller):
        def __init__(self, model: str) -> None:
            super().__init__(model)
            self.batches = 0
            (folder / f"loaded-{os.getpid()}").touch()

        def __call__(self, columns: predict.Columns) -> predict.Columns:
            self.batches += 1
            if self.batches == last_batch:
                with suppress(FileExistsError):  # another worker was killed
                    died.touch(exist_ok=False)
                    os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(columns)

    start = time.time()
    with mock.patch.object(predict, "Labeller", Known):
        predict.label(*arguments, workers=workers)
    facts = {"seconds": round(time.time() - start, 1)}
    if died.exists():
        facts["worker_killed_after"] = round(died.stat().st_mtime - start, 1)
    return facts | {"models_loaded": len(list(folder.glob("loaded-*")))}


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


def measure_prediction(folder: Path, texts: int, workers: int) -> dict[str, Any]:
    """Label texts in one process, on Ray, and on Ray while a worker is killed half-way."""
    TextClassifier(network=True, progress=False).fit(*read_sample("train")).save(folder / "model")
    write_texts(folder / "texts", texts, shards=100)
    paths = [str(folder / "model"), str(folder / "texts")]
    start, processor = time.perf_counter(), time.process_time()
    expected = label_here(*paths)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    result: dict[str, Any] = {
        "texts": texts,
        "workers": workers,
        "one_process": {
            "texts": len(expected),
            "texts_per_second": round(len(expected) / seconds),
            "texts_per_processor_second": round(len(expected) / processor),
        },
    }
    middle = max(texts // predict.BATCH_SIZE // workers // 2, 1)  # batch of a worker
    for name, last_batch in (("ray", None), ("ray_with_a_worker_killed", middle)):
        facts = label_on_ray([*paths, str(folder / name)], workers, last_batch)
        rate = {"texts_per_second": round(texts / facts["seconds"])}
        result[name] = {**facts, **rate, **check(folder / name, texts, expected)}
    return result


def train_twice(folder: Path) -> dict[str, Any]:
    """Train on Ray, and again while a worker is killed; compare the last checkpoints."""
    whole, broken, died = folder / "whole", folder / "broken", folder / "died"

    def die(state: TrainingState) -> None:
        if state.step == _LAST_STEP and os.environ["RANK"] == "1" and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    start = time.perf_counter()
    train.launch(lambda: train.train(whole), whole)
    middle = time.perf_counter()
    train.launch(lambda: train.train(broken, LambdaCallback(on_batch_end=die)), broken)
    seconds = [middle - start, time.perf_counter() - middle]
    first, second = (max((path / "checkpoints").glob("step-*")) for path in (whole, broken))
    files = ("model.safetensors", "best.safetensors")
    return {
        "workers": train.PROCESSES,
        "last_checkpoint": second.name,
        "worker_killed_at_step": _LAST_STEP if died.exists() else None,
        "same_weights": first.name == second.name
        and all((first / file).read_bytes() == (second / file).read_bytes() for file in files),
        "seconds": round(seconds[0], 1),
        "seconds_with_a_worker_killed": round(seconds[1], 1),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the result."""
    import ray

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {"env_vars": {**dict.fromkeys(names, "1"), "GLOO_SOCKET_IFNAME": "lo"}}
    ray.init(num_cpus=options.workers + 1, include_dashboard=False, runtime_env=environment)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        result = {
            "predict": measure_prediction(Path(name), options.texts, options.workers),
            "train": train_twice(Path(name)),
        }
    result["environment"] = {
        **describe_environment(torch.device("cpu")),
        "ray": ray.__version__,
        "cores": os.cpu_count(),
        "load_average_before": round(load, 1),
    }
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
