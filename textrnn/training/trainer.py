"""`Trainer`: fit a model to batches, evaluate it, predict with it."""

import logging
import math
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn

from textrnn.data import Batch
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    check_choice,
    check_float,
    check_int,
    expected,
)
from textrnn.training.averaging import WeightAveraging
from textrnn.training.callbacks import Callback, ProgressBar
from textrnn.training.checkpoint import Checkpoint, load_latest
from textrnn.training.evaluation import MetricFunction, evaluate, predict
from textrnn.training.history import History
from textrnn.training.losses import ClassWeights, Loss, LossFunction, balanced_weights, labels_of
from textrnn.training.run import Run
from textrnn.training.scheduling import Scheduler, SchedulerLike
from textrnn.training.state import TrainingState
from textrnn.training.step import Precision, UpdateStep

__all__ = ["Trainer"]

_LOGGER = logging.getLogger("textrnn")


class Trainer:
    """Fit a model to batches, evaluate it, predict with it.

    What changes the mathematics of a step is an argument here; what watches or decides between
    steps is a `Callback`. A batch is a `Batch`, and the model is called with its ``input_ids``
    ``(batch, time)`` and ``lengths`` ``(batch,)`` and gives logits ``(batch, classes)``.

    Args:
        model: the network; any module that is called so.
        optimizer: an optimizer over its parameters. Default: AdamW with torch's defaults.
        loss: a function of logits and labels, the mean over the batch. Default: cross-entropy for
            class ids, binary cross-entropy for ``(batch, classes)`` floats.
        class_weights: a positive weight for each class, or ``"balanced"`` to give each class of
            the training texts the same say. Default: none.
        label_smoothing: the share of a target that is spread over all classes. Default: 0.0.
        scheduler: a torch scheduler, or a factory ``(optimizer, total_steps)`` such as those of
            `textrnn.training.schedulers`; ``total_steps`` is how often it will step. Default: none.
        scheduler_interval: ``"step"``, ``"evaluation"`` or ``"epoch"``: after what the scheduler
            steps. Default: what a factory says, else ``"epoch"``.
        max_grad_norm: the norm that gradients are scaled down to where they exceed it. Default:
            none.
        accumulation_steps: how many batches an update takes; they count as one large one.
            Default: 1.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"`` (the latter two by autocast). Default:
            ``"fp32"``.
        weight_averaging: ``"ema"``, ``"swa"`` or a `WeightAveraging`; the average is evaluated and
            kept. Default: none.
        metrics: further figures for evaluations: names to functions of all logits
            ``(texts, classes)`` and all labels. Default: none.
        monitor: the figure that tells which weights are best. Default: ``"loss"``.
        mode: ``"min"`` or ``"max"``: whether less or more of it is better. Default: ``"min"``.
        restore_best: whether the best weights come back at the end of `fit`, where it has an
            evaluation loader. Default: True.
        callbacks: those who watch; their order changes no number. Default: none.
        progress: whether to show a bar on a terminal. Default: True.
        deterministic: whether torch must use deterministic algorithms, which matters on a GPU (a
            CPU is deterministic as it is). Default: False.
        device: where to train; the model is moved there. Default: where it is.

    Raises:
        InvalidTypeError: an argument has a wrong type.
        InvalidValueError: an argument is out of range, or two exclude each other.

    >>> from textrnn.nn import RecurrentClassifier
    >>> batch = Batch(torch.tensor([[2, 4, 3], [2, 5, 3]]), torch.tensor([3, 3]),
    ...               torch.tensor([0, 1]), torch.tensor([0, 1]))
    >>> model = RecurrentClassifier(6, num_classes=2, hidden_size=8)
    >>> trainer = Trainer(model, optimizer=torch.optim.Adam(model.parameters(), lr=0.05))
    >>> history = trainer.fit([batch], [batch], epochs=20)
    >>> trainer.evaluate([batch])["accuracy"]
    1.0
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        optimizer: torch.optim.Optimizer | None = None,
        loss: LossFunction | None = None,
        class_weights: ClassWeights = None,
        label_smoothing: float = 0.0,
        scheduler: SchedulerLike | None = None,
        scheduler_interval: str | None = None,
        max_grad_norm: float | None = None,
        accumulation_steps: int = 1,
        precision: str = "fp32",
        weight_averaging: str | WeightAveraging | None = None,
        metrics: Mapping[str, MetricFunction] | None = None,
        monitor: str = "loss",
        mode: str = "min",
        restore_best: bool = True,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
        deterministic: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InvalidTypeError(expected("model", "a torch module", model))
        first = next(model.parameters(), None)
        if first is None:
            raise InvalidValueError(expected("model", "a module with parameters", model))
        self.device = first.device if device is None else torch.device(device)
        self.model = model.to(self.device)
        self.optimizer = _check_optimizer(optimizer, model)
        self.loss = Loss(loss, class_weights=class_weights, label_smoothing=label_smoothing)
        self.loss.to(self.device)
        self.scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        self.max_grad_norm = (
            None
            if max_grad_norm is None
            else check_float("max_grad_norm", max_grad_norm, minimum=0.0, exclusive=True)
        )
        self.accumulation_steps = check_int("accumulation_steps", accumulation_steps)
        self.precision = Precision(precision, self.device)
        self.weight_averaging = (
            None if weight_averaging is None else WeightAveraging.of(weight_averaging)
        )
        self.metrics = dict(metrics or {})
        self.monitor = monitor
        self.mode = check_choice("mode", mode, ("min", "max"))
        self.restore_best = restore_best
        self.callbacks = _check_callbacks(callbacks, progress=progress)
        self.deterministic = deterministic

    def fit(
        self,
        loader: Iterable[Batch],
        eval_loader: Iterable[Batch] | None = None,
        *,
        epochs: int,
        eval_every: int | None = None,
        resume_from: str | PathLike[str] | None = None,
    ) -> History:
        """Train the model.

        Ctrl-C stops after the step under way, keeps the best weights and the history, and says so.

        Args:
            loader: labelled batches, anew each time it is iterated; a list of batches will do.
            eval_loader: labelled batches to evaluate on. Default: none.
            epochs: how many times to go through `loader` in all, also when resuming.
            eval_every: evaluate after each so many updates. Default: at the end of each epoch.
            resume_from: the folder of a `Checkpoint` to continue from, exactly. A folder without a
                complete checkpoint gives a warning, and training starts anew. Default: none.

        Returns:
            The history, a record for each evaluation and each epoch's end.

        Raises:
            InvalidTypeError: a loader does not give batches.
            InvalidValueError: a loader is empty, labels are missing or out of range, or a
                checkpoint is that of another run.
            MissingKeyError: an evaluation does not give what is monitored.
            NonFiniteLossError: the loss became NaN or infinite.
            TrainingError: a checkpoint can't be written.
        """
        state = TrainingState(
            model=self.model,
            optimizer=self.optimizer,
            epochs=check_int("epochs", epochs),
            monitor=self.monitor,
            mode=self.mode,
            steps_per_epoch=_steps_per_epoch(loader, self.accumulation_steps),
        )
        run = self._prepare(state, loader, eval_loader, eval_every)
        found = None if resume_from is None else load_latest(resume_from)
        if found is not None:
            run.resume(*found)
        for callback in self.callbacks:
            if isinstance(callback, Checkpoint):
                callback.begin(state, None if resume_from is None else Path(resume_from))
        with _stoppable(state), _deterministic(on=self.deterministic):
            try:
                run.notify("on_fit_begin")
                while state.completed_epochs < state.epochs and state.stop_reason is None:
                    run.epoch()
                run.finish()
            finally:
                run.notify("on_fit_end")
        if state.stop_reason is not None:
            _LOGGER.info("Stopped after step %d: %s.", state.step, state.stop_reason)
        return state.history

    def evaluate(self, loader: Iterable[Batch]) -> dict[str, float]:
        """Measure the model.

        Args:
            loader: labelled batches.

        Returns:
            ``loss``, ``accuracy``, ``macro_f1`` and further figures, as plain floats.

        Raises:
            InvalidTypeError: the loader does not give batches.
            InvalidValueError: it is empty, or labels are missing or out of range.
        """
        return evaluate(
            self.model, loader, self.loss, precision=self.precision, metrics=self.metrics
        )

    def predict(self, loader: Iterable[Batch]) -> Tensor:
        """Return the model's logits for all texts, in the data set's order.

        Args:
            loader: batches, labelled or not.

        Returns:
            Logits ``(texts, classes)``, on the CPU.

        Raises:
            InvalidTypeError: the loader does not give batches.
            InvalidValueError: it is empty.
        """
        return predict(self.model, loader, precision=self.precision)

    def _prepare(
        self,
        state: TrainingState,
        loader: Iterable[Batch],
        eval_loader: Iterable[Batch] | None,
        eval_every: int | None,
    ) -> Run:
        eval_every = None if eval_every is None else check_int("eval_every", eval_every)
        self._check_labels("loader", loader)
        if eval_loader is not None:
            self._check_labels("eval_loader", eval_loader)
        if self.loss.balanced:
            self._balance(loader)
        steps = state.steps_per_epoch and state.steps_per_epoch * state.epochs
        evaluations = (
            state.epochs if eval_every is None else steps and math.ceil(steps / eval_every)
        )
        counts = {"step": steps, "evaluation": evaluations, "epoch": state.epochs}
        scheduler = Scheduler(self.scheduler, self.optimizer, self.scheduler_interval, counts)
        if scheduler.needs_evaluation and eval_loader is None:
            raise InvalidValueError(expected("eval_loader", "given for a plateau scheduler", None))
        step = UpdateStep(
            self.model,
            self.optimizer,
            self.loss,
            precision=self.precision,
            max_grad_norm=self.max_grad_norm,
            averaging=self.weight_averaging,
            total_steps=steps,
        )
        return Run(
            state,
            step=step,
            loss=self.loss,
            scheduler=scheduler,
            callbacks=self.callbacks,
            loader=loader,
            eval_loader=eval_loader,
            metrics=self.metrics,
            eval_every=eval_every,
            accumulation_steps=self.accumulation_steps,
            restore_best=self.restore_best,
        )

    def _check_labels(self, name: str, loader: Iterable[Batch]) -> None:
        """Find labels that are out of range before the first step, where they can be seen."""
        classes, labels = getattr(self.model, "num_classes", None), labels_of(loader)
        if labels is None or not len(labels) or not isinstance(classes, int):
            return
        if labels.is_floating_point():
            if labels.shape[1] != classes:
                rule = f"a loader of labels with {classes} columns, one per class"
                raise InvalidValueError(expected(name, rule, tuple(labels.shape)))
            return
        wrong = ((labels < 0) | (labels >= classes)).nonzero().flatten()
        if len(wrong):
            rule = f"a loader of labels from 0 to {classes - 1}"
            label, text = int(labels[wrong[0]]), int(wrong[0])
            raise InvalidValueError(f"Expected `{name}` to be {rule}, but text {text} has {label}.")

    def _balance(self, loader: Iterable[Batch]) -> None:
        labels, classes = labels_of(loader), getattr(self.model, "num_classes", None)
        if labels is None:
            rule = "a DataLoader over a labelled data set or a list of batches, to balance classes"
            raise InvalidValueError(expected("loader", rule, loader))
        if not isinstance(classes, int):
            classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
        self.loss.class_weights = balanced_weights(labels, classes).to(self.device)


def _check_optimizer(
    optimizer: torch.optim.Optimizer | None, model: nn.Module
) -> torch.optim.Optimizer:
    if optimizer is None:
        return torch.optim.AdamW(model.parameters())
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InvalidTypeError(expected("optimizer", "a torch optimizer", optimizer))
    owned = {id(weight) for weight in model.parameters()}
    if not any(id(w) in owned for group in optimizer.param_groups for w in group["params"]):
        raise InvalidValueError(
            expected("optimizer", "over the model's parameters", type(optimizer).__name__)
        )
    return optimizer


def _check_callbacks(callbacks: Sequence[Callback], *, progress: bool) -> list[Callback]:
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise InvalidTypeError(expected("callbacks", "a list of `Callback` objects", callback))
    shown = progress and not any(isinstance(callback, ProgressBar) for callback in callbacks)
    return [*callbacks, ProgressBar()] if shown else list(callbacks)


def _steps_per_epoch(loader: Iterable[Batch], accumulation_steps: int) -> int | None:
    if isinstance(loader, Iterator):
        rule = "iterable anew for each epoch, such as a DataLoader or a list"
        raise InvalidTypeError(expected("loader", rule, loader))
    try:
        batches = len(loader) if isinstance(loader, Sized) else None
    except TypeError:  # a DataLoader over a stream has `__len__`, but no length
        batches = None
    return None if batches is None else math.ceil(batches / accumulation_steps)


@contextmanager
def _stoppable(state: TrainingState) -> Iterator[None]:
    """Turn the first Ctrl-C into a request to stop; the second interrupts at once."""
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or previous is None:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        state.request_stop("interrupted by Ctrl-C")
        _LOGGER.warning("Ctrl-C: stopping after this step; the best weights are kept.")
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _deterministic(*, on: bool) -> Iterator[None]:
    """Make torch use deterministic algorithms, where asked to, and put its settings back."""
    if not on:
        yield
        return
    # cuBLAS reads this when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(mode=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before[0])
        torch.backends.cudnn.benchmark = before[1]
