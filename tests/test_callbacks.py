"""What each callback watches or decides."""

import io
import math
import sys
from typing import Any

import pytest
import torch

from tests import toys
from textrnn.errors import CorruptFileError, InvalidTypeError, InvalidValueError, MissingKeyError
from textrnn.training import (
    Callback,
    EarlyStopping,
    FreezeEmbeddings,
    LambdaCallback,
    LearningRateMonitor,
    ProgressBar,
    schedulers,
)

TRAIN, EVAL = toys.make_dataset(10), toys.make_dataset(5, seed=1)


def stopped_after(stopper: EarlyStopping, values: list[float], **state: Any) -> int | None:
    """Return after how many evaluations a run with these values is stopped."""
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
    """It stops when the best value was not beaten, by the delta, for `patience` evaluations."""
    assert stopped_after(EarlyStopping(**settings), values) == number


def test_early_stopping_follows_the_trainers_monitor():
    """Without a monitor of its own, name and direction are the trainer's."""
    stopper = EarlyStopping(patience=1)
    assert stopped_after(stopper, [0.1, 0.2, 0.1], monitor="accuracy", mode="max") == 3


def test_early_stopping_says_why():
    """The reason names the value and how long it has not become better."""
    state = toys.make_state(evaluation_names=("loss",), evaluation={"loss": math.nan})
    stopper = EarlyStopping(patience=2)
    stopper.on_evaluation_end(state)
    stopper.on_evaluation_end(state)
    assert state.stop_reason == "no better loss for 2 evaluations"
    state = toys.make_state(evaluation_names=("loss",), evaluation={"loss": math.nan})
    EarlyStopping(patience=1).on_evaluation_end(state)
    assert state.stop_reason == "no better loss for 1 evaluation"


def test_early_stopping_ends_a_run_and_the_best_weights_come_back():
    """In a real run, training ends early and the model has the weights of the best evaluation."""
    stopper = EarlyStopping(patience=3, min_delta=0.3)
    trainer = toys.make_trainer(callbacks=[stopper])
    history = trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=50)
    assert history[-1]["epoch"] == 4
    best = min(history["eval_loss"])
    assert trainer.evaluate(toys.bucketed(EVAL))["loss"] == best


def test_early_stopping_finds_its_mistakes_when_training_starts():
    """Neither an unknown figure nor the lack of any evaluation is found out late."""
    trainer = toys.make_trainer(callbacks=[EarlyStopping(monitor="f1", mode="max")])
    with pytest.raises(MissingKeyError, match=r"can't monitor 'f1': an evaluation gives 'acc"):
        trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=1)
    with pytest.raises(InvalidValueError, match="Expected `eval_loader` to be given, for `Early"):
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
    """A setting that makes no sense is refused at once."""
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
    """What can't be its state is an error of one kind."""
    with pytest.raises(CorruptFileError):
        callback.load_state_dict(state)


def test_embeddings_stay_frozen_until_their_epoch():
    """They keep their very bits in the first epochs, though the optimizer decays weights."""
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


def test_frozen_embeddings_have_no_say_in_clipping():
    """Freezing equals training a model whose embeddings take no gradient at all."""
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
    """Dots lead into modules, and a name that is not there lists those that are."""
    model = toys.make_model()
    callbacks = [FreezeEmbeddings(2, attribute="encoder.rnn")]
    toys.make_trainer(model, callbacks=callbacks).fit(toys.bucketed(TRAIN), epochs=1)
    wrong = toys.make_trainer(model, callbacks=[FreezeEmbeddings(2, attribute="words")])
    with pytest.raises(MissingKeyError, match="no module 'words'; it has 'embedding', "):
        wrong.fit(toys.bucketed(TRAIN), epochs=1)
    with pytest.raises(InvalidValueError, match="Expected `until_epoch` to be a positive"):
        FreezeEmbeddings(0)
    assert repr(FreezeEmbeddings(2)) == "FreezeEmbeddings(until_epoch=2, attribute='embedding')"


def test_the_learning_rate_of_every_step_is_noted():
    """The curve is that of the schedule, the rate of a step being the one that it used."""
    monitor = LearningRateMonitor()
    schedule = schedulers.linear_warmup(warmup=2)
    toys.make_trainer(callbacks=[monitor], scheduler=schedule).fit(toys.bucketed(TRAIN), epochs=3)
    assert monitor.steps == [1, 2, 3, 4, 5, 6]
    expected = schedulers.simulate(schedule, lr=0.01, total_steps=6)
    assert monitor.learning_rates == pytest.approx(expected)


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO | None, bar: Callback | None) -> str:
    """Train with a bar, the default one if None, and return what came to standard error."""
    monkeypatch.setattr(sys, "stderr", stream)
    trainer = toys.make_trainer(callbacks=[bar] if bar else [])
    if bar is None:
        trainer.callbacks = [ProgressBar()]
    trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=2)
    return "" if stream is None else stream.getvalue()


def test_a_bar_shows_on_a_terminal(monkeypatch):
    """It tells the epoch, the steps, the loss and, once there is one, the last evaluation."""
    text = shown(monkeypatch, Terminal(), None)
    assert "epoch 1/2" in text
    assert "epoch 2/2" in text
    assert "2/2" in text
    assert "loss=" in text
    assert "eval_accuracy=" in text


@pytest.mark.parametrize(
    ("stream", "bar", "quiet"),
    [
        (io.StringIO(), ProgressBar(), True),
        (None, ProgressBar(), True),
        (Terminal(), ProgressBar(disable=True), True),
        (io.StringIO(), ProgressBar(disable=False, description="fold 3"), False),
    ],
)
def test_a_bar_is_quiet_where_nobody_looks(monkeypatch, stream, bar, quiet):
    """Without a terminal there is none, unless it is asked for."""
    text = shown(monkeypatch, stream, bar)
    assert (text == "") is quiet
    assert quiet or "fold 3 epoch 1/2" in text


def test_a_bar_of_a_resumed_epoch_begins_where_it_goes_on(monkeypatch):
    """Steps that were made before the interruption count."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    bar = ProgressBar()
    state = toys.make_state(steps_per_epoch=5, completed_epochs=1, step=8)
    bar.on_epoch_begin(state)
    bar.on_batch_end(state)
    bar.on_fit_end(state)
    assert "4/5" in stream.getvalue()


def test_a_bar_without_a_length_counts_on(monkeypatch):
    """For a stream of unknown length there are steps, but no end."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    bar = ProgressBar()
    bar.on_epoch_begin(toys.make_state())
    bar.on_batch_end(toys.make_state())
    bar.on_epoch_end(toys.make_state())
    assert "1step" in stream.getvalue()
