"""`Snapshot`: the complete state of a run, as files that hold no code."""

import io
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

__all__ = ["Snapshot"]

_VERSION = 1
_OPTIMIZER, _VALUES = "optimizer.pt", "state.json"
_TENSORS = {f"{name}.safetensors": name for name in ("model", "averaged", "best", "ahead")}


@dataclass(kw_only=True)
class Snapshot:
    """The contents of a checkpoint: all that a run needs to continue.

    Args:
        tensors: Tensors by file: the weights of the `model`; if there are any, those `averaged`
            over the steps, the `best` ones, and the batch that was prefetched (`ahead`).
        optimizer: What torch saves: the states of optimizer, scheduler, scaler and generators. Of
            several processes, `others` holds the generators and the prefetched batch of each but
            the first.
        values: Plain values: the run's settings, its state and the callbacks' states.
    """

    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def to_files(self) -> dict[str, bytes]:
        """Return the contents of the files.

        Returns:
            The contents by file name, in the formats of safetensors, torch and JSON.

        Raises:
            TypeError: If a value can't be written without code.
        """
        files = {
            f"{name}.safetensors": save_tensors(
                {key: _detached(f"{name}.{key}", value) for key, value in part.items()}
            )
            for name, part in self.tensors.items()
        }
        buffer = io.BytesIO()
        torch.save(_plain("optimizer", self.optimizer), buffer)
        values = {"format_version": _VERSION, **self.values}
        return {**files, _OPTIMIZER: buffer.getvalue(), _VALUES: json.dumps(values).encode()}

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
        values = parse_json(files[_VALUES], finite=False)
        version = checked(values, "format_version", int)
        if version != _VERSION:
            rule = f"of format {_VERSION}, which this version of textrnn reads"
            raise InvalidValueError(expected("resume_from", rule, f"format {version}"))
        if unknown := files.keys() - _TENSORS.keys() - {_OPTIMIZER, _VALUES}:
            raise CorruptFileError(f"{show(min(unknown))} does not belong here.")
        snapshot = cls(
            tensors={
                name: load_tensors(files[file]) for file, name in _TENSORS.items() if file in files
            },
            optimizer=torch.load(
                io.BytesIO(files[_OPTIMIZER]), map_location="cpu", weights_only=True
            ),
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


def _plain(name: str, value: Any) -> Any:
    """Convert a value, such as one with NumPy's numbers, to types that are loaded without code."""
    if value is None or isinstance(value, Tensor | torch.dtype | torch.device):
        return value
    if isinstance(value, np.generic):
        return value.item()
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        items = {_plain(name, key): _plain(f"{name}.{key}", each) for key, each in value.items()}
        return Counter(items) if isinstance(value, Counter) else items
    if isinstance(value, list | tuple):
        parts = [_plain(f"{name}.{i}", each) for i, each in enumerate(value)]
        return tuple(parts) if isinstance(value, tuple) else parts
    raise TypeError(f"{name} is {show(value)}, which can't be loaded without code")
