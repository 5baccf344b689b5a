"""`Checkpoint`: write the complete state of a run, from which training continues exactly."""

import os
import re
import warnings
from contextlib import ExitStack
from os import PathLike
from pathlib import Path

from torch import Tensor, nn

from textrnn._storage import (
    check_writable,
    claim,
    clear_leftovers,
    new_folder,
    open_folder,
    remove_folder,
)
from textrnn.errors import (
    CorruptFileError,
    InvalidValueError,
    MissingFileError,
    TrainingError,
    check_int,
    expected,
    shorten,
)
from textrnn.training.callbacks import Callback
from textrnn.training.resume.snapshot import SNAPSHOT_FILES, Snapshot, max_bytes
from textrnn.training.state import TrainingState

__all__ = ["Checkpoint", "load_latest"]

_NAME = re.compile(r"step-(\d{8,18})")
_LEFTOVER = re.compile(r"\.(step-\d{8,18})\..*")
_CHECKSUMS, _MAX_CHECKSUMS = "checksums.json", 2**16
_LOCK = ".lock"
_WHAT = "checkpoint"


class Checkpoint(Callback):
    """Write checkpoints from which `Trainer.fit` continues exactly, bit for bit on a CPU.

    A checkpoint is a folder `step-00000500` with the weights, the optimizer's state and everything
    else that a run needs to continue, as safetensors and JSON. It is written under a temporary
    name, synced and then renamed, so an interruption never damages an existing checkpoint. Its
    files have checksums. A checkpoint is written after all callbacks of the step, and when training
    stops. While a run writes to the folder, other runs are refused.

    Random numbers that a data set or a `collate_fn` draws from the global generators continue as
    well, except in workers that live longer than an epoch (`persistent_workers=True`).

    Args:
        directory: Folder of the checkpoints, created if it is missing.
        every_steps: Number of updates between checkpoints. Default: one after each epoch.
        keep: Number of newest checkpoints to keep. Default: 2.

    Raises:
        InvalidValueError: If a number is not positive; when training starts, if the folder holds
            checkpoints of another run, or another run writes to it at the same time.
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
        self._lock = ExitStack()
        self._make_directory()

    def __repr__(self) -> str:
        return (
            f"Checkpoint({str(self.directory)!r}, every_steps={self.every_steps}, keep={self.keep})"
        )

    def begin(self, state: TrainingState, resumed_from: Path | None) -> None:
        """Prepare the folder for a run; rename unreadable checkpoints and those of later steps."""
        self._make_directory()
        self._claim_directory(state)
        weights = _bytes_of(state.model)
        own = (
            resumed_from is not None
            and resumed_from.exists()
            and resumed_from.samefile(self.directory)
        )
        set_aside = []
        for step, folder in _checkpoints(self.directory):
            run = state.run_id if own else _run_of(folder, weights) if resumed_from else ""
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
        matches = [_LEFTOVER.fullmatch(path.name) for path in self.directory.iterdir()]
        for name in {match[1] for match in matches if match}:
            clear_leftovers(self.directory / name)

    def end(self) -> None:
        """Leave the folder to other runs."""
        self._lock.close()

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
            files, weights = snapshot.to_files(), _bytes_of(state.model)
            with new_folder(target) as folder:
                for name, data in files.items():
                    if len(data) > (limit := max_bytes(name, weights)):
                        raise InvalidValueError(  # noqa: TRY301 # met like a full disk
                            f"{name} has {len(data)} bytes, of at most {limit}."
                        )
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

    def _claim_directory(self, state: TrainingState) -> None:
        """Make sure that no other run writes to the folder until `end`."""
        self.end()
        owner = f"{os.getpid()} {id(state)} {state.run_id}"
        try:
            is_own = claim(self.directory / _LOCK, owner, self._lock)
        except OSError as error:
            raise TrainingError(
                f"The folder {self.directory} can't be written to: {_reason(error)}."
            ) from error
        if not is_own:
            rule = "a folder to which no other run writes"
            raise InvalidValueError(expected("directory", rule, str(self.directory)))

    def _make_directory(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"The folder {self.directory} can't be made: {_reason(error)}."
            ) from error


def load_latest(
    directory: str | PathLike[str], model: nn.Module | None = None, *, if_any: bool = False
) -> tuple[Path, Snapshot] | None:
    """Read a checkpoint, or the newest undamaged one of a folder, if any, with its own folder."""
    directory, weights = Path(directory), _bytes_of(model)
    if if_any and not (directory.is_dir() and _checkpoints(directory)):
        return None
    if not directory.is_dir():
        raise InvalidValueError(expected("resume_from", "a folder that exists", str(directory)))
    if (directory / _CHECKSUMS).exists():
        return directory, _read(directory, weights)
    damaged: set[Path] = set()
    while sound := [folder for _, folder in _checkpoints(directory) if folder not in damaged]:
        try:
            return sound[-1], _read(sound[-1], weights)
        except MissingFileError:
            continue  # the run that writes to the folder removed it, after a newer one
        except CorruptFileError as error:
            warnings.warn(f"{error} It is skipped.", stacklevel=4)
            damaged.add(sound[-1])
    message = f"{directory} holds no complete checkpoint; training starts from scratch."
    warnings.warn(message, stacklevel=4)
    return None


def _read(folder: Path, weights: int) -> Snapshot:
    """Read a checkpoint of a model whose weights have that many bytes."""
    try:
        with open_folder(folder, (_CHECKSUMS, *SNAPSHOT_FILES)) as opened:
            checksums = opened.read_json(_CHECKSUMS, _WHAT, max_bytes=_MAX_CHECKSUMS)
            opened.expect({name: {"sha256": sha256} for name, sha256 in checksums.items()})
            files: dict[str, bytes] = {}
            for name in checksums:
                size, limit = opened.size(name, _WHAT), max_bytes(name, weights)
                if size > limit:  # which does not make the run's checkpoint a damaged one
                    rule = f"a checkpoint of this model, whose {name} has at most {limit} bytes"
                    raise InvalidValueError(expected("resume_from", rule, size))  # noqa: TRY301 # as it is
                files[name] = opened.read(name, _WHAT)
        return Snapshot.from_files(files)
    except (InvalidValueError, MissingFileError):
        raise
    except Exception as error:
        # Whatever a damaged file makes a parser raise, it means the same.
        if isinstance(error.__cause__, PermissionError):
            raise TrainingError(
                f"The checkpoint {folder} can't be read: {_reason(error.__cause__)}."
            ) from error
        raise CorruptFileError(
            f"The checkpoint {folder} can't be read: {_reason(error)}."
        ) from error


def _bytes_of(model: nn.Module | None) -> int:
    """Return the size of a model's weights."""
    values = [] if model is None else model.state_dict().values()
    return sum(value.nbytes for value in values if isinstance(value, Tensor))


def _run_of(folder: Path, weights: int) -> str | None:
    """Return the id of the run that wrote a checkpoint, or None if it can't be read."""
    try:
        run = _read(folder, weights).values["state"]["run_id"]
    except (CorruptFileError, InvalidValueError, MissingFileError, TrainingError):
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
    return shorten((str(error) or type(error).__name__).splitlines()[0].rstrip("."))


def _set_aside(folder: Path) -> None:
    """Rename a checkpoint that the run must not take for its own, but that may still be wanted."""
    target = folder.with_name(f"set-aside-{folder.name}")
    if target.exists():
        remove_folder(target)
    folder.rename(target)
