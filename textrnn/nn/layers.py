"""Locked dropout, and embeddings from word vectors."""

import torch
from torch import Tensor, nn

from textrnn.errors import InvalidTypeError, InvalidValueError, check_float, expected
from textrnn.text import WordVectors

__all__ = ["LockedDropout", "copy_vectors"]


class LockedDropout(nn.Module):
    """Drop the same features at all time steps of a text.

    Each text of a batch has its own mask, which all its steps share ("variational" or "locked"
    dropout). Remaining features are scaled by `1 / (1 - p)`. In evaluation mode inputs are
    returned unchanged.

    Source: Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent
    Neural Networks", 2016, https://arxiv.org/abs/1512.05287.

    Args:
        p: Probability of dropping a feature, from 0 to 1. Default: 0.5.

    Raises:
        InvalidTypeError: If `p` is not a number.
        InvalidValueError: If `p` is not between 0 and 1.

    Example:
        >>> import torch
        >>> dropped = LockedDropout(0.5)(torch.ones(1, 3, 4))  # (batch, time, features)
        >>> bool((dropped == dropped[:, :1]).all())
        True
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = check_float("p", p, minimum=0.0, maximum=1.0)

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
        mask = nn.functional.dropout(inputs.new_ones(batch, 1, features), self.p)
        return inputs * mask  # (batch, time, features)

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}"


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
