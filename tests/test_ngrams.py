"""The n-gram classifier: its features, and the fit of its weights."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tests import strategies
from textrnn.data import Batch
from textrnn.errors import InvalidTypeError, InvalidValueError, MissingKeyError
from textrnn.ngrams import NgramClassifier, fit_ngrams, ngram_path
from textrnn.ngrams.model import longest_order, ngram_keys, unique_per_row

TEXTS = [[2, 5, 6, 3], [2, 5, 7, 3], [2, 8, 6, 9, 3], [2, 8, 7, 3]] * 5
LABELS = [0, 0, 1, 1] * 5


def padded(texts, labels=None, *, more=0):
    """Return a padded batch of lists of ids, with `more` columns of padding."""
    lengths = torch.tensor([len(text) for text in texts])
    ids = torch.zeros(len(texts), int(lengths.max()) + more, dtype=torch.int64)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    labels = None if labels is None else torch.as_tensor(labels)
    return Batch(input_ids=ids, lengths=lengths, labels=labels)


def ngrams(text, max_order):
    """List the n-grams of a text, one by one."""
    return [
        tuple(text[start : start + order])
        for order in range(1, max_order + 1)
        for start in range(len(text) - order + 1)
    ]


def random_texts(seed=0, texts=60, classes=3):
    """Return random texts of ids and labels that correlate with them."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, texts)
    return [
        [2, *(generator.integers(4, 16, generator.integers(3, 12)) + 3 * label), 3]
        for label in labels
    ], labels


@given(texts=strategies.ragged_ids(), max_order=st.integers(1, 4), more=st.integers(0, 3))
def test_keys_are_the_ngrams_of_each_text(texts, max_order, more):
    """Each n-gram of real tokens has a unique key, and padding has none."""
    batch = padded(texts, more=more)
    keys = ngram_keys(batch.input_ids, batch.lengths, vocab_size=12, max_order=max_order)
    names = {}
    for row, text in zip(keys.tolist(), texts, strict=True):
        found = [key for key in row if key >= 0]
        grams = ngrams(text, max_order)
        assert len(found) == len(grams)
        for key, gram in zip(found, grams, strict=True):
            assert names.setdefault(key, gram) == gram
    assert len(set(names.values())) == len(names)


@given(rows=st.lists(st.lists(st.integers(-1, 4), min_size=5, max_size=5), min_size=1, max_size=4))
def test_unique_values_are_counted_in_each_row(rows):
    """Each value of a row is returned once, with its count."""
    values, counts = unique_per_row(torch.tensor(rows))
    for row, value, count in zip(rows, values.tolist(), counts.tolist(), strict=True):
        found = {v: c for v, c in zip(value, count, strict=True) if c}
        assert found == Counter(row)
        assert [v for v, c in zip(value, count, strict=True) if c] == sorted(found)


@given(texts=strategies.ragged_ids(), more=st.integers(1, 5))
def test_a_prediction_never_depends_on_its_batch(texts, more):
    """Logits are bitwise independent of other texts and padding."""
    model = fit_ngrams([padded(TEXTS, LABELS)], vocab_size=12, num_classes=2)
    together = model(padded(texts, more=more).input_ids, padded(texts).lengths)
    alone = torch.cat([model(padded([text]).input_ids) for text in texts])
    assert torch.equal(together, alone)


def test_features_are_those_of_scikit_learn():
    """Features equal scikit-learn's TF-IDF with sublinear counts, of words and pairs."""
    texts, labels = random_texts()
    batch = padded(texts, labels)
    model = fit_ngrams([batch], vocab_size=40, num_classes=3)
    vectorizer = TfidfVectorizer(
        analyzer=lambda text: ngrams(list(map(int, text)), 2), sublinear_tf=True
    )
    expected = vectorizer.fit_transform(texts).toarray()
    places, values = model.features(batch.input_ids, batch.lengths)
    found = torch.zeros(len(texts), model.num_ngrams).scatter_add_(1, places, values)
    key_of = {gram: math.fsum(t * 40**i for i, t in enumerate(reversed(gram))) for gram in
              vectorizer.vocabulary_}  # fmt: skip
    columns = [vectorizer.vocabulary_[gram] for gram in sorted(key_of, key=key_of.get)]
    assert sorted(key_of.values()) == model.keys.tolist()
    np.testing.assert_allclose(found, expected[:, columns], atol=1e-6)


def test_weights_are_those_of_scikit_learn():
    """The fit is a logistic regression on features scaled by log-count ratios."""
    texts, labels = random_texts(seed=1, classes=2)
    batch = padded(texts, labels)
    model = fit_ngrams([batch], vocab_size=40, num_classes=2, prior_variance=2.0)
    places, values = model.features(batch.input_ids, batch.lengths)
    features = torch.zeros(len(texts), model.num_ngrams).scatter_add_(1, places, values).numpy()
    held, one = features > 0, labels == 1
    ours, theirs = (
        (held[one].sum(0) + 1) / (one.sum() + 2),
        (held[~one].sum(0) + 1) / ((~one).sum() + 2),
    )
    ratio = np.log(ours / theirs)
    # A softmax over two classes, whose ratios are opposite, is a sigmoid with twice the variance.
    reference = LogisticRegression(C=4.0, tol=1e-10, max_iter=10_000)
    reference.fit(features * ratio, labels)
    expected = reference.predict_proba(features * ratio)
    with torch.no_grad():
        found = model(batch.input_ids, batch.lengths).softmax(dim=1)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_the_gradient_vanishes_at_the_solution():
    """The gradient of the bias is zero, for single and multiple labels."""
    texts, labels = random_texts(seed=2)
    multi = torch.nn.functional.one_hot(torch.tensor(labels), 3).float()
    multi[::4] = 1.0
    for targets in (torch.tensor(labels), multi):
        batch = padded(texts, targets)
        model = fit_ngrams([batch], vocab_size=40, num_classes=3, prior_variance=1e9)
        loss_of = (
            torch.nn.functional.binary_cross_entropy_with_logits
            if targets.is_floating_point()
            else torch.nn.functional.cross_entropy
        )
        loss = loss_of(model(batch.input_ids, batch.lengths), targets)
        (gradient,) = torch.autograd.grad(loss, model.bias)
        assert gradient.abs().max() < 1e-4


def test_the_most_frequent_ngrams_are_kept():
    """The choice among equally frequent n-grams is deterministic."""
    model = fit_ngrams([padded(TEXTS, LABELS)], vocab_size=12, num_classes=2, max_ngrams=3)
    assert model.keys.tolist() == [
        2,
        3,
        5,
    ]  # 2 and 3 are in all texts, 5 is the first of those in half of them


def test_batching_makes_no_difference(monkeypatch):
    """Counting by smaller batches and merges gives the same classifier."""
    whole = fit_ngrams([padded(TEXTS, LABELS)], vocab_size=12, num_classes=2)
    monkeypatch.setattr("textrnn.ngrams.fitting._MERGE_SIZE", 1)
    parts = [padded(TEXTS[i : i + 3], LABELS[i : i + 3]) for i in range(0, len(TEXTS), 3)]
    cut = fit_ngrams(parts, vocab_size=12, num_classes=2)
    assert torch.equal(cut.keys, whole.keys)
    assert torch.equal(cut.idf, whole.idf)
    assert torch.allclose(cut.weight, whole.weight, atol=1e-4)


def test_balanced_weights_raise_the_rare_class():
    """Balanced class weights are inverse to the frequency of the classes."""
    texts, labels = TEXTS + TEXTS[:2] * 20, LABELS + [0] * 40
    batch, doubtful = padded(texts, labels), padded([[2, 10, 3]])
    plain = fit_ngrams([batch], vocab_size=12, num_classes=2)
    fair = fit_ngrams([batch], vocab_size=12, num_classes=2, class_weights="balanced")
    by_hand = fit_ngrams([batch], vocab_size=12, num_classes=2, class_weights=[0.6, 3.0])
    rare = [model(doubtful.input_ids).softmax(1)[0, 1].item() for model in (plain, fair, by_hand)]
    assert rare[0] < rare[1]
    assert rare[1] == pytest.approx(rare[2], abs=1e-3)


def test_continuing_keeps_ngrams_and_predictions():
    """Continuing from a classifier keeps its n-grams and most of its predictions."""
    before = fit_ngrams([padded(TEXTS, LABELS)], vocab_size=12, num_classes=2)
    after = fit_ngrams(
        [padded([[2, 9, 3], [2, 6, 3]], [0, 1])], vocab_size=12, num_classes=2, previous=before
    )
    assert torch.equal(after.keys, before.keys)
    found = after(padded(TEXTS).input_ids).argmax(1)
    assert found.tolist() == LABELS
    assert not torch.equal(after.weight, before.weight)


def test_a_path_is_the_same_as_its_parts():
    """Each classifier of a path equals the one fitted with its prior variance alone."""
    texts, labels = random_texts(seed=3)
    batch = padded(texts, labels)
    path = list(ngram_path([batch], vocab_size=40, num_classes=3, prior_variances=(1.0, 30.0)))
    for model, variance in zip(path, (1.0, 30.0), strict=True):
        alone = fit_ngrams([batch], vocab_size=40, num_classes=3, prior_variance=variance)
        logits = [each(batch.input_ids, batch.lengths) for each in (model, alone)]
        assert torch.allclose(*logits, atol=2e-2)
    assert path[0].weight.norm() < path[1].weight.norm()
    assert path[0].keys is path[1].keys


def test_a_text_without_known_ngrams_gives_the_bias():
    """The logits of a text without known n-grams are the bias."""
    model = fit_ngrams([padded(TEXTS, LABELS)], vocab_size=20, num_classes=2, max_ngrams=5)
    assert torch.equal(model(torch.tensor([[15, 16]]))[0], model.bias)


@pytest.mark.parametrize("chars", [0, 5])
def test_a_configuration_makes_the_same_classifier(chars):
    """`from_config` restores all arguments, and refuses other keys."""
    model = NgramClassifier(
        100, num_classes=3, num_ngrams=7, max_order=3, padding_id=1, num_char_ngrams=chars
    )
    assert len(model.weight) == len(model.idf) == model.num_features == 7 + 100 * bool(chars)
    assert NgramClassifier.from_config(model.config).config == model.config
    assert "num_ngrams=7" in repr(model)
    with pytest.raises(MissingKeyError, match=r"`config` to have the keys 'max_order'.*got"):
        NgramClassifier.from_config({"vocab_size": 3})
    with pytest.raises(InvalidTypeError, match="`config` to be a mapping"):
        NgramClassifier.from_config([])


@pytest.mark.parametrize("vocab_size", [1, 2, 100, 99_999, 2**21 - 1, 2**21, 2**31, 2**32])
def test_the_longest_ngrams_just_fit_64_bits(vocab_size):
    """Keys of n-grams of one more token would not fit into 64 bits."""
    order = longest_order(vocab_size)
    assert NgramClassifier(vocab_size, num_classes=2, num_ngrams=1, max_order=order)
    with pytest.raises(InvalidValueError, match="`max_order` to be so small"):
        NgramClassifier(vocab_size, num_classes=2, num_ngrams=1, max_order=order + 1)


@pytest.mark.parametrize("max_order", [8, 63, 64, 10**9])
def test_keys_must_fit_64_bits(max_order):
    """A `max_order` whose keys would overflow is an error."""
    with pytest.raises(InvalidValueError, match=r"`max_order` to be so small that 1000 \*\* max"):
        NgramClassifier(1000, num_classes=2, num_ngrams=1, max_order=max_order)
    assert NgramClassifier(1000, num_classes=2, num_ngrams=1, max_order=6).max_order == 6


def test_wrong_arguments_are_named():
    """The message names the wrong argument."""
    batch = padded(TEXTS, LABELS)
    with pytest.raises(InvalidValueError, match=r"`prior_variance` to be .*, but got 0"):
        fit_ngrams([batch], vocab_size=12, num_classes=2, prior_variance=0)
    with pytest.raises(InvalidValueError, match="`loader` to be at least one text"):
        fit_ngrams([], vocab_size=12, num_classes=2)
    with pytest.raises(InvalidValueError, match="`max_ngrams` to be"):
        fit_ngrams([batch], vocab_size=12, num_classes=2, max_ngrams=0)
    with pytest.raises(InvalidValueError, match="`labels` to be from 0 to 1, but text 0 has 2"):
        fit_ngrams([padded([[2, 3]], [2])], vocab_size=12, num_classes=2)
    with pytest.raises(InvalidValueError, match="labels"):
        fit_ngrams([padded(TEXTS)], vocab_size=12, num_classes=2)


def test_texts_that_tell_nothing_give_the_shares_of_the_classes():
    """Where all texts are equal, no n-gram has a weight."""
    model = fit_ngrams([padded([[5]] * 4, [0, 1, 1, 0])], vocab_size=20, num_classes=2)
    assert not model.weight.any()
    assert not model.bias.any()
