"""Checkpoints: everything that a run needs to go on, in one folder a step, whole or not there."""

import hashlib
import io
import json
import os
import re
import secrets
import shutil
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from textrnn.errors import (
    CorruptFileError,
    InvalidValueError,
    TrainingError,
    check_int,
    expected,
    show,
)
from textrnn.training.callbacks import Callback
from textrnn.training.state import TrainingState

__all__ = ["Checkpoint", "Snapshot", "load_latest"]

_VERSION = 1
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(kw_only=True)
class Snapshot:
    """What a checkpoint holds.

    Args:
        tensors: weights by file: ``model``, and ``averaged`` and ``best`` where there are any.
        optimizer: states that torch keeps: optimizer, scheduler, scaler, generators.
        values: plain values: the place in the run, the history, the callbacks' states.
    """

    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def to_files(self) -> dict[str, bytes]:
        """Return the files' contents by their names: safetensors, torch's own, and JSON."""
        files = {
            f"{name}.safetensors": save_tensors(
                {key: value.detach().cpu().contiguous().clone() for key, value in part.items()}
            )
            for name, part in self.tensors.items()
        }
        buffer = io.BytesIO()
        torch.save(self.optimizer, buffer)
        values = {"format_version": _VERSION, **self.values}
        return {
            **files,
            "optimizer.pt": buffer.getvalue(),
            "state.json": json.dumps(values, indent=1).encode(),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> "Snapshot":
        """Read what `to_files` gave; nothing in it is run as code."""
        values = json.loads(files["state.json"])
        if values["format_version"] != _VERSION:
            raise ValueError(f"format version {show(values['format_version'])}")
        return cls(
            tensors={
                name.removesuffix(".safetensors"): load_tensors(data)
                for name, data in files.items()
                if name.endswith(".safetensors")
            },
            optimizer=torch.load(
                io.BytesIO(files["optimizer.pt"]), map_location="cpu", weights_only=True
            ),
            values=values,
        )


class Checkpoint(Callback):
    """Write checkpoints from which `Trainer.fit` continues exactly, bit for bit on a CPU.

    A checkpoint is a folder ``step-00000500`` with the weights (safetensors), the optimizer's state
    and everything else that a run needs to go on. It is written beside the others, synced and then
    renamed, so an interruption at any moment leaves the one before it as it was; its files carry
    checksums. One is written when all callbacks of the step have run, and where training stops.

    Args:
        directory: the folder of the checkpoints; it is made if it is not there.
        every_steps: the number of updates from one to the next. Default: one after each epoch.
        keep: how many of the newest are kept. Default: 2.

    Raises:
        InvalidValueError: a number is not positive; when training starts, if the folder holds
            checkpoints of another run.
        TrainingError: when one can't be written; those before it are as they were.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> checkpoint = Checkpoint(folder.name, every_steps=500)
    >>> checkpoint.every_steps, checkpoint.keep
    (500, 2)
    >>> folder.cleanup()
    """

    def __init__(
        self, directory: str | PathLike[str], *, every_steps: int | None = None, keep: int = 2
    ) -> None:
        self.directory = Path(directory)
        self.every_steps = None if every_steps is None else check_int("every_steps", every_steps)
        self.keep = check_int("keep", keep)
        self.due = False
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"The folder {self.directory} can't be made: {error.strerror}."
            ) from error

    def __repr__(self) -> str:
        return (
            f"Checkpoint({str(self.directory)!r}, every_steps={self.every_steps}, keep={self.keep})"
        )

    def begin(self, state: TrainingState, resumed_from: Path | None) -> None:
        """Make the folder ready for a run.

        Args:
            state: where the run stands.
            resumed_from: the folder whose checkpoint it goes on from, if any.

        Raises:
            InvalidValueError: the folder holds checkpoints of another run.
        """
        self.due = False
        there = _steps(self.directory)
        if resumed_from is None or not _same(resumed_from, self.directory):
            if there:
                rule = "a folder without another run's checkpoints (or use `resume_from`)"
                raise InvalidValueError(expected("directory", rule, str(self.directory)))
        else:
            # Those after the one that was taken could not be read.
            for step, folder in there:
                if step > state.step:
                    _remove(folder)
        for leftover in self.directory.glob(".step-*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)

    def on_batch_end(self, state: TrainingState) -> None:
        """Note when the time for a checkpoint has come."""
        if self.every_steps is not None and state.step % self.every_steps == 0:
            self.due = True

    def on_epoch_end(self, state: TrainingState) -> None:
        """Note when the time for a checkpoint has come."""
        del state
        if self.every_steps is None:
            self.due = True

    def write(self, state: TrainingState, snapshot: Snapshot) -> None:
        """Write a checkpoint and remove those that are too old.

        Args:
            state: where the run stands; its `last_checkpoint` is set.
            snapshot: what to write.

        Raises:
            TrainingError: it can't be written; those before it are as they were.
        """
        self.due = False
        target = self.directory / f"step-{state.step:08d}"
        aside = self.directory / f".{target.name}.{secrets.token_hex(8)}.tmp"
        try:
            files = snapshot.to_files()
            checksums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
            files["checksums.json"] = json.dumps(checksums, indent=1).encode()
            aside.mkdir()
            for name, data in files.items():
                with (aside / name).open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            _sync(aside)
            if target.exists():  # the run was resumed from an earlier step and is here again
                _remove(target)
            aside.rename(target)
            _sync(self.directory)
        except (OSError, TypeError, ValueError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            kept = state.last_checkpoint
            good = f"The last good one is {kept}." if kept else "There is none before it."
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise TrainingError(
                f"The checkpoint {target} can't be written: {reason}. {good}"
            ) from error
        state.last_checkpoint = str(target)
        for _, folder in _steps(self.directory)[: -self.keep]:
            _remove(folder)


def load_latest(directory: str | PathLike[str]) -> tuple[Path, Snapshot] | None:
    """Read the newest checkpoint of a folder that is whole.

    Those that are torn or were tampered with are passed over, each with a warning.

    Args:
        directory: the folder of the checkpoints.

    Returns:
        The checkpoint's own folder and what it holds; None where there is no whole one.

    Raises:
        InvalidValueError: there is no such folder.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InvalidValueError(expected("resume_from", "a folder that exists", str(directory)))
    for _, folder in reversed(_steps(directory)):
        try:
            return folder, _read(folder)
        except CorruptFileError as error:
            warnings.warn(f"{error} It is passed over.", stacklevel=3)
    warnings.warn(f"{directory} holds no complete checkpoint; training starts anew.", stacklevel=3)
    return None


def _read(folder: Path) -> Snapshot:
    try:
        checksums = json.loads((folder / "checksums.json").read_bytes())
        files = {name: (folder / Path(name).name).read_bytes() for name in checksums}
        damaged = [
            name
            for name, data in files.items()
            if hashlib.sha256(data).hexdigest() != checksums[name]
        ]
        snapshot = None if damaged else Snapshot.from_files(files)
    except Exception as error:
        # Whatever a damaged file makes a parser raise, it means the same.
        raise CorruptFileError(f"The checkpoint {folder} can't be read: {error}.") from error
    if snapshot is None:
        reason = f"{', '.join(damaged)} changed since it was written"
        raise CorruptFileError(f"The checkpoint {folder} can't be read: {reason}.")
    return snapshot


def _steps(directory: Path) -> list[tuple[int, Path]]:
    """Return the checkpoints of a folder by their steps, the newest last."""
    matches = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir() if path.is_dir())
    return sorted((int(match[1]), path) for match, path in matches if match)


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _remove(folder: Path) -> None:
    """Remove a checkpoint; renamed first, so that a half removed one is not taken for one."""
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.tmp")
    with suppress(OSError):
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Bring a folder's list of names to the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
