"""Small layers that torch lacks, and embeddings from word vectors."""

import torch
from torch import Tensor, nn

from textrnn.errors import InvalidTypeError, InvalidValueError, check_float, expected
from textrnn.text import WordVectors

__all__ = ["LockedDropout", "copy_vectors"]


class LockedDropout(nn.Module):
    """Drop the same features at every time step of a text.

    Each text of a batch draws one mask, which all its steps share ("variational" or "locked"
    dropout), so that a feature is either seen throughout a text or not at all. What remains is
    scaled by `1 / (1 - p)`. In evaluation mode the input passes unchanged.

    Source: Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent
    Neural Networks", 2016, https://arxiv.org/abs/1512.05287.

    Args:
        p: Probability of dropping a feature, from 0 to 1.

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
        """Drop features of `inputs`, or return it as it is in evaluation mode.

        Args:
            inputs: Floating-point tensor, `(batch, time, features)`.

        Returns:
            A tensor like `inputs`.

        Raises:
            InvalidValueError: If `inputs` has not three dimensions.
        """
        if inputs.dim() != 3:
            raise InvalidValueError(
                "Expected `inputs` to be of shape (batch, time, features), "
                f"but got the shape {tuple(inputs.shape)}."
            )
        if not self.training or self.p == 0.0:
            return inputs
        batch, _, features = inputs.shape
        # F.dropout on ones gives the scaled mask, and zeros where `p` is 1.
        mask = nn.functional.dropout(inputs.new_ones(batch, 1, features), self.p)
        return inputs * mask  # (batch, time, features)

    def extra_repr(self) -> str:
        """Show the probability."""
        return f"p={self.p}"


def copy_vectors(vectors: WordVectors, embedding: nn.Embedding, *, freeze: bool = False) -> None:
    """Put word vectors into an embedding, in place.

    Tokens without a vector keep what they have: in a new classifier, small random numbers.

    Args:
        vectors: What `textrnn.text.read_vectors` gave for the vocabulary that the ids come from.
        embedding: The embedding, such as that of a `RecurrentClassifier`, whose
            `embedding_size` is the vectors' size.
        freeze: Whether the whole embedding is left out of training from now on, also tokens
            without a vector. `textrnn.training.FreezeEmbeddings` does so for some epochs only.

    Raises:
        InvalidTypeError: If `vectors` or `embedding` is something else.
        InvalidValueError: If the embedding is for another number of tokens or of features.

    Example:
        >>> import numpy as np
        >>> from textrnn.nn import RecurrentClassifier
        >>> from textrnn.text import Vocabulary, VectorCoverage
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
