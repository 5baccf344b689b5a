"""Run experiments; skip finished runs, resume interrupted ones, and evaluate by two methods.

The notebook drew 5,000 test texts with replacement, measured accuracy on them twice an epoch and
took the best value, so the test texts selected the checkpoint. `TestLooks` records the same
evaluations during training and changes nothing. For the honest evaluation, the validation part
selects the checkpoint (`monitor="accuracy"`), and all test texts are evaluated once.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from examples.ag_news.data import Corpus
from examples.ag_news.experiments import Experiment
from examples.ag_news.pipeline import Encoded, make_model, make_trainer, scale_min_freq
from examples.ag_news.results import (
    Result,
    describe_environment,
    describe_predictions,
    load_result,
    save_result,
)
from textrnn.errors import InvalidValueError
from textrnn.training import Callback, Checkpoint, ProgressBar, TrainingState

__all__ = ["Runner", "TestLooks", "draw_like_the_notebook"]


def draw_like_the_notebook(texts: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw test texts as the notebook did: 5,000 of 7,600, or the same share of fewer texts.

    Return the positions of the distinct texts, ascending, and how often each was drawn.
    """
    size = max(1, round(texts * 5_000 / 7_600))
    drawn = np.random.RandomState(42).choice(np.arange(texts), size)  # the notebook's generator
    rows, counts = np.unique(drawn, return_counts=True)
    return rows, counts


class TestLooks(Callback):
    """Evaluate test texts when the notebook did: after the first update and halfway in an epoch.

    With `steps` updates per epoch, counted from 0, these are the updates 0 and `steps // 2` (1 and
    470 of the notebook's 938). The evaluations are recorded and have no effect on training. Each
    has its accuracy and the numbers of distinct texts `gained` (newly correct) and `lost`.
    """

    __test__ = False  # not a test case

    def __init__(
        self, predict: Callable[[], Tensor], labels: Tensor, counts: NDArray[np.int64]
    ) -> None:
        self.predict = predict
        self.labels = labels
        self.counts = counts  # how often each text was drawn
        self.looks: list[dict[str, Any]] = []
        self.seconds = 0.0
        self._previous: Tensor | None = None

    def on_batch_end(self, state: TrainingState) -> None:
        """Evaluate after one of the two updates."""
        steps = state.steps_per_epoch or 1
        if (state.step - 1) % steps in {0, steps // 2}:
            if torch.cuda.is_available():
                torch.cuda.synchronize()  # the time of pending updates does not count
            start = time.perf_counter()
            correct = self.predict().argmax(1) == self.labels  # (rows,)
            self.seconds += time.perf_counter() - start
            before = correct if self._previous is None else self._previous
            accuracy = float(np.average(correct, weights=self.counts))
            look = {"epoch": state.epoch, "step": state.step, "accuracy": accuracy}
            gained, lost = int((correct & ~before).sum()), int((before & ~correct).sum())
            self.looks.append({**look, "gained": gained, "lost": lost})
            self._previous = correct

    def state_dict(self) -> dict[str, Any]:
        """Return the evaluations so far."""
        previous = None if self._previous is None else self._previous.int().tolist()
        return {"looks": list(self.looks), "seconds": self.seconds, "previous": previous}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the evaluations so far."""
        self.looks, self.seconds = list(state["looks"]), state["seconds"]
        previous = state["previous"]
        self._previous = None if previous is None else torch.tensor(previous, dtype=torch.bool)


@dataclass
class Runner:
    """Train experiments and write a result file for each."""

    corpus: Corpus
    folder: Path  # of results and checkpoints
    device: torch.device
    precision: str = "fp32"
    preset: str = "full"  # its name in the result file
    _encoded: dict[int, Encoded] = field(default_factory=dict, repr=False)

    def result_path(self, experiment: Experiment, seed: int) -> Path:
        """Return the path of a result file."""
        return self.folder / "runs" / f"{experiment.name}-seed{seed}.json"

    def checkpoint_folder(self, experiment: Experiment, seed: int) -> Path:
        """Return the folder of a run's checkpoints, which depends on its settings."""
        key = hashlib.sha256(json.dumps(self._identity(experiment)).encode()).hexdigest()[:8]
        return self.folder / "checkpoints" / f"{experiment.name}-seed{seed}-{key}"

    def finished(self, experiment: Experiment, seed: int) -> Result | None:
        """Return the result of a finished run, or None; raise an error if it is of another run."""
        path = self.result_path(experiment, seed)
        if not path.exists():
            return None
        result = load_result(path)
        if result.identity() != self._identity(experiment):
            raise InvalidValueError(
                f"{path} has other settings or other data: choose another --output."
            )
        # Left over if the run was killed after writing its result.
        shutil.rmtree(self.checkpoint_folder(experiment, seed), ignore_errors=True)
        return result

    def run(self, experiment: Experiment, seed: int, *, title: str = "") -> Result:
        """Train an experiment, or resume it, and write its result."""
        encoded = self._encode(experiment.min_freq)
        rows, counts = draw_like_the_notebook(len(encoded.test))
        drawn_batches = encoded.evaluation_batches(encoded.test.select(rows.tolist()), self.device)
        loader = encoded.training_loader(seed=seed, pin_memory=self.device.type == "cuda")
        half_epoch = max(1, len(loader) // 2)
        checkpoints = self.checkpoint_folder(experiment, seed)

        torch.manual_seed(seed)
        model = make_model(experiment, encoded.vocabulary)
        looks = TestLooks(
            lambda: trainer.predict(drawn_batches),
            torch.tensor(self.corpus.test.select(rows.tolist()).labels),
            counts,
        )
        progress = ProgressBar(description=title)
        trainer = make_trainer(
            experiment,
            model,
            [looks, progress, Checkpoint(checkpoints, every_steps=half_epoch)],
            device=self.device,
            precision=self.precision,
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
        evaluated = [record for record in history if "eval_accuracy" in record]
        best = max(evaluated, key=lambda record: record["eval_accuracy"])  # the first maximum
        seconds = float(history[-1]["seconds"])
        texts = len(self.corpus.train) * experiment.epochs
        result = Result(
            experiment=experiment.name,
            parent=experiment.parent,
            change=experiment.change,
            group=experiment.group,
            seed=seed,
            preset=self.preset,
            precision=self.precision,
            settings=experiment.settings(),
            data=self.corpus.describe(),
            environment=describe_environment(self.device),
            vocabulary_size=len(encoded.vocabulary),
            parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
            steps_per_epoch=len(loader),
            seconds=round(seconds, 1),
            look_seconds=round(looks.seconds, 1),
            texts_per_second=round(texts / max(seconds - looks.seconds, 1e-9), 1),
            history=[dict(record) for record in history],
            looks=looks.looks,
            chosen={
                "step": best["step"],
                "epoch": best["epoch"],
                "accuracy": best["eval_accuracy"],
            },
            **describe_predictions(logits.float().softmax(1).numpy(), self.corpus.test),
        )
        if trainer.processes.is_main:
            save_result(self.result_path(experiment, seed), result)
            shutil.rmtree(checkpoints, ignore_errors=True)
        return result

    def _encode(self, min_freq: int) -> Encoded:
        if min_freq not in self._encoded:
            texts = len(self.corpus.train) + len(self.corpus.validation)
            self._encoded[min_freq] = Encoded(self.corpus, scale_min_freq(min_freq, texts))
        return self._encoded[min_freq]

    def _identity(self, experiment: Experiment) -> list[Any]:
        """Return what a result or a checkpoint must agree with, beside experiment and seed."""
        return [experiment.settings(), self.precision, self.corpus.fingerprint]
