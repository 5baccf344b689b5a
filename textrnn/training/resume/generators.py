"""Save and restore the states of random generators."""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from textrnn.errors import CorruptFileError, InvalidValueError, expected
from textrnn.training.distributed.processes import Processes

__all__ = [
    "GeneratorStates",
    "check_generators",
    "generator_states",
    "restore_generators",
    "separate_generators",
    "undisturbed_generators",
]

GeneratorStates = dict[str, Any]
"""Plain values and tensors: `"python"`, `"numpy"`, `"torch"`, `"cuda"`, `"loader"`."""

_SEEDS: dict[str, Callable[[int], object]] = {
    "python": random.seed,
    "numpy": np.random.seed,
    "torch": torch.manual_seed,
}


def generator_states(loader: Iterable[Any]) -> GeneratorStates:
    """Return the states of the global generators and of a `DataLoader`'s own ones."""
    version, numbers, gauss = random.getstate()
    gpu_in_use: Callable[[], bool] = torch.cuda.is_initialized  # torch leaves its type open
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 # the global one
    return {
        "python": [version, torch.tensor(numbers), gauss],
        "numpy": [str(kind), torch.tensor(np.int64(keys)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        # A GPU that is not in use is not woken up.
        "cuda": torch.cuda.get_rng_state_all() if gpu_in_use() else [],
        "loader": {name: each.get_state() for name, each in _own_generators(loader).items()},
    }


def restore_generators(states: Mapping[str, Any], loader: Iterable[Any] = ()) -> None:
    """Set generators to what `generator_states` returned; states of missing GPUs are ignored."""
    random.setstate(_python_state(states["python"]))
    np.random.set_state(_numpy_state(states["numpy"]))  # noqa: NPY002 # the global one
    torch.set_rng_state(states["torch"])
    cuda: list[Tensor] = list(states["cuda"])
    if cuda and torch.cuda.is_available():
        for device, state in enumerate(cuda[: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, device)
    for name, generator in _own_generators(loader).items():
        generator.set_state(states["loader"][name])


@contextmanager
def undisturbed_generators(loader: Iterable[Any]) -> Iterator[None]:
    """Restore the global generators and the loader's own ones at the end, even after an error."""
    states = generator_states(loader)
    try:
        yield
    finally:
        restore_generators(states, loader)


def separate_generators(processes: Processes) -> None:
    """Reseed generators that are in the same state as those of a process of a lower rank.

    A script seeds all its processes alike, which would give the texts of all the same dropout.
    """
    if processes.count == 1:
        return
    states = generator_states(())
    keys = {"python": states["python"][1], "numpy": states["numpy"][1], "torch": states["torch"]}
    own = {name: hashlib.sha256(key.numpy().tobytes()).digest() for name, key in keys.items()}
    before = processes.gather(own)[: processes.rank]
    rank = processes.rank.to_bytes(4, "big")
    for name, seed in _SEEDS.items():
        if own[name] in [other[name] for other in before]:
            seed(int.from_bytes(hashlib.sha256(own[name] + rank).digest()[:4], "big"))


def check_generators(states: Any, loader: Iterable[Any]) -> None:
    """Check that `restore_generators` can take these states, without setting any."""
    found = _own_generators(loader)
    try:
        random.Random().setstate(_python_state(states["python"]))
        np.random.RandomState().set_state(_numpy_state(states["numpy"]))
        torch.Generator().set_state(states["torch"])
        for state in states["cuda"]:
            state.numpy()  # only a tensor has this
        own = dict(states["loader"])
        for name in own.keys() & found.keys():
            torch.Generator(found[name].device).set_state(own[name])
    except Exception as error:
        # Whatever a damaged state makes a generator raise, it means the same.
        raise CorruptFileError(f"The state of a generator can't be used: {error}.") from error
    if found.keys() != own.keys():
        rule = f"the run's own, whose generators are {sorted(own)}"
        raise InvalidValueError(expected("loader", rule, sorted(found)))


def _python_state(state: Any) -> tuple[Any, ...]:
    version, numbers, gauss = state
    return version, tuple(numbers.tolist()), gauss


def _numpy_state(state: Any) -> tuple[Any, ...]:
    kind, keys, position, has_gauss, cached = state
    return kind, keys.numpy().astype(np.uint32), position, has_gauss, cached


def _own_generators(loader: Iterable[Any]) -> dict[str, torch.Generator]:
    """Return the generators of a `DataLoader` and its samplers by the place where they are."""
    if not isinstance(loader, DataLoader):
        return {}
    holders = {
        "loader": loader,
        "sampler": loader.sampler,
        "batch_sampler": loader.batch_sampler,
        "batch_sampler.sampler": getattr(loader.batch_sampler, "sampler", None),
    }
    found = {name: getattr(holder, "generator", None) for name, holder in holders.items()}
    return {name: each for name, each in found.items() if isinstance(each, torch.Generator)}
