"""Check that a checkpoint matches the run that resumes from it."""

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from textrnn.errors import CorruptFileError, InvalidValueError, expected, show
from textrnn.training.callbacks import Callback
from textrnn.training.scheduling import Scheduler
from textrnn.training.state import checked

__all__ = [
    "check_form",
    "check_optimizer_state",
    "check_scaler",
    "check_scheduler",
    "check_settings",
    "check_weights",
    "match_callbacks",
]


def check_settings(saved: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Check that the present settings, by argument, are those of the checkpoint."""
    for name, value in present.items():
        if name not in saved or saved[name] != value:
            rule = f"{show(saved.get(name))} as in the resumed run"
            raise InvalidValueError(expected(name, rule, value))


def check_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Check that saved weights have the names, shapes and types of the model's."""
    present = model.state_dict()
    for name in sorted(present.keys() | weights.keys()):
        ours, theirs = (
            f"{part[name].dtype} {tuple(part[name].shape)}" if name in part else "nothing"
            for part in (present, weights)
        )
        if ours != theirs:
            rule = f"that of the resumed run, whose {show(name)} is {theirs}"
            raise InvalidValueError(f"Expected `model` to be {rule}, but got {ours}.")


def check_scheduler(scheduler: Scheduler, state: Mapping[str, Any]) -> None:
    """Check that a scheduler can take a state, and that the state replaces no method."""
    for name in state:
        if callable(getattr(type(scheduler.scheduler), str(name), None)):
            raise CorruptFileError(f"A scheduler's state has no {show(name)}.")
    check_form("scheduler", state, scheduler.state_dict())


def check_scaler(scaler: torch.amp.GradScaler, state: Mapping[str, Any]) -> None:
    """Check that a gradient scaler can take a state."""
    for name, value in scaler.state_dict().items():
        checked(state, name, type(value))


def match_callbacks(
    callbacks: Sequence[Callback], saved: Sequence[tuple[str, dict[str, Any]]]
) -> list[tuple[Callback, dict[str, Any]]]:
    """Return the callbacks that have a saved state, with it; those of a class keep their order."""
    states: dict[str, list[dict[str, Any]]] = {}
    for name, state in saved:
        states.setdefault(name, []).append(state)
    pairs = [
        (callback, states[type(callback).__name__].pop(0))
        for callback in callbacks
        if states.get(type(callback).__name__)
    ]
    left = sorted(name for name, rest in states.items() if any(rest))
    if left:
        rule = f"with the {' and '.join(left)} of the resumed run"
        names = [type(callback).__name__ for callback in callbacks]
        raise InvalidValueError(expected("callbacks", rule, names))
    return [(callback, state) for callback, state in pairs if state]


def check_optimizer_state(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Check that an optimizer can continue with a state, by a trial on small stand-in weights."""
    groups, present = state["param_groups"], optimizer.state_dict()["param_groups"]
    check_form("optimizer.param_groups", groups, present)
    if [group["params"] for group in groups] != [group["params"] for group in present]:
        raise CorruptFileError("The optimizer's parameters are not numbered as those saved.")
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    try:
        _try_state(optimizer, weights, state, [range(2, 2 + weight.dim()) for weight in weights])
    except Exception:  # noqa: BLE001 # the second trial raises it again if it is real
        # The entries of an optimizer from elsewhere may depend on the sizes of the weights.
        _try_state(optimizer, weights, state, [weight.shape for weight in weights])


def _try_state(
    optimizer: Optimizer,
    weights: Sequence[Tensor],
    state: Mapping[str, Any],
    shapes: Sequence[Sequence[int]],
) -> None:
    """Make a step with the saved settings and scalars on stand-ins of the weights."""
    stand_ins = [
        torch.ones(tuple(shape), dtype=weight.dtype, device=weight.device)
        for weight, shape in zip(weights, shapes, strict=True)
    ]
    for tensor in stand_ins:
        tensor.requires_grad_().grad = torch.zeros_like(tensor)
    # Copying takes these instead of the parameters and of what is kept about them.
    replaced: dict[int, Any] = {id(optimizer.state): defaultdict(dict)}
    replaced |= {id(weight): tensor for weight, tensor in zip(weights, stand_ins, strict=True)}
    try:
        twin = copy.deepcopy(optimizer, replaced)
        twin.step()
    except Exception:  # noqa: BLE001 # one that needs more than gradients can't be tried
        return
    twin.load_state_dict({"state": {}, "param_groups": state["param_groups"]})
    twin.step()  # torch makes the state in the first step, with the names that the settings ask for
    for index, saved in state["state"].items():
        if index not in range(len(weights)):
            raise CorruptFileError(f"The optimizer has no parameter {show(index)}.")
        if not saved:
            continue
        example = twin.state[stand_ins[index]]
        sizes = dict(zip(stand_ins[index].shape, weights[index].shape, strict=True)) | {1: 1}
        for key, value in example.items():
            _check_entry(f"optimizer.state.{index}", key, saved, value, sizes)
            if isinstance(value, Tensor) and value.dim() == 0:
                example[key] = saved[key].to(value.device, copy=True)
            elif isinstance(value, int | float):
                example[key] = saved[key]
    twin.step()


def _check_entry(
    name: str, key: Any, saved: Mapping[Any, Any], example: Any, sizes: Mapping[int, int]
) -> None:
    """Compare a saved entry with a stand-in's, whose sizes map to those of the weight."""
    if key not in saved:
        raise CorruptFileError(f"{name} has no {show(key)}.")
    value, name = saved[key], f"{name}.{key}"
    check_form(name, value, example)
    if isinstance(example, Tensor):
        shape = [sizes.get(size) for size in example.shape]  # None where it is no size of a weight
        fits = len(shape) == value.dim() and all(
            wanted in {None, size} for wanted, size in zip(shape, value.shape, strict=True)
        )
        if not fits or value.layout != example.layout:
            raise CorruptFileError(f"{name} can't have the shape {tuple(value.shape)}.")
        if not bool(value.isfinite().all()):
            raise CorruptFileError(f"{name} is not finite.")


def check_form(name: str, saved: Any, present: Any) -> None:
    """Check that a saved value has the type of the present one, also within common items."""
    if present is None:
        return
    alike: list[tuple[type, ...]] = [(bool,), (int, float), (list, tuple), (Mapping,)]
    types = next((each for each in alike if isinstance(present, each)), (type(present),))
    fits = isinstance(saved, types) and isinstance(saved, bool) == isinstance(present, bool)
    if not fits:
        raise CorruptFileError(f"{name} can't be {show(saved)}.")
    if types == (Mapping,):
        for key in saved.keys() & present.keys():
            check_form(f"{name}.{key}", saved[key], present[key])
    elif types == (list, tuple):
        for i, (old, new) in enumerate(zip(saved, present, strict=False)):
            check_form(f"{name}.{i}", old, new)
