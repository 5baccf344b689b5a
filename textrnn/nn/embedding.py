"""Pretrained vectors in an embedding."""

import torch
from torch import nn

from textrnn.errors import InvalidTypeError, InvalidValueError, expected
from textrnn.text import WordVectors

__all__ = ["copy_vectors"]


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
