"""The range test finds the rate at which the loss falls, and restores everything."""

import copy
import math
import random
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from textrnn.data import Batch
from textrnn.errors import InvalidTypeError, InvalidValueError, TrainingError
from textrnn.nn import RecurrentClassifier
from textrnn.training.lr_finder import find_learning_rate


def make_batch(size: int = 8, seed: int = 0, num_classes: int = 3) -> Batch:
    """Make a batch whose labels follow from its words."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 10, (size, 5), generator=generator)
    return Batch(ids, torch.full((size,), 5), labels=ids.sum(dim=1) % num_classes)


def make_model(**settings) -> RecurrentClassifier:
    """Make a small network with dropout."""
    return RecurrentClassifier(10, num_classes=3, hidden_size=4, **settings)


def script(values):
    """Make a loss that goes through the values, whatever the logits are."""
    remaining = iter(values)
    return lambda logits, _labels: 0 * logits.sum() + next(remaining)


def snapshot(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[object]:
    """Copy all that a test must not change."""
    return copy.deepcopy(
        [
            [(name, tensor.tolist()) for name, tensor in model.state_dict().items()],
            [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
            [module.training for module in model.modules()],
            repr(optimizer.state_dict()),
            torch.get_rng_state().tolist(),
            random.getstate(),
            repr(np.random.get_state()),  # noqa: NPY002 - the global one is what must not change
        ]
    )


@pytest.mark.parametrize("num_good_steps", [2, 10])
def test_everything_is_as_before(num_good_steps):
    """Weights, gradients, modes, optimizer and generators come back, after an error too."""
    model = make_model(dropout=0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    batches = [make_batch(seed=seed) for seed in range(3)]
    model(batches[0].input_ids, batches[0].lengths).sum().backward()
    optimizer.step()
    model.embedding.eval()
    own = torch.Generator().manual_seed(5)
    loader = DataLoader(
        batches, batch_size=None, shuffle=True, generator=own, collate_fn=lambda batch: batch
    )
    gradients = [parameter.grad for parameter in model.parameters()]
    before, own_before = snapshot(model, optimizer), own.get_state()
    seen = []

    def loss(logits, labels):
        random.random()
        np.random.rand()  # noqa: NPY002 - a user's loss may well draw from the global one
        seen.append(model.embedding.weight.detach().clone())
        if len(seen) > num_good_steps:
            raise RuntimeError("no more steps")
        return nn.functional.cross_entropy(logits, labels)

    outcome = (
        nullcontext() if num_good_steps == 10 else pytest.raises(RuntimeError, match="no more")
    )
    with outcome:
        find_learning_rate(model, loader, loss=loss, optimizer=optimizer, start=1e-3, num_steps=10)
    assert not torch.equal(seen[0], seen[-1])
    assert snapshot(model, optimizer) == before
    assert all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(own.get_state(), own_before)


def test_losses_are_those_of_training_with_growing_rates():
    """Each step uses its rate, from the first to the last in equal ratios."""
    batches = [make_batch(seed=seed) for seed in range(4)]
    model = make_model(dropout=0.0)
    reference = copy.deepcopy(model)
    curve = find_learning_rate(
        model,
        batches,
        optimizer=torch.optim.SGD(model.parameters(), lr=123.0),
        start=0.01,
        end=1.0,
        num_steps=9,
        smoothing=0.5,
    )
    assert curve.rates == pytest.approx([0.01 * 10 ** (t / 4) for t in range(9)])
    losses = []
    for t in range(9):  # the batches come round again
        batch = batches[t % 4]
        loss = nn.functional.cross_entropy(reference(batch.input_ids, batch.lengths), batch.labels)
        losses.append(loss.item())
        gradients = torch.autograd.grad(loss, list(reference.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(reference.parameters(), gradients, strict=True):
                parameter.sub_(curve.rates[t] * gradient)
    assert curve.losses == pytest.approx(losses, rel=1e-4)
    weights = [0.5 ** (8 - t) for t in range(9)]
    assert curve.smoothed[-1] == pytest.approx(np.average(losses, weights=weights), rel=1e-4)
    assert curve.smoothed[0] == pytest.approx(losses[0])


def test_parameter_groups_keep_their_ratio():
    """The tested rate is the highest group's; the others follow it."""
    model = make_model()
    first, *others = model.parameters()
    optimizer = torch.optim.SGD([{"params": [first], "lr": 0.1}, {"params": others, "lr": 0.5}])
    rates = []

    def loss(logits, labels):
        rates.append([group["lr"] for group in optimizer.param_groups])
        return nn.functional.cross_entropy(logits, labels)

    curve = find_learning_rate(model, [make_batch()], loss=loss, optimizer=optimizer, num_steps=5)
    assert [high for _, high in rates] == pytest.approx(list(curve.rates))
    assert [low for low, _ in rates] == pytest.approx([rate / 5 for rate in curve.rates])


def test_the_suggestion_is_where_the_loss_falls_most():
    """A loss that falls in one place gives that place's rate."""
    values = [2.0] * 20 + [1.9, 1.5, 1.1, 1.0] + [1.0] * 6
    curve = find_learning_rate(
        make_model(), [make_batch()], loss=script(values), num_steps=30, smoothing=0.0
    )
    assert curve.losses == pytest.approx(values)
    assert curve.suggestion in {curve.rates[21], curve.rates[22]}


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_suggests_nothing(seed):
    """Batches differ, so a small fall of the average is no sign of learning."""
    noise = np.random.default_rng(seed).normal(1.4, 0.02, size=100).tolist()
    curve = find_learning_rate(make_model(), [make_batch()], loss=script(noise))
    assert curve.suggestion is None


def test_rising_losses_suggest_nothing():
    """If the first loss is the lowest, no rate is suggested."""
    curve = find_learning_rate(
        make_model(), [make_batch()], loss=script(np.linspace(1, 2, 40)), num_steps=40
    )
    assert curve.suggestion is None


def test_a_learnable_task_suggests_a_rate_that_trains():
    """Training at the suggested rate lowers the loss far below that of guessing."""
    model, batch = make_model(), make_batch(size=32)
    rate = find_learning_rate(model, [batch]).suggestion
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    model.eval()
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(batch.input_ids, batch.lengths), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # At so high a rate the loss goes up and down, and last digits decide where it ends.
    assert min(losses) < 0.5 * math.log(3)


@pytest.mark.parametrize(
    ("values", "num_kept"),
    [
        ([1.0, 1.0, 1.0, 1.0, 4.1, 9.0], 5),
        ([1.0, 1.0, 1.0, math.nan, 1.0], 3),
        ([1.0, 1.0, 1.0, 1.0, math.inf], 4),
        ([-1.0, -1.0, -1.0, 2.1, 9.0], 4),
    ],
)
def test_the_test_ends_when_the_loss_explodes(values, num_kept):
    """The step that explodes is the last; a loss that is no finite number is left out."""
    curve = find_learning_rate(make_model(), [make_batch()], loss=script(values), smoothing=0.0)
    assert curve.losses == pytest.approx(values[:num_kept])
    assert len(curve.rates) == len(curve.smoothed) == num_kept
    assert curve.rates[0] == pytest.approx(1e-5)


def test_several_labels_for_a_text_are_taken():
    """Labels that are a matrix of numbers have the loss that the trainer gives them."""
    batch = make_batch()
    labels = nn.functional.one_hot(batch.labels, 3).float()
    curve = find_learning_rate(
        make_model(), [Batch(batch.input_ids, batch.lengths, labels=labels)], num_steps=5
    )
    assert curve.losses[0] == pytest.approx(math.log(2), abs=0.3)


def test_gradients_are_made_where_they_are_switched_off():
    """The test trains, even where the caller has no use for gradients."""
    with torch.no_grad():
        curve = find_learning_rate(make_model(), [make_batch()], num_steps=3)
    assert len(curve.rates) == 3


def test_a_loss_that_explodes_at_once_is_an_error():
    """Nothing can be learned from fewer than three steps."""
    with pytest.raises(TrainingError, match="exploded within three steps, at learning rates up to"):
        find_learning_rate(make_model(), [make_batch()], loss=script([1.0, math.nan]))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"start": 0.0}, InvalidValueError, "`start` to be a number above 0"),
        ({"start": 1.0, "end": 0.5}, InvalidValueError, "`end` to be a number above 1"),
        ({"num_steps": 2}, InvalidValueError, "`num_steps` to be an integer of at least 3"),
        ({"smoothing": 1.0}, InvalidValueError, "`smoothing` to be a number from 0 to 0.999"),
        ({"model": None}, InvalidTypeError, "`model` to be"),
        ({"model": nn.Identity()}, InvalidValueError, "`model` to be a module with parameters"),
        ({"loader": []}, InvalidValueError, "`loader` to be at least one batch"),
        ({"loader": iter([make_batch()])}, InvalidTypeError, "`loader` to be iterable anew"),
        ({"loader": [1]}, InvalidTypeError, "to give `Batch` objects"),
        ({"loss": "mse"}, InvalidTypeError, "`loss` to be a function"),
        ({"optimizer": "adam"}, InvalidTypeError, "`optimizer` to be a torch optimizer"),
        ({"loader": [make_batch(num_classes=9)]}, InvalidValueError, "labels"),
    ],
)
def test_bad_arguments_are_refused(settings, error, message):
    """Errors come before the first step."""
    arguments = {"model": make_model(), "loader": [make_batch()]} | settings
    with pytest.raises(error, match=message):
        find_learning_rate(**arguments)


class Stream:
    """A loader without a length, whose batches are known only when it is iterated."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "`loader` to be at least one batch"),
        ([make_batch(num_classes=9)], "`labels` to be from 0 to 2"),
        ([Batch(torch.ones(1, 1).long(), torch.ones(1).long())], "batches to have labels"),
    ],
)
def test_a_stream_is_checked_as_it_comes(batches, message):
    """The batches of a loader without a length are checked one by one."""
    with pytest.raises(InvalidValueError, match=message):
        find_learning_rate(make_model(), Stream(batches))
