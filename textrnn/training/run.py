"""`Run`: one call of `Trainer.fit`, from its first step or a checkpoint to its end."""

import time
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from textrnn.data import Batch
from textrnn.errors import CorruptFileError, InvalidValueError, expected
from textrnn.training.callbacks import Callback
from textrnn.training.checkpoint import Checkpoint, Snapshot
from textrnn.training.evaluation import MetricFunction, evaluate
from textrnn.training.feed import Feed, loader_generators, restore_loader_generators
from textrnn.training.losses import Loss
from textrnn.training.scheduling import Scheduler
from textrnn.training.state import TrainingState, generator_states, restore_generators
from textrnn.training.step import LossLedger, UpdateStep

__all__ = ["Run"]

_GPU_LOSSES = 50  # how many losses wait on a GPU before they are read together


class Run:
    """What `Trainer.fit` works with: the place in the run, and the parts that move it on.

    Args:
        state: where the run stands.
        step: the mathematics of an update.
        loss: the loss of evaluations.
        scheduler: the learning rate's changes.
        callbacks: those who watch.
        loader: the training batches.
        eval_loader: the evaluation batches, or None.
        metrics: further figures of an evaluation.
        eval_every: updates from one evaluation to the next, or None for one at each epoch's end.
        accumulation_steps: how many batches an update takes.
        restore_best: whether the best weights come back at the end.
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
        self.loader = loader
        self.eval_loader = eval_loader
        self.metrics = metrics
        self.eval_every = eval_every
        self.accumulation_steps = accumulation_steps
        self.restore_best = restore_best and eval_loader is not None
        on_gpu = step.precision.device.type != "cpu"
        self.ledger = LossLedger(state, interval=_GPU_LOSSES if on_gpu else 1)
        self.best: dict[str, Tensor] | None = None
        self._epoch_start: dict[str, Any] = {}
        self._resumed: dict[str, Any] | None = None
        self._clock = time.perf_counter() - state.seconds

    def notify(self, hook: str) -> None:
        """Run a hook of all callbacks."""
        for callback in self.callbacks:
            getattr(callback, hook)(self.state)

    def epoch(self) -> None:
        """Train for the rest of the current epoch, or until a stop is requested."""
        state = self.state
        self.notify("on_epoch_begin")
        feed = self._open_feed()
        state.model.train()
        while not feed.exhausted() and state.stop_reason is None:
            self._update(feed.take(self.accumulation_steps))
            if self._evaluation_is_due(epoch_ends=feed.exhausted()):
                self._evaluate()
            self.notify("on_batch_end")
            if feed.exhausted():
                self._end_epoch()
            self._write_checkpoints()

    def _update(self, batches: list[Batch]) -> None:
        state, device = self.state, self.step.precision.device
        state.learning_rate = float(state.optimizer.param_groups[0]["lr"])
        loss, weight = self.step.gradients([b.to(device, non_blocking=True) for b in batches])
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
        state.evaluation = evaluate(
            model, self.eval_loader, self.loss, precision=self.step.precision, metrics=self.metrics
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

    def _open_feed(self) -> Feed:
        state = self.state
        resumed, self._resumed = self._resumed, None
        now = None
        if resumed is not None:
            # Run the loader as the interrupted epoch did, then go on with what was drawn since.
            now = resumed["now"]
            begin = resumed["epoch_start"] if state.batches else now
            restore_generators(begin["global"])
            restore_loader_generators(self.loader, begin["loader"])
        self._epoch_start = self._generators()
        feed = Feed(self.loader, epoch=state.completed_epochs, consumed=state.batches)
        if now is not None and state.batches:
            restore_generators(now["global"])
        if feed.exhausted():
            raise InvalidValueError(expected("loader", "at least one batch in every epoch", []))
        return feed

    def _generators(self) -> dict[str, Any]:
        return {"global": generator_states(), "loader": loader_generators(self.loader)}

    def _write_checkpoints(self, *, last: bool = False) -> None:
        step_folder = f"step-{self.state.step:08d}"
        for checkpoint in self.callbacks:
            if isinstance(checkpoint, Checkpoint):
                missing = last and not (checkpoint.directory / step_folder).exists()
                if checkpoint.due or (missing and self.state.step):
                    self.ledger.flush()
                    self.state.seconds = time.perf_counter() - self._clock
                    checkpoint.write(self.state, self.snapshot())

    def snapshot(self) -> Snapshot:
        """Return everything that the run needs to go on from here."""
        state, averaged = self.state, self.step.averaged
        tensors = {"model": dict(state.model.state_dict())}
        if averaged is not None:
            tensors["averaged"] = dict(averaged.state_dict())
        if self.best is not None:
            tensors["best"] = self.best
        return Snapshot(
            tensors=tensors,
            optimizer={
                "optimizer": state.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "scaler": self.step.scaler.state_dict(),
                "now": self._generators(),
                "epoch_start": self._epoch_start,
            },
            values={
                "state": state.state_dict(),
                "steps_per_epoch": state.steps_per_epoch,
                "callbacks": [
                    [type(callback).__name__, deepcopy(callback.state_dict())]
                    for callback in self.callbacks
                ],
            },
        )

    def resume(self, folder: Path, snapshot: Snapshot) -> None:
        """Continue from a checkpoint.

        Args:
            folder: the checkpoint's own folder.
            snapshot: what it holds.

        Raises:
            InvalidValueError: it is that of another model, loader, scheduler or set of callbacks.
        """
        state, averaged = self.state, self.step.averaged
        values, saved = snapshot.values, snapshot.optimizer
        if values["steps_per_epoch"] != state.steps_per_epoch:
            rule = f"the run's own, with {values['steps_per_epoch']} steps an epoch"
            raise InvalidValueError(expected("loader", rule, state.steps_per_epoch))
        names = [type(callback).__name__ for callback in self.callbacks]
        if [name for name, _ in values["callbacks"]] != names:
            rule = f"the run's own, {[name for name, _ in values['callbacks']]}"
            raise InvalidValueError(expected("callbacks", rule, names))
        if ("averaged" in snapshot.tensors) != (averaged is not None):
            rule = "as it was in the run that is resumed"
            raise InvalidValueError(expected("weight_averaging", rule, averaged is not None))
        try:
            _load(state.model, snapshot.tensors["model"])
            if averaged is not None:
                _load(averaged, snapshot.tensors["averaged"])
            state.optimizer.load_state_dict(saved["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            rule = f"those of the run that wrote {folder}"
            raise InvalidValueError(
                f"Expected `model` and `optimizer` to be {rule}: {error}"
            ) from error
        self.scheduler.load_state_dict(saved["scheduler"])
        self.step.scaler.load_state_dict(saved["scaler"])
        try:
            state.load_state_dict(values["state"])
            for callback, (_, kept) in zip(self.callbacks, values["callbacks"], strict=True):
                callback.load_state_dict(kept)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(f"The checkpoint {folder} can't be used: {error!r}.") from error
        self.best = snapshot.tensors.get("best")
        state.last_checkpoint = str(folder)
        self._resumed = {"now": saved["now"], "epoch_start": saved["epoch_start"]}
        self._clock = time.perf_counter() - state.seconds


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _load(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    model.load_state_dict(dict(weights))
