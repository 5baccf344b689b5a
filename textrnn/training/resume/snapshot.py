"""`Snapshot`: the complete state of a run, as files that hold no code."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from textrnn._storage import parse_json
from textrnn.data import Batch
from textrnn.errors import CorruptFileError, InvalidValueError, expected, show
from textrnn.training.state import checked, read_state

__all__ = ["SNAPSHOT_FILES", "Snapshot", "max_bytes"]

_VERSION = 1
_OPTIMIZER, _VALUES = "optimizer.json", "state.json"
_OPTIMIZER_TENSORS = "optimizer.safetensors"
_TENSORS = {f"{name}.safetensors": name for name in ("model", "averaged", "best", "ahead")}
_MAX_VALUES = 2**22  # of a JSON file

SNAPSHOT_FILES = (*_TENSORS, _OPTIMIZER_TENSORS, _OPTIMIZER, _VALUES)
"""The files of a snapshot, some of which may be missing."""


def max_bytes(file: str, weights: int) -> int:
    """Return the maximum size of a file, for a model whose weights have `weights` bytes."""
    return 2**26 if file.endswith(".json") else 2**30 + 16 * weights


@dataclass(kw_only=True)
class Snapshot:
    """The contents of a checkpoint: all that a run needs to continue.

    Args:
        tensors: Tensors by file: the weights of the `model`; if there are any, those `averaged`
            over the steps, the `best` ones, and the batch that was prefetched (`ahead`).
        optimizer: The states of optimizer, scheduler, scaler and generators. Of several processes,
            `others` holds the generators and the prefetched batch of each but the first.
        values: Plain values: the run's settings, its state and the callbacks' states.
    """

    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def to_files(self) -> dict[str, bytes]:
        """Return the contents of the files.

        Returns:
            The contents by file name, in the formats of safetensors and JSON.

        Raises:
            TypeError: If a value can't be written without code.
        """
        files = {
            f"{name}.safetensors": save_tensors(
                {key: _detached(f"{name}.{key}", value) for key, value in part.items()}
            )
            for name, part in self.tensors.items()
        }
        tensors: dict[str, Tensor] = {}
        optimizer = _encode("optimizer", self.optimizer, tensors)
        files[_OPTIMIZER_TENSORS] = save_tensors(tensors)
        values = {"format_version": _VERSION, **self.values}
        for name, part in ((_OPTIMIZER, optimizer), (_VALUES, values)):
            files[name] = json.dumps(part).encode()
        return files

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "Snapshot":
        """Read what `to_files` returned, without running any code in it.

        Args:
            files: The contents by file name.

        Returns:
            The snapshot, all parts of which have the right types.

        Raises:
            InvalidValueError: If another version of the library wrote the files.
            Exception: If the files are damaged.
        """
        values, optimizer = (
            parse_json(files[name], finite=False, max_values=_MAX_VALUES)
            for name in (_VALUES, _OPTIMIZER)
        )
        version = checked(values, "format_version", int)
        if version != _VERSION:
            rule = f"of format {_VERSION}, which this version of textrnn reads"
            raise InvalidValueError(expected("resume_from", rule, f"format {version}"))
        if unknown := files.keys() - set(SNAPSHOT_FILES):
            raise CorruptFileError(f"{show(min(unknown))} does not belong here.")
        snapshot = cls(
            tensors={
                name: load_tensors(files[file]) for file, name in _TENSORS.items() if file in files
            },
            optimizer=_decode(optimizer, load_tensors(files[_OPTIMIZER_TENSORS])),
            values=values,
        )
        snapshot._check()
        return snapshot

    @property
    def processes(self) -> int:
        """The number of processes of the run."""
        return 1 + len(self.optimizer["others"])

    def generators(self, rank: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the states of a process's generators: now, and at the start of the epoch."""
        part = self.optimizer["others"][rank - 1] if rank else self.optimizer
        return part["now"], part["epoch_start"]

    def ahead(self, rank: int = 0) -> Batch | None:
        """Return the batch that a process had prefetched, if any."""
        part = self.optimizer["others"][rank - 1] if rank else self.tensors
        return Batch(**part["ahead"]) if part.get("ahead") else None

    def _check(self) -> None:
        """Check that all parts are there and have the right types."""
        checked(self.tensors, "model", dict)
        for name in ("optimizer", "scheduler", "scaler", "now", "epoch_start"):
            checked(self.optimizer, name, dict)
        for other in checked(self.optimizer, "others", list):
            for name in ("now", "epoch_start", "ahead"):
                checked(other, name, dict)
        try:
            for rank in range(self.processes):
                self.ahead(rank)
        except (TypeError, ValueError) as error:
            raise CorruptFileError(f"The prefetched batch is invalid: {error}") from error
        optimizer = self.optimizer["optimizer"]
        for group in checked(optimizer, "param_groups", list):
            checked(group, "params", list)
            checked(group, "lr", float, int, Tensor)
        for index in checked(optimizer, "state", dict):
            checked(optimizer["state"], index, dict)
        checked(self.values, "settings", dict)
        read_state(checked(self.values, "state", dict))
        for name, state in checked(self.values, "callbacks", list):
            checked({"name": name, "state": state}, "name", str)
            checked({"name": name, "state": state}, "state", dict)


def _detached(name: str, value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} is {show(value)}, not a tensor")
    # Cloned, as safetensors refuses tensors that share memory, such as tied weights.
    return value.detach().cpu().contiguous().clone()


def _encode(name: str, value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return a value as JSON has it, and add its tensors to those that are kept beside it."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return None
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, list | tuple):
        items = [_encode(f"{name}.{i}", each, tensors) for i, each in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Mapping):
        items = [
            [_encode(name, key, tensors), _encode(f"{name}.{key}", each, tensors)]
            for key, each in value.items()
        ]
        return {"counter" if isinstance(value, Counter) else "dict": items}
    if isinstance(value, torch.dtype | torch.device):
        return {type(value).__name__: str(value)}
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} is {show(value)}, which can't be loaded without code")
    key = str(len(tensors))
    tensors[key] = _detached(name, value)
    return {"tensor": key}


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the value that `_encode` described."""
    if isinstance(value, list):
        return [_decode(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    decoded: Any = None
    if kind == "tuple":
        decoded = tuple(_decode(content, tensors))
    elif kind in {"counter", "dict"}:
        decoded = {_decode(key, tensors): _decode(each, tensors) for key, each in content}
        decoded = Counter(decoded) if kind == "counter" else decoded
    elif kind == "tensor":
        decoded = tensors[content]
    elif kind == "device":
        decoded = torch.device(content)
    elif kind == "dtype":
        decoded = getattr(torch, content.removeprefix("torch."))
    if not isinstance(decoded, tuple | dict | Tensor | torch.device | torch.dtype):
        raise CorruptFileError(f"{show(kind)} can't be {show(content)}.")
    return decoded
