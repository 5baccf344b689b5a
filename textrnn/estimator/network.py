"""From encoded texts to a network: made, pretrained and trained."""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch

from textrnn.data import WordDataset
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    check_float,
    expected,
    show,
)
from textrnn.estimator.batches import learning_loader, prediction_loader
from textrnn.estimator.labels import LabelSet
from textrnn.estimator.settings import Settings
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

__all__ = ["Outcome", "class_weights_of", "fit_network", "resolve_device", "seeded"]

_LOGGER = logging.getLogger("textrnn")
_MONITOR = "log_loss"  # the figure that tells which weights are best


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a training.

    Attributes:
        history: The records.
        metrics: The measures of the validation part by the weights that were kept; empty without
            one.
        loss: What measured these, without smoothed labels, which help to learn, but tell nobody how
            good the probabilities are.
        stopped: Why training ended before its last epoch, or None.
    """

    history: History
    metrics: dict[str, float]
    loss: Loss
    stopped: str | None


class _Witness(Callback):
    """Log each record, and remember why training was stopped.

    Args:
        stage: What is trained, to put before the epoch; an empty string puts nothing there.

    Attributes:
        stopped: The reason, or None.
    """

    def __init__(self, stage: str = "") -> None:
        self.stage = stage
        self.stopped: str | None = None

    def on_epoch_end(self, state: TrainingState) -> None:
        """Log what the epoch brought."""
        names = ("loss", f"eval_{_MONITOR}", "eval_accuracy")
        record = state.history[-1]
        figures = ", ".join(f"{name} {record[name]:.4f}" for name in names if name in record)
        stage = f"{self.stage.capitalize()}, epoch" if self.stage else "Epoch"
        _LOGGER.info("%s %d of %d: %s.", stage, state.epoch, state.epochs, figures)

    def on_fit_end(self, state: TrainingState) -> None:
        """Remember the reason."""
        self.stopped = state.stop_reason


def resolve_device(device: Any) -> torch.device:
    """Return the device of that name; `"auto"` is a CUDA GPU where there is one, else the CPU.

    Raises:
        InvalidTypeError: If `device` is neither a name nor a device.
        InvalidValueError: If there is no such device here.
    """
    rule = "'auto' or the name of a device that is there, such as 'cpu' or 'cuda:0'"
    if not isinstance(device, str | torch.device):
        raise InvalidTypeError(expected("device", rule, device))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError):  # torch's word for a GPU that it was not built for
        raise InvalidValueError(expected("device", rule, str(device))) from None


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from torch's generators as if they were seeded, and leave them as they were."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def fit_network(
    train_set: WordDataset,
    eval_set: WordDataset | None,
    settings: Settings,
    *,
    before: RecurrentClassifier | None,
    corpus: WordDataset | None,
    num_classes: int,
    class_weights: Any,
    device: torch.device,
    progress: bool,
) -> tuple[RecurrentClassifier, Outcome]:
    """Train a new network, pretrained on `corpus` if there is one, or a copy of `before` further.

    Ctrl-C while pretraining raises a `KeyboardInterrupt`, since nothing predicts yet.
    """
    with seeded(settings.seed, device):
        if before is None:
            vocab_size = len(train_set.vocabulary)
            network = _new_network(settings, vocab_size=vocab_size, num_classes=num_classes)
        else:
            network = deepcopy(before)
        if corpus is not None:
            _pretrain(network, corpus, settings, device=device, progress=progress)
        outcome = _train(
            network,
            train_set,
            eval_set,
            settings,
            class_weights=class_weights,
            device=device,
            progress=progress,
        )
    return network, outcome


def _new_network(settings: Settings, *, vocab_size: int, num_classes: int) -> RecurrentClassifier:
    """Return an untrained network."""
    return RecurrentClassifier(
        vocab_size,
        num_classes=num_classes,
        cell=settings.cell,
        hidden_size=settings.hidden_size,
        embedding_size=settings.embedding_size,
        num_layers=settings.num_layers,
        bidirectional=settings.bidirectional,
        pooling=settings.pooling,
        dropout=settings.dropout,
        embedding_dropout=settings.embedding_dropout,
        layer_dropout=settings.layer_dropout,
    )


def _pretrain(
    network: RecurrentClassifier,
    corpus: WordDataset,
    settings: Settings,
    *,
    device: torch.device,
    progress: bool,
) -> None:
    """Train the embedding and the encoder of a network on texts without labels."""
    stage = "pretraining"
    witness = _Witness(stage)
    pretrain(
        network,
        corpus,
        epochs=settings.pretrain_epochs,
        # Several processes share each batch out, so that their number hardly changes anything.
        batch_size=math.ceil(usual_batch_size(corpus) / join().count),
        precision=settings.precision,
        device=device,
        seed=settings.seed,
        callbacks=[ProgressBar(disable=None if progress else True, description=stage), witness],
    )
    if witness.stopped == CTRL_C:
        raise KeyboardInterrupt


def _train(
    network: RecurrentClassifier,
    train_set: WordDataset,
    eval_set: WordDataset | None,
    settings: Settings,
    *,
    class_weights: Any,
    device: torch.device,
    progress: bool,
) -> Outcome:
    """Train a network in place, and keep its best weights where there is a validation part."""
    loader = learning_loader(
        train_set,
        batch_size=math.ceil(settings.batch_size / join().count),
        word_dropout=settings.word_dropout,
        seed=settings.seed,
        pin_memory=device.type == "cuda",
    )
    eval_loader = None if eval_set is None else prediction_loader(eval_set, shared=True)
    witness = _Witness()
    bar = ProgressBar(disable=None if progress else True)
    callbacks: list[Callback] = [bar, witness]
    if eval_loader is not None:
        callbacks.append(EarlyStopping(settings.patience))
    network.to(device)

    def plain() -> Loss:  # only when it trains does the trainer know balanced weights
        return Loss(class_weights=trainer.loss.class_weights)

    trainer = Trainer(
        network,
        optimizer=torch.optim.AdamW(
            network.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=device.type in {"cpu", "cuda"},
        ),
        scheduler=schedulers.linear_warmup(),
        class_weights=class_weights,
        label_smoothing=settings.label_smoothing,
        max_grad_norm=settings.max_grad_norm,
        weight_averaging=_averaging(settings, len(loader) * settings.epochs),
        precision=settings.precision,
        # By smoothed labels, weights that are right more often may seem worse.
        metrics={_MONITOR: lambda logits, labels: plain().to(logits.device)(logits, labels)},
        monitor=_MONITOR,
        callbacks=callbacks,
    )
    history = trainer.fit(loader, eval_loader, epochs=settings.epochs)
    network.eval()
    loss, metrics = plain(), {}
    if eval_loader is not None:
        precision = Precision(settings.precision, device)
        metrics = evaluate(network, eval_loader, loss, precision=precision, processes=join())
    return Outcome(history=history, metrics=metrics, loss=loss, stopped=witness.stopped)


def _averaging(settings: Settings, steps: int) -> WeightAveraging | None:
    """Return how weights are averaged; an EMA forgets within a tenth of all steps."""
    if settings.weight_averaging == "ema":
        return WeightAveraging(kind="ema", decay=min(max(1 - 10 / steps, 0.5), 0.999))
    kind = settings.weight_averaging
    return None if kind is None else WeightAveraging.of(kind)


def class_weights_of(given: Any, labels: LabelSet) -> Any:
    """Return a weight for each class, or what the trainer understands by itself.

    Args:
        given: None, `"balanced"`, or a mapping of labels to weights; a label without one has 1.
        labels: The labels.

    Raises:
        InvalidTypeError: If it is anything else.
        InvalidValueError: If a weight is not positive.
        MissingKeyError: If there is no such label.
    """
    if given is None or (isinstance(given, str) and given == "balanced"):
        return given
    if not isinstance(given, Mapping):
        rule = "'balanced', or a mapping of labels to weights"
        raise InvalidTypeError(expected("class_weight", rule, given))
    weights = [1.0] * len(labels)
    for name, weight in given.items():
        weights[labels.id_of(name)] = check_float(
            f"class_weight[{show(name)}]", weight, minimum=0.0, exclusive=True
        )
    return weights
