"""Checkpoints: everything that a run needs to go on, in one folder a step, whole or not there."""

import hashlib
import re
import shutil
import warnings
from os import PathLike
from pathlib import Path

from textrnn._storage import check_writable, new_folder, parse_json, remove_folder
from textrnn.errors import (
    CorruptFileError,
    InvalidValueError,
    TrainingError,
    check_int,
    expected,
)
from textrnn.training.callbacks import Callback
from textrnn.training.resume.snapshot import Snapshot
from textrnn.training.state import TrainingState

__all__ = ["Checkpoint", "Snapshot", "load_latest"]

_NAME = re.compile(r"step-(\d{8,})")
_CHECKSUMS = "checksums.json"


class Checkpoint(Callback):
    """Write checkpoints from which `Trainer.fit` continues exactly, bit for bit on a CPU.

    A checkpoint is a folder ``step-00000500`` with the weights (safetensors), the optimizer's state
    and everything else that a run needs to go on. It is written beside the others, synced and then
    renamed, so an interruption at any moment leaves the one before it as it was; its files carry
    checksums. One is written when all callbacks of the step have run, and where training stops.

    Random numbers that a data set or a `collate_fn` draws from the global generators go on as well,
    with one exception: those drawn in workers that live longer than an epoch
    (``persistent_workers=True``).

    Args:
        directory: The folder of the checkpoints; it is made if it is not there.
        every_steps: The number of updates from one to the next. Default: one after each epoch.
        keep: How many of the newest are kept. Default: 2.

    Raises:
        InvalidValueError: If a number is not positive; when training starts, if the folder holds
            checkpoints of another run.
        TrainingError: If one can't be written; those before it are as they were. A folder that
            can't be written to is found when training starts.

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
        self._make_directory()

    def __repr__(self) -> str:
        return (
            f"Checkpoint({str(self.directory)!r}, every_steps={self.every_steps}, keep={self.keep})"
        )

    def begin(self, state: TrainingState, resumed_from: Path | None) -> None:
        """Make the folder ready for a run.

        Checkpoints that lie ahead of the place where the run goes on, or that could not be read,
        are set aside under another name.

        Args:
            state: Where the run stands.
            resumed_from: The folder whose checkpoint it goes on from, if any.

        Raises:
            InvalidValueError: If the folder holds checkpoints of another run.
            TrainingError: If the folder can't be written to.
        """
        self._make_directory()
        own = resumed_from is not None and _same(resumed_from, self.directory)
        set_aside = []
        for step, folder in _steps(self.directory):
            run = state.run_id if own else _run_of(folder) if resumed_from else ""
            if run not in {None, state.run_id}:
                rule = "a folder without another run's checkpoints (or use `resume_from`)"
                raise InvalidValueError(expected("directory", rule, str(self.directory)))
            if run is None or step > state.step:
                set_aside.append(folder)
        try:
            for folder in set_aside:
                _set_aside(folder)
            check_writable(self.directory / "step-probe")  # before the training, not in its midst
        except OSError as error:
            raise TrainingError(
                f"The folder {self.directory} can't be written to: {_reason(error)}."
            ) from error
        for leftover in self.directory.glob(".step-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def on_fit_begin(self, state: TrainingState) -> None:
        """Forget what an earlier run has left."""
        del state
        self.due = False

    def on_batch_end(self, state: TrainingState) -> None:
        """Note when the time for a checkpoint has come."""
        if self.every_steps is not None and state.step % self.every_steps == 0:
            self.due = True

    def on_epoch_end(self, state: TrainingState) -> None:
        """Note when the time for a checkpoint has come."""
        del state
        if self.every_steps is None:
            self.due = True

    def has(self, step: int) -> bool:
        """Tell whether there is a checkpoint of a step."""
        return (self.directory / _name(step)).exists()

    def write(self, state: TrainingState, snapshot: Snapshot) -> Path:
        """Write a checkpoint and remove those that are too old.

        Args:
            state: Where the run stands.
            snapshot: What to write.

        Returns:
            The checkpoint's own folder.

        Raises:
            TrainingError: If it can't be written; those before it are as they were.
        """
        target = self.directory / _name(state.step)
        try:
            files = snapshot.to_files()
            with new_folder(target) as folder:
                for name, data in files.items():
                    folder.write(name, data)
                checksums = {name: entry["sha256"] for name, entry in folder.files.items()}
                folder.write_json(_CHECKSUMS, checksums)
        except Exception as error:
            kept = state.last_checkpoint
            good = f"The last good one is {kept}." if kept else "There is none before it."
            raise TrainingError(
                f"The checkpoint {target} can't be written: {_reason(error)}. {good}"
            ) from error
        for _, old in _steps(self.directory)[: -self.keep]:
            remove_folder(old)
        return target

    def _make_directory(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"The folder {self.directory} can't be made: {_reason(error)}."
            ) from error


def load_latest(directory: str | PathLike[str]) -> tuple[Path, Snapshot] | None:
    """Read the newest checkpoint of a folder that is whole.

    Those that are torn or were tampered with are passed over, each with a warning.

    Args:
        directory: The folder of the checkpoints; or a checkpoint itself, to read that one.

    Returns:
        The checkpoint's own folder and what it holds; None where there is no whole one.

    Raises:
        InvalidValueError: If there is no such folder, or another version of the library wrote it.
        CorruptFileError: If `directory` is itself a checkpoint and is not whole.
        TrainingError: If files may not be read.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InvalidValueError(expected("resume_from", "a folder that exists", str(directory)))
    if (directory / _CHECKSUMS).exists():
        return directory, _read(directory)
    for _, folder in reversed(_steps(directory)):
        try:
            return folder, _read(folder)
        except CorruptFileError as error:
            warnings.warn(f"{error} It is passed over.", stacklevel=4)
    warnings.warn(f"{directory} holds no complete checkpoint; training starts anew.", stacklevel=4)
    return None


def _read(folder: Path) -> Snapshot:
    try:
        checksums = parse_json(_bytes(folder / _CHECKSUMS))
        files = {name: _bytes(folder / Path(name).name) for name in checksums}
        damaged = [
            name
            for name, data in files.items()
            if hashlib.sha256(data).hexdigest() != checksums[name]
        ]
        if not damaged:
            return Snapshot.from_files(files)
    except PermissionError as error:
        raise TrainingError(f"The checkpoint {folder} can't be read: {_reason(error)}.") from error
    except InvalidValueError:
        raise
    except Exception as error:
        # Whatever a damaged file makes a parser raise, it means the same.
        raise CorruptFileError(
            f"The checkpoint {folder} can't be read: {_reason(error)}."
        ) from error
    reason = f"{', '.join(damaged)} changed since it was written"
    raise CorruptFileError(f"The checkpoint {folder} can't be read: {reason}.")


def _bytes(path: Path) -> bytes:
    if not path.is_file():  # reading a device or a pipe might never end
        raise CorruptFileError(f"{path.name} is missing")
    return path.read_bytes()


def _run_of(folder: Path) -> str | None:
    """Return the run that wrote a checkpoint; None where that can't be told."""
    try:
        run = _read(folder).values["state"]["run_id"]
    except (CorruptFileError, InvalidValueError, TrainingError):
        return None
    return str(run)


def _steps(directory: Path) -> list[tuple[int, Path]]:
    """Return the checkpoints of a folder by their steps, the newest last."""
    matches = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir() if path.is_dir())
    return sorted((int(match[1]), path) for match, path in matches if match)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _reason(error: Exception) -> str:
    """Return what an error says, in one line without a full stop."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _set_aside(folder: Path) -> None:
    """Rename a checkpoint, so that it is not taken for one of the run, but not lost either."""
    target = folder.with_name(f"set-aside-{folder.name}")
    if target.exists():
        remove_folder(target)
    folder.rename(target)
