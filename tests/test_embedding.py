"""Word vectors in a classifier's embedding."""

import numpy as np
import pytest
import torch

from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.nn import RecurrentClassifier, copy_vectors
from textrnn.text import Vocabulary, WordVectors, read_vectors

VOCABULARY = Vocabulary({"oil": 2, "prices": 1})


@pytest.fixture
def vectors(tmp_path) -> WordVectors:
    """Return vectors of one of two words."""
    (tmp_path / "file.vec").write_text("1 3\nprices 1 2 3\n")
    return read_vectors(tmp_path / "file.vec", VOCABULARY)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_was_found_is_copied_and_the_rest_stays(vectors, dtype):
    """A token without a vector keeps its own, and padding its zeros."""
    model = RecurrentClassifier(len(VOCABULARY), num_classes=2, embedding_size=3).to(dtype)
    before = model.embedding.weight.detach().clone()
    copy_vectors(vectors, model.embedding)
    after = model.embedding.weight
    row = VOCABULARY["prices"]
    assert after[row].tolist() == [1, 2, 3]
    others = [i for i in range(len(VOCABULARY)) if i != row]
    assert torch.equal(after[others], before[others])
    assert after.requires_grad
    assert after.dtype == dtype
    vectors.matrix[row] = 0  # no memory is shared
    assert after[row].tolist() == [1, 2, 3]


def test_a_frozen_embedding_is_not_trained(vectors):
    """No gradient reaches it."""
    model = RecurrentClassifier(len(VOCABULARY), num_classes=2, embedding_size=3)
    copy_vectors(vectors, model.embedding, freeze=True)
    model(torch.tensor([[2, 4, 5, 3]])).sum().backward()
    assert model.embedding.weight.grad is None
    assert model.encoder.rnn.weight_ih_l0.grad is not None


def test_what_does_not_fit_is_refused(vectors):
    """Another number of tokens or features, or other objects."""
    rule = r"`vectors` to be of shape \(6, 4\), as the embedding is, but got \(6, 3\)"
    with pytest.raises(InvalidValueError, match=rule):
        copy_vectors(vectors, torch.nn.Embedding(6, 4))
    with pytest.raises(InvalidValueError, match="`vectors` to be of shape"):
        copy_vectors(vectors, torch.nn.Embedding(7, 3))
    with pytest.raises(InvalidTypeError, match="`vectors` to be a WordVectors"):
        copy_vectors(np.zeros((6, 3)), torch.nn.Embedding(6, 3))
    with pytest.raises(InvalidTypeError, match=r"`embedding` to be a torch\.nn\.Embedding"):
        copy_vectors(vectors, torch.nn.Linear(6, 3))
