"""The recurrent network of a classifier: made, pretrained and trained."""

import logging
import math
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from textrnn.data import WordDataset
from textrnn.errors import InvalidValueError, expected
from textrnn.estimator.batches import learning_loader, prediction_loader
from textrnn.estimator.task import Task
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
from textrnn.training.adamw import AdamW
from textrnn.training.distributed.processes import join
from textrnn.training.loop import CTRL_C
from textrnn.training.losses import Loss, balanced_weights
from textrnn.training.pretraining import usual_batch_size
from textrnn.training.progress import describe_epoch

__all__ = ["Outcome", "fit_network", "plain_loss"]

_LOGGER = logging.getLogger("textrnn")
_MONITOR = "log_loss"  # the metric that the best weights are chosen by


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The results of training a network."""

    history: History
    metrics: dict[str, float]  # of the validation part; empty without an evaluation
    loss: Loss  # without label smoothing
    stopped: str | None


def fit_network(
    task: Task, before: RecurrentClassifier | None
) -> tuple[RecurrentClassifier, Outcome]:
    """Train a new network, pretrained if there is a corpus, or train a copy of `before` further."""
    generator = torch.Generator().manual_seed(task.settings["seed"])
    network = _new_network(task, generator) if before is None else deepcopy(before)
    network.generator = generator
    if task.vectors is not None:  # from few texts, only the vectors of their own words would change
        network.embedding.weight.requires_grad_(False)  # torch takes it by position
    if task.corpus is not None:
        _pretrain(network, task.corpus, task)
    outcome = _train(network, task)
    network.generator = None
    return network, outcome


def _new_network(task: Task, generator: torch.Generator) -> RecurrentClassifier:
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
    try:
        network = RecurrentClassifier(
            len(task.train_set.vocabulary),
            num_classes=len(task.labels),
            **{name: task.settings[name] for name in options},
            generator=generator,
        )
    except RuntimeError as error:  # by PyTorch's allocator
        sizes = {name: task.settings[name] for name in ("hidden_size", "embedding_size")}
        rule = "such that the network fits into memory"
        raise InvalidValueError(expected("hidden_size", rule, sizes)) from error
    network.float()  # not in another default of PyTorch
    if task.embedding is not None:
        with torch.no_grad():
            network.embedding.weight.copy_(torch.from_numpy(task.embedding))
    return network


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
        callbacks=[ProgressBar(progress=task.progress, description=stage), log],
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
        max_length=settings["max_train_length"],
        seed=settings["seed"],
        pin_memory=device.type == "cuda",
    )
    eval_loader = None if task.eval_set is None else prediction_loader(task.eval_set, shared=True)
    log = _EpochLog("network")
    callbacks: list[Callback] = [ProgressBar(progress=task.progress), log]
    if eval_loader is not None:
        callbacks.append(EarlyStopping(settings["patience"]))
    network.to(device)

    def unsmoothed() -> Loss:  # "balanced" weights are known once training has begun
        return Loss(class_weights=trainer.loss.class_weights)

    trainer = Trainer(
        network,
        optimizer=AdamW(
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
        metrics={_MONITOR: lambda logits, *others: unsmoothed().to(logits.device)(logits, *others)},
        monitor=_MONITOR,
        callbacks=callbacks,
    )
    history = trainer.fit(loader, eval_loader, epochs=settings["epochs"])
    network.eval()
    return Outcome(
        history=history,
        metrics=_best_metrics(trainer.state),
        loss=unsmoothed(),
        stopped=log.stopped,
    )


def _best_metrics(state: TrainingState | None) -> dict[str, float]:
    """Return the metrics of the best weights, without the smoothed loss."""
    if state is None or state.best_value is None:
        return {}
    record = next(each for each in state.history if each["step"] == state.best_step)
    names = [name.removeprefix("eval_") for name in record if name.startswith("eval_")]
    order = [_MONITOR, *(name for name in names if name not in {_MONITOR, "loss"})]
    return {name: record[f"eval_{name}"] for name in order}


def _averaging(settings: dict[str, Any], steps: int) -> WeightAveraging | None:
    """Return the averaging of weights; an EMA covers about a tenth of all steps."""
    kind = settings["weight_averaging"]
    if kind == "ema":
        return WeightAveraging(kind="ema", decay=min(max(1 - 10 / steps, 0.5), 0.999))
    return None if kind is None else WeightAveraging.of(kind)


class _EpochLog(Callback):
    """Log each epoch, and keep the reason why training stopped."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.stopped: str | None = None

    def on_epoch_end(self, state: TrainingState) -> None:
        """Log the losses and the accuracy."""
        _LOGGER.info("%s, %s.", self.stage.capitalize(), describe_epoch(state))

    def on_fit_end(self, state: TrainingState) -> None:
        """Keep the reason."""
        self.stopped = state.stop_reason


def plain_loss(task: Task) -> Loss:
    """Return the loss without label smoothing of a task for which no network is trained."""
    weights, data = task.class_weights, task.train_set
    if isinstance(weights, str):  # "balanced"
        weights = balanced_weights(cast("Tensor", data.labels), len(task.labels), data.weights)
    return Loss(class_weights=weights)
