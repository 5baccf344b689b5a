"""The mathematics of one update: forward, backward, clipping, the optimizer, averaged weights."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from textrnn.data import Batch
from textrnn.errors import NonFiniteLossError, check_choice
from textrnn.training.averaging import WeightAveraging
from textrnn.training.distributed.processes import ALONE, Processes, Replica
from textrnn.training.loaders import required_labels
from textrnn.training.losses import Loss
from textrnn.training.state import TrainingState

__all__ = ["LossLedger", "Precision", "UpdateStep"]


class Precision:
    """In which numbers a model computes.

    ``"fp32"`` is plain; ``"bf16"`` and ``"fp16"`` run matrix products in half precision under
    `torch.autocast`, ``"fp16"`` with a gradient scaler (Micikevicius et al., 2018, "Mixed precision
    training"). Weights stay in fp32.

    Args:
        name: One of these names.
        device: Where the model computes.

    Raises:
        InvalidValueError: If there is no such precision.

    >>> with Precision("bf16", torch.device("cpu")).autocast():
    ...     (torch.ones(1, 1) @ torch.ones(1, 1)).dtype
    torch.bfloat16
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = check_choice("precision", name, ("fp32", "bf16", "fp16"))
        self.device = device

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context to compute a forward pass in."""
        if self.name == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Return a gradient scaler; it does nothing unless the precision is fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


class LossLedger:
    """Add up the losses of steps without making a GPU wait for each of them.

    On a CPU each loss is looked at before the weights are touched. Reading one from a GPU would
    make it wait, so there they are looked at together, every `interval` steps and whenever the sum
    is needed.

    Args:
        state: The run, whose ``loss_sum`` and ``loss_weight`` grow.
        interval: How many losses may wait.
        processes: Those that make the steps together; their losses are added up.
    """

    def __init__(
        self, state: TrainingState, *, interval: int, processes: Processes = ALONE
    ) -> None:
        self._state = state
        self._interval = interval
        self._processes = processes
        self._waiting: list[tuple[int, Tensor, Tensor | float, Sequence[Batch]]] = []

    def add(self, loss: Tensor, weight: Tensor | float, batches: Sequence[Batch]) -> None:
        """Note the mean loss of the step under way.

        Args:
            loss: The mean, a scalar; of several processes, what this one adds to it.
            weight: What the mean was taken with.
            batches: The texts of this process, to name them if the loss is not finite.

        Raises:
            NonFiniteLossError: If a loss is NaN or infinite.
        """
        self._waiting.append((self._state.step + 1, loss, weight, batches))
        if len(self._waiting) >= self._interval:
            self.flush()

    def flush(self) -> None:
        """Read all losses that wait.

        Raises:
            NonFiniteLossError: If one of them is NaN or infinite; its step, its texts and the last
                good checkpoint are named.
        """
        waiting, self._waiting = self._waiting, []
        own = _numbers([loss for _, loss, _, _ in waiting])
        losses = self._processes.sum(own) if waiting else own
        weights = _numbers([weight for _, _, weight, _ in waiting])
        for i, (loss, weight) in enumerate(zip(losses, weights, strict=True)):
            if not math.isfinite(loss):
                step, _, _, batches = waiting[i]
                suspects = [] if math.isfinite(own[i]) else batches
                raise NonFiniteLossError(self._complaint(loss, step, suspects))
            self._state.loss_sum += loss * weight
            self._state.loss_weight += weight

    def _complaint(self, value: float, step: int, batches: Sequence[Batch]) -> str:
        own = [i for batch in batches if batch.indices is not None for i in batch.indices.tolist()]
        texts = [i for each in self._processes.gather(own) for i in each]
        listed = ", ".join(map(str, texts[:16])) + (", ..." if len(texts) > 16 else "")
        where = f"on the texts with the indices {listed}" if texts else "on texts without indices"
        kept = self._state.last_checkpoint
        good = f"The last good checkpoint is {kept}." if kept else "There is no checkpoint."
        advice = "A lower learning rate or `max_grad_norm` may help."
        return f"The loss became {value} in step {step}, {where}. {good} {advice}"


def _numbers(values: Sequence[Tensor | float]) -> list[float]:
    """Read scalars, those of a GPU all at once."""
    if len(values) == 1 or not all(isinstance(value, Tensor) for value in values):
        return [float(value) for value in values]
    scalars = [value for value in values if isinstance(value, Tensor)]
    return torch.stack(scalars).double().tolist() if scalars else []


class UpdateStep:
    """One update of the weights from one or more batches.

    Several batches count as one large one: each adds its gradient with the share of the texts (or
    class weights) that it has in all of them. So do the batches of several processes.

    Args:
        model: The network, called with ``input_ids`` and ``lengths``.
        optimizer: Its optimizer.
        loss: The loss.
        precision: In which numbers to compute.
        max_grad_norm: The norm that gradients are scaled down to where they exceed it, or None
            (Pascanu et al., 2013, "On the difficulty of training recurrent neural networks").
        averaging: How weights are averaged, or None.
        total_steps: How many updates there will be, or None where that is not known.
        processes: Those that make the update together.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Loss,
        *,
        precision: Precision,
        max_grad_norm: float | None = None,
        averaging: WeightAveraging | None = None,
        total_steps: int | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.model = model
        self.processes = processes
        self.replica = Replica(model, processes)
        self.optimizer = optimizer
        self.loss = loss
        self.precision = precision
        self.scaler = precision.scaler()
        self.max_grad_norm = max_grad_norm
        self.averaging = averaging
        self.averaged = averaging.begin(model) if averaging else None
        self._average_from = averaging.first_step(total_steps) if averaging else 0

    @property
    def evaluated(self) -> nn.Module:
        """The model to evaluate: with averaged weights, where there are any yet."""
        if self.averaged is not None and int(self.averaged.n_averaged) > 0:
            return self.averaged.module
        return self.model

    def gradients(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor | float]:
        """Compute the gradients of the mean loss over all texts of the batches.

        Args:
            batches: Labelled batches on the model's device.

        Returns:
            The mean loss, a scalar, and the weight it was taken with. Of several processes, what
            this one adds to the mean, and the weight of all.

        Raises:
            InvalidValueError: If a batch has no labels, or wrong ones.
        """
        self.optimizer.zero_grad(set_to_none=True)
        self.replica.prepare()
        weights = [self.loss.weight(required_labels(batch)) for batch in batches]
        total = self.processes.begin_total(sum(weights))
        count = self.processes.count
        means = []
        for batch, weight in zip(batches, weights, strict=True):
            with self.replica.passing(last=batch is batches[-1]):
                with self.precision.autocast():
                    logits = self.replica(batch.input_ids, batch.lengths)  # (batch, classes)
                mean = self.loss(logits, batch.labels)
                if len(batches) * count > 1:
                    mean = mean * (weight / total())
                # The processes' gradients are averaged, but their parts of the mean add up to it.
                self.scaler.scale(mean if count == 1 else mean * count).backward()
            means.append(mean.detach())
        return (means[0] if len(means) == 1 else torch.stack(means).sum()), total()

    def update(self, step: int) -> bool:
        """Change the weights by the gradients.

        Args:
            step: The number of this update, from 1.

        Returns:
            Whether they changed: in fp16 an update with an overflow is left out.
        """
        if self.max_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        changed = self.scaler.get_scale() >= scale
        if self.averaged is not None and changed and step > self._average_from:
            self.averaged.update_parameters(self.model)
        return changed
