"""The folder of a saved classifier: written atomically, read without trusting it."""

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

from textrnn._storage import (
    FolderFormat,
    check_file,
    check_unchanged,
    corrupt,
    fingerprint,
    read_json,
)
from textrnn.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    TextrnnError,
    expected,
    listing,
    show,
)
from textrnn.estimator.card import model_card
from textrnn.estimator.labels import LabelSet, label_from_json, label_to_json
from textrnn.estimator.model import Model, Network
from textrnn.estimator.settings import MAX_LENGTH, OPTIONS
from textrnn.ngrams import BlendedClassifier, NgramClassifier
from textrnn.nn import RecurrentClassifier
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
    what="a saved model",
    argument="path",
    manifest="config.json",
    others=(*FILES, "README.md"),
)

_MAX_BYTES = 16 * 2**20  # of a JSON file other than the vocabulary, and of the weights' header
_MAX_LAYERS = 1000
_DATA: dict[str, tuple[type, ...]] = {
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


def read_folder(
    path: str | os.PathLike[str], *, params: AbstractSet[str], tokenizer: Tokenizer | None
) -> tuple[Model, dict[str, Any]]:
    """Read a model and its classifier's parameters, of these names, from an untrusted folder."""
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {show(os.fspath(path))}.")
    config = _read_config(folder / "config.json")
    for name, entry in config["files"].items():
        check_file(folder / name, Path(name).stem, entry["bytes"])
    weights = folder / "model.safetensors"
    network = _build(folder / "config.json", config, weights.stat().st_size)
    for name, entry in config["files"].items():
        check_unchanged(folder / name, Path(name).stem, fingerprint(folder / name), entry)
    path = folder / "labels.json"
    described = _read_object(path, "labels", ("labels", "multi_label", "matrix"))
    with _sound(path, "labels"):
        labels = LabelSet.from_dict(described)
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    for name, number in (("vocab_size", len(vocabulary)), ("num_classes", len(labels))):
        if getattr(network, name) != number:
            reason = f"{name} is {getattr(network, name)}, but there are {number}"
            raise corrupt(folder / "config.json", "configuration", reason)
    training = _read_training(folder / "training.json", params, len(labels))
    model = Model(
        network=_fill(weights, network),
        vocabulary=vocabulary,
        tokenizer=_read_tokenizer(folder / "tokenizer.json", tokenizer),
        labels=labels,
        settings=training["settings"],
        data=training["data"],
        history=History.load(folder / "history.json"),
        metrics=_read_metrics(folder / "metrics.json"),
    )
    return model, training["parameters"]


@contextmanager
def _sound(path: Path, what: str) -> Iterator[None]:
    """Turn any error about the content of a file into a `CorruptFileError`."""
    try:
        yield
    except CorruptFileError:
        raise
    except (TextrnnError, KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise corrupt(path, what, str(error).rstrip(".")) from error


def _read_object(path: Path, what: str, keys: Collection[str]) -> dict[str, Any]:
    """Read a JSON object with exactly these keys."""
    data = read_json(path, what=what, max_bytes=_MAX_BYTES)
    return _check_keys(path, what, data, keys)


def _check_keys(
    path: Path, what: str, data: Any, keys: Collection[str], *, name: str = "it"
) -> dict[str, Any]:
    """Return JSON data if it is an object with exactly these keys."""
    if not isinstance(data, dict) or data.keys() != set(keys):
        found = listing(data) if isinstance(data, dict) else show(data)
        raise corrupt(path, what, f"{name} should have the keys {listing(keys)}, but has {found}")
    return data


def _read_config(path: Path) -> dict[str, Any]:
    what = "configuration"
    check_file(path, path.stem)
    config = read_json(path, what=what, max_bytes=_MAX_BYTES)
    version = config.get("format_version") if isinstance(config, dict) else None
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
    return dict(config)


class _Uninitialized(TorchFunctionMode):
    """Skip the initialization of weights, which on a meta device imports PyTorch's compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call any function but those of `torch.nn.init`."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _build(path: Path, described: Mapping[str, Any], num_bytes: int) -> Network:
    """Build the described network without memory, if its weights fill that many bytes."""
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


def _fill(path: Path, network: Network) -> Network:
    """Load the weights of a file into a network, if names, shapes and types are exactly its own."""
    what = "weights"
    try:
        weights = load_tensors(path.read_bytes())
    except Exception as error:  # a damaged file makes the parser raise all kinds
        raise corrupt(path, what, f"it is not in the safetensors format ({error})") from error
    own = network.state_dict()
    for name, tensor in weights.items():
        kind = own[name].dtype if name in own else torch.float32
        if tensor.dtype != kind or not bool(tensor.isfinite().all()):
            raise corrupt(path, what, f"{show(name)} is not made of finite {kind} numbers")
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


def _read_tokenizer(path: Path, given: Tokenizer | None) -> Tokenizer:
    data = _read_object(path, "tokenizer", ("type", "options"))
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
    path: Path, params: AbstractSet[str], num_labels: int
) -> dict[str, dict[str, Any]]:
    what = "training"
    training = _read_object(path, what, ("parameters", "settings", "data"))
    settings = {option.name for option in OPTIONS if option.is_setting}
    for name, keys in (("parameters", params), ("settings", settings), ("data", _DATA.keys())):
        _check_keys(path, what, training[name], keys, name=f"`{name}`")
    with _sound(path, what):
        for name in ("parameters", "settings"):
            training[name] = {key: _from_json(key, part) for key, part in training[name].items()}
        max_length = training["settings"]["max_length"]
        if type(max_length) is not int or not 3 <= max_length <= MAX_LENGTH:
            raise ValueError(f"`max_length` is {show(max_length)}")
        for name, kinds in _DATA.items():
            if type(training["data"][name]) not in kinds:
                raise TypeError(f"`{name}` is {show(training['data'][name])}")
        counts = training["data"]["label_counts"]
        if len(counts) != num_labels or {type(count) for count in counts} != {int}:
            raise ValueError(f"`label_counts` is {show(counts)}, for {num_labels} labels")
    return training


def _read_metrics(path: Path) -> dict[str, float]:
    metrics = read_json(path, what="metrics", max_bytes=_MAX_BYTES)
    if not isinstance(metrics, dict):
        raise corrupt(path, "metrics", f"it holds {show(metrics)}")
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise corrupt(path, "metrics", f"{show(name)} is {show(value)}")
    return {name: math.nan if value is None else value for name, value in metrics.items()}


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
