"""The learning-rate range test: find a good learning rate in about a hundred steps."""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from textrnn.data import Batch
from textrnn.errors import (
    InvalidValueError,
    TrainingError,
    check_float,
    check_int,
    expected,
)
from textrnn.training.evaluation import undisturbed_modes
from textrnn.training.loaders import check_batch, check_labels, check_loader, required_labels
from textrnn.training.losses import Loss, LossFunction
from textrnn.training.resume.generators import undisturbed_generators
from textrnn.training.trainer import check_model, check_optimizer

__all__ = ["LearningRateCurve", "find_learning_rate"]

_DIVERGED = 4.0  # times the lowest smoothed loss


@dataclass(frozen=True)
class LearningRateCurve:
    """The losses of a range test.

    Attributes:
        rates: Learning rate of each step, growing by a constant factor.
        losses: Loss of each step's batch, before the step.
        smoothed: Bias-corrected exponential moving averages of the losses.
        suggestion: Rate at which the smoothed loss falls most steeply over the logarithm of
            the rate; None if it falls by less than the typical difference of two batches.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None


def find_learning_rate(
    model: nn.Module,
    loader: Iterable[Batch],
    *,
    loss: LossFunction | None = None,
    optimizer: Optimizer | None = None,
    start: float = 1e-5,
    end: float = 10.0,
    num_steps: int = 100,
    smoothing: float = 0.9,
) -> LearningRateCurve:
    """Run a learning-rate range test: train with a growing rate, record the loss, undo it all.

    From Smith (2017), "Cyclical Learning Rates for Training Neural Networks", section 3.3. The
    test ends early when the loss is not finite or its average is four times the lowest one.
    Afterwards weights, gradients, modes, the optimizer and the random generators are as before,
    even after an error.

    The suggestion is a good peak for a decaying schedule; for a constant rate take about a third.

    Args:
        model: The network, called as `model(input_ids, lengths)`.
        loader: Labelled batches, repeated when they run out.
        loss: A function of logits and labels. Default: the loss of the `Trainer`.
        optimizer: An optimizer of the model's parameters; groups keep the ratio of their rates.
            Default: AdamW.
        start: First rate. Default: 1e-5.
        end: Last rate. Default: 10.
        num_steps: Number of steps. Default: 100.
        smoothing: Weight of the past in the moving average, from 0 (none) to 0.999.
            Default: 0.9.

    Returns:
        The losses of all steps, and a suggested rate.

    Raises:
        InvalidTypeError: If the loader can be iterated only once, or an argument has a wrong type.
        InvalidValueError: If the loader is empty, labels are missing or out of range, the model
            has no parameters or the optimizer has others, or a setting is out of range.
        TrainingError: If the loss explodes within three steps.

    Example:
        >>> from textrnn.nn import RecurrentClassifier
        >>> model = RecurrentClassifier(4, num_classes=2, hidden_size=8)
        >>> ids, lengths = torch.tensor([[2, 3], [3, 3]]), torch.tensor([2, 2])
        >>> batch = Batch(ids, lengths, labels=torch.tensor([0, 1]))
        >>> curve = find_learning_rate(model, [batch], num_steps=50)
        >>> 1e-5 < curve.suggestion < 1.0
        True
    """
    start = check_float("start", start, minimum=0.0, exclusive=True)
    end = check_float("end", end, minimum=start, exclusive=True)
    num_steps = check_int("num_steps", num_steps, minimum=3)
    smoothing = check_float("smoothing", smoothing, minimum=0.0, maximum=0.999)
    model, device = check_model(model, None)
    num_classes = getattr(model, "num_classes", None)
    check_loader("loader", loader, num_classes)
    criterion = Loss(loss)
    rates = np.geomspace(start, end, num_steps).tolist()
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    optimizer = check_optimizer(optimizer, model)
    with _undone(model, loader, optimizer), torch.enable_grad():
        highest = max(float(group["lr"]) for group in optimizer.param_groups)
        ratios = [
            float(group["lr"]) / highest if highest else 1.0 for group in optimizer.param_groups
        ]
        model.train()
        for rate, batch in zip(rates, _endless(loader), strict=False):
            for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
                group["lr"] = rate * ratio
            labels = required_labels(batch)
            check_labels(labels, num_classes)
            moved = batch.to(device, non_blocking=True)
            logits = model(moved.input_ids, moved.lengths)  # (batch, classes)
            value = criterion(logits, labels.to(device), moved.weights)
            number = value.item()
            if not math.isfinite(number):
                break
            losses.append(number)
            average = smoothing * average + (1 - smoothing) * number
            smoothed.append(average / (1 - smoothing ** len(losses)))
            lowest = min(smoothed)
            if smoothed[-1] - lowest > (_DIVERGED - 1) * abs(lowest):
                break
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    if len(losses) < 3:
        raise TrainingError(
            f"The loss exploded within three steps, at learning rates up to {rates[2]:.2g}: "
            "the model can't be trained as it is, or `start` is too high."
        )
    rates = rates[: len(losses)]
    suggestion = _steepest(rates, losses, smoothed, smoothing)
    return LearningRateCurve(tuple(rates), tuple(losses), tuple(smoothed), suggestion)


def _steepest(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], smoothing: float
) -> float | None:
    """Return the rate at which the loss falls most steeply over the rate's logarithm."""
    settled = min(int(1 / (1 - smoothing)), len(rates) // 4)  # averages of few losses are noise
    lowest = int(np.argmin(smoothed))
    noise = np.median(np.abs(np.diff(losses[: lowest + 2])))
    # Of averages of mere noise, one in a hundred falls as far below their middle.
    if lowest <= settled or np.median(smoothed[settled:lowest]) - smoothed[lowest] <= noise:
        return None
    slopes = np.gradient(smoothed, np.log(rates))[settled : lowest + 1]
    return rates[settled + int(np.argmin(slopes))]


def _endless(loader: Iterable[Batch]) -> Iterator[Batch]:
    """Repeat the batches of a loader forever."""
    while True:
        batch = None
        for batch in loader:
            yield check_batch(batch)
        if batch is None:
            raise InvalidValueError(expected("loader", "at least one batch", []))


@contextmanager
def _undone(model: nn.Module, loader: Iterable[Batch], optimizer: Optimizer) -> Iterator[None]:
    """Restore model, optimizer and generators at the end, even after an error."""
    tensors = [*model.parameters(), *model.buffers()]
    values = [tensor.detach().clone() for tensor in tensors]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    state = copy.deepcopy(optimizer.state_dict())
    for parameter, _ in gradients:
        parameter.grad = None  # or steps would add to the kept one
    try:
        with undisturbed_modes(model), undisturbed_generators(loader, model):
            yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        optimizer.load_state_dict(state)
