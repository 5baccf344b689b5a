"""The folder of a saved classifier: written whole or not at all, read without trust."""

import math
import os
from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor
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
    InvalidValueError,
    TextrnnError,
    expected,
    listing,
    show,
)
from textrnn.estimator.labels import LabelSet
from textrnn.estimator.model import Model, Network
from textrnn.estimator.settings import MAX_LENGTH, Settings, params_from_json
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


def write_folder(
    path: str | os.PathLike[str],
    model: Model,
    *,
    parameters: Mapping[str, Any],
    version: str,
    card: str,
) -> None:
    """Write a model into a folder, which takes the place of a model that is there already.

    It is written into a new folder beside, which is then renamed.

    Args:
        path: The folder.
        model: What to write.
        parameters: The classifier's parameters, as plain data.
        version: The version of the library.
        card: The text of ``README.md``.

    Raises:
        InvalidValueError: If there is something at `path` that is not a model.
        OSError: If it can't be written; what was there before is intact.
    """
    with FOLDER_FORMAT.replace(path) as folder:
        weights = {key: value.cpu().contiguous() for key, value in _weights(model.network).items()}
        folder.write("model.safetensors", save_tensors(weights))
        folder.write_json("vocabulary.json", model.vocabulary.to_dict())
        folder.write("history.json", (model.history.to_json() + "\n").encode())
        folder.write_json("labels.json", model.labels.to_dict())
        metrics = {k: v if math.isfinite(v) else None for k, v in model.metrics.items()}
        folder.write_json("metrics.json", metrics)
        folder.write_json("tokenizer.json", describe_tokenizer(model.tokenizer))
        training = {"parameters": parameters, "settings": model.settings, "data": model.data}
        folder.write_json("training.json", training)
        folder.write("README.md", card.encode("utf-8", "replace"))
        config = {
            "format_version": FORMAT_VERSION,
            "textrnn_version": version,
            "network": model.recurrent.config,
            "ngrams": None if model.ngrams is None else model.ngrams.config,
            "files": {name: folder.files[name] for name in FILES},
        }
        folder.write_json("config.json", config)


def _weights(network: Network) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in network.state_dict().items()}


_MAX_BYTES = 16 * 2**20  # of a JSON file other than the vocabulary, and of a header of weights
_MOST_LAYERS = 1000
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


def read_folder(
    path: str | os.PathLike[str], *, parameters: AbstractSet[str], tokenizer: Tokenizer | None
) -> tuple[Model, dict[str, Any]]:
    """Read a model that `write_folder` wrote; nothing in the folder is trusted.

    The network is described without content first, and the files are opened only if the weights
    have the size that it needs. Nothing is allocated by what a file claims, and weights are taken
    only if the network has exactly these, and all are finite.

    Args:
        path: The folder.
        parameters: The names of the parameters that a classifier may have.
        tokenizer: What the model was trained with, if it was saved without it.

    Returns:
        The model, on the CPU, and the classifier's parameters.

    Raises:
        FileNotFoundError: If there is no such folder.
        CorruptFileError: If it does not hold a whole and sound model.
        InvalidValueError: If `tokenizer` is needed, or is not the model's own.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {show(os.fspath(path))}.")
    path = folder / "config.json"
    config = _read_config(path)
    for name, entry in config["files"].items():
        check_file(folder / name, Path(name).stem, entry["bytes"])
    weights = folder / "model.safetensors"
    network = _describe(path, config, weights.stat().st_size)
    for name, entry in config["files"].items():
        check_unchanged(folder / name, Path(name).stem, fingerprint(folder / name), entry)
    labels = _read_labels(folder / "labels.json")
    vocabulary = Vocabulary.load(folder / "vocabulary.json")
    for name, number in (("vocab_size", len(vocabulary)), ("num_classes", len(labels))):
        if getattr(network, name) != number:
            reason = f"{name} is {getattr(network, name)}, but there are {number}"
            raise corrupt(path, "configuration", reason)
    training = _read_training(folder / "training.json", parameters, len(labels))
    model = Model(
        network=_fill(weights, network),
        vocabulary=vocabulary,
        tokenizer=_read_tokenizer(folder / "tokenizer.json", tokenizer),
        labels=labels,
        max_length=training["settings"]["max_length"],
        settings=training["settings"],
        data=training["data"],
        history=History.load(folder / "history.json"),
        metrics=_read_metrics(folder / "metrics.json"),
    )
    return model, training["parameters"]


@contextmanager
def _sound(path: Path, what: str) -> Iterator[None]:
    """Turn every complaint about what a file holds into the one error for it."""
    try:
        yield
    except CorruptFileError:
        raise
    except (TextrnnError, KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise corrupt(path, what, str(error).rstrip(".")) from error


def _read_object(path: Path, what: str, keys: Collection[str]) -> dict[str, Any]:
    """Read a JSON object with exactly these keys."""
    data = read_json(path, what=what, max_bytes=_MAX_BYTES)
    if not isinstance(data, dict) or data.keys() != set(keys):
        found = listing(data) if isinstance(data, dict) else show(data)
        raise corrupt(path, what, f"it should have the keys {listing(keys)}, but has {found}")
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
    config = _read_object(path, what, keys)
    files = config["files"]
    if not isinstance(files, dict) or files.keys() != set(FILES):
        raise corrupt(path, what, f"`files` should name {listing(FILES)}")
    for name, entry in files.items():
        sound = isinstance(entry, dict) and entry.keys() == {"bytes", "sha256"}
        if not (sound and type(entry["bytes"]) is int and isinstance(entry["sha256"], str)):
            raise corrupt(path, what, f"the entry of {name} is {show(entry)}")
    return config


def _read_labels(path: Path) -> LabelSet:
    data = _read_object(path, "labels", ("labels", "multi_label", "matrix"))
    with _sound(path, "labels"):
        return LabelSet.from_dict(data)


class _Undrawn(TorchFunctionMode):
    """Leave weights as they are, instead of drawing numbers that a file replaces.

    Besides, to draw on a device without content PyTorch first imports its compiler, for a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call any function but those that draw."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _describe(path: Path, described: Mapping[str, Any], num_bytes: int) -> Network:
    """Return the network that is described, without content, if its weights fill that many bytes.

    Args:
        path: The file of the configuration, for the message.
        described: What it holds.
        num_bytes: The size of the file with the weights.
    """
    what = "configuration"
    _check_described(path, described, num_bytes)
    config, ngrams = described["network"], described["ngrams"]
    network: Network
    with _sound(path, what):
        # On this device nothing has any content, so nothing is allocated or drawn.
        with _Undrawn(), torch.device("meta"):
            network = RecurrentClassifier.from_config(config)
            if ngrams is not None:
                network = BlendedClassifier(network, NgramClassifier.from_config(ngrams))
        if not isinstance(config["bidirectional"], bool):
            raise TypeError(f"bidirectional is {show(config['bidirectional'])}")
        needed = _bytes_of(network)
        if not needed < num_bytes <= needed + _MAX_BYTES:
            raise ValueError(f"its weights would be {needed} bytes, in a file of {num_bytes}")
    return network


def _check_described(path: Path, described: Mapping[str, Any], num_bytes: int) -> None:
    """Refuse what is no description, and numbers that no file of that many bytes has room for."""
    what = "configuration"
    config, ngrams = described["network"], described["ngrams"]
    if not isinstance(config, dict):
        raise corrupt(path, what, f"`network` is {show(config)}")
    if not isinstance(ngrams, dict | None):
        raise corrupt(path, what, f"`ngrams` is {show(ngrams)}")
    for name, value in [*config.items(), *(ngrams or {}).items()]:
        limit = _MOST_LAYERS if name in {"num_layers", "max_order"} else num_bytes // 4
        if isinstance(value, int) and value > limit:
            raise corrupt(path, what, f"{name} is {show(value)}, too large for the weights")


def _bytes_of(network: Network) -> int:
    return sum(value.nbytes for value in network.state_dict().values())


def _fill(path: Path, network: Network) -> Network:
    """Give a network the weights of a file, if they are exactly its own."""
    what = "weights"
    try:
        weights = load_tensors(path.read_bytes())
    except Exception as error:
        # Whatever a damaged file makes the parser raise, it means the same.
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
    path: Path, parameters: AbstractSet[str], num_labels: int
) -> dict[str, dict[str, Any]]:
    what = "training"
    training = _read_object(path, what, ("parameters", "settings", "data"))
    settings, data = Settings.__dataclass_fields__.keys(), _DATA.keys()
    for name, keys in (("parameters", parameters), ("settings", settings), ("data", data)):
        part = training[name]
        if not isinstance(part, dict) or part.keys() != keys:
            found = listing(part) if isinstance(part, dict) else show(part)
            reason = f"`{name}` should have the keys {listing(keys)}, but has {found}"
            raise corrupt(path, what, reason)
    with _sound(path, what):
        for name in ("parameters", "settings"):
            training[name] = params_from_json(training[name])
        max_length = training["settings"]["max_length"]
        if type(max_length) is not int or not 3 <= max_length <= MAX_LENGTH:
            raise ValueError(f"`max_length` is {show(max_length)}")
        _check_data(training["data"], num_labels)
    return training


def _check_data(data: Mapping[str, Any], num_labels: int) -> None:
    """Refuse anything but the numbers that describe the training texts."""
    for name, kinds in _DATA.items():
        if type(data[name]) not in kinds:
            raise TypeError(f"`{name}` is {show(data[name])}")
    counts = data["label_counts"]
    if len(counts) != num_labels or {type(count) for count in counts} != {int}:
        raise ValueError(f"`label_counts` is {show(counts)}, for {num_labels} labels")


def _read_metrics(path: Path) -> dict[str, float]:
    metrics = read_json(path, what="metrics", max_bytes=_MAX_BYTES)
    if not isinstance(metrics, dict):
        raise corrupt(path, "metrics", f"it holds {show(metrics)}")
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise corrupt(path, "metrics", f"{show(name)} is {show(value)}")
    return {name: math.nan if value is None else value for name, value in metrics.items()}
