"""The loss of a step, and the weights of its mean over texts."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from textrnn.errors import InvalidTypeError, InvalidValueError, check_float, expected
from textrnn.training.loaders import check_labels, check_logits

__all__ = ["ClassWeights", "Loss", "LossFunction", "balanced_weights"]

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

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of logits (batch, classes) and class ids or multi-label floats."""
        check_logits(logits, len(labels))
        if logits.dtype.itemsize < 4:
            logits = logits.float()  # (batch, classes); half precision is too coarse for a loss
        if self.function is not None:
            return _check_scalar(self.function(logits, labels))
        weights = self._weights_for(logits)
        if labels.device.type == "cpu":  # elsewhere, reading them would wait for the device
            check_labels(labels, logits.shape[1])
        if not labels.is_floating_point():
            # Label smoothing: Szegedy et al., 2016, "Rethinking the Inception architecture".
            return nn.functional.cross_entropy(
                logits, labels.long(), weight=weights, label_smoothing=self.label_smoothing
            )
        if self.label_smoothing:
            raise InvalidValueError(
                expected("label_smoothing", "0.0 for multi-label data", self.label_smoothing)
            )
        return nn.functional.binary_cross_entropy_with_logits(
            logits, labels.to(logits.dtype), pos_weight=weights
        )

    def weight(self, labels: Tensor) -> Tensor | int:
        """Return the number of texts, or the sum of their class weights, by which torch divides."""
        if self.class_weights is None or labels.is_floating_point():
            return len(labels)
        if labels.device.type == "cpu":
            check_labels(labels, None)
            if len(labels) and (highest := int(labels.max())) >= len(self.class_weights):
                raise InvalidValueError(
                    "Expected `class_weights` to have one weight per class, "
                    f"but got {len(self.class_weights)} weights and the label {highest}."
                )
        return self.class_weights[labels].sum()

    def check_class_weights(self, num_classes: int) -> None:
        """Raise an error unless there is a weight for each class, or none at all."""
        weights = self.class_weights
        if weights is not None and len(weights) != num_classes:
            rule = f"{num_classes} weights, one per class"
            raise InvalidValueError(expected("class_weights", rule, weights.tolist()))

    def _weights_for(self, logits: Tensor) -> Tensor | None:
        self.check_class_weights(logits.shape[1])
        return None if self.class_weights is None else self.class_weights.to(logits.dtype)


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


def balanced_weights(labels: Tensor, num_classes: int) -> Tensor:
    """Return class weights inverse to the frequencies of the labels (King and Zeng, 2001)."""
    if labels.is_floating_point():
        present = labels.double().sum(dim=0)  # (classes,)
        weights = (len(labels) - present) / present  # absent by present texts
        usable = (present > 0) & (weights > 0)
    else:
        present = torch.bincount(labels, minlength=num_classes).double()  # (classes,)
        weights = len(labels) / (num_classes * present)
        usable = present > 0
    return torch.where(usable, weights, 1.0).float()
