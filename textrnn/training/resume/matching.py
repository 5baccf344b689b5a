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
    """Make sure that a run goes on with the settings that it began with.

    Args:
        saved: Those of the checkpoint, by the name of the argument.
        present: Those of now.

    Raises:
        InvalidValueError: If one differs.

    >>> check_settings({"precision": "bf16"}, {"precision": "fp32"})
    Traceback (most recent call last):
        ...
    textrnn.errors.InvalidValueError: Expected `precision` to be 'bf16' as in the run that is
    resumed, but got 'fp32'.
    """
    for name, value in present.items():
        if name not in saved or saved[name] != value:
            rule = f"{show(saved.get(name))} as in the run that is resumed"
            raise InvalidValueError(expected(name, rule, value))


def check_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Make sure that a model can take weights.

    Args:
        model: The model.
        weights: Tensors by their names.

    Raises:
        InvalidValueError: If a name, a shape or a type of numbers differs.
    """
    present = model.state_dict()
    for name in sorted(present.keys() | weights.keys()):
        ours, theirs = (
            f"{part[name].dtype} {tuple(part[name].shape)}" if name in part else "nothing"
            for part in (present, weights)
        )
        if ours != theirs:
            rule = f"that of the run that is resumed, whose {show(name)} is {theirs}"
            raise InvalidValueError(f"Expected `model` to be {rule}, but got {ours}.")


def check_form(name: str, saved: Any, present: Any) -> None:
    """Make sure that a value that was saved can take the place of one that there is.

    Args:
        name: What to call it in a message.
        saved: The value that was saved.
        present: The value that there is. Of two mappings the common keys are compared, of two
            lists the common places; anything can take the place of None.

    Raises:
        CorruptFileError: If it can't.
    """
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


def check_scheduler(scheduler: Scheduler, state: Mapping[str, Any]) -> None:
    """Make sure that a scheduler can take a state, and that no method of it is overwritten.

    Args:
        scheduler: The scheduler.
        state: What was saved.

    Raises:
        CorruptFileError: If it can't.
    """
    for name in state:
        if callable(getattr(type(scheduler.scheduler), str(name), None)):
            raise CorruptFileError(f"A scheduler's state has no {show(name)}.")
    check_form("scheduler", state, scheduler.state_dict())


def check_scaler(scaler: torch.amp.GradScaler, state: Mapping[str, Any]) -> None:
    """Make sure that a gradient scaler can take a state.

    Args:
        scaler: The scaler.
        state: What was saved.

    Raises:
        CorruptFileError: If it can't.
    """
    for name, value in scaler.state_dict().items():
        checked(state, name, type(value))


def check_optimizer_state(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Make sure that an optimizer can go on with a state.

    Names, shapes and values are compared with those that small stand-ins of the parameters have.
    Settings and scalars are tried on the stand-ins. The optimizer and its parameters are not
    copied, and the state is left as it is.

    Args:
        optimizer: The optimizer; it is left as it is.
        state: What was saved.

    Raises:
        CorruptFileError: If a name, a shape or a value differs or is not finite.
        Exception: If the optimizer can't make a step with the saved settings or scalars.
    """
    groups, present = state["param_groups"], optimizer.state_dict()["param_groups"]
    check_form("optimizer.param_groups", groups, present)
    if [group["params"] for group in groups] != [group["params"] for group in present]:
        raise CorruptFileError("The optimizer's parameters are not numbered as those saved.")
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    try:
        twin, small = _stand_in(optimizer, weights)
        twin.step()
    except Exception:  # noqa: BLE001 # one that needs more than gradients can't be tried
        return
    twin.load_state_dict({"state": {}, "param_groups": groups})
    twin.step()  # torch makes the state in the first step, with the names that the settings ask for
    for index, saved in state["state"].items():
        if index not in range(len(weights)):
            raise CorruptFileError(f"The optimizer has no parameter {show(index)}.")
        if saved:
            example = twin.state[small[index]]
            sizes = dict(zip(small[index].shape, weights[index].shape, strict=True)) | {1: 1}
            for key, value in example.items():
                _check_entry(f"optimizer.state.{index}", key, saved, value, sizes)
                if isinstance(value, Tensor) and value.dim() == 0:
                    example[key] = saved[key].to(value.device, copy=True)
                elif isinstance(value, int | float):
                    example[key] = saved[key]
    twin.step()


def _stand_in(optimizer: Optimizer, weights: Sequence[Tensor]) -> tuple[Optimizer, list[Tensor]]:
    """Return an optimizer of the same settings over tensors of size 2 x 3 x ..., and these."""
    small = [
        torch.ones(tuple(range(2, 2 + weight.dim())), dtype=weight.dtype, device=weight.device)
        for weight in weights
    ]
    for tensor in small:
        tensor.requires_grad_().grad = torch.zeros_like(tensor)
    # Copying takes these instead of the parameters and of what is kept about them.
    replaced: dict[int, Any] = {id(optimizer.state): defaultdict(dict)}
    replaced |= {id(weight): tensor for weight, tensor in zip(weights, small, strict=True)}
    return copy.deepcopy(optimizer, replaced), small


def _check_entry(
    name: str, key: Any, saved: Mapping[Any, Any], example: Any, sizes: Mapping[int, int]
) -> None:
    """Compare a saved entry with that of a stand-in, whose sizes stand for those of the weight."""
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


def match_callbacks(
    callbacks: Sequence[Callback], saved: Sequence[tuple[str, dict[str, Any]]]
) -> list[tuple[Callback, dict[str, Any]]]:
    """Find the saved state of each callback, by its class.

    Of several callbacks of a class the first gets the first state. Those without a state may come
    and go, and new ones may join.

    Args:
        callbacks: Those of now.
        saved: Names of classes, and the states of their callbacks.

    Returns:
        The callbacks that have a state to load, with it.

    Raises:
        InvalidValueError: If a state is left over.
    """
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
        rule = f"with the {' and '.join(left)} of the run that is resumed"
        names = [type(callback).__name__ for callback in callbacks]
        raise InvalidValueError(expected("callbacks", rule, names))
    return [(callback, state) for callback, state in pairs if state]
