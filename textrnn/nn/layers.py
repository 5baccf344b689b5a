"""Dropout and first weights from a generator of one's own, and embeddings from word vectors."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from textrnn.errors import InvalidTypeError, InvalidValueError, check_float, expected
from textrnn.text import WordVectors

__all__ = [
    "Dropout",
    "LockedDropout",
    "check_generator",
    "copy_vectors",
    "drop",
    "first_weights_from",
    "set_generator",
]

# What `reset_parameters` of PyTorch's layers draws with.
_INITIALIZERS = (nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_)


class LockedDropout(nn.Module):
    """Drop the same features at all time steps of a text.

    Each text of a batch has its own mask, which all its steps share ("variational" or "locked"
    dropout). Remaining features are scaled by `1 / (1 - p)`. In evaluation mode inputs are
    returned unchanged.

    Source: Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent
    Neural Networks", 2016, https://arxiv.org/abs/1512.05287.

    Args:
        p: Probability of dropping a feature, from 0 to 1. Default: 0.5.
        generator: Generator to draw from, on any device; None means PyTorch's global one.
            Default: None.

    Raises:
        InvalidTypeError: If `p` is not a number, or `generator` is not a generator.
        InvalidValueError: If `p` is not between 0 and 1.

    Example:
        >>> import torch
        >>> dropped = LockedDropout(0.5)(torch.ones(1, 3, 4))  # (batch, time, features)
        >>> bool((dropped == dropped[:, :1]).all())
        True
    """

    def __init__(self, p: float = 0.5, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.p = check_float("p", p, minimum=0.0, maximum=1.0)
        self.generator = check_generator(generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop features of `inputs` in training mode.

        Args:
            inputs: Floating-point tensor, `(batch, time, features)`.

        Returns:
            A tensor of the same shape and type.

        Raises:
            InvalidValueError: If `inputs` does not have three dimensions.
        """
        if inputs.dim() != 3:
            raise InvalidValueError(
                "Expected `inputs` to be of shape (batch, time, features), "
                f"but got the shape {tuple(inputs.shape)}."
            )
        if not self.training or self.p == 0.0:
            return inputs
        batch, _, features = inputs.shape
        # Dropout of ones gives the scaled mask, also for `p` of 1.
        mask = drop(inputs.new_ones(batch, 1, features), self.p, self.generator)
        return inputs * mask  # (batch, time, features)

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}"


class Dropout(nn.Dropout):
    """PyTorch's dropout, drawn from a generator of one's own if there is one."""

    def __init__(self, p: float, *, generator: torch.Generator | None = None) -> None:
        super().__init__(p)
        self.generator = check_generator(generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop features in training mode."""
        return drop(inputs, self.p, self.generator) if self.training else inputs


def drop(inputs: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
    """Apply dropout as in training mode; None draws from PyTorch's global generator."""
    if generator is None or p in {0.0, 1.0}:
        return functional.dropout(inputs, p)
    kept = torch.empty_like(inputs).bernoulli_(1 - p, generator=_on(generator, inputs.device))
    return inputs * kept.div_(1 - p)


def first_weights_from(generator: torch.Generator | None) -> AbstractContextManager[object]:
    """Make PyTorch's layers draw their first weights from a generator, if one is given."""
    return nullcontext() if generator is None else _FirstWeights(generator)


class _FirstWeights(TorchFunctionMode):
    """Pass a generator to the initializers, which layers have no argument for."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in _INITIALIZERS:
            tensor = named["tensor"] if "tensor" in named else args[0]
            named["generator"] = _on(self.generator, tensor.device)
        return func(*args, **named)


def check_generator(generator: Any) -> torch.Generator | None:
    """Return a checked generator, or None."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise InvalidTypeError(expected("generator", "a torch.Generator or None", generator))
    return generator


def set_generator(model: nn.Module, generator: torch.Generator | None) -> None:
    """Make all modules inside a model that draw use a generator."""
    for module in model.modules():
        if module is not model and hasattr(module, "generator"):
            setattr(module, "generator", generator)  # noqa: B010 # torch types attributes as modules


def _on(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """Return a generator, or for another device a new one that it seeds."""
    if device in {generator.device, torch.device("meta")}:
        return generator
    # Only the state of the first generator has to be kept, wherever a model moves.
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return torch.Generator(device).manual_seed(int(seed))


def copy_vectors(vectors: WordVectors, embedding: nn.Embedding, *, freeze: bool = False) -> None:
    """Copy word vectors into an embedding, in place.

    Tokens without a vector keep their weights.

    Args:
        vectors: Word vectors that `textrnn.text.read_vectors` read for the vocabulary in use.
        embedding: The embedding, such as that of a `RecurrentClassifier` whose `embedding_size`
            is the vectors' size.
        freeze: Whether to exclude the whole embedding from training, also tokens without a
            vector; `textrnn.training.FreezeEmbeddings` does so for some epochs. Default: False.

    Raises:
        InvalidTypeError: If `vectors` or `embedding` has a wrong type.
        InvalidValueError: If the embedding has another number of tokens or features.

    Example:
        >>> import numpy as np
        >>> from textrnn.text import VectorCoverage
        >>> found = np.array([False, True])
        >>> coverage = VectorCoverage(words=2, words_found=1, other_case=0, tokens=2,
        ...                           tokens_found=1, missing=("gas",), repeated=0)
        >>> vectors = WordVectors(np.ones((2, 3), np.float32), found, coverage)
        >>> embedding = torch.nn.Embedding(2, 3, padding_idx=0)
        >>> copy_vectors(vectors, embedding, freeze=True)
        >>> embedding.weight
        Parameter containing:
        tensor([[0., 0., 0.],
                [1., 1., 1.]])
    """
    if not isinstance(vectors, WordVectors):
        raise InvalidTypeError(expected("vectors", "a WordVectors", vectors))
    if not isinstance(embedding, nn.Embedding):
        raise InvalidTypeError(expected("embedding", "a torch.nn.Embedding", embedding))
    shape = (embedding.num_embeddings, embedding.embedding_dim)
    if vectors.matrix.shape != shape:
        rule = f"of shape {shape}, as the embedding is"
        raise InvalidValueError(expected("vectors", rule, vectors.matrix.shape))
    found = torch.from_numpy(vectors.found)
    with torch.no_grad():
        weight = embedding.weight
        weight[found.to(weight.device)] = torch.from_numpy(vectors.matrix)[found].to(weight)
    if freeze:
        embedding.weight.requires_grad_(False)  # torch takes it by position
