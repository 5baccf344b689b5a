"""Callbacks that log each new record of the history."""

import csv
import io
import json
import math
from abc import ABC, abstractmethod
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from textrnn._storage import write_atomically
from textrnn.errors import import_extra
from textrnn.training.callbacks import Callback
from textrnn.training.history import History, Record
from textrnn.training.state import TrainingState

__all__ = ["CSVLogger", "JSONLogger", "TensorBoardLogger"]


class _Logger(Callback, ABC):
    """Pass the records of a resumed run to `_start`, and each new one to `_write`, exactly once."""

    main_only = True

    def __init__(self) -> None:
        self._written = 0

    def on_fit_begin(self, state: TrainingState) -> None:
        """Start the log with the records of the resumed run, if any."""
        self._start(state.history)
        self._written = len(state.history)

    def on_evaluation_end(self, state: TrainingState) -> None:
        """Log the evaluation's record."""
        self._catch_up(state.history)

    def on_epoch_end(self, state: TrainingState) -> None:
        """Log the epoch's record."""
        self._catch_up(state.history)

    def _catch_up(self, history: History) -> None:
        for record in history[self._written :]:
            self._write(record)
        self._written = len(history)

    @abstractmethod
    def _start(self, history: History) -> None: ...

    @abstractmethod
    def _write(self, record: Record) -> None: ...


class CSVLogger(_Logger):
    """Write each record of the history as a row of a CSV file.

    A new name in a record adds a column; missing values stay empty. A resumed run continues the
    file: it has each record once.

    Args:
        path: The file; an existing one is replaced when training starts.

    Example:
        >>> CSVLogger("run.csv")
        CSVLogger('run.csv')
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        super().__init__()
        self.path = Path(path)
        self._names: tuple[str, ...] = ()
        self._rows: list[Record] = []

    def __repr__(self) -> str:
        return f"CSVLogger({fspath(self.path)!r})"

    def _start(self, history: History) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._rows = list(history)
        self._names = history.names
        self._rewrite()

    def _write(self, record: Record) -> None:
        self._rows.append(record)
        added = tuple(name for name in record if name not in self._names)
        if added:
            self._names += added
            self._rewrite()
        else:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, self._names).writerow(dict(record))

    def _rewrite(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._names)
        if self._names:
            writer.writeheader()
        writer.writerows(dict(row) for row in self._rows)
        write_atomically(self.path, text.getvalue().encode())


class JSONLogger(_Logger):
    """Write each record of the history as a line of a JSON Lines file.

    NaN and infinities, for which JSON has no number, are written as null. A resumed run continues
    the file: it has each record once.

    Args:
        path: The file; an existing one is replaced when training starts.

    Example:
        >>> JSONLogger("run.jsonl")
        JSONLogger('run.jsonl')
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        super().__init__()
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"JSONLogger({fspath(self.path)!r})"

    def _start(self, history: History) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, "".join(map(self._line, history)).encode())

    def _write(self, record: Record) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(self._line(record))

    @staticmethod
    def _line(record: Record) -> str:
        row = {name: value if math.isfinite(value) else None for name, value in record.items()}
        return json.dumps(row, allow_nan=False) + "\n"


class TensorBoardLogger(_Logger):
    """Write each record of the history as scalars for TensorBoard.

    Needs the extra `tensorboard`.

    Args:
        log_dir: Folder of the event files.

    Raises:
        MissingDependencyError: If tensorboard is not installed.
    """

    def __init__(self, log_dir: str | PathLike[str]) -> None:
        super().__init__()
        import_extra("tensorboard", extra="tensorboard")
        self.log_dir = fspath(log_dir)
        self._writer: Any = None

    def __repr__(self) -> str:
        return f"TensorBoardLogger({self.log_dir!r})"

    def _start(self, history: History) -> None:
        module = import_extra("torch.utils.tensorboard", extra="tensorboard")
        # Hides the records that an interrupted run wrote after its last checkpoint.
        purge = int(history[-1]["step"]) + 1 if history else 0
        self._writer = module.SummaryWriter(self.log_dir, purge_step=purge)

    def _write(self, record: Record) -> None:
        for name, value in record.items():
            if name != "step":
                self._writer.add_scalar(name.replace("eval_", "eval/"), value, record["step"])

    def on_fit_end(self, state: TrainingState) -> None:
        """Close the event file."""
        del state
        if self._writer is not None:
            self._writer.close()
            self._writer = None
