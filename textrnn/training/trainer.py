"""`Trainer`: fit a model to batches, evaluate it, predict with it."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from textrnn.data import Batch
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingKeyError,
    check_choice,
    check_float,
    check_int,
    expected,
    listing,
    show,
)
from textrnn.training.averaging import WeightAveraging
from textrnn.training.callbacks import Callback, ProgressBar
from textrnn.training.distributed.processes import check_devices, device_location, join
from textrnn.training.distributed.shares import check_batch_counts, check_overlap, check_share
from textrnn.training.evaluation import MetricFunction, evaluate, figure_names, predict
from textrnn.training.history import History
from textrnn.training.loaders import check_labels_of
from textrnn.training.loop import CTRL_C, Run, deterministic, interruptible
from textrnn.training.losses import ClassWeights, Loss, LossFunction, balanced_weights
from textrnn.training.resume.checkpoint import Checkpoint, load_latest
from textrnn.training.scheduling import Scheduler, SchedulerLike
from textrnn.training.state import TrainingState
from textrnn.training.step import Precision, UpdateStep

__all__ = [
    "Trainer",
    "check_callbacks",
    "check_evaluation",
    "check_loader",
    "check_metrics",
    "check_model",
    "check_optimizer",
    "count_steps",
]

_LOGGER = logging.getLogger("textrnn")


class Trainer:
    """Fit a model to batches, evaluate it, predict with it.

    What changes the mathematics of a step is an argument here; what watches or decides between
    steps is a `Callback`. A batch is a `Batch`, and the model is called with its ``input_ids``
    ``(batch, time)`` and ``lengths`` ``(batch,)`` and gives logits ``(batch, classes)``.

    Args:
        model: The network; any module that is called so.
        optimizer: An optimizer over its parameters. Default: AdamW with torch's defaults.
        loss: A function of logits and labels, the mean over the batch. Default: cross-entropy for
            class ids, binary cross-entropy for ``(batch, classes)`` floats.
        class_weights: A positive weight for each class, or ``"balanced"`` to give each class of
            the training texts the same say. Default: none.
        label_smoothing: The share of a target that is spread over all classes. Default: 0.0.
        scheduler: A torch scheduler, or a factory ``(optimizer, total_steps)`` such as those of
            `textrnn.training.schedulers`; ``total_steps`` is how often it will step. Default: none.
        scheduler_interval: ``"step"``, ``"evaluation"`` or ``"epoch"``: after what the scheduler
            steps. Default: what a factory says, else ``"epoch"``.
        max_grad_norm: The norm that gradients are scaled down to where they exceed it. Default:
            none.
        accumulation_steps: How many batches an update takes; they count as one large one.
            Default: 1.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"`` (the latter two by autocast). Default:
            ``"fp32"``.
        weight_averaging: ``"ema"``, ``"swa"`` or a `WeightAveraging`; the average is evaluated and
            kept. Default: none.
        metrics: Further figures for evaluations: names to functions of all logits
            ``(texts, classes)`` and all labels. Default: none.
        monitor: The figure that tells which weights are best. Default: ``"loss"``.
        mode: ``"min"`` or ``"max"``: whether less or more of it is better. Default: ``"min"``.
        restore_best: Whether the best weights come back at the end of `fit`, where it has an
            evaluation loader. Default: True.
        callbacks: Those who watch; their order changes no number. Default: none.
        progress: Whether to show a bar on a terminal. Default: True.
        deterministic: Whether torch must use deterministic algorithms, which matters on a GPU (a
            CPU is deterministic as it is). Default: False.
        device: Where to train; the model is moved there. Default: where it is.

    Attributes:
        processes: Those that train together, under ``torchrun`` or in a process group of
            `torch.distributed`: their number and this one's rank. The trainer is made, and its
            methods are called, in all of them.
        state: Where the last call of `fit` stood at its end, also after an error: its history, why
            it stopped, at which step the best weights were found. None before the first call.

    Raises:
        InvalidTypeError: If an argument has a wrong type.
        InvalidValueError: If an argument is out of range, or two exclude each other.

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
        self.processes = join()
        self.model, self.device = check_model(model, device)
        check_devices(self.processes.gather(device_location(self.device)))
        self.optimizer = check_optimizer(optimizer, model)
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
        self.metrics = check_metrics(metrics)
        self.monitor = monitor
        self.mode = check_choice("mode", mode, ("min", "max"))
        self.restore_best = restore_best
        self.callbacks = check_callbacks(callbacks, progress=progress)
        self.deterministic = deterministic
        self.state: TrainingState | None = None

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
            loader: Labelled batches, anew each time it is iterated; a list of batches will do.
            eval_loader: Labelled batches to evaluate on. Default: none.
            epochs: How many times to go through `loader` in all, also when resuming.
            eval_every: Evaluate after each so many updates. Default: at the end of each epoch.
            resume_from: The folder of a `Checkpoint` to continue from, exactly; or one of the
                checkpoints in it. A folder without a complete checkpoint gives a warning, and
                training starts anew. Default: none.

        Returns:
            The history, a record for each evaluation and each epoch's end.

        Raises:
            InvalidTypeError: If a loader does not give batches, or can be iterated only once.
            InvalidValueError: If a loader is empty, labels are missing or out of range, or a
                checkpoint is that of another run.
            MissingKeyError: If an evaluation does not give what is monitored.
            NonFiniteLossError: If the loss became NaN or infinite.
            CorruptFileError: If a checkpoint is whole, but can't be used.
            TrainingError: If a checkpoint can't be written.
        """
        state = TrainingState(
            model=self.model,
            optimizer=self.optimizer,
            epochs=check_int("epochs", epochs),
            monitor=self.monitor,
            mode=self.mode,
        )
        run = self._prepare(state, loader, eval_loader, eval_every)
        origin = None if resume_from is None else Path(resume_from)
        found = None if origin is None else self.processes.from_main(partial(load_latest, origin))
        if found is not None:
            origin = found[0].parent
            run.resume(*found)
        for callback in self.callbacks:
            if isinstance(callback, Checkpoint):
                self.processes.from_main(partial(callback.begin, state, origin))
        self.state = state
        with interruptible(state), deterministic(on=self.deterministic), ExitStack() as ends:
            for callback in reversed(run.watchers):  # the stack runs the last one first
                ends.callback(callback.on_fit_end, state)
            run.begin()
            while state.completed_epochs < state.epochs and not run.stopped():
                run.epoch()
            run.finish()
        if state.stop_reason is not None and self.processes.is_main:
            level = logging.WARNING if state.stop_reason == CTRL_C else logging.INFO
            _LOGGER.log(level, "%s", run.farewell())
        return state.history

    def evaluate(self, loader: Iterable[Batch]) -> dict[str, float]:
        """Measure the model.

        Args:
            loader: Labelled batches.

        Returns:
            ``loss``, ``accuracy``, ``macro_f1`` and further figures, as plain floats.

        Raises:
            InvalidTypeError: If the loader does not give batches, or a metric no number.
            InvalidValueError: If it is empty, or labels are missing or out of range.
        """
        return evaluate(
            self.model,
            loader,
            self.loss,
            precision=self.precision,
            metrics=self.metrics,
            processes=self.processes,
        )

    def predict(self, loader: Iterable[Batch]) -> Tensor:
        """Return the model's logits for all texts, in the data set's order.

        Args:
            loader: Batches, labelled or not.

        Returns:
            Logits ``(texts, classes)``, on the CPU.

        Raises:
            InvalidTypeError: If the loader does not give batches.
            InvalidValueError: If it is empty.
        """
        return predict(self.model, loader, precision=self.precision, processes=self.processes)

    def _prepare(
        self,
        state: TrainingState,
        loader: Iterable[Batch],
        eval_loader: Iterable[Batch] | None,
        eval_every: int | None,
    ) -> Run:
        """Check all that can be checked before the first step, and put the run together."""
        eval_every = None if eval_every is None else check_int("eval_every", eval_every)
        classes = getattr(self.model, "num_classes", None)
        num_classes = classes if isinstance(classes, int) else None
        labels = check_loader("loader", loader, num_classes)
        check_share("loader", loader, self.processes)
        check_overlap("loader", loader, _indices_of(loader), self.processes)
        check_batch_counts("loader", loader, self.processes)
        if eval_loader is not None:
            check_share("eval_loader", eval_loader, self.processes)
            eval_labels = check_loader("eval_loader", eval_loader, num_classes)
            state.evaluation_names = check_evaluation(eval_labels, self.metrics, self.monitor)
        if self.loss.balanced:
            self._balance(loader, labels, num_classes)
        state.steps_per_epoch = count_steps(loader, self.accumulation_steps)
        steps = state.steps_per_epoch and state.steps_per_epoch * state.epochs
        evaluations = (
            state.epochs if eval_every is None else steps and math.ceil(steps / eval_every)
        )
        counts = {"step": steps, "evaluation": evaluations, "epoch": state.epochs}
        scheduler = Scheduler(self.scheduler, self.optimizer, self.scheduler_interval, counts)
        scheduler.check(self.mode, evaluates=eval_loader is not None)
        step = UpdateStep(
            self.model,
            self.optimizer,
            self.loss,
            precision=self.precision,
            max_grad_norm=self.max_grad_norm,
            averaging=self.weight_averaging,
            total_steps=steps,
            processes=self.processes,
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

    def _balance(
        self, loader: Iterable[Batch], labels: Tensor | None, num_classes: int | None
    ) -> None:
        if labels is None:
            rule = "a DataLoader over a labelled data set or a list of batches, to balance classes"
            raise InvalidValueError(f"Expected `loader` to be {rule}.")
        if not isinstance(loader, DataLoader):  # a list of batches holds only this process's labels
            labels = torch.cat(self.processes.gather(labels))
        if num_classes is None:
            num_classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
        self.loss.class_weights = balanced_weights(labels, num_classes).to(self.device)


def _indices_of(loader: Iterable[Batch]) -> list[Tensor]:
    """Return the indices of a list of batches; none for anything else."""
    if not isinstance(loader, list | tuple):
        return []
    batches = [batch for batch in loader if isinstance(batch, Batch)]
    return [batch.indices for batch in batches if batch.indices is not None]


def check_model(model: Any, device: torch.device | str | None) -> tuple[nn.Module, torch.device]:
    """Return the model on the device, and the device.

    Args:
        model: A module with parameters.
        device: Where to train; None for where the model is.

    Raises:
        InvalidTypeError: If `model` is no module, or one that was made ready for several processes
            already.
        InvalidValueError: If it has no parameters, or there is no such device.
    """
    if not isinstance(model, nn.Module):
        raise InvalidTypeError(expected("model", "a torch module", model))
    if isinstance(model, nn.parallel.DistributedDataParallel):
        rule = "the module itself, without the `DistributedDataParallel` that the Trainer adds"
        raise InvalidTypeError(expected("model", rule, type(model).__name__))
    weights = next(model.parameters(), None)
    if weights is None:
        raise InvalidValueError(expected("model", "a module with parameters", model))
    if device is not None:
        try:
            model.to(torch.device(device))
        except (AssertionError, RuntimeError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise InvalidValueError(
                f"{expected('device', 'a device of this machine', device)} PyTorch says: {reason}"
            ) from error
    return model, next(model.parameters()).device


def check_optimizer(
    optimizer: torch.optim.Optimizer | None, model: nn.Module
) -> torch.optim.Optimizer:
    """Return the optimizer, or AdamW.

    Args:
        optimizer: An optimizer over parameters of the model, or None.
        model: The model.

    Raises:
        InvalidTypeError: If it is no optimizer.
        InvalidValueError: If it is not over the model's parameters.
    """
    if optimizer is None:
        weights = list(model.parameters())
        fused = all(w.is_floating_point() and w.device.type in {"cpu", "cuda"} for w in weights)
        # One kernel for a step: of a small network with many words it saves a third of the time.
        return torch.optim.AdamW(weights, fused=fused)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InvalidTypeError(expected("optimizer", "a torch optimizer", optimizer))
    owned = {id(weight) for weight in model.parameters()}
    if not any(id(w) in owned for group in optimizer.param_groups for w in group["params"]):
        raise InvalidValueError(
            expected("optimizer", "over the model's parameters", type(optimizer).__name__)
        )
    return optimizer


def check_metrics(
    metrics: Mapping[str, MetricFunction] | None,
) -> dict[str, MetricFunction]:
    """Return the metrics as a dictionary.

    Args:
        metrics: Names to functions, or None.

    Raises:
        InvalidTypeError: If they are something else.
    """
    given: Any = {} if metrics is None else metrics
    rule = "a mapping of names to functions of logits and labels"
    if not isinstance(given, Mapping):
        raise InvalidTypeError(expected("metrics", rule, given))
    if not all(isinstance(name, str) and callable(metric) for name, metric in given.items()):
        raise InvalidTypeError(expected("metrics", rule, dict(given)))
    return dict(given)


def check_callbacks(callbacks: Sequence[Callback], *, progress: bool) -> list[Callback]:
    """Return the callbacks, and a progress bar where it is wanted and there is none.

    Args:
        callbacks: The callbacks.
        progress: Whether there shall be a bar.

    Raises:
        InvalidTypeError: If one of them is none.
    """
    rule = "a list of `Callback` objects"
    given: Any = callbacks
    if not isinstance(given, Iterable):  # nor is a single callback
        raise InvalidTypeError(expected("callbacks", rule, given))
    found = list(given)
    for callback in found:
        if not isinstance(callback, Callback):
            raise InvalidTypeError(expected("callbacks", rule, callback))
    if progress and not any(isinstance(callback, ProgressBar) for callback in found):
        found.append(ProgressBar())
    return found


def check_loader(name: str, loader: Any, num_classes: int | None) -> Tensor | None:
    """Make sure that a loader can be gone through anew each time, and has right labels.

    Args:
        name: What to call it in a message.
        loader: The loader.
        num_classes: How many classes there are, or None where that is not known.

    Returns:
        All its labels, where they are known.

    Raises:
        InvalidTypeError: If it can't be iterated, or only once.
        InvalidValueError: If it is empty, or labels are missing or out of range.
    """
    if not isinstance(loader, Iterable) or isinstance(loader, Iterator):
        rule = "iterable anew each time, such as a DataLoader or a list of batches"
        raise InvalidTypeError(expected(name, rule, loader))
    if _count_batches(loader) == 0:
        raise InvalidValueError(expected(name, "at least one batch", loader))
    return check_labels_of(name, loader, num_classes)


def check_evaluation(
    labels: Tensor | None, metrics: Mapping[str, Any], monitor: str
) -> tuple[str, ...]:
    """Return the names of the figures that evaluations will give.

    Args:
        labels: The labels to evaluate on, where they are known.
        metrics: Further figures.
        monitor: The figure that is monitored.

    Raises:
        MissingKeyError: If that is not among them; those there are, are listed.
    """
    multilabel = None if labels is None else labels.is_floating_point()
    names = tuple(dict.fromkeys((*figure_names(multilabel=multilabel), *metrics)))
    if monitor not in names:
        raise MissingKeyError(
            f"Expected `monitor` to be a figure of an evaluation ({listing(names)}), "
            f"but got {show(monitor)}."
        )
    return names


def count_steps(loader: Iterable[Batch], accumulation_steps: int) -> int | None:
    """Return how many updates an epoch has.

    Args:
        loader: The training batches.
        accumulation_steps: How many of them an update takes.

    Returns:
        The number, or None where the loader has no length.
    """
    batches = _count_batches(loader)
    return None if batches is None else math.ceil(batches / accumulation_steps)


def _count_batches(loader: Iterable[Batch]) -> int | None:
    try:
        return len(loader) if isinstance(loader, Sized) else None
    except TypeError:  # a DataLoader over a stream has `__len__`, but no length
        return None
