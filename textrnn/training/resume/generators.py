"""Save and restore the states of random generators."""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from textrnn.errors import CorruptFileError, InvalidValueError, expected
from textrnn.training.distributed.processes import Processes

__all__ = [
    "GeneratorStates",
    "check_generators",
    "generator_states",
    "model_generators",
    "restore_generators",
    "separate_generators",
    "undisturbed_generators",
]

GeneratorStates = dict[str, Any]
"""Plain values and tensors: `"python"`, `"numpy"`, `"torch"`, `"cuda"`, `"loader"`, `"model"`."""

_SEEDS: dict[str, Callable[[int], object]] = {
    "python": random.seed,
    "numpy": np.random.seed,
    "torch": torch.manual_seed,
}


def generator_states(loader: Iterable[Any], model: nn.Module | None = None) -> GeneratorStates:
    """Return the states of the global generators and of those of a `DataLoader` and a model."""
    version, numbers, gauss = random.getstate()
    gpu_in_use: Callable[[], bool] = torch.cuda.is_initialized  # torch leaves its type open
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 # the global one
    return {
        "python": [version, torch.tensor(numbers), gauss],
        "numpy": [str(kind), torch.tensor(np.int64(keys)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        # A GPU that is not in use is not woken up.
        "cuda": torch.cuda.get_rng_state_all() if gpu_in_use() else [],
        **_own_states(loader, model),
    }


def restore_generators(
    states: Mapping[str, Any], loader: Iterable[Any] = (), model: nn.Module | None = None
) -> None:
    """Set generators to what `generator_states` returned; states of missing GPUs are ignored."""
    random.setstate(_python_state(states["python"]))
    np.random.set_state(_numpy_state(states["numpy"]))  # noqa: NPY002 # the global one
    torch.set_rng_state(states["torch"])
    cuda: list[Tensor] = list(states["cuda"])
    if cuda and torch.cuda.is_available():
        for device, state in enumerate(cuda[: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, device)
    _restore_own(states, loader, model)


@contextmanager
def undisturbed_generators(
    loader: Iterable[Any], model: nn.Module | None = None, *, own_only: bool = False
) -> Iterator[None]:
    """Restore generators at the end, even after an error, global ones too unless `own_only`.

    To set a global generator back also takes back what other threads have drawn meanwhile.
    """
    states = _own_states(loader, model) if own_only else generator_states(loader, model)
    try:
        yield
    finally:
        (_restore_own if own_only else restore_generators)(states, loader, model)


def separate_generators(processes: Processes, model: nn.Module | None = None) -> None:
    """Reseed generators that are in the same state as those of a process of a lower rank.

    A script seeds all its processes alike, which would give the texts of all the same dropout.
    """
    if processes.count == 1:
        return
    states = generator_states(())
    keys = {"python": states["python"][1], "numpy": states["numpy"][1], "torch": states["torch"]}
    found = model_generators(model)
    keys |= {name: generator.get_state() for name, generator in found.items()}
    seeds = _SEEDS | {name: generator.manual_seed for name, generator in found.items()}
    own = {name: hashlib.sha256(key.numpy().tobytes()).digest() for name, key in keys.items()}
    before = processes.gather(own)[: processes.rank]
    rank = processes.rank.to_bytes(4, "big")
    for name, seed in seeds.items():
        if own[name] in [other[name] for other in before]:
            seed(int.from_bytes(hashlib.sha256(own[name] + rank).digest()[:4], "big"))


def check_generators(states: Any, loader: Iterable[Any], model: nn.Module | None = None) -> None:
    """Check that `restore_generators` can take these states, without setting any."""
    found = {"loader": _loader_generators(loader), "model": model_generators(model)}
    try:
        random.Random().setstate(_python_state(states["python"]))
        np.random.RandomState().set_state(_numpy_state(states["numpy"]))
        torch.Generator().set_state(states["torch"])
        for state in states["cuda"]:
            state.numpy()  # only a tensor has this
        own = {holder: dict(states[holder]) for holder in found}
        for holder, saved in own.items():
            for name in saved.keys() & found[holder].keys():
                torch.Generator(found[holder][name].device).set_state(saved[name])
    except Exception as error:
        # Whatever a damaged state makes a generator raise, it means the same.
        raise CorruptFileError(f"The state of a generator can't be used: {error}.") from error
    for holder, saved in own.items():
        if found[holder].keys() != saved.keys():
            rule = f"the run's own, whose generators are {sorted(saved)}"
            raise InvalidValueError(expected(holder, rule, sorted(found[holder])))


def _python_state(state: Any) -> tuple[Any, ...]:
    version, numbers, gauss = state
    return version, tuple(numbers.tolist()), gauss


def _numpy_state(state: Any) -> tuple[Any, ...]:
    kind, keys, position, has_gauss, cached = state
    return kind, keys.numpy().astype(np.uint32), position, has_gauss, cached


def _own_states(loader: Iterable[Any], model: nn.Module | None) -> GeneratorStates:
    return {
        "loader": {name: each.get_state() for name, each in _loader_generators(loader).items()},
        "model": {name: each.get_state() for name, each in model_generators(model).items()},
    }


def _restore_own(states: Mapping[str, Any], loader: Iterable[Any], model: nn.Module | None) -> None:
    for name, generator in _loader_generators(loader).items():
        generator.set_state(states["loader"][name])
    for name, generator in model_generators(model).items():
        generator.set_state(states["model"][name])


def model_generators(model: nn.Module | None) -> dict[str, torch.Generator]:
    """Return the different generators of a model's modules, by the first module that has each."""
    found: dict[torch.Generator, str] = {}
    for name, module in model.named_modules() if model is not None else ():
        generator = getattr(module, "generator", None)
        if isinstance(generator, torch.Generator):
            found.setdefault(generator, name or "model")
    return {name: generator for generator, name in found.items()}


def _loader_generators(loader: Iterable[Any]) -> dict[str, torch.Generator]:
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
