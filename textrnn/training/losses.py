"""The loss of a step: what is minimised, and the weight by which means over texts are taken."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from textrnn.errors import InvalidTypeError, InvalidValueError, check_float, expected
from textrnn.training.loaders import check_labels

__all__ = ["ClassWeights", "Loss", "LossFunction", "balanced_weights"]

LossFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From logits ``(batch, classes)`` and labels to the mean loss of the batch, a scalar."""

ClassWeights: TypeAlias = Sequence[float] | Tensor | Literal["balanced"] | None
"""A positive weight for each class, or ``"balanced"``, or None."""


class Loss(nn.Module):
    """A mean loss, and the weight that the mean was taken with.

    The mean over several batches, or over the batches of several processes, is exact only when each
    counts by its texts; with class weights torch divides by the sum of the weights instead, so that
    sum is what counts then.

    Args:
        function: A loss of one's own, the mean over the batch. Default: cross-entropy for class
            ids, binary cross-entropy for multi-label matrices.
        class_weights: A positive weight for each class, or ``"balanced"`` for
            ``texts / (classes * texts of the class)``. For multi-label data a weight multiplies the
            loss of a label that is present. Default: none.
        label_smoothing: The share of a target that is spread over all classes (Szegedy et al.,
            2016, "Rethinking the Inception architecture"). Default: 0.0.

    Raises:
        InvalidValueError: If a loss of one's own stands together with weights or smoothing, or a
            number is out of range.
        InvalidTypeError: If `function` is not callable, or the weights are no numbers.

    >>> loss = Loss(class_weights=[1.0, 3.0])
    >>> labels = torch.tensor([0, 1])
    >>> loss(torch.zeros(2, 2), labels), loss.weight(labels)
    (tensor(0.6931), tensor(4.))
    """

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
                expected("class_weights", "None beside a `loss` of your own", class_weights)
            )
        self.label_smoothing = check_float(
            "label_smoothing", label_smoothing, minimum=0.0, maximum=1.0
        )
        if function is not None and self.label_smoothing:
            raise InvalidValueError(
                expected("label_smoothing", "0.0 beside a `loss` of your own", label_smoothing)
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
        """Return the mean loss of a batch.

        Args:
            logits: ``(batch, classes)``.
            labels: Class ids ``(batch,)``, or ``(batch, classes)`` floats for multi-label data.

        Returns:
            The mean, a scalar.

        Raises:
            InvalidTypeError: If a loss of one's own gives something else.
            InvalidValueError: If the number of weights is not that of the classes, labels don't
                fit the classes, or labels are to be smoothed for multi-label data.
        """
        if logits.dtype.itemsize < 4:
            logits = logits.float()  # (batch, classes); in half precision a loss loses digits
        if self.function is not None:
            return _check_scalar(self.function(logits, labels))
        if labels.device.type == "cpu":  # elsewhere, looking at them would wait for the device
            check_labels(labels, logits.shape[1])
        weights = self._weights_for(logits)
        if not labels.is_floating_point():
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
        """Return the weight that the mean over these labels is taken with.

        Args:
            labels: Class ids ``(batch,)``, or ``(batch, classes)`` floats for multi-label data.

        Returns:
            The number of texts; for class ids with class weights, the sum of their weights.

        Raises:
            InvalidValueError: If a label is out of range.
        """
        if self.class_weights is None or labels.is_floating_point():
            return len(labels)
        if labels.device.type == "cpu":
            check_labels(labels, len(self.class_weights))
        return self.class_weights[labels].sum()

    def _weights_for(self, logits: Tensor) -> Tensor | None:
        weights = self.class_weights
        if weights is None:
            return None
        if len(weights) != logits.shape[1]:
            rule = f"{logits.shape[1]} weights, one per class"
            raise InvalidValueError(expected("class_weights", rule, weights.tolist()))
        return weights.to(logits.dtype)


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
    """Return weights that give each class the same say (King and Zeng, 2001).

    Args:
        labels: Class ids ``(texts,)``, or ``(texts, classes)`` floats for multi-label data.
        num_classes: How many classes there are.

    Returns:
        ``texts / (classes * texts of the class)``, ``(classes,)``; for multi-label data absent by
        present texts of each label. A class without texts has weight 1.

    >>> balanced_weights(torch.tensor([0, 0, 0, 1]), num_classes=2)
    tensor([0.6667, 2.0000])
    """
    if labels.is_floating_point():
        present = labels.double().sum(dim=0)  # (classes,)
        weights = (len(labels) - present) / present
        usable = (present > 0) & (weights > 0)
    else:
        present = torch.bincount(labels, minlength=num_classes).double()  # (classes,)
        weights = len(labels) / (num_classes * present)
        usable = present > 0
    return torch.where(usable, weights, 1.0).float()
