"""Callbacks: the contract that all of them keep, and what each of them does."""

import inspect
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import toys
from textrnn import training
from textrnn.errors import CorruptFileError, InvalidTypeError, InvalidValueError, MissingKeyError
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
    schedulers,
)
from textrnn.training.callbacks import check_callbacks

TRAIN, EVAL = toys.make_dataset(10), toys.make_dataset(5, seed=1)
MAKERS: dict[type[Callback], Callable[[Path], Callback]] = {
    Checkpoint: lambda folder: Checkpoint(folder / "run", every_steps=1),
    CSVLogger: lambda folder: CSVLogger(folder / "log.csv"),
    EarlyStopping: lambda _: EarlyStopping(patience=1, min_delta=0.1),
    FreezeEmbeddings: lambda _: FreezeEmbeddings(2),
    JSONLogger: lambda folder: JSONLogger(folder / "log.jsonl"),
    LambdaCallback: lambda _: LambdaCallback(on_batch_end=lambda state: state.loss),
    LearningRateMonitor: lambda _: LearningRateMonitor(),
    ProgressBar: lambda _: ProgressBar(progress=True),
    TensorBoardLogger: lambda folder: TensorBoardLogger(folder / "board"),
}
HOOKS = (
    "on_fit_begin",
    "on_epoch_begin",
    "on_evaluation_end",
    "on_batch_end",
    "on_epoch_end",
    "on_fit_end",
)


class Recorder(Callback):
    """A callback that records each hook and its step."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def __getattribute__(self, name: str) -> Any:
        if name in HOOKS:
            return lambda state: self.calls.append((name, state.step))
        return super().__getattribute__(name)


def subclasses(base: type[Callback]) -> set[type[Callback]]:
    """Return all subclasses that are not abstract."""
    found = {base} if not inspect.isabstract(base) and base is not Callback else set()
    return found.union(*(subclasses(each) for each in base.__subclasses__()))


def library_callbacks(*without: type[Callback]) -> list[type[Callback]]:
    """Return the library's public callbacks, sorted by name, without some."""
    own = [each for each in subclasses(Callback) if each.__module__.startswith("textrnn.")]
    private = {each for each in own if "._" in f"{each.__module__}.{each.__name__}"}
    public = set(own) - private - set(without)
    return sorted(public, key=lambda each: each.__name__)


def test_every_callback_of_the_library_is_exported_and_tested_here():
    """A new callback has to keep the contract below."""
    assert set(library_callbacks()) == set(MAKERS)
    for each in MAKERS:
        assert each.__name__ in training.__all__


# `EarlyStopping` needs evaluations.
@pytest.mark.parametrize(
    ("kind", "evaluates"),
    [(kind, True) for kind in library_callbacks()]
    + [(kind, False) for kind in library_callbacks(EarlyStopping)],
)
def test_every_callback_keeps_the_contract(kind, evaluates, tmp_path):
    """It works with and without evaluations, in any order, and its state goes through JSON."""
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


# `Checkpoint` refuses the folder of another run.
@pytest.mark.parametrize("kind", library_callbacks(Checkpoint))
def test_every_callback_is_reset_for_a_new_run(kind, tmp_path):
    """In a second run on the same data it does the same as in the first."""
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
def test_every_callback_ends_after_an_error(kind, hook, tmp_path, monkeypatch):
    """Whichever hook fails, before or after it, `on_fit_end` is called once."""

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


def test_hooks_run_in_the_documented_order():
    """Evaluation, batch, epoch, with begin and end around them."""
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


def test_all_callbacks_end_even_if_one_fails():
    """After an error in `on_fit_end`, that of the other callbacks is still called."""
    recorder = Recorder()

    def fail(_state: Any) -> None:
        raise ArithmeticError("end")

    callbacks = [LambdaCallback(on_fit_end=fail), recorder]
    with pytest.raises(ArithmeticError, match="end"):
        toys.make_trainer(callbacks=callbacks).fit(toys.bucketed(TRAIN), epochs=1)
    assert recorder.calls[-1] == ("on_fit_end", 2)


def test_the_base_class_does_nothing():
    """A custom callback defines only the hooks that it needs."""
    callback = Callback()
    state = toys.make_state()
    before = repr(state.state_dict())
    for hook in HOOKS:
        getattr(callback, hook)(state)
    callback.load_state_dict({})
    assert callback.state_dict() == {}
    assert repr(state.state_dict()) == before


def test_functions_become_hooks():
    """Each is called with the state at its own hook."""
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


def test_unknown_hooks_and_other_objects_are_refused():
    """The message for a misspelt name lists the hooks."""
    with pytest.raises(MissingKeyError, match=r"No hook 'on_step_end'; there are 'on_batch_end'"):
        LambdaCallback(on_step_end=print)
    with pytest.raises(InvalidTypeError, match="Expected `on_batch_end` to be a function of a"):
        LambdaCallback(on_batch_end=3)  # type: ignore[arg-type] # that is the point
    with pytest.raises(MissingKeyError, match="No hook 'train'; there are"):
        LambdaCallback(train=print)


def test_a_misspelt_hook_of_a_class_is_refused():
    """A method that no one would call is an error before training, with the hooks there are."""

    class Finish(Callback):
        def on_epoch_finish(self, state: Any) -> None:
            del state

    class Private(Callback):
        def _on_epoch_finish(self, state: Any) -> None:
            del state

    with pytest.raises(
        MissingKeyError,
        match=r"No hook 'on_epoch_finish', as `Finish` has; there are 'on_batch_end', 'on_epoch_be",
    ):
        toys.make_trainer(callbacks=[Finish()])
    toys.make_trainer(callbacks=[Private()])


def stopped_after(stopper: EarlyStopping, values: list[float], **state: Any) -> int | None:
    """Return the number of evaluations with these values after which a run stops."""
    run = toys.make_state(evaluation_names=("loss", "accuracy"), **state)
    stopper.on_fit_begin(run)
    for number, value in enumerate(values, start=1):
        run.evaluation = {"loss": value, "accuracy": value}
        stopper.on_evaluation_end(run)
        if run.stop_reason is not None:
            return number
    return None


@pytest.mark.parametrize(
    ("settings", "values", "number"),
    [
        ({"patience": 2}, [3.0, 2.0, 2.5, 2.0, 1.0], 4),
        ({"patience": 2}, [3.0, 2.0, 2.5, 1.9, 2.0, 1.8, 1.7], None),
        ({"patience": 1}, [1.0, 1.0], 2),
        ({"patience": 2}, [math.nan, math.nan], 2),
        ({"patience": 2}, [math.nan, 1.0, math.nan, 0.5], None),
        ({"patience": 1, "min_delta": 0.5}, [3.0, 2.4, 2.0], 3),
        ({"patience": 1, "monitor": "accuracy", "mode": "max"}, [0.1, 0.2, 0.2], 3),
        (
            {"patience": 1, "monitor": "accuracy", "mode": "max", "min_delta": 0.1},
            [0.1, 0.3, 0.35],
            3,
        ),
    ],
)
def test_early_stopping_counts_evaluations_without_gain(settings, values, number):
    """It stops after `patience` evaluations that don't improve the best value by `min_delta`."""
    assert stopped_after(EarlyStopping(**settings), values) == number


def test_early_stopping_follows_the_trainers_monitor():
    """Without its own `monitor`, it uses that of the trainer, with its mode."""
    stopper = EarlyStopping(patience=1)
    assert stopped_after(stopper, [0.1, 0.2, 0.1], monitor="accuracy", mode="max") == 3


def test_early_stopping_takes_the_names_of_the_history():
    """`eval_accuracy` is `accuracy`, unless a metric has that very name."""
    stopper = EarlyStopping(2, monitor="eval_accuracy", mode="min")
    assert stopped_after(stopper, [3.0, 2.0, 2.5, 2.0, 1.0]) == 4
    run = toys.make_state(evaluation_names=("accuracy", "eval_accuracy"))
    run.evaluation = {"accuracy": 1.0, "eval_accuracy": 2.0}
    stopper.on_fit_begin(run)
    stopper.on_evaluation_end(run)
    assert stopper.best_value == 2.0


def test_early_stopping_gives_a_reason():
    """The reason names the metric and the number of evaluations without improvement."""
    state = toys.make_state(evaluation_names=("loss",), evaluation={"loss": math.nan})
    stopper = EarlyStopping(patience=2)
    stopper.on_evaluation_end(state)
    stopper.on_evaluation_end(state)
    assert state.stop_reason == "no better loss for 2 evaluations"
    state = toys.make_state(evaluation_names=("loss",), evaluation={"loss": math.nan})
    EarlyStopping(patience=1).on_evaluation_end(state)
    assert state.stop_reason == "no better loss for 1 evaluation"


def test_early_stopping_ends_a_run_and_the_best_weights_are_restored():
    """In a real run, training ends early and the model has the weights of the best evaluation."""
    stopper = EarlyStopping(patience=3, min_delta=0.3)
    trainer = toys.make_trainer(callbacks=[stopper])
    history = trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=50)
    assert history[-1]["epoch"] == 4
    best = min(history["eval_loss"])
    assert trainer.evaluate(toys.bucketed(EVAL))["loss"] == best


def test_early_stopping_is_checked_when_training_starts():
    """An unknown metric and missing evaluations are errors before the first step."""
    trainer = toys.make_trainer(callbacks=[EarlyStopping(monitor="f1", mode="max")])
    with pytest.raises(MissingKeyError, match=r"can't monitor 'f1': an evaluation gives 'acc"):
        trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=1)
    with pytest.raises(InvalidValueError, match="Expected `eval_loader` to be given, since `Early"):
        toys.make_trainer(callbacks=[EarlyStopping()]).fit(toys.bucketed(TRAIN), epochs=1)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"patience": 0}, InvalidValueError, "Expected `patience` to be a positive integer"),
        ({"patience": 1.5}, InvalidTypeError, "Expected `patience` to be a positive integer"),
        ({"min_delta": -1}, InvalidValueError, "`min_delta` to be a number of at least 0"),
        ({"monitor": "loss", "mode": "low"}, InvalidValueError, "`mode` to be one of 'min', 'max'"),
        ({"monitor": "f1"}, InvalidValueError, "Expected `mode` to be given together with"),
        ({"mode": "max"}, InvalidValueError, "Expected `mode` to be given together with"),
    ],
)
def test_early_stopping_checks_its_arguments(settings, error, message):
    """An invalid argument is refused at once."""
    with pytest.raises(error, match=message):
        EarlyStopping(**settings)


@pytest.mark.parametrize(
    ("callback", "state"),
    [
        (EarlyStopping(), {"best_value": "low", "evaluations_without_gain": 1}),
        (EarlyStopping(), {"best_value": 1.0, "evaluations_without_gain": None}),
        (EarlyStopping(), {}),
        (LearningRateMonitor(), {"steps": [1], "learning_rates": []}),
        (LearningRateMonitor(), {"steps": [1], "learning_rates": ["a"]}),
        (LearningRateMonitor(), {"steps": 1, "learning_rates": 2}),
    ],
)
def test_a_damaged_state_of_a_callback_is_refused(callback, state):
    """An invalid state is a `CorruptFileError`."""
    with pytest.raises(CorruptFileError):
        callback.load_state_dict(state)


def test_embeddings_stay_frozen_until_their_epoch():
    """They keep every bit in the first epochs, even with weight decay."""
    model = toys.make_model()
    seen: list[torch.Tensor] = []
    watcher = LambdaCallback(
        on_epoch_end=lambda state: seen.append(state.model.embedding.weight.detach().clone())
    )
    before = model.embedding.weight.detach().clone()
    trainer = toys.make_trainer(
        model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.5),
        callbacks=[FreezeEmbeddings(until_epoch=3), watcher],
    )
    trainer.fit(toys.bucketed(TRAIN), epochs=3)
    assert torch.equal(seen[0], before)
    assert torch.equal(seen[1], before)
    assert not torch.equal(seen[2], before)


def test_frozen_embeddings_do_not_affect_clipping():
    """Freezing equals training a model whose embeddings take no gradient."""
    results = []
    for frozen in (False, True):
        torch.manual_seed(0)
        model = toys.make_model()
        if frozen:
            model.embedding.weight.requires_grad_(False)
        trainer = toys.make_trainer(
            model, max_grad_norm=0.1, callbacks=[] if frozen else [FreezeEmbeddings(9)]
        )
        trainer.fit(toys.bucketed(TRAIN), epochs=2)
        results.append(toys.weights_of(model))
        assert model.embedding.weight.requires_grad is not frozen
    assert toys.worst_difference(*results) == 0.0


def test_embeddings_are_found_by_a_path():
    """Dots lead into modules, and the message for an unknown name lists the modules."""
    model = toys.make_model()
    callbacks = [FreezeEmbeddings(2, attribute="encoder.rnn")]
    toys.make_trainer(model, callbacks=callbacks).fit(toys.bucketed(TRAIN), epochs=1)
    wrong = toys.make_trainer(model, callbacks=[FreezeEmbeddings(2, attribute="words")])
    with pytest.raises(MissingKeyError, match="no module 'words'; it has 'embedding', "):
        wrong.fit(toys.bucketed(TRAIN), epochs=1)
    with pytest.raises(InvalidValueError, match="Expected `until_epoch` to be a positive"):
        FreezeEmbeddings(0)
    assert repr(FreezeEmbeddings(2)) == "FreezeEmbeddings(until_epoch=2, attribute='embedding')"


def test_the_learning_rate_of_every_step_is_recorded():
    """The curve is that of the schedule, with the rate that each step used."""
    monitor = LearningRateMonitor()
    schedule = schedulers.linear_warmup(warmup=2)
    toys.make_trainer(callbacks=[monitor], scheduler=schedule).fit(toys.bucketed(TRAIN), epochs=3)
    assert monitor.steps == [1, 2, 3, 4, 5, 6]
    expected = schedulers.simulate(schedule, lr=0.01, total_steps=6)
    assert monitor.learning_rates == pytest.approx(expected)


@pytest.mark.parametrize("callbacks", [EarlyStopping(), 3, [EarlyStopping], [print], "bar"])
def test_other_objects_than_callbacks_are_refused(callbacks):
    """A class instead of an object is a common mistake."""
    with pytest.raises(InvalidTypeError, match="`callbacks` to be a list of `Callback` objects"):
        check_callbacks(callbacks)
