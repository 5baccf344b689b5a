"""The training loop: what happens after which step, and which weights are kept."""

import logging
import math
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from tests import toys
from textrnn import Batch, PaddingCollator
from textrnn.errors import InvalidTypeError, InvalidValueError, NonFiniteLossError
from textrnn.training import Callback, Checkpoint, LambdaCallback, Trainer, TrainingState
from textrnn.training.loop import CTRL_C, deterministic, interruptible

TRAIN, EVAL = toys.make_dataset(10), toys.make_dataset(5, seed=1)


class Evaluations(Callback):
    """A callback that keeps the step and the weights of each evaluation."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_evaluation_end(self, state: Any) -> None:
        """Keep step and weights."""
        self.steps.append(state.step)
        self.weights.append(toys.weights_of(state.model))


@pytest.mark.parametrize(
    ("eval_every", "steps", "records"),
    [
        (None, [2, 4, 6], [2, 4, 6]),
        (1, [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]),
        (2, [2, 4, 6], [2, 4, 6]),
        (4, [4, 6], [2, 4, 6]),
        (5, [5, 6], [2, 4, 5, 6]),
        (99, [6], [2, 4, 6]),
    ],
)
def test_evaluations_and_records_come_when_they_are_due(eval_every, steps, records):
    """At the ends of epochs or every `eval_every` steps, and always with the last weights."""
    watcher = Evaluations()
    history = toys.make_trainer(callbacks=[watcher]).fit(
        toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=3, eval_every=eval_every
    )
    assert watcher.steps == steps
    assert history["step"] == records
    assert history.column("eval_loss")[0] == steps
    assert [record["epoch"] for record in history] == [math.ceil(step / 2) for step in records]


def test_without_evaluations_each_epoch_is_recorded():
    """A record has the mean loss over the texts since the last record, the rate and the time."""
    losses: list[tuple[float, int]] = []
    model = toys.make_model(dropout=0.0)

    class Watch(Callback):
        def on_batch_end(self, state: Any) -> None:
            losses.append((state.loss_sum, state.loss_weight))

    history = toys.make_trainer(model, callbacks=[Watch()]).fit(toys.bucketed(TRAIN), epochs=2)
    assert [sorted(record) for record in history] == [
        ["epoch", "learning_rate", "loss", "seconds", "step"]
    ] * 2
    assert [weight for _, weight in losses][1::2] == [10, 10]
    assert history["loss"] == [losses[1][0] / 10, losses[3][0] / 10]
    assert history["learning_rate"] == [0.01, 0.01]
    assert 0.0 <= history["seconds"][0] <= history["seconds"][1]


@pytest.mark.parametrize(
    ("monitor", "mode", "figures", "best"),
    [
        ("drawn", "max", [0.1, 0.7, 0.3], 1),
        ("drawn", "min", [0.1, 0.7, 0.3], 0),
        ("drawn", "max", [0.5, 0.5, 0.5], 0),
        ("drawn", "max", [math.nan, 0.2, math.nan], 1),
        ("drawn", "min", [math.nan, math.nan, math.nan], 2),
    ],
)
def test_the_best_weights_are_restored(monitor, mode, figures, best):
    """The first of equal values counts; if all are NaN, the last weights stay."""
    values = iter(figures)
    watcher = Evaluations()
    trainer = toys.make_trainer(
        metrics={"drawn": lambda *_: next(values)},
        monitor=monitor,
        mode=mode,
        callbacks=[watcher],
    )
    trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=3)
    assert toys.worst_difference(toys.weights_of(trainer.model), watcher.weights[best]) == 0.0
    assert trainer.state is not None
    if not math.isnan(figures[best]):
        assert trainer.state.best_step == watcher.steps[best]
        assert trainer.state.best_value == figures[best]


def test_the_last_weights_stay_without_restore_best():
    """With `restore_best=False` the best weights are not restored."""
    values = iter([0.1, 0.7, 0.3])
    watcher = Evaluations()
    trainer = toys.make_trainer(
        metrics={"drawn": lambda *_: next(values)},
        monitor="drawn",
        restore_best=False,
        callbacks=[watcher],
    )
    trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=3)
    assert toys.worst_difference(toys.weights_of(trainer.model), watcher.weights[-1]) == 0.0


@pytest.mark.parametrize("eval_loader", [toys.bucketed(EVAL), toys.shuffled(EVAL, 2)])
@pytest.mark.parametrize("eval_every", [None, 1])
def test_evaluating_never_changes_the_training(eval_loader, eval_every):
    """With dropout and shuffling, the weights are those of a run without evaluations."""
    results = []
    for given in (None, eval_loader):
        torch.manual_seed(0)
        trainer = toys.make_trainer(restore_best=False)
        trainer.fit(toys.shuffled(TRAIN), given, epochs=3, eval_every=eval_every)
        results.append((toys.weights_of(trainer.model), torch.get_rng_state()))
    assert toys.worst_difference(*results) == 0.0


@pytest.mark.parametrize("moment", ["on_fit_begin", "on_epoch_begin", "on_batch_end"])
def test_a_requested_stop_ends_the_run_after_the_step(moment):
    """After a request in any hook there is no further step, and the state has the reason."""
    hook = LambdaCallback(**{moment: lambda state: state.request_stop("enough")})
    trainer = toys.make_trainer(callbacks=[hook])
    history = trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=3)
    assert trainer.state is not None
    assert trainer.state.step == (1 if moment == "on_batch_end" else 0)
    assert trainer.state.stop_reason == "enough"
    assert len(history) == 0


class Exploding(nn.Module):
    """A classifier whose logits are NaN for one text."""

    def __init__(self, text: int) -> None:
        super().__init__()
        self.inner = toys.make_model(dropout=0.0)
        self.num_classes = toys.NUM_CLASSES
        self.bad = TRAIN[text]["input_ids"].tolist()

    def forward(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Run the classifier."""
        logits: torch.Tensor = self.inner(input_ids, lengths)
        for row, (ids, length) in enumerate(zip(input_ids.tolist(), lengths.tolist(), strict=True)):
            if ids[:length] == self.bad:
                bad = torch.arange(len(logits)) == row
                logits = logits.masked_fill(bad[:, None], math.nan)
        return logits


@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_loss_that_is_not_finite_stops_before_the_update(checkpoint, tmp_path):
    """The weights are those of the last step; the error names step, texts and checkpoint."""
    loader = toys.bucketed(TRAIN, 4)
    loader.batch_sampler.set_epoch(0)  # type: ignore[union-attr] # it has one
    order = list(loader.batch_sampler)  # type: ignore[arg-type] # it has one
    model = Exploding(order[2][0])
    steps: list[dict[str, torch.Tensor]] = []
    callbacks: list[Callback] = [
        LambdaCallback(on_batch_end=lambda state: steps.append(toys.weights_of(state.model)))
    ]
    if checkpoint:
        callbacks.append(Checkpoint(tmp_path, every_steps=2))
    trainer = toys.make_trainer(model, callbacks=callbacks)
    texts = ", ".join(map(str, order[2]))
    last = tmp_path / "step-00000002"
    good = f"The last good checkpoint is {last}." if checkpoint else "There is no checkpoint."
    with pytest.raises(NonFiniteLossError) as error:
        trainer.fit(loader, epochs=1)
    assert str(error.value).startswith(
        f"The loss became nan in step 3, on the texts with the indices {texts}. {good} "
    )
    assert toys.worst_difference(toys.weights_of(model), steps[1]) == 0.0
    assert trainer.state is not None
    assert trainer.state.step == 2


@pytest.mark.parametrize("averaging", [None, "ema"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_last_update_is_checked(precision, averaging):
    """Weights that no loss has seen must be finite, too, unless the best ones come back."""
    batches = toys.make_batches((5,))

    def run(*eval_loader: Any, epochs: int, restore_best: bool = True) -> Trainer:
        model = toys.make_model(dropout=0.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def diverge(state: TrainingState) -> None:
            if state.epoch == epochs:
                optimizer.param_groups[0]["lr"] = math.inf

        trainer = toys.make_trainer(
            model,
            optimizer=optimizer,
            callbacks=[LambdaCallback(on_epoch_begin=diverge)],
            precision=precision,
            weight_averaging=averaging,
            restore_best=restore_best,
        )
        trainer.fit(batches, *eval_loader, epochs=epochs)
        return trainer

    message = "not finite after step {}. There is no checkpoint. A lower learning rate"
    for epochs in (1, 2):
        with pytest.raises(NonFiniteLossError, match=message.format(epochs)):
            run(epochs=epochs)
    with pytest.raises(NonFiniteLossError, match=message.format(1)):
        run(batches, epochs=1)  # the only evaluation gives no best weights
    with pytest.raises(NonFiniteLossError, match=message.format(2)):
        run(batches, epochs=2, restore_best=False)
    trainer = run(batches, epochs=2)  # gives the best weights back
    assert all(bool(weight.isfinite().all()) for weight in trainer.model.parameters())
    assert trainer.state is not None
    assert trainer.state.best_step == 1


def test_weights_too_large_to_compute_with_are_found():
    """Finite weights whose logits are not are an error, which names the texts."""
    batch = toys.make_batches((5,))[0]
    model = toys.make_model(dropout=0.0)

    def enlarge(state: TrainingState) -> None:
        with torch.no_grad():
            for weight in state.model.parameters():
                weight.fill_(1e38)

    trainer = toys.make_trainer(model, callbacks=[LambdaCallback(on_batch_end=enlarge)])
    indices = ", ".join(map(str, range(5)))
    with pytest.raises(
        NonFiniteLossError,
        match=f"The loss became (nan|inf) after step 1, on the texts with the indices {indices}. ",
    ):
        trainer.fit([batch], epochs=1)
    assert all(bool(weight.isfinite().all()) for weight in model.parameters())


class Once:
    """An iterable without a length that has batches in its first epoch only."""

    def __init__(self) -> None:
        self.rounds = 0

    def __iter__(self) -> Iterator[Batch]:
        self.rounds += 1
        return iter(toys.make_batches() if self.rounds == 1 else [])


def test_an_epoch_without_batches_is_an_error():
    """An exhausted iterable is not taken for a very short epoch."""
    with pytest.raises(InvalidValueError, match="to be at least one batch in every epoch"):
        toys.make_trainer().fit(Once(), epochs=2)


@pytest.mark.parametrize(
    ("loader", "error", "message"),
    [
        ([3, 4], InvalidTypeError, "Expected the loader to give `Batch` objects, but got 3"),
        (
            DataLoader(TRAIN, 2, collate_fn=list),
            InvalidTypeError,
            "A DataLoader does with `collate_fn=PaddingCollator",
        ),
    ],
)
def test_loaders_of_other_objects_are_refused(loader, error, message):
    """The message says how to make a DataLoader give batches."""
    with pytest.raises(error, match=message):
        toys.make_trainer().fit(loader, epochs=1)


class Stream(IterableDataset[Any]):
    """A data set without a length, some of whose labels may be invalid."""

    def __init__(self, labels: list[int | None]) -> None:
        self.labels = labels

    def __iter__(self) -> Iterator[Any]:
        for i, label in enumerate(self.labels):
            yield {"input_ids": TRAIN[i]["input_ids"], "label": label, "index": i}


def test_streams_are_checked_while_training():
    """Epochs work without a length, and an invalid label is found in its batch."""
    good = DataLoader(Stream([0, 1, 2, 0, 1]), 2, collate_fn=PaddingCollator())
    trainer = toys.make_trainer()
    history = trainer.fit(good, good, epochs=2)
    assert history["step"] == [3, 6]
    assert trainer.state is not None
    assert trainer.state.steps_per_epoch is None
    bad = DataLoader(Stream([0, 1, 2, 3, 1]), 2, collate_fn=PaddingCollator())
    with pytest.raises(InvalidValueError, match="`labels` to be from 0 to 2, but text 1 has 3"):
        toys.make_trainer().fit(bad, epochs=2)
    unlabelled = DataLoader(Stream([None] * 3), 2, collate_fn=PaddingCollator())
    with pytest.raises(InvalidValueError, match="Expected the batches to have labels, but they"):
        toys.make_trainer().fit(unlabelled, epochs=2)


def test_accumulated_batches_make_the_same_run_as_large_ones():
    """Groups of two, the last one short, give the weights of the merged batches, to 1e-6."""
    small = toys.make_batches((3, 5, 2, 6, 4))
    large = [toys.merge(small[:2]), toys.merge(small[2:4]), small[4]]
    results = []
    for batches, count in ((small, 2), (large, 1)):
        model = toys.make_model(dropout=0.0)
        trainer = toys.make_trainer(
            model,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            accumulation_steps=count,
            class_weights=[0.5, 2.0, 1.0],
            label_smoothing=0.1,
            max_grad_norm=0.5,
        )
        history = trainer.fit(batches, epochs=3)
        assert history["step"] == [3, 6, 9]
        results.append((toys.weights_of(model), history["loss"]))
    assert toys.worst_difference(*results) < 1e-6


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_learns(precision):
    """The loss falls, and predictions of the trained model are right."""
    data = toys.make_dataset(30)
    trainer = toys.make_trainer(toys.make_model(dropout=0.0), precision=precision)
    history = trainer.fit(toys.bucketed(data), toys.bucketed(data), epochs=12)
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert max(history["eval_accuracy"]) > 0.9


def press() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_ctrl_c_requests_a_stop_and_the_second_interrupts(caplog):
    """The first one is logged at once, and the handler is restored afterwards."""
    state = toys.make_state()
    before = signal.getsignal(signal.SIGINT)

    def press_twice() -> None:
        with interruptible(state):
            assert signal.getsignal(signal.SIGINT) is not before
            press()
            assert state.stop_reason == CTRL_C
            assert caplog.messages == [
                "Ctrl-C: stopping after this step; a second one interrupts at once."
            ]
            press()

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert signal.getsignal(signal.SIGINT) is before
    assert caplog.records[0].levelno == logging.WARNING


def test_the_application_s_handler_gets_the_second_ctrl_c():
    """The handler that was installed before is called."""
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    try:
        with interruptible(toys.make_state()):
            press()
            assert seen == []
            press()
        assert seen == [signal.SIGINT]
        press()
        assert len(seen) == 2
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_process_that_ignores_ctrl_c_still_ignores_it():
    """As under `nohup`, where the Ctrl-C of a terminal is meant for other processes."""
    state = toys.make_state()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible(state):
            press()
        assert state.stop_reason is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_keep_the_handler():
    """Only the main thread may set a handler."""
    before = signal.getsignal(signal.SIGINT)
    seen: list[Any] = []

    def work() -> None:
        with interruptible(toys.make_state()):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_forked_worker_does_not_stop_the_run(monkeypatch, caplog):
    """It has inherited the handler, but the main process stops the run."""
    state = toys.make_state()
    other = os.getpid() + 1
    with interruptible(state):
        monkeypatch.setattr(os, "getpid", lambda: other)
        signal.raise_signal(signal.SIGINT)
        monkeypatch.undo()
    assert state.stop_reason is None
    assert caplog.messages == []


def test_a_message_that_can_not_be_logged_is_no_error(monkeypatch):
    """The signal may come while another message is being written."""

    def busy(*_args: Any) -> None:
        raise RuntimeError("reentrant call")

    state = toys.make_state()
    monkeypatch.setattr(logging.getLogger("textrnn"), "warning", busy)
    with interruptible(state):
        press()
    assert state.stop_reason == CTRL_C


def flags() -> tuple[Any, ...]:
    """Return all settings of determinism."""
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


@pytest.mark.parametrize("workspace", [None, ":16:8"])
@pytest.mark.parametrize("before", [(False, False), (True, True), (True, False)])
def test_deterministic_settings_are_restored(before, workspace, monkeypatch):
    """After an error too, and whatever they were before."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    if workspace is None:
        monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    else:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", workspace)
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    try:
        expected = flags()

        def fail() -> None:
            with deterministic(on=True):
                assert flags() == (True, False, False, workspace or ":4096:8")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert flags() == expected
        with deterministic(on=False):
            assert flags() == expected
    finally:
        torch.use_deterministic_algorithms(mode=False)
