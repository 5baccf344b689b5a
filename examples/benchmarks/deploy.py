"""Benchmarks of a deployed model: PyTorch, the runtime without it, and fastText.

Each way to deploy it answers in a process of its own with one thread. The processes take turns.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np

import textrnn
from examples.benchmarks.corpus import Corpus
from examples.benchmarks.measuring import Measurement, figure, ratio
from examples.text_classifier.sample import read_sample
from textrnn import TextClassifier, runtime
from textrnn.runtime.compact import PRECISIONS

PROGRAMS = {
    "numpy": "textrnn.runtime",
    "onnx": "textrnn.runtime on ONNX Runtime",
    "torch": "TextClassifier",
    "fasttext": "fastText, quantized",
}
TRAIN_TEXTS, SENTENCES, STRINGS = 4000, 5000, 300
SETTINGS: dict[str, Any] = {
    "hidden_size": 128,
    "embedding_size": 128,
    "bidirectional": True,
    "epochs": 2,
}
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Program:
    """A process that answers with a deployed model."""

    def __init__(self, name: str, model: Path, text: str) -> None:
        script = Path(__file__).with_name("answering.py")
        start = time.perf_counter()
        self.process: Any = subprocess.Popen(  # noqa: S603 # our own program
            [sys.executable, "-P", script, name, model, text],
            env=os.environ | _ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.first = self._read() | {"seconds": time.perf_counter() - start}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def answer(self, batches: list[list[str]]) -> dict[str, Any]:
        """Return the times of answering some batches of texts."""
        self.process.stdin.write(json.dumps(batches) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            self.process.communicate()
            raise RuntimeError(f"The program ended with exit code {self.process.returncode}.")
        return dict(json.loads(line))


def deploy(corpus: Corpus, repeats: int) -> Iterator[Measurement]:
    """Measure start, memory, speed and sizes of one model, fitted on the included news texts."""
    del corpus
    sentences = read_sentences()
    with tempfile.TemporaryDirectory() as folder:
        models = fit(Path(folder))
        yield from starts(models, sentences[0], repeats)
        yield from rates(models, sentences, repeats)
        yield from model_sizes(Path(folder), sentences)
        if "fasttext" in models:
            size = models["fasttext"].stat().st_size / 1e6
            yield figure(f"model on disk, {PROGRAMS['fasttext']}", [size], unit="MB")
    yield from installed_sizes()


def read_sentences() -> list[str]:
    """Return short sentences: those of the test texts, then those of the training texts."""
    texts = [text for part in ("test", "train") for text in read_sample(part)[0]]
    sentences = [each for text in texts for each in re.split(r"(?<=[.!?])\s+", text) if each]
    return sentences[:SENTENCES]


def fit(folder: Path) -> dict[str, Path]:
    """Train all models on the same texts and return where they were saved."""
    texts, labels = read_sample("train", TRAIN_TEXTS)
    classifier = TextClassifier(**SETTINGS, device="cpu", progress=False).fit(texts, labels)
    classifier.save(folder / "model")
    models = {"numpy": folder / "model", "torch": folder / "model"}
    if find_spec("onnxruntime") is not None:
        models["onnx"] = folder / "model"
    if find_spec("fasttext") is not None:
        models["fasttext"] = folder / "model.ftz"
        fit_fasttext(texts, labels, models["fasttext"])
    return models


def fit_fasttext(texts: Sequence[str], labels: Sequence[str], path: Path) -> None:
    """Train and quantize a model as the examples of fastText do."""
    import fasttext

    lines = [
        f"__label__{label.replace(' ', '_')} {' '.join(text.lower().split())}\n"
        for text, label in zip(texts, labels, strict=True)
    ]
    data = path.with_name("fasttext.txt")
    data.write_text("".join(lines), encoding="utf-8")
    settings = {"lr": 0.5, "epoch": 5, "dim": 10, "wordNgrams": 2, "thread": 1, "verbose": 0}
    model = fasttext.train_supervised(str(data), **settings)
    model.quantize(str(data), cutoff=100_000, qnorm=True, retrain=True, thread=1, verbose=0)
    model.save_model(str(path))


def starts(models: dict[str, Path], text: str, repeats: int) -> Iterator[Measurement]:
    """Measure fresh processes up to the first answer, and their memory after it."""
    firsts: dict[str, list[dict[str, Any]]] = {name: [] for name in models}
    for turn in range(repeats + 1):
        for name, model in models.items():
            with Program(name, model, text) as program:
                if turn:  # before the first turn, files may not be in memory
                    firsts[name].append(program.first)
    for name, found in firsts.items():
        yield figure(
            f"fresh process to first answer, {PROGRAMS[name]}",
            [each["seconds"] for each in found],
            unit="s",
            bar=0.2 if name == "numpy" else None,
            processor=statistics.median(each["processor"] for each in found),
        )
    for name, found in firsts.items():
        yield figure(
            f"resident memory, {PROGRAMS[name]}",
            [each["resident"] for each in found],
            unit="MiB",
            bar=45 if name == "numpy" else None,
        )


def rates(models: dict[str, Path], sentences: list[str], repeats: int) -> Iterator[Measurement]:
    """Measure single strings and many sentences; of the latter, processor time."""
    strings = [[text] for text in sentences[:STRINGS]]
    one: dict[str, list[float]] = {name: [] for name in models}
    many: dict[str, list[float]] = {name: [] for name in models}
    with ExitStack() as stack:
        programs = {
            name: stack.enter_context(Program(name, model, sentences[0]))
            for name, model in models.items()
        }
        for turn in range(repeats + 1):
            for name, program in programs.items():
                single, together = program.answer(strings), program.answer([sentences])
                if turn:
                    one[name] += [1000 * seconds for seconds in single["seconds"]]
                    many[name].append(together["processor"])
    for name, values in one.items():
        bar = 1.0 if name == "numpy" else None
        yield figure(f"one short string, {PROGRAMS[name]}", values, unit="ms", bar=bar)
    for name, seconds in many.items():
        if name != "torch":
            yield ratio(
                f"{len(sentences):,} sentences, {PROGRAMS[name]}",
                PROGRAMS["torch"],
                seconds,
                many["torch"],
                work=(len(sentences), len(sentences)),
                bar=0.8 if name == "numpy" else None,
                aim=1.2 if name == "numpy" else None,
            )


def model_sizes(folder: Path, sentences: list[str]) -> Iterator[Measurement]:
    """Compare the number formats of weights, and the runtime with PyTorch."""
    classifier = TextClassifier.load(folder / "model", device="cpu")
    exact = classifier.predict_proba(sentences)  # (texts, labels)
    for precision in PRECISIONS:
        path = folder / precision
        classifier.save(path, weights=precision)
        ours = runtime.load(path).predict_proba(sentences)  # (texts, labels)
        difference = float(np.abs(ours - exact).max())
        if precision == "fp32":
            name = f"difference of probabilities, {PROGRAMS['numpy']} and {PROGRAMS['torch']}"
            yield figure(name, [difference], unit="", bar=1e-6)
        yield figure(
            f"model on disk, {precision}",
            [folder_size(path)],
            unit="MB",
            difference=difference,
            changed_labels=int((ours.argmax(axis=1) != exact.argmax(axis=1)).sum()),
        )


def installed_sizes() -> Iterator[Measurement]:
    """Measure the installed packages that each way to deploy a model needs."""
    package = folder_size(Path(textrnn.__file__).parent)
    for name, needed in {"numpy": ["numpy", "regex"], "torch": list(required("textrnn"))}.items():
        size = package + sum(map(installed_size, needed))
        yield figure(f"installed, {PROGRAMS[name]}", [size], unit="MB", packages=needed)
    if find_spec("fasttext") is not None:
        needed = ["numpy", "fasttext-numpy2"]
        size = sum(map(installed_size, needed))
        yield figure(f"installed, {PROGRAMS['fasttext']}", [size], unit="MB", packages=needed)


def required(package: str) -> dict[str, None]:
    """Return the packages that come with a package without extras."""
    found: dict[str, None] = {}
    for each in distribution(package).requires or ():
        name, _, marker = each.partition(";")
        bare = re.split(r"[^\w.-]", name.strip())[0]
        if not marker and bare not in found:
            found |= {bare: None} | required(bare)
    return found


def installed_size(package: str) -> float:
    """Return the size of the files of an installed package in MB."""
    paths = [Path(str(file.locate())) for file in distribution(package).files or ()]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def folder_size(path: Path) -> float:
    """Return the size of all files in a folder in MB, without compiled Python."""
    files = [each for each in path.rglob("*") if each.is_file() and each.suffix != ".pyc"]
    return sum(each.stat().st_size for each in files) / 1e6
