"""The loop of `Trainer.fit`: epochs of steps, with evaluations and checkpoints between them."""

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from textrnn.data import Batch
from textrnn.errors import CorruptFileError, NonFiniteLossError, TextrnnError, TrainingError
from textrnn.training.callbacks import Callback
from textrnn.training.evaluation import MetricFunction, evaluate
from textrnn.training.loaders import EpochBatches
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
from textrnn.training.state import TrainingState
from textrnn.training.step import TrainingStep

__all__ = ["CTRL_C", "TrainingLoop", "deterministic", "interruptible"]

CTRL_C = "interrupted by Ctrl-C"
"""The `stop_reason` of a run that Ctrl-C stopped."""

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_LOGGER = logging.getLogger("textrnn")


@dataclass(kw_only=True, eq=False)
class TrainingLoop:
    """One call of `Trainer.fit`, from its first step or a checkpoint to its end."""

    state: TrainingState
    step: TrainingStep
    callbacks: Sequence[Callback]
    loader: Iterable[Batch]
    eval_loader: Iterable[Batch] | None
    metrics: Mapping[str, MetricFunction]
    eval_every: int | None
    accumulation_steps: int
    restore_best: bool

    def __post_init__(self) -> None:
        self.scheduler = self.step.scheduler
        self.processes = self.step.processes
        self.checkpoints = [each for each in self.callbacks if isinstance(each, Checkpoint)]
        self.restore_best = self.restore_best and self.eval_loader is not None
        self.best_weights: dict[str, Tensor] | None = None
        main = self.processes.is_main
        self._active = [each for each in self.callbacks if main or not each.main_only]
        self._position = Position(self.loader, self.state.model, self.processes)
        self._start_time = time.perf_counter() - self.state.seconds

    def run(self) -> None:
        """Train to the last epoch, or until a stop is requested."""
        state = self.state
        with interruptible(state), ExitStack() as exits:
            for callback in reversed(self._active):  # the stack runs the last one first
                exits.callback(callback.on_fit_end, state)
            self._notify("on_fit_begin")
            self._position.begin()
            while state.completed_epochs < state.epochs and not self._stopped():
                self._notify("on_epoch_begin")
                batches = self._position.open(epoch=state.completed_epochs, consumed=state.batches)
                state.model.train()
                epoch_ends = False
                while not epoch_ends and not self._stopped():
                    self.step(batches.take(self.accumulation_steps))
                    epoch_ends = self._exhausted(batches)
                    if self._evaluation_is_due(epoch_ends=epoch_ends):
                        self._evaluate()
                    self._notify("on_batch_end")
                    if epoch_ends:
                        self._end_epoch()
                    self._write_checkpoints()
            self.step.running_loss.flush()
            self._write_checkpoints(last=True)
            self._load_final_weights()
            self._check_last_update()
        self._log_stop()

    def _notify(self, hook: str) -> None:
        for callback in self._active:
            getattr(callback, hook)(self.state)

    def _stopped(self) -> bool:
        """Return whether a stop was requested in any process."""
        state = self.state
        if not any(self.processes.sum([state.stop_reason is not None])):
            return False
        for reason in filter(None, self.processes.gather(state.stop_reason)):
            state.request_stop(reason)
        return True

    def _exhausted(self, batches: EpochBatches) -> bool:
        """Return whether the epoch is over, which has to be so in all processes or in none."""
        exhausted = batches.exhausted()
        if self.state.steps_per_epoch is None:  # known lengths were compared before the first step
            over = self.processes.sum([exhausted])[0]
            if over not in {0, self.processes.count}:
                raise TrainingError(
                    "Expected `loader` to give as many batches in all processes, but it ended in "
                    f"{int(over)} of {self.processes.count} after step {self.state.step}."
                )
        return exhausted

    def _evaluation_is_due(self, *, epoch_ends: bool) -> bool:
        if self.eval_loader is None:
            return False
        if self.eval_every is None:
            return epoch_ends
        # The last weights are always evaluated, or they could not be the best.
        run_ends = epoch_ends and self.state.completed_epochs + 1 == self.state.epochs
        return run_ends or self.state.step % self.eval_every == 0

    def _evaluate(self) -> None:
        assert self.eval_loader is not None  # noqa: S101 # due only where there is one
        state, model = self.state, self.step.evaluated
        self.step.running_loss.flush()  # raises before spoilt weights count as the best
        self.processes.share_buffers(model)
        state.evaluation = evaluate(
            model,
            self.eval_loader,
            self.step.loss,
            precision=self.step.precision,
            metrics=self.metrics,
            processes=self.processes,
        )
        if state.improves(value := state.monitored(), state.best_value):
            state.best_value, state.best_step = value, state.step
            if self.restore_best:
                weights = model.state_dict().items()
                self.best_weights = {name: value.detach().clone() for name, value in weights}
        self._record({f"eval_{name}": value for name, value in state.evaluation.items()})
        self.scheduler.step("evaluation", state)
        self._notify("on_evaluation_end")

    def _record(self, evaluation: Mapping[str, float]) -> None:
        state = self.state
        self.step.running_loss.flush()
        state.seconds = time.perf_counter() - self._start_time
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
        self._notify("on_epoch_end")
        state.completed_epochs += 1
        state.batches = 0

    def _write_checkpoints(self, *, last: bool = False) -> None:
        state = self.state
        for checkpoint in self.checkpoints:
            due, checkpoint.due = checkpoint.due, False
            if last and state.step:
                due = due or not self.processes.from_main(partial(checkpoint.has, state.step))
            if due:
                self.step.running_loss.flush()
                self._check_weights()
                state.seconds = time.perf_counter() - self._start_time
                write = partial(checkpoint.write, state, self._snapshot())
                state.last_checkpoint = str(self.processes.from_main(write))

    def _check_weights(self) -> None:
        """Raise an error rather than save or return weights that are not finite."""
        for name, weight in self.state.model.named_parameters():
            if not bool(weight.isfinite().all()):
                kept = self.state.last_checkpoint
                good = f"The last good checkpoint is {kept}." if kept else "There is no checkpoint."
                raise NonFiniteLossError(
                    f"The weights {name} are not finite after step {self.state.step}. {good} "
                    "A lower learning rate or `max_grad_norm` may help."
                )

    def _check_last_update(self) -> None:
        """Raise an error if the model that training ends with is not finite, as no loss tells."""
        self._check_weights()
        step = self.step
        if step.last_batch is None:
            return
        # Finite weights may still be too large to compute with.
        batch = replace(step.last_batch, weights=None)  # which may all be 0
        found = evaluate(self.state.model, [batch], step.loss, precision=step.precision)
        (loss,) = self.processes.sum([found["loss"]])
        if not math.isfinite(loss):
            suspects = [] if math.isfinite(found["loss"]) else [step.last_batch]
            when = f"after step {self.state.step}"
            raise NonFiniteLossError(step.running_loss.message(loss, when, suspects))

    def _load_final_weights(self) -> None:
        """Give the model its best weights, or else the averaged ones."""
        state = self.state
        if self.restore_best and self.best_weights is not None:
            state.model.load_state_dict(self.best_weights)
        elif self.step.evaluated is not state.model:
            state.model.load_state_dict(self.step.evaluated.state_dict())

    def _log_stop(self) -> None:
        state = self.state
        if state.stop_reason is None or not self.processes.is_main:
            return
        weights = f"the weights of step {state.step}"
        if self.restore_best and self.best_weights is not None:
            weights = f"the best weights, of step {state.best_step}"
        level = logging.WARNING if state.stop_reason == CTRL_C else logging.INFO
        message = "Stopped after step %d (%s); the model has %s."
        _LOGGER.log(level, message, state.step, state.stop_reason, weights)

    def _settings(self) -> dict[str, Any]:
        """Return the settings, by argument, that a resumed run must share."""
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

    def _snapshot(self) -> Snapshot:
        """Return everything that a resume from here needs."""
        state, averaged = self.state, self.step.averaged
        tensors = {"model": dict(state.model.state_dict())}
        if averaged is not None:
            tensors["averaged"] = dict(averaged.state_dict())
        if self.best_weights is not None:
            tensors["best"] = self.best_weights
        position = self._position.state_dict(consumed=state.batches)
        main, *others = self.processes.gather(position)
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
                "settings": self._settings(),
                "state": state.state_dict(),
                "callbacks": [
                    [type(callback).__name__, callback.state_dict()] for callback in self.callbacks
                ],
            },
        )

    def resume(self, folder: Path, snapshot: Snapshot) -> None:
        """Continue from a checkpoint; one of another run is refused and changes nothing."""
        state, averaged = self.state, self.step.averaged
        tensors, saved, values = snapshot.tensors, snapshot.optimizer, snapshot.values
        check_settings(values["settings"], self._settings())
        models = {"model": state.model} | ({"averaged": averaged} if averaged else {})
        try:
            for name, model in models.items():
                check_weights(model, tensors[name])
            if "best" in tensors:
                check_weights(state.model, tensors["best"])
            self._position.check(snapshot)
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
            # Whatever torch or a callback raises, the checkpoint is at fault.
            raise CorruptFileError(f"The checkpoint {folder} can't be used: {error!r}.") from error
        self.best_weights = tensors.get("best")
        self._position.resume(snapshot)
        state.last_checkpoint = str(folder)
        self._start_time = time.perf_counter() - state.seconds


@contextmanager
def interruptible(state: TrainingState) -> Iterator[None]:
    """Turn the first Ctrl-C into a request to stop; the second interrupts at once."""
    previous = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or previous in {None, signal.SIG_IGN}:  # it is ignored under `nohup`
        yield
        return
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        if os.getpid() != process:  # a worker that was forked meanwhile
            return
        state.request_stop(CTRL_C)
        signal.signal(signal.SIGINT, previous)
        with suppress(RuntimeError):  # the signal may come while standard error is written to
            _LOGGER.warning("Ctrl-C: stopping after this step; a second one interrupts at once.")

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def deterministic(*, on: bool) -> Iterator[None]:
    """Make torch use deterministic algorithms if `on`, and restore its settings at the end."""
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
