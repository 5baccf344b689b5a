"""`TextClassifier.fit`: Ctrl-C, numbers that are not finite, other defaults of torch, metrics."""

import logging
import os
import signal

import numpy as np
import pytest
import torch

from tests.test_estimator import LABELS, SMALL, TEXTS
from textrnn import TextClassifier
from textrnn.cli import main
from textrnn.errors import InvalidValueError, NonFiniteLossError
from textrnn.estimator import learning, network, task
from textrnn.ngrams import BlendedClassifier
from textrnn.ngrams.solver import SparseMatrix
from textrnn.nn import RecurrentClassifier

MANY, THEIRS = TEXTS * 4, LABELS * 4
CTRL_C = "interrupted by Ctrl-C"


def small(**params):
    """Return a classifier that learns the texts in a moment."""
    return TextClassifier(**{**SMALL, "validation_fraction": 0.25, **params})


def same_weights(first, second):
    """Return whether two modules have the same weights."""
    theirs = second.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in first.state_dict().items())


def press():
    """Send this process the signal of Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(name="pressed_in_solver")
def _pressed_in_solver(monkeypatch):
    """Press Ctrl-C in the third product of the solver; return the number of products."""
    products, times = [], SparseMatrix.times

    def pressing(matrix, right):
        products.append(None)
        if len(products) == 3:
            press()
        return times(matrix, right)

    monkeypatch.setattr(SparseMatrix, "times", pressing)
    return products


@pytest.fixture(name="pressed_in_network")
def _pressed_in_network():
    """Press Ctrl-C at the end of the first epoch of the network."""

    class Pressing(logging.Handler):
        def emit(self, record):
            if "Network, epoch 1 of" in record.getMessage():
                press()

    logger, handler = logging.getLogger("textrnn"), Pressing()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_ctrl_c_stops_the_solver_and_leaves_the_network(pressed_in_solver, caplog):
    """After Ctrl-C in the linear model, the classifier has the trained network alone."""
    classifier = small(epochs=2).fit(MANY, THEIRS)
    assert len(pressed_in_solver) == 3
    alone = small(epochs=2, ngram_order=0).fit(MANY, THEIRS)
    assert isinstance(classifier.network_, RecurrentClassifier)
    assert same_weights(classifier.network_, alone.network_)
    assert classifier.metrics_ == alone.metrics_
    assert (classifier.stopped_, alone.stopped_) == (CTRL_C, None)
    assert caplog.messages == [f"N-grams were not fitted ({CTRL_C}); the classifier has none."]


@pytest.mark.usefixtures("pressed_in_solver")
def test_a_classifier_without_its_ngrams_can_be_saved_and_trained_on(tmp_path):
    """Continued training fits the n-grams that Ctrl-C left out."""
    classifier = small(epochs=2).fit(MANY, THEIRS)
    classifier.save(tmp_path / "model")
    loaded = TextClassifier.load(tmp_path / "model")
    assert (loaded.predict_proba(TEXTS) == classifier.predict_proba(TEXTS)).all()
    assert loaded.stopped_ == CTRL_C
    assert CTRL_C in (tmp_path / "model" / "README.md").read_text()
    loaded.set_params(warm_start=True).fit(MANY, THEIRS)
    assert isinstance(loaded.network_, BlendedClassifier)
    assert loaded.stopped_ is None


@pytest.mark.usefixtures("pressed_in_solver")
def test_the_command_line_saves_the_network_and_ends_with_130(tmp_path, capsys):
    """After Ctrl-C in the linear model, the metrics printed are the network's."""
    table, model = tmp_path / "table.csv", tmp_path / "model"
    rows = zip(TEXTS, LABELS, strict=True)
    table.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    options = ["--eval", str(table), "--output", str(model), "--epochs", "1", "--quiet"]
    assert main(["train", "--train", str(table), *options]) == 130
    loaded = TextClassifier.load(model)
    assert isinstance(loaded.network_, RecurrentClassifier)
    assert ["log_loss", f"{loaded.metrics_['log_loss']:.4f}"] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]


@pytest.mark.usefixtures("pressed_in_network")
def test_ctrl_c_in_the_network_fits_no_ngrams(monkeypatch):
    """No linear model is fitted any more, so that `fit` ends at once."""
    monkeypatch.setattr(learning, "ngram_path", None)
    classifier = small(epochs=50).fit(MANY, THEIRS)
    assert isinstance(classifier.network_, RecurrentClassifier)
    assert classifier.stopped_ == CTRL_C
    assert classifier.history_[-1]["epoch"] < 50
    assert classifier.metrics_["accuracy"] == classifier.evaluate(*_held_out(classifier)).accuracy


def _held_out(classifier):
    """Return the texts and labels that a classifier held out."""
    labels = np.array([0, 0, 1, 1] * 32)
    settings = classifier.settings_
    chosen = task._hold_out(labels, settings["validation_fraction"], settings["seed"])
    return [np.array(each)[chosen].tolist() for each in (MANY, THEIRS)]


@pytest.mark.usefixtures("pressed_in_network")
def test_ctrl_c_in_continued_training_keeps_the_ngrams(monkeypatch):
    """The n-grams of an earlier fit stay, with their blend weights."""
    with monkeypatch.context() as patch:
        patch.setattr(logging.getLogger("textrnn"), "handlers", [])
        classifier = small(epochs=1).fit(MANY, THEIRS)
    before = classifier.network_
    classifier.set_params(warm_start=True, epochs=50).fit(MANY, THEIRS)
    after = classifier.network_
    assert classifier.stopped_ == CTRL_C
    assert same_weights(before.ngrams, after.ngrams)
    assert torch.equal(before.scales, after.scales)
    assert not same_weights(before.recurrent, after.recurrent)
    assert classifier.metrics_ == {}


@pytest.mark.parametrize("ngram_order", [0, 2])
@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"learning_rate": 1e30}, "A lower .?learning.rate"),
        ({"learning_rate": 1e38, "epochs": 1, "batch_size": 100}, "A lower .?learning.rate"),
        ({"class_weight": {"business": 1e38, "sports": 1e38}}, "loss became"),
    ],
)
def test_numbers_that_are_not_finite_are_an_error(given, cause, ngram_order):
    """The error names the cause, and an earlier fit stays."""
    classifier = small(epochs=1).fit(TEXTS, LABELS)
    before = classifier.predict_proba(TEXTS)
    with pytest.raises(NonFiniteLossError, match=cause):
        classifier.set_params(ngram_order=ngram_order, **given).fit(TEXTS[:12], LABELS[:12])
    assert (classifier.predict_proba(TEXTS) == before).all()
    with pytest.raises(NonFiniteLossError, match=cause):
        classifier.set_params(warm_start=True).fit(TEXTS, LABELS, eval_set=(TEXTS, LABELS))
    assert (classifier.predict_proba(TEXTS) == before).all()


def test_ngrams_that_are_not_finite_are_an_error(monkeypatch):
    """The blend is checked like the network."""
    fit = learning.ngram_path

    def spoilt(loader, **options):
        for model in fit(loader, **options):
            torch.nn.init.constant_(model.bias, torch.inf)
            yield model

    monkeypatch.setattr(learning, "ngram_path", spoilt)
    with pytest.raises(NonFiniteLossError, match="logits of the trained classifier are NaN or inf"):
        small(epochs=1).fit(TEXTS, LABELS)


def test_a_network_that_memory_can_t_hold_is_an_error(monkeypatch):
    """The error names the sizes instead of PyTorch's allocator."""

    def allocate(_vocab_size, **_options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(network, "RecurrentClassifier", allocate)
    with pytest.raises(InvalidValueError, match="`hidden_size` to be such that the network fits"):
        small().fit(TEXTS, LABELS)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_default_type_of_torch_makes_no_difference(dtype, tmp_path):
    """Weights have single precision, and folders are read under any default type."""
    everything = {"pretrain_epochs": 1, "pooling": ("max", "attention"), "class_weight": "balanced"}
    small(epochs=1).fit(MANY, THEIRS).save(tmp_path / "single")
    expected = TextClassifier.load(tmp_path / "single").predict_proba(TEXTS)
    torch.set_default_dtype(dtype)
    try:
        loaded = TextClassifier.load(tmp_path / "single")
        assert (loaded.predict_proba(TEXTS) == expected).all()
        classifier = small(**everything).fit(MANY, THEIRS)
        classifier.save(tmp_path / "other")
        found = classifier.predict_proba(TEXTS)
        assert classifier.evaluate(MANY, THEIRS).accuracy == 1.0
    finally:
        torch.set_default_dtype(torch.float32)
    weights = classifier.network_.state_dict().values()
    assert {value.dtype for value in weights if value.is_floating_point()} == {torch.float32}
    assert (TextClassifier.load(tmp_path / "other").predict_proba(TEXTS) == found).all()


def test_one_name_is_one_number(caplog, tmp_path):
    """Log, history, metrics and card tell the network's metrics from those of the whole."""
    data = (TEXTS, LABELS, (TEXTS, LABELS))
    with caplog.at_level(logging.INFO, logger="textrnn"):
        classifier = small(epochs=2).fit(*data)
    alone = small(epochs=2, ngram_order=0).fit(*data)
    best = min(classifier.history_, key=lambda record: record["eval_log_loss"])
    assert alone.history_["eval_log_loss"] == classifier.history_["eval_log_loss"]
    assert alone.metrics_ == {name: best[f"eval_{name}"] for name in alone.metrics_}
    assert f"eval_log_loss {best['eval_log_loss']:.4f}" in caplog.messages[best["epoch"] - 1]

    whole = classifier.metrics_
    wanted = [classifier.classes_.tolist().index(label) for label in LABELS]
    log_loss = -np.log(classifier.predict_proba(TEXTS)[range(len(TEXTS)), wanted]).mean()
    assert whole.keys() == alone.metrics_.keys()
    assert whole["log_loss"] == pytest.approx(log_loss, rel=1e-5, abs=1e-7)  # of fp32
    assert whole["accuracy"] == classifier.score(TEXTS, LABELS)
    assert whole["log_loss"] < best["eval_log_loss"]
    assert caplog.messages[-1].startswith("Network and n-grams, with the weights ")
    assert f": log_loss {whole['log_loss']:.4f}, accuracy 1.0000." in caplog.messages[-1]

    for model, words in (
        (classifier, "Network and n-grams together, measured"),
        (alone, "Measured"),
    ):
        model.save(tmp_path / "model")
        card = (tmp_path / "model" / "README.md").read_text()
        assert f"\n{words} on 32 texts given for evaluation." in card
        assert f"| log loss | {model.metrics_['log_loss']:.4f} |" in card
