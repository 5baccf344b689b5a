"""Losses: those of PyTorch, with the weight of their mean."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from tests import strategies
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.training.losses import Loss, balanced_weights

LABELS = torch.tensor([0, 2, 1, 1])


def logits_of(rows: int = 4, seed: int = 0) -> torch.Tensor:
    """Return random logits over three classes."""
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 3.0]])
def test_class_ids_have_cross_entropy(smoothing, weights):
    """Class weights and label smoothing are those of `torch.nn.CrossEntropyLoss`."""
    loss = Loss(class_weights=weights, label_smoothing=smoothing)
    tensor = None if weights is None else torch.tensor(weights)
    expected = nn.CrossEntropyLoss(tensor, label_smoothing=smoothing)(logits_of(), LABELS)
    assert torch.equal(loss(logits_of(), LABELS), expected)


def test_multilabel_targets_have_binary_cross_entropy():
    """Class weights multiply the loss of labels that are present."""
    targets = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 0, 1]])
    for weights in (None, [1.0, 2.0, 3.0]):
        tensor = None if weights is None else torch.tensor(weights)
        expected = nn.BCEWithLogitsLoss(pos_weight=tensor)(logits_of(), targets)
        loss = Loss(class_weights=weights)
        assert torch.equal(loss(logits_of(), targets), expected)
        assert torch.equal(loss(logits_of(), targets.double()), expected)
        assert loss.weight(targets) == 4


def test_a_custom_loss_is_called_as_it_is():
    """It gets the logits and the labels, and its weight is the number of texts."""
    loss = Loss(lambda logits, labels: (logits.sum(dim=1) * labels).mean())
    assert torch.equal(loss(logits_of(), LABELS), (logits_of().sum(dim=1) * LABELS).mean())
    assert loss.weight(LABELS) == 4
    module = nn.MultiMarginLoss(weight=torch.ones(3))
    assert torch.equal(Loss(module)(logits_of(), LABELS), module(logits_of(), LABELS))
    assert dict(Loss(module).named_buffers()).keys() == {"function.weight"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_is_computed_in_single(dtype):
    """Half-precision logits are converted to fp32; others keep their precision."""
    loss = Loss(class_weights=[1.0, 2.0, 3.0])(logits_of().to(dtype), LABELS)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_other_integers_are_class_ids_too():
    """PyTorch takes int64 alone."""
    expected = Loss()(logits_of(), LABELS)
    assert torch.equal(Loss()(logits_of(), LABELS.int()), expected)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), st.booleans(), st.booleans())
def test_weighted_means_of_parts_equal_the_mean_of_all(sizes, weighted, smoothed):
    """With any batch sizes, class weights and label smoothing."""
    loss = Loss(class_weights=[0.5, 2.0, 3.0] if weighted else None, label_smoothing=0.2 * smoothed)
    total = sum(sizes)
    logits = logits_of(total).double()
    labels = torch.randint(3, (total,), generator=torch.Generator().manual_seed(1))
    parts = zip(logits.split(sizes), labels.split(sizes), strict=True)
    summed, weight = torch.zeros((), dtype=torch.float64), 0.0
    for part_logits, part_labels in parts:
        share = float(loss.weight(part_labels))
        summed += loss(part_logits, part_labels) * share
        weight += share
    torch.testing.assert_close(summed / weight, loss(logits, labels))


@given(strategies.classified_texts())
def test_balanced_weights_are_those_of_scikit_learn(drawn):
    """Every class that occurs has scikit-learn's weight; one without texts has 1."""
    logits, labels = drawn
    present = labels.unique().numpy()
    weights = balanced_weights(labels, logits.shape[1])
    expected = torch.ones(logits.shape[1], dtype=torch.float64)
    # scikit-learn divides by the number of classes it sees; ours is that of the model.
    share = len(present) / logits.shape[1]
    expected[present] = torch.from_numpy(
        compute_class_weight("balanced", classes=present, y=labels.numpy()) * share
    )
    torch.testing.assert_close(weights.double(), expected)


def test_balanced_weights_of_labels_are_absent_by_present():
    """A label that no text has, or all have, has weight 1."""
    targets = torch.tensor([[1.0, 0, 1], [0, 0, 1], [0, 0, 1], [1, 0, 1]])
    assert balanced_weights(targets, 3).tolist() == [1.0, 1.0, 1.0]
    assert balanced_weights(targets[:3], 3).tolist() == [2.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"function": 3}, InvalidTypeError, "`loss` to be a function of logits and labels"),
        (
            {"function": max, "class_weights": [1.0]},
            InvalidValueError,
            "`class_weights` to be None with a `loss` function",
        ),
        (
            {"function": max, "class_weights": "balanced"},
            InvalidValueError,
            "`class_weights` to be None with a `loss` function",
        ),
        (
            {"function": max, "label_smoothing": 0.1},
            InvalidValueError,
            "`label_smoothing` to be 0.0 with a `loss` function",
        ),
        ({"label_smoothing": 1.5}, InvalidValueError, "`label_smoothing` to be a number from 0"),
        ({"label_smoothing": "a"}, InvalidTypeError, "`label_smoothing` to be a number from 0"),
        ({"class_weights": "even"}, InvalidValueError, "to be 'balanced' or one weight per class"),
        ({"class_weights": 3}, InvalidTypeError, "`class_weights` to be a list of numbers"),
        ({"class_weights": []}, InvalidTypeError, "`class_weights` to be a list of numbers"),
        ({"class_weights": ["a"]}, InvalidTypeError, "`class_weights` to be a list of numbers"),
        ({"class_weights": [[1.0]]}, InvalidTypeError, "`class_weights` to be a list of numbers"),
        ({"class_weights": [1.0, 0.0]}, InvalidValueError, "to be positive finite numbers"),
        ({"class_weights": [1.0, float("inf")]}, InvalidValueError, "to be positive finite num"),
    ],
)
def test_invalid_settings_are_refused(settings, error, message):
    """The error names the argument."""
    with pytest.raises(error, match=message):
        Loss(**settings)


@pytest.mark.parametrize(
    ("settings", "labels", "error", "message"),
    [
        ({"class_weights": [1.0, 2.0]}, LABELS, InvalidValueError, "to be 3 weights, one per cla"),
        ({"label_smoothing": 0.1}, torch.ones(4, 3), InvalidValueError, "0.0 for multi-label"),
        ({}, torch.tensor([0, 3, 1, 1]), InvalidValueError, "from 0 to 2, but text 1 has 3"),
        ({}, torch.ones(4, 2), InvalidValueError, "floats with 3 columns, one per class"),
        ({"function": lambda logits, _: logits}, LABELS, InvalidTypeError, "a function that gives"),
        (
            {"function": lambda *_: 3.0},
            LABELS,
            InvalidTypeError,
            "gives a scalar tensor, but got 3",
        ),
    ],
)
def test_invalid_batches_are_refused(settings, labels, error, message):
    """Labels, weights and losses are checked before PyTorch uses them."""
    with pytest.raises(error, match=message):
        Loss(**settings)(logits_of(), labels)


def test_labels_without_a_weight_are_refused():
    """A label without a class weight is named in the error."""
    loss = Loss(class_weights=[1.0, 2.0])
    with pytest.raises(InvalidValueError, match="text 0 has -1"):
        loss.weight(torch.tensor([-1, 0]))
    with pytest.raises(
        InvalidValueError,
        match="`class_weights` to have one weight per class, but got 2 weights and the label 2",
    ):
        loss.weight(torch.tensor([2, 0]))


def test_class_weights_can_be_a_tensor():
    """The loss copies it."""
    weights = torch.tensor([1.0, 2.0, 3.0])
    loss = Loss(class_weights=weights)
    weights.zero_()
    assert loss.class_weights is not None
    assert loss.class_weights.tolist() == [1.0, 2.0, 3.0]
