"""Vectors in the n-gram classifier: a weighted sum as further features."""

import numpy as np
import pytest
import torch
from hypothesis import given
from sklearn.linear_model import LogisticRegression

from tests import strategies
from tests.test_ngrams import LABELS, TEXTS, padded, random_texts
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.ngrams import BlendedClassifier, NgramClassifier, fit_ngrams, ngram_path
from textrnn.ngrams.solver import _VECTOR_SQUARE
from textrnn.nn import RecurrentClassifier

VECTORS = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32))
VECTORS[:4] = 0


def fitted(texts=TEXTS, labels=LABELS, **arguments):
    """Return a classifier with vectors."""
    sizes = {"vocab_size": 40, "num_classes": max(labels) + 1, "vectors": VECTORS}
    return fit_ngrams([padded(texts, labels)], **sizes | arguments)


def sums_by_hand(model, texts):
    """Return the scaled sums, token by token."""
    weights = model.idf[model.num_sparse :].double().numpy()
    rows = []
    for text in texts:
        total = np.zeros(3)
        for token in set(text):
            factor = (1 + np.log(text.count(token))) * weights[token]
            total += factor * VECTORS[token].double().numpy()
        rows.append(total / max(np.linalg.norm(total), 1e-12))
    return np.array(rows)


@given(texts=strategies.ragged_ids(vocab_size=40))
def test_sums_are_those_of_each_token(texts):
    """Sums equal those by hand, alone and in a batch, and predictions are bitwise the same."""
    model = fitted()
    batch = padded(texts, more=2)
    found = model.vector_sums(batch.input_ids, batch.lengths)
    np.testing.assert_allclose(found, sums_by_hand(model, texts), atol=1e-6)
    together = model(batch.input_ids, batch.lengths)
    alone = torch.cat([model(padded([text]).input_ids, batch.lengths[i : i + 1])
                       for i, text in enumerate(texts)])  # fmt: skip
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_frequent_tokens_have_low_weights():
    """The weight of a token's vector falls with the number of its texts."""
    weights = fitted().idf[-40:]
    assert weights[2] < weights[6] < weights[9] < weights[20]
    assert weights[20] == 1.0


@pytest.fixture(name="exact")
def _exact(monkeypatch):
    """Let the solver go on until it is exact."""
    monkeypatch.setattr("textrnn.ngrams.solver._TOLERANCE", 1e-9)


@pytest.mark.usefixtures("exact")
def test_weights_are_those_of_scikit_learn():
    """Weights equal a logistic regression with the sums as further features."""
    texts, labels = random_texts(seed=1, classes=2)
    labels = labels.tolist()
    model = fitted(texts, labels, prior_variance=2.0, max_ngrams=5)
    batch = padded(texts, labels)
    places, values = model.features(batch.input_ids, batch.lengths)
    ngrams = torch.zeros(len(texts), model.num_ngrams).scatter_add_(1, places, values).numpy()
    held, one = ngrams > 0, np.array(labels) == 1
    ratio = np.log(
        (held[one].sum(0) + 1) / (one.sum() + 2) / (held[~one].sum(0) + 1) * ((~one).sum() + 2)
    )
    sums = sums_by_hand(model, texts)
    scaled = np.hstack([ngrams * ratio, sums * np.sqrt(_VECTOR_SQUARE)])
    # A softmax over two classes, whose ratios are opposite, is a sigmoid with twice the variance.
    reference = LogisticRegression(C=4.0, tol=1e-10, max_iter=10_000).fit(scaled, labels)
    with torch.no_grad():
        found = model(batch.input_ids, batch.lengths).softmax(dim=1)
    np.testing.assert_allclose(found, reference.predict_proba(scaled), atol=2e-3)


@pytest.mark.parametrize("words", [None, [""] * 4 + [f"word{i}" for i in range(36)]])
def test_weights_are_in_order(words):
    """Weights of n-grams, of the spelling of tokens and of vectors follow each other."""
    model = fitted(words=words)
    assert len(model.weight) == model.num_features
    assert model.num_features == model.num_ngrams + 40 * (words is not None) + 3
    assert len(model.idf) == model.num_features - 3 + 40
    assert model.weight[-3:].all()


def test_an_unseen_token_has_the_meaning_of_its_neighbours():
    """A token that no training text has is classified by its vector."""
    vectors = torch.zeros(40, 2)
    vectors[[6, 20]], vectors[[8, 21]] = torch.tensor([1.0, 0.1]), torch.tensor([-1.0, 0.1])
    model = fitted([[2, 6, 3], [2, 8, 3]] * 5, [0, 1] * 5, vectors=vectors)
    probe = padded([[2, 20, 3], [2, 21, 3], [2, 22, 3]])
    found = model(probe.input_ids).softmax(1)[:, 0].tolist()
    assert found[0] > 0.6
    assert found[1] < 0.4
    assert found[2] == pytest.approx(0.5, abs=0.05)


def test_a_text_without_vectors_gives_the_bias():
    """Tokens with zeros as vectors, and ids beyond the vocabulary, add nothing."""
    model = fitted(max_ngrams=1)
    model.keys.fill_(39)
    assert torch.equal(model(torch.tensor([[2, 3, 41, 10**6]]))[0], model.bias)
    assert model.vector_sums(torch.tensor([[41, 50]])).tolist() == [[0, 0, 0]]
    plain = NgramClassifier(40, num_classes=2, num_ngrams=3)
    assert plain.vector_sums(torch.tensor([[5]])).shape == (1, 0)


def test_continuing_keeps_the_vectors():
    """Vectors and their weights stay; the weights of the sums are fitted anew."""
    before = fitted()
    batch = padded([[2, 9, 3], [2, 6, 3]], [0, 1])
    after = fit_ngrams([batch], vocab_size=40, num_classes=2, previous=before)
    assert torch.equal(after.vectors, VECTORS)
    assert torch.equal(after.idf, before.idf)
    assert not torch.equal(after.weight[-3:], before.weight[-3:])


@pytest.mark.usefixtures("exact")
def test_a_path_is_the_same_as_its_parts():
    """Each classifier of a path equals the one fitted with its prior variance alone."""
    batch = padded(*random_texts(seed=3))
    arguments = {"vocab_size": 40, "num_classes": 3, "vectors": VECTORS}
    path = ngram_path([batch], prior_variances=(1.0, 30.0), **arguments)
    for model, variance in zip(path, (1.0, 30.0), strict=True):
        alone = fit_ngrams([batch], prior_variance=variance, **arguments)
        logits = [each(batch.input_ids, batch.lengths) for each in (model, alone)]
        assert torch.allclose(*logits, atol=2e-2)


def test_a_blend_has_its_vectors_once():
    """The vectors of n-grams are the embedding, which stays so on another device or type."""
    network = RecurrentClassifier(40, num_classes=2, hidden_size=4, embedding_size=3)
    blended = BlendedClassifier(network, fitted())
    assert blended.ngrams.vectors is network.embedding.weight
    assert blended.double().ngrams.vectors is blended.recurrent.embedding.weight
    other = RecurrentClassifier(40, num_classes=2, hidden_size=4)
    with pytest.raises(InvalidValueError, match=r"`ngrams\.vector_size` to be 0 or .* 4, but got"):
        BlendedClassifier(other, fitted())


@pytest.mark.parametrize(
    ("vectors", "error", "got"),
    [
        (VECTORS.numpy(), InvalidTypeError, "got"),
        (VECTORS.long(), InvalidTypeError, "got"),
        (VECTORS[:39], InvalidValueError, r"got \(39, 3\)"),
        (VECTORS[:, :0], InvalidValueError, r"got \(40, 0\)"),
        (VECTORS[0], InvalidValueError, r"got \(3,\)"),
        (VECTORS / VECTORS.new_zeros(1), InvalidValueError, "got nan"),
    ],
)
def test_wrong_vectors_are_named(vectors, error, got):
    """Vectors are finite floats, one row for each token."""
    rule = f"`vectors` to be a vector of finite numbers for each of 40 token ids, but {got}"
    with pytest.raises(error, match=rule):
        fitted(vectors=vectors)
    with pytest.raises(InvalidValueError, match="`vector_size` to be a non-negative integer"):
        NgramClassifier(40, num_classes=2, num_ngrams=3, vector_size=-1)
