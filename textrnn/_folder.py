"""The folder of a saved classifier, written whole or not at all.

Format version 2 has these files: ``config.json`` (the shape of the network and of its n-gram part,
and size and checksum of every other file), ``model.safetensors`` (the weights),
``vocabulary.json``, ``tokenizer.json``, ``labels.json``, ``training.json`` (parameters, settings,
numbers of texts), ``history.json``, ``metrics.json`` and, for people, ``README.md``. Version 1 knew
no n-gram part.
"""

import hashlib
import math
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from safetensors.torch import save as save_tensors
from torch import Tensor

from textrnn._files import write_atomically, write_json
from textrnn._model import Model, Network
from textrnn.errors import (
    InvalidValueError,
    expected,
    listing,
)
from textrnn.text import Tokenizer, WordPunctTokenizer, WordTokenizer

__all__ = [
    "FILES",
    "FORMAT_VERSION",
    "TOKENIZERS",
    "check_target",
    "fingerprint_of",
    "is_known",
    "write_folder",
]

FORMAT_VERSION = 2
TOKENIZERS = {kind.__name__: kind for kind in (WordPunctTokenizer, WordTokenizer)}
FILES = (
    "history.json",
    "labels.json",
    "metrics.json",
    "model.safetensors",
    "tokenizer.json",
    "training.json",
    "vocabulary.json",
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
    target = check_target(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name[:64]}.{secrets.token_hex(8)}.tmp")
    aside.mkdir()
    try:
        weights = {key: value.cpu().contiguous() for key, value in _weights(model.network).items()}
        write_atomically(aside / "model.safetensors", save_tensors(weights))
        model.vocabulary.save(aside / "vocabulary.json")
        model.history.save(aside / "history.json")
        write_json(aside / "labels.json", model.labels.to_dict())
        metrics = {k: v if math.isfinite(v) else None for k, v in model.metrics.items()}
        write_json(aside / "metrics.json", metrics)
        write_json(aside / "tokenizer.json", _tokenizer_entry(model.tokenizer))
        training = {"parameters": parameters, "settings": model.settings, "data": model.data}
        write_json(aside / "training.json", training)
        write_atomically(aside / "README.md", card.encode("utf-8", "replace"))
        config = {
            "format_version": FORMAT_VERSION,
            "textrnn_version": version,
            "network": model.recurrent.config,
            "ngrams": None if model.ngrams is None else model.ngrams.config,
            "files": {name: fingerprint_of(aside / name) for name in FILES},
        }
        write_json(aside / "config.json", config)
        _swap(aside, target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def is_known(tokenizer: Tokenizer) -> TypeGuard[WordPunctTokenizer | WordTokenizer]:
    """Tell whether a tokenizer can be written as JSON; a subclass may cut differently."""
    return type(tokenizer) in TOKENIZERS.values()


def _tokenizer_entry(tokenizer: Tokenizer) -> dict[str, Any]:
    if is_known(tokenizer):
        return {"type": type(tokenizer).__name__, "options": tokenizer.to_dict()}
    name = getattr(tokenizer, "__qualname__", type(tokenizer).__qualname__)
    return {"type": "custom", "options": name}


def _weights(network: Network) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in network.state_dict().items()}


def check_target(path: str | os.PathLike[str]) -> Path:
    """Return the folder that `path` names, links followed, if a model may be written there.

    Raises:
        InvalidValueError: If there is anything at `path` but a saved model or an empty folder.
    """
    target = Path(os.path.realpath(path))
    if not os.path.lexists(target):
        return target
    rule = "a new or empty folder, or one with nothing but a saved model"
    known = {*FILES, "config.json", "README.md"}
    if not target.is_dir():
        raise InvalidValueError(expected("path", rule, str(target)))
    names = {entry.name for entry in target.iterdir()}
    if names and ("config.json" not in names or names - known):
        others = listing(names - known)
        raise InvalidValueError(f"Expected `path` to be {rule}, but {target} holds {others}.")
    return target


def _swap(aside: Path, target: Path) -> None:
    """Put a new folder in the place of an old one, which is put back if that fails."""
    if not target.exists():
        aside.rename(target)
        return
    old = target.with_name(f".{target.name[:64]}.{secrets.token_hex(8)}.old")
    target.rename(old)
    try:
        aside.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def fingerprint_of(path: Path) -> dict[str, Any]:
    """Return a file's size and checksum, as ``config.json`` has them."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}
