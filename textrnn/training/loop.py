"""`Run`: one call of `Trainer.fit`, from its first step or a checkpoint to its end."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from textrnn.data import Batch
from textrnn.errors import CorruptFileError, NonFiniteLossError, TextrnnError, TrainingError
from textrnn.training.callbacks import Callback
from textrnn.training.evaluation import MetricFunction, evaluate
from textrnn.training.loaders import Feed, on_device
from textrnn.training.losses import Loss
from textrnn.training.resume.checkpoint import Checkpoint
from textrnn.training.resume.matching import (
    check_optimizer_state,
    check_scaler,
    check_scheduler,
    check_settings,
    check_weights,
    match_callbacks,
)
from textrnn.training.resume.position import Position
from textrnn.training.resume.snapshot import Snapshot
from textrnn.training.scheduling import Scheduler
from textrnn.training.state import TrainingState
from textrnn.training.step import LossLedger, UpdateStep

__all__ = ["CTRL_C", "Run", "deterministic", "interruptible"]

_GPU_LOSSES = 50  # how many losses wait on a GPU before they are read together


class Run:
    """What `Trainer.fit` works with: the place in the run, and the parts that move it on.

    Args:
        state: Where the run stands.
        step: The mathematics of an update.
        loss: The loss of evaluations.
        scheduler: The learning rate's changes.
        callbacks: Those who watch.
        loader: The training batches.
        eval_loader: The evaluation batches, or None.
        metrics: Further figures of an evaluation.
        eval_every: Updates from one evaluation to the next, or None for one at each epoch's end.
        accumulation_steps: How many batches an update takes.
        restore_best: Whether the best weights come back at the end.
    """

    def __init__(
        self,
        state: TrainingState,
        *,
        step: UpdateStep,
        loss: Loss,
        scheduler: Scheduler,
        callbacks: Sequence[Callback],
        loader: Iterable[Batch],
        eval_loader: Iterable[Batch] | None,
        metrics: Mapping[str, MetricFunction],
        eval_every: int | None,
        accumulation_steps: int,
        restore_best: bool,
    ) -> None:
        self.state = state
        self.step = step
        self.loss = loss
        self.scheduler = scheduler
        self.callbacks = callbacks
        self.eval_loader = eval_loader
        self.metrics = metrics
        self.eval_every = eval_every
        self.accumulation_steps = accumulation_steps
        self.restore_best = restore_best and eval_loader is not None
        self.processes = step.processes
        on_gpu = step.precision.device.type != "cpu"
        self.ledger = LossLedger(
            state, interval=_GPU_LOSSES if on_gpu else 1, processes=self.processes
        )
        self.best: dict[str, Tensor] | None = None
        self._num_classes = getattr(state.model, "num_classes", None)
        self._place = Position(loader, self.processes)
        self._clock = time.perf_counter() - state.seconds

    def begin(self) -> None:
        """Tell the callbacks, and draw random numbers from where the resumed run was."""
        self.notify("on_fit_begin")
        self._place.begin()

    @property
    def watchers(self) -> list[Callback]:
        """The callbacks whose hooks run in this process."""
        main = self.processes.is_main
        return [callback for callback in self.callbacks if main or not callback.main_only]

    def notify(self, hook: str) -> None:
        """Run a hook of the callbacks."""
        for callback in self.watchers:
            getattr(callback, hook)(self.state)

    def epoch(self) -> None:
        """Train for the rest of the current epoch, or until a stop is requested."""
        state = self.state
        self.notify("on_epoch_begin")
        feed = self._place.open(epoch=state.completed_epochs, consumed=state.batches)
        state.model.train()
        exhausted = False
        while not exhausted and not self.stopped():
            self._update(feed.take(self.accumulation_steps))
            exhausted = self._exhausted(feed)
            if self._evaluation_is_due(epoch_ends=exhausted):
                self._evaluate()
            self.notify("on_batch_end")
            if exhausted:
                self._end_epoch()
            self._write_checkpoints()

    def stopped(self) -> bool:
        """Tell whether a stop was requested, in all processes alike."""
        state = self.state
        if not any(self.processes.sum([state.stop_reason is not None])):
            return False
        for reason in filter(None, self.processes.gather(state.stop_reason)):
            state.request_stop(reason)
        return True

    def _exhausted(self, feed: Feed) -> bool:
        """Tell whether the epoch is over, in all processes alike."""
        exhausted = feed.exhausted()
        if self.state.steps_per_epoch is None:  # known numbers were compared before the first step
            over = self.processes.sum([exhausted])[0]
            if over not in {0, self.processes.count}:
                raise TrainingError(
                    "Expected `loader` to give as many batches in all processes, but it ended in "
                    f"{int(over)} of {self.processes.count} after step {self.state.step}."
                )
        return exhausted

    def _update(self, batches: list[Batch]) -> None:
        state, device = self.state, self.step.precision.device
        state.learning_rate = float(state.optimizer.param_groups[0]["lr"])
        moved = [on_device(batch, device, self._num_classes) for batch in batches]
        loss, weight = self.step.gradients(moved)
        self.ledger.add(loss, weight, batches)
        if self.step.update(state.step + 1):
            self.scheduler.step("step", state)
        state.step += 1
        state.batches += len(batches)

    def _evaluation_is_due(self, *, epoch_ends: bool) -> bool:
        if self.eval_loader is None:
            return False
        if self.eval_every is None:
            return epoch_ends
        # The last weights are always looked at, or they could not be the best.
        run_ends = epoch_ends and self.state.completed_epochs + 1 == self.state.epochs
        return run_ends or self.state.step % self.eval_every == 0

    def _evaluate(self) -> None:
        assert self.eval_loader is not None  # noqa: S101 # due only where there is one
        state, model = self.state, self.step.evaluated
        self.ledger.flush()  # a loss that is not finite is found before the weights count as good
        self.processes.share_buffers(model)
        state.evaluation = evaluate(
            model,
            self.eval_loader,
            self.loss,
            precision=self.step.precision,
            metrics=self.metrics,
            processes=self.processes,
        )
        if state.improves(value := state.monitored(), state.best_value):
            state.best_value, state.best_step = value, state.step
            if self.restore_best:
                self.best = _copy(model)
        self._record({f"eval_{name}": value for name, value in state.evaluation.items()})
        self.scheduler.step("evaluation", state)
        self.notify("on_evaluation_end")

    def _record(self, evaluation: Mapping[str, float]) -> None:
        state = self.state
        self.ledger.flush()
        state.seconds = time.perf_counter() - self._clock
        state.history.append(
            {
                "epoch": state.epoch,
                "step": state.step,
                "loss": state.loss,
                "learning_rate": state.learning_rate,
                "seconds": round(state.seconds, 3),
                **evaluation,
            }
        )
        state.loss_sum = state.loss_weight = 0.0

    def _end_epoch(self) -> None:
        state = self.state
        if not state.history or state.history[-1]["step"] != state.step:
            self._record({})
        self.scheduler.step("epoch", state)
        self.notify("on_epoch_end")
        state.completed_epochs += 1
        state.batches = 0

    def finish(self) -> None:
        """Write the last checkpoint and give the model the weights to keep."""
        state = self.state
        self.ledger.flush()
        self._write_checkpoints(last=True)
        if self.restore_best and self.best is not None:
            state.model.load_state_dict(self.best)
        elif self.step.evaluated is not state.model:
            state.model.load_state_dict(self.step.evaluated.state_dict())

    def farewell(self) -> str:
        """Say where training stopped and which weights the model has."""
        state = self.state
        kept = f"the weights of step {state.step}"
        if self.restore_best and self.best is not None:
            kept = f"the best weights, of step {state.best_step}"
        return f"Stopped after step {state.step} ({state.stop_reason}); the model has {kept}."

    def _write_checkpoints(self, *, last: bool = False) -> None:
        state = self.state
        for checkpoint in self.callbacks:
            if not isinstance(checkpoint, Checkpoint):
                continue
            due, checkpoint.due = checkpoint.due, False
            if last and state.step:
                due = due or not self.processes.from_main(partial(checkpoint.has, state.step))
            if due:
                self.ledger.flush()
                self._check_weights()
                state.seconds = time.perf_counter() - self._clock
                write = partial(checkpoint.write, state, self.snapshot())
                state.last_checkpoint = str(self.processes.from_main(write))

    def _check_weights(self) -> None:
        """Refuse to take weights for good that a gradient without bounds has spoilt."""
        for name, weight in self.state.model.named_parameters():
            if not bool(weight.isfinite().all()):
                kept = self.state.last_checkpoint
                good = f"The last good checkpoint is {kept}." if kept else "There is none."
                raise NonFiniteLossError(
                    f"The weights {name} are not finite after step {self.state.step}. {good} "
                    "A lower learning rate or `max_grad_norm` may help."
                )

    def settings(self) -> dict[str, Any]:
        """Return what a run has to share with the one that it continues, by the argument."""
        state, step = self.state, self.step
        sizes = [len(group["params"]) for group in state.optimizer.param_groups]
        return {
            "optimizer": f"{type(state.optimizer).__name__} of {sizes} parameters",
            "scheduler": self.scheduler.name,
            "scheduler_interval": self.scheduler.interval if self.scheduler.name else None,
            "precision": step.precision.name,
            "weight_averaging": None if step.averaging is None else repr(step.averaging),
            "accumulation_steps": self.accumulation_steps,
            "loader": f"one of {state.steps_per_epoch} steps per epoch",
            "monitor": state.monitor,
            "mode": state.mode,
        }

    def snapshot(self) -> Snapshot:
        """Return everything that the run needs to go on from here."""
        state, averaged = self.state, self.step.averaged
        tensors = {"model": dict(state.model.state_dict())}
        if averaged is not None:
            tensors["averaged"] = dict(averaged.state_dict())
        if self.best is not None:
            tensors["best"] = self.best
        place = self._place.state_dict(consumed=state.batches)
        main, *others = self.processes.gather(place)
        if ahead := main.pop("ahead"):
            tensors["ahead"] = ahead
        return Snapshot(
            tensors=tensors,
            optimizer={
                "optimizer": state.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "scaler": self.step.scaler.state_dict(),
                **main,
                "others": others,
            },
            values={
                "settings": self.settings(),
                "state": state.state_dict(),
                "callbacks": [
                    [type(callback).__name__, callback.state_dict()] for callback in self.callbacks
                ],
            },
        )

    def resume(self, folder: Path, snapshot: Snapshot) -> None:
        """Continue from a checkpoint.

        Args:
            folder: The checkpoint's own folder.
            snapshot: What it holds.

        Raises:
            InvalidValueError: If it is that of another model, loader, or set of settings; nothing
                has changed then.
            CorruptFileError: If it holds what can't be used.
        """
        state, averaged = self.state, self.step.averaged
        tensors, saved, values = snapshot.tensors, snapshot.optimizer, snapshot.values
        check_settings(values["settings"], self.settings())
        models = {"model": state.model} | ({"averaged": averaged} if averaged else {})
        try:
            for name, model in models.items():
                check_weights(model, tensors[name])
            if "best" in tensors:
                check_weights(state.model, tensors["best"])
            self._place.check(snapshot)
            check_optimizer_state(state.optimizer, saved["optimizer"])
            check_scheduler(self.scheduler, saved["scheduler"])
            check_scaler(self.step.scaler, saved["scaler"])
            pairs = match_callbacks(self.callbacks, values["callbacks"])
            for name, model in models.items():
                model.load_state_dict(tensors[name])
            state.optimizer.load_state_dict(saved["optimizer"])
            self.scheduler.load_state_dict(saved["scheduler"])
            self.step.scaler.load_state_dict(saved["scaler"])
            state.load_state_dict(values["state"])
            for callback, kept in pairs:
                callback.load_state_dict(kept)
        except TextrnnError:
            raise
        except Exception as error:
            # Whatever else goes wrong inside torch or a callback, it means the same.
            raise CorruptFileError(f"The checkpoint {folder} can't be used: {error!r}.") from error
        self.best = tensors.get("best")
        self._place.resume(snapshot)
        state.last_checkpoint = str(folder)
        self._clock = time.perf_counter() - state.seconds


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


CTRL_C = "interrupted by Ctrl-C"
"""The reason for a stop that Ctrl-C asked for."""

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_LOGGER = logging.getLogger("textrnn")


@contextmanager
def interruptible(state: TrainingState) -> Iterator[None]:
    """Turn the first Ctrl-C into a request to stop; the second interrupts at once.

    Outside of the main thread, and where Ctrl-C is ignored (as under ``nohup``), nothing is done.

    Args:
        state: Where the run stands.
    """
    previous = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or previous in {None, signal.SIG_IGN}:
        yield
        return
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        if os.getpid() != process:  # a worker that was forked meanwhile
            return
        state.request_stop(CTRL_C)
        signal.signal(signal.SIGINT, previous)
        with suppress(RuntimeError):  # it may come in the middle of a line to standard error
            _LOGGER.warning("Ctrl-C: stopping after this step; a second one interrupts at once.")

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def deterministic(*, on: bool) -> Iterator[None]:
    """Make torch use deterministic algorithms, where asked to, and put its settings back.

    Args:
        on: Whether to.
    """
    if not on:
        yield
        return
    mode = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    workspace = os.environ.get(_CUBLAS)
    # cuBLAS reads this when it is first used, and torch insists on it.
    os.environ.setdefault(_CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(mode=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=mode, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop(_CUBLAS, None)
