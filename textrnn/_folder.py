"""The folder of a saved classifier, written whole or not at all.

Format version 4 has these files: ``config.json`` (the shape of a network, how many there are of it,
the shape of the n-gram part, and size and checksum of every other file), ``model.safetensors`` (the
weights), ``vocabulary.json``, ``tokenizer.json``, ``labels.json``, ``training.json`` (parameters,
settings, numbers of texts), ``history.json``, ``metrics.json`` and, for people, ``README.md``.
Version 3 knew nothing of how words are spelled, version 2 only one network and no unlabelled texts,
version 1 no n-gram part either.
"""

import math
import os
from collections.abc import Mapping
from typing import Any

from safetensors.torch import save as save_tensors
from torch import Tensor

from textrnn._files import write_atomically, write_json
from textrnn._folders import Layout, fingerprint
from textrnn._model import Model, Network
from textrnn.text.tokenizers import describe_tokenizer

__all__ = ["FILES", "FORMAT_VERSION", "LAYOUT", "write_folder"]

FORMAT_VERSION = 4
FILES = (
    "history.json",
    "labels.json",
    "metrics.json",
    "model.safetensors",
    "tokenizer.json",
    "training.json",
    "vocabulary.json",
)
LAYOUT = Layout(
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
    with LAYOUT.taking_the_place_of(path) as folder:
        weights = {key: value.cpu().contiguous() for key, value in _weights(model.network).items()}
        write_atomically(folder / "model.safetensors", save_tensors(weights))
        model.vocabulary.save(folder / "vocabulary.json")
        model.history.save(folder / "history.json")
        write_json(folder / "labels.json", model.labels.to_dict())
        metrics = {k: v if math.isfinite(v) else None for k, v in model.metrics.items()}
        write_json(folder / "metrics.json", metrics)
        write_json(folder / "tokenizer.json", describe_tokenizer(model.tokenizer))
        training = {"parameters": parameters, "settings": model.settings, "data": model.data}
        write_json(folder / "training.json", training)
        write_atomically(folder / "README.md", card.encode("utf-8", "replace"))
        config = {
            "format_version": FORMAT_VERSION,
            "textrnn_version": version,
            "network": model.networks[0].config,
            "num_networks": len(model.networks),
            "ngrams": None if model.ngrams is None else model.ngrams.config,
            "files": {name: fingerprint(folder / name) for name in FILES},
        }
        write_json(folder / "config.json", config)


def _weights(network: Network) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in network.state_dict().items()}
