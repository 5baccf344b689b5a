"""The recurrence's own backward pass agrees with PyTorch's, also for repeated inputs."""

import math
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils._python_dispatch import TorchDispatchMode

from textrnn.errors import InvalidValueError
from textrnn.nn import RecurrentClassifier, RecurrentEncoder, inference

CELLS = ["rnn", "gru", "lstm"]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@given(data=st.data())
@settings(max_examples=15)
def test_positions_give_the_states_of_the_inputs_at_them(cell, bidirectional, num_layers, data):
    """States with `positions` are those of the repeated inputs, and zero at padding."""
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
@pytest.mark.parametrize("num_layers", [1, 2])
def test_positions_have_the_gradients_of_the_inputs_at_them(cell, num_layers):
    """An input's gradient is the sum of those that packed sequences give at its positions."""
    encoder = RecurrentEncoder(3, 4, cell=cell, num_layers=num_layers, bidirectional=True)
    inputs = torch.randn(5, 3, requires_grad=True)
    positions, lengths = torch.randint(5, (3, 6)), torch.tensor([6, 2, 4])
    packed = pack_padded_sequence(
        inputs[positions], lengths, batch_first=True, enforce_sorted=False
    )
    plain = pad_packed_sequence(encoder.rnn(packed)[0], batch_first=True)[0]
    states = encoder(inputs, lengths, positions)
    torch.testing.assert_close(states, plain)
    weights = torch.randn_like(states)
    wanted = [inputs, *encoder.parameters()]
    both = [torch.autograd.grad((out * weights).sum(), wanted) for out in (states, plain)]
    torch.testing.assert_close(*both)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_those_of_finite_differences(cell):
    """Two layers in both directions over padded texts pass `torch.autograd.gradcheck`."""
    encoder = RecurrentEncoder(3, 2, cell=cell, num_layers=2, bidirectional=True).double()
    inputs = torch.randn(3, 4, 3, dtype=torch.double, requires_grad=True)
    weights = dict(encoder.named_parameters())

    def states(inputs, values):
        named = dict(zip(weights, values, strict=True))
        return torch.func.functional_call(encoder, named, (inputs, torch.tensor([4, 1, 2])))

    values = (inputs, *weights.values())
    assert torch.autograd.gradcheck(lambda *given: states(given[0], given[1:]), values)


@pytest.mark.parametrize("cell", ["rnn", "gru"])
@pytest.mark.parametrize("power", [1, 2])
def test_gradients_of_gradients_are_refused(cell, power):
    """Double backward is an error instead of wrong numbers."""
    inputs = torch.randn(2, 3, 4, requires_grad=True)
    states = RecurrentEncoder(4, 5, cell=cell)(inputs, torch.tensor([3, 2]))
    gradient = torch.autograd.grad(states.pow(power).sum(), inputs, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


def test_gradients_of_gradients_of_an_lstm_are_right():
    """PyTorch's operations give them; in fp32 they are those of double precision."""
    encoder, inputs = RecurrentEncoder(4, 5, cell="lstm"), torch.randn(2, 3, 4)
    found = []
    for dtype in (torch.float, torch.double):
        given = inputs.to(dtype).requires_grad_()
        states = encoder.to(dtype)(given, torch.tensor([3, 2]))
        (gradient,) = torch.autograd.grad(states.square().sum(), given, create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum(), given)[0].double())
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)
    assert found[1].abs().max() > 1e-3


def test_functional_transforms_use_pytorch_operations():
    """`torch.func.grad` gives the same gradient, by PyTorch's operations."""
    encoder = RecurrentEncoder(4, 5)
    inputs, lengths = torch.randn(2, 3, 4), torch.tensor([3, 2])
    gradient = torch.func.grad(lambda each: encoder(each, lengths).square().sum())(inputs)
    inputs.requires_grad_()
    encoder(inputs, lengths).square().sum().backward()
    torch.testing.assert_close(gradient, inputs.grad)


def test_a_graph_can_be_used_twice():
    """With `retain_graph` a second backward pass gives the same gradients."""
    inputs = torch.randn(2, 3, 4, requires_grad=True)
    states = RecurrentEncoder(4, 5)(inputs, torch.tensor([3, 2])).sum()
    first, second = (torch.autograd.grad(states, inputs, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("frozen", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"])
@pytest.mark.parametrize("cell", CELLS)
def test_frozen_weights_get_no_gradient_and_change_no_other(cell, frozen):
    """A frozen weight has no gradient, and all others keep theirs."""
    encoder = RecurrentEncoder(4, 5, cell=cell)
    arguments = (torch.randn(2, 3, 4), torch.tensor([3, 2]))
    encoder(*arguments).square().sum().backward()
    before = {name: weight.grad.clone() for name, weight in encoder.rnn.named_parameters()}
    encoder.zero_grad()
    encoder.rnn.get_parameter(frozen).requires_grad_(requires_grad=False)
    encoder(*arguments).square().sum().backward()
    for name, weight in encoder.rnn.named_parameters():
        if name == frozen:
            assert weight.grad is None
        else:
            torch.testing.assert_close(weight.grad, before[name])


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_half_precision_learns_in_the_direction_of_full(cell):
    """Under autocast gradients have nearly the direction of those of fp32."""
    torch.manual_seed(0)
    encoder = RecurrentEncoder(16, 16, cell=cell, bidirectional=True)
    inputs, positions = torch.randn(9, 16), torch.randint(9, (4, 20))
    lengths, gradients = torch.tensor([20, 3, 11, 20]), []
    for half in (False, True):
        encoder.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            states = encoder(inputs, lengths, positions)
        states.float().square().sum().backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in encoder.parameters()]))
    assert torch.cosine_similarity(*gradients, dim=0) > 0.999


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_half_precision_stays_near_to_full(cell):
    """Under autocast states differ from those of fp32 by rounding only."""
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


class _Operations(TorchDispatchMode):
    """Collect the shapes of the arguments of matrix products, and of all results."""

    def __init__(self) -> None:
        super().__init__()
        self.products, self.results = set(), set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> object:
        if func.overloadpacket in {torch.ops.aten.mm, torch.ops.aten.addmm}:
            self.products.add(tuple(tuple(each.shape) for each in args))
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.results.add(tuple(result.shape))
        return result


@pytest.mark.parametrize("learns", [False, True])
def test_half_precision_multiplies_few_shapes(learns):
    """Under autocast, batches of other words have products of the same shapes.

    oneDNN keeps a program of 1 to 2 MB for each shape: 2 GB after some hundred batches.
    """
    model = RecurrentClassifier(400, num_classes=2, hidden_size=8)
    with _Operations() as seen, torch.set_grad_enabled(learns):
        for words in range(100, 400, 5):
            ids = torch.arange(16 * 60).reshape(16, 60) % (words - 1) + 1
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(ids, torch.arange(45, 61))
            if learns:
                logits.sum().backward()
    assert len(seen.products) < 80


@pytest.mark.parametrize("cell", CELLS)
def test_a_classifier_predicts_the_same_with_and_without_gradients(cell):
    """Logits do not depend on whether repeated words are computed once."""
    torch.manual_seed(0)
    model = RecurrentClassifier(
        30, num_classes=3, cell=cell, hidden_size=8, bidirectional=True, pooling=("max", "last")
    ).eval()
    ids, lengths = torch.randint(1, 30, (16, 12)), torch.randint(1, 13, (16,))
    ids[torch.arange(12) >= lengths.unsqueeze(1)] = 0
    expected = model(ids, lengths).detach()
    with torch.inference_mode():
        torch.testing.assert_close(model(ids, lengths), expected, atol=1e-6, rtol=1e-5)
        # A small batch does not share words.
        torch.testing.assert_close(model(ids[:3], lengths[:3]), expected[:3], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_layers", [1, 2])
@given(data=st.data())
@settings(max_examples=15)
def test_predictions_are_those_of_the_network_in_training(cell, num_layers, data):
    """States pooled as they come, block by block, give the logits that autograd's graph gives."""
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=12))
    model = RecurrentClassifier(
        data.draw(st.sampled_from([8, 200])),  # words that come often, or once
        num_classes=3,
        cell=cell,
        hidden_size=data.draw(st.sampled_from([4, 520])),  # a few values a step, or many
        num_layers=num_layers,
        bidirectional=data.draw(st.booleans()),
        pooling=data.draw(st.permutations(["mean", "max", "last"])),
    ).eval()
    ids = torch.randint(1, model.vocab_size, (len(lengths), 9))
    expected = model(ids, torch.tensor(lengths)).detach()
    block = data.draw(st.sampled_from([3, 8]))
    with torch.inference_mode(), patch.object(inference, "_BLOCK", block):
        logits = model(ids, torch.tensor(lengths))
    torch.testing.assert_close(logits, expected, atol=2e-6, rtol=1e-5)


def test_predictions_keep_no_states():
    """No tensor of a prediction has as many values as the states of all tokens."""
    model = RecurrentClassifier(9, num_classes=2, hidden_size=32, pooling=("max", "mean", "last"))
    with _Operations() as seen, torch.inference_mode():
        model(torch.ones(16, 90, dtype=torch.int64), torch.full((16,), 90))
    assert max(map(math.prod, seen.results)) < 16 * 90 * 32


@pytest.fixture(name="embedded")
def _embedded(monkeypatch):
    """Return a list to which each embedding look-up adds its number of ids."""
    numbers = []
    look_up = torch.nn.Embedding.forward

    def forward(self, ids):
        numbers.append(ids.numel())
        return look_up(self, ids)

    monkeypatch.setattr(torch.nn.Embedding, "forward", forward)
    return numbers


@pytest.mark.parametrize("learns", [False, True])
def test_a_classifier_embeds_each_word_once(embedded, learns):
    """Only the different words of a batch are looked up in the embedding."""
    model = RecurrentClassifier(50, num_classes=2, hidden_size=4).train(learns)
    ids = torch.randint(1, 5, (20, 30))
    with torch.set_grad_enabled(learns):
        model(ids, torch.full((20,), 30))
    assert embedded == [len(ids.unique())]


def test_embedding_dropout_is_never_left_out(embedded):
    """With embedding dropout in training mode, words are looked up at each position."""
    model = RecurrentClassifier(50, num_classes=2, hidden_size=4, embedding_dropout=0.5).train()
    model(torch.randint(1, 5, (20, 30)), torch.full((20,), 30))
    assert embedded == [600]


HOOKS = [
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("name", ["embedding", "embedding_dropout", "encoder"])
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # ids have no gradients
def test_hooks_get_the_embeddings_of_a_whole_batch(embedded, name, hook):
    """With a hook, embeddings of all tokens are computed, as attributions need them."""
    model = RecurrentClassifier(50, num_classes=2, hidden_size=4)
    called = []
    getattr(getattr(model, name), hook)(lambda *call: called.append(call[0]))
    model(torch.randint(1, 5, (20, 30)), torch.full((20,), 30)).sum().backward()
    assert embedded == [600]
    assert called


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_on_torchs_module_are_called_in_training(hook):
    """Hooks on the module that holds the weights are called in training."""
    encoder = RecurrentEncoder(3, 4)
    called = []
    getattr(encoder.rnn, hook)(lambda *call: called.append(call[0]))
    inputs = torch.randn(2, 5, 3, requires_grad=True)
    encoder(inputs, torch.tensor([5, 5])).sum().backward()
    assert called


def test_pruned_layers_learn():
    """Pruned weights, which a hook recomputes before each step, get gradients."""
    encoder = RecurrentEncoder(3, 4)
    prune.l1_unstructured(encoder.rnn, "weight_hh_l0", 0.5)
    for _ in range(2):
        encoder(torch.randn(2, 5, 3), torch.tensor([5, 4])).sum().backward()
    assert encoder.rnn.weight_hh_l0_orig.grad.any()


def test_replaced_modules_are_called():
    """A replaced module gets the embeddings of all tokens, in a batch of any size."""
    torch.manual_seed(0)
    model = RecurrentClassifier(50, num_classes=2, hidden_size=4)
    model.embedding_dropout = nn.LayerNorm(4)
    model.eval()
    ids = torch.randint(1, 5, (20, 30))
    many = model(ids, torch.full((20,), 30))
    torch.testing.assert_close(many[:2], model(ids[:2], torch.tensor([30, 30])))
    with torch.no_grad():
        torch.testing.assert_close(model(ids, torch.full((20,), 30)), many)


@pytest.mark.parametrize("cell", CELLS)
def test_mixed_types_follow_pytorch(cell):
    """Under autocast, bf16 inputs are accepted, and double precision stays exact."""
    encoder = RecurrentEncoder(3, 5, cell=cell)
    inputs, positions = torch.randn(4, 3), torch.randint(4, (3, 6))
    lengths = torch.tensor([6, 2, 4])
    exact = encoder.double()(inputs.double(), lengths, positions)
    with torch.autocast("cpu", torch.bfloat16):
        if cell != "lstm":  # which torch can't run in double precision under autocast
            torch.testing.assert_close(encoder(inputs.double(), lengths, positions), exact)
        near = encoder.float()(inputs.bfloat16(), lengths, positions)
    torch.testing.assert_close(near.double(), exact, atol=0.05, rtol=0)


def test_inputs_with_positions_have_two_dimensions():
    """With `positions`, inputs `(batch, time, features)` are an error."""
    encoder = RecurrentEncoder(3, 4)
    with pytest.raises(InvalidValueError, match=r"`inputs` to be of shape \(distinct, 3\)"):
        encoder(torch.randn(2, 5, 3), torch.tensor([5, 5]), torch.zeros(2, 5, dtype=torch.int64))


def test_positions_have_two_dimensions():
    """Positions of another shape than `(batch, time)` are an error."""
    encoder = RecurrentEncoder(3, 4)
    with pytest.raises(InvalidValueError, match=r"`positions` to be of shape \(batch, time\)"):
        encoder(torch.randn(2, 3), torch.tensor([5]), torch.zeros(5, dtype=torch.int64))
