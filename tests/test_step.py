"""A training step: small batches equal a large one, and losses that are not finite stop it."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests import toys
from textrnn import Batch
from textrnn.errors import InvalidValueError, NonFiniteLossError
from textrnn.training import TrainingState, schedulers
from textrnn.training.losses import Loss
from textrnn.training.scheduling import Scheduler
from textrnn.training.step import Precision, RunningLoss, TrainingStep

CPU = torch.device("cpu")


def make_step(model: nn.Module, loss: Loss | None = None, **options: Any) -> TrainingStep:
    """Return a step of plain gradient descent."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    return TrainingStep(
        state=TrainingState(model=model, optimizer=optimizer, epochs=1),
        loss=loss or Loss(),
        scheduler=Scheduler(options.pop("schedule", None), optimizer, None, {"step": 4}),
        precision=options.pop("precision", Precision("fp32", CPU)),
        **options,
    )


def test_a_step_updates_weights_rate_and_counters():
    """The state holds the rate that was used, the loss and the consumed batches."""
    model = toys.make_model(dropout=0.0)
    before = toys.weights_of(model)
    step = make_step(model, schedule=schedulers.linear_warmup(warmup=1))
    first, second = toys.make_batches((3, 5)), toys.make_batches((4,), seed=1)
    step(first)
    state = step.state
    assert (state.step, state.batches, state.loss_weight) == (1, 2, 8.0)
    assert state.learning_rate == 0.25
    assert toys.worst_difference(before, toys.weights_of(model)) > 0.0
    step(second)
    assert (state.step, state.batches, state.loss_weight) == (2, 3, 12.0)
    assert state.learning_rate == 0.5


def gradients_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the gradients."""
    return {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }


LOSSES = {
    "plain": Loss,
    "class weights": lambda: Loss(class_weights=[0.2, 3.0, 1.0]),
    "label smoothing": lambda: Loss(label_smoothing=0.3),
    "weights and smoothing": lambda: Loss(class_weights=[0.2, 3.0, 1.0], label_smoothing=0.3),
    "multi-label": Loss,
    "weighted multi-label": lambda: Loss(class_weights=[0.2, 3.0, 1.0]),
    "a loss of one's own": lambda: Loss(nn.MultiMarginLoss()),
    "texts with weights": Loss,
    "texts and classes with weights": lambda: Loss(class_weights=[0.2, 3.0, 1.0]),
    "texts with weights, multi-label": Loss,
}


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=8)
@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_small_batches_count_as_one_large_batch(name, sizes, seed):
    """Gradients, loss and weight of ragged parts are those of the whole, to 1e-6."""
    multilabel, weighted = "multi-label" in name, name.startswith("texts")
    batches = toys.make_batches(tuple(sizes), seed=seed, multilabel=multilabel, weighted=weighted)
    results = []
    for given_batches in (batches, [toys.merge(batches)]):
        model = toys.make_model(dropout=0.0)
        loss, weight = make_step(model, LOSSES[name]()).gradients(given_batches)
        per_text = torch.as_tensor(weight, dtype=torch.float32) / sum(sizes)
        results.append((gradients_of(model), loss, per_text))
    assert toys.worst_difference(*results) < 1e-6


def test_gradients_are_those_of_a_plain_backward_pass():
    """One batch is one forward pass, one loss and one backward pass of PyTorch."""
    (batch,) = toys.make_batches((5,))
    model, plain = toys.make_model(), toys.make_model()
    torch.manual_seed(0)
    loss, weight = make_step(model).gradients([batch])
    torch.manual_seed(0)
    expected = nn.functional.cross_entropy(plain(batch.input_ids, batch.lengths), batch.labels)
    expected.backward()
    assert torch.equal(loss, expected)
    assert weight == 5
    assert not loss.requires_grad
    assert toys.worst_difference(gradients_of(model), gradients_of(plain)) == 0.0


def test_old_gradients_are_cleared():
    """Gradients of an earlier step have no effect."""
    (batch,) = toys.make_batches((5,))
    model = toys.make_model(dropout=0.0)
    step = make_step(model)
    step.gradients([batch])
    once = gradients_of(model)
    step.gradients([batch])
    assert toys.worst_difference(once, gradients_of(model)) == 0.0


@pytest.mark.parametrize("norm", [1e-3, 1e3])
def test_gradients_are_clipped_to_their_norm(norm):
    """Longer gradients are scaled down to the norm, shorter ones are unchanged."""
    (batch,) = toys.make_batches((5,))
    model = toys.make_model(dropout=0.0)
    before = toys.weights_of(model)
    step = make_step(model, max_grad_norm=norm)
    step.gradients([batch])
    length = torch.cat([g.flatten() for g in gradients_of(model).values()]).norm()
    assert step.update() is True
    moved = [(before[n] - w).flatten() for n, w in toys.weights_of(model).items()]
    expected = 0.5 * min(float(length), norm)
    assert float(torch.cat(moved).norm()) == pytest.approx(expected, rel=1e-4)


def test_a_batch_without_labels_is_refused():
    """Training needs a label for each text."""
    (batch,) = toys.make_batches((2,))
    with pytest.raises(InvalidValueError, match="Expected the batches to have labels, but they"):
        make_step(toys.make_model()).gradients([Batch(batch.input_ids, batch.lengths)])


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_precision_is_that_of_matrix_products(name, dtype):
    """Weights and gradients stay in fp32."""
    precision = Precision(name, CPU)
    with precision.autocast():
        assert (torch.ones(1, 1) @ torch.ones(1, 1)).dtype == dtype
    assert precision.scaler().is_enabled() is (name == "fp16")
    model = toys.make_model()
    make_step(model, precision=precision).gradients(toys.make_batches((3,)))
    assert {weight.dtype for weight in gradients_of(model).values()} == {torch.float32}


def test_unknown_precisions_are_refused():
    """The message lists the precisions."""
    with pytest.raises(InvalidValueError, match="`precision` to be one of 'fp32', 'bf16', 'fp16'"):
        Precision("fp8", CPU)


def test_an_overflow_in_half_precision_skips_the_update():
    """The scaler lowers its scale, and the update returns that nothing has changed."""
    model = toys.make_model()
    step = make_step(model, precision=Precision("fp16", CPU))
    before = toys.weights_of(model)
    step.gradients(toys.make_batches((3,)))
    scale = step.scaler.get_scale()
    next(model.parameters()).grad.fill_(math.inf)  # type: ignore[union-attr] # there is one
    assert step.update() is False
    assert toys.worst_difference(before, toys.weights_of(model)) == 0.0
    assert step.scaler.get_scale() == scale / 2
    step.gradients(toys.make_batches((3,)))
    assert step.update() is True
    assert toys.worst_difference(before, toys.weights_of(model)) > 0.0


@pytest.mark.parametrize("interval", [1, 3, 100])
def test_weighted_losses_are_added_up(interval):
    """However many losses wait to be read, the sum is the same at the end."""
    state = toys.make_state()
    running_loss = RunningLoss(state, interval=interval)
    for value, weight in ((1.0, 2), (3.0, 4), (0.5, torch.tensor(6.0))):
        running_loss.add(torch.tensor(value), weight, [])
    assert state.loss_weight == {1: 12.0, 3: 12.0, 100: 0.0}[interval]
    running_loss.flush()
    running_loss.flush()
    assert (state.loss_sum, state.loss_weight) == (17.0, 12.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_names_step_texts_and_checkpoint(value):
    """The error is about the first such loss, even if later ones wait as well."""
    first, second = toys.make_batches((3, 20))
    state = toys.make_state(step=6, last_checkpoint="run/step-00000004")
    running_loss = RunningLoss(state, interval=100)
    running_loss.add(torch.tensor(1.0), 3, [first])
    state.step += 1
    running_loss.add(torch.tensor(value), 23, [first, second])
    state.step += 1
    running_loss.add(torch.tensor(math.nan), 23, [second])
    listed = ", ".join(str(i) for i in range(16))
    message = (
        f"The loss became {value} in step 8, on the texts with the indices {listed}, .... "
        "The last good checkpoint is run/step-00000004."
    )
    with pytest.raises(NonFiniteLossError) as error:
        running_loss.flush()
    assert str(error.value).startswith(message)
    assert state.loss_sum == 3.0


def test_the_message_works_without_indices_and_checkpoint():
    """It says that there are none."""
    (batch,) = toys.make_batches((2,))
    unnamed = Batch(batch.input_ids, batch.lengths, batch.labels)
    running_loss = RunningLoss(toys.make_state(), interval=1)
    with pytest.raises(NonFiniteLossError, match="on texts without indices"):
        running_loss.add(torch.tensor(math.nan), 2, [unnamed])
