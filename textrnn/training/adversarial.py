"""Adversarial training: texts whose embeddings are perturbed count beside the texts themselves."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from textrnn.data import Batch
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    TrainingError,
    check_choice,
    check_float,
    expected,
)
from textrnn.nn.masking import check_lengths, token_mask
from textrnn.training.feed import required_labels
from textrnn.training.losses import Loss

__all__ = ["ADVERSARIAL_KINDS", "AdversarialTraining", "Adversary"]

ADVERSARIAL_KINDS = ("adversarial", "virtual")
"""The kinds of adversarial training."""


@dataclass(frozen=True, kw_only=True)
class AdversarialTraining:
    """How the embeddings of texts are perturbed in training, and how much that counts.

    Each update minimises the loss, plus `weight` times what the same texts give once a small
    constant has been added to their embeddings. ``"adversarial"`` moves each text to where its loss
    grows fastest, and adds the loss there: one more forward and backward pass, for the direction
    comes from the gradients of the plain one. ``"virtual"`` moves each text to where its prediction
    changes fastest, whatever its label, and adds the divergence between the two predictions, of
    which the plain one is held fast; finding that direction takes a third pass.

    A perturbation is `epsilon` times as long as the text's embeddings, over all its real tokens and
    their features. Longer embeddings would otherwise make a perturbation of any fixed length
    harmless; the paper normalises them for that reason. Nothing depends on the other texts of a
    batch.

    The passes share their dropout masks, so the direction is the one in which the loss of that very
    network grows; only dropout between layers that cuDNN computes is drawn anew. Random numbers
    come from torch's generators.

    Source: Miyato, Dai and Goodfellow, "Adversarial Training Methods for Semi-Supervised Text
    Classification", ICLR 2017, https://arxiv.org/abs/1605.07725.

    Args:
        kind: ``"adversarial"`` or ``"virtual"``.
        epsilon: The length of a perturbation, as a share of that of the text's embeddings.
            Default: 0.05, about the paper's for texts of 40 tokens.
        weight: What the loss, or the divergence, of the perturbed texts is multiplied by.
            Default: 1.0.

    Raises:
        InvalidTypeError: If an argument has a wrong type.
        InvalidValueError: If an argument is out of range.

    >>> AdversarialTraining.of("virtual")
    AdversarialTraining(kind='virtual', epsilon=0.05, weight=1.0)
    """

    kind: str = "adversarial"
    epsilon: float = 0.05
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ADVERSARIAL_KINDS)
        for name in ("epsilon", "weight"):
            value = check_float(name, getattr(self, name), minimum=0.0, exclusive=True)
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, value: "str | AdversarialTraining") -> "AdversarialTraining":
        """Return `value`, or the adversarial training of that kind with its defaults.

        Args:
            value: ``"adversarial"``, ``"virtual"`` or an `AdversarialTraining`.

        Returns:
            The adversarial training.

        Raises:
            InvalidTypeError: If it is neither.
            InvalidValueError: If there is no such kind.
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            rule = "'adversarial', 'virtual' or an AdversarialTraining"
            raise InvalidTypeError(expected("adversarial", rule, value))
        return cls(kind=check_choice("adversarial", value, ADVERSARIAL_KINDS))

    def find_dropout(self, model: nn.Module) -> nn.Module:
        """Return the module of a model that its embedded tokens go through.

        Args:
            model: The model.

        Returns:
            Its attribute ``embedding_dropout``.

        Raises:
            InvalidValueError: If it has none.
        """
        found = getattr(model, "embedding_dropout", None)
        if not isinstance(found, nn.Module):
            rule = "None for a model without a module `embedding_dropout`, for its embedded tokens"
            raise InvalidValueError(expected("adversarial", rule, self))
        return found


class Adversary:
    """What perturbs the texts of a batch, for one update after the other.

    A batch is passed twice: plainly inside of `watching`, then inside of `perturbing`.

    Args:
        settings: How texts are perturbed.
        model: The model. Its attribute ``embedding_dropout`` is a module that its forward pass
            calls once, with the embedded tokens ``(batch, time, features)``.
        loss: The loss.
        autocast: Makes the context to compute a forward pass in. Default: none.
        scale: Scales a loss up before its backward pass, for half precision. Default: not at all.

    Raises:
        InvalidValueError: If the model has no such module.

    >>> from textrnn.nn import RecurrentClassifier
    >>> model = RecurrentClassifier(6, num_classes=2, hidden_size=8)
    >>> adversary = Adversary(AdversarialTraining(epsilon=0.5), model, Loss())
    >>> batch = Batch(torch.tensor([[2, 4, 3]]), torch.tensor([3]), torch.tensor([0]))
    >>> with adversary.watching():
    ...     logits = model(batch.input_ids, batch.lengths)
    ...     adversary.loss(logits, batch.labels).backward()
    >>> with adversary.perturbing(batch, logits.detach()) as measure:
    ...     loss = measure(model(batch.input_ids, batch.lengths))
    """

    def __init__(
        self,
        settings: AdversarialTraining,
        model: nn.Module,
        loss: Loss,
        *,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
        scale: Callable[[Tensor], Tensor] = torch.Tensor.clone,
    ) -> None:
        self.settings = settings
        self.model = model
        self.loss = loss
        self._dropout = settings.find_dropout(model)
        self._autocast = autocast
        self._scale = scale
        self._seen: list[Tensor] = []  # the embedded tokens of the plain pass
        self._drawn: list[tuple[torch.Generator, Tensor]] = []  # the generators' states before it

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Return the context of the plain forward and backward pass of a batch."""
        self._seen = []
        self._drawn = [(each, each.get_state()) for each in _generators(self.model)]

        def keep(embedded: Tensor) -> Tensor:
            if embedded.requires_grad:
                embedded = embedded.view_as(embedded)  # whose gradient is that of this use alone
            else:  # a frozen embedding
                embedded = embedded.detach().requires_grad_()
            embedded.retain_grad()
            self._seen.append(embedded)
            return embedded

        with _changing_input(self._dropout, keep):
            yield

    @contextmanager
    def perturbing(self, batch: Batch, logits: Tensor) -> Iterator[Callable[[Tensor], Tensor]]:
        """Return the context of the second pass of a batch, over its perturbed texts.

        Args:
            batch: The batch, with labels.
            logits: The logits of the plain pass, ``(batch, classes)``, without their graph.

        Returns:
            What turns the logits of the perturbed texts into what their backward pass begins with.

        Raises:
            TrainingError: If the model did not call its ``embedding_dropout`` once in the plain
                forward pass, or there was no backward pass.
        """
        labels = required_labels(batch)
        embedded, gradient = self._take_seen()
        lengths = check_lengths(batch.lengths, *embedded.shape[:2])
        mask = token_mask(lengths, embedded.shape[1], embedded.device)  # (batch, time)
        if self.settings.kind == "virtual":
            start = _scaled(torch.randn_like(embedded), embedded, mask, self.settings.epsilon)
            gradient = self._divergence_gradient(batch, logits, start)
        added = _scaled(gradient, embedded, mask, self.settings.epsilon)
        del embedded, gradient

        def measure(perturbed: Tensor) -> Tensor:
            if self.settings.kind == "adversarial":
                mean: Tensor = self.loss(perturbed, labels)
            else:
                each = _divergences(logits, perturbed, multilabel=labels.is_floating_point())
                mean = self.loss.mean(each, labels)
            return self.settings.weight * mean

        with self._replaying(), _changing_input(self._dropout, partial(torch.add, added)):
            yield measure

    def _take_seen(self) -> tuple[Tensor, Tensor]:
        """Return the embedded tokens of the plain pass and their gradient; forget them."""
        seen, self._seen = self._seen, []
        if len(seen) != 1 or seen[0].grad is None:
            got = "no gradient reached it" if len(seen) == 1 else f"it made {len(seen)} calls"
            raise TrainingError(
                "Expected `model` to compute its logits from one call of its `embedding_dropout`, "
                f"as adversarial training needs, but {got}."
            )
        return seen[0].detach(), seen[0].grad

    def _divergence_gradient(self, batch: Batch, logits: Tensor, start: Tensor) -> Tensor:
        """Return where the divergence grows from a random place: a step of a power iteration.

        Where nothing is perturbed the divergence is at its minimum and has no gradient. A random
        perturbation of full length still hardly changes a prediction, since almost all directions
        don't matter; so its gradient is that of the divergence's quadratic form, and yet not lost
        in the rounding of half precision.
        """
        start.requires_grad_()
        with self._replaying(), _changing_input(self._dropout, partial(torch.add, start)):
            with self._autocast():
                perturbed = self.model(batch.input_ids, batch.lengths)  # (batch, classes)
            multilabel = required_labels(batch).is_floating_point()
            mean = _divergences(logits, perturbed, multilabel=multilabel).mean()
            gradient: Tensor = torch.autograd.grad(self._scale(mean), start)[0]
        return gradient  # (batch, time, features)

    @contextmanager
    def _replaying(self) -> Iterator[None]:
        """Draw the random numbers of the plain pass again; go on from where they are afterwards."""
        present = [(each, each.get_state()) for each, _ in self._drawn]
        for generator, state in self._drawn:
            generator.set_state(state)
        try:
            yield
        finally:
            for generator, state in present:
                generator.set_state(state)


def _generators(model: nn.Module) -> list[torch.Generator]:
    """Return the generators that dropout of a model draws from."""
    device = next(model.parameters()).device
    if device.type != "cuda":
        return [torch.default_generator]
    return [torch.default_generator, torch.cuda.default_generators[device.index or 0]]


@contextmanager
def _changing_input(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change what a module is called with."""

    def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (change(inputs[0]), *inputs[1:])

    # Not the embedding's output: its form is the model's own affair, as that of a look-up by time
    # first, and a replica of several processes has to run the entire forward pass.
    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _scaled(direction: Tensor, embedded: Tensor, mask: Tensor | None, epsilon: float) -> Tensor:
    """Return a perturbation of each text; zeros where it has no direction."""
    if mask is not None:
        shown = mask.to(embedded.dtype).unsqueeze(2)  # (batch, time, 1)
        direction, embedded = direction * shown, embedded * shown
    # Squares of tiny gradients would be zero. The largest number becomes 1, so the norm is no less.
    largest = direction.abs().amax((1, 2), keepdim=True)  # (batch, 1, 1)
    direction = direction / largest.clamp_min(torch.finfo(direction.dtype).tiny)
    norm = torch.linalg.vector_norm(direction, dim=(1, 2), keepdim=True)  # (batch, 1, 1)
    size = torch.linalg.vector_norm(embedded, dim=(1, 2), keepdim=True)  # (batch, 1, 1)
    added: Tensor = direction * (epsilon * size / norm.clamp_min(1.0))  # (batch, time, features)
    return added


def _divergences(clean: Tensor, perturbed: Tensor, *, multilabel: bool) -> Tensor:
    """Return the Kullback-Leibler divergence of each text's predictions, ``(batch,)``.

    For multi-label data it is the mean over the labels, as the loss is.
    """
    if perturbed.dtype.itemsize < 4:
        perturbed = perturbed.float()  # (batch, classes)
    clean = clean.to(perturbed.dtype)  # (batch, classes)
    if multilabel:
        shares = clean.sigmoid()
        compare = partial(functional.binary_cross_entropy_with_logits, reduction="none")
        each: Tensor = compare(perturbed, shares) - compare(clean, shares)  # (batch, labels)
        return each.mean(1)
    logs, target = perturbed.log_softmax(1), clean.log_softmax(1)  # (batch, classes)
    terms: Tensor = functional.kl_div(logs, target, reduction="none", log_target=True)
    return terms.sum(1)
