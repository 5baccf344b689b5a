"""Blended classifiers, and the fit of their blend weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import strategies
from textrnn.errors import InvalidValueError
from textrnn.ngrams import BlendedClassifier, NgramClassifier, fit_scales
from textrnn.nn import RecurrentClassifier


def parts(**changes):
    """Return two matching classifiers, with changed arguments of the second."""
    ngrams = {"vocab_size": 12, "num_classes": 3, "num_ngrams": 5} | changes
    return RecurrentClassifier(12, num_classes=3, hidden_size=4), NgramClassifier(**ngrams)


def loss(scales, logits, labels):
    """Return the mean loss of the weighted sum of logits."""
    blended = sum(scale * each for scale, each in zip(scales, logits, strict=True))
    return torch.nn.functional.cross_entropy(blended.double(), labels.long()).item()


@given(texts=strategies.ragged_ids())
def test_logits_are_the_scaled_sum(texts):
    """Logits are the sum of both classifiers' logits times their blend weights."""
    recurrent, ngrams = parts()
    torch.nn.init.normal_(ngrams.weight)
    model = BlendedClassifier(recurrent, ngrams).eval()
    model.scales.copy_(torch.tensor([0.25, 2.0]))
    lengths = torch.tensor([len(text) for text in texts])
    ids = torch.zeros(len(texts), int(lengths.max()), dtype=torch.int64)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    expected = 0.25 * recurrent(ids, lengths) + 2 * ngrams(ids, lengths)
    assert torch.equal(model(ids, lengths), expected)


@pytest.mark.parametrize(
    ("name", "value"), [("vocab_size", 13), ("num_classes", 2), ("padding_id", 1)]
)
def test_classifiers_must_match(name, value):
    """Classifiers with other ids, classes or padding are an error."""
    with pytest.raises(InvalidValueError, match=rf"`ngrams.{name}` to be that of the recurrent"):
        BlendedClassifier(*parts(**{name: value}))


def test_the_configuration_has_both_classifiers():
    """The configuration has that of each classifier, by name."""
    model = BlendedClassifier(*parts())
    assert model.config["recurrent"]["hidden_size"] == 4
    assert model.config["ngrams"]["num_ngrams"] == 5
    assert (model.vocab_size, model.num_classes, model.padding_id) == (12, 3, 0)


@given(drawn=strategies.classified_texts(), seed=st.integers(0, 99))
def test_blend_weights_minimize_the_penalized_loss(drawn, seed):
    """Blend weights are not negative, and minimize the penalized loss."""
    first, labels = drawn
    second = torch.randn(first.shape, generator=torch.Generator().manual_seed(seed))
    scales, found = fit_scales([first, second], labels)
    assert (scales >= 0).all()
    assert found == pytest.approx(loss(scales, [first, second], labels), abs=1e-5)

    def penalised(scales):
        return loss(scales, [first, second], labels) + (scales - 0.5).square().sum() / len(labels)

    best = penalised(scales)
    for step in ([0.05, 0.0], [-0.05, 0.0], [0.0, 0.05], [0.0, -0.05]):
        moved = (scales + torch.tensor(step)).clamp(min=0)
        assert best <= penalised(moved) + 1e-4


def test_a_classifier_that_is_always_wrong_has_weight_zero():
    """A classifier that is always wrong gets weight 0, not a negative one."""
    labels = torch.tensor([0, 1] * 20)
    right = torch.nn.functional.one_hot(labels, 2) * 3.0
    scales, _ = fit_scales([right, -right], labels)
    assert scales[1] == 0
    assert scales[0] > 1


def test_labels_may_be_multi_label():
    """Float labels are multi-label targets."""
    labels = torch.tensor([[1.0, 1.0], [0.0, 1.0]] * 20)
    good, bad = (labels - 0.5) * 4, torch.zeros(40, 2)
    scales, found = fit_scales([good, bad], labels)
    assert scales[0] > scales[1]
    assert found < 0.1


def test_logits_must_fit_the_labels():
    """Logits must have one shape, with a row for each label."""
    with pytest.raises(InvalidValueError, match="`logits` to be of one shape, with a row for"):
        fit_scales([torch.zeros(3, 2), torch.zeros(3, 3)], torch.zeros(3, dtype=torch.int64))
    with pytest.raises(InvalidValueError, match="`logits` to be of one shape, with a row for"):
        fit_scales([], torch.zeros(3, dtype=torch.int64))
    with pytest.raises(InvalidValueError, match="`labels` to be from 0 to 1"):
        fit_scales([torch.zeros(1, 2)], torch.tensor([2]))
    with pytest.raises(InvalidValueError, match="Expected `prior` to be 1 blend weights"):
        fit_scales([torch.zeros(1, 2)], torch.tensor([1]), prior=(0.5, 0.5))
    with pytest.raises(InvalidValueError, match="Expected `prior_texts` to be"):
        fit_scales([torch.zeros(1, 2)], torch.tensor([1]), prior_texts=0.0)


def test_few_texts_hardly_change_a_strong_prior():
    """The blend weights stay near the prior, and leave it where many texts speak against it."""
    logits = [torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])]
    few, _ = fit_scales(logits, torch.tensor([0, 1]), prior=(0.7, 0.3), prior_texts=1000.0)
    assert few.tolist() == pytest.approx([0.7, 0.3], abs=0.01)
    logits = [each.repeat(20_000, 1) for each in logits]
    labels = torch.tensor([0, 1]).repeat(20_000)
    many, _ = fit_scales(logits, labels, prior=(0.7, 0.3), prior_texts=1000.0)
    assert many[0] == 0
    assert many[1] > 1
