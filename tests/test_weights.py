"""The configuration and the weights of a saved network, read without PyTorch."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from tests import strategies
from textrnn.errors import InvalidValueError, TextrnnError
from textrnn.ngrams import BlendedClassifier, NgramClassifier
from textrnn.nn import RecurrentClassifier
from textrnn.runtime.compact import compact, compact_layout, expand
from textrnn.runtime.configuration import check_configuration, weight_layout
from textrnn.runtime.weights import needed_bytes, parse_weights


def build(network, ngrams):
    """Return the modules of a configuration, without weights."""
    with torch.device("meta"):
        model = RecurrentClassifier.from_config(network)
        if ngrams is None:
            return model
        return BlendedClassifier(model, NgramClassifier.from_config(ngrams))


@given(strategies.configurations())
def test_the_layout_is_that_of_the_modules(configuration):
    """They equal those of the `state_dict`, without vectors of n-grams that are the embedding."""
    network, ngrams = configuration
    check_configuration(network, ngrams)
    state = build(network, ngrams).state_dict()
    vectors = state.pop("ngrams.vectors", None)
    assert vectors is None or vectors.shape == state["recurrent.embedding.weight"].shape
    kinds = {torch.float32: "float32", torch.int64: "int64"}
    layout = {name: (kinds[each.dtype], tuple(each.shape)) for name, each in state.items()}
    assert weight_layout(network, ngrams) == layout
    assert needed_bytes(layout) == sum(each.nbytes for each in state.values())


@given(st.data())
def test_a_configuration_is_valid_where_its_modules_can_be_made(data):
    """The checks accept what the constructors accept, and nothing else."""
    network, ngrams = data.draw(strategies.configurations())
    changed = data.draw(strategies.mutations([network, ngrams]))
    if not isinstance(changed, list) or len(changed) != 2:
        return
    network, ngrams = changed
    if isinstance(network, dict) and network.get("embedding_size", 0) is None:
        return  # a constructor's default, which no saved configuration has
    sizes = [
        value
        for part in (network, ngrams)
        if isinstance(part, dict)
        for value in part.values()
        if isinstance(value, int)
    ]
    try:
        check_configuration(network, ngrams)
    except TextrnnError:
        if max(sizes, default=0) < 1000:
            with pytest.raises(TextrnnError):
                build(network, ngrams)
    else:
        if max(sizes, default=0) < 1000:
            build(network, ngrams)


def arrays():
    """Draw weights by name: float32 and int64, in one or two dimensions."""
    kinds = st.sampled_from([np.float32, np.int64])
    shapes = st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple)
    made = st.builds(
        lambda kind, shape: np.arange(np.prod(shape)).reshape(shape).astype(kind), kinds, shapes
    )
    return st.dictionaries(st.text(max_size=5), made, max_size=4)


def layout_of(weights):
    """Return the layout of weights."""
    return {name: (str(each.dtype), each.shape) for name, each in weights.items()}


@given(arrays(), st.none() | st.just({"format": "pt"}))
def test_weights_are_read_as_safetensors_wrote_them(weights, metadata):
    """The parser reads any tensors of the two types, whatever their order in the file."""
    weights.pop("__metadata__", None)
    found = parse_weights(save(weights, metadata), layout_of(weights))
    assert found.keys() == weights.keys()
    for name, array in weights.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def file(header, size):
    """Return a file with this header and so many bytes of tensors."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


def entry(first=0, last=4, shape=(1,), kind="F32"):
    """Return the description of a tensor."""
    return {"dtype": kind, "shape": list(shape), "data_offsets": [first, last]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\1",
        bytes(8),
        (2**63).to_bytes(8, "little") + b"{}",
        file([], 0),
        file({}, 1),
        file({"a": 3}, 4),
        file({"a": {"dtype": "F32", "shape": [1]}}, 4),
        file({"a": {**entry(), "more": 1}}, 4),
        file({"a": entry(kind="F64", last=8)}, 8),
        file({"a": entry(kind=["F32"])}, 4),
        file({"a": entry(shape=(2,))}, 4),
        file({"a": entry(shape=(-1, -1))}, 4),
        file({"a": entry(shape=(0,), last=0)}, 0),
        file({"a": entry(shape=(1.0,))}, 4),
        file({"a": {**entry(), "shape": 1}}, 4),
        file({"a": entry(shape=(1,) * 100)}, 4),
        file({"a": entry(last=8)}, 4),
        file({"a": entry(shape=(2,), last=8)}, 4),
        file({"a": entry(first=4, last=8)}, 8),
        file({"a": entry(first=-4, last=0)}, 4),
        file({"a": entry(first=True, last=5)}, 5),
        file({"a": {**entry(), "data_offsets": [0, 4, 8]}}, 4),
        file({"a": entry(), "b": entry()}, 4),
        file({"a": entry(), "b": entry(first=8, last=12)}, 12),
        file({"a": entry()}, 5),
        file({"a": entry(shape=(10**30,), last=4 * 10**30)}, 4),
        (4).to_bytes(8, "little") + b"[" * 4,
        (200_000).to_bytes(8, "little") + b"[" * 200_000,
        (2).to_bytes(8, "little") + b"\xff\xff",
    ],
)
def test_a_wrong_header_is_refused(data):
    """Tensors fill the rest of the file without gaps, and their sizes follow from their shapes."""
    with pytest.raises(ValueError, match=r"^it is not in the safetensors format \("):
        parse_weights(data, {"a": ("float32", (1,))})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "'a' is not as the configuration has it"),
        ({"a": np.ones(3, np.float32)}, "'a' is not as the configuration has it"),
        ({"a": np.ones((2, 1), np.float32)}, "'a' is not as the configuration has it"),
        ({"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)}, "'b' is not as the conf"),
        ({"a": np.ones(2, np.int64)}, "'a' is not made of finite float32 numbers"),
        ({"a": np.array([1, np.nan], np.float32)}, "'a' is not made of finite float32 numbers"),
        ({"a": np.array([1, -np.inf], np.float32)}, "'a' is not made of finite float32 numbers"),
        ({"a": np.array([1, -2e9], np.float32)}, r"'a' has numbers beyond 1e\+09"),
    ],
)
def test_weights_are_as_their_layout_has_it(weights, message):
    """Other names, types, shapes and numbers are refused."""
    with pytest.raises(ValueError, match=message):
        parse_weights(save(weights), {"a": ("float32", (2,))})


def random_weights(network, ngrams, seed):
    """Return weights of a configuration; some rows are zero, and magnitudes differ by row."""
    generator = np.random.default_rng(seed)
    weights = {}
    for name, (kind, shape) in weight_layout(network, ngrams).items():
        values = generator.normal(size=shape) * 10.0 ** generator.integers(
            -6, 3, (*shape[:1],) + (1,) * (len(shape) - 1)
        )
        values *= generator.random((*shape[:1],) + (1,) * (len(shape) - 1)) > 0.2
        weights[name] = values.astype(kind) if kind == "float32" else np.arange(shape[0])
    return weights


@given(strategies.configurations(), st.sampled_from(["fp32", "fp16", "int8"]), st.integers(0, 99))
def test_weights_of_a_lower_precision_are_near_the_exact_ones(configuration, precision, seed):
    """An error is below half a step: of 16-bit floats, or of the 127 parts of a row."""
    network, ngrams = configuration
    weights = random_weights(network, ngrams, seed)
    layout = compact_layout(weight_layout(network, ngrams), precision)
    stored = compact(weights, precision)
    assert {name: (str(each.dtype), each.shape) for name, each in stored.items()} == layout
    found = expand(parse_weights(save(stored), layout))
    assert found.keys() == weights.keys()
    for name, exact in weights.items():
        is_matrix = exact.ndim == 2 and not name.startswith("ngrams.")
        if precision == "fp32" or exact.dtype == np.int64:
            bound = np.zeros(exact.shape)
        elif precision == "int8" and is_matrix:
            bound = np.broadcast_to(abs(exact).max(axis=1, keepdims=True) / 253, exact.shape)
        else:
            bound = np.maximum(abs(exact) * 2.0**-11, 2.0**-25)
        assert found[name].dtype == exact.dtype
        assert (abs(found[name].astype(np.float64) - exact) <= bound).all()


@given(strategies.configurations(), st.sampled_from(["fp16", "int8"]), st.integers(0, 99))
def test_weights_lose_precision_only_once(configuration, precision, seed):
    """A model that is loaded and saved again has the same predictions."""
    once = expand(compact(random_weights(*configuration, seed), precision))
    twice = expand(compact(once, precision))
    for name, array in once.items():
        np.testing.assert_allclose(twice[name], array, rtol=3e-7, atol=0)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_weights_beyond_half_precision_are_not_stored_in_it(precision):
    """An infinite weight would be the alternative."""
    with pytest.raises(
        InvalidValueError, match=r"'fp32', since 'head\.1\.bias' has weights beyond"
    ):
        compact({"head.1.bias": np.array([1.0, -7e4], np.float32)}, precision)


@pytest.mark.parametrize("scale", [1e8, np.inf, np.nan])
def test_scales_are_not_trusted(scale):
    """A scale that makes weights too large, or not finite, is refused."""
    stored = {"a": np.ones((1, 2), np.int8), "a.scale": np.array([scale], np.float32)}
    with pytest.raises(
        ValueError, match=r"'a' has numbers beyond|'a\.scale' is not made of finite"
    ):
        expand(parse_weights(save(stored), layout_of(stored)))
