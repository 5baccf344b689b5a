"""One training step: forward, loss, backward, clipping, optimizer, averaging."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from textrnn.data import Batch
from textrnn.errors import NonFiniteLossError, check_choice
from textrnn.training.averaging import WeightAveraging
from textrnn.training.distributed.processes import ALONE, Processes, Replica
from textrnn.training.loaders import required_labels, to_device
from textrnn.training.losses import Loss, share
from textrnn.training.scheduling import Scheduler
from textrnn.training.state import TrainingState

__all__ = ["Precision", "RunningLoss", "TrainingStep"]

_GPU_LOSSES = 50  # losses that are read from a GPU together, since each read waits for it


class Precision:
    """The precision of matrix products: fp32, or bf16 or fp16 by autocast; weights stay fp32."""

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = check_choice("precision", name, ("fp32", "bf16", "fp16"))
        self.device = device

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass."""
        if self.name == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Return a gradient scaler (Micikevicius et al., 2018), which is idle except in fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


@dataclass(kw_only=True, eq=False)
class TrainingStep:
    """One update of the weights from one or more batches, which count as one large batch."""

    state: TrainingState
    loss: Loss
    scheduler: Scheduler
    precision: Precision
    max_grad_norm: float | None = None
    averaging: WeightAveraging | None = None
    total_steps: int | None = None
    processes: Processes = ALONE

    def __post_init__(self) -> None:
        self.model = self.state.model
        self.optimizer = self.state.optimizer
        self.scaler = self.precision.scaler()
        interval = 1 if self.precision.device.type == "cpu" else _GPU_LOSSES
        self.running_loss = RunningLoss(self.state, interval=interval, processes=self.processes)
        self._replica = Replica(self.model, self.processes)  # its weights are the main process's
        averaging = self.averaging
        self.averaged = averaging.begin(self.model) if averaging else None
        self._average_from = averaging.first_step(self.total_steps) if averaging else 0
        self.last_batch: Batch | None = None
        self._num_classes = getattr(self.model, "num_classes", None)

    def __call__(self, batches: Sequence[Batch]) -> None:
        """Update the weights once, and count the step in the state."""
        state = self.state
        state.learning_rate = float(self.optimizer.param_groups[0]["lr"])
        moved = [to_device(batch, self.precision.device, self._num_classes) for batch in batches]
        loss, weight = self.gradients(moved)
        self.running_loss.add(loss, weight, batches)  # on a CPU a NaN raises before the update
        if self.update():
            self.scheduler.step("step", state)
        state.step += 1
        self.last_batch = batches[-1]
        state.batches += len(batches)

    def gradients(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor | float]:
        """Compute the gradients of the mean loss; return this process's part, and its weight."""
        self.optimizer.zero_grad(set_to_none=True)
        self._replica.prepare()
        weights = [self.loss.weight(required_labels(batch), batch.weights) for batch in batches]
        total = self.processes.begin_total(sum(weights))
        count = self.processes.count
        means = []
        for batch, weight in zip(batches, weights, strict=True):
            with self._replica.passing(last=batch is batches[-1]):
                with self.precision.autocast():
                    logits = self._replica(batch.input_ids, batch.lengths)  # (batch, classes)
                mean = self.loss(logits, batch.labels, batch.weights)
                if len(batches) * count > 1:
                    mean = mean * share(weight, total())
                # Gradients are averaged over the processes, but their losses add up to the mean.
                self.scaler.scale(mean if count == 1 else mean * count).backward()
            means.append(mean.detach())
        return (means[0] if len(means) == 1 else torch.stack(means).sum()), total()

    def update(self) -> bool:
        """Clip gradients, update weights and their average; return False if fp16 overflowed."""
        if self.max_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        changed = self.scaler.get_scale() >= scale
        if self.averaged is not None and changed and self.state.step >= self._average_from:
            self.averaged.update_parameters(self.model)
        return changed

    @property
    def evaluated(self) -> nn.Module:
        """The model to evaluate: the averaged one as soon as a step has been averaged."""
        if self.averaged is not None and int(self.averaged.n_averaged) > 0:
            return self.averaged.module
        return self.model


class RunningLoss:
    """Adds the losses of steps to the state, and checks them every `interval` steps."""

    def __init__(
        self, state: TrainingState, *, interval: int, processes: Processes = ALONE
    ) -> None:
        self._state = state
        self._interval = interval
        self._processes = processes
        self._waiting: list[tuple[int, Tensor, Tensor | float, Sequence[Batch]]] = []

    def add(self, loss: Tensor, weight: Tensor | float, batches: Sequence[Batch]) -> None:
        """Add this process's part of the step's mean loss; an error would name the batches."""
        self._waiting.append((self._state.step + 1, loss, weight, batches))
        if len(self._waiting) >= self._interval:
            self.flush()

    def flush(self) -> None:
        """Read all waiting losses; raise an error that names the first step that is not finite."""
        waiting, self._waiting = self._waiting, []
        own = _numbers([loss for _, loss, _, _ in waiting])
        losses = self._processes.sum(own) if waiting else own
        weights = _numbers([weight for _, _, weight, _ in waiting])
        for i, (loss, weight) in enumerate(zip(losses, weights, strict=True)):
            if not math.isfinite(loss):
                step, _, _, batches = waiting[i]
                suspects = [] if math.isfinite(own[i]) else batches
                raise NonFiniteLossError(self.message(loss, f"in step {step}", suspects))
            self._state.loss_sum += loss * weight
            self._state.loss_weight += weight

    def message(self, value: float, when: str, batches: Sequence[Batch]) -> str:
        """Return what an error says of a loss that is not finite."""
        own = [i for batch in batches if batch.indices is not None for i in batch.indices.tolist()]
        texts = [i for each in self._processes.gather(own) for i in each]
        listed = ", ".join(map(str, texts[:16])) + (", ..." if len(texts) > 16 else "")
        where = f"on the texts with the indices {listed}" if texts else "on texts without indices"
        kept = self._state.last_checkpoint
        good = f"The last good checkpoint is {kept}." if kept else "There is no checkpoint."
        advice = "A lower learning rate or `max_grad_norm` may help."
        return f"The loss became {value} {when}, {where}. {good} {advice}"


def _numbers(values: Sequence[Tensor | float]) -> list[float]:
    """Read scalars, those of a GPU all at once."""
    if len(values) == 1 or not all(isinstance(value, Tensor) for value in values):
        return [float(value) for value in values]
    scalars = [value for value in values if isinstance(value, Tensor)]
    return torch.stack(scalars).double().tolist() if scalars else []
