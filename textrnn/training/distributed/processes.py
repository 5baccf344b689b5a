"""The processes that train one model together, on top of `torch.distributed`."""

import atexit
import os
import pickle
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from textrnn.errors import InvalidValueError, TrainingError, expected, show

__all__ = ["ALONE", "Processes", "Replica", "check_devices", "device_location", "join"]

T = TypeVar("T")

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # torch's `env://`
_TIMEOUT = timedelta(minutes=10)  # of a process that hangs; one that dies is noticed at once


@dataclass(frozen=True)
class Processes:
    """The processes that train one model together.

    Args:
        rank: Number of this process, from 0. Default: 0.
        count: Number of processes. Default: 1.

    Example:
        >>> Processes().is_main
        True
    """

    # Methods that communicate must be called in all processes, in the same order. Those of a
    # single process return at once.

    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> Sequence[float]:
        """Add up numbers over all processes, element by element."""
        if self.count == 1:
            return values
        sums = torch.tensor(values, dtype=torch.float64, device=_device())
        with _connected():
            dist.all_reduce(sums)
        return sums.tolist()

    def begin_total(self, weight: Tensor | int) -> Callable[[], Tensor | float]:
        """Start to add up a number in the background; return a function that waits for the sum."""
        if self.count == 1:
            return lambda: weight
        if isinstance(weight, Tensor):
            total = weight.detach().clone()
        else:
            total = torch.tensor(float(weight), dtype=torch.float64, device=_device())
        with _connected():
            work: Any = dist.all_reduce(total, async_op=True)

        def wait() -> Tensor | float:
            with _connected():
                work.wait()
            return total if isinstance(weight, Tensor) else float(total)

        return wait

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank; each must be picklable."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        with _connected():
            dist.all_gather_object(values, value)
        return values

    def from_main(self, function: Callable[[], T]) -> T:
        """Call a function in the main process alone; return its result, or raise, in all."""
        if self.count == 1:
            return function()
        answer: list[Any] = [None, None]
        problem: Exception | None = None
        if self.is_main:
            try:
                answer[0] = function()
            except Exception as error:  # noqa: BLE001 # it is raised again, in all processes
                problem = error
                answer[1] = _portable(error)
        with _connected():
            dist.broadcast_object_list(answer, src=0)
        if problem is not None:
            raise problem
        if answer[1] is not None:
            raise answer[1]
        result: T = answer[0]
        return result

    def share_buffers(self, model: nn.Module) -> None:
        """Copy the main process's buffers, which no gradient synchronizes, to all processes."""
        if self.count > 1:
            with _connected():
                for buffer in model.buffers():
                    dist.broadcast(buffer, src=0)


ALONE = Processes()
"""A single process."""


def join() -> Processes:
    """Return the processes that train together with this one.

    They are the process group of `torch.distributed.init_process_group`. Without one, a group is
    created from the variables `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT`, which
    `torchrun` sets; each process then uses the GPU of its `LOCAL_RANK`.

    Returns:
        The processes; a single one if neither is there.

    Example:
        >>> join()
        Processes(rank=0, count=1)
    """
    if not dist.is_available():
        return ALONE
    if not dist.is_initialized():
        if not all(os.environ.get(name) for name in _VARIABLES) or os.environ["WORLD_SIZE"] == "1":
            return ALONE
        _make_group()
    rank, count = dist.get_rank(), dist.get_world_size()
    return Processes(rank, count) if count > 1 else ALONE


class Replica:
    """One process's copy of the model, whose gradients are averaged over the processes."""

    def __init__(self, model: nn.Module, processes: Processes) -> None:
        self.model = model
        self.processes = processes
        self._called = model
        self._trained: tuple[bool, ...] | None = None
        self.prepare()

    def prepare(self) -> None:
        """Adapt to the weights that are trained; call it before each update, in all processes."""
        if self.processes.count == 1:
            return
        trained = tuple(weight.requires_grad for weight in self.model.parameters())
        if trained != self._trained:  # DDP waits for the weights that it found when it was made
            self._trained = trained
            with _connected():
                self._called = DistributedDataParallel(self.model, gradient_as_bucket_view=True)

    def __call__(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits `(batch, classes)` of ids `(batch, time)`."""
        logits: Tensor = self._called(input_ids, lengths)
        return logits

    def passing(self, *, last: bool) -> AbstractContextManager[object]:
        """Return the context of a forward and backward pass; the update's last one averages."""
        if not isinstance(self._called, DistributedDataParallel):
            return nullcontext()
        return _connected() if last else self._called.no_sync()


def check_devices(locations: Sequence[tuple[str, str]]) -> None:
    """Check that no two processes, given by machine and device, compute on the same GPU."""
    kinds = sorted({device.partition(":")[0] for _, device in locations})
    if len(kinds) > 1:
        rule = "of the same kind in all processes"
        raise InvalidValueError(expected("device", rule, " and ".join(kinds)))
    ((machine, device), number), *_ = Counter(locations).most_common(1)
    if number > 1 and kinds != ["cpu"]:
        raise InvalidValueError(
            f"Expected `device` to be a different GPU in each process, but {number} processes use "
            f'{show(device)} of {show(machine)}. Pass `device="cuda"` to the Trainer, '
            "and start as many processes as there are GPUs."
        )


def device_location(device: torch.device) -> tuple[str, str]:
    """Return the name of this machine and of a device of it."""
    name = str(device)
    return socket.gethostname(), f"cuda:{torch.cuda.current_device()}" if name == "cuda" else name


def _make_group() -> None:
    local = int(os.environ.get("LOCAL_RANK", "0"))
    backend = "gloo"
    if torch.cuda.is_available() and local < torch.cuda.device_count():
        torch.cuda.set_device(local)
        if dist.is_nccl_available():
            backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=_TIMEOUT)
    atexit.register(_leave_group)


def _leave_group() -> None:
    with suppress(Exception):  # the others may be gone
        dist.destroy_process_group()


def _device() -> torch.device:
    """Return the device of tensors that the processes exchange."""
    if "cpu:" in dist.get_backend_config():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def _portable(error: Exception) -> Exception:
    """Return the error, or a description of it if it can't be pickled."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 # what was written the line before
    except Exception:  # noqa: BLE001 # whatever it is, it can't be sent
        return TrainingError(f"The main process failed: {error!r}.")
    return error


@contextmanager
def _connected() -> Iterator[None]:
    """Turn torch's error about a lost connection into one that says what happened."""
    try:
        yield
    except TrainingError:
        raise
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise TrainingError(
            "Lost the connection to another process of this training; see the output of that "
            f"process for the cause. PyTorch says: {reason}"
        ) from error
