"""Where a process stands in an epoch: in its batches, and in its random numbers."""

import warnings
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

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

__all__ = ["Place"]


class Place:
    """A process's place in the batches and the random numbers of an epoch.

    Args:
        loader: The training batches.
        processes: Those that train together; each has its own place.
    """

    def __init__(self, loader: Iterable[Batch], processes: Processes) -> None:
        self.loader = loader
        self.processes = processes
        self._feed: EpochBatches | None = None
        self._epoch_start: GeneratorStates = {}
        self._resumed: tuple[GeneratorStates, Batch | None] | None = None

    def begin(self) -> None:
        """Draw random numbers from where the resumed run was, or from where this process is."""
        if self._resumed is not None:
            restore_generators(self._resumed[0], self.loader)
        else:
            separate_generators(self.processes)

    def open(self, *, epoch: int, consumed: int) -> EpochBatches:
        """Return the batches of an epoch, from the place on.

        Args:
            epoch: The number of the epoch, from 0.
            consumed: How many of its batches are over.

        Returns:
            The batches.

        Raises:
            InvalidValueError: If there are none.
        """
        resumed, self._resumed = self._resumed, None
        now, ahead = resumed or (None, None)
        if now is not None and consumed:
            # Run the loader as the interrupted epoch did, then go on with what was drawn since.
            restore_generators(self._epoch_start, self.loader)
        self._epoch_start = generator_states(self.loader)
        self._feed = EpochBatches(self.loader, epoch=epoch, consumed=consumed, prefetched=ahead)
        if now is not None and consumed:
            restore_generators(now, self.loader)
        if self._feed.exhausted():
            raise InvalidValueError(expected("loader", "at least one batch in every epoch", []))
        return self._feed

    def state_dict(self, *, consumed: int) -> dict[str, Any]:
        """Return what is needed to go on from here, in this process.

        Args:
            consumed: How many batches of the epoch are over.

        Returns:
            The states of the generators, ``now`` and at the ``epoch_start``, and the batch that was
            read ``ahead``.
        """
        ahead = self._feed.prefetched if self._feed is not None else None
        if self._resumed is not None:  # and stopped before its first step
            ahead = self._resumed[1]
        batch = {}
        if ahead is not None and consumed:
            parts = {each.name: getattr(ahead, each.name) for each in fields(Batch)}
            batch = {name: part for name, part in parts.items() if part is not None}
        now = generator_states(self.loader)
        return {"now": now, "epoch_start": self._epoch_start, "ahead": batch}

    def check(self, snapshot: Snapshot) -> None:
        """Make sure that `resume` can do its work; change nothing.

        Args:
            snapshot: What a checkpoint holds.

        Raises:
            CorruptFileError: If the states of generators are none.
            InvalidValueError: If the loader has other generators than that of the run.
        """
        for rank in range(snapshot.processes):
            for states in snapshot.generators(rank):
                check_generators(states, self.loader)

    def resume(self, snapshot: Snapshot) -> None:
        """Continue from a checkpoint; with as many processes as before, exactly.

        Args:
            snapshot: What the checkpoint holds.
        """
        rank, count = self.processes.rank, self.processes.count
        if snapshot.processes == count:
            now, self._epoch_start = snapshot.generators(rank)
            self._resumed = now, snapshot.ahead(rank)
        elif self.processes.is_main:
            warnings.warn(
                f"The run that is resumed had {snapshot.processes} processes, this has {count}: "
                "it goes on, but with other random numbers.",
                stacklevel=4,
            )
