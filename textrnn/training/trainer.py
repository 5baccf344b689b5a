"""`Trainer`: fit a model to batches, evaluate it, predict with it."""

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
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
    check_choice,
    check_float,
    check_int,
    expected,
)
from textrnn.training.adamw import AdamW
from textrnn.training.averaging import WeightAveraging
from textrnn.training.callbacks import Callback
from textrnn.training.distributed.processes import check_devices, device_location, join
from textrnn.training.distributed.shares import check_batch_counts, check_overlap, check_share
from textrnn.training.evaluation import (
    MetricFunction,
    check_metrics,
    check_monitor,
    evaluate,
    metric_names,
    predict,
)
from textrnn.training.history import History
from textrnn.training.loaders import (
    check_loader,
    check_total,
    count_steps,
    indices_of,
    weights_of,
)
from textrnn.training.loop import TrainingLoop, deterministic
from textrnn.training.losses import ClassWeights, Loss, LossFunction, balanced_weights
from textrnn.training.progress import with_progress
from textrnn.training.resume.checkpoint import Checkpoint, load_latest
from textrnn.training.scheduling import Scheduler, SchedulerLike
from textrnn.training.state import TrainingState
from textrnn.training.step import Precision, TrainingStep

__all__ = ["Trainer", "check_model", "check_optimizer"]


class Trainer:
    """Fit a model to batches, evaluate it, predict with it.

    Arguments change the mathematics of a step; a `Callback` observes the run or decides between
    steps. The model is called with the `input_ids` (batch, time)
    and `lengths` (batch,) of a `Batch` and returns logits (batch, classes).

    Batches may have weights of their texts: the loss is the weighted mean then, over all batches
    and processes of a step and over an evaluation. `"balanced"` class weights count the texts of a
    `WordDataset` or a list of batches by weight. `accuracy` and the like count all texts alike.

    Args:
        model: The network, any module with this signature.
        optimizer: An optimizer of its parameters. Default: AdamW with torch's defaults.
        loss: A function of logits and labels that returns the mean over the batch; batches must
            not have weights then. Default: cross-entropy for class ids, binary cross-entropy for
            floats (batch, classes).
        class_weights: A positive weight per class, or `"balanced"` to weight classes inversely to
            their frequency in the training texts. Default: None.
        label_smoothing: Share of a target that is spread over all classes. Default: 0.0.
        scheduler: A torch scheduler, or a factory `(optimizer, total_steps)` such as those of
            `textrnn.training.schedulers`; `total_steps` is how often it will step. Default: None.
        scheduler_interval: When the scheduler steps: after each `"step"`, `"evaluation"` or
            `"epoch"`. Default: that of the factory, else `"epoch"`.
        max_grad_norm: Norm to which longer gradients are scaled down. Default: None.
        accumulation_steps: Number of batches per update; they count as one large batch. Default: 1.
        precision: `"fp32"`, or `"bf16"` or `"fp16"` under autocast. Default: `"fp32"`.
        weight_averaging: `"ema"`, `"swa"` or a `WeightAveraging`; the averaged weights are
            evaluated and kept. Default: None.
        metrics: Additional metrics of evaluations: names mapped to functions of all logits
            (texts, classes) and all labels, and of all weights where texts have them. Default:
            None.
        monitor: Metric that selects the best weights, such as `"loss"` or, as in the history,
            `"eval_loss"`. Default: `"loss"`.
        mode: `"min"` or `"max"`: whether lower or higher values of `monitor` are better. Default:
            `"min"`.
        restore_best: Whether to restore the best weights at the end of `fit` if it has an
            evaluation loader. Default: True.
        callbacks: Callbacks. Their order does not affect the result. Default: ().
        progress: None for a bar on a terminal or in a notebook, True for a line per epoch elsewhere
            too, False for neither; see `ProgressBar`. Default: None.
        deterministic: Whether torch must use deterministic algorithms, which matters on a GPU (a
            CPU is deterministic anyway). Default: False.
        device: Device to train on; the model is moved there. Default: that of the model.

    Attributes:
        processes: Rank and number of the processes that train together under `torchrun` or in a
            process group of `torch.distributed`. Create the trainer and call its methods in all
            of them.
        state: The `TrainingState` at the end of the last call of `fit`, also after an error: its
            history, why it stopped, the step of the best weights. None before the first call.

    Raises:
        InvalidTypeError: If an argument has a wrong type.
        InvalidValueError: If an argument is out of range, or two exclude each other.

    Example:
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
        progress: bool | None = None,
        deterministic: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        self.processes = join()
        self.model, self.device = check_model(model, device)
        check_devices(self.processes.gather(device_location(self.device)))
        self.optimizer = check_optimizer(optimizer, model)
        self.loss = Loss(loss, class_weights=class_weights, label_smoothing=label_smoothing)
        if (num_classes := _num_classes(model)) is not None:
            self.loss.check_class_weights(num_classes)
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
        self.callbacks = with_progress(callbacks, progress)
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

        Ctrl-C stops after the current step; the best weights and the history are kept.

        Args:
            loader: Labelled batches, as a `DataLoader` or a list; iterated anew in each epoch.
            eval_loader: Labelled batches to evaluate on. Default: None.
            epochs: Total number of passes over `loader`, also when resuming.
            eval_every: Number of updates between evaluations. Default: one epoch.
            resume_from: Folder of a `Checkpoint`, or one of the checkpoints in it, to
                continue from exactly. A folder without a complete checkpoint gives a warning, and
                training starts anew. `"auto"` is the folder of the trainer's own `Checkpoint` if
                it has a checkpoint, else None. Default: None.

        Returns:
            The history, with a record for each evaluation and at the end of each epoch.

        Raises:
            InvalidTypeError: If a loader does not give batches, or can be iterated only once.
            InvalidValueError: If a loader is empty, labels are missing or out of range, or a
                checkpoint belongs to another run.
            MissingKeyError: If `monitor` is not a metric of the evaluation.
            NonFiniteLossError: If the loss became NaN or infinite, also that of the last batch by
                the weights that training ends with, the best ones where they are restored.
            CorruptFileError: If a checkpoint is complete, but can't be used.
            TrainingError: If a checkpoint can't be written.
        """
        state = TrainingState(
            model=self.model,
            optimizer=self.optimizer,
            epochs=check_int("epochs", epochs),
            monitor=self.monitor,
            mode=self.mode,
        )
        loop = self._make_loop(state, loader, eval_loader, eval_every)
        origin = self._origin(resume_from)
        found = None
        if origin is not None:
            load = partial(load_latest, origin, self.model, if_any=resume_from == "auto")
            found = self.processes.from_main(load)
        if found is not None:
            origin = found[0].parent
            loop.resume(*found)
        with ExitStack() as exits:
            for checkpoint in loop.checkpoints:
                exits.callback(checkpoint.end)
                self.processes.from_main(partial(checkpoint.begin, state, origin))
            self.state = state
            with deterministic(on=self.deterministic):
                loop.run()
        return state.history

    def evaluate(self, loader: Iterable[Batch]) -> dict[str, float]:
        """Evaluate the model.

        Args:
            loader: Labelled batches.

        Returns:
            `loss`, `accuracy`, `macro_f1` and further metrics as floats. They do not depend on
            the batch sizes.

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
        """Return the logits of all texts, in the order of the data set.

        Args:
            loader: Batches, labelled or not. Batches without indices keep their own order.

        Returns:
            Logits (texts, classes) in fp32 on the CPU.

        Raises:
            InvalidTypeError: If the loader does not give batches.
            InvalidValueError: If it is empty, or only some of the batches have indices.
        """
        return predict(self.model, loader, precision=self.precision, processes=self.processes)

    def _origin(self, resume_from: str | PathLike[str] | None) -> Path | None:
        """Return the folder to resume from."""
        if resume_from != "auto":
            return None if resume_from is None else Path(resume_from)
        folders = [each.directory for each in self.callbacks if isinstance(each, Checkpoint)]
        if len(folders) != 1:
            raise InvalidValueError(
                "Expected `resume_from='auto'` to mean the folder of exactly one `Checkpoint`, "
                f"but the callbacks have {len(folders)}."
            )
        return folders[0]

    def _make_loop(
        self,
        state: TrainingState,
        loader: Iterable[Batch],
        eval_loader: Iterable[Batch] | None,
        eval_every: int | None,
    ) -> TrainingLoop:
        """Check everything that can be checked before the first step, and build the loop."""
        eval_every = None if eval_every is None else check_int("eval_every", eval_every)
        num_classes = _num_classes(self.model)
        labels = check_loader("loader", loader, num_classes)
        check_share("loader", loader, self.processes)
        check_overlap("loader", loader, indices_of(loader), self.processes)
        check_batch_counts("loader", loader, self.processes)
        self._check_weights("loader", loader)
        if eval_loader is not None:
            check_share("eval_loader", eval_loader, self.processes)
            eval_labels = check_loader("eval_loader", eval_loader, num_classes)
            self._check_weights("eval_loader", eval_loader)
            state.evaluation_names = metric_names(eval_labels, self.metrics)
            state.monitor = check_monitor(self.monitor, state.evaluation_names)
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
        step = TrainingStep(
            state=state,
            loss=self.loss,
            scheduler=scheduler,
            precision=self.precision,
            max_grad_norm=self.max_grad_norm,
            averaging=self.weight_averaging,
            total_steps=steps,
            processes=self.processes,
        )
        return TrainingLoop(
            state=state,
            step=step,
            callbacks=self.callbacks,
            loader=loader,
            eval_loader=eval_loader,
            metrics=self.metrics,
            eval_every=eval_every,
            accumulation_steps=self.accumulation_steps,
            restore_best=self.restore_best,
        )

    def _check_weights(self, name: str, loader: Iterable[Batch]) -> None:
        """Check that all processes or none have weighted texts, and that not all weights are 0."""
        weights = weights_of(loader)
        total = 1.0 if weights is None else float(weights.sum())
        weighted, total = self.processes.sum([weights is not None, total])
        if weighted not in {0, self.processes.count}:
            rule = "of weighted texts in all processes or in none"
            raise InvalidValueError(expected(name, rule, loader))
        check_total(total, name)

    def _balance(
        self, loader: Iterable[Batch], labels: Tensor | None, num_classes: int | None
    ) -> None:
        """Weight the classes inversely to their frequency in the loader's labels."""
        if labels is None:
            rule = "a DataLoader over a labelled data set or a list of batches, to balance classes"
            raise InvalidValueError(f"Expected `loader` to be {rule}.")
        weights = weights_of(loader)
        weights = torch.ones(len(labels)) if weights is None else weights
        if not isinstance(loader, DataLoader):  # a list of batches holds only this process's labels
            labels = torch.cat(self.processes.gather(labels))
            weights = torch.cat(self.processes.gather(weights))
        if num_classes is None:
            num_classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
        found = balanced_weights(labels, num_classes, weights)
        self.loss.class_weights = found.to(self.device)


def _num_classes(model: nn.Module) -> int | None:
    classes = getattr(model, "num_classes", None)
    return classes if isinstance(classes, int) else None


def check_model(model: Any, device: torch.device | str | None) -> tuple[nn.Module, torch.device]:
    """Return the model on the device, and the device: where the model is if `device` is None."""
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
    _check_forward(model)
    return model, next(model.parameters()).device


def _check_forward(model: nn.Module) -> None:
    """Raise an error unless a model can be called with ids and lengths."""
    if getattr(model.forward, "__func__", None) is nn.Module.forward:
        raise InvalidTypeError(expected("model", "a module with a `forward` method", model))
    try:
        signature = inspect.signature(model.forward)
    except ValueError:  # that of a traced module is unknown
        return
    try:
        signature.bind(None, None)
    except TypeError:
        raise InvalidTypeError(
            "Expected `model` to be a module that is called as `model(input_ids, lengths)`, "
            f"but its `forward` takes ({', '.join(signature.parameters)})."
        ) from None


def check_optimizer(
    optimizer: torch.optim.Optimizer | None, model: nn.Module
) -> torch.optim.Optimizer:
    """Return the optimizer if it is one of the model's parameters, or AdamW if it is None."""
    if optimizer is None:
        weights = list(model.parameters())
        # One kernel per step saves a third of the time for a small network with many words.
        fused = all(w.is_floating_point() and w.device.type in {"cpu", "cuda"} for w in weights)
        return AdamW(weights, fused=fused)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InvalidTypeError(expected("optimizer", "a torch optimizer", optimizer))
    owned = {id(weight) for weight in model.parameters()}
    if not any(id(w) in owned for group in optimizer.param_groups for w in group["params"]):
        raise InvalidValueError(
            expected("optimizer", "over the model's parameters", type(optimizer).__name__)
        )
    return optimizer
