"""Several recurrent classifiers that answer as one."""

import pytest
import torch
from hypothesis import given

from tests import strategies
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.nn import BlendedClassifier, EnsembleClassifier, NgramClassifier, RecurrentClassifier


def networks(number=3, **settings):
    """Return small classifiers with other random weights each."""
    settings = {"num_classes": 3, "hidden_size": 4} | settings
    vocab_size = settings.pop("vocab_size", 12)
    return [RecurrentClassifier(vocab_size, **settings) for _ in range(number)]


@given(texts=strategies.ragged_ids())
def test_logits_are_the_mean_of_all_networks(texts):
    """Each network reads the same texts, and has as much to say as the others."""
    members = networks()
    model = EnsembleClassifier(members).eval()
    lengths = torch.tensor([len(text) for text in texts])
    ids = torch.zeros(len(texts), int(lengths.max()), dtype=torch.int64)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    first, second, third = (network(ids, lengths) for network in members)
    torch.testing.assert_close(model(ids, lengths), (first + second + third) / 3)


def test_the_probabilities_are_a_geometric_mean():
    """By hand: odds of 4 to 1 and of 1 to 1 give odds of 2 to 1."""
    members = networks(2, num_classes=2)
    with torch.no_grad():
        for network, logits in zip(members, ([4.0, 1.0], [1.0, 1.0]), strict=True):
            network.head[-1].weight.zero_()
            network.head[-1].bias.copy_(torch.tensor(logits).log())
    model = EnsembleClassifier(members).eval()
    probabilities = model(torch.tensor([[2, 5, 3]])).softmax(1)
    torch.testing.assert_close(probabilities, torch.tensor([[2 / 3, 1 / 3]]))


def test_one_network_alone_says_what_it_says():
    """An ensemble of one is that one."""
    (network,) = networks(1)
    ids = torch.tensor([[2, 5, 6, 3]])
    assert torch.equal(EnsembleClassifier([network.eval()])(ids), network(ids))


def test_an_ensemble_tells_its_networks():
    """Their configurations, their number, and each of them."""
    members = networks(2)
    model = EnsembleClassifier(iter(members))
    assert model.config == {"networks": [network.config for network in members]}
    assert len(model) == 2
    assert list(model) == members
    assert (model.vocab_size, model.num_classes, model.padding_id) == (12, 3, 0)
    assert [name for name in model.state_dict() if "embedding" in name] == [
        "networks.0.embedding.weight",
        "networks.1.embedding.weight",
    ]


def test_an_ensemble_stands_beside_ngrams_as_one_network_does():
    """It is one part of a blend, with one scale."""
    ensemble = EnsembleClassifier(networks(2))
    ngrams = NgramClassifier(12, num_classes=3, num_ngrams=5)
    model = BlendedClassifier(ensemble, ngrams).eval()
    ids = torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]])
    assert torch.equal(model(ids), 0.5 * ensemble(ids) + 0.5 * ngrams(ids))
    assert model.config["recurrent"] == ensemble.config


@pytest.mark.parametrize(
    ("name", "value"), [("vocab_size", 13), ("num_classes", 2), ("padding_id", 1)]
)
def test_networks_must_fit_each_other(name, value):
    """Another number of ids or classes would give wrong logits, not an error, later."""
    message = rf"`networks\[1\].{name}` to be that of the first network, \d+, but got {value}"
    with pytest.raises(InvalidValueError, match=message):
        EnsembleClassifier([*networks(1), *networks(1, **{name: value})])


def test_networks_must_be_recurrent_classifiers():
    """At least one, and nothing else."""
    with pytest.raises(InvalidTypeError, match="`networks` to be RecurrentClassifiers"):
        EnsembleClassifier(3)
    with pytest.raises(InvalidValueError, match="`networks` to be at least one Recurrent"):
        EnsembleClassifier([])
    with pytest.raises(InvalidTypeError, match=r"`networks\[1\]` to be a RecurrentClassifier"):
        EnsembleClassifier([*networks(1), torch.nn.Linear(2, 2)])
