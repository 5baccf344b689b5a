"""`ProgressBar`: a bar or a line for each epoch."""

import sys
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

from textrnn.errors import InvalidTypeError, expected
from textrnn.training.callbacks import Callback, check_callbacks
from textrnn.training.state import TrainingState, metric_name

__all__ = ["ProgressBar", "describe_epoch", "with_progress"]


class ProgressBar(Callback):
    """Show a progress bar for each epoch, with loss and last evaluation.

    It is written to standard error, but to standard output in a notebook.

    Args:
        progress: None for a bar on a terminal or in a notebook and nothing elsewhere; True for a
            line at the end of each epoch elsewhere, as in a pipe or a log; False for nothing.
            Default: None.
        description: Text before the epoch. Default: "".

    Raises:
        InvalidTypeError: If `progress` is neither a boolean nor None.

    Example:
        >>> bar = ProgressBar(description="fold 3")
    """

    main_only = True

    def __init__(self, *, progress: bool | None = None, description: str = "") -> None:
        if progress is not None and not isinstance(progress, bool):
            raise InvalidTypeError(expected("progress", "a boolean or None", progress))
        self.progress = progress
        self.description = description
        self._bar: Any = None

    def on_epoch_begin(self, state: TrainingState) -> None:
        """Open a bar, at the first step of the rest of a resumed epoch."""
        self._close()
        notebook = _in_notebook()
        # tqdm would start a thread even for a disabled bar.
        if self.progress is False or not (notebook or _on_terminal()):
            return
        total = state.steps_per_epoch
        done = 0 if total is None else state.step - state.completed_epochs * total
        self._bar = _bar_class()(
            total=total,
            initial=max(done, 0),
            desc=f"{self.description} epoch {state.epoch}/{state.epochs}".strip(),
            unit="step",
            dynamic_ncols=True,
            file=sys.stdout if notebook else sys.stderr,  # which a notebook shows as errors
        )

    def on_batch_end(self, state: TrainingState) -> None:
        """Advance the bar."""
        if self._bar is not None:
            figures = {"loss": state.loss}
            if not state.loss_weight:  # an evaluation has just recorded it
                figures = {"loss": state.history[-1]["loss"]} if state.history else {}
            figures |= {f"eval_{name}": value for name, value in state.evaluation.items()}
            self._bar.set_postfix(_shown(state, figures), refresh=False)
            self._bar.update()

    def on_epoch_end(self, state: TrainingState) -> None:
        """Close the bar, or write a line where bars are not shown."""
        if self._bar is None and self.progress and sys.stderr is not None:
            line = f"{self.description} {describe_epoch(state)}".strip()
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress is printed
        self._close()

    def on_fit_end(self, state: TrainingState) -> None:
        """Close the bar, also after an error."""
        del state
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def describe_epoch(state: TrainingState) -> str:
    """Describe an epoch at its end in one line: number, seconds, losses and accuracy."""
    record = state.history[-1]
    before = [each["seconds"] for each in state.history if each["epoch"] < record["epoch"]]
    seconds = record["seconds"] - (before[-1] if before else 0)
    figures = ", ".join(f"{name} {text}" for name, text in _shown(state, record).items())
    return f"epoch {state.epoch} of {state.epochs}, {seconds:.1f} s: {figures}"


def _shown(state: TrainingState, record: Any) -> dict[str, str]:
    """Return the figures of a record that a line has room for."""
    names = ("loss", f"eval_{metric_name(state.monitor, state.evaluation)}", "eval_accuracy")
    return {name: f"{record[name]:.4f}" for name in names if name in record}


def with_progress(callbacks: Sequence[Callback], progress: bool | None) -> list[Callback]:
    """Return the callbacks, with a progress bar added if it is wanted and missing."""
    found, bar = check_callbacks(callbacks), ProgressBar(progress=progress)
    if progress is not False and not any(isinstance(each, ProgressBar) for each in found):
        found.append(bar)
    return found


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _in_notebook() -> bool:
    """Tell whether this is the kernel of a notebook; IPython on a terminal has none."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_shell is not None and getattr(get_shell(), "kernel", None) is not None


@cache
def _bar_class() -> Any:
    """Return the class of bars for this place: widgets of a notebook that has them, or text."""
    from tqdm import TqdmWarning

    with warnings.catch_warnings():
        # Text does as well in a notebook without widgets.
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm
    return tqdm
