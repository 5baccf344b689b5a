"""Save a classifier in a folder, atomically, and load it again."""

import json
import math
import os
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from torch.overrides import TorchFunctionMode

from textrnn._storage import corrupt
from textrnn.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    check_choice,
    expected,
    listing,
)
from textrnn.estimator.card import model_card
from textrnn.estimator.model import Model, Network
from textrnn.estimator.settings import OPTIONS, Chosen, Data, Option, choose_settings
from textrnn.ngrams import BlendedClassifier, NgramClassifier
from textrnn.nn import RecurrentClassifier
from textrnn.runtime import folder
from textrnn.runtime.folder import FILES, FOLDER_FORMAT, FORMAT_VERSION, SavedModel
from textrnn.runtime.labels import label_to_json
from textrnn.text import Tokenizer
from textrnn.text.tokenizers import describe_tokenizer
from textrnn.training import History

__all__ = ["read_folder", "write_folder"]


def write_folder(
    path: str | os.PathLike[str], model: Model, *, params: Mapping[str, Any], version: str
) -> None:
    """Write a model and a classifier's parameters into a folder, in place of an older model."""
    # The new folder is read before it takes its place, so that each model saved can be loaded.
    training = {
        "parameters": {name: _to_json(name, value) for name, value in params.items()},
        "settings": model.settings,
        "data": model.data,
    }
    with FOLDER_FORMAT.replace(path) as target:
        weights = model.network.state_dict()
        weights = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
        target.write("model.safetensors", save_tensors(weights))
        target.write_json("vocabulary.json", model.vocabulary.to_dict())
        target.write("history.json", (model.history.to_json() + "\n").encode())
        target.write_json("labels.json", model.labels.to_dict())
        metrics = {k: v if math.isfinite(v) else None for k, v in model.metrics.items()}
        target.write_json("metrics.json", metrics)
        target.write_json("tokenizer.json", describe_tokenizer(model.tokenizer))
        target.write_json("training.json", training)
        target.write("README.md", model_card(model, version).encode("utf-8", "replace"))
        config = {
            "format_version": FORMAT_VERSION,
            "textrnn_version": version,
            "network": model.recurrent.config,
            "ngrams": None if model.ngrams is None else model.ngrams.config,
            "files": {name: target.files[name] for name in FILES},
        }
        target.write_json("config.json", config)
        try:
            read_folder(target.path, params=params.keys(), tokenizer=model.tokenizer)
        except CorruptFileError as error:
            reason = str(error).partition(" is damaged: ")[2]
            raise InvalidValueError(
                f"Expected the classifier to be one that can be loaded again, but got: {reason}"
            ) from error


def read_folder(
    path: str | os.PathLike[str], *, params: AbstractSet[str], tokenizer: Tokenizer | None
) -> tuple[Model, dict[str, Any]]:
    """Read a model and its classifier's parameters, of these names, from an untrusted folder."""
    saved = folder.read_folder(path, tokenizer=tokenizer)
    settings = _complete_settings(Path(path, "training.json"), saved, params)
    with folder.sound(Path(path, "history.json"), "history"):
        history = History.from_json(json.dumps(saved.history))
        folder.check_names(history.names)
    model = Model(
        network=_build(saved),
        vocabulary=saved.vocabulary,
        tokenizer=saved.tokenizer,
        labels=saved.labels,
        settings=settings,
        data=saved.data,
        history=history,
        metrics=saved.metrics,
    )
    return model, saved.parameters


class _Uninitialized(TorchFunctionMode):
    """Skip the initialization of weights, which on a meta device imports PyTorch's compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call any function but those of `torch.nn.init`."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _build(saved: SavedModel) -> Network:
    """Return the network with copies of its weights."""
    network: Network
    with _Uninitialized(), torch.device("meta"):
        network = RecurrentClassifier.from_config(saved.network)
        network.float()  # as `fit` makes it, whatever PyTorch's default is
        if saved.ngrams is not None:
            network = BlendedClassifier(network, NgramClassifier.from_config(saved.ngrams))
    weights = {name: torch.from_numpy(array.copy()) for name, array in saved.weights.items()}
    network.load_state_dict(weights, assign=True)
    return network.eval()


def _complete_settings(path: Path, saved: SavedModel, params: AbstractSet[str]) -> dict[str, Any]:
    """Check settings and parameters, and return the settings; missing ones have their default."""
    names = {option.name for option in OPTIONS if option.is_setting}
    for part, known in (("parameters", params), ("settings", names)):
        if unknown := getattr(saved, part).keys() - known:
            raise corrupt(path, "training", f"`{part}` has unknown entries: {listing(unknown)}")
    defaults = {o.name: None if isinstance(o.default, Chosen) else o.default for o in OPTIONS}
    data = Data(
        texts=max(saved.data["train_texts"], 1),
        unlabelled=saved.data["unlabelled_texts"],
        multi_label=saved.labels.multi_label,
    )
    with folder.sound(path, "training"):
        settings = choose_settings(defaults | saved.parameters, data) | saved.settings
        for option in OPTIONS:
            if option.is_setting:
                _check_option(option, settings[option.name])
                if (value := saved.parameters.get(option.name)) is not None:
                    _check_option(option, value)
    return settings


def _check_option(option: Option, value: Any) -> None:
    """Raise an error if an option can't have a value."""
    option.kind.check(option.name, value)
    if option.kind.several:
        for part in value if isinstance(value, tuple) else (value,):
            check_choice(option.name, part, option.kind.choices)


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
