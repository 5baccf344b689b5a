"""`Checkpoint`: write the complete state of a run, from which training continues exactly."""

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

__all__ = ["Checkpoint", "load_latest"]

_NAME = re.compile(r"step-(\d{8,})")
_CHECKSUMS = "checksums.json"


class Checkpoint(Callback):
    """Write checkpoints from which `Trainer.fit` continues exactly, bit for bit on a CPU.

    A checkpoint is a folder `step-00000500` with the weights (safetensors), the optimizer's state
    and everything else that a run needs to continue. It is written under a temporary name, synced
    and then renamed, so an interruption never damages an existing checkpoint. Its files have
    checksums. A checkpoint is written after all callbacks of the step, and when training stops.

    Random numbers that a data set or a `collate_fn` draws from the global generators continue as
    well, except in workers that live longer than an epoch (`persistent_workers=True`).

    Args:
        directory: The folder of the checkpoints, created if it is missing.
        every_steps: The number of updates between checkpoints. Default: one after each epoch.
        keep: The number of newest checkpoints to keep. Default: 2.

    Raises:
        InvalidValueError: If a number is not positive; when training starts, if the folder holds
            checkpoints of another run.
        TrainingError: If a checkpoint can't be written; existing ones stay intact. When training
            starts, if the folder can't be written to.

    Example:
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
        """Prepare the folder for a run; rename unreadable checkpoints and those of later steps."""
        self._make_directory()
        own = (
            resumed_from is not None
            and resumed_from.exists()
            and resumed_from.samefile(self.directory)
        )
        set_aside = []
        for step, folder in _checkpoints(self.directory):
            run = state.run_id if own else _run_of(folder) if resumed_from else ""
            if run not in {None, state.run_id}:
                rule = "a folder without another run's checkpoints (or use `resume_from`)"
                raise InvalidValueError(expected("directory", rule, str(self.directory)))
            if run is None or step > state.step:
                set_aside.append(folder)
        try:
            for folder in set_aside:
                _set_aside(folder)
            check_writable(self.directory / "step-probe")  # before training, not in the middle
        except OSError as error:
            raise TrainingError(
                f"The folder {self.directory} can't be written to: {_reason(error)}."
            ) from error
        for leftover in self.directory.glob(".step-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def on_fit_begin(self, state: TrainingState) -> None:
        """Forget a checkpoint that was due in an earlier run."""
        del state
        self.due = False

    def on_batch_end(self, state: TrainingState) -> None:
        """Note whether a checkpoint is due after this step."""
        if self.every_steps is not None and state.step % self.every_steps == 0:
            self.due = True

    def on_epoch_end(self, state: TrainingState) -> None:
        """Note whether a checkpoint is due after this epoch."""
        del state
        if self.every_steps is None:
            self.due = True

    def has(self, step: int) -> bool:
        """Return whether there is a checkpoint of a step."""
        return (self.directory / _name(step)).exists()

    def write(self, state: TrainingState, snapshot: Snapshot) -> Path:
        """Write a checkpoint, remove those that are too old, and return its own folder."""
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
            good = f"The last good one is {kept}." if kept else "There is no earlier one."
            raise TrainingError(
                f"The checkpoint {target} can't be written: {_reason(error)}. {good}"
            ) from error
        for _, old in _checkpoints(self.directory)[: -self.keep]:
            remove_folder(old)
        return target

    def _make_directory(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"The folder {self.directory} can't be made: {_reason(error)}."
            ) from error


def load_latest(
    directory: str | PathLike[str], *, if_any: bool = False
) -> tuple[Path, Snapshot] | None:
    """Read a checkpoint, or the newest undamaged one of a folder, if any, with its own folder."""
    directory = Path(directory)
    if if_any and not (directory.is_dir() and _checkpoints(directory)):
        return None
    if not directory.is_dir():
        raise InvalidValueError(expected("resume_from", "a folder that exists", str(directory)))
    if (directory / _CHECKSUMS).exists():
        return directory, _read(directory)
    for _, folder in reversed(_checkpoints(directory)):
        try:
            return folder, _read(folder)
        except CorruptFileError as error:
            warnings.warn(f"{error} It is skipped.", stacklevel=4)
    message = f"{directory} holds no complete checkpoint; training starts from scratch."
    warnings.warn(message, stacklevel=4)
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
    """Return the id of the run that wrote a checkpoint, or None if it can't be read."""
    try:
        run = _read(folder).values["state"]["run_id"]
    except (CorruptFileError, InvalidValueError, TrainingError):
        return None
    return str(run)


def _checkpoints(directory: Path) -> list[tuple[int, Path]]:
    """Return the steps and folders of all checkpoints, the newest last."""
    matches = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir() if path.is_dir())
    return sorted((int(match[1]), path) for match, path in matches if match)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _reason(error: Exception) -> str:
    """Return an error's message in one line without a full stop."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


def _set_aside(folder: Path) -> None:
    """Rename a checkpoint that the run must not take for its own, but that may still be wanted."""
    target = folder.with_name(f"set-aside-{folder.name}")
    if target.exists():
        remove_folder(target)
    folder.rename(target)
