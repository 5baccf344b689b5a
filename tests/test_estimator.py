"""`TextClassifier`: training, prediction, evaluation and its errors."""

import json
import logging
import os
import pickle
import random
import re
import signal
from unittest.mock import patch

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from textrnn import TextClassifier
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingKeyError,
    NotFittedError,
)
from textrnn.estimator import model
from textrnn.ngrams import BlendedClassifier
from textrnn.nn import RecurrentClassifier
from textrnn.text import WordPunctTokenizer
from textrnn.training import ClassificationReport, MultilabelReport

TEXTS = ["oil prices soar", "stocks and oil fall", "the striker scores", "a keeper saves goals"] * 8
LABELS = ["business", "business", "sports", "sports"] * 8
TOPICS = [["oil", "up"], ["oil", "stocks"], {"sports"}, []] * 8
SMALL = {
    "bidirectional": True,  # with and without n-grams
    "hidden_size": 8,
    "embedding_size": 8,
    "epochs": 12,
    "learning_rate": 0.02,
    "device": "cpu",
    "progress": False,
}
# What is learned by heart must not depend on which words were hidden.
UNDISTURBED = {"word_dropout": 0.0, "embedding_dropout": 0.0, "dropout": 0.0}


def small(**params):
    """Return a classifier that learns the toy texts in a moment."""
    return TextClassifier(**{**SMALL, **params})


@pytest.fixture(scope="module", name="fitted")
def _fitted():
    return small().fit(TEXTS, LABELS)


@pytest.fixture(scope="module", name="several")
def _several():
    return small(epochs=40, **UNDISTURBED).fit(TEXTS, TOPICS)


def test_it_learns_from_strings(fitted):
    """Predicted labels are those of the training data, also for unseen texts."""
    assert fitted.predict(["oil falls", "striker saves"]).tolist() == ["business", "sports"]
    assert fitted.score(TEXTS, LABELS) == 1.0
    assert fitted.classes_.tolist() == ["business", "sports"]


def test_probabilities_sum_to_one_and_agree_with_labels(fitted):
    """The label predicted is the one with the highest probability."""
    probabilities = fitted.predict_proba(TEXTS)
    assert probabilities.shape == (len(TEXTS), 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)
    assert (fitted.classes_[probabilities.argmax(axis=1)] == fitted.predict(TEXTS)).all()


def test_no_text_gives_no_prediction(fitted):
    """An empty column gives empty results of the usual shape."""
    assert fitted.predict([]).shape == (0,)
    assert fitted.predict_proba([]).shape == (0, 2)
    assert fitted.top_k([]) == []


def test_a_text_without_words_has_a_prediction(fitted):
    """Empty, odd and very long texts are not errors."""
    odd = ["", "!!!", "\ud800", "\0", "word " * 100_000]
    assert np.isfinite(fitted.predict_proba(odd)).all()


def test_a_prediction_does_not_depend_on_the_other_texts(fitted):
    """Alone or among longer texts, a text has the same probabilities."""
    texts = [*TEXTS[:4], "oil " * 50]
    together = fitted.predict_proba(texts)
    alone = np.concatenate([fitted.predict_proba([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize(
    "column",
    [tuple, iter, np.array, pd.Series, pl.Series, pa.array, lambda x: pa.chunked_array([x])],
    ids=["tuple", "iterator", "numpy", "pandas", "polars", "arrow", "chunked"],
)
def test_columns_of_any_kind_give_the_same_model(fitted, column):
    """The type of the columns does not affect the result."""
    other = small().fit(column(TEXTS), column(LABELS))
    assert (other.predict_proba(column(TEXTS)) == fitted.predict_proba(TEXTS)).all()


def test_hugging_face_columns_are_taken(fitted):
    """Columns of a data set need no conversion."""
    data = Dataset.from_dict({"text": TEXTS, "label": LABELS})
    other = small().fit(data["text"], data["label"])
    assert other.score(data["text"], data["label"]) == fitted.score(TEXTS, LABELS) == 1.0


@pytest.mark.parametrize("labels", [[3, 7], [False, True], [0.5, 1.5], [("a", 1), ("b", 2)]])
def test_labels_may_be_anything_hashable(labels):
    """Numbers, booleans and tuples come back as they were."""
    column = [labels[0], labels[0], labels[1], labels[1]] * 8
    classifier = small().fit(TEXTS, column)
    assert classifier.predict(TEXTS[1:3]).tolist() == labels


def test_the_same_seed_gives_the_same_model():
    """The weights depend on the seed, not on the global generators."""
    torch.manual_seed(1)
    first = small(seed=3).fit(TEXTS, LABELS).network_.state_dict()
    torch.manual_seed(2)
    second = small(seed=3).fit(TEXTS, LABELS).network_.state_dict()
    other = small(seed=4).fit(TEXTS, LABELS).network_.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_global_generators_are_left_as_they_were(fitted):
    """Fitting and predicting don't change the global generators."""
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global one is what this is about
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002 - the same
    small(epochs=1, validation_fraction=0.5).fit(TEXTS * 4, LABELS * 4)
    fitted.predict_proba(TEXTS)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002 - the same
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


def test_fitting_again_starts_anew(fitted):
    """Without `warm_start` a second fit ignores the first."""
    again = small().fit(["x", "y"] * 4, [1, 2] * 4).fit(TEXTS, LABELS)
    assert (again.predict_proba(TEXTS) == fitted.predict_proba(TEXTS)).all()


def test_a_fit_that_fails_leaves_the_model(fitted):
    """An error in new data leaves the old model unchanged."""
    classifier = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - pickled here
    before = classifier.predict_proba(TEXTS)
    with pytest.raises(InvalidValueError, match="one class"):
        classifier.fit(TEXTS, ["a"] * len(TEXTS))
    assert (classifier.predict_proba(TEXTS) == before).all()


def test_a_part_is_held_out_where_there_are_enough_texts():
    """Metrics come from the held-out part; few texts are all trained on."""
    classifier = small(epochs=3, validation_fraction=0.25).fit(TEXTS * 4, LABELS * 4)
    assert classifier.metrics_["accuracy"] == classifier.history_["eval_accuracy"][-1]
    assert classifier.data_["train_texts"] == 96
    assert classifier.data_["eval_texts"] == 32
    assert small(epochs=1).fit(TEXTS, LABELS).metrics_ == {}
    assert small(epochs=1, validation_fraction=0.0).fit(TEXTS * 4, LABELS * 4).metrics_ == {}


def test_the_only_text_of_a_class_is_never_held_out():
    """Every class has at least one training text."""
    labels = LABELS * 4
    labels[:4] = ["w", "x", "y", "z"]
    for seed in range(3):
        classifier = small(epochs=1, seed=seed, validation_fraction=0.5).fit(TEXTS * 4, labels)
        assert min(classifier.data_["label_counts"]) == 1


def test_nothing_is_held_out_where_each_class_has_one_text():
    """All texts are trained on, and there are no metrics."""
    texts = [f"word{number}" for number in range(120)]
    classifier = small(epochs=1).fit(texts, range(120))
    assert classifier.data_["train_texts"] == 120
    assert classifier.metrics_ == {}


def test_an_eval_set_tells_the_best_epoch():
    """Nothing is held out, and the weights with the lowest loss are kept."""
    classifier = small(epochs=6, ngram_order=0)
    classifier.fit(TEXTS * 4, LABELS * 4, eval_set=(TEXTS[:4], LABELS[:4]))
    assert classifier.data_["train_texts"] == 128
    losses = classifier.history_["eval_log_loss"]
    assert classifier.metrics_["log_loss"] == min(losses)
    wanted = [classifier.classes_.tolist().index(label) for label in LABELS[:4]]
    found = classifier.predict_proba(TEXTS[:4])[range(4), wanted]
    assert -np.log(found).mean() == pytest.approx(min(losses), rel=1e-4)
    both = small(epochs=6).fit(TEXTS * 4, LABELS * 4, eval_set=(TEXTS[:4], LABELS[:4]))
    assert both.history_["eval_log_loss"] == losses
    assert both.metrics_["log_loss"] < classifier.metrics_["log_loss"]


def test_training_stops_when_it_no_longer_helps():
    """With wrong validation labels, training stops after `patience` epochs."""
    wrong = ["sports" if label == "business" else "business" for label in LABELS]
    classifier = small(epochs=30, patience=2, weight_averaging=None)
    classifier.fit(TEXTS, LABELS, eval_set=(TEXTS, wrong))
    assert classifier.history_[-1]["epoch"] < 30
    assert "no better log_loss" in classifier.stopped_


def test_progress_is_logged(caplog):
    """Each epoch is logged in one line."""
    with caplog.at_level(logging.INFO, logger="textrnn"):
        small(epochs=2).fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))
    network, whole = (re.sub(r"\d\.\d+", "N", message) for message in caplog.messages[-2:])
    assert network == "Network, epoch 2 of 2, N s: loss N, eval_log_loss N, eval_accuracy N."
    assert whole == "Network and n-grams, with the weights N and N: log_loss N, accuracy N."


def test_ctrl_c_keeps_what_was_learned():
    """The first Ctrl-C ends training after a step, with a usable model."""

    def split(text):
        return text.split()

    pressed = []

    def press(text):
        # The tokenizer runs before training, so the signal is sent when batches are drawn.
        return split(text)

    class Interrupting(logging.Handler):
        def emit(self, record):
            if not pressed and "epoch 1 of" in record.getMessage():
                pressed.append(True)
                os.kill(os.getpid(), signal.SIGINT)

    logger, handler = logging.getLogger("textrnn"), Interrupting()
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        classifier = small(epochs=50, tokenizer=press).fit(TEXTS, LABELS)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert classifier.history_[-1]["epoch"] < 50
    assert classifier.stopped_ == "interrupted by Ctrl-C"
    assert classifier.predict(TEXTS).shape == (32,)


def test_warm_start_goes_on_with_what_was_learned(fitted):
    """Vocabulary and labels stay, the weights change, the old model doesn't."""
    before = fitted.predict_proba(TEXTS)
    classifier = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - pickled here
    classifier.set_params(warm_start=True, epochs=1, learning_rate=1e-5)
    classifier.fit(["oil gushes", "referee scores"], ["business", "sports"])
    assert classifier.vocabulary_ == fitted.vocabulary_
    np.testing.assert_allclose(classifier.predict_proba(TEXTS), before, atol=0.02)
    assert (classifier.predict_proba(TEXTS) != before).any()
    assert (fitted.predict_proba(TEXTS) == before).all()
    with pytest.raises(MissingKeyError, match="No label 'science', as in `labels"):
        classifier.fit(["comet"], ["science"])


def test_warm_start_begins_where_there_is_nothing():
    """The first fit is an ordinary one."""
    assert small(warm_start=True).fit(TEXTS, LABELS).score(TEXTS, LABELS) == 1.0


def test_warm_start_keeps_out_spelling_where_it_was_left_out():
    """Continued training keeps the kind of linear model."""
    classifier = small(spelling=False, epochs=1).fit(TEXTS, LABELS)
    classifier.set_params(spelling=None, warm_start=True).fit(TEXTS, LABELS)
    assert not classifier.network_.ngrams.num_char_ngrams
    assert classifier.settings_["spelling"] is False


def test_class_weights_shift_predictions():
    """A higher weight gives a class a higher probability."""
    texts, labels = ["same words"] * 40, ["a"] * 30 + ["b"] * 10
    plain = small(seed=1).fit(texts, labels).predict_proba(["same words"])[0]
    balanced = small(seed=1, class_weight="balanced").fit(texts, labels)
    heavy = small(seed=1, class_weight={"b": 9.0}).fit(texts, labels)
    assert plain[1] == pytest.approx(0.25, abs=0.1)
    assert balanced.predict_proba(["same words"])[0][1] == pytest.approx(0.5, abs=0.1)
    assert heavy.predict_proba(["same words"])[0][1] == pytest.approx(0.75, abs=0.1)


def test_several_labels_to_a_text(several):
    """Each text has any number of labels, including none."""
    assert several.predict(TEXTS[:4]) == [["oil", "up"], ["oil", "stocks"], ["sports"], []]
    assert several.score(TEXTS, TOPICS) == 1.0
    assert several.predict_proba(TEXTS[:3]).shape == (3, 4)
    assert several.classes_.tolist() == ["oil", "sports", "stocks", "up"]
    report = several.evaluate(TEXTS, TOPICS)
    assert isinstance(report, MultilabelReport)
    assert report.accuracy == 1.0


def test_thresholds_decide_which_labels_a_text_has(several):
    """One threshold for all labels or one for each, per call or as a parameter."""
    everything = [["oil", "sports", "stocks", "up"]]
    assert several.predict(["oil"], threshold=1e-9) == everything
    assert several.predict(["oil"], threshold=1 - 1e-9) == [[]]
    low = {"up": 1e-9, "oil": 1 - 1e-9}
    assert several.predict(["a keeper saves goals"], threshold=low) == [["up"]]
    lowered = pickle.loads(pickle.dumps(several)).set_params(threshold=1e-9)  # noqa: S301 - pickled here
    assert lowered.predict(["oil"]) == everything
    assert lowered.evaluate(TEXTS, TOPICS).classes[0].recall == 1.0
    assert lowered.evaluate(TEXTS, TOPICS).accuracy == 0.0


@pytest.mark.parametrize("threshold", [0, 1, 1.5, "high", {"oil": 2}])
def test_a_threshold_is_a_probability(several, threshold):
    """The error names the label, if the threshold has one."""
    with pytest.raises((InvalidValueError, InvalidTypeError), match="between 0 and 1"):
        several.predict(["oil"], threshold=threshold)


def test_a_threshold_of_no_label_is_refused(several):
    """The error lists the known labels."""
    with pytest.raises(MissingKeyError, match="No label 'gas', as in `threshold`; there are: 'oil"):
        several.predict(["oil"], threshold={"gas": 0.5})


def test_a_matrix_of_labels_gives_a_matrix():
    """Training on zeros and ones gives predictions of zeros and ones."""
    matrix = np.array([[1, 0], [1, 0], [0, 1], [0, 0]] * 8)
    classifier = small(epochs=40, **UNDISTURBED).fit(TEXTS, matrix)
    found = classifier.predict(TEXTS)
    assert (found == matrix).all()
    assert found.dtype == np.int64
    assert classifier.classes_.tolist() == [0, 1]
    assert classifier.score(TEXTS, matrix) == 1.0


def test_top_k_gives_the_most_probable_labels(fitted, several):
    """Labels come in order of probability, down to a threshold."""
    probabilities = fitted.predict_proba(["oil"])[0]
    best = fitted.top_k(["oil"], k=5)
    assert [name for name, _ in best[0]] == ["business", "sports"]
    assert [value for _, value in best[0]] == sorted(probabilities, reverse=True)
    assert fitted.top_k(["oil"], k=1) == [best[0][:1]]
    assert fitted.top_k(["oil"], threshold=0.5) == [best[0][:1]]
    assert len(several.top_k(["oil"], k=3)[0]) == 3


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": 1.5}, {"threshold": 2}])
def test_top_k_checks_its_arguments(fitted, wrong):
    """The error names the argument."""
    with pytest.raises((InvalidValueError, InvalidTypeError), match=next(iter(wrong))):
        fitted.top_k(["oil"], **wrong)


def test_evaluate_names_the_labels(fitted):
    """The report has the labels' names, prints as a table and converts to JSON."""
    report = fitted.evaluate(TEXTS, LABELS, top_k=(2,))
    assert isinstance(report, ClassificationReport)
    assert [scores.label for scores in report.classes] == ["business", "sports"]
    assert report.confusion == ((16, 0), (0, 16))
    assert report.top_k_accuracy == {2: 1.0}
    assert "business" in str(report)
    assert json.loads(report.to_json())["accuracy"] == 1.0


def test_score_wants_labels_in_the_classifiers_form(fitted, several):
    """A string is not taken for a list of characters."""
    with pytest.raises(InvalidTypeError, match=r"`labels\[0\]` to be a list or set of labels"):
        several.score(["oil"], ["oil"])
    with pytest.raises(InvalidTypeError, match=r"`labels\[0\]` to be one label"):
        fitted.score(["oil"], [["business"]])


def test_top_k_is_no_measure_of_several_labels(several):
    """Top-k accuracy is defined for one label per text."""
    with pytest.raises(InvalidValueError, match="`top_k` to be empty for multi-label data"):
        several.evaluate(TEXTS, TOPICS, top_k=[2])


def test_a_custom_tokenizer_cuts_the_texts():
    """Training and prediction use any callable."""
    classifier = small(tokenizer=list, max_length=30).fit(TEXTS, LABELS)
    assert "o" in classifier.vocabulary_
    assert classifier.tokenizer_ is list
    assert classifier.score(TEXTS, LABELS) > 0.9


def test_settings_tell_what_was_chosen(fitted):
    """`settings_` has the values of options that were None."""
    assert fitted.settings_["epochs"] == 12
    assert fitted.settings_["batch_size"] == 8
    assert None not in {fitted.settings_[name] for name in ("dropout", "max_length", "min_freq")}
    assert fitted.tokenizer_ == WordPunctTokenizer()
    assert len(fitted.history_) == 12


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.predict(["oil"]),
        lambda c: c.predict_proba(["oil"]),
        lambda c: c.top_k(["oil"]),
        lambda c: c.score(["oil"], ["a"]),
        lambda c: c.evaluate(["oil"], ["a"]),
        lambda c: c.save("model"),
        lambda c: c.classes_,
    ],
)
def test_an_unfitted_classifier_says_so(call):
    """All methods but `fit` raise an error, and nothing is written."""
    with pytest.raises(NotFittedError, match="This TextClassifier is not fitted yet; call `fit`"):
        call(TextClassifier())
    assert not hasattr(TextClassifier(), "classes_")


@pytest.mark.parametrize("texts", ["oil", None, 3, {"a": 1}, np.array([["a"]])])
def test_texts_must_be_a_column(fitted, texts):
    """A single string, a table or a mapping is refused."""
    with pytest.raises(InvalidTypeError, match=r"`texts` to be a column \(a sequence\) of strings"):
        fitted.predict(texts)
    with pytest.raises(InvalidTypeError, match=r"`texts` to be a column \(a sequence\) of strings"):
        small().fit(texts, ["a"])


def test_a_text_that_is_none_is_named_by_its_place():
    """The position is the one in the column, also with a held-out part."""
    texts = TEXTS * 4
    texts[77] = None
    with pytest.raises(InvalidTypeError, match=r"`texts\[77\]` to be a string, but got None"):
        small().fit(texts, LABELS * 4)


def test_texts_and_labels_must_be_as_many(fitted):
    """Different lengths and empty columns are errors."""
    with pytest.raises(InvalidValueError, match="`labels` to be as many as the 32 texts, but got"):
        small().fit(TEXTS, LABELS[1:])
    with pytest.raises(InvalidValueError, match="as many as the 1 texts"):
        fitted.evaluate(["oil"], LABELS)
    with pytest.raises(InvalidValueError, match="`texts` to be at least one text"):
        fitted.score([], [])
    with pytest.raises(InvalidValueError, match="`texts` to be at least one text"):
        small().fit([], [])


@pytest.mark.parametrize("eval_set", [3, (TEXTS,), (TEXTS, LABELS, LABELS), "ab"])
def test_an_eval_set_is_a_pair(eval_set):
    """Anything else is refused before training."""
    with pytest.raises(InvalidTypeError, match=r"`eval_set(\[0\])?` to be a (pair|column)"):
        small().fit(TEXTS, LABELS, eval_set=eval_set)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"cell": "cnn"}, "`cell` to be one of 'rnn', 'gru', 'lstm'"),
        ({"hidden_size": 0}, "`hidden_size` to be a positive integer"),
        ({"hidden_size": 1.5}, "`hidden_size` to be a positive integer"),
        ({"bidirectional": 1}, "`bidirectional` to be a boolean"),
        ({"pooling": "sum"}, "`pooling` to be one of"),
        ({"pooling": 3}, "`pooling` to be a name"),
        ({"dropout": 1.5}, "`dropout` to be a number from 0 to 1"),
        ({"layer_dropout": 0.5}, "`layer_dropout` to be 0 in a model of one layer"),
        ({"max_length": 2}, "`max_length` to be an integer of at least 3"),
        ({"max_vocab_size": 3}, "`max_vocab_size` to be an integer of at least 4"),
        ({"learning_rate": 0}, "`learning_rate` to be a number above 0"),
        ({"weight_averaging": "mean"}, "`weight_averaging` to be one of"),
        ({"validation_fraction": 1}, "`validation_fraction` to be a number below 1"),
        ({"class_weight": "even"}, "`class_weight` to be 'balanced', or a mapping"),
        (
            {"class_weight": {"business": 0}},
            r"\['business'\]` to be a number between 0",
        ),
        ({"class_weight": {"x": 1}}, "No label 'x'"),
        ({"threshold": 2}, "`threshold` to be a number between 0 and 1"),
        ({"threshold": {"x": 0.5}}, "No label 'x'"),
        ({"precision": "int8"}, "`precision` to be one of"),
        ({"threshold": -0.5}, "`threshold` to be a number between 0 and 1"),
        ({"threshold": 10**400}, "`threshold` to be a number between 0 and 1"),
        ({"class_weight": {"sports": 1e39}}, r"`class_weight\['sports'\]` to be a number betw"),
        ({"hidden_size": 10**9}, "`hidden_size` to be an integer from 1 to 65536, but got 10000"),
        ({"embedding_size": 10**9}, "`embedding_size` to be an integer from 1 to 65536, but got 1"),
        ({"num_layers": 10**9}, "`num_layers` to be an integer from 1 to 1000, but got 10000"),
        ({"epochs": 10**400}, "`epochs` to be an integer from 1 to 9223372036854775807, but got <"),
        ({"learning_rate": 10**400}, "`learning_rate` to be a number above 0, but got <1329-bit"),
        ({"seed": -1}, "`seed` to be a non-negative integer"),
        ({"seed": 2**64}, "`seed` to be an integer from 0 to 9223372036854775807, but got 1844674"),
        ({"device": "meta"}, "`device` to be 'auto' or the name of an available device"),
        ({"device": "abacus"}, "`device` to be 'auto' or the name of an available device"),
        ({"device": 3}, "`device` to be 'auto' or the name of an available device"),
        ({"tokenizer": 3}, "`tokenizer` to be a callable"),
    ],
)
def test_parameters_are_checked_by_fit(params, message):
    """The constructor takes anything; `fit` names what is wrong."""
    classifier = small(**params)
    with pytest.raises((InvalidValueError, InvalidTypeError, MissingKeyError), match=message):
        classifier.fit(TEXTS, LABELS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_device_that_is_not_there_is_refused():
    """The error is the library's own."""
    with pytest.raises(InvalidValueError, match="an available device"):
        small(device="cuda").fit(TEXTS, LABELS)


def test_numbers_of_numpy_are_taken_as_parameters():
    """They become Python numbers, as in a grid search."""
    classifier = small(epochs=np.int64(2), dropout=np.float32(0.1)).fit(TEXTS, LABELS)
    assert type(classifier.settings_["epochs"]) is int
    assert type(classifier.settings_["dropout"]) is float


def test_a_fitted_classifier_can_be_pickled(fitted):
    """The copy has the same predictions and history."""
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - pickled here
    assert (again.predict_proba(TEXTS) == fitted.predict_proba(TEXTS)).all()
    assert again.history_ == fitted.history_


@pytest.mark.slow
def test_defaults_learn_the_news(data_dir):
    """A thousand real texts give an accuracy far above chance."""
    import pyarrow.parquet as pq

    table = pq.read_table(data_dir / "ag_news" / "train.parquet").slice(0, 1200)
    texts, labels = table["text"], table["label"]
    classifier = TextClassifier(progress=False, hidden_size=32, epochs=8)
    classifier.fit(texts.slice(0, 1000), labels.slice(0, 1000))
    assert classifier.score(texts.slice(1000), labels.slice(1000)) > 0.6


def test_ngrams_decide_beside_the_network(fitted):
    """Both parts are trained, and the network equals one without n-grams."""
    network = fitted.network_
    assert isinstance(network, BlendedClassifier)
    assert network.ngrams.weight.abs().max() > 0
    assert not network.training
    alone = small(ngram_order=0).fit(TEXTS, LABELS)
    assert isinstance(alone.network_, RecurrentClassifier)
    for ours, theirs in zip(
        network.recurrent.parameters(), alone.network_.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_ngrams_hold_what_was_held_out():
    """The linear model is refitted on a held-out part, but not on an `eval_set`."""
    texts = [f"word{number} {kind}" for number in range(100) for kind in ("oil", "goal")]
    labels = ["business", "sports"] * 100
    split = small(epochs=1, validation_fraction=0.2).fit(texts, labels)
    assert split.data_["eval_texts"] == 40
    given = small(epochs=1).fit(texts[:160], labels[:160], eval_set=(texts[160:], labels[160:]))
    unseen = [
        int((classifier.network_.ngrams.keys < len(classifier.vocabulary_)).sum())
        for classifier in (split, given)
    ]
    assert split.network_.ngrams.bias.shape == (2,)
    assert unseen[0] == len(split.vocabulary_) - 1  # all but the padding, <unk> included
    assert unseen[1] == len(given.vocabulary_) - 2


def test_continued_training_keeps_the_ngrams():
    """The n-grams stay, and their weights change."""
    classifier = small(epochs=1, warm_start=True).fit(TEXTS, LABELS)
    before = classifier.network_.ngrams
    classifier.fit(["oil soar"] * 8 + ["stocks"] * 8, ["sports"] * 8 + ["business"] * 8)
    after = classifier.network_.ngrams
    assert torch.equal(before.keys, after.keys)
    assert not torch.equal(before.weight, after.weight)
    classifier.set_params(ngram_order=0).fit(TEXTS, LABELS)
    assert isinstance(classifier.network_, RecurrentClassifier)


def test_spelling_decides_as_well(fitted):
    """Words have spelling features, special tokens have none."""
    ngrams, specials = fitted.network_.ngrams, len(fitted.vocabulary_.specials)
    counts = ngrams.idf[ngrams.num_ngrams :]
    assert len(counts) == len(fitted.vocabulary_)
    assert not counts[:specials].any()
    assert counts[specials:].any()
    without = small(spelling=False).fit(TEXTS, LABELS)
    assert len(without.network_.ngrams.weight) == without.network_.ngrams.num_ngrams
    assert torch.equal(without.network_.ngrams.keys, ngrams.keys)
    assert fitted.settings_["spelling"]


def test_ngrams_that_nobody_asked_for_are_as_long_as_their_keys_allow(monkeypatch):
    """A large vocabulary shortens n-grams, unless their length is given."""
    monkeypatch.setattr("textrnn.estimator.task.longest_order", lambda _size: 1)
    assert small(epochs=1).fit(TEXTS, LABELS).settings_["ngram_order"] == 1
    assert small(epochs=1, ngram_order=2).fit(TEXTS, LABELS).settings_["ngram_order"] == 2


def test_no_more_ngrams_than_allowed(fitted):
    """The number and the length of n-grams are limited by the options."""
    classifier = small(epochs=1, ngram_order=1, max_ngrams=4).fit(TEXTS, LABELS)
    assert classifier.network_.ngrams.config["num_ngrams"] == 4
    assert classifier.network_.ngrams.max_order == 1
    assert fitted.network_.ngrams.max_order == 2
    with pytest.raises(InvalidValueError, match="`ngram_order` to be"):
        small(ngram_order=-1).fit(TEXTS, LABELS)
    with pytest.raises(InvalidValueError, match="`max_ngrams` to be"):
        small(max_ngrams=0).fit(TEXTS, LABELS)


def test_predictions_do_not_depend_on_the_batches(fitted, monkeypatch):
    """Texts of any length come back in their order, however many share a batch."""
    texts = [
        "oil",
        "",
        "the striker scores and scores again",
        "unheard of words",
        "oil prices soar",
    ]
    together = fitted.predict_proba(texts)
    monkeypatch.setattr("textrnn.estimator.batches._MAX_PREDICTED_TEXTS", 2)
    np.testing.assert_allclose(together, fitted.predict_proba(texts), atol=1e-6)
    monkeypatch.setattr("textrnn.estimator.batches._MAX_PREDICTED_IDS", 1)
    np.testing.assert_allclose(together, fitted.predict_proba(texts), atol=1e-6)


@given(texts=st.lists(st.sampled_from([*TEXTS, "", "unheard of words", "oil " * 40]), max_size=16))
@settings(max_examples=20)
def test_few_texts_have_the_predictions_of_many(fitted, texts):
    """NumPy, which predicts few texts, gives the probabilities of PyTorch."""
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - pickled here
    with patch.object(model, "logits_of", side_effect=AssertionError):
        few = again.predict_proba(texts)
    many = again.predict_proba(texts + TEXTS[:1] * 20)[: len(texts)]
    np.testing.assert_allclose(few, many, atol=1e-6)


def test_a_changed_network_changes_predictions(fitted):
    """Weights that are changed in any way count at once, also in predictions of few texts."""
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - pickled here
    before = again.predict_proba(TEXTS[:2])
    network = again.network_
    np.testing.assert_allclose(again.predict_proba(TEXTS[:2]), before, atol=1e-6)
    network.recurrent.encoder.rnn.weight_hh_l0.data.neg_()
    changed = again.predict_proba(TEXTS[:2])
    assert abs(changed - before).max() > 1e-4
    copied = pickle.loads(pickle.dumps(again))  # noqa: S301 - pickled here
    np.testing.assert_allclose(copied.predict_proba(TEXTS[:2]), changed, atol=1e-6)


def test_predictions_are_made_in_evaluation_mode(fitted):
    """A network in training mode predicts without dropout, and stays in that mode."""
    before = fitted.predict_proba(TEXTS)
    fitted.network_.train()
    try:
        assert (fitted.predict_proba(TEXTS) == before).all()
        assert fitted.network_.training
    finally:
        fitted.network_.eval()
