"""Evaluation and prediction: exact, in the data set's order, and without side effects."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from torch import nn
from torch.utils.data import Subset

from tests import toys
from textrnn import Batch, PaddingCollator
from textrnn.errors import InvalidTypeError, InvalidValueError, MissingKeyError
from textrnn.training.evaluation import (
    check_metrics,
    check_monitor,
    evaluate,
    metric_names,
    predict,
)
from textrnn.training.losses import Loss
from textrnn.training.step import Precision

FP32 = Precision("fp32", torch.device("cpu"))
DATA = toys.make_dataset(11)


def all_logits(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the logits of one batch, without dropout."""
    model.eval()
    with torch.no_grad():
        return model(batch.input_ids, batch.lengths)


@pytest.mark.parametrize("weights", [None, [0.1, 5.0, 1.0]])
@settings(max_examples=10)
@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_metrics_do_not_depend_on_the_batches(weights, sizes):
    """Loss and metrics are those of all texts at once, whatever the batch sizes."""
    batches = toys.make_batches(tuple(sizes))
    whole = toys.merge(batches)
    model = toys.make_model()
    loss = Loss(class_weights=weights)
    values = evaluate(model, batches, loss, precision=FP32)
    logits = all_logits(model, whole)
    predicted = logits.argmax(dim=1)
    assert values["loss"] == pytest.approx(float(loss(logits, whole.labels)), rel=1e-5)
    assert values["accuracy"] == pytest.approx(accuracy_score(whole.labels, predicted))
    expected = f1_score(whole.labels, predicted, average="macro", zero_division=0)
    assert values["macro_f1"] == pytest.approx(expected)
    assert all(type(value) is float for value in values.values())


def test_multilabel_texts_have_their_own_metrics():
    """The loss is binary cross-entropy, and there is a micro F1."""
    batches = toys.make_batches(multilabel=True)
    whole = toys.merge(batches)
    model = toys.make_model()
    values = evaluate(model, batches, Loss(), precision=FP32)
    logits = all_logits(model, whole)
    expected = nn.functional.binary_cross_entropy_with_logits(logits, whole.labels)
    assert values["loss"] == pytest.approx(float(expected), rel=1e-5)
    predicted = (logits > 0).float()
    assert values["micro_f1"] == pytest.approx(
        f1_score(whole.labels, predicted, average="micro", zero_division=0)
    )


@pytest.mark.parametrize("multilabel", [True, False])
def test_metric_names_are_known_beforehand(multilabel):
    """An evaluation gives exactly these metrics."""
    batches = toys.make_batches(multilabel=multilabel)
    values = evaluate(toys.make_model(), batches, Loss(), precision=FP32)
    assert metric_names(batches[0].labels, {}) == tuple(values)
    assert set(values) < set(metric_names(None, {}))


def test_any_function_is_a_metric():
    """It is called once with all logits and labels on the CPU, in the order of the batches."""
    batches = toys.make_batches()
    whole = toys.merge(batches)
    model = toys.make_model()
    calls = []

    def share_of_first(logits: torch.Tensor, labels: torch.Tensor) -> Any:
        calls.append((logits, labels))
        return (logits.argmax(dim=1) == 0).float().mean()

    metrics = {"first": share_of_first, "texts": lambda _, labels: np.int64(len(labels))}
    values = evaluate(model, batches, Loss(), precision=FP32, metrics=metrics)
    ((logits, labels),) = calls
    torch.testing.assert_close(logits, all_logits(model, whole))
    assert torch.equal(labels, whole.labels)
    assert values["first"] == pytest.approx(float((logits.argmax(dim=1) == 0).float().mean()))
    assert values["texts"] == 16.0


@pytest.mark.parametrize("value", [None, "high", [1, 2], torch.ones(2)])
def test_a_metric_that_gives_no_number_is_named(value):
    """The message shows the value."""
    with pytest.raises(InvalidTypeError, match="Expected the metric 'odd' to give a number, but"):
        evaluate(
            toys.make_model(),
            toys.make_batches(),
            Loss(),
            precision=FP32,
            metrics={"odd": lambda *_: value},
        )


class NoisyCollator(PaddingCollator):
    """A collator that draws from all global generators."""

    def __call__(self, items: Any) -> Batch:
        """Make a batch."""
        random.random()
        np.random.rand()  # noqa: NPY002 # the global one
        torch.rand(())
        return super().__call__(items)


def everything(model: nn.Module, generator: torch.Generator) -> list[Any]:
    """Return modes, gradients, weights and the next random numbers, which must not change."""
    return [
        [module.training for module in model.modules()],
        [weight.grad is None for weight in model.parameters()],
        toys.weights_of(model),
        [random.random(), np.random.rand(), torch.rand(()), torch.rand((), generator=generator)],  # noqa: NPY002 # the global one
    ]


@pytest.mark.parametrize("kind", ["evaluate", "predict"])
def test_there_are_no_side_effects(kind):
    """Modes, gradients and all generators, also the loader's own, stay as they were."""
    model = toys.make_model()
    model.head.eval()  # a frozen part stays frozen
    results = []
    for busy in (False, True):
        generator = torch.Generator().manual_seed(2)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 # the global one
        torch.manual_seed(0)
        loader = toys.shuffled(DATA, 3, generator=generator, collate_fn=NoisyCollator())
        if busy and kind == "evaluate":
            metrics = {"drawn": lambda *_: torch.rand(())}
            evaluate(model, loader, Loss(), precision=FP32, metrics=metrics)
        elif busy:
            predict(model, loader, precision=FP32)
        results.append(everything(model, generator))
    assert toys.worst_difference(*results) == 0.0
    assert model.training
    assert not model.head.training


@pytest.mark.parametrize("own", [True, False])
def test_what_other_threads_draw_meanwhile_is_not_taken_back(own):
    """Global generators are left alone where nothing draws from them during an evaluation."""

    def draw(*_: Any) -> None:  # in place of another thread
        torch.rand(1)

    model = toys.make_model(generator=torch.Generator() if own else None)
    model.register_forward_hook(draw)
    metrics = {"zero": lambda *_: 0.0} if own else {}
    for loader in (toys.make_batches(), toys.bucketed(DATA, generator=torch.Generator())):
        batches = len(list(loader))
        torch.manual_seed(0)
        expected = torch.rand(2 * batches + 1)[-1]
        torch.manual_seed(0)
        evaluate(model, loader, Loss(), precision=FP32, metrics=metrics)
        predict(model, loader, precision=FP32)
        assert torch.rand(1)[0] == expected


def test_modes_are_restored_after_an_error():
    """A failing model keeps its modes."""
    model = toys.make_model()
    bad = Batch(torch.full((1, 1), 99), torch.tensor([1]), torch.tensor([0]))
    with pytest.raises(InvalidValueError):
        evaluate(model, [bad], Loss(), precision=FP32)
    assert all(module.training for module in model.modules())


def expected_rows(indices: list[int], model: nn.Module) -> torch.Tensor:
    """Return the logits of texts one by one."""
    collate = PaddingCollator()
    return torch.cat([all_logits(model, collate([DATA[i]])) for i in indices])


@settings(max_examples=20)
@given(
    indices=st.lists(st.integers(0, 10), min_size=1, max_size=12),
    nested=st.booleans(),
    drop_last=st.booleans(),
)
@example(indices=[9, 3, 5, 1, 7, 0, 2, 4], nested=False, drop_last=True)
def test_predictions_have_the_order_of_a_subset(indices, nested, drop_last):
    """With any order and repeats of the subset, and with a shuffling loader."""
    model = toys.make_model()
    part: Any = Subset(DATA, indices)
    if nested:
        part = Subset(Subset(DATA, [*range(10, -1, -1)]), [10 - i for i in indices])
    loader = toys.shuffled(part, 3, drop_last=drop_last)
    if drop_last and len(indices) < 3:
        return
    rows = predict(model, loader, precision=FP32)
    if not drop_last or len(indices) % 3 == 0:
        torch.testing.assert_close(rows, expected_rows(indices, model))
    else:
        assert len(rows) == len(indices) - len(indices) % 3
        # The remaining texts keep the subset's order.
        distinct = len(set(indices)) == len(indices)
        whole = expected_rows(indices, model)
        places = [int((whole - row).abs().sum(dim=1).argmin()) for row in rows]
        assert not distinct or places == sorted(places)


def test_predictions_have_the_order_of_the_data_set():
    """The rows of shuffled loaders are put in order; labels are not needed."""
    model = toys.make_model()
    expected = expected_rows(list(range(11)), model)
    unlabelled = toys.make_dataset(11, labelled=False)
    for loader in (toys.bucketed(DATA, 3), toys.shuffled(DATA, 4), toys.bucketed(unlabelled, 3)):
        rows = predict(model, loader, precision=FP32)
        torch.testing.assert_close(rows, expected)
        assert rows.dtype == torch.float32
        assert not rows.requires_grad


def test_a_subset_with_another_numbering_is_sorted_by_it():
    """Indices that are not positions in the subset's data set are sorted as they are."""

    class OwnCount(PaddingCollator):
        def __call__(self, items: Any) -> Batch:
            batch = super().__call__(items)
            return Batch(batch.input_ids, batch.lengths, None, batch.indices + 100)  # type: ignore[operator] # there are some

    model = toys.make_model()
    loader = toys.bucketed(Subset(DATA, [5, 2, 9]), 2, collate_fn=OwnCount())
    rows = predict(model, loader, precision=FP32)
    torch.testing.assert_close(rows, expected_rows([2, 5, 9], model))


def test_batches_without_indices_keep_their_order():
    """The rows stay in the order of the batches."""
    model = toys.make_model()
    collate = PaddingCollator()
    batches = [collate([DATA[i]]) for i in (4, 0)]
    unnamed = [Batch(batch.input_ids, batch.lengths) for batch in batches]
    rows = predict(model, unnamed, precision=FP32)
    torch.testing.assert_close(rows, expected_rows([4, 0], model))
    with pytest.raises(InvalidValueError, match="have indices or none, but 1 of 2 do"):
        predict(model, [batches[0], unnamed[1]], precision=FP32)


def test_half_precision_gives_single_precision_logits():
    """In bf16 the logits are fp32 and close to those computed in fp32."""
    model = toys.make_model()
    precision = Precision("bf16", torch.device("cpu"))
    rows = predict(model, toys.bucketed(DATA, 3), precision=precision)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(
        rows, predict(model, toys.bucketed(DATA, 3), precision=FP32), atol=0.02, rtol=0.02
    )
    assert not torch.equal(rows, predict(model, toys.bucketed(DATA, 3), precision=FP32))


@pytest.mark.parametrize(
    ("loader", "error", "message"),
    [
        ([], InvalidValueError, "Expected `loader` to be at least one batch"),
        (3, InvalidTypeError, "Expected `loader` to be an iterable of batches, but got 3"),
        ([3], InvalidTypeError, "Expected the loader to give `Batch` objects, but got 3"),
    ],
)
def test_invalid_loaders_are_refused(loader, error, message):
    """By evaluation and by prediction."""
    with pytest.raises(error, match=message):
        evaluate(toys.make_model(), loader, Loss(), precision=FP32)
    with pytest.raises(error, match=message):
        predict(toys.make_model(), loader, precision=FP32)


def test_missing_and_invalid_labels_are_refused():
    """An evaluation needs a valid label for each text."""
    (batch,) = toys.make_batches((2,))
    with pytest.raises(InvalidValueError, match="Expected the batches to have labels, but they"):
        evaluate(toys.make_model(), [Batch(batch.input_ids, batch.lengths)], Loss(), precision=FP32)
    wrong = Batch(batch.input_ids, batch.lengths, torch.tensor([0, 3]))
    with pytest.raises(InvalidValueError, match="Expected `labels` to be class ids from 0 to 2"):
        evaluate(toys.make_model(), [wrong], Loss(), precision=FP32)


@pytest.mark.parametrize(
    "metrics", [[max], "accuracy", {"max": 3}, {3: max}, {"f1": max, "auc": None}]
)
def test_metrics_must_map_names_to_functions(metrics):
    """Anything else is refused when the trainer is made."""
    with pytest.raises(InvalidTypeError, match="`metrics` to be a mapping of names to functions"):
        toys.make_trainer(metrics=metrics)


def test_metrics_may_be_missing():
    """None means no additional metrics."""
    assert check_metrics(None) == {}
    assert check_metrics({"max": max}) == {"max": max}


def test_monitor_must_be_a_metric():
    """The message lists the metrics, including the user's."""
    ids, targets = torch.tensor([0]), torch.zeros(1, 2)
    assert "accuracy" in metric_names(ids, {})
    assert "auc" in metric_names(None, {"auc": max})
    assert "micro_f1" in metric_names(targets, {})
    assert {"micro_f1", "calibration_error"} <= set(metric_names(None, {}))
    check_monitor("auc", metric_names(ids, {"auc": max}))
    message = r"`monitor` to be a metric of the evaluation \('accuracy', 'auc', .*, but got 'micro"
    with pytest.raises(MissingKeyError, match=message):
        check_monitor("micro_f1", metric_names(ids, {"auc": max}))
