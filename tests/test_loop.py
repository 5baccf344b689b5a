"""The loop: what happens after which step, and what is kept at the end."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from tests import toys
from textrnn import Batch, PaddingCollator
from textrnn.errors import InvalidTypeError, InvalidValueError, NonFiniteLossError
from textrnn.training import Callback, Checkpoint, LambdaCallback, Trainer

TRAIN, EVAL = toys.make_dataset(10), toys.make_dataset(5, seed=1)


class Evaluations(Callback):
    """Keeps the steps of evaluations, and the weights of each."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_evaluation_end(self, state: Any) -> None:
        """Keep them."""
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
    """At epochs' ends or every so many steps, and with the last weights in any case."""
    watcher = Evaluations()
    history = toys.make_trainer(callbacks=[watcher]).fit(
        toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=3, eval_every=eval_every
    )
    assert watcher.steps == steps
    assert history["step"] == records
    assert history.column("eval_loss")[0] == steps
    assert [record["epoch"] for record in history] == [math.ceil(step / 2) for step in records]


def test_without_evaluations_each_epoch_is_recorded():
    """A record has the mean loss over texts since the one before, the rate and the time."""
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
def test_the_best_weights_come_back(monitor, mode, figures, best):
    """The first of equals; without any number the last ones stay."""
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


def test_the_last_weights_stay_where_that_is_wanted():
    """With `restore_best=False` the best ones are not even copied."""
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
def test_a_stop_is_heeded_after_the_step(moment):
    """Asked for in whichever hook, no further step is made; the reason is there afterwards."""
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
def test_a_loss_that_is_not_finite_stops_before_it_does_harm(checkpoint, tmp_path):
    """The weights are those of the step before; step, texts and checkpoint are named."""
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


class Once:
    """An iterable without a length that has batches in its first epoch alone."""

    def __init__(self) -> None:
        self.rounds = 0

    def __iter__(self) -> Iterator[Batch]:
        self.rounds += 1
        return iter(toys.make_batches() if self.rounds == 1 else [])


def test_an_epoch_without_batches_is_an_error():
    """An iterable that has run dry is not taken for a very short epoch."""
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
def test_loaders_of_something_else_are_refused(loader, error, message):
    """With the advice how a DataLoader gives batches."""
    with pytest.raises(error, match=message):
        toys.make_trainer().fit(loader, epochs=1)


class Stream(IterableDataset[Any]):
    """Items without a length, some of which may have a wrong label."""

    def __init__(self, labels: list[int | None]) -> None:
        self.labels = labels

    def __iter__(self) -> Iterator[Any]:
        for i, label in enumerate(self.labels):
            yield {"input_ids": TRAIN[i]["input_ids"], "label": label, "index": i}


def test_streams_are_trained_on_and_looked_at_as_they_come():
    """Without a length there are epochs all the same; a wrong label is named when it is met."""
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


def test_small_batches_make_the_same_run_as_large_ones():
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


def trainer_in(mode: str) -> Trainer:
    """Return a trainer in a precision."""
    return toys.make_trainer(toys.make_model(dropout=0.0), precision=mode)


@pytest.mark.parametrize("mode", ["fp32", "bf16", "fp16"])
def test_every_precision_learns(mode):
    """The loss falls, and predictions of the trained model are right."""
    data = toys.make_dataset(30)
    trainer = trainer_in(mode)
    history = trainer.fit(toys.bucketed(data), toys.bucketed(data), epochs=12)
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert max(history["eval_accuracy"]) > 0.9
