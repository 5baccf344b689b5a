"""How much each of several classifiers has to say."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from textrnn.errors import InvalidValueError, expected
from textrnn.training.labels import check_labels

__all__ = ["fit_scales"]


def fit_scales(logits: Sequence[Tensor], labels: Tensor) -> tuple[Tensor, float]:
    """Find the numbers to multiply the logits of several classifiers by, before they are added up.

    They make the labels of texts that none of the classifiers has learned from as likely as can be
    ("stacking", Wolpert, 1992), which also softens logits that are too sure. Each is drawn towards
    an equal share, as hard as a single text draws, and none is negative.

    Args:
        logits: The logits of each classifier, ``(texts, classes)``.
        labels: Class ids ``(texts,)``, or ``(texts, classes)`` floats for multi-label data.

    Returns:
        The scales, ``(classifiers,)``, and the mean loss with them.

    Raises:
        InvalidValueError: If there are no logits, they differ in shape, or labels don't fit them.

    Example:
        >>> sure, unsure = torch.tensor([[4.0, 0.0], [0.0, 4.0]]), torch.zeros(2, 2)
        >>> scales, loss = fit_scales([sure, unsure], torch.tensor([0, 1]))
        >>> bool(scales[0] > scales[1])
        True
    """
    if len({each.shape for each in logits}) != 1 or len(logits[0]) != len(labels):
        shapes = [tuple(each.shape) for each in logits]
        raise InvalidValueError(
            expected("logits", f"of one shape, with a row for each of {len(labels)} labels", shapes)
        )
    check_labels(labels, logits[0].shape[1])
    stacked = torch.stack([each.double() for each in logits])  # (classifiers, texts, classes)
    share = 1 / len(logits)

    def mean_loss(scales: Tensor) -> Tensor:
        blended = torch.tensordot(scales, stacked, dims=1)  # (texts, classes)
        if labels.is_floating_point():
            return nn.functional.binary_cross_entropy_with_logits(blended, labels.double())
        return nn.functional.cross_entropy(blended, labels.long())

    free = torch.ones(len(logits), dtype=torch.bool)
    while True:  # each time around holds one more scale at 0, the most negative one
        scales = torch.full((len(logits),), share, dtype=torch.float64) * free
        scales.requires_grad_()
        optimizer: Any = torch.optim.LBFGS([scales], max_iter=100, line_search_fn="strong_wolfe")

        def loss_and_gradient(scales: Tensor = scales, free: Tensor = free) -> Tensor:
            loss = mean_loss(scales) + (scales - share).square().sum() / len(labels)
            (gradient,) = torch.autograd.grad(loss, scales)
            scales.grad = gradient * free
            return loss.detach()

        optimizer.step(loss_and_gradient)
        negative = scales.detach() < 0
        if not negative.any():
            break
        free = free.clone()
        free[scales.detach().argmin()] = False
    with torch.no_grad():
        return scales.detach().float(), float(mean_loss(scales))
