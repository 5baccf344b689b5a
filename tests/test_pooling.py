"""Pooling depends only on real tokens."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.nn import AttentionPooling, Pooling, last_pool, max_pool, mean_pool

STATES = torch.tensor(
    [
        [[1.0, -5.0], [3.0, -4.0], [100.0, 100.0]],
        [[2.0, -9.0], [-7.0, -3.0], [6.0, -6.0]],
    ]
)  # (batch, time, features)
LENGTHS = torch.tensor([2, 3])
NAMES = ["max", "mean", "last", "attention"]


def pooling_of(names: str | list[str], features: int, *, bidirectional: bool = False) -> Pooling:
    """Return a pooling whose weights, if any, are the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Pooling(names, bidirectional=bidirectional, features=features)


def attended(attention: AttentionPooling, state: torch.Tensor) -> torch.Tensor:
    """Return the average `(features,)` of one text `(time, features)`, from its definition."""
    hidden = torch.tanh(state @ attention.hidden.weight.T + attention.hidden.bias)
    scores = (hidden @ attention.query.weight[0]).exp()  # (time,)
    return scores / scores.sum() @ state


def test_max_is_the_largest_value_of_real_tokens():
    """Values at padding are ignored, and not replaced by zeros."""
    assert max_pool(STATES, LENGTHS).tolist() == [[3.0, -4.0], [6.0, -3.0]]


def test_mean_divides_by_the_true_length():
    """The sum over real tokens is divided by their number."""
    expected = torch.tensor([[2.0, -4.5], [1.0 / 3, -6.0]])
    torch.testing.assert_close(mean_pool(STATES, LENGTHS), expected)


def test_last_is_the_state_of_the_last_real_token():
    """Each text has its own last token."""
    assert last_pool(STATES, LENGTHS).tolist() == [[3.0, -4.0], [6.0, -6.0]]


def test_last_of_two_directions_ends_the_second_at_the_first_token():
    """The backward direction has read the entire text at its first token."""
    pooled = last_pool(STATES, LENGTHS, bidirectional=True)
    assert pooled.tolist() == [[3.0, -5.0], [6.0, -9.0]]


@st.composite
def _padded_states(draw):
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=5))
    time = max(lengths) + draw(st.integers(0, 2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    states = torch.randn(len(lengths), time, 4, generator=generator)
    return states, lengths


@given(_padded_states(), st.permutations(NAMES), st.booleans())
def test_pooling_equals_pooling_each_text_without_its_padding(padded, names, bidirectional):
    """Each text of a batch is pooled as alone; several results keep the order of names."""
    states, lengths = padded
    pooling = pooling_of(names, 4, bidirectional=bidirectional)
    pooled = pooling(states, torch.tensor(lengths))
    assert pooling.attention is not None
    for row, state, length in zip(pooled, states, lengths, strict=True):
        last = torch.cat((state[length - 1, :2], state[0, 2:])) if bidirectional else None
        parts = {
            "max": state[:length].max(0).values,
            "mean": state[:length].mean(0),
            "last": state[length - 1] if last is None else last,
            "attention": attended(pooling.attention, state[:length]),
        }
        torch.testing.assert_close(row, torch.cat([parts[name] for name in names]))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_padding_pools_alike(name):
    """Pooling without a mask gives the result of pooling with one."""
    states, lengths = torch.randn(3, 5, 4), torch.tensor([5, 5, 5])
    padded = torch.cat((states, torch.randn(3, 1, 4)), 1)
    pooling = pooling_of(name, 4)
    torch.testing.assert_close(pooling(states, lengths), pooling(padded, lengths))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients_never_reach_padding(name, bidirectional):
    """States of real tokens get a gradient, and states at padding get none."""
    states = torch.randn(2, 4, 6, requires_grad=True)
    pooled = pooling_of(name, 6, bidirectional=bidirectional)(states, torch.tensor([4, 2]))
    pooled.sum().backward()
    assert not states.grad[1, 2:].any()
    assert states.grad[1, :2].any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_pooling_keeps_the_type_of_the_states(name, dtype):
    """Half and double precision states give results of the same type."""
    pooling = pooling_of(name, 2)
    expected = pooling(STATES, LENGTHS)
    pooled = pooling.to(dtype)(STATES.to(dtype), LENGTHS)
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled.float(), expected, rtol=2e-2, atol=0)


@pytest.mark.parametrize("time", [0, 4])
@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_pools_to_an_empty_batch(name, time):
    """Zero texts give zero vectors."""
    pooled = pooling_of(name, 6)(torch.zeros(0, time, 6), torch.empty(0, dtype=torch.int64))
    assert pooled.shape == (0, 6)


def test_the_output_size_counts_the_names():
    """Each name adds the number of features of a state."""
    assert Pooling("max").output_size(5) == 5
    assert Pooling(("max", "last", "mean")).output_size(5) == 15
    assert Pooling(("max", "attention"), features=5).output_size(5) == 10


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_leaves_the_type_of_the_states(dtype):
    """Weights are computed in half precision, and states are averaged as they are."""
    pooling = pooling_of("attention", 2)
    with torch.autocast("cpu", dtype):
        assert pooling(STATES, LENGTHS).dtype == torch.float32
        assert pooling(STATES.to(dtype), LENGTHS).dtype == dtype


def test_attention_weights_are_returned():
    """The weights of a text sum to 1, are equal without a query, and zero at padding."""
    attention = AttentionPooling(2)
    weights = attention.weights(STATES, LENGTHS)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert weights[0, 2] == 0
    assert bool((weights[0, :2] > 0).all())
    attention.query.weight.data.zero_()
    torch.testing.assert_close(attention(STATES, LENGTHS), mean_pool(STATES, LENGTHS))


def test_attention_learns_which_token_counts():
    """If one marked token has the answer, training moves the weights to it."""
    torch.manual_seed(0)
    states, lengths = torch.randn(256, 6, 3), torch.full((256,), 6)
    texts, marked = torch.arange(256), torch.randint(6, (256,))
    states[:, :, 0] = 0.0
    states[texts, marked, 0] = 2.0
    attention = AttentionPooling(3)
    optimizer = torch.optim.Adam(attention.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        missed = attention(states, lengths) - states[texts, marked]  # (batch, features)
        missed.square().mean().backward()
        optimizer.step()
    assert torch.equal(attention.weights(states, lengths).argmax(1), marked)


def test_only_attention_has_weights():
    """Other poolings have an empty state dict."""
    assert not Pooling(("max", "mean", "last"), features=4).state_dict()
    names = ["attention.hidden.weight", "attention.hidden.bias", "attention.query.weight"]
    assert list(Pooling(("max", "attention"), features=4).state_dict()) == names


def test_attention_needs_the_number_of_features():
    """The number of features is checked at construction and in `forward`."""
    with pytest.raises(InvalidTypeError, match=r"`features` to be .* weights, but got None"):
        Pooling("attention")
    with pytest.raises(InvalidValueError, match="`features` to be a positive integer, but got 0"):
        Pooling("attention", features=0)
    with pytest.raises(InvalidValueError, match="`states` to have 3 features, but got 2"):
        AttentionPooling(3)(STATES, LENGTHS)


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        ("sum", r"`pooling` to be one of 'max', 'mean', 'last', 'attention', but got 'sum'"),
        (
            ("max", "min"),
            r"`pooling` to be one of 'max', 'mean', 'last', 'attention', but got 'min'",
        ),
        (
            ("max", "max"),
            r"`pooling` to be different names, at least one, but got \('max', 'max'\)",
        ),
        ((), r"`pooling` to be different names, at least one, but got \(\)"),
    ],
)
def test_unknown_repeated_and_missing_names_are_refused(pooling, message):
    """The message lists the valid names."""
    with pytest.raises(InvalidValueError, match=message):
        Pooling(pooling)


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        (3, r"`pooling` to be a name or several names, but got 3"),
        (("max", None), r"`pooling` to be one of 'max', 'mean', 'last', 'attention', but got None"),
    ],
)
def test_names_are_strings(pooling, message):
    """A number or None is not accepted as a name."""
    with pytest.raises(InvalidTypeError, match=message):
        Pooling(pooling)


def test_two_directions_need_an_even_number_of_features():
    """An odd number of features can't be split into two directions."""
    with pytest.raises(InvalidValueError, match=r"even number of features .* but got 3\."):
        last_pool(torch.zeros(1, 2, 3), torch.tensor([2]), bidirectional=True)
    with pytest.raises(InvalidValueError, match=r"even number of features .* but got 3\."):
        Pooling("last", bidirectional=True)(torch.zeros(1, 2, 3), torch.tensor([2]))


@pytest.mark.parametrize("pool", [max_pool, mean_pool, last_pool, Pooling(), AttentionPooling(2)])
def test_states_and_lengths_must_fit(pool):
    """States must have three dimensions, and lengths must lie within the second."""
    with pytest.raises(InvalidValueError, match=r"shape \(batch, time, features\), but .*\(2, 3\)"):
        pool(torch.zeros(2, 3), LENGTHS)
    with pytest.raises(InvalidValueError, match=r"but got 4 at position 1"):
        pool(STATES, torch.tensor([2, 4]))
    with pytest.raises(InvalidTypeError, match=r"integer tensor, but got torch\.float32"):
        pool(STATES, LENGTHS.float())


def test_the_repr_shows_names_and_directions():
    """The repr shows the names, and `bidirectional` if set."""
    assert repr(Pooling("mean")) == "Pooling('mean')"
    assert repr(Pooling(["max", "last"], bidirectional=True)) == (
        "Pooling('max', 'last', bidirectional=True)"
    )
