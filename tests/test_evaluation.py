"""Evaluation and prediction: exact, in the data set's order, and leaving nothing changed."""

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
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.training.evaluation import evaluate, figure_names, predict
from textrnn.training.losses import Loss
from textrnn.training.step import Precision

FP32 = Precision("fp32", torch.device("cpu"))
DATA = toys.make_dataset(11)


def all_logits(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return what a model says about one batch, without dropout."""
    model.eval()
    with torch.no_grad():
        return model(batch.input_ids, batch.lengths)


@pytest.mark.parametrize("weights", [None, [0.1, 5.0, 1.0]])
@settings(max_examples=10)
@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_figures_do_not_depend_on_the_batches(weights, sizes):
    """They are those of all texts at once, the loss too, whatever the sizes of the batches."""
    batches = toys.make_batches(tuple(sizes))
    whole = toys.merge(batches)
    model = toys.make_model()
    loss = Loss(class_weights=weights)
    figures = evaluate(model, batches, loss, precision=FP32)
    logits = all_logits(model, whole)
    predicted = logits.argmax(dim=1)
    assert figures["loss"] == pytest.approx(float(loss(logits, whole.labels)), rel=1e-5)
    assert figures["accuracy"] == pytest.approx(accuracy_score(whole.labels, predicted))
    expected = f1_score(whole.labels, predicted, average="macro", zero_division=0)
    assert figures["macro_f1"] == pytest.approx(expected)
    assert all(type(value) is float for value in figures.values())


def test_multilabel_texts_have_figures_of_their_own():
    """The mean loss is binary cross-entropy, and accuracy counts whole texts."""
    batches = toys.make_batches(multilabel=True)
    whole = toys.merge(batches)
    model = toys.make_model()
    figures = evaluate(model, batches, Loss(), precision=FP32)
    logits = all_logits(model, whole)
    expected = nn.functional.binary_cross_entropy_with_logits(logits, whole.labels)
    assert figures["loss"] == pytest.approx(float(expected), rel=1e-5)
    predicted = (logits > 0).float()
    assert figures["micro_f1"] == pytest.approx(
        f1_score(whole.labels, predicted, average="micro", zero_division=0)
    )


@pytest.mark.parametrize("multilabel", [True, False])
def test_the_names_of_the_figures_are_known_beforehand(multilabel):
    """An evaluation gives exactly them."""
    batches = toys.make_batches(multilabel=multilabel)
    figures = evaluate(toys.make_model(), batches, Loss(), precision=FP32)
    assert figure_names(multilabel=multilabel) == tuple(figures)
    assert set(figures) < set(figure_names(multilabel=None))


def test_any_function_is_a_metric():
    """It gets all logits and labels on the CPU, in the order of the batches, once."""
    batches = toys.make_batches()
    whole = toys.merge(batches)
    model = toys.make_model()
    calls = []

    def share_of_first(logits: torch.Tensor, labels: torch.Tensor) -> Any:
        calls.append((logits, labels))
        return (logits.argmax(dim=1) == 0).float().mean()

    metrics = {"first": share_of_first, "texts": lambda _, labels: np.int64(len(labels))}
    figures = evaluate(model, batches, Loss(), precision=FP32, metrics=metrics)
    ((logits, labels),) = calls
    torch.testing.assert_close(logits, all_logits(model, whole))
    assert torch.equal(labels, whole.labels)
    assert figures["first"] == pytest.approx(float((logits.argmax(dim=1) == 0).float().mean()))
    assert figures["texts"] == 16.0


@pytest.mark.parametrize("value", [None, "high", [1, 2], torch.ones(2)])
def test_a_metric_that_gives_no_number_is_named(value):
    """What it gave is shown."""
    with pytest.raises(InvalidTypeError, match="Expected the metric 'odd' to give a number, but"):
        evaluate(
            toys.make_model(),
            toys.make_batches(),
            Loss(),
            precision=FP32,
            metrics={"odd": lambda *_: value},
        )


class NoisyCollator(PaddingCollator):
    """Draws from all global generators."""

    def __call__(self, items: Any) -> Batch:
        """Make a batch as ever."""
        random.random()
        np.random.rand()  # noqa: NPY002 # the global one
        torch.rand(())
        return super().__call__(items)


def everything(model: nn.Module, generator: torch.Generator) -> list[Any]:
    """Return what must not change: modes, gradients, weights, and what would be drawn next."""
    return [
        [module.training for module in model.modules()],
        [weight.grad is None for weight in model.parameters()],
        toys.weights_of(model),
        [random.random(), np.random.rand(), torch.rand(()), torch.rand((), generator=generator)],  # noqa: NPY002 # the global one
    ]


@pytest.mark.parametrize("kind", ["evaluate", "predict"])
def test_nothing_is_left_changed(kind):
    """Neither modes nor gradients nor any generator, the loader's own one included."""
    model = toys.make_model()
    model.head.eval()  # a part that its owner has frozen stays so
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


def test_modes_come_back_after_an_error():
    """A model that fails half-way is left as it was."""
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
    """Whatever the order and the repeats of a subset, and however the loader shuffles it."""
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
        # The texts that are left keep the subset's order.
        distinct = len(set(indices)) == len(indices)
        whole = expected_rows(indices, model)
        places = [int((whole - row).abs().sum(dim=1).argmin()) for row in rows]
        assert not distinct or places == sorted(places)


def test_predictions_have_the_order_of_the_data_set():
    """Buckets shuffle, and the rows come back in order; labels are not needed."""
    model = toys.make_model()
    expected = expected_rows(list(range(11)), model)
    unlabelled = toys.make_dataset(11, labelled=False)
    for loader in (toys.bucketed(DATA, 3), toys.shuffled(DATA, 4), toys.bucketed(unlabelled, 3)):
        rows = predict(model, loader, precision=FP32)
        torch.testing.assert_close(rows, expected)
        assert rows.dtype == torch.float32
        assert not rows.requires_grad


def test_a_subset_whose_batches_count_their_own_way_keeps_their_order():
    """Indices that are not those of the subset's data set are taken at their word."""

    class OwnCount(PaddingCollator):
        def __call__(self, items: Any) -> Batch:
            batch = super().__call__(items)
            return Batch(batch.input_ids, batch.lengths, None, batch.indices + 100)  # type: ignore[operator] # there are some

    model = toys.make_model()
    loader = toys.bucketed(Subset(DATA, [5, 2, 9]), 2, collate_fn=OwnCount())
    rows = predict(model, loader, precision=FP32)
    torch.testing.assert_close(rows, expected_rows([2, 5, 9], model))


def test_batches_without_indices_keep_their_order():
    """Then the rows stay as they come."""
    model = toys.make_model()
    collate = PaddingCollator()
    batches = [collate([DATA[i]]) for i in (4, 0)]
    unnamed = [Batch(batch.input_ids, batch.lengths) for batch in batches]
    rows = predict(model, unnamed, precision=FP32)
    torch.testing.assert_close(rows, expected_rows([4, 0], model))
    with pytest.raises(InvalidValueError, match="tell indices or none, but 1 of 2 do"):
        predict(model, [batches[0], unnamed[1]], precision=FP32)


def test_half_precision_gives_single_precision_logits():
    """In bf16 they are close to those of fp32."""
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
def test_what_is_no_loader_is_refused(loader, error, message):
    """Both by evaluation and by prediction."""
    with pytest.raises(error, match=message):
        evaluate(toys.make_model(), loader, Loss(), precision=FP32)
    with pytest.raises(error, match=message):
        predict(toys.make_model(), loader, precision=FP32)


def test_missing_and_wrong_labels_are_refused():
    """An evaluation needs a right label for each text."""
    (batch,) = toys.make_batches((2,))
    with pytest.raises(InvalidValueError, match="Expected the batches to have labels, but they"):
        evaluate(toys.make_model(), [Batch(batch.input_ids, batch.lengths)], Loss(), precision=FP32)
    wrong = Batch(batch.input_ids, batch.lengths, torch.tensor([0, 3]))
    with pytest.raises(InvalidValueError, match="Expected `labels` to be class ids from 0 to 2"):
        evaluate(toys.make_model(), [wrong], Loss(), precision=FP32)
