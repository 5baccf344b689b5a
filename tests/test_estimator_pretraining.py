"""Pretraining in `TextClassifier`, on texts with and without labels."""

import logging
import os
import re
import signal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from textrnn import TextClassifier
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.training import pretrain
from textrnn.training.distributed.processes import Processes

TEXTS = ["oil prices soar", "stocks and oil fall", "the striker scores", "a keeper saves goals"] * 8
LABELS = ["business", "business", "sports", "sports"] * 8
MORE = ["gas prices soar", "gas and oil fall", "the referee scores", "a referee saves goals"] * 4
SMALL = {
    "hidden_size": 8,
    "embedding_size": 8,
    "epochs": 3,
    "learning_rate": 0.02,
    "device": "cpu",
    "progress": False,
}


def small(**params):
    """Return a classifier that learns the toy texts in a moment."""
    return TextClassifier(**{**SMALL, **params})


def weights(classifier):
    """Return copies of all weights by name."""
    return {name: value.clone() for name, value in classifier.network_.state_dict().items()}


def same(first, second):
    """Tell whether two sets of weights have the same bits."""
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture(name="pretrained_on")
def _pretrained_on(monkeypatch):
    """Replace pretraining; return a list of the arguments of each call."""
    calls = []

    def note(network, corpus, **arguments):
        calls.append({"network": network, "corpus": corpus, **arguments})

    monkeypatch.setattr("textrnn.estimator.network.pretrain", note)
    return calls


def test_words_are_learned_from_texts_without_labels():
    """Words that no labelled text has are told apart by their context."""
    generator = np.random.default_rng(0)
    kinds = [[f"{kind}{number}" for number in range(12)] for kind in "ab"]

    def sentences(kind, number, words):
        return [" ".join(generator.choice(kinds[kind][words], 6)) for _ in range(number)]

    known, unknown = slice(0, 4), slice(4, 12)
    texts = [*sentences(0, 40, known), *sentences(1, 40, known)]
    unlabelled = [*sentences(0, 300, slice(0, 12)), *sentences(1, 300, slice(0, 12))]
    test = [*sentences(0, 50, unknown), *sentences(1, 50, unknown)]
    params = {"hidden_size": 16, "embedding_size": 16, "epochs": 8, "ngram_order": 0}
    labels = ["a"] * 40 + ["b"] * 40
    wanted = ["a"] * 50 + ["b"] * 50
    plain = small(**params).fit(texts, labels)
    pretrained = small(**params, pretrain_epochs=40).fit(texts, labels, unlabelled=unlabelled)
    assert plain.score(texts, labels) == pretrained.score(texts, labels) == 1.0
    assert plain.score(test, wanted) < 0.8
    assert pretrained.score(test, wanted) > 0.95


def test_the_training_texts_alone_serve_as_well():
    """Pretraining on the training texts changes the weights."""
    plain, pretrained = (small(pretrain_epochs=n).fit(TEXTS, LABELS) for n in (0, 2))
    assert plain.vocabulary_ == pretrained.vocabulary_
    assert not same(weights(plain), weights(pretrained))
    assert pretrained.score(TEXTS, LABELS) == 1.0
    assert same(weights(plain), weights(small().fit(TEXTS, LABELS)))
    assert (plain.settings_["pretrain_epochs"], pretrained.settings_["pretrain_epochs"]) == (0, 2)


def test_training_begins_with_what_was_pretrained(monkeypatch):
    """Embedding and encoder start from pretraining, the head does not."""
    start = {}

    def note(network, corpus, **arguments):
        pretrain(network, corpus, **arguments)
        start.update({name: value.clone() for name, value in network.state_dict().items()})

    monkeypatch.setattr("textrnn.estimator.network.pretrain", note)
    params = {"learning_rate": 1e-12, "weight_averaging": None, "ngram_order": 0}
    pretrained, plain = (
        weights(small(**params, pretrain_epochs=n).fit(TEXTS, LABELS)) for n in (1, 0)
    )
    assert pretrained.keys() == start.keys()
    for name, value in pretrained.items():
        assert torch.allclose(value, start[name], atol=1e-6)
        assert torch.allclose(value, plain[name], atol=1e-6) == name.startswith("head.")


def test_the_same_seed_gives_the_same_network():
    """Weights depend on the seed alone; the global generators don't change."""
    found = []
    for seed, noise in ((3, 1), (3, 2), (4, 1)):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        classifier = small(seed=seed, pretrain_epochs=1)
        found.append(weights(classifier.fit(TEXTS, LABELS, unlabelled=MORE)))
        assert torch.equal(torch.get_rng_state(), before)
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


def test_pretraining_sees_no_text_that_was_held_out(pretrained_on):
    """Held-out texts are in neither the corpus nor the vocabulary."""
    texts = [f"word{number} {kind}" for number in range(100) for kind in ("oil", "goal")]
    classifier = small(epochs=1, pretrain_epochs=1, min_freq=1, validation_fraction=0.25)
    classifier.fit(texts, ["business", "sports"] * 100, unlabelled=["gas", "referee"])
    (call,) = pretrained_on
    assert len(call["corpus"]) == 150 + 2
    assert call["corpus"].labels is None
    assert call["corpus"].vocabulary == classifier.vocabulary_
    assert sum(classifier.vocabulary_.counts) == 150 * 2 + 2
    assert "gas" in classifier.vocabulary_
    assert classifier.data_["unlabelled_texts"] == 2
    assert classifier.data_["train_texts"] == 150


def test_words_are_counted_in_all_texts(pretrained_on):
    """The minimum frequency and the size of the vocabulary apply to all texts."""
    texts, labels = TEXTS * 20, LABELS * 20
    more = ["rare once", "often often"] * 1 + ["oil"] * 1500
    params = {"epochs": 1, "hidden_size": 2, "embedding_size": 2, "pretrain_epochs": 1}
    classifier = small(**params).fit(texts, labels, unlabelled=more)
    assert classifier.settings_["min_freq"] == 2
    assert "often" in classifier.vocabulary_
    assert "rare" not in classifier.vocabulary_
    limited = small(**params, max_vocab_size=6).fit(TEXTS, LABELS, unlabelled=["gas"] * 50)
    assert limited.vocabulary_.tokens[4:] == ("gas", "oil")
    assert len(pretrained_on) == 2


def test_pretraining_is_told_what_the_classifier_was_told(pretrained_on, monkeypatch):
    """Epochs, precision and seed are passed on; processes divide the batch."""
    params = {"pretrain_epochs": 7, "precision": "bf16", "seed": 5, "epochs": 1}
    small(**params).fit(TEXTS, LABELS, unlabelled=MORE)
    monkeypatch.setattr("textrnn.estimator.network.join", lambda: Processes(0, 3))
    small(**params).fit(TEXTS, LABELS, unlabelled=MORE)
    alone, shared = pretrained_on
    assert {name: alone[name] for name in ("epochs", "precision", "seed", "batch_size")} == {
        "epochs": 7,
        "precision": "bf16",
        "seed": 5,
        "batch_size": 128,
    }
    assert shared["batch_size"] == 43


@pytest.mark.parametrize(
    "column", [tuple, iter, np.array, pd.Series, pl.Series, pa.array], ids=lambda f: f.__name__
)
def test_unlabelled_columns_of_any_kind_give_the_same_model(column):
    """The type of the column does not affect the result."""
    params = {"epochs": 1, "pretrain_epochs": 1}
    listed = small(**params).fit(TEXTS, LABELS, unlabelled=MORE)
    other = small(**params).fit(TEXTS, LABELS, unlabelled=column(MORE))
    assert same(weights(listed), weights(other))


def test_unlabelled_texts_must_be_a_column_of_strings():
    """The error names the argument and the position."""
    classifier = small(pretrain_epochs=1)
    with pytest.raises(InvalidTypeError, match=r"`unlabelled` to be a column \(a sequence\)"):
        classifier.fit(TEXTS, LABELS, unlabelled="oil")
    with pytest.raises(InvalidTypeError, match=r"`unlabelled\[1\]` to be a string, but got None"):
        classifier.fit(TEXTS, LABELS, unlabelled=["oil", None])


@pytest.mark.parametrize("params", [{}, {"preset": "best", "pretrain_epochs": 0}])
def test_unlabelled_texts_that_nobody_would_read_are_refused(params):
    """Unlabelled texts without pretraining are an error."""
    message = r"`unlabelled` to be None where nothing is pretrained: .* but got \['gas prices soar'"
    with pytest.raises(InvalidValueError, match=message):
        small(**params).fit(TEXTS, LABELS, unlabelled=MORE)


def test_continued_training_pretrains_nothing(pretrained_on):
    """Continued training refuses further unlabelled texts."""
    classifier = small(warm_start=True, pretrain_epochs=1)
    classifier.fit(TEXTS, LABELS, unlabelled=MORE)
    before = weights(classifier)
    classifier.set_params(epochs=1, learning_rate=1e-5)
    classifier.fit(["oil gushes", "referee scores"], ["business", "sports"])
    assert len(pretrained_on) == 1
    after = weights(classifier)
    assert before.keys() == after.keys()
    assert not same(before, after)
    for name in before:
        if "recurrent" in name:
            torch.testing.assert_close(before[name], after[name], atol=1e-3, rtol=0)
    assert classifier.settings_["pretrain_epochs"] == 0
    with pytest.raises(InvalidValueError, match="`unlabelled` to be None where training"):
        classifier.fit(TEXTS, LABELS, unlabelled=MORE)


def test_each_stage_is_logged_by_its_name(caplog):
    """Lines of the log tell pretraining from training."""
    with caplog.at_level(logging.INFO, logger="textrnn"):
        small(epochs=1, pretrain_epochs=2).fit(TEXTS, LABELS)
    lines = [re.split(r", [\d.]+ s: ", message)[0] for message in caplog.messages]
    assert lines == [
        "Pretraining, epoch 1 of 2",
        "Pretraining, epoch 2 of 2",
        "Network, epoch 1 of 1",
    ]


@pytest.fixture(name="press_at")
def _press_at():
    """Return a function that sends Ctrl-C when a line is logged for the first time."""
    logger, level, handlers = logging.getLogger("textrnn"), logging.getLogger("textrnn").level, []

    def press_at(line):
        class Interrupting(logging.Handler):
            done = False

            def emit(self, record):
                if not self.done and line in record.getMessage():
                    self.done = True
                    os.kill(os.getpid(), signal.SIGINT)

        handlers.append(Interrupting())
        logger.addHandler(handlers[-1])

    logger.setLevel(logging.INFO)
    yield press_at
    for handler in handlers:
        logger.removeHandler(handler)
    logger.setLevel(level)


def test_ctrl_c_while_pretraining_ends_everything(press_at):
    """Ctrl-C raises `KeyboardInterrupt`; an older model is unchanged."""
    classifier = small().fit(TEXTS, LABELS)
    before = weights(classifier)
    press_at("Pretraining, epoch 1 of")
    with pytest.raises(KeyboardInterrupt):
        classifier.set_params(pretrain_epochs=50).fit(TEXTS, LABELS)
    assert same(weights(classifier), before)


@pytest.mark.cuda
def test_a_network_is_pretrained_and_trained_on_a_gpu(tmp_path):
    """All weights are on the GPU, and load on a CPU."""
    classifier = small(pretrain_epochs=1, device="cuda", precision="bf16")
    classifier.fit(TEXTS * 4, LABELS * 4, unlabelled=MORE)
    assert all(weight.is_cuda for weight in classifier.network_.parameters())
    classifier.save(tmp_path / "model")
    loaded = TextClassifier.load(tmp_path / "model", device="cpu")
    np.testing.assert_allclose(
        loaded.predict_proba(TEXTS), classifier.predict_proba(TEXTS), atol=1e-4
    )
