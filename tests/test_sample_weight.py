"""Weights of texts: in the loss, the n-gram model, evaluations and `TextClassifier`."""

import pickle
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch.utils.data import DataLoader, Subset

from tests import strategies, toys
from textrnn import Batch, PaddingCollator, TextClassifier, WordDataset
from textrnn.data.dataset import draw_stratified
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.ngrams import fit_ngrams, fit_scales
from textrnn.training import find_learning_rate, pretrain
from textrnn.training.losses import Loss, balanced_weights

KINDS = {
    "plain": {},
    "class weights": {"class_weights": [0.2, 3.0, 1.0]},
    "smoothing": {"class_weights": [0.2, 3.0, 1.0], "label_smoothing": 0.2},
    "multi-label": {"class_weights": [0.2, 3.0, 1.0]},
}


def counts(texts: int) -> st.SearchStrategy[list[int]]:
    """Draw how often each of some texts occurs, at least one of them once.

    Example: ``[0, 2, 1]``
    """
    return st.lists(st.integers(0, 3), min_size=texts, max_size=texts).filter(any)


def repeated(batch: Batch, times: list[int]) -> Batch:
    """Return each text as often as told."""
    often = torch.tensor(times)
    return Batch(
        batch.input_ids.repeat_interleave(often, 0),
        batch.lengths.repeat_interleave(often),
        None if batch.labels is None else batch.labels.repeat_interleave(often, 0),
    )


def weighted(batch: Batch, weights: object) -> Batch:
    """Return a batch with weights."""
    return replace(batch, weights=torch.as_tensor(weights, dtype=torch.float32))


# The loss of a batch.


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10)
@given(times=counts(6))
def test_a_weight_of_two_is_the_text_twice(kind, times):
    """Loss and gradients of a batch with whole weights are those of the repeated texts."""
    (batch,) = toys.make_batches((6,), multilabel=kind == "multi-label")
    results = []
    for each in (weighted(batch, times), repeated(batch, times)):
        model, loss = toys.make_model(dropout=0.0), Loss(**KINDS[kind])
        value = loss(model(each.input_ids, each.lengths), each.labels, each.weights)
        value.backward()
        total = torch.as_tensor(loss.weight(each.labels, each.weights)).float()
        results.append([value.detach(), total, [p.grad for p in model.parameters()]])
    assert toys.worst_difference(*results) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_equal_weights_change_no_loss(kind):
    """Only the ratios of weights matter."""
    (batch,) = toys.make_batches((6,), multilabel=kind == "multi-label")
    logits, loss = torch.randn(6, 3), Loss(**KINDS[kind])
    for weight in (1.0, 1e-6, 1e6):
        found = loss(logits, batch.labels, torch.full((6,), weight))
        torch.testing.assert_close(found, loss(logits, batch.labels))


def test_a_batch_without_weight_moves_nothing():
    """Its loss is 0 and has no gradient, rather than NaN; other batches of a step count."""
    empty, full = toys.make_batches((3, 4))
    empty = weighted(empty, [0, 0, 0])
    results = []
    for batches in ([empty, full], [full]):
        model = toys.make_model(dropout=0.0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        trainer = toys.make_trainer(model, optimizer=optimizer, accumulation_steps=2)
        history = trainer.fit(batches, epochs=2)
        results.append([toys.weights_of(model), toys.timeless(history)])
    assert toys.worst_difference(*results) < 1e-6
    logits = torch.zeros(3, 3, requires_grad=True)
    loss = Loss()(logits, empty.labels, empty.weights)
    loss.backward()
    assert loss.item() == 0.0
    assert not logits.grad.any()


@given(strategies.classified_texts(), st.data())
def test_balanced_weights_count_texts_by_weight(drawn, data):
    """They are those of scikit-learn for the same weights, and of repeated texts."""
    logits, labels = drawn
    times = data.draw(counts(len(labels)))
    weights = torch.tensor(times, dtype=torch.float32)
    found = balanced_weights(labels, logits.shape[1], weights)
    again = balanced_weights(labels.repeat_interleave(torch.tensor(times)), logits.shape[1])
    torch.testing.assert_close(found, again)
    present = labels[weights > 0].unique().numpy()
    share = len(present) / logits.shape[1]  # scikit-learn divides by the classes it sees
    used = (weights > 0).numpy()
    expected = share * compute_class_weight(
        "balanced", classes=present, y=labels.numpy()[used], sample_weight=weights.numpy()[used]
    )
    np.testing.assert_allclose(found.numpy()[present], expected, rtol=1e-6)


def test_balanced_weights_of_multi_label_texts_count_by_weight():
    """Absent by present weight."""
    targets = torch.tensor([[1.0, 0, 1], [0, 0, 1], [0, 1, 1]])
    assert balanced_weights(targets, 3, torch.tensor([1.0, 2, 3])).tolist() == [5.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1.0, -1.0], InvalidValueError, "finite numbers of at least 0, but text 1 has -1.0"),
        ([float("nan"), 1.0], InvalidValueError, "at least 0, but text 0 has nan"),
        ([1.0, float("inf")], InvalidValueError, "at least 0, but text 1 has inf"),
        ([1, 2], InvalidTypeError, "the weights of the texts to be floats, but got torch.int64"),
    ],
)
def test_invalid_weights_of_a_batch_are_refused(weights, error, message):
    """Also those of a loader whose batches are unknown before."""
    with pytest.raises(error, match=message):
        Loss()(torch.zeros(2, 3), torch.tensor([0, 1]), torch.tensor(weights))


def test_a_loss_of_ones_own_takes_no_weights():
    """It gives the mean of a batch, which can't be weighted afterwards."""
    batches = toys.make_batches((4,), weighted=True)
    trainer = toys.make_trainer(loss=torch.nn.CrossEntropyLoss())
    with pytest.raises(InvalidValueError, match="`weights` to be None with a `loss` function"):
        trainer.fit(batches, epochs=1)


# Runs.


class Stream:
    """Batches of a length that is unknown."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch]:
        """Begin again."""
        return iter(self.batches)


def test_weights_that_are_all_zero_are_refused():
    """Before the first step where they are known, else by an evaluation."""
    batches = [weighted(batch, torch.zeros(len(batch))) for batch in toys.make_batches((3, 2))]
    trainer = toys.make_trainer()
    loaders = {"loader": (batches,), "eval_loader": (toys.make_batches((3,)), batches)}
    for name, given_loaders in loaders.items():
        with pytest.raises(InvalidValueError, match=f"`{name}` to have a text of weight above 0"):
            trainer.fit(*given_loaders, epochs=1)
    with pytest.raises(InvalidValueError, match="`loader` to have a text of weight above 0"):
        trainer.evaluate(Stream(batches))


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
@settings(max_examples=10)
def test_evaluations_weight_the_loss_whatever_the_batches(sizes):
    """So do further metrics, which get the weights; accuracy counts all texts alike."""
    batches = toys.make_batches(tuple(sizes), weighted=True)
    whole = toys.merge(batches)
    trainer = toys.make_trainer(metrics={"log_loss": Loss()})
    found, again = trainer.evaluate(batches), trainer.evaluate([whole])
    assert toys.worst_difference(found, again) < 1e-6
    logits = trainer.predict([whole])
    probabilities = logits.double().softmax(dim=1).numpy()
    labels, weights = whole.labels.numpy(), whole.weights.numpy()
    expected = log_loss(labels, probabilities, sample_weight=weights, labels=[0, 1, 2])
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert found["log_loss"] == pytest.approx(expected, rel=1e-5)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, logits.argmax(dim=1).numpy()))


def test_batches_without_weights_count_one_each():
    """Some batches of a list may have weights, others none."""
    batches = toys.make_batches((3, 4))
    some = [weighted(batches[0], [2.0, 0.5, 1.0]), batches[1]]
    all_of_them = [some[0], weighted(batches[1], torch.ones(4))]
    trainer = toys.make_trainer(metrics={"sum": lambda *columns: columns[2].sum()})
    assert trainer.evaluate(some)["sum"] == 7.5
    assert toys.worst_difference(trainer.evaluate(some), trainer.evaluate(all_of_them)) < 1e-6
    texts = [Batch(b.input_ids, b.lengths, b.labels, weights=b.weights) for b in some]
    models = [fit_ngrams(each, vocab_size=16, num_classes=3) for each in (texts, all_of_them)]
    assert toys.worst_difference(*map(toys.weights_of, models)) == 0.0


def test_a_range_test_weights_its_losses():
    """Equal batches with other weights give another curve."""
    (batch,) = toys.make_batches((6,), weighted=True)
    curves = [
        find_learning_rate(toys.make_model(dropout=0.0), [each], num_steps=5).losses
        for each in (batch, replace(batch, weights=None), weighted(batch, torch.ones(6)))
    ]
    assert toys.worst_difference(curves[1], curves[2]) < 1e-6
    assert toys.worst_difference(curves[0], curves[1]) > 1e-3


def test_pretraining_ignores_weights():
    """All texts are language alike."""
    dataset = toys.make_dataset(12)
    results = []
    for weights in (None, np.arange(12)):
        dataset.weights = weights
        model = toys.make_model()
        history = pretrain(model, dataset, epochs=2, batch_size=4, progress=False)
        results.append([toys.weights_of(model), toys.timeless(history)])
    assert toys.worst_difference(*results) == 0.0


# Data sets.


def make_weighted(texts: int = 7) -> WordDataset:
    """Return a data set whose text `i` has the weight `i / 2`."""
    dataset = toys.make_dataset(texts)
    return WordDataset(
        [" ".join(["w1"] * (1 + i % 4)) for i in range(texts)],
        dataset.labels,
        dataset.vocabulary,
        str.split,
        weights=np.arange(texts) / 2,
    )


@pytest.mark.parametrize("num_workers", [0, 1])
def test_weights_follow_their_texts(num_workers):
    """Through selections, splits, subsets, workers and batches of any order."""
    dataset = make_weighted()
    part = dataset.select([6, 1, 3])
    assert part.weights.tolist() == [3.0, 0.5, 1.5]
    assert part[0]["weight"] == 3.0
    assert torch.cat([each.weights for each in dataset.split(0.4)]).sum() == dataset.weights.sum()
    for source in (dataset, Subset(dataset, [2, 5, 4]), part):
        loader = DataLoader(
            source, 2, shuffle=True, num_workers=num_workers, collate_fn=PaddingCollator()
        )
        for batch in loader:
            assert torch.equal(
                batch.weights,
                batch.indices / 2 if source is not part else part.weights[batch.indices],
            )
            assert torch.equal(batch.to("cpu").weights, batch.weights)
    assert pickle.loads(pickle.dumps(dataset)).weights.tolist() == dataset.weights.tolist()  # noqa: S301 - ours


def test_items_may_have_a_weight():
    """A collator takes those of any data set."""
    items = [{"input_ids": [2, 3], "weight": 0.5}, {"input_ids": [2], "weight": np.float32(3)}]
    assert PaddingCollator()(items).weights.tolist() == [0.5, 3.0]
    with pytest.raises(InvalidValueError, match="have 'weight' or none, but 1 of 2 have none"):
        PaddingCollator()([items[0], {"input_ids": [2]}])
    with pytest.raises(InvalidValueError, match="`weight` to be a number of at least 0"):
        PaddingCollator()([{"input_ids": [2], "weight": -1}])


COLUMNS = {
    "list": list,
    "array": np.array,
    "booleans": lambda values: np.array(values) > 0,
    "tensor": torch.tensor,
    "pandas": pd.Series,
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_of_any_kind_are_weights(kind):
    """Lists, arrays, masks, tensors and columns of data frames."""
    dataset = make_weighted(3)
    dataset.weights = COLUMNS[kind]([1, 0, 1])
    assert dataset.weights.tolist() == [1.0, 0.0, 1.0]
    assert dataset.weights.dtype == torch.float32


@pytest.fixture(name="classifier", scope="module")
def _classifier() -> TextClassifier:
    """Return a classifier that no test changes."""
    return fitted()


WRONG = [
    ([1.0, 2.0], InvalidValueError, r"one number for each of the 4 texts, but got \(2,\)"),
    (np.ones((4, 1)), InvalidValueError, r"one number for each of the 4 texts, but got \(4, 1\)"),
    (["1", "2", "3", "4"], InvalidTypeError, "one number for each of the 4 texts, but got"),
    ([1.0, None, 1.0, 1.0], InvalidTypeError, "one number for each of the 4 texts, but got"),
    (3.0, InvalidValueError, r"one number for each of the 4 texts, but got \(\)"),
    ([1.0, 1.0, -0.5, 1.0], InvalidValueError, r"\[2\]` to be a finite number of at least 0"),
    ([1.0, float("nan"), 1.0, 1.0], InvalidValueError, r"\[1\]` to be a finite number .* got nan"),
    ([1.0, 1.0, 1.0, 1e39], InvalidValueError, r"\[3\]` to be a finite number .* got 1e\+39"),
    ([0.0] * 4, InvalidValueError, "to be above zero for at least one text"),
]


@pytest.mark.parametrize(("weights", "error", "message"), WRONG)
def test_invalid_weights_are_refused(classifier, weights, error, message):
    """By data sets, by `fit` and by `score`; nothing changes."""
    dataset = make_weighted(4)
    with pytest.raises(error, match=f"Expected `weights.*{message}"):
        dataset.weights = weights
    assert dataset.weights.tolist() == [0.0, 0.5, 1.0, 1.5]
    logits = [torch.zeros(4, 2)] * 2
    with pytest.raises(error, match=f"Expected `weights.*{message}"):
        fit_scales(logits, torch.tensor([0, 1, 0, 1]), weights)
    before = classifier.predict_proba(["oil"])
    for call in (classifier.fit, classifier.score):
        with pytest.raises(error, match=f"Expected `sample_weight.*{message}"):
            call(["oil", "goal"] * 2, [0, 1] * 2, sample_weight=weights)
    assert np.array_equal(classifier.predict_proba(["oil"]), before)


def test_folders_have_no_weights(tmp_path):
    """`save` refuses them; an opened data set can be given some."""
    dataset = make_weighted()
    with pytest.raises(InvalidValueError, match="`weights` to be None for `save`; assign them"):
        dataset.save(tmp_path / "news")
    assert not (tmp_path / "news").exists()
    weights, dataset.weights = dataset.weights, None
    dataset.save(tmp_path / "news")
    opened = WordDataset.open(tmp_path / "news", tokenizer=str.split)
    assert opened.weights is None
    opened.weights = weights
    assert opened.select([4, 2]).weights.tolist() == [2.0, 1.0]
    assert pickle.loads(pickle.dumps(opened)).weights.tolist() == weights.tolist()  # noqa: S301 - ours


# N-grams and blend weights.


def texts_of_ids(texts: int = 12, **settings: bool) -> Batch:
    """Return one batch of texts."""
    return toys.make_batches((texts,), **settings)[0]


@pytest.mark.parametrize("kind", ["plain", "balanced", "multi-label", "spelling"])
@settings(max_examples=6)
@given(times=counts(12))
def test_ngrams_count_a_text_of_weight_two_twice(kind, times):
    """N-grams, their inverse document frequencies and the optimum are those of repeated texts."""
    options = {"vocab_size": 16, "num_classes": 3, "max_ngrams": 20, "prior_variance": 3.0}
    if kind == "balanced":
        options["class_weights"] = "balanced"
    if kind == "spelling":
        options["words"] = ["", "", "", "", *(f"word{i % 3}s" for i in range(12))]
    times = [1 + each for each in times[:6]] + times[6:]  # so that each class occurs
    batch = texts_of_ids(multilabel=kind == "multi-label")
    one = fit_ngrams([weighted(batch, times)], **options)
    other = fit_ngrams([repeated(batch, times)], **options)
    assert torch.equal(one.keys, other.keys)
    torch.testing.assert_close(one.idf, other.idf)
    with torch.no_grad():
        logits = [model(batch.input_ids, batch.lengths) for model in (one, other)]
    several = kind == "multi-label"
    probabilities = [each.sigmoid() if several else each.softmax(dim=1) for each in logits]
    assert toys.worst_difference(*probabilities) < 1e-3  # of two runs in single precision


def test_weighted_ngrams_are_those_of_scikit_learn():
    """A logistic regression with the same weights on features scaled by weighted ratios."""
    batch = texts_of_ids(texts=60)
    labels = (batch.labels > 0).long()
    weights = np.random.default_rng(1).random(60).astype(np.float32) * 3
    batch = replace(batch, labels=labels, weights=torch.from_numpy(weights))
    model = fit_ngrams([batch], vocab_size=16, num_classes=2, prior_variance=2.0)
    places, values = model.features(batch.input_ids, batch.lengths)
    features = torch.zeros(60, model.num_ngrams).scatter_add_(1, places, values).numpy()
    held, one = features > 0, labels.numpy() == 1
    sums = [(held * weights[:, None])[part].sum(0) + 1 for part in (one, ~one)]
    totals = [weights[part].sum() + 2 for part in (one, ~one)]
    ratio = np.log(sums[0] / totals[0]) - np.log(sums[1] / totals[1])
    # A softmax over two classes, whose ratios are opposite, is a sigmoid with twice the variance.
    reference = LogisticRegression(C=4.0, tol=1e-10, max_iter=10_000)
    reference.fit(features * ratio, labels, sample_weight=weights)
    logits = model(batch.input_ids, batch.lengths)
    np.testing.assert_allclose(
        (logits[:, 1] - logits[:, 0]).detach(),
        reference.decision_function(features * ratio),
        atol=0.02,
    )


def test_ngrams_of_texts_without_weight_are_unknown():
    """A text of weight 0 changes nothing, in batches of any size."""
    batch = texts_of_ids()
    weights = torch.tensor([1.0, 0, 2, 1, 0, 1, 1, 3, 0, 1, 1, 0])
    used = weights > 0
    without = Batch(
        batch.input_ids[used], batch.lengths[used], batch.labels[used], weights=weights[used]
    )
    whole = weighted(batch, weights)
    parts = [
        Batch(whole.input_ids[i : i + 4], whole.lengths[i : i + 4], whole.labels[i : i + 4],
              weights=weights[i : i + 4])
        for i in (0, 4, 8)
    ]  # fmt: skip
    models = [
        fit_ngrams(each, vocab_size=16, num_classes=3) for each in ([without], [whole], parts)
    ]
    for model in models[1:]:
        assert torch.equal(model.keys, models[0].keys)
        assert toys.worst_difference(*map(toys.weights_of, (model, models[0]))) < 5e-3
    zeros = [weighted(batch, torch.zeros(12))]
    for previous in (None, models[0]):
        with pytest.raises(InvalidValueError, match="`loader` to have a text of weight above 0"):
            fit_ngrams(zeros, vocab_size=16, num_classes=3, previous=previous)


@given(drawn=strategies.classified_texts(), data=st.data())
@settings(max_examples=20)
def test_blend_weights_count_a_text_of_weight_two_twice(drawn, data):
    """Loss, penalty and the mean loss that is returned are those of repeated texts."""
    logits, labels = drawn
    times = data.draw(counts(len(labels)))
    often = torch.tensor(times)
    other = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
    scales, loss = fit_scales((logits, other), labels, times)
    again, expected = fit_scales(
        [each.repeat_interleave(often, 0) for each in (logits, other)],
        labels.repeat_interleave(often),
    )
    torch.testing.assert_close(scales, again, atol=1e-4, rtol=1e-4)
    assert loss == pytest.approx(expected, abs=1e-5)


# `TextClassifier`.

BUSINESS = ["oil", "price", "stock", "market", "bank", "fund"]
SPORTS = ["goal", "match", "keeper", "team", "win", "league"]
SMALL = {
    "hidden_size": 8,
    "embedding_size": 8,
    "epochs": 3,
    "batch_size": 32,
    "learning_rate": 0.01,
    "device": "cpu",
    "progress": False,
}


def noisy_news(
    texts: int = 160, *, wrong: float = 0.3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return texts, true labels and labels of which some are wrong."""
    generator = np.random.default_rng(0)
    labels = np.arange(texts) % 2
    words = [
        " ".join(
            generator.choice(BUSINESS if label else SPORTS)
            if generator.random() < 0.5
            else f"w{generator.integers(20)}"
            for _ in range(6)
        )
        for label in labels
    ]
    given_labels = np.where(generator.random(texts) < wrong, 1 - labels, labels)
    return np.array(words), labels, given_labels


TEXTS, TRUE, LABELS = noisy_news()


def fitted(weights: object = None, **params: object) -> TextClassifier:
    """Return a classifier of the noisy texts."""
    return TextClassifier(**SMALL | params).fit(TEXTS, LABELS, sample_weight=weights)


def test_equal_weights_give_the_same_classifier(classifier):
    """Bit for bit; only ratios matter."""
    plain = classifier.predict_proba(TEXTS)
    assert np.array_equal(fitted(np.full(160, 0.3)).predict_proba(TEXTS), plain)
    weights = np.random.default_rng(1).random(160)
    one, other = fitted(weights), fitted(weights * 2.0**-90)
    assert np.array_equal(one.predict_proba(TEXTS), other.predict_proba(TEXTS))
    assert not np.array_equal(one.predict_proba(TEXTS), plain)


@pytest.mark.parametrize("scale", [1.0, np.linspace(0.5, 2, 160)])
def test_a_text_without_weight_is_left_out(scale):
    """The classifier is bit for bit the one without these texts; their labels are known."""
    used = np.arange(160) % 3 > 0
    weights = used * scale
    with_zeros = fitted(weights)
    texts, labels = TEXTS[used], LABELS[used]
    without = TextClassifier(**SMALL).fit(texts, labels, sample_weight=weights[used])
    assert np.array_equal(with_zeros.predict_proba(TEXTS), without.predict_proba(TEXTS))
    assert with_zeros.vocabulary_ == without.vocabulary_
    assert with_zeros.data_ == without.data_
    rare = TextClassifier(**SMALL).fit(
        [*TEXTS, "oil"], [*LABELS.tolist(), 2], sample_weight=[*np.ones(160), 0]
    )
    assert rare.classes_.tolist() == [0, 1, 2]
    assert rare.data_["label_counts"][2] == 0


def test_weights_that_are_lost_in_single_precision_are_zero():
    """A weight that is nothing beside the others leaves its text out."""
    weights = np.ones(160)
    weights[3] = 1e-60
    assert fitted(weights).data_ == fitted(np.arange(160) != 3).data_


@pytest.mark.parametrize("ngram_order", [0, 2])
def test_unreliable_labels_can_be_weighted_down(ngram_order):
    """Texts whose labels are wrong matter less, to the network and to the n-grams."""
    reliable = np.where(LABELS == TRUE, 1.0, 0.02)
    options = {"epochs": 12, "ngram_order": ngram_order}
    unweighted = fitted(**options).score(TEXTS, TRUE)
    assert fitted(reliable, **options).score(TEXTS, TRUE) > max(unweighted, 0.97)


def held_out_texts() -> np.ndarray:
    """Return which of the noisy texts are held out, `(texts,)`."""
    return draw_stratified(LABELS, 0.1, np.random.default_rng(0))


def test_the_loss_of_held_out_texts_is_weighted():
    """It chooses the best epoch, and is that of scikit-learn."""
    weights = np.random.default_rng(2).random(160) ** 3
    classifier = fitted(weights, ngram_order=0, epochs=6)
    part = held_out_texts()
    probabilities = classifier.predict_proba(TEXTS[part])
    expected = log_loss(LABELS[part], probabilities, sample_weight=weights[part])
    assert classifier.metrics_["log_loss"] == pytest.approx(expected, rel=1e-4)
    assert min(classifier.history_["eval_log_loss"]) == pytest.approx(expected, rel=1e-4)
    assert classifier.metrics_["accuracy"] == np.mean(probabilities.argmax(axis=1) == LABELS[part])


@pytest.mark.parametrize("given_apart", [False, True])
def test_blend_weights_are_fitted_on_weighted_texts(monkeypatch, given_apart):
    """Those of an `eval_set` have the weight 1 each."""
    found = []

    def spy(logits, labels, weights=None, **prior):
        found.append(weights)
        return fit_scales(logits, labels, weights, **prior)

    monkeypatch.setattr("textrnn.estimator.learning.fit_scales", spy)
    weights = np.random.default_rng(3).random(160)
    eval_set = (TEXTS[:20], LABELS[:20]) if given_apart else None
    classifier = TextClassifier(**SMALL).fit(TEXTS, LABELS, eval_set, sample_weight=weights)
    assert 0 < classifier.metrics_["log_loss"] < 2
    if given_apart:
        assert found[0] is None
    else:
        expected = weights[held_out_texts()] / weights.mean()
        np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-5)


def test_class_weights_and_weights_of_texts_are_multiplied():
    """A class of weight 3 is trained on like texts of weight 3."""
    options = {"ngram_order": 0, "label_smoothing": 0.0}
    threefold = np.where(LABELS == 0, 3.0, 1.0)
    others = np.random.default_rng(4).random(160)
    one = fitted(others, class_weight={0: 3.0}, **options)
    other = fitted(others * threefold, **options)
    np.testing.assert_allclose(one.predict_proba(TEXTS), other.predict_proba(TEXTS), atol=1e-4)


@pytest.mark.parametrize("kind", ["buckets", "subset", "list"])
def test_balanced_classes_of_a_trainer_count_texts_by_weight(kind):
    """From a data set, a part of it, or a list of batches."""
    dataset = make_weighted(9)
    loader = toys.bucketed(dataset, 4)
    if kind == "subset":
        loader = toys.shuffled(Subset(dataset, range(2, 9)), 4)
    if kind == "list":
        loader = list(loader)
    trainer = toys.make_trainer(class_weights="balanced")
    trainer.fit(loader, epochs=1)
    part = dataset.select(range(2 if kind == "subset" else 0, 9))
    expected = balanced_weights(part.labels, 3, part.weights)
    assert torch.equal(trainer.loss.class_weights, expected)
    assert not torch.equal(expected, balanced_weights(part.labels, 3))


def test_multi_label_texts_have_weights():
    """Texts of weight 0 are left out, and others matter by their weight."""
    topics = [["oil"] if label else ["sports", "oil"] for label in TRUE]
    wrong = [["sports"] if i % 3 == 0 else row for i, row in enumerate(topics)]
    reliable = np.arange(160) % 3 > 0
    options = SMALL | {"epochs": 8}
    classifier = TextClassifier(**options).fit(TEXTS, wrong, sample_weight=reliable)
    left_out = TextClassifier(**options).fit(
        TEXTS[reliable], [row for row, ok in zip(wrong, reliable, strict=True) if ok]
    )
    assert np.array_equal(classifier.predict_proba(TEXTS), left_out.predict_proba(TEXTS))
    low = TextClassifier(**options).fit(TEXTS, wrong, sample_weight=np.where(reliable, 1, 0.01))
    assert low.score(TEXTS, topics) > TextClassifier(**options).fit(TEXTS, wrong).score(
        TEXTS, topics
    )


def test_training_goes_on_with_weights():
    """A warm start continues with other weights than before."""
    classifier = fitted(warm_start=True)
    before = classifier.score(TEXTS, TRUE)
    reliable = np.where(LABELS == TRUE, 1.0, 0.02)
    for _ in range(3):
        classifier.fit(TEXTS, LABELS, sample_weight=reliable)
    assert classifier.score(TEXTS, TRUE) > before


def test_a_score_weights_texts_as_scikit_learn_does(classifier):
    """Right predictions count by their weight."""
    weights = np.random.default_rng(5).random(160)
    predicted = classifier.predict(TEXTS)
    expected = accuracy_score(LABELS, predicted, sample_weight=weights)
    assert classifier.score(TEXTS, LABELS, sample_weight=weights) == pytest.approx(expected)
    assert classifier.score(TEXTS, LABELS) == accuracy_score(LABELS, predicted)
