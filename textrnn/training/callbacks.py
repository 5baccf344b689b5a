"""What watches a run or decides between its steps; `Callback` is the base of all."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from tqdm import tqdm

from textrnn.errors import (
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
from textrnn.training.state import TrainingState

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

    >>> class CountSteps(Callback):
    ...     def __init__(self):
    ...         self.steps = 0
    ...     def on_batch_end(self, state):
    ...         self.steps += 1
    """

    def on_fit_begin(self, state: TrainingState) -> None:
        """Run once before the first step, after a checkpoint was loaded if one is resumed."""

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


class EarlyStopping(Callback):
    """Stop when an evaluation's value has not become better for a while.

    Args:
        patience: how many evaluations in a row may fail to be better; the last of them stops.
        monitor: the value's name, such as ``"accuracy"``. Default: the trainer's `monitor`.
        mode: ``"min"`` or ``"max"``. Default: the trainer's, which goes with its `monitor`.
        min_delta: by how much a value must be better to count. Default: 0.0.

    Raises:
        InvalidValueError: an argument is out of range, or `monitor` stands without `mode`.
        MissingKeyError: at the first evaluation, if it has no such value.

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
        """Take back the best value and the patience used."""
        self.best_value = state["best_value"]
        self.evaluations_without_gain = state["evaluations_without_gain"]


class LambdaCallback(Callback):
    """Call functions at the hooks, without a class of one's own.

    Args:
        **hooks: a function of one `TrainingState` for each hook, by the hook's name.

    Raises:
        MissingKeyError: there is no hook of a given name; those there are, are listed.
        InvalidTypeError: a hook is not callable.

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


class FreezeEmbeddings(Callback):
    """Keep the embeddings as they are for the first epochs.

    For embeddings that were trained before, which a new head's first gradients would spoil.

    Args:
        until_epoch: the epoch (from 1) that trains them first.
        attribute: where the model holds them. Default: ``"embedding"``.

    Raises:
        InvalidValueError: `until_epoch` is not positive.
        MissingKeyError: when fitting starts, if the model has no such module.

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
        module = getattr(state.model, self.attribute, None)
        if not isinstance(module, nn.Module):
            names = [name for name, _ in state.model.named_children()]
            raise MissingKeyError(
                f"The model has no module {show(self.attribute)}; it has {listing(names)}."
            )

    def on_epoch_begin(self, state: TrainingState) -> None:
        """Freeze or release."""
        if state.epoch >= self.until_epoch:
            self._release()
        elif not self._frozen:
            module = getattr(state.model, self.attribute)
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

    def on_batch_end(self, state: TrainingState) -> None:
        """Note the rate that the update used."""
        self.steps.append(state.step)
        self.learning_rates.append(state.learning_rate)

    def state_dict(self) -> dict[str, Any]:
        """Return the curve so far."""
        return {"steps": list(self.steps), "learning_rates": list(self.learning_rates)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back the curve so far."""
        self.steps = list(state["steps"])
        self.learning_rates = list(state["learning_rates"])


class ProgressBar(Callback):
    """Show a bar for each epoch on standard error: steps, rate, time left, loss, last evaluation.

    Args:
        disable: True for silence, False for a bar in any case, None for a bar only on a terminal.
            Default: None.
        description: a word to put before the epoch. Default: none.

    >>> ProgressBar(disable=True).on_fit_begin  # doctest: +ELLIPSIS
    <bound method ...>
    """

    def __init__(self, *, disable: bool | None = None, description: str = "") -> None:
        self.disable = disable
        self.description = description
        self._bar: tqdm[Any] | None = None

    def on_epoch_begin(self, state: TrainingState) -> None:
        """Begin a bar, at the place where a resumed epoch goes on."""
        self._close()
        # A length that the loader has, and steps already made in this epoch.
        total = state.steps_per_epoch
        done = 0 if total is None else state.step - state.completed_epochs * total
        self._bar = tqdm(
            total=total,
            initial=max(done, 0),
            desc=f"{self.description} epoch {state.epoch}/{state.epochs}".strip(),
            unit="step",
            disable=self.disable,
            dynamic_ncols=True,
        )

    def on_batch_end(self, state: TrainingState) -> None:
        """Move the bar."""
        if self._bar is not None and not self._bar.disable:
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
