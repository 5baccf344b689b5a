"""Several processes that train one model together, and what they tell each other.

The work is PyTorch's: `torch.distributed` connects the processes, `DistributedDataParallel` adds
up their gradients while these are computed. Here stands what a trainer needs beside that.
"""

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

__all__ = ["ALONE", "Processes", "Replica", "check_devices", "join", "place_of"]

T = TypeVar("T")

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # torch's `env://`
_TIMEOUT = timedelta(minutes=10)  # of a process that hangs; one that dies is noticed at once


@dataclass(frozen=True)
class Processes:
    """The processes that train one model together.

    What tells or asks the others has to be called in all of them, in the same order. Where there is
    just one process, nothing is told to anyone.

    Args:
        rank: The number of this process, from 0.
        count: How many processes there are.

    >>> Processes().is_main
    True
    """

    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> Sequence[float]:
        """Add numbers up over all processes, each in its place.

        Args:
            values: As many numbers in each process.

        Returns:
            The sums, the same in all processes.

        Raises:
            TrainingError: If another process can't be reached any more.
        """
        if self.count == 1:
            return values
        sums = torch.tensor(values, dtype=torch.float64, device=_device())
        with _connected():
            dist.all_reduce(sums)
        return sums.tolist()

    def begin_total(self, weight: Tensor | int) -> Callable[[], Tensor | float]:
        """Begin to add up a weight, to do something else meanwhile.

        Args:
            weight: A number, or a scalar of any device.

        Returns:
            A function that waits for the sum and returns it.
        """
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
        """Collect a value of each process.

        Args:
            value: Anything that can be pickled.

        Returns:
            The values in the order of the ranks, in all processes.

        Raises:
            TrainingError: If another process can't be reached any more.
        """
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        with _connected():
            dist.all_gather_object(values, value)
        return values

    def from_main(self, function: Callable[[], T]) -> T:
        """Call a function in the main process alone.

        Args:
            function: The function.

        Returns:
            What it returned, in all processes.

        Raises:
            Exception: What it raised, in all processes.
            TrainingError: If the main process can't be reached any more.
        """
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
        """Give all processes the main one's buffers, which no gradient keeps alike.

        Args:
            model: The model.
        """
        if self.count > 1:
            with _connected():
                for buffer in model.buffers():
                    dist.broadcast(buffer, src=0)


ALONE = Processes()
"""One process, which talks to nobody."""


class Replica:
    """A model as one of several processes trains it.

    After the last of an update's backward passes, the gradients are the means over the processes.

    Args:
        model: The model; all processes get the main one's weights.
        processes: Those that train it.
    """

    def __init__(self, model: nn.Module, processes: Processes) -> None:
        self.model = model
        self.processes = processes
        self._called = model
        self._trained: tuple[bool, ...] | None = None
        self.prepare()

    def prepare(self) -> None:
        """Find out which weights are trained; call it before each update, in all processes."""
        if self.processes.count == 1:
            return
        trained = tuple(weight.requires_grad for weight in self.model.parameters())
        if trained != self._trained:  # DDP waits for the weights that it found when it was made
            self._trained = trained
            with _connected():
                self._called = DistributedDataParallel(self.model, gradient_as_bucket_view=True)

    def __call__(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits ``(batch, classes)`` of ids ``(batch, time)``."""
        logits: Tensor = self._called(input_ids, lengths)
        return logits

    def passing(self, *, last: bool) -> AbstractContextManager[object]:
        """Return the context of a forward and a backward pass.

        Args:
            last: Whether it is the update's last, after which gradients are exchanged.
        """
        if not isinstance(self._called, DistributedDataParallel):
            return nullcontext()
        return _connected() if last else self._called.no_sync()


def join() -> Processes:
    """Return the processes that train together with this one.

    They are those of the process group that `torch.distributed.init_process_group` made. Where
    there is none, but ``torchrun`` (or whoever else sets the variables ``RANK``, ``WORLD_SIZE``,
    ``MASTER_ADDR`` and ``MASTER_PORT``) started several processes, it is made here, and each
    process gets the GPU of its ``LOCAL_RANK``.

    Returns:
        The processes; just one where nobody started several.

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


def check_devices(places: Sequence[tuple[str, str]]) -> None:
    """Make sure that no two processes compute on the same GPU.

    Args:
        places: For each process the name of its machine, and its device there.

    Raises:
        InvalidValueError: If two do, or devices are of several kinds.

    >>> check_devices([("node", "cuda:0"), ("node", "cuda:1")])
    """
    kinds = sorted({device.partition(":")[0] for _, device in places})
    if len(kinds) > 1:
        rule = "of the same kind in all processes"
        raise InvalidValueError(expected("device", rule, " and ".join(kinds)))
    (place, number), *_ = Counter(places).most_common(1)
    if number > 1 and kinds != ["cpu"]:
        raise InvalidValueError(
            f"Expected `device` to be another GPU in each process, but {number} of them have "
            f'{show(place[1])} of {show(place[0])}. Pass `device="cuda"` to the Trainer, '
            "and start as many processes as there are GPUs."
        )


def place_of(device: torch.device) -> tuple[str, str]:
    """Return the name of this machine, and of a device of it."""
    name = str(device)
    return socket.gethostname(), f"cuda:{torch.cuda.current_device()}" if name == "cuda" else name


def _device() -> torch.device:
    """Return where tensors lie that the processes send each other."""
    if "cpu:" in dist.get_backend_config():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 # what was written the line before
    except Exception:  # noqa: BLE001 # whatever it is, it can't be sent
        return TrainingError(f"The main process failed: {error!r}.")
    return error


@contextmanager
def _connected() -> Iterator[None]:
    """Say what it means when a connection breaks."""
    try:
        yield
    except TrainingError:
        raise
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise TrainingError(
            "Another process of this training can't be reached any more; see what it wrote before "
            f"its end. PyTorch says: {reason}"
        ) from error
