"""The position in an epoch that a run resumes from: consumed batches and random generators."""

import warnings
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from torch import nn

from textrnn.data import Batch
from textrnn.errors import InvalidValueError, expected
from textrnn.training.distributed.processes import Processes
from textrnn.training.loaders import EpochBatches
from textrnn.training.resume.generators import (
    GeneratorStates,
    check_generators,
    generator_states,
    restore_generators,
    separate_generators,
)
from textrnn.training.resume.snapshot import Snapshot

__all__ = ["Position"]


class Position:
    """One process's position in the batches and the random numbers of an epoch."""

    def __init__(self, loader: Iterable[Batch], model: nn.Module, processes: Processes) -> None:
        self.loader = loader
        self.model = model
        self.processes = processes
        self._feed: EpochBatches | None = None
        self._epoch_start: GeneratorStates = {}
        self._resumed: tuple[GeneratorStates, Batch | None] | None = None

    def begin(self) -> None:
        """Restore the resumed run's generators, or make those of the processes differ."""
        if self._resumed is not None:
            restore_generators(self._resumed[0], self.loader, self.model)
        else:
            separate_generators(self.processes, self.model)

    def open(self, *, epoch: int, consumed: int) -> EpochBatches:
        """Return the batches of an epoch (from 0) that follow the consumed ones."""
        resumed, self._resumed = self._resumed, None
        now, ahead = resumed or (None, None)
        if now is not None and consumed:
            # Run the loader as the interrupted epoch did, then restore the later generators.
            restore_generators(self._epoch_start, self.loader, self.model)
        self._epoch_start = generator_states(self.loader, self.model)
        self._feed = EpochBatches(self.loader, epoch=epoch, consumed=consumed, prefetched=ahead)
        if now is not None and consumed:
            restore_generators(now, self.loader, self.model)
        if self._feed.exhausted():
            raise InvalidValueError(expected("loader", "at least one batch in every epoch", []))
        return self._feed

    def state_dict(self, *, consumed: int) -> dict[str, Any]:
        """Return the generators `now` and at the `epoch_start`, and the prefetched batch."""
        ahead = self._feed.prefetched if self._feed is not None else None
        if self._resumed is not None:  # and stopped before its first step
            ahead = self._resumed[1]
        batch = {}
        if ahead is not None and consumed:
            parts = {each.name: getattr(ahead, each.name) for each in fields(Batch)}
            batch = {name: part for name, part in parts.items() if part is not None}
        now = generator_states(self.loader, self.model)
        return {"now": now, "epoch_start": self._epoch_start, "ahead": batch}

    def check(self, snapshot: Snapshot) -> None:
        """Check that `resume` can take a snapshot; change nothing."""
        for rank in range(snapshot.processes):
            for states in snapshot.generators(rank):
                check_generators(states, self.loader, self.model)

    def resume(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot, exactly if the number of processes is the same."""
        rank, count = self.processes.rank, self.processes.count
        if snapshot.processes == count:
            now, self._epoch_start = snapshot.generators(rank)
            self._resumed = now, snapshot.ahead(rank)
        elif self.processes.is_main:
            warnings.warn(
                f"The resumed run had {snapshot.processes} processes, but this one has {count}: "
                "it continues with other random numbers.",
                stacklevel=4,
            )
