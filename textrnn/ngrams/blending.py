"""Blend a recurrent classifier with an n-gram classifier."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from textrnn.data.targets import read_weights
from textrnn.errors import InvalidValueError, check_float, expected
from textrnn.ngrams.model import NgramClassifier
from textrnn.nn.classifier import RecurrentClassifier
from textrnn.training.loaders import check_labels
from textrnn.training.losses import Loss

__all__ = ["BlendedClassifier", "fit_scales"]

_MAX_STEPS = 100
_TOLERANCE = 1e-12  # expected gain of a step below which a minimum is reached


class BlendedClassifier(nn.Module):
    """Add the weighted logits of a recurrent classifier and an n-gram classifier.

    The two make different errors: one reads sentences, the other remembers phrases. See Mesnil et
    al., "Ensemble of Generative and Discriminative Techniques for Sentiment Analysis of Movie
    Reviews", 2015, https://arxiv.org/abs/1412.5335.

    Args:
        recurrent: The recurrent classifier.
        ngrams: The n-gram classifier, with the same token ids and classes. Its vectors, if it has
            any, become the embedding of the recurrent classifier.

    Attributes:
        recurrent: The recurrent classifier.
        ngrams: The n-gram classifier.
        scales: Blend weights of the two, `(2,)`; initially one half each.

    Raises:
        InvalidValueError: If the two differ in the number of token ids or classes, or in the
            padding id, or vectors in their dimension from the embedding.

    Example:
        >>> import torch
        >>> recurrent = RecurrentClassifier(100, num_classes=4, hidden_size=16)
        >>> ngrams = NgramClassifier(100, num_classes=4, num_ngrams=50)
        >>> BlendedClassifier(recurrent, ngrams)(torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]])).shape
        torch.Size([2, 4])
    """

    scales: Tensor

    def __init__(self, recurrent: RecurrentClassifier, ngrams: NgramClassifier) -> None:
        super().__init__()
        for name in ("vocab_size", "num_classes", "padding_id"):
            theirs, ours = getattr(ngrams, name), getattr(recurrent, name)
            if theirs != ours:
                rule = f"that of the recurrent classifier, {ours}"
                raise InvalidValueError(expected(f"ngrams.{name}", rule, theirs))
        embedding: Any = recurrent.embedding.weight
        if ngrams.vector_size not in {0, embedding.shape[1]}:
            rule = f"0 or the embedding's, {embedding.shape[1]}"
            raise InvalidValueError(expected("ngrams.vector_size", rule, ngrams.vector_size))
        if ngrams.vector_size:
            ngrams.vectors = embedding
        self.vocab_size = recurrent.vocab_size
        self.num_classes = recurrent.num_classes
        self.padding_id = recurrent.padding_id
        self.recurrent = recurrent
        self.ngrams = ngrams
        self.register_buffer("scales", torch.full((2,), 0.5, dtype=torch.float32))

    @property
    def config(self) -> dict[str, Any]:
        """The `config` of both classifiers, by name."""
        return {"recurrent": self.recurrent.config, "ngrams": self.ngrams.config}

    def forward(
        self,
        input_ids: Tensor,
        lengths: Tensor | None = None,
        unknown: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Compute the logits of a batch of texts.

        Args:
            input_ids: Token ids, int64 or int32, `(batch, time)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`;
                None counts up to the last id that is not padding. Default: None.
            unknown: Unknown words, as for the `features` of an `NgramClassifier`. Default: None.

        Returns:
            The logits, `(batch, num_classes)`.

        Raises:
            InvalidTypeError: If `input_ids` or `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, an id or a length is out of range, or a
                text has only padding and no given length.
        """
        recurrent = self.recurrent(input_ids, lengths)  # (batch, classes)
        ngrams = self.ngrams(input_ids, lengths, unknown)  # (batch, classes)
        logits: Tensor = self.scales[0] * recurrent + self.scales[1] * ngrams
        return logits


def fit_scales(
    logits: Sequence[Tensor],
    labels: Tensor,
    weights: Tensor | None = None,
    *,
    prior: Sequence[float] | None = None,
    prior_texts: float = 1.0,
) -> tuple[Tensor, float]:
    """Learn blend weights for the logits of several classifiers.

    They minimize the loss of the summed logits on texts that no classifier was trained on
    ("stacking", Wolpert, 1992), which also corrects overconfident logits. They are never negative,
    and a penalty draws them towards those expected beforehand, most where there are few texts.

    Args:
        logits: Logits of each classifier, `(texts, classes)`.
        labels: Class ids `(texts,)`, or floats `(texts, classes)` for multi-label data.
        weights: Weight of each text in the loss, `(texts,)`; None for 1 each. Default: None.
        prior: Blend weights expected beforehand, one for each classifier; None for equal shares
            that add up to 1. Default: None.
        prior_texts: Number of texts that the prior counts as. Default: 1.

    Returns:
        The blend weights, `(classifiers,)`, and the mean loss with them.

    Raises:
        InvalidTypeError: If the weights or `prior_texts` are not numbers.
        InvalidValueError: If there are no logits, their shapes differ, labels, weights or prior
            don't fit them, a weight is negative or infinite, all are 0, or `prior_texts` is not
            positive.

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
    if weights is not None:
        weights = torch.from_numpy(read_weights(weights, len(labels)))  # (texts,)
    stacked = torch.stack([each.double() for each in logits])  # (classifiers, texts, classes)
    expected_scales = [1 / len(logits)] * len(logits) if prior is None else list(prior)
    if len(expected_scales) != len(logits):
        raise InvalidValueError(expected("prior", f"{len(logits)} blend weights", prior))
    center = torch.tensor(expected_scales, dtype=torch.float64)  # (classifiers,)
    strength = check_float("prior_texts", prior_texts, minimum=0.0, exclusive=True)
    loss_of = Loss()
    total = len(labels) if weights is None else float(weights.sum())

    def mean_loss(scales: Tensor) -> Tensor:
        blended = torch.tensordot(scales, stacked, dims=1)  # (texts, classes)
        loss: Tensor = loss_of(blended, labels, weights)
        return loss

    def penalized(scales: Tensor) -> Tensor:
        return mean_loss(scales) + strength * (scales - center).square().sum() / total

    free = torch.ones(len(logits), dtype=torch.bool)
    while True:  # each round fixes the most negative weight at 0
        scales = _minimize(penalized, center * free, free)
        if not (scales < 0).any():
            break
        free[scales.argmin()] = False
    with torch.no_grad():
        return scales.float(), float(mean_loss(scales))


def _minimize(function: Callable[[Tensor], Tensor], start: Tensor, free: Tensor) -> Tensor:
    """Return the minimum of a convex function of a few numbers by Newton's method."""
    # torch.optim would import the compiler of PyTorch, which takes longer than a small fit.
    point = start
    for _ in range(_MAX_STEPS):
        with torch.enable_grad():
            point = point.detach().requires_grad_()
            value = function(point)
            (gradient,) = torch.autograd.grad(value, point, create_graph=True)
            rows = [torch.autograd.grad(each, point, retain_graph=True)[0] for each in gradient]
        fixed = torch.diag((~free).double())  # numbers that are not free don't move
        hessian = torch.stack(rows) * free * free.unsqueeze(1) + fixed
        gradient = gradient.detach() * free
        step = torch.linalg.solve(hessian, gradient)
        gain, length = float(gradient @ step), 1.0
        point = point.detach()
        if not gain > _TOLERANCE:
            break
        with torch.no_grad():
            while function(point - length * step) > value - length * gain / 10 and length > 1e-6:
                length /= 2
        point = point - length * step
    return point
