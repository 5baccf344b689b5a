"""Benchmarks of a fit: `TextClassifier` beside linear models, each in a process of its own.

Each process has one thread. The processes take turns.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from examples.accuracy.baselines import BASELINES
from examples.accuracy.methods import Method
from examples.accuracy.recipes import RECIPES, Recipe
from examples.benchmarks.corpus import Corpus
from examples.benchmarks.measuring import Measurement, figure

METHODS: dict[str, Method] = {
    **{name: Recipe(name, RECIPES[name], "cpu") for name in ("default", "fast")},
    **{name: BASELINES[name] for name in ("linear-svc", "fasttext", "vowpal-wabbit")},
}
_NEEDED = {"fasttext": "fasttext", "vowpal-wabbit": "vowpalwabbit"}
FIGURES = {"fit": "s", "memory": "MiB", "one string": "ms", "7,600 texts": "s"}
TRAIN_TEXTS, STRINGS = 10_000, 300
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def fits(corpus: Corpus, repeats: int) -> Iterator[Measurement]:
    """Measure the fit of 10,000 news texts, its memory, and predictions after it.

    All times are processor times. The memory is the peak of the process, with texts and libraries.
    """
    found: dict[str, list[dict[str, float]]] = {
        name: [] for name in METHODS if find_spec(_NEEDED.get(name, "sklearn")) is not None
    }
    train = corpus.train.head(TRAIN_TEXTS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "texts.json")
        texts = [train.texts, train.labels, corpus.test.texts]
        path.write_text(json.dumps(texts), encoding="utf-8")
        for _ in range(min(repeats, 3)):
            for name, rows in found.items():
                rows.append(_measured(name, path))
    for what, unit in FIGURES.items():
        for name, rows in found.items():
            values = [row[what] for row in rows]
            yield figure(f"{what}, {METHODS[name].title}", values, unit=unit)


def _measured(name: str, path: Path) -> dict[str, float]:
    """Return the figures of a method from a fresh process."""
    command = [sys.executable, "-m", "examples.benchmarks.fits", name, str(path)]
    output = subprocess.run(  # noqa: S603 # our own program
        command, env=os.environ | _ONE_THREAD, stdout=subprocess.PIPE, check=True, text=True
    ).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def measure(name: str, path: Path) -> dict[str, float]:
    """Train a method, predict with it, and return the figures."""
    texts, labels, test = json.loads(path.read_text(encoding="utf-8"))
    method = METHODS[name]
    method.prepare()
    # The first fit of a process also imports what it needs.
    method.fit(texts[:64], labels[:64], seed=0)
    start = time.process_time()
    fitted = method.fit(texts, labels, seed=0)
    figures: dict[str, Any] = {"fit": time.process_time() - start}
    start = time.process_time()
    fitted.predict(test)
    figures["7,600 texts"] = time.process_time() - start
    start = time.process_time()
    for text in test[:STRINGS]:
        fitted.predict([text])
    figures["one string"] = 1000 * (time.process_time() - start) / len(test[:STRINGS])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return figures | {"memory": peak / (1024**2 if sys.platform == "darwin" else 1024)}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
