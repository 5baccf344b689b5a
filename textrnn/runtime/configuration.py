"""Check the configuration of a saved network, and list the weights that it has."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    check_choice,
    check_float,
    check_int,
    check_keys,
    expected,
)

__all__ = ["MAX_LENGTH", "Layout", "check_configuration", "weight_layout"]

Layout: TypeAlias = dict[str, tuple[str, tuple[int, ...]]]
"""The type and the shape of each weight."""

MAX_LENGTH = 2**31 - 1
"""The largest `max_length`, which limits nothing."""

_SIZES = ("vocab_size", "num_classes", "hidden_size", "embedding_size")
_SHARED = ("vocab_size", "num_classes", "padding_id")  # by the network and the n-grams
_DROPOUTS = ("dropout", "embedding_dropout", "layer_dropout")
_NETWORK = {*_SIZES, *_DROPOUTS, "bidirectional", "cell", "num_layers", "padding_id", "pooling"}
_NGRAMS = {*_SHARED, "num_ngrams", "num_char_ngrams", "max_order", "vector_size"}
_GATES = {"rnn": 1, "gru": 3, "lstm": 4}
_POOLINGS = ("max", "mean", "last", "attention")
_MAX_LAYERS = 1000
_MAX_KEY = 2**63 - 1  # of an n-gram


def check_configuration(network: Any, ngrams: Any) -> None:
    """Raise an error unless a network can be made of the arguments of its parts, one or both."""
    if ngrams is not None:
        _check_ngrams(ngrams)
    if network is not None or ngrams is None:
        _check_network(network)
    if None in (network, ngrams):
        return
    for name in _SHARED:
        if ngrams[name] != network[name]:
            rule = f"that of the recurrent classifier, {network[name]}"
            raise InvalidValueError(expected(f"ngrams.{name}", rule, ngrams[name]))
    if ngrams["vector_size"] not in {0, network["embedding_size"]}:
        rule = f"0 or the embedding's, {network['embedding_size']}"
        raise InvalidValueError(expected("ngrams.vector_size", rule, ngrams["vector_size"]))


def _check_network(network: Any) -> None:
    """Raise an error unless a recurrent classifier can be made of these arguments."""
    check_keys("network", network, _NETWORK)
    for name in _SIZES:
        check_int(name, network[name])
    check_int("num_layers", network["num_layers"], maximum=_MAX_LAYERS)
    check_choice("cell", network["cell"], _GATES)
    _check_flag("bidirectional", network["bidirectional"])
    names = _poolings(network)
    for name in names:
        check_choice("pooling", name, _POOLINGS)
    if not names or len(set(names)) < len(names):
        raise InvalidValueError(expected("pooling", "different names, at least one", names))
    for name in _DROPOUTS:
        check_float(name, network[name], minimum=0.0, maximum=1.0)
    if network["layer_dropout"] and network["num_layers"] == 1:
        rule = "0 in a model of one layer (it acts between layers)"
        raise InvalidValueError(expected("layer_dropout", rule, network["layer_dropout"]))
    check_int("padding_id", network["padding_id"], minimum=0, maximum=network["vocab_size"] - 1)


def _check_ngrams(ngrams: Any) -> None:
    """Raise an error unless a linear model can be made of these arguments."""
    check_keys("ngrams", ngrams, _NGRAMS)
    for name in ("vocab_size", "num_classes", "num_ngrams"):
        check_int(f"ngrams.{name}", ngrams[name])
    for name in ("num_char_ngrams", "padding_id", "vector_size"):
        check_int(f"ngrams.{name}", ngrams[name], minimum=0)
    order = check_int("max_order", ngrams["max_order"], maximum=63)
    if ngrams["vocab_size"] ** order > max(_MAX_KEY, ngrams["vocab_size"]):
        rule = f"so small that {ngrams['vocab_size']} ** max_order is below 2 ** 63"
        raise InvalidValueError(expected("max_order", rule, order))


def weight_layout(network: Mapping[str, Any] | None, ngrams: Mapping[str, Any] | None) -> Layout:
    """Return the weights of a network with this configuration, as its `state_dict` names them.

    The vectors of n-grams beside a recurrent network are not among them: they are the embedding.
    """
    recurrent = {} if network is None else _recurrent_layout(network)
    linear = {} if ngrams is None else _linear_layout(ngrams)
    if not (recurrent and linear):
        return recurrent or linear
    linear.pop("vectors", None)
    return {
        **{f"recurrent.{name}": value for name, value in recurrent.items()},
        **{f"ngrams.{name}": value for name, value in linear.items()},
        "scales": ("float32", (2,)),
    }


def _linear_layout(ngrams: Mapping[str, Any]) -> Layout:
    words, size = ngrams["vocab_size"], ngrams["vector_size"]
    classes, chars = ngrams["num_classes"], ngrams["num_char_ngrams"]
    sparse = ngrams["num_ngrams"] + words * bool(chars)
    layout: Layout = {
        "keys": ("int64", (ngrams["num_ngrams"],)),
        "idf": ("float32", (sparse + words * (size > 0),)),
        "weight": ("float32", (sparse + size, classes)),
        "bias": ("float32", (classes,)),
    }
    if chars:
        layout["char_keys"] = ("int64", (chars,))
        layout["char_idf"] = ("float32", (chars,))
        layout["char_weight"] = ("float32", (chars, classes))
    if size:
        layout["vectors"] = ("float32", (words, size))
    return layout


def _recurrent_layout(network: Mapping[str, Any]) -> Layout:
    hidden, size = network["hidden_size"], network["embedding_size"]
    gates = _GATES[network["cell"]] * hidden
    features = hidden * (2 if network["bidirectional"] else 1)
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (network["vocab_size"], size)}
    for layer in range(network["num_layers"]):
        for direction in ("", "_reverse")[: 2 if network["bidirectional"] else 1]:
            place = f"l{layer}{direction}"
            shapes[f"encoder.rnn.weight_ih_{place}"] = (gates, features if layer else size)
            shapes[f"encoder.rnn.weight_hh_{place}"] = (gates, hidden)
            shapes[f"encoder.rnn.bias_ih_{place}"] = (gates,)
            shapes[f"encoder.rnn.bias_hh_{place}"] = (gates,)
    poolings = _poolings(network)
    if "attention" in poolings:
        shapes["pooling.attention.hidden.weight"] = (features, features)
        shapes["pooling.attention.hidden.bias"] = (features,)
        shapes["pooling.attention.query.weight"] = (1, features)
    shapes["head.1.weight"] = (hidden, len(poolings) * features)
    shapes["head.1.bias"] = (hidden,)
    shapes["head.4.weight"] = (network["num_classes"], hidden)
    shapes["head.4.bias"] = (network["num_classes"],)
    return {name: ("float32", shape) for name, shape in shapes.items()}


def _poolings(network: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the names of the poolings, which is a single one or a list."""
    pooling = network["pooling"]
    if isinstance(pooling, str):
        return (pooling,)
    if not isinstance(pooling, list | tuple):
        raise InvalidTypeError(expected("pooling", "a name or several names", pooling))
    return tuple(pooling)


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise InvalidTypeError(expected(name, "a boolean", value))
