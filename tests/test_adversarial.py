"""Adversarial training: perturbations of the right length, gradients worked out by hand."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests import toys
from textrnn import Batch, RecurrentClassifier
from textrnn.errors import InvalidTypeError, InvalidValueError, TrainingError
from textrnn.training import AdversarialTraining, FreezeEmbeddings, Trainer
from textrnn.training.adversarial import Adversary
from textrnn.training.losses import Loss
from textrnn.training.step import Precision, UpdateStep

CPU = torch.device("cpu")
KINDS = ["adversarial", "virtual"]
DROPOUTS = {"dropout": 0.4, "embedding_dropout": 0.3, "num_layers": 2, "layer_dropout": 0.3}


def gradients_of(
    model: nn.Module,
    batches: list[Batch],
    adversarial: AdversarialTraining | None,
    *,
    loss: Loss | None = None,
    precision: str = "fp32",
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the gradients of an update, and its loss, from a fixed seed."""
    torch.manual_seed(0)
    step = UpdateStep(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        loss or Loss(),
        precision=Precision(precision, CPU),
        adversarial=adversarial,
    )
    mean, _ = step.gradients(batches)
    scale = step.scaler.get_scale()
    found = {n: w.grad / scale for n, w in model.named_parameters() if w.grad is not None}
    return found, mean


@contextmanager
def seeing_embeddings(model: RecurrentClassifier) -> Iterator[list[Tensor]]:
    """Keep the embedded tokens of each forward pass."""
    seen: list[Tensor] = []
    dropped = type(model.embedding_dropout).forward

    def forward(self: Any, embedded: Tensor) -> Tensor:
        seen.append(embedded.detach().clone())
        return dropped(self, embedded)

    with mock.patch.object(type(model.embedding_dropout), "forward", forward):
        yield seen


def perturbed(kind: str, *, epsilon: float = 0.3, seed: int = 0) -> tuple[Batch, list[Tensor]]:
    """Return a batch and its embedded tokens in each pass: plain, at a random start, perturbed."""
    (batch,) = toys.make_batches((6,), seed=seed)
    model = toys.make_model(**DROPOUTS)
    with seeing_embeddings(model) as seen:
        gradients_of(model, [batch], AdversarialTraining(kind=kind, epsilon=epsilon))
    return batch, seen


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)
@given(epsilon=st.sampled_from([1e-3, 0.05, 2.0]), seed=st.integers(0, 999))
def test_a_perturbation_has_its_length_and_leaves_padding_alone(kind, epsilon, seed):
    """Of each text by itself: epsilon times the norm of its embeddings, and zeros at padding."""
    batch, (plain, *_, moved) = perturbed(kind, epsilon=epsilon, seed=seed)
    assert plain.shape[:2] == batch.input_ids.shape
    for before, after, length in zip(plain, moved, batch.lengths.tolist(), strict=True):
        assert torch.equal(before[length:], after[length:])
        added = float((after - before).norm())
        assert added == pytest.approx(epsilon * float(before[:length].norm()), rel=1e-3)


def test_the_kinds_take_two_and_three_passes():
    """A direction of the loss comes from the plain pass, one of the divergence needs its own."""
    assert [len(perturbed(kind)[1]) for kind in KINDS] == [2, 3]


@settings(max_examples=20)
@given(seed=st.integers(0, 999))
def test_the_loss_of_every_text_grows(seed):
    """A small step along the gradient leads up, for each text of the batch."""
    batch, (plain, moved) = perturbed("adversarial", epsilon=0.01, seed=seed)
    assert batch.labels is not None
    model = toys.make_model(**DROPOUTS)
    losses = []
    for embedded in (plain, moved):
        torch.manual_seed(0)
        logits = model.forward_embeddings(embedded, batch.lengths)
        losses.append(nn.functional.cross_entropy(logits, batch.labels, reduction="none"))
    assert bool((losses[1] > losses[0]).all())


def divergence(clean: Tensor, other: Tensor) -> Tensor:
    """Return the divergence of each text, from its definition."""
    p, q = clean.double().softmax(1), other.double().softmax(1)
    return (p * (p / q).log()).sum(1)


@settings(max_examples=20)
@given(seed=st.integers(0, 999))
def test_the_prediction_of_every_text_changes_more_than_at_random(seed):
    """The divergence is above that at the random start, which is as far away."""
    batch, found = perturbed("virtual", epsilon=0.05, seed=seed)
    model = toys.make_model(**DROPOUTS)
    logits = []
    for embedded in found:
        torch.manual_seed(0)
        logits.append(model.forward_embeddings(embedded, batch.lengths).detach())
    clean, start, end = logits
    assert bool((divergence(clean, end) > divergence(clean, start)).all())


def by_hand(model: RecurrentClassifier, batch: Batch, kind: str, epsilon: float) -> None:
    """Leave the gradients that a plain loop of PyTorch's gives; dropout must be 0."""
    assert batch.labels is not None
    model.zero_grad()
    embedded = model.embedding(batch.input_ids.t()).transpose(0, 1)  # (batch, time, features)
    embedded.retain_grad()
    logits = model.forward_embeddings(embedded, batch.lengths)
    nn.functional.cross_entropy(logits, batch.labels).backward()
    gradient = embedded.grad
    if kind == "virtual":
        torch.manual_seed(0)
        real = torch.arange(embedded.shape[1]) < batch.lengths[:, None]
        start = torch.randn_like(embedded) * real[:, :, None]
        start = to_length(start, embedded, epsilon).requires_grad_()
        moved = model.forward_embeddings(embedded.detach() + start, batch.lengths)
        (gradient,) = torch.autograd.grad(divergence(logits.detach(), moved).sum(), start)
    added = to_length(gradient, embedded, epsilon)
    moved = model.forward_embeddings(model.embedding(batch.input_ids) + added, batch.lengths)
    if kind == "virtual":
        (0.5 * divergence(logits.detach(), moved).mean()).backward()
    else:
        (0.5 * nn.functional.cross_entropy(moved, batch.labels)).backward()


def to_length(direction: Tensor, embedded: Tensor, epsilon: float) -> Tensor:
    """Return a direction with a share of the length of each text's embeddings."""
    parts = zip(direction, embedded.detach(), strict=True)
    return torch.stack([epsilon * text.norm() * each / each.norm() for each, text in parts])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_gradients_are_those_of_a_plain_loop(kind, cell):
    """The passes, written out with nothing but PyTorch, give the same numbers."""
    (batch,) = toys.make_batches((6,))
    model = toys.make_model(cell=cell, dropout=0.0, bidirectional=True)
    chosen = AdversarialTraining(kind=kind, epsilon=0.3, weight=0.5)
    found, _ = gradients_of(model, [batch], chosen)
    by_hand(model, batch, kind, 0.3)
    expected = {name: weight.grad for name, weight in model.named_parameters()}
    assert toys.worst_difference(found, expected) < 1e-6


@pytest.mark.parametrize(("kind", "factor"), [("adversarial", 1.7), ("virtual", 1.0)])
def test_next_to_no_perturbation_gives_the_plain_gradients(kind, factor):
    """The loss counts once more with its weight, the divergence is nothing; masks are the same."""
    batches = toys.make_batches((6,))
    model = toys.make_model(**DROPOUTS)
    plain, _ = gradients_of(model, batches, None)
    tiny = AdversarialTraining(kind=kind, epsilon=1e-9, weight=0.7)
    found, _ = gradients_of(model, batches, tiny)
    expected = {name: factor * value for name, value in plain.items()}
    assert toys.worst_difference(found, expected) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_the_texts_themselves(kind):
    """What is recorded compares with a run that perturbs nothing."""
    batches = toys.make_batches((6,))
    model = toys.make_model(**DROPOUTS)
    _, plain = gradients_of(model, batches, None)
    found, loss = gradients_of(model, batches, AdversarialTraining(kind=kind, epsilon=1.0))
    assert torch.equal(loss, plain)
    assert found


def test_the_adversarial_kind_draws_no_more_random_numbers():
    """Each step begins with the generators as it would without perturbations."""
    batches = toys.make_batches((6, 3))
    states = []
    for chosen in (None, AdversarialTraining()):
        gradients_of(toys.make_model(**DROPOUTS), batches, chosen)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


LOSSES = {
    "plain": Loss,
    "weights and smoothing": lambda: Loss(class_weights=[0.2, 3.0, 1.0], label_smoothing=0.3),
    "weighted multi-label": lambda: Loss(class_weights=[0.2, 3.0, 1.0]),
    "a loss of one's own": lambda: Loss(nn.MultiMarginLoss()),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5)
@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_small_batches_count_as_one_large_one(kind, name, sizes, seed):
    """Gradients of ragged parts are those of the whole, from the same start in each text."""
    batches = toys.make_batches(tuple(sizes), seed=seed, multilabel="multi-label" in name)
    chosen = AdversarialTraining(kind=kind, epsilon=0.1)
    results = []
    with mock.patch.object(torch, "randn_like", torch.ones_like):
        for given_batches in (batches, [toys.merge(batches)]):
            model = toys.make_model(dropout=0.0)
            results.append(gradients_of(model, given_batches, chosen, loss=LOSSES[name]()))
    assert toys.worst_difference(*results) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_gives_nearly_the_same_gradients(kind, precision):
    """Directions survive its rounding and its range, and gradients stay in single precision."""
    batches = toys.make_batches((6, 4))
    model = toys.make_model(dropout=0.0, hidden_size=32)
    chosen = AdversarialTraining(kind=kind, epsilon=0.3)
    full, _ = gradients_of(model, batches, chosen)
    half, _ = gradients_of(model, batches, chosen, precision=precision)
    assert {value.dtype for value in half.values()} == {torch.float32}
    one, other = (torch.cat([g.flatten() for g in each.values()]) for each in (full, half))
    assert float(torch.cosine_similarity(one, other, dim=0)) > 0.99


def test_an_overflow_in_half_precision_leaves_the_weights_alone():
    """Gradients without bounds spoil the perturbation too, and the scaler leaves the update out."""
    model = toys.make_model()
    precision = Precision("fp16", CPU)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    chosen = AdversarialTraining()
    step = UpdateStep(model, optimizer, Loss(), precision=precision, adversarial=chosen)
    step.scaler.scale(torch.zeros(()))  # which begins it
    step.scaler.update(1e30)
    before = toys.weights_of(model)
    step.gradients(toys.make_batches((3,)))
    assert step.update(1) is False
    assert toys.worst_difference(before, toys.weights_of(model)) == 0.0


@pytest.mark.parametrize(("factor", "share"), [(0.0, 0.0), (1e-30, 0.3)])
def test_a_text_without_a_gradient_stays_where_it_is(factor, share):
    """And a gradient whose squares are zero in single precision is one all the same."""
    (batch,) = toys.make_batches((4,))
    model = toys.make_model(dropout=0.0)
    loss = Loss(lambda logits, labels: nn.functional.cross_entropy(logits, labels) * factor)
    with seeing_embeddings(model) as seen:
        gradients_of(model, [batch], AdversarialTraining(epsilon=0.3), loss=loss)
    plain, moved = seen
    ratio = (moved - plain).flatten(1).norm(dim=1) / plain.flatten(1).norm(dim=1)
    torch.testing.assert_close(ratio, torch.full((4,), share), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_embedding_is_perturbed_and_stays(kind):
    """Its gradient is not needed, that of the embedded tokens is."""
    (batch,) = toys.make_batches((4,))
    model = toys.make_model(dropout=0.0)
    whole, _ = gradients_of(model, [batch], AdversarialTraining(kind=kind))
    model.zero_grad()
    model.embedding.requires_grad_(requires_grad=False)
    found, _ = gradients_of(model, [batch], AdversarialTraining(kind=kind))
    del whole["embedding.weight"]
    assert toys.worst_difference(found, whole) < 1e-7


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_learned_with_everything_else(kind):
    """Beside frozen embeddings, accumulation, averages and class weights; nothing is left over."""
    data = toys.make_dataset(30)
    trainer = toys.make_trainer(
        toys.make_model(dropout=0.1),
        adversarial=kind,
        accumulation_steps=2,
        weight_averaging="ema",
        class_weights="balanced",
        label_smoothing=0.1,
        max_grad_norm=1.0,
        callbacks=[FreezeEmbeddings(2)],
    )
    history = trainer.fit(toys.bucketed(data, 4), epochs=30)
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    assert not trainer.model.embedding_dropout._forward_pre_hooks
    trainer.evaluate(toys.bucketed(data))


def test_defaults_go_with_the_kind():
    """A name stands for its defaults, and settings of one's own pass."""
    assert AdversarialTraining.of("adversarial") == AdversarialTraining(epsilon=0.05, weight=1)
    own = AdversarialTraining(kind="virtual", epsilon=2, weight=0.5)
    assert AdversarialTraining.of(own) is own
    assert toys.make_trainer(adversarial="virtual").adversarial == AdversarialTraining(
        kind="virtual"
    )


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"kind": "fgsm"}, InvalidValueError, "`kind` to be one of 'adversarial', 'virtual', but"),
        ({"epsilon": 0}, InvalidValueError, "`epsilon` to be a number above 0, but got 0"),
        ({"epsilon": math.inf}, InvalidValueError, "`epsilon` to be a number above 0, but got inf"),
        ({"weight": -1.0}, InvalidValueError, "`weight` to be a number above 0, but got -1.0"),
        ({"weight": "1"}, InvalidTypeError, "`weight` to be a number above 0, but got '1'"),
    ],
)
def test_settings_out_of_range_are_refused(values, error, message):
    """Each is an error that names the setting."""
    with pytest.raises(error, match=message):
        AdversarialTraining(**values)


def test_what_is_no_adversarial_training_is_refused():
    """A wrong name lists the right ones, anything else says what is expected."""
    with pytest.raises(InvalidValueError, match="`adversarial` to be one of 'adversarial', 'virt"):
        AdversarialTraining.of("fgsm")
    with pytest.raises(InvalidTypeError, match="or an AdversarialTraining, but got 3"):
        AdversarialTraining.of(3)  # type: ignore[arg-type] # that is the point


class Odd(nn.Module):
    """A model that may call its dropout as often as it likes."""

    def __init__(self, calls: int = 0, *, cut: bool = False) -> None:
        super().__init__()
        self.embedding, self.calls, self.cut = nn.Embedding(16, 3), calls, cut
        self.embedding_dropout = nn.Dropout(0.1) if calls else None

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Give logits."""
        embedded = states = self.embedding(input_ids)  # (batch, time, classes)
        for _ in range(self.calls - 1):
            assert self.embedding_dropout is not None
            states = self.embedding_dropout(states)
        return (embedded if self.cut else states).sum(1) / lengths[:, None]


def test_a_model_without_a_place_for_perturbations_is_refused():
    """When the trainer is made, and not after the first epoch."""
    with pytest.raises(
        InvalidValueError, match="Expected `adversarial` to be None for a model wit"
    ):
        Trainer(Odd(), adversarial="virtual")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Odd(1), "from one call of its `embedding_dropout`, as .* but it made 0 calls"),
        (Odd(3), "from one call of its `embedding_dropout`, as .* but it made 2 calls"),
        (Odd(2, cut=True), "from one call of its `embedding_dropout`, .* no gradient reached it"),
    ],
)
def test_a_model_that_bypasses_the_perturbations_is_noticed(model, message):
    """In its first step."""
    with pytest.raises(TrainingError, match=message):
        gradients_of(model, toys.make_batches((3,)), AdversarialTraining())


def test_any_model_with_such_a_dropout_will_do():
    """It need not be the library's."""
    found, _ = gradients_of(Odd(2), toys.make_batches((3, 2)), AdversarialTraining())
    assert set(found) == {"embedding.weight"}


def test_a_pass_that_fails_leaves_nothing_behind():
    """Neither changed embeddings nor generators that were set back."""
    (batch,) = toys.make_batches((3,))
    model = toys.make_model(dropout=0.5)
    adversary = Adversary(AdversarialTraining(), model, Loss())
    with adversary.watching():
        logits = model(batch.input_ids, batch.lengths)
        adversary.loss(logits, batch.labels).backward()
    before = torch.get_rng_state()
    with pytest.raises(KeyError), adversary.perturbing(batch, logits.detach()):
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.embedding_dropout._forward_pre_hooks
