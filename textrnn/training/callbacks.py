"""What watches a run or decides between its steps."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from tqdm import tqdm

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
from textrnn.training.state import TrainingState, checked

__all__ = [
    "Callback",
    "EarlyStopping",
    "FreezeEmbeddings",
    "LambdaCallback",
    "LearningRateMonitor",
    "ProgressBar",
]


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


class EarlyStopping(Callback):
    """Stop when an evaluation's value has not become better for a while.

    Args:
        patience: How many evaluations in a row may fail to be better; the last of them stops.
        monitor: The value's name, such as ``"accuracy"``. Default: the trainer's `monitor`.
        mode: ``"min"`` or ``"max"``. Default: the trainer's, which goes with its `monitor`.
        min_delta: By how much a value must be better to count. Default: 0.0.

    Raises:
        InvalidValueError: If an argument is out of range, or `monitor` stands without `mode`; when
            training starts, if it is without evaluations.
        MissingKeyError: When training starts, if an evaluation will give no such value.

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
        """Stop at once if the run that is resumed had used up its patience."""
        if not state.evaluation_names:
            raise InvalidValueError(
                expected("eval_loader", "given, for `EarlyStopping` looks at evaluations", None)
            )
        if self.monitor is not None and self.monitor not in state.evaluation_names:
            raise MissingKeyError(
                f"`EarlyStopping` can't monitor {show(self.monitor)}: "
                f"an evaluation gives {listing(state.evaluation_names)}."
            )
        if state.step == 0:
            self.best_value, self.evaluations_without_gain = None, 0
        self._judge(state)

    def on_evaluation_end(self, state: TrainingState) -> None:
        """Compare the evaluation with the best so far."""
        value = state.monitored(self.monitor)
        mode = self.mode or state.mode
        slack = self.min_delta if mode == "min" else -self.min_delta
        if state.improves(value + slack, self.best_value, mode=mode):
            self.best_value = value
            self.evaluations_without_gain = 0
        else:
            self.evaluations_without_gain += 1
        self._judge(state)

    def _judge(self, state: TrainingState) -> None:
        if self.evaluations_without_gain >= self.patience:
            name = self.monitor or state.monitor
            count = self.evaluations_without_gain
            noun = "evaluation" if count == 1 else "evaluations"
            state.request_stop(f"no better {name} for {count} {noun}")

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and the patience used."""
        return {
            "best_value": self.best_value,
            "evaluations_without_gain": self.evaluations_without_gain,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back the best value and the patience used.

        Raises:
            CorruptFileError: If they are of another kind.
        """
        self.best_value = checked(state, "best_value", float, int, type(None))
        self.evaluations_without_gain = checked(state, "evaluations_without_gain", int)


class FreezeEmbeddings(Callback):
    """Keep the embeddings as they are for the first epochs.

    For embeddings that were trained before, which a new head's first gradients would spoil.

    Args:
        until_epoch: The epoch (from 1) that trains them first.
        attribute: Where the model holds them; dots lead into modules. Default: ``"embedding"``.

    Raises:
        InvalidValueError: If `until_epoch` is not positive.
        MissingKeyError: When training starts, if the model has no such module.

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
        """Find the embeddings."""
        try:
            state.model.get_submodule(self.attribute)
        except AttributeError:
            names = [name for name, _ in state.model.named_children()]
            raise MissingKeyError(
                f"The model has no module {show(self.attribute)}; it has {listing(names)}."
            ) from None

    def on_epoch_begin(self, state: TrainingState) -> None:
        """Freeze or release."""
        if state.epoch >= self.until_epoch:
            self._release()
        elif not self._frozen:
            module = state.model.get_submodule(self.attribute)
            self._frozen = [weight for weight in module.parameters() if weight.requires_grad]
            for weight in self._frozen:
                weight.requires_grad_(False)  # torch takes it by position
                weight.grad = None  # an optimizer leaves weights without a gradient alone

    def on_fit_end(self, state: TrainingState) -> None:
        """Leave no embedding frozen behind."""
        del state
        self._release()

    def _release(self) -> None:
        for weight in self._frozen:
            weight.requires_grad_(True)  # torch takes it by position
        self._frozen = []


class LearningRateMonitor(Callback):
    """Note the learning rate of every step.

    After training, ``steps`` and ``learning_rates`` hold the curve.

    >>> monitor = LearningRateMonitor()
    >>> monitor.learning_rates
    []
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.learning_rates: list[float] = []

    def on_fit_begin(self, state: TrainingState) -> None:
        """Begin a new curve where a new run begins."""
        if state.step == 0:
            self.steps, self.learning_rates = [], []

    def on_batch_end(self, state: TrainingState) -> None:
        """Note the rate that the update used."""
        self.steps.append(state.step)
        self.learning_rates.append(state.learning_rate)

    def state_dict(self) -> dict[str, Any]:
        """Return the curve so far."""
        return {"steps": list(self.steps), "learning_rates": list(self.learning_rates)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back the curve so far.

        Raises:
            CorruptFileError: If it is none.
        """
        steps, rates = checked(state, "steps", list), checked(state, "learning_rates", list)
        if len(steps) != len(rates) or not all(isinstance(x, int | float) for x in steps + rates):
            raise CorruptFileError("The curve of the learning rate is none.")
        self.steps, self.learning_rates = list(steps), list(rates)


class ProgressBar(Callback):
    """Show a bar for each epoch on standard error: steps, rate, time left, loss, last evaluation.

    Args:
        disable: True for silence, False for a bar in any case, None for a bar only on a terminal.
            Default: None.
        description: A word to put before the epoch. Default: none.

    >>> ProgressBar(disable=True).on_fit_begin  # doctest: +ELLIPSIS
    <bound method ...>
    """

    main_only = True

    def __init__(self, *, disable: bool | None = None, description: str = "") -> None:
        self.disable = disable
        self.description = description
        self._bar: tqdm[Any] | None = None

    def on_epoch_begin(self, state: TrainingState) -> None:
        """Begin a bar, at the place where a resumed epoch goes on."""
        self._close()
        # tqdm would start a thread even for a bar that it does not show.
        if self.disable or (self.disable is None and not _on_terminal()):
            return
        # A length that the loader has, and steps already made in this epoch.
        total = state.steps_per_epoch
        done = 0 if total is None else state.step - state.completed_epochs * total
        self._bar = tqdm(
            total=total,
            initial=max(done, 0),
            desc=f"{self.description} epoch {state.epoch}/{state.epochs}".strip(),
            unit="step",
            dynamic_ncols=True,
        )

    def on_batch_end(self, state: TrainingState) -> None:
        """Move the bar."""
        if self._bar is not None:
            shown: dict[str, object] = {"loss": f"{state.loss:.4f}"} if state.loss_weight else {}
            for name in ("loss", "accuracy"):
                if name in state.evaluation:
                    shown[f"eval_{name}"] = f"{state.evaluation[name]:.4f}"
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()

    def on_epoch_end(self, state: TrainingState) -> None:
        """Finish the bar."""
        del state
        self._close()

    def on_fit_end(self, state: TrainingState) -> None:
        """Finish the bar, also after an error."""
        del state
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
