"""Save a classifier in a folder, atomically, and load it again."""

import json
import math
import os
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

import numpy as np
from safetensors.numpy import save as save_tensors

from textrnn._version import __version__
from textrnn.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    check_choice,
    expected,
)
from textrnn.estimator.card import Cost, model_card
from textrnn.estimator.model import Model, Network, build_network, logits_of
from textrnn.estimator.saved_settings import complete_settings, read_report
from textrnn.estimator.settings import OPTIONS
from textrnn.nn.export import to_onnx
from textrnn.runtime.compact import PRECISIONS, compact
from textrnn.runtime.folder import (
    FOLDER_FORMAT,
    FORMAT_VERSION,
    ONNX_FILE,
    SavedModel,
    check_names,
    read_folder,
    sound,
)
from textrnn.runtime.labels import label_to_json
from textrnn.text.tokenizers import describe_tokenizer, is_known
from textrnn.training import History

__all__ = ["restore", "write_folder"]

_NOT_SAVED = {option.name for option in OPTIONS if not option.saved}


def write_folder(
    path: str | os.PathLike[str],
    model: Model,
    params: Mapping[str, Any],
    *,
    custom_tokenizer: bool,
    weights: str = "fp32",
    onnx: bool = False,
    columns: Mapping[str, Any] | None = None,
    **card: str | None,
) -> None:
    """Write a model, its parameters and its card into a folder, in place of an older model."""
    check_choice("weights", weights, PRECISIONS)
    if not (is_known(model.tokenizer) or custom_tokenizer):
        rule = "one of this library, which JSON can describe (or pass custom_tokenizer=True)"
        raise InvalidTypeError(expected("tokenizer", rule, model.tokenizer))
    if columns is not None:
        model = replace(model, data={**model.data, "columns": dict(columns)})
    network = None
    if onnx:
        if model.recurrent is None:
            raise InvalidValueError(
                "Expected a classifier with a recurrent network, which model.onnx would hold, but "
                "it has n-grams alone; `save` writes them, and network=True trains one."
            )
        network = to_onnx(model.recurrent)
    recurrent, ngrams = model.configs
    stored_weights = compact(model.weights(), weights)
    training = {
        "parameters": {
            name: _to_json(name, value) for name, value in params.items() if name not in _NOT_SAVED
        },
        "settings": model.settings,
        "data": model.data,
        "report": model.report.to_dict(),
    }
    with FOLDER_FORMAT.replace(path) as target:
        target.write("model.safetensors", save_tensors(stored_weights))
        if network is not None:
            target.write(ONNX_FILE, network)
        target.write_json("vocabulary.json", model.vocabulary.to_dict())
        target.write("history.json", (model.history.to_json() + "\n").encode())
        target.write_json("labels.json", model.labels.to_dict())
        metrics = {k: v if math.isfinite(v) else None for k, v in model.metrics.items()}
        target.write_json("metrics.json", metrics)
        target.write_json("tokenizer.json", describe_tokenizer(model.tokenizer))
        target.write_json("training.json", training)
        config = {
            "format_version": FORMAT_VERSION,
            "textrnn_version": __version__,
            "network": recurrent,
            "ngrams": ngrams,
            "weights": weights,
            "files": target.files,
        }
        target.write_json("config.json", config)
        # The new folder is read before it takes its place, so that each model saved can be loaded.
        try:
            saved = read_folder(target.path, tokenizer=model.tokenizer)
            stored = restore(saved, params.keys())
        except CorruptFileError as error:
            reason = str(error).partition(" is damaged: ")[2]
            raise InvalidValueError(
                f"Expected the classifier to be one that can be loaded again, but got: {reason}"
            ) from error
        cost = None if weights == "fp32" else _cost(model, stored.network)
        text = model_card(model, precision=weights, cost=cost, **card)
        target.write("README.md", text.encode("utf-8", "replace"))


def restore(saved: SavedModel, params: AbstractSet[str]) -> Model:
    """Return the model of a folder, whose parameters are of these names."""
    settings = complete_settings(saved, params - _NOT_SAVED)
    with sound(saved.path / "history.json", "history"):
        history = History.from_json(json.dumps(saved.history))
        check_names(history.names)
    return Model(
        network=build_network(saved.network, saved.ngrams, saved.weights),
        vocabulary=saved.vocabulary,
        tokenizer=saved.tokenizer,
        labels=saved.labels,
        settings=settings,
        data=saved.data,
        report=read_report(saved),
        history=history,
        metrics=saved.metrics,
    )


def _cost(model: Model, stored: Network) -> Cost | None:
    """Compare a model with its network as it was stored, on the validation texts."""
    if model.eval_texts is None:
        return None
    before, after = (
        model.labels.probabilities(logits_of(network, *model.eval_texts).numpy())  # (texts, labels)
        for network in (model.network, stored)
    )
    if model.labels.multi_label:
        changed = ((before > 0.5) != (after > 0.5)).any(axis=1)  # (texts,)
    else:
        changed = before.argmax(axis=1) != after.argmax(axis=1)  # (texts,)
    return Cost(len(changed), int(changed.sum()), float(abs(before - after).max()))


def _to_json(name: str, value: Any) -> Any:
    """Return a parameter as plain data; a mapping has labels as keys."""
    if isinstance(value, Mapping):
        return {"by_label": [[label_to_json(k), _to_json(name, v)] for k, v in value.items()]}
    if isinstance(value, tuple | list):
        return [_to_json(name, part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, str | bool | int | float | None):
        raise InvalidTypeError(expected(name, "a value that can be written as JSON", value))
    return value
