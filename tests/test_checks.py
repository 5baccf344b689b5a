"""What is wrong with a trainer's arguments is found before the first step."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from tests import toys
from textrnn import Batch, PaddingCollator
from textrnn.errors import InvalidTypeError, InvalidValueError, MissingKeyError
from textrnn.training import EarlyStopping, ProgressBar, Trainer
from textrnn.training.trainer import (
    check_callbacks,
    check_evaluation,
    check_loader,
    check_metrics,
    check_model,
    check_optimizer,
    count_steps,
)

DATA = toys.make_dataset(7)


class Stream(IterableDataset[Any]):
    """A data set without a length."""

    def __iter__(self) -> Any:
        return iter([DATA[0], DATA[1], DATA[2]])


def stream() -> DataLoader[Any]:
    """Return a loader without a length."""
    return DataLoader(Stream(), 2, collate_fn=PaddingCollator())


def test_a_model_stays_where_it_is_or_is_moved():
    """Its device is that of its parameters, also where one was asked for by a short name."""
    model = toys.make_model()
    assert check_model(model, None) == (model, torch.device("cpu"))
    moved, device = check_model(toys.make_model(), "meta")
    assert device == torch.device("meta")
    assert next(moved.parameters()).device == device


@pytest.mark.parametrize(
    ("model", "device", "error", "message"),
    [
        ("rnn", None, InvalidTypeError, "Expected `model` to be a torch module, but got 'rnn'"),
        (nn.Module, None, InvalidTypeError, "Expected `model` to be a torch module, but got <cl"),
        (nn.Tanh(), None, InvalidValueError, "`model` to be a module with parameters, but got T"),
        (nn.Linear(1, 1), "gpu", InvalidValueError, "`device` to be a device of this machine, but"),
        (nn.Linear(1, 1), "cuda:99", InvalidValueError, "but got 'cuda:99'. PyTorch says: "),
        (nn.Linear(1, 1), 1.5, InvalidValueError, "`device` to be a device of this machine, but"),
    ],
)
def test_wrong_models_and_devices_are_refused(model, device, error, message):
    """The message says what was given, and PyTorch's own reason."""
    with pytest.raises(error, match=message):
        Trainer(model, device=device)


def test_an_optimizer_is_adamw_unless_given():
    """One over other parameters than the model's, or none at all, is refused."""
    model = toys.make_model()
    optimizer = check_optimizer(None, model)
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.defaults["fused"]
    own = torch.optim.SGD([{"params": model.head.parameters()}], lr=0.1)
    assert check_optimizer(own, model) is own
    other = torch.optim.SGD(toys.make_model().parameters(), lr=0.1)
    with pytest.raises(InvalidValueError, match="`optimizer` to be over the model's parameters"):
        check_optimizer(other, model)
    with pytest.raises(InvalidTypeError, match="`optimizer` to be a torch optimizer, but got 'ada"):
        check_optimizer("adam", model)  # type: ignore[arg-type] # that is the point


@pytest.mark.parametrize(
    "metrics", [[max], "accuracy", {"max": 3}, {3: max}, {"f1": max, "auc": None}]
)
def test_metrics_are_names_with_functions(metrics):
    """Anything else is refused when the trainer is made."""
    with pytest.raises(InvalidTypeError, match="`metrics` to be a mapping of names to functions"):
        toys.make_trainer(metrics=metrics)


def test_metrics_may_be_missing():
    """None are no metrics."""
    assert check_metrics(None) == {}
    assert check_metrics({"max": max}) == {"max": max}


def test_a_bar_joins_the_callbacks_where_there_is_none():
    """One of the user's own is enough."""
    stopper, bar = EarlyStopping(), ProgressBar(disable=True)
    found = check_callbacks((stopper,), progress=True)
    assert found[0] is stopper
    assert isinstance(found[1], ProgressBar)
    assert check_callbacks([bar], progress=True) == [bar]
    assert check_callbacks([], progress=False) == []


@pytest.mark.parametrize("callbacks", [EarlyStopping(), 3, [EarlyStopping], [print], "bar"])
def test_what_is_no_list_of_callbacks_is_refused(callbacks):
    """A class instead of an object is the common mistake."""
    with pytest.raises(InvalidTypeError, match="`callbacks` to be a list of `Callback` objects"):
        check_callbacks(callbacks, progress=True)


@pytest.mark.parametrize(
    ("loader", "error", "message"),
    [
        (3, InvalidTypeError, "Expected `loader` to be iterable anew each time, such as a DataLo"),
        (iter([]), InvalidTypeError, "Expected `loader` to be iterable anew each time"),
        ((b for b in toys.make_batches()), InvalidTypeError, "iterable anew each time"),
        ([], InvalidValueError, "Expected `loader` to be at least one batch"),
        (toys.bucketed(toys.make_dataset(0)), InvalidValueError, "to be at least one batch"),
        (toys.shuffled(DATA, 9, drop_last=True), InvalidValueError, "to be at least one batch"),
        (
            toys.bucketed(toys.make_dataset(3, labelled=False)),
            InvalidValueError,
            "Expected the data set to have labels, but it has none",
        ),
    ],
)
def test_wrong_loaders_are_refused(loader, error, message):
    """Both for training and for evaluation, before the first step."""
    with pytest.raises(error, match=message):
        check_loader("loader", loader, toys.NUM_CLASSES)
    trainer = toys.make_trainer()
    before = toys.weights_of(trainer.model)
    with pytest.raises(error, match=message.replace("`loader`", "`eval_loader`")):
        trainer.fit(toys.bucketed(DATA), loader, epochs=1)
    assert toys.worst_difference(before, toys.weights_of(trainer.model)) == 0.0


def test_labels_of_good_loaders_are_handed_on():
    """Where they can't be known, there are none, and that is no error."""
    assert check_loader("loader", toys.bucketed(DATA), 3) is DATA.labels
    assert check_loader("loader", stream(), 3) is None


@pytest.mark.parametrize("wrong", ["loader", "eval_loader"])
def test_labels_out_of_range_are_found_before_the_first_step(wrong):
    """Of a data set, of a subset, of ready batches."""
    model = toys.make_model(num_classes=2)
    trainer = toys.make_trainer(model)
    good = [Batch(b.input_ids, b.lengths, b.labels.clamp(max=1)) for b in toys.make_batches()]  # type: ignore[union-attr] # they have labels
    before = toys.weights_of(model)
    subset = torch.utils.data.Subset(DATA, [0, 1, 2])
    for bad in (toys.bucketed(DATA), toys.shuffled(subset), toys.make_batches()):
        loaders = (bad, good) if wrong == "loader" else (good, bad)
        with pytest.raises(
            InvalidValueError, match=f"the labels of `{wrong}` to be from 0 to 1, b"
        ):
            trainer.fit(*loaders, epochs=1)
    assert toys.worst_difference(before, toys.weights_of(model)) == 0.0


def test_what_is_monitored_must_be_a_figure():
    """The message lists those that there will be, the user's own too."""
    ids, targets = torch.tensor([0]), torch.zeros(1, 2)
    assert "accuracy" in check_evaluation(ids, {}, "accuracy")
    assert "auc" in check_evaluation(None, {"auc": max}, "auc")
    assert "micro_f1" in check_evaluation(targets, {}, "micro_f1")
    assert {"micro_f1", "calibration_error"} <= set(check_evaluation(None, {}, "loss"))
    message = r"`monitor` to be a figure of an evaluation \('accuracy', 'auc', .*, but got 'micro"
    with pytest.raises(MissingKeyError, match=message):
        check_evaluation(ids, {"auc": max}, "micro_f1")


def test_steps_are_counted_where_there_is_a_length():
    """A short last group of batches is a step, too."""
    assert count_steps(toys.make_batches((1, 2, 3, 4, 5)), 2) == 3
    assert count_steps(toys.bucketed(DATA, 2), 1) == 4
    assert count_steps(stream(), 1) is None
    assert count_steps((b for b in toys.make_batches()), 1) is None


def test_a_fused_optimizer_makes_the_updates_of_a_plain_one():
    """The default is faster, not different; weights that no kernel takes get the plain one."""
    torch.manual_seed(0)
    model = torch.nn.Linear(7, 5)
    twin = copy.deepcopy(model)
    optimizers = check_optimizer(None, model), torch.optim.AdamW(twin.parameters())
    for each, optimizer in zip((model, twin), optimizers, strict=True):
        for step in range(5):
            optimizer.zero_grad()
            each(torch.linspace(-1, 1 + step, 7)).square().sum().backward()
            optimizer.step()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7)
    odd = torch.nn.ParameterList([torch.zeros(2, dtype=torch.complex64)])
    assert not check_optimizer(None, odd).defaults["fused"]
    assert not check_optimizer(None, torch.nn.Linear(2, 2, device="meta")).defaults["fused"]
