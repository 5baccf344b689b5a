"""Run experiments; skip finished runs and resume interrupted ones."""

import hashlib
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from examples.ag_news.data import Corpus
from examples.ag_news.environment import describe_environment
from examples.ag_news.evaluation import TestLooks, draw_like_the_notebook, read_test
from examples.ag_news.experiments import Experiment
from examples.ag_news.pipeline import Encoded, make_model, make_trainer, scale_min_freq
from examples.ag_news.results import Result, load_result, save_result
from textrnn.errors import InvalidValueError
from textrnn.training import Checkpoint, History, ProgressBar

__all__ = ["Runner", "begun_runs"]

_MISTAKES_KEPT = 20
_CHECKPOINTS = re.compile(r"(.+)-seed(\d+)-[0-9a-f]{8}")


def begun_runs(folder: Path) -> list[tuple[str, int]]:
    """Return experiment and seed of each run in a folder that has checkpoints."""
    matches = (_CHECKPOINTS.fullmatch(path.name) for path in (folder / "checkpoints").glob("*"))
    return sorted((match[1], int(match[2])) for match in matches if match)


@dataclass
class Runner:
    """Train experiments and write a result file for each.

    Args:
        corpus: Texts.
        folder: Folder of results and checkpoints.
        device: Device for training.
        precision: `"fp32"`, `"bf16"` or `"fp16"`. Default: "fp32".
        preset: Name of the preset for the result file. Default: "full".
    """

    corpus: Corpus
    folder: Path
    device: torch.device
    precision: str = "fp32"
    preset: str = "full"
    _encoded: dict[int, Encoded] = field(default_factory=dict, repr=False)

    def result_path(self, experiment: Experiment, seed: int) -> Path:
        """Return the path of a result file."""
        return self.folder / "runs" / f"{experiment.name}-seed{seed}.json"

    def checkpoint_folder(self, experiment: Experiment, seed: int) -> Path:
        """Return the folder of a run's checkpoints, which depends on its settings."""
        identity = json.dumps(self._identity(experiment, seed), sort_keys=True)
        key = hashlib.sha256(identity.encode()).hexdigest()[:8]
        return self.folder / "checkpoints" / f"{experiment.name}-seed{seed}-{key}"

    def finished(self, experiment: Experiment, seed: int) -> Result | None:
        """Return the result of a finished run, or None; raise an error if it is of another run."""
        path = self.result_path(experiment, seed)
        if not path.exists():
            return None
        result = load_result(path)
        if result.identity() != self._identity(experiment, seed):
            raise InvalidValueError(
                f"{path} has other settings or other data: choose another --output."
            )
        # Left over if the run was killed after writing its result.
        shutil.rmtree(self.checkpoint_folder(experiment, seed), ignore_errors=True)
        return result

    def run(self, experiment: Experiment, seed: int, *, title: str = "") -> Result:
        """Train an experiment, or resume it, and write its result."""
        encoded = self._encode(experiment.min_freq)
        draw = draw_like_the_notebook(len(encoded.test))
        drawn = encoded.test.select(draw.rows.tolist())
        drawn_batches = encoded.evaluation_batches(drawn, self.device)
        loader = encoded.training_loader(seed=seed, pin_memory=self.device.type == "cuda")
        half_epoch = max(1, len(loader) // 2)
        checkpoints = self.checkpoint_folder(experiment, seed)

        torch.manual_seed(seed)
        model = make_model(experiment, encoded.vocabulary)
        looks = TestLooks(
            lambda: trainer.predict(drawn_batches),
            torch.tensor(self.corpus.test.select(draw.rows.tolist()).labels),
            draw,
        )
        watchers = [
            looks,
            ProgressBar(description=title),
            Checkpoint(checkpoints, every_steps=half_epoch),
        ]
        trainer = make_trainer(
            experiment, model, watchers, device=self.device, precision=self.precision
        )
        history = trainer.fit(
            loader,
            encoded.evaluation_batches(encoded.validation, self.device),
            epochs=experiment.epochs,
            eval_every=half_epoch,
            resume_from="auto",
        )
        if not history or history[-1]["step"] < len(loader) * experiment.epochs:
            raise KeyboardInterrupt
        # The validation part has selected the weights; the test texts are evaluated once.
        logits = trainer.predict(encoded.evaluation_batches(encoded.test, self.device))
        result = Result(
            **self._plan(experiment, seed),
            **self._measured(history, looks, experiment.epochs),
            **self._read(logits),
            vocabulary_size=len(encoded.vocabulary),
            parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
            steps_per_epoch=len(loader),
        )
        if trainer.processes.is_main:
            path = self.result_path(experiment, seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_result(path, result)
            shutil.rmtree(checkpoints, ignore_errors=True)
        return result

    def _encode(self, min_freq: int) -> Encoded:
        if min_freq not in self._encoded:
            texts = len(self.corpus.train) + len(self.corpus.validation)
            self._encoded[min_freq] = Encoded(self.corpus, scale_min_freq(min_freq, texts))
        return self._encoded[min_freq]

    def _identity(self, experiment: Experiment, seed: int) -> dict[str, Any]:
        return {
            "experiment": experiment.name,
            "settings": experiment.settings(),
            "precision": self.precision,
            "seed": seed,
            "fingerprint": self.corpus.fingerprint,
        }

    def _plan(self, experiment: Experiment, seed: int) -> dict[str, Any]:
        return {
            "experiment": experiment.name,
            "parent": experiment.parent,
            "change": experiment.change,
            "group": experiment.group,
            "seed": seed,
            "preset": self.preset,
            "precision": self.precision,
            "settings": experiment.settings(),
            "data": self.corpus.describe(),
            "environment": describe_environment(self.device),
        }

    def _measured(self, history: History, looks: TestLooks, epochs: int) -> dict[str, Any]:
        evaluated = [record for record in history if "eval_accuracy" in record]
        best = max(evaluated, key=lambda record: record["eval_accuracy"])  # the first maximum
        seconds = float(history[-1]["seconds"])
        texts = len(self.corpus.train) * epochs
        return {
            "seconds": round(seconds, 1),
            "look_seconds": round(looks.seconds, 1),
            "texts_per_second": round(texts / max(seconds - looks.seconds, 1e-9), 1),
            "history": [dict(record) for record in history],
            "looks": looks.looks,
            "chosen": {
                "step": best["step"],
                "epoch": best["epoch"],
                "accuracy": best["eval_accuracy"],
            },
        }

    def _read(self, logits: Tensor) -> dict[str, Any]:
        test, reading = self.corpus.test, read_test(logits)
        return {
            "predictions": "".join(map(str, reading.predictions)),
            "labels": "".join(map(str, test.labels)),
            "mistakes": [
                {
                    "row": row,
                    "text": test.texts[row],
                    "label": test.labels[row],
                    "prediction": reading.predictions[row],
                    "confidence": round(reading.confidences[row], 4),
                }
                for row in reading.mistakes(test.labels, _MISTAKES_KEPT)
            ],
        }
