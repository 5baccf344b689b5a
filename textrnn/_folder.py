"""The folder of a saved classifier, written whole or not at all.

Format version 1 has these files: ``config.json`` (the shapes of the network and of the n-gram part,
and size and checksum of every other file), ``model.safetensors`` (the
weights), ``vocabulary.json``, ``tokenizer.json``, ``labels.json``, ``training.json`` (parameters,
settings, numbers of texts), ``history.json``, ``metrics.json`` and, for people, ``README.md``.
"""

import math
import os
from collections.abc import Mapping
from typing import Any

from safetensors.torch import save as save_tensors
from torch import Tensor

from textrnn._model import Model, Network
from textrnn._storage import FolderFormat
from textrnn.text.tokenizers import describe_tokenizer

__all__ = ["FILES", "FOLDER_FORMAT", "FORMAT_VERSION", "write_folder"]

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
