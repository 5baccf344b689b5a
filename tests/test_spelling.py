"""Character n-grams of words, and the weights of words that follow from them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from tests import strategies
from textrnn.data import Batch
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.ngrams import NgramClassifier, fit_ngrams, ngram_path
from textrnn.ngrams.solver import SparseMatrix
from textrnn.ngrams.spelling import Spelling
from textrnn.text.spelling import char_keys

# Ids 0 to 3 are special, and 11 to 14 occur in no text.
WORDS = ["", "", "", "", "keeper", "goal", "goals", "keeps", "stock", "market", "oil"]
WORDS += ["keepers", "stocks", "oily", "zzz"]
TEXTS = [[2, 4, 5, 3], [2, 7, 6, 6, 3], [2, 8, 10, 3], [2, 9, 8, 3], [2, 10, 10, 9, 3]] * 4
LABELS = [0, 0, 1, 1, 1] * 4


def padded(texts, labels=None):
    """Return a padded batch of lists of ids."""
    lengths = torch.tensor([len(text) for text in texts])
    ids = torch.zeros(len(texts), int(lengths.max()), dtype=torch.int64)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    labels = None if labels is None else torch.as_tensor(labels)
    return Batch(input_ids=ids, lengths=lengths, labels=labels)


def fitted(**others):
    """Return a classifier fitted with spelling."""
    arguments = {"vocab_size": len(WORDS), "num_classes": 2, "words": WORDS} | others
    return fit_ngrams([padded(TEXTS, LABELS)], **arguments)


def dense(model, texts):
    """Return the features of texts as a dense matrix `(texts, features)`."""
    batch = padded(texts)
    places, values = model.features(batch.input_ids, batch.lengths)
    return torch.zeros(len(texts), model.num_features).scatter_add_(1, places, values).numpy()


def keys_of(word):
    """Return the different keys of a word."""
    return set(char_keys([word])[0].tolist())


@given(
    words=st.lists(st.text("abd0_\u00e4\U00010348", min_size=3, max_size=9), min_size=2, max_size=2)
)
def test_character_ngrams_are_those_of_scikit_learn(words):
    """Words share as many as there: of 3 to 5 characters, with a mark at each end of the word."""
    analyze = CountVectorizer(analyzer="char_wb", ngram_range=(3, 5), lowercase=False)
    one, other = (set(analyze.build_analyzer()(word)) for word in words)
    ours, theirs = map(keys_of, words)
    assert (len(ours), len(theirs)) == (len(one), len(other))
    assert len(ours & theirs) == len(one & other)


@given(words=st.lists(st.text("ab\0\ud800", max_size=6), max_size=6))
def test_the_keys_of_a_word_do_not_depend_on_others(words):
    """Each word has the keys that it has alone; all are numbers from 0 on."""
    keys, owners = char_keys(words)
    assert keys.dtype == owners.dtype == np.int64
    assert (keys >= 0).all()
    for row, word in enumerate(words):
        assert set(keys[owners == row].tolist()) == keys_of(word)


def test_keys_of_frequent_words_are_different():
    """A hash of 63 bits distinguishes all character n-grams of ten thousand words."""
    words = [f"{stem}{number:x}" for stem in ("un", "re", "over") for number in range(4000)]
    marked = [f"<{word}>" for word in words]
    parts = {w[i : i + n] for w in marked for n in (3, 4, 5) for i in range(len(w) - n + 1)}
    assert len(np.unique(char_keys(words)[0])) == len(parts)


def test_short_words_have_few_character_ngrams():
    """A word of one character has one n-gram, and an empty word none."""
    assert len(keys_of("a")) == 1
    assert keys_of("") == set()
    assert keys_of("<a>") != keys_of("a")


def test_only_the_beginning_of_a_long_word_counts():
    """Only the first 100 characters of a word count."""
    assert keys_of("ab" * 10**6) == keys_of("ab" * 49 + "abab")


@given(data=st.data(), rows=st.integers(1, 5), columns=st.integers(1, 5))
def test_a_sparse_matrix_multiplies_as_a_dense_one(data, rows, columns):
    """Products from both sides agree, also with empty rows and with entries taken as 1."""
    cells = st.sampled_from([0.0, 0.0, 0.5, -2.0])
    full = torch.tensor(
        data.draw(st.lists(st.lists(cells, min_size=columns, max_size=columns), min_size=rows,
                           max_size=rows))
    )  # fmt: skip
    held = full != 0
    matrix = SparseMatrix.of(
        held.nonzero()[:, 1].int(), full[held], held.sum(dim=1), num_columns=columns
    )
    right, left = torch.randn(columns, 3), torch.randn(rows, 2)
    assert torch.allclose(matrix.times(right), full @ right, atol=1e-6)
    assert torch.allclose(matrix.transposed_times(left), full.T @ left, atol=1e-6)
    ones = matrix.transposed_times(left, binary=True)
    assert torch.allclose(ones, held.float().T @ left, atol=1e-6)


def test_character_ngrams_are_weighted_by_document_frequency():
    """Character n-grams have their inverse document frequency; rows are scaled to norm 1."""
    words, texts_with = ["oil", "oily", "", "zzz"], torch.tensor([3, 1, 5, 1])
    spelling = Spelling.most_frequent(words, texts_with, texts=4, max_ngrams=100)
    rare, common = (np.log(5 / (1 + times)) + 1 for times in (3, 4))
    # "zzz" shares no n-gram with another word, and occurs in one text only.
    own = {"oil": ["il>", "oil>", "<oil>"], "oily": []}  # which also occurs in one text only
    shared = ["<oi", "oil", "<oil"]
    for row, (word, more) in enumerate(own.items()):
        expected = np.sqrt(len(shared) * common**2 + len(more) * rare**2)
        assert spelling.norms[row].item() == pytest.approx(expected, rel=1e-5), word
    assert spelling.norms[2:].tolist() == [0, 0]
    assert spelling.num_char_ngrams == 6
    unit = spelling.matrix.times(torch.eye(6)).norm(dim=1)
    assert unit.tolist() == pytest.approx([1, 1, 0, 0])


def test_the_character_ngrams_of_most_texts_are_kept():
    """At most `max_ngrams` are kept, those of most texts."""
    texts_with = torch.tensor([3, 1])
    spelling = Spelling.most_frequent(["oil", "oily"], texts_with, texts=4, max_ngrams=3)
    assert spelling.num_char_ngrams == 3
    assert spelling.matrix.row_starts.tolist() == [0, 3]
    assert spelling.norms[0] == spelling.norms[1]


def test_features_are_two_descriptions_of_the_same_length():
    """N-grams and spelled words are two parts of the same norm."""
    model = fitted()
    plain = dense(fitted(words=None), TEXTS)
    found = dense(model, TEXTS)
    np.testing.assert_allclose(found[:, : model.num_ngrams], plain / np.sqrt(2), atol=1e-6)
    counts = np.array([[text.count(i) for i in range(len(WORDS))] for text in TEXTS])
    expected = np.where(counts, 1 + np.log(np.maximum(counts, 1)), 0)
    expected = expected * model.idf[model.num_ngrams :].numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True) * np.sqrt(2)
    np.testing.assert_allclose(found[:, model.num_ngrams :], expected, atol=1e-6)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)


def test_weights_are_those_of_scikit_learn():
    """Weights equal a logistic regression with character n-grams as further features."""
    model = fitted(prior_variance=2.0)
    features, labels = dense(model, TEXTS), np.array(LABELS)
    counts = torch.tensor([sum(i in text for text in TEXTS) for i in range(len(WORDS))])
    spelling = Spelling.most_frequent(WORDS, counts, texts=len(TEXTS), max_ngrams=10**6)
    letters = spelling.matrix.times(torch.eye(spelling.num_char_ngrams)).numpy()
    ngrams, tokens = np.split(features, [model.num_ngrams], axis=1)

    def ratio(held):
        ours, theirs = held[labels == 1].sum(0), held[labels == 0].sum(0)
        return np.log((ours + 1) / (sum(labels == 1) + 2) / (theirs + 1) * (sum(labels == 0) + 2))

    scaled = np.hstack(
        [
            ngrams * ratio(ngrams > 0),
            tokens @ letters * ratio((tokens > 0).astype(float) @ (letters > 0)),
        ]
    )
    # A softmax over two classes, whose ratios are opposite, is a sigmoid with twice the variance.
    reference = LogisticRegression(C=4.0, tol=1e-10, max_iter=10_000).fit(scaled, labels)
    with torch.no_grad():
        batch = padded(TEXTS)
        found = model(batch.input_ids, batch.lengths).softmax(dim=1)
    np.testing.assert_allclose(found, reference.predict_proba(scaled), atol=2e-3)


def assert_spelled_alike(model):
    """Check that known words have the norms and weights of unknown words of the same spelling."""
    spelled, tokens = model.spell(WORDS), slice(model.num_ngrams, None)
    torch.testing.assert_close(spelled[:, 0], model.idf[tokens])
    torch.testing.assert_close(spelled[:, 1:], model.weight[tokens].detach(), rtol=1e-5, atol=1e-6)


def test_an_unknown_word_has_the_weight_that_a_known_one_would_have():
    """Norm and weights of a word follow from its spelling, in the vocabulary or not."""
    model = fitted()
    assert_spelled_alike(model)
    assert not model.spell(["xyz", ""]).any()
    assert model.spell([]).shape == (0, 3)
    assert not fitted(words=None).spell(["keeper"]).any()


@given(texts=strategies.ragged_ids(vocab_size=len(WORDS)))
def test_logits_are_those_of_a_vocabulary_with_the_word(texts):
    """Values and norms of a text are the same, whether the vocabulary has a word or not."""
    model, batch = fitted(), padded(texts)
    others = torch.tensor([11, 12, 13])  # in no training text
    unknown = torch.isin(batch.input_ids, others)
    ids = batch.input_ids.masked_fill(unknown, 1)
    rows = batch.input_ids.masked_fill(~unknown, -1)
    spelled = (rows, model.spell(WORDS))
    ours = model(ids, batch.lengths, spelled)
    torch.testing.assert_close(ours, model(batch.input_ids, batch.lengths), rtol=1e-5, atol=1e-5)
    none = (torch.full_like(rows, -1), model.spell(WORDS))
    assert torch.equal(model(ids, batch.lengths, none), model(ids, batch.lengths))
    norms = model.features(ids, batch.lengths, spelled)[1].norm(dim=1)
    assert ((norms - 1).abs() < 1e-5)[norms > 0].all()


def with_unknown(batch, others):
    """Return a batch in which some ids are unknown words, numbered in their order."""
    rows = torch.full_like(batch.input_ids, -1)
    for number, each in enumerate(others):
        rows[batch.input_ids == each] = number
    return replace(batch, input_ids=batch.input_ids.masked_fill(rows >= 0, 1), unknown=rows)


@pytest.mark.parametrize("weights", [None, [2.0, 0.0, 1.0, 1.0, 3.0] * 4])
def test_training_reads_the_spelling_of_unknown_words(weights):
    """An unknown word of training texts counts as if the vocabulary had it."""
    batch = padded(TEXTS, LABELS)
    if weights is not None:
        batch = replace(batch, weights=torch.tensor(weights))
    arguments = {"vocab_size": len(WORDS), "num_classes": 2}
    words = [*WORDS[:10], "", *WORDS[11:]]
    ours = fit_ngrams([with_unknown(batch, [10])], words=[*words, "oil"], **arguments)
    known = fit_ngrams([batch], words=WORDS, **arguments)
    for name in ("char_keys", "char_idf"):
        torch.testing.assert_close(getattr(ours, name), getattr(known, name))
    torch.testing.assert_close(ours.char_weight, known.char_weight, rtol=0, atol=2e-3)
    more = with_unknown(padded([[2, 10, 3], [2, 4, 3]] * 4, [0, 1] * 4), [10])
    after = fit_ngrams([more], words=[*words, "oil"], previous=ours, **arguments)
    change = (after.spell(["oil"]) - ours.spell(["oil"]))[0]
    assert change[0] == 0
    assert change[1] > 0.05


def test_numbers_of_unknown_words_must_have_a_word():
    """A number without a word is an error, unless spelling is ignored."""
    batch = with_unknown(padded(TEXTS, LABELS), [9, 10])
    arguments = {"vocab_size": len(WORDS), "num_classes": 2}
    message = "`unknown` to be numbers below 1, but got 1"
    with pytest.raises(InvalidValueError, match=message):
        fit_ngrams([batch], words=[*WORDS, "oil"], **arguments)
    with pytest.raises(InvalidValueError, match=message):
        fit_ngrams([batch], words=[*WORDS, "oil"], previous=fitted(), **arguments)
    assert fit_ngrams([batch], **arguments).num_char_ngrams == 0
    with pytest.raises(InvalidValueError, match="`unknown` to be of the shape of `input_ids`"):
        replace(batch, unknown=batch.unknown[:, 1:])


def test_a_word_without_texts_has_the_weight_of_its_stem():
    """Words without texts get weights through spelling, and none without it."""
    probe = padded([[11], [12], [13]])  # keepers, stocks, oily
    assert fitted()(probe.input_ids).argmax(dim=1).tolist() == [0, 1, 1]
    blind = fitted(words=None)
    assert torch.equal(blind(probe.input_ids), blind.bias.expand(3, 2))


@given(texts=strategies.ragged_ids(vocab_size=len(WORDS)))
@example(texts=[[1, 1, 1, 1, 1, 1], [2, 4, 3, 8]])  # a norm in fp32 depends on the padding
def test_a_prediction_never_depends_on_its_batch(texts):
    """Logits are bitwise independent of other texts and padding."""
    model = fitted()
    together = model(padded(texts).input_ids, padded(texts).lengths)
    alone = torch.cat([model(padded([text]).input_ids) for text in texts])
    assert torch.equal(together, alone)


def test_unknown_tokens_give_the_bias():
    """Special tokens, unknown spellings and ids after the last word give the bias."""
    model = fitted()
    assert torch.equal(model(torch.tensor([[14, len(WORDS), 10**6]]))[0], model.bias)


def test_words_that_share_no_character_ngrams_change_nothing():
    """If words share no character n-grams, logits are those of n-grams alone."""
    words = [""] * 4 + list("abcdefg") + [""] * 4
    batch = padded([[2, 4, 3], [2, 5, 3]], [0, 1])
    model = fit_ngrams([batch], vocab_size=len(words), num_classes=2, words=words)
    assert model.num_char_ngrams == 0
    plain = fit_ngrams([batch], vocab_size=len(words), num_classes=2)
    assert torch.equal(model(batch.input_ids), plain(batch.input_ids))


def test_continuing_fits_spelling_only_with_words():
    """Continuing fits weights of spelling only if `words` are given and the model has them."""
    before, batch = fitted(), padded([[2, 13, 3], [2, 11, 3]] * 4, [0, 1] * 4)
    arguments = {"vocab_size": len(WORDS), "num_classes": 2, "previous": before}
    with_words = fit_ngrams([batch], words=WORDS, **arguments)
    without = fit_ngrams([batch], **arguments)
    tokens = slice(before.num_ngrams, None)
    for name in ("keys", "idf", "char_keys", "char_idf"):
        assert torch.equal(getattr(with_words, name), getattr(before, name))
    assert torch.equal(without.weight[tokens], before.weight[tokens])
    assert torch.equal(without.char_weight, before.char_weight)
    assert not torch.equal(with_words.weight[tokens], before.weight[tokens])
    assert_spelled_alike(with_words)
    blind = fit_ngrams([batch], words=WORDS, **arguments | {"previous": fitted(words=None)})
    assert blind.num_char_ngrams == 0


def test_continuing_needs_texts():
    """There is nothing to continue with without texts."""
    with pytest.raises(InvalidValueError, match="`loader` to be at least one text"):
        fit_ngrams([], vocab_size=len(WORDS), num_classes=2, words=WORDS, previous=fitted())


def test_a_path_is_the_same_as_its_parts():
    """Each classifier of a path equals the one fitted with its prior variance alone."""
    batch = padded(TEXTS, LABELS)
    arguments = {"vocab_size": len(WORDS), "num_classes": 2, "words": WORDS}
    path = ngram_path([batch], prior_variances=(1.0, 30.0), **arguments)
    for model, variance in zip(path, (1.0, 30.0), strict=True):
        alone = fit_ngrams([batch], prior_variance=variance, **arguments)
        logits = [each(batch.input_ids, batch.lengths) for each in (model, alone)]
        assert torch.allclose(*logits, atol=2e-2)


def test_wrong_arguments_are_named():
    """The message names the wrong argument."""
    with pytest.raises(InvalidValueError, match="`words` to be one word for each of 15 token ids"):
        fitted(words=WORDS[1:])
    with pytest.raises(InvalidTypeError, match=r"`words\[3\]` to be a string, but got None"):
        fitted(words=[*WORDS[:3], None, *WORDS[4:]])
    with pytest.raises(InvalidValueError, match=r"`num_char_ngrams` to be .*, but got -1"):
        NgramClassifier(10, num_classes=2, num_ngrams=3, num_char_ngrams=-1)
    with pytest.raises(InvalidTypeError, match=r"`num_char_ngrams` to be .*, but got 1.5"):
        NgramClassifier(10, num_classes=2, num_ngrams=3, num_char_ngrams=1.5)
