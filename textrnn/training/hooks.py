"""The hooks of a run: `Callback`, the base of all callbacks, and one made of functions."""

from collections.abc import Callable, Mapping
from typing import Any

from textrnn.errors import InvalidTypeError, MissingKeyError, expected, listing, show
from textrnn.training.state import TrainingState

__all__ = ["Callback", "LambdaCallback"]


class Callback:
    """The base of all callbacks: typed hooks that do nothing.

    A callback watches, or decides between steps; what changes the mathematics of a step is an
    argument of the `Trainer`. So the order of callbacks never changes the numbers. A step's hooks
    run in the order: `on_evaluation_end` (where one was made), `on_batch_end`, and, after the last
    step of an epoch, `on_epoch_end`. A checkpoint is written when all of them have run.

    Where several processes train together, each has its callbacks, and the hooks run in all of
    them. A stop that one requests stops all.

    Attributes:
        main_only: Whether the hooks run in the main process alone. A class that writes or shows
            something, and decides nothing, sets it to True. Default: False.

    >>> class CountSteps(Callback):
    ...     def __init__(self):
    ...         self.steps = 0
    ...     def on_batch_end(self, state):
    ...         self.steps += 1
    """

    main_only = False

    def on_fit_begin(self, state: TrainingState) -> None:
        """Run once before the first step, after a checkpoint was loaded if one is resumed.

        A run that begins anew is one with ``state.step == 0``; what an earlier run has left in the
        callback should be forgotten then.
        """

    def on_epoch_begin(self, state: TrainingState) -> None:
        """Run before the first step of an epoch, and when one is resumed half-way."""

    def on_evaluation_end(self, state: TrainingState) -> None:
        """Run after each evaluation; ``state.evaluation`` holds its values."""

    def on_batch_end(self, state: TrainingState) -> None:
        """Run after each update of the weights."""

    def on_epoch_end(self, state: TrainingState) -> None:
        """Run after the last step of an epoch; not for an epoch that was cut short."""

    def on_fit_end(self, state: TrainingState) -> None:
        """Run once at the end, also when an error ended the run."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs, as plain values that JSON can hold."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""


class LambdaCallback(Callback):
    """Call functions at the hooks, without a class of one's own.

    Args:
        **hooks: A function of one `TrainingState` for each hook, by the hook's name.

    Raises:
        MissingKeyError: If there is no hook of a given name; those there are, are listed.
        InvalidTypeError: If a hook is not callable.

    >>> steps = []
    >>> callback = LambdaCallback(on_batch_end=lambda state: steps.append(state.step))
    """

    HOOKS = (
        "on_fit_begin",
        "on_epoch_begin",
        "on_evaluation_end",
        "on_batch_end",
        "on_epoch_end",
        "on_fit_end",
    )

    def __init__(self, **hooks: Callable[[TrainingState], object]) -> None:
        for name, hook in hooks.items():
            if name not in self.HOOKS:
                raise MissingKeyError(f"No hook {show(name)}; there are {listing(self.HOOKS)}.")
            if not callable(hook):
                raise InvalidTypeError(expected(name, "a function of a TrainingState", hook))
            setattr(self, name, hook)
