"""Inputs that come again are multiplied once, and nothing else changes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textrnn.errors import InvalidValueError
from textrnn.nn import RecurrentClassifier, RecurrentEncoder

CELLS = ["rnn", "gru", "lstm"]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@given(data=st.data())
@settings(max_examples=15)
def test_positions_give_the_states_of_the_inputs_at_them(cell, bidirectional, num_layers, data):
    """Whatever repeats, states are those of the plain way, and zeros at padding."""
    lengths = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=5))
    extra, distinct = data.draw(st.integers(0, 2)), data.draw(st.integers(1, 6))
    encoder = RecurrentEncoder(
        3, 4, cell=cell, num_layers=num_layers, bidirectional=bidirectional
    ).eval()
    inputs = torch.randn(distinct, 3)
    positions = torch.randint(distinct, (len(lengths), max(lengths) + extra))
    with torch.no_grad():
        expected = encoder(inputs[positions], torch.tensor(lengths))
        states = encoder(inputs, torch.tensor(lengths), positions)
    torch.testing.assert_close(states, expected, atol=1e-6, rtol=1e-5)
    for state, length in zip(states, lengths, strict=True):
        assert not state[length:].any()


@pytest.mark.parametrize("cell", CELLS)
def test_positions_have_the_gradients_of_the_inputs_at_them(cell):
    """Where gradients are wanted, each input gets the sum of those of its places."""
    encoder = RecurrentEncoder(3, 4, cell=cell, bidirectional=True)
    inputs = torch.randn(5, 3, requires_grad=True)
    positions, lengths = torch.randint(5, (3, 6)), torch.tensor([6, 2, 4])
    plain = encoder(inputs[positions], lengths)
    states = encoder(inputs, lengths, positions)
    torch.testing.assert_close(states, plain)
    weights = torch.randn_like(states)
    both = [torch.autograd.grad((out * weights).sum(), inputs)[0] for out in (states, plain)]
    torch.testing.assert_close(*both)


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_half_precision_stays_near_to_full(cell):
    """Under autocast the states differ from those of fp32 by bf16's rounding at most."""
    torch.manual_seed(0)
    encoder = RecurrentEncoder(16, 16, cell=cell, bidirectional=True).eval()
    inputs, positions = torch.randn(9, 16), torch.randint(9, (4, 20))
    lengths = torch.tensor([20, 3, 11, 20])
    with torch.inference_mode():
        exact = encoder(inputs, lengths, positions)
        with torch.autocast("cpu", torch.bfloat16):
            states = encoder(inputs, lengths, positions)
    assert states.dtype == torch.float32
    torch.testing.assert_close(states, exact, atol=0.03, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_a_classifier_predicts_the_same_with_and_without_gradients(cell):
    """Whether words are computed once, as in prediction, or each at its place changes no logits."""
    torch.manual_seed(0)
    model = RecurrentClassifier(
        30, num_classes=3, cell=cell, hidden_size=8, bidirectional=True, pooling=("max", "last")
    ).eval()
    ids, lengths = torch.randint(1, 30, (16, 12)), torch.randint(1, 13, (16,))
    ids[torch.arange(12) >= lengths.unsqueeze(1)] = 0
    expected = model(ids, lengths).detach()
    with torch.inference_mode():
        torch.testing.assert_close(model(ids, lengths), expected, atol=1e-6, rtol=1e-5)
        # A few texts go the plain way, and are predicted alike.
        torch.testing.assert_close(model(ids[:3], lengths[:3]), expected[:3], atol=1e-6, rtol=1e-5)


def test_a_classifier_multiplies_each_word_once():
    """In prediction the embedding is asked for the different words of a batch alone."""
    model = RecurrentClassifier(50, num_classes=2, hidden_size=4).eval()
    asked = []
    model.embedding.register_forward_hook(lambda *call: asked.append(call[1][0].numel()))
    ids = torch.randint(1, 5, (20, 30))
    with torch.no_grad():
        model(ids, torch.full((20,), 30))
    assert asked == [len(ids.unique())]


def test_embedding_dropout_is_never_left_out():
    """In training mode texts have masks of their own, so words are looked up at each place."""
    model = RecurrentClassifier(50, num_classes=2, hidden_size=4, embedding_dropout=0.5).train()
    asked = []
    model.embedding.register_forward_hook(lambda *call: asked.append(call[1][0].numel()))
    with torch.no_grad():
        model(torch.randint(1, 5, (20, 30)), torch.full((20,), 30))
    assert asked == [600]


def test_different_inputs_have_two_dimensions():
    """With positions, inputs of a whole batch are refused."""
    encoder = RecurrentEncoder(3, 4)
    with pytest.raises(InvalidValueError, match=r"`inputs` to be of shape \(distinct, 3\)"):
        encoder(torch.randn(2, 5, 3), torch.tensor([5, 5]), torch.zeros(2, 5, dtype=torch.int64))


def test_positions_have_two_dimensions():
    """Positions of another shape than `(batch, time)` are refused."""
    encoder = RecurrentEncoder(3, 4)
    with pytest.raises(InvalidValueError, match=r"`positions` to be of shape \(batch, time\)"):
        encoder(torch.randn(2, 3), torch.tensor([5]), torch.zeros(5, dtype=torch.int64))
