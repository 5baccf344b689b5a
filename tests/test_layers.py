"""Locked dropout, and word vectors in an embedding."""

import numpy as np
import pytest
import torch

from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.nn import (
    AttentionPooling,
    LockedDropout,
    RecurrentClassifier,
    RecurrentEncoder,
    copy_vectors,
)
from textrnn.text import Vocabulary, WordVectors, read_vectors

VOCABULARY = Vocabulary({"oil": 2, "prices": 1})


def test_all_steps_of_a_text_share_one_mask():
    """A feature is dropped at every step or at none, and each text has its own mask."""
    dropped = LockedDropout(0.5)(torch.ones(8, 5, 32))  # (batch, time, features)
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert len(dropped[:, 0].unique(dim=0)) == 8


def test_kept_features_are_scaled_by_what_was_kept():
    """Kept features are divided by the probability of keeping them, which preserves the mean."""
    dropped = LockedDropout(0.2)(torch.ones(400, 1, 100))
    assert dropped.unique().tolist() == [0.0, 1.25]
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.01)


def test_the_generator_decides_the_mask():
    """The same seed drops the same features, and the next draw others."""
    dropout, inputs = LockedDropout(0.5), torch.randn(4, 3, 16)
    torch.manual_seed(7)
    first, second = dropout(inputs), dropout(inputs)
    torch.manual_seed(7)
    assert torch.equal(first, dropout(inputs))
    assert not torch.equal(first, second)


def test_a_generator_of_ones_own_decides_the_mask():
    """It gives the mask that the seeded global generator gives, which is left alone."""
    inputs = torch.randn(4, 3, 16)
    torch.manual_seed(7)
    expected = LockedDropout(0.5)(inputs)
    before = torch.get_rng_state()
    dropout = LockedDropout(0.5, generator=torch.Generator().manual_seed(7))
    assert torch.equal(dropout(inputs), expected)
    assert not torch.equal(dropout(inputs), expected)
    assert torch.equal(torch.get_rng_state(), before)
    everything = LockedDropout(1.0, generator=torch.Generator())
    assert torch.equal(everything(inputs), torch.zeros(4, 3, 16))


@pytest.mark.parametrize(
    "make",
    [
        LockedDropout,
        lambda **generator: RecurrentEncoder(2, 3, **generator),
        lambda **generator: AttentionPooling(3, **generator),
        lambda **generator: RecurrentClassifier(3, num_classes=2, **generator),
    ],
)
def test_a_generator_is_one_of_torch(make):
    """A seed in its place is an error."""
    with pytest.raises(InvalidTypeError, match=r"`generator` to be a torch\.Generator or None"):
        make(generator=7)


def test_evaluation_returns_the_input_itself():
    """In evaluation mode, or with probability 0, the input itself is returned."""
    inputs = torch.randn(2, 3, 4)
    assert LockedDropout(0.5).eval()(inputs) is inputs
    assert LockedDropout(0.0)(inputs) is inputs


def test_everything_can_be_dropped():
    """A probability of 1 gives zeros."""
    assert torch.equal(LockedDropout(1.0)(torch.ones(2, 3, 4)), torch.zeros(2, 3, 4))


def test_gradients_pass_where_features_were_kept():
    """The gradient of an input is its factor in the mask."""
    inputs = torch.ones(2, 3, 4, requires_grad=True)
    dropped = LockedDropout(0.5)(inputs)
    dropped.sum().backward()
    assert torch.equal(inputs.grad, dropped.detach())


@pytest.mark.parametrize(("p", "error"), [(-0.1, InvalidValueError), (1.5, InvalidValueError)])
def test_probabilities_out_of_range_are_refused(p, error):
    """A probability must be from 0 to 1."""
    with pytest.raises(error, match=r"`p` to be a number from 0 to 1, but got"):
        LockedDropout(p)


def test_a_probability_is_a_number():
    """A string is not accepted as a probability."""
    with pytest.raises(InvalidTypeError, match=r"`p` to be a number from 0 to 1, but got 'half'"):
        LockedDropout("half")


def test_dropout_inputs_have_three_dimensions():
    """Inputs without a time dimension are an error."""
    with pytest.raises(InvalidValueError, match=r"shape \(batch, time, features\), but .*\(2, 3\)"):
        LockedDropout()(torch.ones(2, 3))


def test_the_repr_shows_the_probability():
    """The repr shows the probability."""
    assert repr(LockedDropout(0.25)) == "LockedDropout(p=0.25)"


@pytest.fixture
def vectors(tmp_path) -> WordVectors:
    """Return word vectors for one of two words."""
    (tmp_path / "file.vec").write_text("1 3\nprices 1 2 3\n")
    return read_vectors(tmp_path / "file.vec", VOCABULARY)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_only_tokens_with_a_vector_are_overwritten(vectors, dtype):
    """Only tokens with a vector are overwritten."""
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
    """A frozen embedding gets no gradient, while the encoder does."""
    model = RecurrentClassifier(len(VOCABULARY), num_classes=2, embedding_size=3)
    copy_vectors(vectors, model.embedding, freeze=True)
    model(torch.tensor([[2, 4, 5, 3]])).sum().backward()
    assert model.embedding.weight.grad is None
    assert model.encoder.rnn.weight_ih_l0.grad is not None


def test_vectors_must_match_the_embedding(vectors):
    """Another shape or type is an error."""
    rule = r"`vectors` to be of shape \(6, 4\), as the embedding is, but got \(6, 3\)"
    with pytest.raises(InvalidValueError, match=rule):
        copy_vectors(vectors, torch.nn.Embedding(6, 4))
    with pytest.raises(InvalidValueError, match="`vectors` to be of shape"):
        copy_vectors(vectors, torch.nn.Embedding(7, 3))
    with pytest.raises(InvalidTypeError, match="`vectors` to be a WordVectors"):
        copy_vectors(np.zeros((6, 3)), torch.nn.Embedding(6, 3))
    with pytest.raises(InvalidTypeError, match=r"`embedding` to be a torch\.nn\.Embedding"):
        copy_vectors(vectors, torch.nn.Linear(6, 3))
