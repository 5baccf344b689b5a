"""Callbacks, which observe a run or decide between its steps."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from textrnn.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    MissingKeyError,
    check_choice,
    check_float,
    check_int,
    expected,
    listing,
    show,
)
from textrnn.training.state import TrainingState, checked, metric_name

_HOOKS = (
    "on_fit_begin",
    "on_epoch_begin",
    "on_evaluation_end",
    "on_batch_end",
    "on_epoch_end",
    "on_fit_end",
)

__all__ = [
    "Callback",
    "EarlyStopping",
    "FreezeEmbeddings",
    "LambdaCallback",
    "LearningRateMonitor",
    "check_callbacks",
]


class Callback:
    """Base class of callbacks, with hooks that do nothing.

    A callback observes the run or decides between steps; arguments of the `Trainer` change the
    mathematics of a step. The order of callbacks therefore never affects the result.
    The hooks of a step run in this order: `on_evaluation_end` (if there was an evaluation),
    `on_batch_end`, and after the last step of an epoch `on_epoch_end`. A checkpoint is written
    when all of them have run.

    The `Trainer` refuses other methods whose name begins with `on_`, which would never run.

    If several processes train together, the hooks run in each of them. A stop requested in one
    process stops all.

    Attributes:
        main_only: Whether the hooks run in the main process only. Set it to True in a class that
            writes or shows something without deciding anything. Default: False.

    Example:
        >>> class CountSteps(Callback):
        ...     def __init__(self):
        ...         self.steps = 0
        ...     def on_batch_end(self, state):
        ...         self.steps += 1
    """

    main_only = False

    def on_fit_begin(self, state: TrainingState) -> None:
        """Run once before the first step, or after loading the checkpoint to resume from.

        Reset the callback if `state.step` is 0, since the run is a new one then.
        """

    def on_epoch_begin(self, state: TrainingState) -> None:
        """Run before the first step of an epoch, also of a resumed part of one."""

    def on_evaluation_end(self, state: TrainingState) -> None:
        """Run after each evaluation, whose metrics are in `state.evaluation`."""

    def on_batch_end(self, state: TrainingState) -> None:
        """Run after each update of the weights."""

    def on_epoch_end(self, state: TrainingState) -> None:
        """Run after the last step of an epoch, unless the run stopped before it."""

    def on_fit_end(self, state: TrainingState) -> None:
        """Run once at the end, also after an error."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resume needs, as values that JSON can represent."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""


class LambdaCallback(Callback):
    """Call functions at the hooks.

    Args:
        **hooks: Functions of a `TrainingState` by the name of their hook.

    Raises:
        MissingKeyError: If there is no hook of a given name; the message lists the hooks.
        InvalidTypeError: If a hook is not callable.

    Example:
        >>> steps = []
        >>> callback = LambdaCallback(on_batch_end=lambda state: steps.append(state.step))
    """

    def __init__(self, **hooks: Callable[[TrainingState], object]) -> None:
        for name, hook in hooks.items():
            if name not in _HOOKS:
                raise MissingKeyError(f"No hook {show(name)}; there are {listing(_HOOKS)}.")
            if not callable(hook):
                raise InvalidTypeError(expected(name, "a function of a TrainingState", hook))
            setattr(self, name, hook)


class EarlyStopping(Callback):
    """Stop when a metric has not improved for several evaluations.

    Args:
        patience: Number of evaluations in a row without improvement after which to stop.
            Default: 3.
        monitor: Name of the metric, such as `"accuracy"` or `"eval_accuracy"`. Default: that of
            the trainer.
        mode: `"min"` or `"max"`, given together with `monitor`. Default: that of the trainer.
        min_delta: Smallest change that counts as an improvement. Default: 0.0.

    Raises:
        InvalidValueError: If an argument is out of range, or `monitor` is given without `mode`;
            when training starts, if there are no evaluations.
        MissingKeyError: When training starts, if evaluations have no such metric.

    Example:
        >>> EarlyStopping(patience=3)
        EarlyStopping(patience=3, monitor=None, mode=None, min_delta=0.0)
    """

    def __init__(
        self,
        patience: int = 3,
        *,
        monitor: str | None = None,
        mode: str | None = None,
        min_delta: float = 0.0,
    ) -> None:
        self.patience = check_int("patience", patience)
        self.monitor = monitor
        self.mode = mode if mode is None else check_choice("mode", mode, ("min", "max"))
        self.min_delta = check_float("min_delta", min_delta, minimum=0.0)
        if (monitor is None) != (mode is None):
            raise InvalidValueError(expected("mode", "given together with `monitor`", mode))
        self.best_value: float | None = None
        self.evaluations_without_gain = 0

    def __repr__(self) -> str:
        return (
            f"EarlyStopping(patience={self.patience}, monitor={self.monitor!r}, "
            f"mode={self.mode!r}, min_delta={self.min_delta})"
        )

    def on_fit_begin(self, state: TrainingState) -> None:
        """Check the metric, and stop at once if a resumed run has no patience left."""
        if not state.evaluation_names:
            raise InvalidValueError(
                expected("eval_loader", "given, since `EarlyStopping` needs evaluations", None)
            )
        names = state.evaluation_names
        if self.monitor is not None and metric_name(self.monitor, names) not in names:
            raise MissingKeyError(
                f"`EarlyStopping` can't monitor {show(self.monitor)}: "
                f"an evaluation gives {listing(names)}."
            )
        if state.step == 0:
            self.best_value, self.evaluations_without_gain = None, 0
        self._stop_if_impatient(state)

    def on_evaluation_end(self, state: TrainingState) -> None:
        """Compare the metric with its best value."""
        value = state.monitored(self.monitor)
        mode = self.mode or state.mode
        slack = self.min_delta if mode == "min" else -self.min_delta
        if state.improves(value + slack, self.best_value, mode=mode):
            self.best_value = value
            self.evaluations_without_gain = 0
        else:
            self.evaluations_without_gain += 1
        self._stop_if_impatient(state)

    def _stop_if_impatient(self, state: TrainingState) -> None:
        if self.evaluations_without_gain >= self.patience:
            name = self.monitor or state.monitor
            count = self.evaluations_without_gain
            noun = "evaluation" if count == 1 else "evaluations"
            state.request_stop(f"no better {name} for {count} {noun}")

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and the number of evaluations since."""
        return {
            "best_value": self.best_value,
            "evaluations_without_gain": self.evaluations_without_gain,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the best value and the number of evaluations since.

        Raises:
            CorruptFileError: If a value is missing or of a wrong type.
        """
        self.best_value = checked(state, "best_value", float, int, type(None))
        self.evaluations_without_gain = checked(state, "evaluations_without_gain", int)


class FreezeEmbeddings(Callback):
    """Freeze the embeddings for the first epochs.

    This protects pretrained embeddings from the first gradients of a new head.

    Args:
        until_epoch: First epoch, counted from 1, that trains the embeddings.
        attribute: Path of the module in the model, such as `"encoder.rnn"`. Default:
            `"embedding"`.

    Raises:
        InvalidValueError: If `until_epoch` is not positive.
        MissingKeyError: When training starts, if the model has no such module.

    Example:
        >>> FreezeEmbeddings(until_epoch=2)
        FreezeEmbeddings(until_epoch=2, attribute='embedding')
    """

    def __init__(self, until_epoch: int, *, attribute: str = "embedding") -> None:
        self.until_epoch = check_int("until_epoch", until_epoch)
        self.attribute = attribute
        self._frozen: list[nn.Parameter] = []

    def __repr__(self) -> str:
        return f"FreezeEmbeddings(until_epoch={self.until_epoch}, attribute={self.attribute!r})"

    def on_fit_begin(self, state: TrainingState) -> None:
        """Check that the model has the module."""
        try:
            state.model.get_submodule(self.attribute)
        except AttributeError:
            names = [name for name, _ in state.model.named_children()]
            raise MissingKeyError(
                f"The model has no module {show(self.attribute)}; it has {listing(names)}."
            ) from None

    def on_epoch_begin(self, state: TrainingState) -> None:
        """Freeze the embeddings, or unfreeze them if their epoch has come."""
        if state.epoch >= self.until_epoch:
            self._release()
        elif not self._frozen:
            module = state.model.get_submodule(self.attribute)
            self._frozen = [weight for weight in module.parameters() if weight.requires_grad]
            for weight in self._frozen:
                weight.requires_grad_(False)  # torch takes it by position
                weight.grad = None  # optimizers skip weights without a gradient

    def on_fit_end(self, state: TrainingState) -> None:
        """Unfreeze the embeddings."""
        del state
        self._release()

    def _release(self) -> None:
        for weight in self._frozen:
            weight.requires_grad_(True)  # torch takes it by position
        self._frozen = []


class LearningRateMonitor(Callback):
    """Record the learning rate of every step.

    Attributes:
        steps: Numbers of the steps, from 1.
        learning_rates: Learning rate of each of these steps.

    Example:
        >>> monitor = LearningRateMonitor()
        >>> monitor.learning_rates
        []
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.learning_rates: list[float] = []

    def on_fit_begin(self, state: TrainingState) -> None:
        """Clear the curve if the run is a new one."""
        if state.step == 0:
            self.steps, self.learning_rates = [], []

    def on_batch_end(self, state: TrainingState) -> None:
        """Record the rate that the update used."""
        self.steps.append(state.step)
        self.learning_rates.append(state.learning_rate)

    def state_dict(self) -> dict[str, Any]:
        """Return the curve."""
        return {"steps": list(self.steps), "learning_rates": list(self.learning_rates)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the curve.

        Raises:
            CorruptFileError: If the curve is invalid.
        """
        steps, rates = checked(state, "steps", list), checked(state, "learning_rates", list)
        if len(steps) != len(rates) or not all(isinstance(x, int | float) for x in steps + rates):
            raise CorruptFileError("Invalid learning-rate curve in the checkpoint.")
        self.steps, self.learning_rates = list(steps), list(rates)


def check_callbacks(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks as a list, or raise an error if one is not a callback."""
    rule = "a list of `Callback` objects"
    given: Any = callbacks
    if not isinstance(given, Iterable):  # such as a single callback
        raise InvalidTypeError(expected("callbacks", rule, given))
    found = list(given)
    for callback in found:
        if not isinstance(callback, Callback):
            raise InvalidTypeError(expected("callbacks", rule, callback))
        for name in dir(callback):
            if name.startswith("on_") and name not in _HOOKS:
                kind = type(callback).__name__
                raise MissingKeyError(
                    f"No hook {show(name)}, as `{kind}` has; there are {listing(_HOOKS)}."
                )
    return found
