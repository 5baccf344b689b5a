"""The folder of a saved classifier: written atomically, read without trusting it."""

import json
import math
import os
from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch.overrides import TorchFunctionMode

from textrnn._storage import FolderFormat, OpenFolder, corrupt
from textrnn.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    TextrnnError,
    check_choice,
    check_float,
    check_keys,
    expected,
    show,
    unlike_keys,
)
from textrnn.estimator.card import model_card
from textrnn.estimator.model import Model, Network
from textrnn.estimator.settings import MAX_LENGTH, OPTIONS, Option
from textrnn.ngrams import BlendedClassifier, NgramClassifier
from textrnn.nn import RecurrentClassifier
from textrnn.runtime.labels import LabelSet, label_from_json, label_to_json
from textrnn.text import Tokenizer, Vocabulary
from textrnn.text.tokenizers import TOKENIZERS, describe_tokenizer
from textrnn.training import History

__all__ = ["FILES", "FOLDER_FORMAT", "FORMAT_VERSION", "read_folder", "write_folder"]

FORMAT_VERSION = 1
FILES = (
    "history.json",
    "labels.json",
    "metrics.json",
    "model.safetensors",
    "tokenizer.json",
    "training.json",
    "vocabulary.json",
)
FOLDER_FORMAT = FolderFormat(
    kind="model folder",
    what="a saved model",
    argument="path",
    manifest="config.json",
    others=(*FILES, "README.md"),
)

_MAX_BYTES = 16 * 2**20  # of a JSON file other than the vocabulary, and of the weights' header
_MAX_VALUES = 2**20  # of such a file, each of which takes far more memory than its bytes
_MAX_LAYERS = 1000
_MAX_WEIGHT = 1e9  # sums of products of three weights are finite then
_MAX_METRICS = 100  # different names in metrics or history
_DATA: dict[str, tuple[type, ...]] = {
    "columns": (dict, type(None)),
    "coverage": (float, int),
    "cut_texts": (int,),
    "eval_given": (bool,),
    "eval_texts": (int,),
    "label_counts": (list,),
    "mean_words": (float, int),
    "stopped": (str, type(None)),
    "train_texts": (int,),
    "unlabelled_texts": (int,),
}


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
    with FOLDER_FORMAT.replace(path) as folder:
        weights = model.network.state_dict()
        weights = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
        folder.write("model.safetensors", save_tensors(weights))
        folder.write_json("vocabulary.json", model.vocabulary.to_dict())
        folder.write("history.json", (model.history.to_json() + "\n").encode())
        folder.write_json("labels.json", model.labels.to_dict())
        metrics = {k: v if math.isfinite(v) else None for k, v in model.metrics.items()}
        folder.write_json("metrics.json", metrics)
        folder.write_json("tokenizer.json", describe_tokenizer(model.tokenizer))
        folder.write_json("training.json", training)
        folder.write("README.md", model_card(model, version).encode("utf-8", "replace"))
        config = {
            "format_version": FORMAT_VERSION,
            "textrnn_version": version,
            "network": model.recurrent.config,
            "ngrams": None if model.ngrams is None else model.ngrams.config,
            "files": {name: folder.files[name] for name in FILES},
        }
        folder.write_json("config.json", config)
        try:
            read_folder(folder.path, params=params.keys(), tokenizer=model.tokenizer)
        except CorruptFileError as error:
            reason = str(error).partition(" is damaged: ")[2]
            raise InvalidValueError(
                f"Expected the classifier to be one that can be loaded again, but got: {reason}"
            ) from error


def read_folder(
    path: str | os.PathLike[str], *, params: AbstractSet[str], tokenizer: Tokenizer | None
) -> tuple[Model, dict[str, Any]]:
    """Read a model and its classifier's parameters, of these names, from an untrusted folder."""
    with FOLDER_FORMAT.open(path) as folder:
        config = _read_config(folder)
        folder.expect(config["files"])
        network = _build(folder, config)
        described = _read_object(folder, "labels.json", ("labels", "multi_label", "matrix"))
        with _sound(folder.path / "labels.json", "labels"):
            labels = LabelSet.from_dict(described)
        vocabulary = _read_vocabulary(folder, network.vocab_size)
        for name, number in (("vocab_size", len(vocabulary)), ("num_classes", len(labels))):
            if getattr(network, name) != number:
                reason = f"{name} is {getattr(network, name)}, but there are {number}"
                raise corrupt(folder.path / "config.json", "configuration", reason)
        training = _read_training(folder, params, labels)
        model = Model(
            network=_fill(folder, network),
            vocabulary=vocabulary,
            tokenizer=_read_tokenizer(folder, tokenizer),
            labels=labels,
            settings=training["settings"],
            data=training["data"],
            history=_read_history(folder),
            metrics=_read_metrics(folder),
        )
    return model, training["parameters"]


@contextmanager
def _sound(path: Path, what: str) -> Iterator[None]:
    """Turn any error about the content of a file into a `CorruptFileError`."""
    try:
        yield
    except (TextrnnError, KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise corrupt(path, what, str(error).rstrip(".")) from error


def _read_json(folder: OpenFolder, name: str) -> Any:
    """Read a JSON file of limited size."""
    return folder.read_json(name, Path(name).stem, max_bytes=_MAX_BYTES, max_values=_MAX_VALUES)


def _read_object(folder: OpenFolder, name: str, keys: Collection[str]) -> dict[str, Any]:
    """Read a JSON object with exactly these keys."""
    return _check_keys(folder.path / name, Path(name).stem, _read_json(folder, name), keys)


def _check_keys(
    path: Path, what: str, data: Any, keys: Collection[str], *, name: str = "it"
) -> dict[str, Any]:
    """Return JSON data if it is an object with exactly these keys."""
    if not isinstance(data, dict) or data.keys() != set(keys):
        raise corrupt(path, what, f"{name} {unlike_keys(data, keys)}")
    return data


def _read_config(folder: OpenFolder) -> dict[str, Any]:
    path, what = folder.path / "config.json", "configuration"
    config = _read_json(folder, path.name)
    if not isinstance(config, dict) or not {"format_version", "textrnn_version"} <= config.keys():
        raise FOLDER_FORMAT.unlike(folder.path, f"its {path.name} is of another kind")
    version = config["format_version"]
    if type(version) is not int or version != FORMAT_VERSION:
        reason = f"its format version is {show(version)}, and only {FORMAT_VERSION} is known here"
        raise corrupt(path, what, reason)
    keys = ("format_version", "textrnn_version", "network", "ngrams", "files")
    files = _check_keys(path, what, config, keys)["files"]
    _check_keys(path, what, files, FILES, name="`files`")
    for name, entry in files.items():
        sound = isinstance(entry, dict) and entry.keys() == {"bytes", "sha256"}
        if not (sound and type(entry["bytes"]) is int and isinstance(entry["sha256"], str)):
            raise corrupt(path, what, f"the entry of {name} is {show(entry)}")
    return config


class _Uninitialized(TorchFunctionMode):
    """Skip the initialization of weights, which on a meta device imports PyTorch's compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call any function but those of `torch.nn.init`."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _build(folder: OpenFolder, described: Mapping[str, Any]) -> Network:
    """Build the described network without memory, if its weights fill their file."""
    num_bytes = folder.size("model.safetensors", "weights")
    path = folder.path / "config.json"
    config, ngrams = described["network"], described["ngrams"]
    network: Network
    with _sound(path, "configuration"):
        if not isinstance(config, dict) or not isinstance(ngrams, dict | None):
            raise TypeError(f"`network` is {show(config)}, and `ngrams` {show(ngrams)}")
        for name, value in [*config.items(), *(ngrams or {}).items()]:
            limit = _MAX_LAYERS if name in {"num_layers", "max_order"} else num_bytes // 4
            if isinstance(value, int) and value > limit:
                raise ValueError(f"{name} is {show(value)}, too large for the weights")
        with _Uninitialized(), torch.device("meta"):
            network = RecurrentClassifier.from_config(config)
            network.float()  # as `fit` makes it, whatever PyTorch's default is
            if ngrams is not None:
                network = BlendedClassifier(network, NgramClassifier.from_config(ngrams))
        if not isinstance(config["bidirectional"], bool):
            raise TypeError(f"bidirectional is {show(config['bidirectional'])}")
        needed = sum(value.nbytes for value in network.state_dict().values())
        if not needed < num_bytes <= needed + _MAX_BYTES:
            raise ValueError(f"its weights would be {needed} bytes, in a file of {num_bytes}")
    return network


def _fill(folder: OpenFolder, network: Network) -> Network:
    """Load the weights of a file into a network, if names, shapes and types are exactly its own."""
    path, what = folder.path / "model.safetensors", "weights"
    data = folder.read(path.name, what)
    try:
        weights = load_tensors(data)
    except Exception as error:  # a damaged file makes the parser raise all kinds
        raise corrupt(path, what, f"it is not in the safetensors format ({error})") from error
    own = network.state_dict()
    for name, tensor in weights.items():
        kind = own[name].dtype if name in own else torch.float32
        if tensor.dtype != kind or not bool(tensor.isfinite().all()):
            raise corrupt(path, what, f"{show(name)} is not made of finite {kind} numbers")
        if kind.is_floating_point and bool((tensor.abs() > _MAX_WEIGHT).any()):
            raise corrupt(path, what, f"{show(name)} has numbers beyond {_MAX_WEIGHT:g}")
    shapes = {name: tuple(value.shape) for name, value in own.items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if shapes != found:
        wrong = sorted(name for name, _ in shapes.items() ^ found.items())
        raise corrupt(path, what, f"{show(wrong[0])} is not as the configuration has it")
    network.load_state_dict(weights, assign=True)
    if isinstance(network, BlendedClassifier):
        keys = network.ngrams.keys
        if keys[0] < 0 or not bool((keys[1:] > keys[:-1]).all()):
            raise corrupt(path, what, "'ngrams.keys' do not rise from 0 on")
    return network.eval()


def _read_vocabulary(folder: OpenFolder, size: int) -> Vocabulary:
    """Read the vocabulary, if it has no more values than one of that size."""
    name, what = "vocabulary.json", "vocabulary"
    data = folder.read_json(name, what, max_values=2 * size + 100)
    with _sound(folder.path / name, what):
        return Vocabulary.from_dict(data)


def _read_tokenizer(folder: OpenFolder, given: Tokenizer | None) -> Tokenizer:
    path = folder.path / "tokenizer.json"
    data = _read_object(folder, path.name, ("type", "options"))
    if data["type"] == "custom":
        if given is None:
            rule = f"given, since the model was saved without its own ({show(data['options'])})"
            raise InvalidValueError(expected("tokenizer", rule, None))
        return given
    with _sound(path, "tokenizer"):
        kind = TOKENIZERS.get(data["type"]) if isinstance(data["type"], str) else None
        if kind is None:
            raise ValueError(f"its type is {show(data['type'])}")
        tokenizer = kind.from_dict(data["options"])
    if given is not None and given != tokenizer:
        raise InvalidValueError(expected("tokenizer", f"the model's own, {tokenizer}", given))
    return tokenizer


def _read_training(
    folder: OpenFolder, params: AbstractSet[str], labels: LabelSet
) -> dict[str, dict[str, Any]]:
    path, what = folder.path / "training.json", "training"
    training = _read_object(folder, path.name, ("parameters", "settings", "data"))
    settings = {option.name for option in OPTIONS if option.is_setting}
    for name, keys in (("parameters", params), ("settings", settings), ("data", _DATA.keys())):
        _check_keys(path, what, training[name], keys, name=f"`{name}`")
    with _sound(path, what):
        for name in ("parameters", "settings"):
            training[name] = {key: _from_json(key, part) for key, part in training[name].items()}
        for option in OPTIONS:
            if option.is_setting:
                _check_option(option, training["settings"][option.name])
                if (value := training["parameters"].get(option.name)) is not None:
                    _check_option(option, value)
        labels.class_weights(training["parameters"].get("class_weight"))
        labels.thresholds(training["parameters"].get("threshold", 0.5))
        max_length = training["settings"]["max_length"]
        if max_length > MAX_LENGTH:
            raise ValueError(f"`max_length` is {show(max_length)}")
        _check_data(training["data"], len(labels))
    return training


def _check_option(option: Option, value: Any) -> None:
    """Raise an error if an option can't have a value."""
    option.kind.check(option.name, value)
    if option.kind.several:
        for part in value if isinstance(value, tuple) else (value,):
            check_choice(option.name, part, option.kind.choices)


def _check_data(data: Mapping[str, Any], num_labels: int) -> None:
    """Raise an error if facts about the training texts can't be true."""
    for name, kinds in _DATA.items():
        if type(data[name]) not in kinds:
            raise TypeError(f"`{name}` is {show(data[name])}")
        if float in kinds or int in kinds:
            check_float(name, data[name], minimum=0, maximum=2**63)
    _check_columns(data["columns"])
    counts = data["label_counts"]
    if len(counts) != num_labels or {type(count) for count in counts} != {int}:
        raise ValueError(f"`label_counts` is {show(counts)}, for {num_labels} labels")
    if min(counts) < 0 or len(data["stopped"] or "") > 1000:
        raise ValueError(f"it holds {show(min(counts))} texts, or {show(data['stopped'])}")


def _check_columns(columns: Mapping[str, Any] | None) -> None:
    """Check the columns of the training table."""
    if columns is None:
        return
    check_keys("columns", columns, ("text_columns", "label_columns", "label_separator", "header"))
    for name in ("text_columns", "label_columns"):
        names = columns[name]
        if not (isinstance(names, list) and names and all(isinstance(x, str) for x in names)):
            raise InvalidTypeError(expected(name, "a list of names", names))
    if not isinstance(columns["label_separator"], str | None):
        raise InvalidTypeError(
            expected("label_separator", "a string or None", columns["label_separator"])
        )
    if not isinstance(columns["header"], bool):
        raise InvalidTypeError(expected("header", "a boolean", columns["header"]))


def _read_history(folder: OpenFolder) -> History:
    name, what = "history.json", "history"
    rows = _read_json(folder, name)
    with _sound(folder.path / name, what):
        history = History.from_json(json.dumps(rows))
        _check_names(history.names)
    return history


def _read_metrics(folder: OpenFolder) -> dict[str, float]:
    name, what = "metrics.json", "metrics"
    path, metrics = folder.path / name, _read_json(folder, name)
    if not isinstance(metrics, dict):
        raise corrupt(path, what, f"it holds {show(metrics)}")
    with _sound(path, what):
        _check_names(metrics)
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise corrupt(path, what, f"{show(name)} is {show(value)}")
    return {name: math.nan if value is None else value for name, value in metrics.items()}


def _check_names(names: Collection[str]) -> None:
    """Raise an error if the names of metrics are not like those that are written."""
    if len(names) > _MAX_METRICS:
        raise ValueError(f"it holds {len(names)} names")
    for name in names:
        if not name.isidentifier() or len(name) > 100:
            raise ValueError(f"{show(name)} is no name of a metric")


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


def _from_json(name: str, value: Any) -> Any:
    """Return the parameter that `_to_json` described, a list as a tuple."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(value)
    if isinstance(value, dict) and value.keys() == {"by_label"}:
        pairs = value["by_label"]
        if isinstance(pairs, list) and all(map(_is_weight, pairs)):
            return {label_from_json(label): number for label, number in pairs}
    if not isinstance(value, str | bool | int | float | None):
        raise InvalidTypeError(expected(name, "a plain value", value))
    return value


def _is_weight(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and type(pair[1]) in {int, float}
