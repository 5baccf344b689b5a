"""Callbacks as such: what each of them, whatever it does, can be relied on for."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import toys
from textrnn import training
from textrnn.errors import InvalidTypeError, MissingKeyError
from textrnn.training import (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    FreezeEmbeddings,
    JSONLogger,
    LambdaCallback,
    LearningRateMonitor,
    ProgressBar,
    TensorBoardLogger,
)

TRAIN, EVAL = toys.make_dataset(10), toys.make_dataset(5, seed=1)
MAKERS: dict[type[Callback], Callable[[Path], Callback]] = {
    Checkpoint: lambda folder: Checkpoint(folder / "run", every_steps=1),
    CSVLogger: lambda folder: CSVLogger(folder / "log.csv"),
    EarlyStopping: lambda _: EarlyStopping(patience=1, min_delta=0.1),
    FreezeEmbeddings: lambda _: FreezeEmbeddings(2),
    JSONLogger: lambda folder: JSONLogger(folder / "log.jsonl"),
    LambdaCallback: lambda _: LambdaCallback(on_batch_end=lambda state: state.loss),
    LearningRateMonitor: lambda _: LearningRateMonitor(),
    ProgressBar: lambda _: ProgressBar(disable=False),
    TensorBoardLogger: lambda folder: TensorBoardLogger(folder / "board"),
}
HOOKS = LambdaCallback.HOOKS


class Recorder(Callback):
    """Notes each hook that is run, and the step."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def __getattribute__(self, name: str) -> Any:
        if name in HOOKS:
            return lambda state: self.calls.append((name, state.step))
        return super().__getattribute__(name)


def subclasses(base: type[Callback]) -> set[type[Callback]]:
    """Return all callbacks of the library that can be made."""
    found = {base} if not inspect.isabstract(base) and base is not Callback else set()
    return found.union(*(subclasses(each) for each in base.__subclasses__()))


def library_callbacks(*without: type[Callback]) -> list[type[Callback]]:
    """Return the library's public ones, sorted by name, without some."""
    own = [each for each in subclasses(Callback) if each.__module__.startswith("textrnn.")]
    private = {each for each in own if "._" in f"{each.__module__}.{each.__name__}"}
    public = set(own) - private - set(without)
    return sorted(public, key=lambda each: each.__name__)


def test_every_callback_of_the_library_is_exported_and_tested_here():
    """A new callback has to join the contract below."""
    assert set(library_callbacks()) == set(MAKERS)
    for each in MAKERS:
        assert each.__name__ in training.__all__


# Early stopping refuses to wait for what never comes; a checkpoint, another run's folder.
@pytest.mark.parametrize(
    ("kind", "evaluates"),
    [(kind, True) for kind in library_callbacks()]
    + [(kind, False) for kind in library_callbacks(EarlyStopping)],
)
def test_every_callback_keeps_the_contract(kind, evaluates, tmp_path):
    """Each works with and without evaluations, changes no number by its place, and ends cleanly."""
    eval_loader = toys.bucketed(EVAL) if evaluates else None
    results = []
    for place in (0, 1):
        torch.manual_seed(0)
        others: list[Callback] = [LearningRateMonitor(), LambdaCallback()]
        callback = MAKERS[kind](tmp_path / str(place))
        trainer = toys.make_trainer(
            callbacks=[callback, *others] if place == 0 else [*others, callback]
        )
        history = trainer.fit(toys.shuffled(TRAIN), eval_loader, epochs=3)
        assert all(weight.requires_grad for weight in trainer.model.parameters())
        results.append(
            (toys.weights_of(trainer.model), toys.timeless(history), callback.state_dict())
        )
        state = json.loads(json.dumps(callback.state_dict(), allow_nan=False))
        fresh = MAKERS[kind](tmp_path / "fresh")
        fresh.load_state_dict(state)
        assert fresh.state_dict() == callback.state_dict()
        assert repr(callback)
    assert toys.worst_difference(*results) == 0.0


@pytest.mark.parametrize("kind", library_callbacks(Checkpoint))
def test_every_callback_forgets_an_earlier_run(kind, tmp_path):
    """The same callback in a second run, on the same data, does what it did in the first."""
    callback = MAKERS[kind](tmp_path)
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        trainer = toys.make_trainer(callbacks=[callback])
        history = trainer.fit(toys.shuffled(TRAIN), toys.bucketed(EVAL), epochs=3)
        results.append((toys.timeless(history), callback.state_dict()))
    assert toys.worst_difference(*results) == 0.0


@pytest.mark.parametrize("kind", library_callbacks())
@pytest.mark.parametrize("hook", HOOKS[:-1])
def test_every_callback_ends_after_an_error_too(kind, hook, tmp_path, monkeypatch):
    """Whichever hook fails, before or after it, each callback's `on_fit_end` is run once."""

    def fail(_state: Any) -> None:
        raise ArithmeticError(hook)

    failing = LambdaCallback(**{hook: fail})
    for place in (0, 1):
        ended: list[Any] = []
        callback = MAKERS[kind](tmp_path / str(place))
        end = callback.on_fit_end
        monkeypatch.setattr(callback, "on_fit_end", lambda state: (ended.append(state), end(state)))  # noqa: B023 # called within the round
        trainer = toys.make_trainer(callbacks=[failing, callback] if place else [callback, failing])
        with pytest.raises(ArithmeticError, match=hook):
            trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=1)
        assert len(ended) == 1
        assert all(weight.requires_grad for weight in trainer.model.parameters())


def test_hooks_run_in_the_order_of_the_documentation():
    """Evaluation, batch, epoch; begin and end around; the evaluation after its step."""
    recorder = Recorder()
    toys.make_trainer(callbacks=[recorder]).fit(
        toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=2, eval_every=3
    )
    assert recorder.calls == [
        ("on_fit_begin", 0),
        ("on_epoch_begin", 0),
        ("on_batch_end", 1),
        ("on_batch_end", 2),
        ("on_epoch_end", 2),
        ("on_epoch_begin", 2),
        ("on_evaluation_end", 3),
        ("on_batch_end", 3),
        ("on_evaluation_end", 4),
        ("on_batch_end", 4),
        ("on_epoch_end", 4),
        ("on_fit_end", 4),
    ]


def test_all_callbacks_end_even_if_one_fails_to():
    """The error of one `on_fit_end` does not keep the others from theirs."""
    recorder = Recorder()

    def fail(_state: Any) -> None:
        raise ArithmeticError("end")

    callbacks = [LambdaCallback(on_fit_end=fail), recorder]
    with pytest.raises(ArithmeticError, match="end"):
        toys.make_trainer(callbacks=callbacks).fit(toys.bucketed(TRAIN), epochs=1)
    assert recorder.calls[-1] == ("on_fit_end", 2)


def test_the_base_does_nothing_and_has_nothing_to_save():
    """A callback of one's own needs only the hooks that it wants."""
    callback = Callback()
    state = toys.make_state()
    before = repr(state.state_dict())
    for hook in HOOKS:
        getattr(callback, hook)(state)
    callback.load_state_dict({})
    assert callback.state_dict() == {}
    assert repr(state.state_dict()) == before


def test_functions_become_hooks():
    """Each is called with the state, at its hook alone."""
    seen: list[tuple[str, int]] = []
    hooks = {name: lambda state, name=name: seen.append((name, state.step)) for name in HOOKS}
    toys.make_trainer(callbacks=[LambdaCallback(**hooks)]).fit(toys.bucketed(TRAIN), epochs=1)
    assert [name for name, _ in seen] == [
        "on_fit_begin",
        "on_epoch_begin",
        "on_batch_end",
        "on_batch_end",
        "on_epoch_end",
        "on_fit_end",
    ]


def test_unknown_hooks_and_what_can_not_be_called_are_refused():
    """A typing error in a hook's name lists the hooks."""
    with pytest.raises(MissingKeyError, match=r"No hook 'on_step_end'; there are 'on_batch_end'"):
        LambdaCallback(on_step_end=print)
    with pytest.raises(InvalidTypeError, match="Expected `on_batch_end` to be a function of a"):
        LambdaCallback(on_batch_end=3)  # type: ignore[arg-type] # that is the point
