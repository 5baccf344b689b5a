"""Words outside the vocabulary, which a classifier knows by their spelling alone."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textrnn import TextClassifier, runtime

BAD = ["an awful film", "so dull", "awful and dull acting", "a dull plot", "this is awful"]
GOOD = ["a bright film", "so joyful", "bright and joyful acting", "a joyful plot", "this is bright"]
TEXTS, LABELS = (BAD + GOOD) * 6, (["bad"] * 5 + ["good"] * 5) * 6
KNOWN = sorted({word for text in TEXTS for word in text.split()})
NEW = ["awfully", "dullness", "brightly", "joyfulness", "xyzzy", "\U0001f600", "<unk>"]
HELD_OUT = ["awfully brightly"] * 2
SMALL = {"hidden_size": 4, "embedding_size": 4, "epochs": 2, "device": "cpu", "progress": False}
COLUMNS = st.lists(st.lists(st.sampled_from([*KNOWN, *NEW]), max_size=8).map(" ".join), max_size=20)


@pytest.fixture(scope="module", name="fitted")
def _fitted():
    return TextClassifier(**SMALL).fit(TEXTS, LABELS, eval_set=(HELD_OUT, ["bad", "good"]))


@pytest.fixture(scope="module", name="folders")
def _folders(fitted, tmp_path_factory):
    """Return folders of the classifier with weights of every precision."""
    folder = tmp_path_factory.mktemp("models")
    for weights in ("fp32", "fp16", "int8"):
        fitted.save(folder / weights, weights=weights)
    return folder


def margins(classifier, texts):
    """Return how much more each text is "good" than the words that no one knows."""
    return classifier.decision_function(texts) - classifier.decision_function(["xyzzy"])


def test_unknown_words_speak_for_the_label_of_their_stem(fitted):
    """Derived words get the label of words that they begin with; others change nothing."""
    assert not set(NEW) & set(fitted.vocabulary_.tokens[4:])
    assert fitted.predict(["awfully", "dullness", "brightly", "joyfulness"]).tolist() == [
        "bad", "bad", "good", "good",
    ]  # fmt: skip
    assert (np.abs(margins(fitted, ["awfully", "dullness", "brightly", "joyfulness"])) > 0.1).all()
    assert margins(fitted, ["qqqqq", "\U0001f600"]) == pytest.approx(0, abs=1e-6)
    blind = TextClassifier(**SMALL, spelling=False).fit(TEXTS, LABELS)
    assert margins(blind, NEW[:-1]) == pytest.approx(0, abs=1e-6)


@given(texts=COLUMNS)
def test_the_runtime_has_the_same_weights(fitted, folders, texts):
    """Many texts in PyTorch, few in NumPy and a saved folder give the same probabilities."""
    found = fitted.predict_proba(texts)
    for start in range(0, len(texts), 16):
        few = fitted.predict_proba(texts[start : start + 16])
        np.testing.assert_allclose(few, found[start : start + 16], atol=1e-6)
    small = runtime.load(folders / "fp32")
    np.testing.assert_allclose(small.predict_proba(texts), found, atol=1e-6)
    loaded = TextClassifier.load(folders / "fp32", device="cpu")
    assert np.array_equal(loaded.predict_proba(texts), found)


@pytest.mark.parametrize("weights", ["fp16", "int8"])
def test_weights_of_lower_precision_have_them_too(fitted, folders, weights):
    """Unknown words keep their weights up to rounding, and the card counts what changed."""
    small = runtime.load(folders / weights)
    texts = [f"{one} {other}" for one in NEW for other in NEW]
    np.testing.assert_allclose(small.predict_proba(texts), fitted.predict_proba(texts), atol=5e-3)
    shift = np.abs(fitted.predict_proba(HELD_OUT) - small.predict_proba(HELD_OUT)).max()
    card = (folders / weights / "README.md").read_text()
    assert "0 of 2 predictions on the validation texts changed, and no probability by" in card
    stated = float(card.partition("no probability by more than ")[2].partition(".\n")[0])
    assert stated == pytest.approx(shift, abs=1e-6, rel=0.1)


@given(texts=st.lists(st.lists(st.sampled_from(KNOWN), max_size=8).map(" ".join), max_size=20))
def test_known_words_have_the_weights_that_they_had(fitted, texts):
    """Predictions for texts of known words need no character n-grams."""
    ngrams = fitted.network_.ngrams
    before, kept = fitted.predict_proba(texts), ngrams.char_weight.clone()
    try:
        ngrams.char_weight.zero_()
        assert np.array_equal(fitted.predict_proba(texts), before)
    finally:
        ngrams.char_weight.copy_(kept)


@given(texts=COLUMNS)
def test_explanations_are_complete(fitted, texts):
    """The weights of all words, unknown ones included, add up to the logit of the n-grams."""
    classifier = TextClassifier(**SMALL)
    classifier._fitted = fitted._fitted
    with torch.no_grad():
        kept = fitted.network_.scales.clone()
        fitted.network_.scales.copy_(torch.tensor([0.0, 1.5]))
        logits = fitted.decision_function(texts)
        explanations = fitted.explain(texts, "good")
        fitted.network_.scales.copy_(kept)
    for explanation, logit in zip(explanations, logits, strict=True):
        assert abs(explanation.residual) < 1e-5
        assert explanation.logit == pytest.approx(logit / 2, abs=1e-4)
        weights = dict(zip(explanation.words, explanation.weights, strict=True))
        assert weights.get("awfully", -1) < 0 < weights.get("brightly", 1)
        assert weights.get("xyzzy", 0) == 0


def test_rare_words_count_by_their_spelling():
    """Words below the minimum frequency teach the weights of others with their stem."""
    stems = [("grim", "bad"), ("glad", "good")]
    ends = ["ly", "ness", "der", "dest", "mer", "dish", "ming", "some", "ful", "less"]
    texts = [f"it is {stem}{end}" for end in ends for stem, _ in stems]
    labels = [label for _ in ends for _, label in stems]
    classifier = TextClassifier(**SMALL, min_freq=2).fit(texts, labels)
    assert set(classifier.vocabulary_.tokens[4:]) == {"it", "is"}
    assert classifier.predict(["grim", "glad", "gladden"]).tolist() == ["bad", "good", "good"]


def test_copies_keep_the_unknown_words_of_the_validation_part(fitted, tmp_path):
    """A copy writes the same card."""
    copy = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - ours
    cards = []
    for name, each in ("own", fitted), ("copy", copy):
        each.save(tmp_path / name, weights="fp16")
        cards.append((tmp_path / name / "README.md").read_text())
    assert cards[0] == cards[1]


def test_training_goes_on_with_the_same_character_ngrams():
    """Continued training changes the weights of unknown words as those of known ones."""
    classifier = TextClassifier(**SMALL, warm_start=True).fit(TEXTS, LABELS)
    before = classifier.network_.ngrams
    texts = ["awful plot", "dull film", "bright plot", "so joyful"]
    classifier.fit(texts * 8, ["good", "good", "bad", "bad"] * 8)
    after = classifier.network_.ngrams
    assert torch.equal(before.char_keys, after.char_keys)
    change = (after.spell(NEW) - before.spell(NEW))[:, 2]  # of "good"
    assert (change[:2] > 0).all()
    assert (change[2:4] < 0).all()
