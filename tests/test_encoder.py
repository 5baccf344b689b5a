"""The encoder computes the published equations, independently of padding."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.nn import RecurrentEncoder

CELLS = ["rnn", "gru", "lstm"]
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.cuda,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
        ],
    ),
]


def _packed(encoder, inputs, lengths):
    """Run PyTorch's own module over a packed sequence."""
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    states, _ = encoder.rnn(packed)
    return pad_packed_sequence(states, batch_first=True, total_length=inputs.shape[1])[0]


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _reference(cell, inputs, weights):
    """Run one direction of one layer over one text `(time, input)`, step by step."""
    w_ih, w_hh, b_ih, b_hh = (weight.detach().double().numpy() for weight in weights)
    h = c = np.zeros(w_hh.shape[1])
    states = []
    for x in inputs:
        from_input, from_state = w_ih @ x + b_ih, w_hh @ h + b_hh
        if cell == "rnn":
            h = np.tanh(from_input + from_state)
        elif cell == "gru":
            reset_in, update_in, new_in = np.split(from_input, 3)
            reset_state, update_state, new_state = np.split(from_state, 3)
            update = _sigmoid(update_in + update_state)
            new = np.tanh(new_in + _sigmoid(reset_in + reset_state) * new_state)
            h = (1 - update) * new + update * h
        else:
            i, f, g, o = np.split(from_input + from_state, 4)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.stack(states)


def test_an_rnn_gives_what_a_pocket_calculator_gives():
    """With `h' = tanh(0.5 x - 0.5 h + 0.25)`, the inputs 1 and -2 give 0.6351 and -0.7885."""
    encoder = RecurrentEncoder(1, 1, cell="rnn")
    weights = {"weight_ih_l0": 0.5, "weight_hh_l0": -0.5, "bias_ih_l0": 0.25, "bias_hh_l0": 0.0}
    with torch.no_grad():
        for name, value in weights.items():
            encoder.rnn.get_parameter(name).fill_(value)
    # tanh(0.75) = 0.635149; tanh(-1 - 0.317574 + 0.25) = tanh(-1.067574) = -0.788546
    states = encoder(torch.tensor([[[1.0], [-2.0]]]), torch.tensor([2]))
    torch.testing.assert_close(states.flatten(), torch.tensor([0.635149, -0.788546]))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_states_follow_the_published_equations(cell, bidirectional):
    """Two layers over a padded batch give what the equations give text by text in NumPy."""
    encoder = RecurrentEncoder(3, 4, cell=cell, num_layers=2, bidirectional=bidirectional)
    inputs, lengths = torch.randn(3, 6, 3), [6, 2, 1]
    states = encoder(inputs, torch.tensor(lengths))
    for text, state, length in zip(inputs, states, lengths, strict=True):
        below = text[:length].double().numpy()
        for layer in range(2):
            at = layer * (2 if bidirectional else 1)
            directions = [_reference(cell, below, encoder.rnn.all_weights[at])]
            if bidirectional:
                backward = _reference(cell, below[::-1], encoder.rnn.all_weights[at + 1])
                directions.append(backward[::-1])
            below = np.concatenate(directions, 1)
        np.testing.assert_allclose(state[:length].detach(), below, atol=1e-6)
        assert not state[length:].any()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("lengths", [[5, 9, 1, 7], [9, 9, 9, 9], [2, 2, 2, 2]])
@pytest.mark.parametrize("device", DEVICES)
def test_states_and_gradients_equal_those_of_packed_sequences(
    cell, bidirectional, num_layers, lengths, device
):
    """States and gradients of inputs and parameters are those of packed sequences."""
    encoder = RecurrentEncoder(
        6, 5, cell=cell, num_layers=num_layers, bidirectional=bidirectional
    ).to(device)
    inputs = torch.randn(4, 9, 6, device=device, requires_grad=True)
    weights = torch.randn(4, 9, encoder.output_size, device=device)
    results = []
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for run in (encoder, lambda *batch: _packed(encoder, *batch)):
            states = run(inputs, torch.tensor(lengths))
            gradients = torch.autograd.grad(
                (states * weights).sum(), [inputs, *encoder.parameters()]
            )
            results.append((states.detach(), *gradients))
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-5)


@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=5),
    st.integers(0, 3),
    st.sampled_from(CELLS),
    st.booleans(),
)
@settings(max_examples=60)
def test_padding_changes_no_state(lengths, extra, cell, bidirectional):
    """A text's states depend neither on inputs at padding nor on its amount."""
    encoder = RecurrentEncoder(3, 4, cell=cell, bidirectional=bidirectional)
    inputs = 100 * torch.randn(len(lengths), max(lengths) + extra, 3)
    with torch.no_grad():
        states = encoder(inputs, torch.tensor(lengths))
        for text, state, length in zip(inputs, states, lengths, strict=True):
            alone = encoder(text[None, :length], torch.tensor([length]))[0]
            torch.testing.assert_close(state[:length], alone, atol=1e-5, rtol=0)
            assert not state[length:].any()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients_never_reach_padding(cell, bidirectional):
    """Inputs at padding get no gradient, and all others get one."""
    encoder = RecurrentEncoder(3, 4, cell=cell, num_layers=2, bidirectional=bidirectional)
    inputs = torch.randn(2, 5, 3, requires_grad=True)
    encoder(inputs, torch.tensor([5, 3])).sum().backward()
    reached = inputs.grad.abs().sum(2) > 0
    assert reached.tolist() == [[True] * 5, [True] * 3 + [False] * 2]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("device", DEVICES)
def test_autocast_gives_nearly_the_same(cell, bidirectional, dtype, device):
    """Half precision gives states near those of full precision, and finite gradients."""
    encoder = RecurrentEncoder(8, 8, cell=cell, num_layers=2, bidirectional=bidirectional)
    encoder = encoder.to(device)
    inputs = torch.randn(3, 6, 8, device=device)
    lengths = torch.tensor([6, 4, 1])
    plain = encoder(inputs, lengths)
    with torch.autocast(device, dtype):
        states = encoder(inputs, lengths)
    states.float().sum().backward()
    torch.testing.assert_close(states.float(), plain, atol=0.03, rtol=0)
    assert not states[1, 4:].any()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_double_precision_runs_both_directions(cell):
    """An encoder in double precision gives the states of packed sequences."""
    encoder = RecurrentEncoder(3, 4, cell=cell, bidirectional=True).double()
    inputs, lengths = torch.randn(2, 5, 3, dtype=torch.float64), torch.tensor([5, 2])
    torch.testing.assert_close(encoder(inputs, lengths), _packed(encoder, inputs, lengths))


@pytest.mark.parametrize("lengths", [[5, 5], [5, 2]])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_dropout_acts_between_layers_in_training_alone(lengths, bidirectional):
    """If everything between layers is dropped, the last layer's states ignore the input."""
    encoder = RecurrentEncoder(3, 4, num_layers=2, bidirectional=bidirectional, dropout=1.0)
    first, second, lengths = torch.randn(2, 5, 3), torch.randn(2, 5, 3), torch.tensor(lengths)
    assert torch.equal(encoder(first, lengths), encoder(second, lengths))
    encoder.eval()
    assert not torch.equal(encoder(first, lengths), encoder(second, lengths))
    torch.testing.assert_close(encoder(first, lengths), _packed(encoder, first, lengths))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_generator_decides_what_is_dropped(bidirectional):
    """The same seed gives the same states, and the next draw others."""
    encoder = RecurrentEncoder(3, 8, num_layers=2, bidirectional=bidirectional, dropout=0.5)
    inputs, lengths = torch.randn(2, 5, 3), torch.tensor([5, 2])
    torch.manual_seed(7)
    first, second = encoder(inputs, lengths), encoder(inputs, lengths)
    torch.manual_seed(7)
    assert torch.equal(first, encoder(inputs, lengths))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_empty_batch_has_no_states(bidirectional):
    """An empty batch gives an empty tensor of states."""
    encoder = RecurrentEncoder(3, 4, bidirectional=bidirectional)
    states = encoder(torch.zeros(0, 5, 3), torch.empty(0, dtype=torch.int64))
    assert states.shape == (0, 5, encoder.output_size)


@pytest.mark.parametrize("cell", CELLS)
def test_weights_fit_the_module_of_pytorch(cell):
    """The parameters have PyTorch's names, shapes and initial values."""
    torch.manual_seed(3)
    encoder = RecurrentEncoder(3, 4, cell=cell, num_layers=2, bidirectional=True)
    torch.manual_seed(3)
    plain = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell](3, 4, 2, bidirectional=True)
    assert encoder.rnn.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(encoder.rnn.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_copies_share_nothing():
    """A deep copy computes the same and shares no weights."""
    encoder = RecurrentEncoder(3, 4, bidirectional=True)
    twin = copy.deepcopy(encoder)
    inputs, lengths = torch.randn(2, 5, 3), torch.tensor([5, 2])
    assert torch.equal(encoder(inputs, lengths), twin(inputs, lengths))
    with torch.no_grad():
        twin.rnn.weight_hh_l0_reverse.zero_()
    assert not torch.equal(encoder(inputs, lengths), twin(inputs, lengths))


def test_the_output_size_counts_the_directions():
    """Two directions give twice the features."""
    assert RecurrentEncoder(3, 4).output_size == 4
    assert RecurrentEncoder(3, 4, bidirectional=True).output_size == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": "qrnn"}, r"`cell` to be one of 'rnn', 'gru', 'lstm', but got 'qrnn'"),
        ({"input_size": 0}, r"`input_size` to be a positive integer, but got 0"),
        ({"hidden_size": -3}, r"`hidden_size` to be a positive integer, but got -3"),
        ({"num_layers": 0}, r"`num_layers` to be a positive integer, but got 0"),
        ({"num_layers": 2, "dropout": 1.5}, r"`dropout` to be a number from 0 to 1, but got 1\.5"),
        ({"dropout": 0.5}, r"`dropout` to be 0 in an encoder of one layer .* but got 0\.5"),
    ],
)
def test_values_that_make_no_encoder_are_refused(arguments, message):
    """The message names the argument, its rule and the value."""
    with pytest.raises(InvalidValueError, match=message):
        RecurrentEncoder(**({"input_size": 3, "hidden_size": 4} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": None}, r"`cell` to be one of 'rnn', 'gru', 'lstm', but got None"),
        ({"hidden_size": 2.5}, r"`hidden_size` to be a positive integer, but got 2\.5"),
        ({"bidirectional": "yes"}, r"`bidirectional` to be True or False, but got 'yes'"),
    ],
)
def test_types_that_make_no_encoder_are_refused(arguments, message):
    """None, a fraction or a string is not accepted where another type is needed."""
    with pytest.raises(InvalidTypeError, match=message):
        RecurrentEncoder(**({"input_size": 3, "hidden_size": 4} | arguments))


@pytest.mark.parametrize("shape", [(2, 3), (2, 5, 4)])
def test_inputs_have_the_encoders_features(shape):
    """The message names the right shape."""
    with pytest.raises(InvalidValueError, match=r"of shape \(batch, time, 3\), but got the shape"):
        RecurrentEncoder(3, 4)(torch.zeros(shape), torch.tensor([2, 2]))


def test_lengths_must_fit_the_inputs():
    """Lengths above the number of steps or of another type are errors."""
    with pytest.raises(InvalidValueError, match=r"from 1 to 5, .* but got 6 at position 1"):
        RecurrentEncoder(3, 4)(torch.zeros(2, 5, 3), torch.tensor([5, 6]))
    with pytest.raises(InvalidTypeError, match=r"integer tensor, but got torch\.float32"):
        RecurrentEncoder(3, 4)(torch.zeros(2, 5, 3), torch.tensor([5.0, 5.0]))
