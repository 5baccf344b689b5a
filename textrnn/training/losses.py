"""The loss of a step, and the weights of its mean over texts."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from textrnn.errors import InvalidTypeError, InvalidValueError, check_float, expected
from textrnn.training.loaders import check_labels, check_logits, check_weights

__all__ = ["ClassWeights", "Loss", "LossFunction", "balanced_weights", "share"]

_TINY = torch.finfo(torch.float32).tiny

LossFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From logits (batch, classes) and labels to the mean loss of the batch, a scalar."""

ClassWeights: TypeAlias = Sequence[float] | Tensor | Literal["balanced"] | None
"""A positive weight per class, `"balanced"`, or None."""


class Loss(nn.Module):
    """The mean loss of a batch, and the weight of that mean in a mean over batches."""

    class_weights: Tensor | None

    def __init__(
        self,
        function: LossFunction | None = None,
        *,
        class_weights: ClassWeights = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if function is not None and not callable(function):
            raise InvalidTypeError(expected("loss", "a function of logits and labels", function))
        if function is not None and class_weights is not None:
            raise InvalidValueError(
                expected("class_weights", "None with a `loss` function", class_weights)
            )
        self.label_smoothing = check_float(
            "label_smoothing", label_smoothing, minimum=0.0, maximum=1.0
        )
        if function is not None and self.label_smoothing:
            raise InvalidValueError(
                expected("label_smoothing", "0.0 with a `loss` function", label_smoothing)
            )
        self.function = function
        self.balanced = isinstance(class_weights, str)
        if self.balanced and class_weights != "balanced":
            raise InvalidValueError(
                expected("class_weights", "'balanced' or one weight per class", class_weights)
            )
        weights = None if class_weights is None or self.balanced else _check_weights(class_weights)
        self.register_buffer("class_weights", weights)

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the mean loss of logits (batch, classes) and class ids or multi-label floats."""
        # With weights of the texts (batch,), it is the weighted mean; 0 if all of them are 0.
        check_logits(logits, len(labels))
        if logits.dtype.itemsize < 4:
            logits = logits.float()  # (batch, classes); half precision is too coarse for a loss
        if self.function is not None:
            if weights is not None:
                rule = "None with a `loss` function, which can't weight texts"
                raise InvalidValueError(expected("weights", rule, weights.tolist()))
            return _check_scalar(self.function(logits, labels))
        class_weights = self._weights_for(logits)
        if labels.device.type == "cpu":  # elsewhere, reading them would wait for the device
            check_labels(labels, logits.shape[1])
        reduction = "mean" if weights is None else "none"
        if not labels.is_floating_point():
            # Label smoothing: Szegedy et al., 2016, "Rethinking the Inception architecture".
            losses = nn.functional.cross_entropy(
                logits,
                labels.long(),
                weight=class_weights,
                label_smoothing=self.label_smoothing,
                reduction=reduction,
            )
        elif self.label_smoothing:
            raise InvalidValueError(
                expected("label_smoothing", "0.0 for multi-label data", self.label_smoothing)
            )
        else:
            losses = nn.functional.binary_cross_entropy_with_logits(
                logits, labels.to(logits.dtype), pos_weight=class_weights, reduction=reduction
            )
        if weights is None:
            return losses
        if losses.ndim == 2:
            losses = losses.mean(dim=1)  # (batch,)
        part = torch.dot(losses, weights.to(losses.dtype))
        mean: Tensor = share(part, self.weight(labels, weights))
        return mean

    def weight(self, labels: Tensor, weights: Tensor | None = None) -> Tensor | int:
        """Return the number of texts, or the sum of their weights and class weights."""
        if weights is not None and weights.device.type == "cpu":
            check_weights(weights)
        if self.class_weights is None or labels.is_floating_point():
            return len(labels) if weights is None else weights.sum()
        if labels.device.type == "cpu":
            check_labels(labels, None)
            if len(labels) and (highest := int(labels.max())) >= len(self.class_weights):
                raise InvalidValueError(
                    "Expected `class_weights` to have one weight per class, "
                    f"but got {len(self.class_weights)} weights and the label {highest}."
                )
        own = self.class_weights[labels]  # (batch,)
        return own.sum() if weights is None else torch.dot(own, weights.to(own.dtype))

    def check_class_weights(self, num_classes: int) -> None:
        """Raise an error unless there is a weight for each class, or none at all."""
        weights = self.class_weights
        if weights is not None and len(weights) != num_classes:
            rule = f"{num_classes} weights, one per class"
            raise InvalidValueError(expected("class_weights", rule, weights.tolist()))

    def _weights_for(self, logits: Tensor) -> Tensor | None:
        self.check_class_weights(logits.shape[1])
        return None if self.class_weights is None else self.class_weights.to(logits.dtype)


def share(part: Any, total: Any) -> Any:
    """Divide a part by the total of which it is one; 0 / 0 is 0."""
    return part / (total.clamp(min=_TINY) if isinstance(total, Tensor) else total)


def _check_weights(class_weights: Any) -> Tensor:
    try:
        weights = torch.as_tensor(class_weights, dtype=torch.float32).detach().clone()
    except (TypeError, ValueError, RuntimeError):
        weights = torch.empty(0)
    if weights.ndim != 1 or not len(weights):
        raise InvalidTypeError(expected("class_weights", "a list of numbers", class_weights))
    if not bool((weights.isfinite() & (weights > 0)).all()):
        raise InvalidValueError(
            expected("class_weights", "positive finite numbers", weights.tolist())
        )
    return weights


def _check_scalar(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor) or loss.ndim:
        got = tuple(loss.shape) if isinstance(loss, Tensor) else loss
        raise InvalidTypeError(expected("loss", "a function that gives a scalar tensor", got))
    return loss


def balanced_weights(labels: Tensor, num_classes: int, weights: Tensor | None = None) -> Tensor:
    """Return class weights inverse to the weighted frequencies of the labels."""
    # King and Zeng, 2001, "Logistic Regression in Rare Events Data".
    texts = labels.new_ones(len(labels)) if weights is None else weights
    texts = texts.double()  # (texts,)
    if labels.is_floating_point():
        present = texts @ labels.double()  # (classes,)
        found = (texts.sum() - present) / present  # absent by present texts
        usable = (present > 0) & (found > 0)
    else:
        present = torch.bincount(labels, texts, num_classes)  # (classes,)
        found = texts.sum() / (num_classes * present)
        usable = present > 0
    return torch.where(usable, found, 1.0).float()
