"""The folder of a saved classifier: its files, and how they are read without trusting them."""

import math
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from textrnn._storage import FolderFormat, OpenFolder, corrupt
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    TextrnnError,
    check_choice,
    check_float,
    check_int,
    check_keys,
    expected,
    listing,
    show,
    unlike_keys,
)
from textrnn.runtime.compact import PRECISIONS, compact_layout, expand
from textrnn.runtime.configuration import MAX_LENGTH, Layout, check_configuration, weight_layout
from textrnn.runtime.labels import LabelSet, label_from_json
from textrnn.runtime.weights import needed_bytes, parse_weights
from textrnn.text.tokenizers import TOKENIZERS, Tokenizer
from textrnn.text.vocabulary import Vocabulary

__all__ = [
    "FILES",
    "FOLDER_FORMAT",
    "FORMAT_VERSION",
    "ONNX_FILE",
    "SavedModel",
    "check_names",
    "read_folder",
    "sound",
]

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
ONNX_FILE = "model.onnx"
"""The network for other programs, in a folder that `TextClassifier.export` wrote; not read here."""
FOLDER_FORMAT = FolderFormat(
    kind="model folder",
    what="a saved model",
    argument="path",
    manifest="config.json",
    others=(*FILES, ONNX_FILE, "README.md"),
)

_MAX_BYTES = 16 * 2**20  # of a JSON file other than the vocabulary, and of the weights' header
_MAX_VALUES = 2**20  # of such a file, each of which takes far more memory than its bytes
_MAX_METRICS = 100  # different names in metrics or history
_NEEDED = {"parameters": {"threshold"}, "settings": {"max_length"}}  # to predict
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
    "vectors": (dict, type(None)),
}


class SavedModel(NamedTuple):
    """The content of a folder."""

    path: Path  # where it was read
    network: dict[str, Any] | None  # arguments of the recurrent network, if there is one
    ngrams: dict[str, Any] | None  # and of the n-grams, if there are any
    weights: dict[str, NDArray[Any]]  # by their names in a `state_dict`
    vocabulary: Vocabulary
    tokenizer: Tokenizer
    labels: LabelSet
    parameters: dict[str, Any]  # of the classifier; only those that predictions need are checked
    settings: dict[str, Any]  # the same, with chosen values
    data: dict[str, Any]  # facts about the training texts
    report: Any  # of the fit; not checked
    metrics: dict[str, float]  # of the validation part; empty without one
    history: Any  # not checked


def read_folder(path: str | os.PathLike[str], *, tokenizer: Tokenizer | None) -> SavedModel:
    """Read an untrusted folder; a custom tokenizer is not part of it."""
    with FOLDER_FORMAT.open(path) as folder:
        config = _read_config(folder)
        folder.expect(config["files"])
        network, ngrams = config["network"], config["ngrams"]
        layout = compact_layout(weight_layout(network, ngrams), config["weights"])
        _check_size(folder, needed_bytes(layout))
        if ONNX_FILE in config["files"]:
            num_bytes = needed_bytes(weight_layout(network, None))
            folder.read(ONNX_FILE, "ONNX", max_bytes=num_bytes + _MAX_BYTES)  # if it is undamaged
        sizes: dict[str, Any] = network or ngrams
        described = _read_object(folder, "labels.json", ("labels", "multi_label", "matrix"))
        with sound(folder.path / "labels.json", "labels"):
            labels = LabelSet.from_dict(described)
        vocabulary = _read_vocabulary(folder, sizes["vocab_size"])
        for name, number in (("vocab_size", len(vocabulary)), ("num_classes", len(labels))):
            if sizes[name] != number:
                reason = f"{name} is {sizes[name]}, but there are {number}"
                raise corrupt(folder.path / "config.json", "configuration", reason)
        training = _read_training(folder, labels)
        return SavedModel(
            path=folder.path,
            network=network,
            ngrams=ngrams,
            weights=_read_weights(folder, layout),
            vocabulary=vocabulary,
            tokenizer=_read_tokenizer(folder, tokenizer),
            labels=labels,
            **training,
            metrics=_read_metrics(folder),
            history=_read_json(folder, "history.json"),
        )


@contextmanager
def sound(path: Path, what: str) -> Iterator[None]:
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
    keys = ("format_version", "textrnn_version", "network", "ngrams", "weights", "files")
    files = _check_keys(path, what, config, keys)["files"]
    optional = {ONNX_FILE} if isinstance(files, dict) and ONNX_FILE in files else set()
    _check_keys(path, what, files, {*FILES, *optional}, name="`files`")
    for name, entry in files.items():
        sealed = isinstance(entry, dict) and entry.keys() == {"bytes", "sha256"}
        if not (sealed and type(entry["bytes"]) is int and isinstance(entry["sha256"], str)):
            raise corrupt(path, what, f"the entry of {name} is {show(entry)}")
    with sound(path, what):
        check_configuration(config["network"], config["ngrams"])
        if optional and config["network"] is None:
            raise ValueError(f"`files` has {ONNX_FILE}, but there is no network")
        check_choice("weights", config["weights"], PRECISIONS)
    return config


def _check_size(folder: OpenFolder, needed: int) -> None:
    """Raise an error unless the file of the weights has that many bytes, and a header."""
    num_bytes = folder.size("model.safetensors", "weights")
    if not needed < num_bytes <= needed + _MAX_BYTES:
        reason = f"its weights would be {show(needed)} bytes, in a file of {num_bytes}"
        raise corrupt(folder.path / "config.json", "configuration", reason)


def _read_weights(folder: OpenFolder, layout: Layout) -> dict[str, NDArray[Any]]:
    name, what = "model.safetensors", "weights"
    data = folder.read(name, what)
    with sound(folder.path / name, what):
        return expand(parse_weights(data, layout))


def _read_vocabulary(folder: OpenFolder, size: int) -> Vocabulary:
    """Read the vocabulary, if it has no more values than one of that size."""
    name, what = "vocabulary.json", "vocabulary"
    data = folder.read_json(name, what, max_values=2 * size + 100)
    with sound(folder.path / name, what):
        return Vocabulary.from_dict(data)


def _read_tokenizer(folder: OpenFolder, given: Tokenizer | None) -> Tokenizer:
    path = folder.path / "tokenizer.json"
    data = _read_object(folder, path.name, ("type", "options"))
    if data["type"] == "custom":
        if given is None:
            rule = f"given, since the model was saved without its own ({show(data['options'])})"
            raise InvalidValueError(expected("tokenizer", rule, None))
        return given
    with sound(path, "tokenizer"):
        kind = TOKENIZERS.get(data["type"]) if isinstance(data["type"], str) else None
        if kind is None:
            raise ValueError(f"its type is {show(data['type'])}")
        tokenizer = kind.from_dict(data["options"])
    if given is not None and given != tokenizer:
        raise InvalidValueError(expected("tokenizer", f"the model's own, {tokenizer}", given))
    return tokenizer


def _read_training(folder: OpenFolder, labels: LabelSet) -> dict[str, Any]:
    """Read parameters, settings, data and the report."""
    path, what = folder.path / "training.json", "training"
    training = _read_object(folder, path.name, (*_NEEDED, "data", "report"))
    for name, needed in _NEEDED.items():
        part = training[name]
        if not isinstance(part, dict) or not needed <= part.keys():
            raise corrupt(path, what, f"`{name}` has no {listing(needed)}")
    _check_keys(path, what, training["data"], _DATA, name="`data`")
    with sound(path, what):
        for name in _NEEDED:
            training[name] = {key: _from_json(key, part) for key, part in training[name].items()}
        check_int("max_length", training["settings"]["max_length"], minimum=3, maximum=MAX_LENGTH)
        labels.class_weights(training["parameters"].get("class_weight"))
        labels.thresholds(training["parameters"]["threshold"])
        _check_data(training["data"], len(labels))
    return training


def _check_data(data: Mapping[str, Any], num_labels: int) -> None:
    """Raise an error if facts about the training texts can't be true."""
    for name, kinds in _DATA.items():
        if type(data[name]) not in kinds:
            raise TypeError(f"`{name}` is {show(data[name])}")
        if data[name] is not None and (float in kinds or int in kinds):
            check_float(name, data[name], minimum=0, maximum=2**63)
    _check_columns(data["columns"])
    _check_vectors(data["vectors"])
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


def _check_vectors(vectors: Mapping[str, Any] | None) -> None:
    """Check the facts about word vectors."""
    if vectors is None:
        return
    check_keys("vectors", vectors, ("file", "size", "coverage"))
    if not isinstance(vectors["file"], str) or len(vectors["file"]) > 1000:
        raise InvalidTypeError(expected("file", "a short string", vectors["file"]))
    check_int("size", vectors["size"])
    check_float("coverage", vectors["coverage"], minimum=0, maximum=1)


def _read_metrics(folder: OpenFolder) -> dict[str, float]:
    name, what = "metrics.json", "metrics"
    path, metrics = folder.path / name, _read_json(folder, name)
    if not isinstance(metrics, dict):
        raise corrupt(path, what, f"it holds {show(metrics)}")
    with sound(path, what):
        check_names(metrics)
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise corrupt(path, what, f"{show(name)} is {show(value)}")
    return {name: math.nan if value is None else value for name, value in metrics.items()}


def check_names(names: Collection[str]) -> None:
    """Raise an error if the names of metrics are not like those that are written."""
    if len(names) > _MAX_METRICS:
        raise ValueError(f"it holds {len(names)} names")
    for name in names:
        if not name.isidentifier() or len(name) > 100:
            raise ValueError(f"{show(name)} is no name of a metric")


def _from_json(name: str, value: Any) -> Any:
    """Return the parameter that a value of JSON describes, a list as a tuple."""
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
