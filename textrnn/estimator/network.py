"""The recurrent network of a classifier: made, pretrained and trained."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch

from textrnn.data import WordDataset
from textrnn.errors import InvalidTypeError, InvalidValueError, expected
from textrnn.estimator.batches import learning_loader, prediction_loader
from textrnn.estimator.labels import LabelSet
from textrnn.nn import RecurrentClassifier
from textrnn.training import (
    Callback,
    EarlyStopping,
    History,
    ProgressBar,
    Trainer,
    TrainingState,
    WeightAveraging,
    pretrain,
    schedulers,
)
from textrnn.training.distributed.processes import join
from textrnn.training.evaluation import evaluate
from textrnn.training.loop import CTRL_C
from textrnn.training.losses import Loss
from textrnn.training.pretraining import usual_batch_size
from textrnn.training.step import Precision

__all__ = ["Outcome", "Task", "fit_network", "resolve_device", "seeded"]

_LOGGER = logging.getLogger("textrnn")
_MONITOR = "log_loss"  # the metric that the best weights are chosen by


@dataclass(frozen=True, kw_only=True)
class Task:
    """Encoded texts, their labels, and the settings to train with."""

    train_set: WordDataset
    eval_set: WordDataset | None
    eval_given: bool  # rather than held out
    corpus: WordDataset | None  # to pretrain on: all texts but those held out
    unlabelled: int  # texts without labels in the corpus
    labels: LabelSet
    class_weights: Any
    settings: dict[str, Any]
    device: torch.device
    progress: bool


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The results of a training; `metrics` and `loss` are those of the validation part."""

    history: History
    metrics: dict[str, float]
    loss: Loss  # without label smoothing
    stopped: str | None


def fit_network(
    task: Task, before: RecurrentClassifier | None
) -> tuple[RecurrentClassifier, Outcome]:
    """Train a new network, pretrained if there is a corpus, or train a copy of `before` further."""
    network = _new_network(task) if before is None else deepcopy(before)
    if task.corpus is not None:
        _pretrain(network, task.corpus, task)
    return network, _train(network, task)


def _new_network(task: Task) -> RecurrentClassifier:
    options = (
        "cell",
        "hidden_size",
        "embedding_size",
        "num_layers",
        "bidirectional",
        "pooling",
        "dropout",
        "embedding_dropout",
        "layer_dropout",
    )
    return RecurrentClassifier(
        len(task.train_set.vocabulary),
        num_classes=len(task.labels),
        **{name: task.settings[name] for name in options},
    )


def _pretrain(network: RecurrentClassifier, corpus: WordDataset, task: Task) -> None:
    """Pretrain embedding and encoder; Ctrl-C is an error, since there is no classifier yet."""
    stage = "pretraining"
    log = _EpochLog(stage)
    pretrain(
        network,
        corpus,
        epochs=task.settings["pretrain_epochs"],
        # Processes divide a batch, so that results hardly depend on their number.
        batch_size=math.ceil(usual_batch_size(corpus) / join().count),
        precision=task.settings["precision"],
        device=task.device,
        seed=task.settings["seed"],
        callbacks=[_progress_bar(task, description=stage), log],
    )
    if log.stopped == CTRL_C:
        raise KeyboardInterrupt


def _train(network: RecurrentClassifier, task: Task) -> Outcome:
    """Train a network in place; the best weights on the validation part are kept."""
    settings, device = task.settings, task.device
    loader = learning_loader(
        task.train_set,
        batch_size=math.ceil(settings["batch_size"] / join().count),
        word_dropout=settings["word_dropout"],
        seed=settings["seed"],
        pin_memory=device.type == "cuda",
    )
    eval_loader = None if task.eval_set is None else prediction_loader(task.eval_set, shared=True)
    log = _EpochLog()
    callbacks: list[Callback] = [_progress_bar(task), log]
    if eval_loader is not None:
        callbacks.append(EarlyStopping(settings["patience"]))
    network.to(device)

    def plain_loss() -> Loss:  # "balanced" weights are known once training has begun
        return Loss(class_weights=trainer.loss.class_weights)

    trainer = Trainer(
        network,
        optimizer=torch.optim.AdamW(
            network.parameters(),
            lr=settings["learning_rate"],
            weight_decay=settings["weight_decay"],
            fused=device.type in {"cpu", "cuda"},
        ),
        scheduler=schedulers.linear_warmup(),
        class_weights=task.class_weights,
        label_smoothing=settings["label_smoothing"],
        max_grad_norm=settings["max_grad_norm"],
        weight_averaging=_averaging(settings, len(loader) * settings["epochs"]),
        precision=settings["precision"],
        # A smoothed loss may rate weights worse whose predictions are better.
        metrics={_MONITOR: lambda logits, labels: plain_loss().to(logits.device)(logits, labels)},
        monitor=_MONITOR,
        callbacks=callbacks,
    )
    history = trainer.fit(loader, eval_loader, epochs=settings["epochs"])
    network.eval()
    loss, metrics = plain_loss(), {}
    if eval_loader is not None:
        precision = Precision(settings["precision"], device)
        metrics = evaluate(network, eval_loader, loss, precision=precision, processes=join())
    return Outcome(history=history, metrics=metrics, loss=loss, stopped=log.stopped)


def _progress_bar(task: Task, **arguments: Any) -> ProgressBar:
    return ProgressBar(disable=None if task.progress else True, **arguments)


def _averaging(settings: dict[str, Any], steps: int) -> WeightAveraging | None:
    """Return how weights are averaged; an EMA covers about a tenth of all steps."""
    kind = settings["weight_averaging"]
    if kind == "ema":
        return WeightAveraging(kind="ema", decay=min(max(1 - 10 / steps, 0.5), 0.999))
    return None if kind is None else WeightAveraging.of(kind)


class _EpochLog(Callback):
    """Log each epoch, and keep the reason why training stopped."""

    def __init__(self, stage: str = "") -> None:
        self.stage = stage
        self.stopped: str | None = None

    def on_epoch_end(self, state: TrainingState) -> None:
        """Log the losses and the accuracy."""
        names = ("loss", f"eval_{_MONITOR}", "eval_accuracy")
        record = state.history[-1]
        figures = ", ".join(f"{name} {record[name]:.4f}" for name in names if name in record)
        stage = f"{self.stage.capitalize()}, epoch" if self.stage else "Epoch"
        _LOGGER.info("%s %d of %d: %s.", stage, state.epoch, state.epochs, figures)

    def on_fit_end(self, state: TrainingState) -> None:
        """Keep the reason."""
        self.stopped = state.stop_reason


def resolve_device(device: Any) -> torch.device:
    """Return the device of that name; `"auto"` is a CUDA GPU if there is one, else the CPU."""
    rule = "'auto' or the name of a device that is there, such as 'cpu' or 'cuda:0'"
    if not isinstance(device, str | torch.device):
        raise InvalidTypeError(expected("device", rule, device))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError):  # raised where torch was built without CUDA
        raise InvalidValueError(expected("device", rule, str(device))) from None


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators, and restore them at the end."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
