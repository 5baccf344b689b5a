"""Streaming metrics agree with scikit-learn, whatever the batches."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from torch import Tensor

from tests.strategies import classified_texts, labelled_texts
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.training.metrics import ClassificationMetrics, MultilabelMetrics
from textrnn.training.reports import ClassScores

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")


def measured(logits: Tensor, labels: Tensor, **settings) -> ClassificationMetrics:
    """Count one batch."""
    metrics = ClassificationMetrics(logits.shape[1], **settings)
    metrics.update(logits, labels)
    return metrics


def plain_calibration_error(logits: Tensor, labels: Tensor, num_bins: int) -> float:
    """Compute Guo et al.'s equation 3 text by text, bin by bin."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    probabilities = torch.softmax(logits, dim=1)
    for row, label in zip(probabilities, labels.tolist(), strict=True):
        confidence = row.max()
        edges = [torch.tensor(edge, dtype=row.dtype) / num_bins for edge in range(1, num_bins + 1)]
        number = sum(bool(confidence > edge) for edge in edges)
        entry = (float(confidence), int(row.argmax()) == label)
        bins.setdefault(min(number, num_bins - 1), []).append(entry)
    error = 0.0
    for texts in bins.values():
        accuracy = sum(right for _, right in texts) / len(texts)
        confidence = sum(value for value, _ in texts) / len(texts)
        error += len(texts) / len(labels) * abs(accuracy - confidence)
    return error


@settings(max_examples=40)
@given(classified_texts())
def test_scores_equal_those_of_scikit_learn(texts):
    """Accuracy, F1 of every kind and the confusions are scikit-learn's."""
    logits, labels = texts
    num_classes = logits.shape[1]
    predictions = logits.numpy().argmax(axis=1)
    metrics = measured(logits, labels)
    values, report = metrics.compute(), metrics.report()
    labels = labels.numpy()  # scikit-learn 1.6 mixes no tensors and arrays

    assert values["accuracy"] == pytest.approx(
        sklearn_metrics.accuracy_score(labels, predictions), abs=1e-12
    )
    for average in ("macro", "weighted"):
        expected = sklearn_metrics.f1_score(labels, predictions, average=average, zero_division=0)
        assert values[f"{average}_f1"] == pytest.approx(expected, abs=1e-12)
    ids = list(range(num_classes))
    rows = sklearn_metrics.precision_recall_fscore_support(
        labels, predictions, labels=ids, zero_division=0
    )
    found = [(c.precision, c.recall, c.f1, c.support) for c in report.classes]
    np.testing.assert_allclose(found, np.stack(rows, axis=1), atol=1e-12)
    confusion = sklearn_metrics.confusion_matrix(labels, predictions, labels=ids)
    np.testing.assert_array_equal(report.confusion, confusion)


@settings(max_examples=40)
@given(classified_texts(min_classes=3, distinct=True), st.data())
def test_top_k_accuracy_equals_that_of_scikit_learn(texts, data):
    """Where no logits are equal, top-k accuracy is scikit-learn's."""
    logits, labels = texts
    num_classes = logits.shape[1]
    k = data.draw(st.integers(1, num_classes - 1))
    expected = sklearn_metrics.top_k_accuracy_score(labels, logits, k=k, labels=range(num_classes))
    found = measured(logits, labels, top_k=(k,)).compute()[f"top_{k}_accuracy"]
    assert found == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40)
@given(classified_texts())
def test_equal_logits_rank_by_class_id(texts):
    """Of equal logits the lower id comes first, so top-1 is the accuracy and top-all is 1."""
    logits, labels = texts
    num_classes = logits.shape[1]
    ranking = np.argsort(-logits.numpy(), axis=1, kind="stable")
    values = measured(logits, labels, top_k=range(1, num_classes + 1)).compute()
    for k in range(1, num_classes + 1):
        hits = (ranking[:, :k] == labels.numpy()[:, None]).any(axis=1)
        assert values[f"top_{k}_accuracy"] == pytest.approx(hits.mean(), abs=1e-12)
    assert values["top_1_accuracy"] == values["accuracy"]
    assert values[f"top_{num_classes}_accuracy"] == 1.0


@settings(max_examples=30)
@given(classified_texts(), st.integers(1, 20))
def test_calibration_error_equals_a_plain_computation(texts, num_bins):
    """The streamed calibration error is that of the definition."""
    logits, labels = texts
    found = measured(logits, labels, num_bins=num_bins).compute()["calibration_error"]
    assert found == pytest.approx(plain_calibration_error(logits, labels, num_bins), abs=1e-6)


def test_calibration_error_of_known_probabilities():
    """Four texts at 75 % of which two are right are 25 points off; one bin may even that out."""
    logits = torch.tensor([[3.0, 1.0]]).log().repeat(4, 1)
    values = measured(logits, torch.tensor([0, 0, 1, 1])).compute()
    assert values["calibration_error"] == pytest.approx(0.25, abs=1e-7)
    logits = torch.tensor([[3.0, 1.0], [99.0, 1.0]]).log()
    labels = torch.tensor([0, 1])
    assert measured(logits, labels).compute()["calibration_error"] == pytest.approx(0.62, abs=1e-7)
    one_bin = measured(logits, labels, num_bins=1).compute()["calibration_error"]
    assert one_bin == pytest.approx(0.87 - 0.5, abs=1e-7)


@settings(max_examples=40)
@given(classified_texts(), st.data())
def test_batches_do_not_change_the_result(texts, data):
    """Any cut into batches, in any order and over any number of processes, counts the same."""
    logits, labels = texts
    order = torch.tensor(data.draw(st.permutations(range(len(labels)))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(labels)), max_size=5)))
    processes = [ClassificationMetrics(logits.shape[1], top_k=(1, 2)) for _ in range(3)]
    for number, rows in enumerate(order.tensor_split(cuts)):
        processes[number % 3].update(logits[rows], labels[rows])
    whole = measured(logits, labels, top_k=(1, 2))
    streamed = processes[0].merge(processes[1]).merge(processes[2])
    assert torch.equal(streamed.counts, whole.counts)
    assert streamed.compute() == whole.compute()


@settings(max_examples=40)
@given(labelled_texts())
def test_multilabel_scores_equal_those_of_scikit_learn(texts):
    """Subset accuracy and F1 of every kind are scikit-learn's."""
    logits, labels = texts
    predictions = (logits.sigmoid() > 0.5).int()
    metrics = MultilabelMetrics(logits.shape[1])
    metrics.update(logits, labels)
    values, report = metrics.compute(), metrics.report()

    exact = np.all(labels.numpy() == predictions.numpy(), axis=1).mean()
    assert values["accuracy"] == pytest.approx(exact, abs=1e-12)
    if logits.shape[1] > 1:  # scikit-learn takes a single column for ordinary classes
        for average in ("micro", "macro", "weighted"):
            expected = sklearn_metrics.f1_score(
                labels, predictions, average=average, zero_division=0
            )
            assert values[f"{average}_f1"] == pytest.approx(expected, abs=1e-12)
        rows = sklearn_metrics.precision_recall_fscore_support(labels, predictions, zero_division=0)
        found = [(c.precision, c.recall, c.f1, c.support) for c in report.classes]
        np.testing.assert_allclose(found, np.stack(rows, axis=1), atol=1e-12)


@settings(max_examples=40)
@given(labelled_texts(), st.integers(0, 9))
def test_multilabel_batches_do_not_change_the_result(texts, cut):
    """Two processes with a part of the texts each have the same result as one with all."""
    logits, labels = texts
    whole, first, second = (MultilabelMetrics(logits.shape[1]) for _ in range(3))
    whole.update(logits, labels)
    first.update(logits[:cut], labels[:cut])
    second.update(logits[cut:], labels[cut:])
    assert first.merge(second).compute() == whole.compute()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_multilabel_labels_may_have_any_type(dtype):
    """Labels count as zeros and ones whatever their type."""
    metrics = MultilabelMetrics(2)
    metrics.update(
        torch.tensor([[1.0, -1.0], [1.0, 1.0]]), torch.tensor([[1, 0], [0, 1]]).to(dtype)
    )
    assert metrics.compute()["accuracy"] == 0.5


def test_multilabel_threshold_is_a_probability():
    """A label is predicted above the threshold, not at it."""
    logits = torch.tensor([[0.0, 0.1, 2.0]])
    for threshold, num_predicted in ((0.5, 2), (0.6, 1), (0.0, 3), (1.0, 0)):
        metrics = MultilabelMetrics(3, threshold=threshold)
        metrics.update(logits, torch.ones(1, 3))
        assert sum(scores.recall for scores in metrics.report().classes) == num_predicted


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_logits_of_every_precision_are_taken(dtype):
    """Half precision loses nothing that the logits still hold."""
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0], [0.5, 0.0, 0.0]])
    labels = torch.tensor([0, 1, 0])
    expected = measured(logits, labels, top_k=(2,)).compute()
    found = measured(logits.to(dtype), labels, top_k=(2,)).compute()
    assert found == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_every_integer_type_are_taken(dtype):
    """Small integer types do not overflow in the table of confusions."""
    logits = torch.eye(100)
    metrics = measured(logits, torch.arange(100).to(dtype))
    assert metrics.compute()["accuracy"] == 1.0


def test_infinite_logits_count_as_the_largest_number():
    """Infinities keep a text in the figures: one wins, two share, none at all is even."""
    inf = math.inf
    logits = torch.tensor([[inf, 0.0], [inf, inf], [-inf, -inf], [0.0, -inf]])
    values = measured(logits, torch.tensor([0, 0, 0, 0])).compute()
    assert values["accuracy"] == 1.0
    assert values["calibration_error"] == pytest.approx((0.5 + 0.5) / 4)


def test_a_nan_logit_makes_every_value_nan():
    """NaN is propagated, and is null in JSON."""
    metrics = measured(
        torch.tensor([[1.0, math.nan], [1.0, 0.0]]), torch.tensor([0, 0]), top_k=(1,)
    )
    assert all(math.isnan(value) for value in metrics.compute().values())
    report = metrics.report()
    assert all(math.isnan(scores.f1) for scores in report.classes)
    assert report.confusion == ((1, 0), (0, 0))
    assert json.loads(report.to_json())["accuracy"] is None

    multilabel = MultilabelMetrics(2)
    multilabel.update(torch.tensor([[1.0, math.nan]]), torch.tensor([[1, 0]]))
    assert all(math.isnan(value) for value in multilabel.compute().values())
    assert json.loads(multilabel.report().to_json())["classes"][0]["f1"] is None


def test_an_empty_batch_changes_nothing():
    """A process whose share of the texts is empty still takes part."""
    metrics = measured(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    before = metrics.counts.clone()
    metrics.update(torch.empty(0, 2), torch.empty(0, dtype=torch.int64))
    assert torch.equal(metrics.counts, before)


@pytest.mark.parametrize("metrics", [ClassificationMetrics(2), MultilabelMetrics(2)])
def test_reset_forgets_all_batches(metrics):
    """After a reset there is nothing to compute from."""
    labels = torch.tensor([0]) if type(metrics) is ClassificationMetrics else torch.tensor([[0, 1]])
    metrics.update(torch.tensor([[1.0, 0.0]]), labels)
    assert metrics.counts.any()
    metrics.reset()
    assert not metrics.counts.any()
    with pytest.raises(InvalidValueError, match="at least one text before a metric's value"):
        metrics.compute()


def test_metrics_made_in_inference_mode_go_on_outside():
    """Counts that were reset or moved in inference mode can still be added to."""
    metrics = ClassificationMetrics(2)
    with torch.inference_mode():
        metrics.reset()
        metrics.to("cpu").update(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    metrics.update(torch.tensor([[1.0, 0.0]], requires_grad=True), torch.tensor([1]))
    assert metrics.compute()["accuracy"] == 0.5
    assert not metrics.counts.requires_grad


@pytest.mark.cuda
@needs_cuda
def test_cuda_counts_the_same_without_waiting_for_the_device():
    """On the GPU nothing is fetched during updates, and the figures are those of the CPU."""
    logits, labels = torch.randn(1000, 7), torch.randint(0, 7, (1000,))
    on_cpu, on_gpu = (ClassificationMetrics(7, top_k=(1, 3)) for _ in range(2))
    on_cpu.update(logits, labels)
    on_gpu.to("cuda")
    moved = [(a.cuda(), b.cuda()) for a, b in zip(logits.split(64), labels.split(64), strict=True)]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in moved:
            on_gpu.update(*batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert on_gpu.compute() == pytest.approx(on_cpu.compute(), abs=1e-6)


@pytest.mark.cuda
@needs_cuda
def test_cuda_finds_impossible_labels_when_asked():
    """A label out of range neither stops the device nor goes unnoticed."""
    metrics = measured(torch.zeros(2, 3).cuda(), torch.tensor([1, 7]).cuda())
    with pytest.raises(InvalidValueError, match="from 0 to 2, but 1 texts have others"):
        metrics.compute()
    multilabel = MultilabelMetrics(2)
    multilabel.update(torch.zeros(1, 2).cuda(), torch.tensor([[1, 2]]).cuda())
    with pytest.raises(InvalidValueError, match="0 or 1 throughout, but 1 texts have others"):
        multilabel.compute()


def test_impossible_labels_of_another_device_are_found_when_asked():
    """Labels that can't be checked at once are counted, and raise an error with the result."""
    metrics = ClassificationMetrics(2)
    metrics.counts[-1] = 3  # as an update on a GPU leaves it
    with pytest.raises(InvalidValueError, match="class ids from 0 to 1, but 3 texts have others"):
        metrics.compute()
    multilabel = MultilabelMetrics(2)
    multilabel.counts[-1] = 1
    with pytest.raises(InvalidValueError, match="0 or 1 throughout, but 1 texts have others"):
        multilabel.report()


def test_several_processes_sum_their_counts():
    """The sum of their counts gives the values of all texts."""
    first = measured(torch.eye(3), torch.tensor([0, 1, 1]))
    second = measured(torch.eye(3), torch.tensor([0, 1, 2]))
    total = ClassificationMetrics(3)
    total.counts += first.counts + second.counts
    assert total.compute()["accuracy"] == pytest.approx(5 / 6)


def test_merge_refuses_other_settings():
    """Counts of another kind or size would add up to nonsense."""
    metrics = ClassificationMetrics(2)
    for other in (ClassificationMetrics(3), ClassificationMetrics(2, num_bins=3), "counts"):
        with pytest.raises(InvalidValueError, match=r"to be ClassificationMetrics\(2, top_k"):
            metrics.merge(other)
    with pytest.raises(InvalidValueError, match=r"MultilabelMetrics\(2, threshold=0.5\)"):
        MultilabelMetrics(2).merge(MultilabelMetrics(2, threshold=0.4))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"num_classes": 0},
            InvalidValueError,
            "`num_classes` to be a positive integer, but got 0",
        ),
        ({"num_classes": 2.0}, InvalidTypeError, "`num_classes` to be a positive integer"),
        ({"num_classes": 4, "num_bins": 0}, InvalidValueError, "`num_bins` to be a positive"),
        ({"num_classes": 4, "top_k": (0,)}, InvalidValueError, "`top_k` to be a positive integer"),
        (
            {"num_classes": 4, "top_k": (1, 5)},
            InvalidValueError,
            "`top_k` to be numbers from 1 to 4",
        ),
    ],
)
def test_bad_settings_are_refused(settings, error, message):
    """A metric checks its settings when it is made."""
    with pytest.raises(error, match=message):
        ClassificationMetrics(**settings)


def test_bad_multilabel_settings_are_refused():
    """So does the metric of several labels."""
    with pytest.raises(
        InvalidValueError, match="`num_labels` to be a positive integer, but got -1"
    ):
        MultilabelMetrics(-1)
    with pytest.raises(InvalidValueError, match="`threshold` to be a number from 0 to 1"):
        MultilabelMetrics(2, threshold=1.5)


@pytest.mark.parametrize(
    ("logits", "labels", "error", "message"),
    [
        ([[1.0, 0.0]], torch.tensor([0]), InvalidTypeError, "`logits` to be a tensor of floating"),
        (torch.eye(2).long(), torch.tensor([0, 1]), InvalidTypeError, "`logits` to be a tensor of"),
        (torch.eye(3), torch.tensor([0, 1, 1]), InvalidValueError, r"shape \(batch, 2\), but got"),
        (torch.ones(2), torch.tensor([0, 1]), InvalidValueError, r"`logits` to be of shape"),
        (torch.eye(2), [0, 1], InvalidTypeError, "`labels` to be a tensor of integers"),
        (torch.eye(2), torch.ones(2), InvalidTypeError, "`labels` to be a tensor of integers"),
        (torch.eye(2), torch.tensor([True, False]), InvalidTypeError, "a tensor of integers"),
        (torch.eye(2), torch.tensor([0]), InvalidValueError, r"shape \(2,\), one class id"),
        (torch.eye(2), torch.tensor([0, 2]), InvalidValueError, "from 0 to 1, but got 2"),
        (torch.eye(2), torch.tensor([-1, 0]), InvalidValueError, "from 0 to 1, but got -1"),
    ],
)
def test_bad_batches_are_refused(logits, labels, error, message):
    """A bad batch gets a clear error and leaves the counts as they were."""
    metrics = ClassificationMetrics(2)
    with pytest.raises(error, match=message):
        metrics.update(logits, labels)
    assert not metrics.counts.any()


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([[0, 1]], InvalidTypeError, r"`labels` to be a tensor, but got \[\[0, 1\]\]"),
        (torch.tensor([0]), InvalidValueError, r"`labels` .* shape \(1, 2\), but got \(1,\)"),
        (torch.tensor([[0.0, 0.5]]), InvalidValueError, "`labels` .* throughout, but got 0.5"),
        (torch.tensor([[0.0, math.nan]]), InvalidValueError, "`labels` .* throughout, but got nan"),
    ],
)
def test_bad_multilabel_batches_are_refused(labels, error, message):
    """Other labels than zeros and ones get a clear error and leave the counts as they were."""
    metrics = MultilabelMetrics(2)
    with pytest.raises(error, match=message):
        metrics.update(torch.zeros(1, 2), labels)
    assert not metrics.counts.any()


def test_reports_take_the_names_of_the_classes():
    """Names go with the scores in the order of the ids; without names there are ids."""
    metrics = measured(torch.eye(2), torch.tensor([0, 1]))
    assert metrics.report(["no", "yes"]).classes == (
        ClassScores("no", 1.0, 1.0, 1.0, 1),
        ClassScores("yes", 1.0, 1.0, 1.0, 1),
    )
    assert [scores.label for scores in metrics.report().classes] == [0, 1]
    with pytest.raises(InvalidValueError, match=r"`labels` to be 2 names, but got \['no'\]"):
        metrics.report(["no"])
    multilabel = MultilabelMetrics(1)
    multilabel.update(torch.ones(1, 1), torch.ones(1, 1))
    assert multilabel.report(["urgent"]).classes == (ClassScores("urgent", 1.0, 1.0, 1.0, 1),)
    with pytest.raises(InvalidValueError, match=r"`labels` to be 1 names, but got \[\]"):
        multilabel.report([])
