"""Describe a recurrent classifier in ONNX, if its modules are those of this library."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from textrnn.errors import InvalidValueError
from textrnn.nn.classifier import RecurrentClassifier
from textrnn.nn.encoder import RecurrentEncoder
from textrnn.nn.layers import Dropout, LockedDropout
from textrnn.nn.pooling import AttentionPooling, Pooling
from textrnn.nn.recurrence import is_unmodified
from textrnn.runtime.configuration import weight_layout
from textrnn.runtime.onnx import onnx_model

__all__ = ["to_onnx"]

_HEAD = (nn.Tanh, nn.Linear, Dropout, nn.Tanh, nn.Linear)


def to_onnx(model: RecurrentClassifier) -> bytes:
    """Return the ONNX model of a classifier in evaluation mode, with float32 weights."""
    _check_modules(model)
    config, weights = model.config, model.state_dict()
    shapes = {name: shape for name, (_, shape) in weight_layout(config, None).items()}
    for name in shapes.keys() | weights.keys():
        if name not in weights or tuple(weights[name].shape) != shapes.get(name):
            raise _changed(name)
    arrays: dict[str, NDArray[Any]] = {}
    for name, weight in weights.items():
        arrays[name] = weight.cpu().float().numpy()
        if not np.isfinite(arrays[name]).all():
            raise InvalidValueError(f"Expected finite float32 weights, but {name} has others.")
    return onnx_model(config, arrays)


def _check_modules(model: RecurrentClassifier) -> None:
    """Raise an error unless all modules are of the expected classes, and have no hooks."""
    if not is_unmodified(model, RecurrentClassifier):
        raise _changed("the model")
    config, attention = model.config, "pooling.attention"
    kinds: dict[str, type[nn.Module]] = {
        "": RecurrentClassifier,
        "embedding": nn.Embedding,
        "embedding_dropout": LockedDropout,
        "encoder": RecurrentEncoder,
        "encoder.rnn": {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[config["cell"]],
        "pooling": Pooling,
        "head": nn.Sequential,
        **{f"head.{place}": kind for place, kind in enumerate(_HEAD)},
    }
    if "attention" in config["pooling"]:
        kinds[attention] = AttentionPooling
        kinds[f"{attention}.hidden"] = kinds[f"{attention}.query"] = nn.Linear
    modules = dict(model.named_modules())
    for name in sorted(kinds.keys() | modules.keys()):
        if (
            name not in kinds
            or name not in modules
            or not is_unmodified(modules[name], kinds[name])
        ):
            raise _changed(name)


def _changed(name: str) -> InvalidValueError:
    return InvalidValueError(
        "Expected a RecurrentClassifier with its own modules and without hooks, which ONNX can "
        f"describe, but {name} was changed."
    )
