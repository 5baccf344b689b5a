"""The trainer: it learns, gives the same bits for the same seed, and refuses invalid arguments."""

import copy
import logging
import multiprocessing
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Subset

from tests import toys
from textrnn.errors import InvalidTypeError, InvalidValueError, MissingKeyError, TextrnnError
from textrnn.training import (
    Callback,
    Checkpoint,
    EarlyStopping,
    LambdaCallback,
    LearningRateMonitor,
    Trainer,
    WeightAveraging,
    schedulers,
)
from textrnn.training.trainer import check_model, check_optimizer

TRAIN, EVAL = toys.make_dataset(30), toys.make_dataset(12, seed=1)
# Python 3.12 and later warn when a process with threads forks, as a DataLoader's workers do.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def press() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_learnable_task_is_learned(cell):
    """The loss falls, unseen texts are classified, and predictions agree with evaluations."""
    trainer = toys.make_trainer(toys.make_model(cell=cell, dropout=0.1))
    history = trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=30)
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    figures = trainer.evaluate(toys.bucketed(EVAL))
    assert figures["accuracy"] > 0.8
    assert all(type(value) is float for value in figures.values())
    assert figures["loss"] == min(history["eval_loss"])
    predicted = trainer.predict(toys.bucketed(EVAL)).argmax(dim=1)
    assert float((predicted == EVAL.labels).double().mean()) == figures["accuracy"]


def test_multilabel_texts_are_learned():
    """Float labels are trained with binary cross-entropy and have their own metrics."""
    batches = toys.make_batches((8, 8), multilabel=True)
    trainer = toys.make_trainer(
        toys.make_model(dropout=0.0), monitor="micro_f1", mode="max", class_weights="balanced"
    )
    history = trainer.fit(batches, batches, epochs=60)
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert max(history["eval_micro_f1"]) > 0.9


def result_of(num_workers: int = 0, **settings: Any) -> Any:
    """Train from fixed seeds; return weights, history and generator state."""
    torch.manual_seed(5)
    trainer = toys.make_trainer(weight_averaging="ema", restore_best=False)
    workers = {"num_workers": num_workers, **settings}
    history = trainer.fit(
        toys.shuffled(TRAIN, 8, **workers), toys.bucketed(EVAL, **workers), epochs=2
    )
    return toys.weights_of(trainer.model), toys.timeless(history), torch.get_rng_state()


def test_the_same_seed_gives_the_same_bits_whatever_the_workers():
    """No worker, one, two, or persistent ones."""
    expected = result_of()
    assert toys.worst_difference(expected, result_of()) == 0.0
    assert toys.worst_difference(expected, result_of(1)) == 0.0
    assert toys.worst_difference(expected, result_of(2)) == 0.0
    assert toys.worst_difference(expected, result_of(2, persistent_workers=True)) == 0.0


def test_another_seed_gives_another_result():
    """Nothing in the library seeds the global generators."""
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        trainer = toys.make_trainer()
        trainer.fit(toys.shuffled(TRAIN), epochs=1)
        results.append(toys.weights_of(trainer.model))
    assert toys.worst_difference(*results) > 0.0


def test_deterministic_algorithms_are_used_on_request():
    """They are used during the training only; on a CPU the result is the same."""
    seen: list[bool] = []
    watcher = LambdaCallback(
        on_batch_end=lambda _: seen.append(torch.are_deterministic_algorithms_enabled())
    )
    results = []
    for asked in (True, False):
        torch.manual_seed(0)
        trainer = toys.make_trainer(deterministic=asked, callbacks=[watcher])
        trainer.fit(toys.shuffled(TRAIN, 15), epochs=1)
        results.append(toys.weights_of(trainer.model))
    assert seen == [True, True, False, False]
    assert not torch.are_deterministic_algorithms_enabled()
    assert toys.worst_difference(*results) == 0.0


def test_ctrl_c_stops_after_the_step_and_keeps_the_best(caplog):
    """Best weights and history are kept, a message is logged, and the handler is restored."""
    weights: list[dict[str, torch.Tensor]] = []
    handler = signal.getsignal(signal.SIGINT)
    callbacks: list[Callback] = [
        LambdaCallback(on_evaluation_end=lambda s: weights.append(toys.weights_of(s.model))),
        LambdaCallback(on_batch_end=lambda s: s.step == 4 and press()),
    ]
    trainer = toys.make_trainer(callbacks=callbacks)
    history = trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=9, eval_every=2)
    assert history["step"] == [2, 4]
    best = int(np.argmin(history["eval_loss"]))
    assert toys.worst_difference(toys.weights_of(trainer.model), weights[best]) == 0.0
    stopped, kept = "Stopped after step 4 (interrupted by Ctrl-C)", f"of step {2 * best + 2}"
    assert caplog.messages == [
        "Ctrl-C: stopping after this step; a second one interrupts at once.",
        f"{stopped}; the model has the best weights, {kept}.",
    ]
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_second_ctrl_c_interrupts_at_once():
    """All callbacks end as after any error."""
    ended: list[int] = []
    callbacks: list[Callback] = [
        LambdaCallback(on_batch_end=lambda _: (press(), press())),
        LambdaCallback(on_fit_end=lambda state: ended.append(state.step)),
    ]
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        toys.make_trainer(callbacks=callbacks).fit(toys.bucketed(TRAIN), epochs=1)
    assert ended == [1]
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_run_resumes_exactly_after_ctrl_c(tmp_path):
    """With a checkpoint of the step at which it stopped, every bit is the same at the end."""

    def run(*callbacks: Callback, resume_from: Path | None = None) -> Any:
        trainer = toys.make_trainer(callbacks=callbacks)
        history = trainer.fit(
            toys.shuffled(TRAIN), toys.bucketed(EVAL), epochs=2, resume_from=resume_from
        )
        return toys.weights_of(trainer.model), toys.timeless(history)

    torch.manual_seed(0)
    whole = run()
    torch.manual_seed(0)
    run(
        Checkpoint(tmp_path),
        LambdaCallback(on_batch_end=lambda s: s.step == 3 and press()),
    )
    torch.manual_seed(99)
    assert toys.worst_difference(whole, run(Checkpoint(tmp_path), resume_from=tmp_path)) == 0.0


def test_workers_survive_the_ctrl_c_of_a_terminal():
    """It reaches all processes, but the current step and evaluation still need the workers."""

    def interrupt_all(state: Any) -> None:
        if state.step == 2:
            children = multiprocessing.active_children()
            assert len(children) >= 2
            for child in children:
                os.kill(child.pid or 0, signal.SIGINT)
            press()

    watched: list[int] = []
    trainer = toys.make_trainer(
        callbacks=[
            LambdaCallback(on_batch_end=interrupt_all),
            LambdaCallback(on_evaluation_end=lambda state: watched.append(state.step)),
        ]
    )
    for persistent in (False, True):
        loader = toys.shuffled(TRAIN, 8, num_workers=2, persistent_workers=persistent)
        history = trainer.fit(loader, toys.bucketed(EVAL, num_workers=1), epochs=3)
        assert trainer.state is not None
        assert trainer.state.step == 2
        assert len(history) == 0
        if persistent:  # the workers still work
            assert len(list(loader)) == 4


def test_training_works_outside_of_the_main_thread():
    """Ctrl-C is not handled there."""
    trainer = toys.make_trainer()
    results: list[Any] = []

    def work() -> None:
        results.append(trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=1))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(results[0]) == 1


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, "the best weights, of step 2"),
        ({"restore_best": False}, "the weights of step 2"),
    ],
)
def test_the_reason_of_a_stop_is_logged(settings, kept, caplog):
    """The message also names the weights that the model has."""
    stop = LambdaCallback(on_evaluation_end=lambda state: state.request_stop("enough"))
    with caplog.at_level(logging.INFO, logger="textrnn"):
        trainer = toys.make_trainer(callbacks=[stop], **settings)
        trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=3, eval_every=2)
    assert caplog.messages == [f"Stopped after step 2 (enough); the model has {kept}."]


def test_the_state_is_kept_after_an_error():
    """The history of a failed run is not lost."""

    def fail(state: Any) -> None:
        if state.step == 7:
            raise ArithmeticError("failed")

    trainer = toys.make_trainer(callbacks=[LambdaCallback(on_batch_end=fail)])
    assert trainer.state is None
    with pytest.raises(ArithmeticError, match="failed"):
        trainer.fit(toys.bucketed(TRAIN), epochs=2)
    assert trainer.state is not None
    assert trainer.state.step == 7
    assert trainer.state.history["step"] == [5]


def test_balanced_weights_are_those_of_the_training_texts():
    """They equal weights computed by hand, also for a subset."""
    part = Subset(TRAIN, [0, 1, 2, 3, 6, 9, 12, 15])
    counts = torch.bincount(TRAIN.labels[part.indices], minlength=3).double()
    by_hand = (8 / (3 * counts)).tolist()
    results = []
    for weights in ("balanced", by_hand):
        torch.manual_seed(0)
        trainer = toys.make_trainer(class_weights=weights)
        history = trainer.fit(toys.shuffled(part, 4), toys.bucketed(EVAL), epochs=2)
        results.append((toys.weights_of(trainer.model), toys.timeless(history)))
    assert toys.worst_difference(*results) == 0.0


class Bare(nn.Module):
    """A model without `num_classes`."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = toys.make_model()

    def forward(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Run the inner model."""
        logits: torch.Tensor = self.inner(input_ids, lengths)
        return logits


def test_any_module_can_be_trained():
    """Without `num_classes`, the number of classes is that of the labels."""
    trainer = toys.make_trainer(Bare(), class_weights="balanced")
    trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=1)
    assert trainer.loss.class_weights is not None
    assert len(trainer.loss.class_weights) == 3
    multilabel = toys.make_trainer(Bare(), class_weights="balanced")
    multilabel.fit(toys.make_batches(multilabel=True), epochs=1)
    assert multilabel.loss.class_weights is not None
    assert len(multilabel.loss.class_weights) == 3


class Summing(nn.Module):
    """A model that TorchScript understands."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(16, 3)

    def forward(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the mean embedding."""
        return self.embedding(input_ids).sum(1) / lengths.unsqueeze(1)


class NoForward(nn.Module):
    """A model that can't be called."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = toys.make_model()


class NoLengths(NoForward):
    """A model that takes ids alone."""

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the ids."""
        return input_ids


class WantsMore(NoForward):
    """A model that needs a third argument."""

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor, mask: torch.Tensor) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (NoForward(), "`model` to be a module with a `forward` method"),
        (NoLengths(), r"called as `model\(input_ids, lengths\)`, but its .* takes \(input_ids\)"),
        (WantsMore(), r"but its `forward` takes \(ids, lengths, mask\)"),
        (nn.Linear(2, 3), r"but its `forward` takes \(input\)"),
    ],
)
def test_a_model_takes_ids_and_lengths(model, message):
    """Another signature is one sentence that names the contract."""
    with pytest.raises(InvalidTypeError, match=message):
        toys.make_trainer(model)


class Returns(nn.Module):
    """A model that returns what its function makes of the logits."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.inner = toys.make_model()
        self.change = change

    def forward(self, *batch: torch.Tensor) -> Any:
        """Run the inner model."""
        return self.change(self.inner(*batch))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda logits: (logits, None), InvalidTypeError, "but got tuple"),
        (lambda logits: logits.argmax(1), InvalidTypeError, "but got torch.int64"),
        (lambda logits: logits[:, 0], InvalidValueError, r"but got the shape \(5,\)"),
        (lambda logits: logits[1:], InvalidValueError, r"for 5 texts, but got the shape \(4, 3\)"),
    ],
)
def test_a_model_returns_logits(change, error, message):
    """Anything else is an error in training, evaluation and prediction."""
    batches = toys.make_batches()
    trainer = toys.make_trainer(Returns(change))
    for call in (lambda: trainer.fit(batches, epochs=1), lambda: trainer.predict(batches)):
        with pytest.raises(
            error, match=rf"`model` to return logits \(batch, classes\).* {message}"
        ):
            call()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # by torch.jit
def test_scripted_and_traced_models_are_taken():
    """TorchScript has signatures of its own."""
    batch = torch.ones(2, 3, dtype=torch.int64), torch.tensor([3, 3])
    for model in (torch.jit.script(Summing()), torch.jit.trace(Summing(), batch)):
        assert check_model(model, None)[0] is model


def test_balanced_weights_need_known_labels():
    """If the labels are unknown, the message names the loaders that work."""

    class Unknown:
        def __iter__(self) -> Any:
            return iter(toys.make_batches())

    with pytest.raises(InvalidValueError, match="`loader` to be a DataLoader over a labelled data"):
        toys.make_trainer(class_weights="balanced").fit(Unknown(), epochs=1)


def test_a_second_fit_continues_with_a_new_history():
    """Weights and optimizer are kept; history, best value and callbacks are reset."""
    stopper, monitor = EarlyStopping(patience=1, min_delta=9.0), LearningRateMonitor()
    trainer = toys.make_trainer(callbacks=[stopper, monitor])
    first = trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=5)
    second = trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=5)
    assert [len(first), len(second)] == [2, 2]
    assert second["loss"][0] < first["loss"][0]
    assert monitor.steps == list(range(1, 11))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"max_grad_norm": 0.0}, InvalidValueError, "`max_grad_norm` to be a number above 0"),
        ({"max_grad_norm": "1"}, InvalidTypeError, "`max_grad_norm` to be a number above 0"),
        ({"accumulation_steps": 0}, InvalidValueError, "`accumulation_steps` to be a positive int"),
        ({"precision": "fp8"}, InvalidValueError, "`precision` to be one of 'fp32', 'bf16', 'fp1"),
        ({"mode": "best"}, InvalidValueError, "`mode` to be one of 'min', 'max', but got 'best'"),
        ({"weight_averaging": "mean"}, InvalidValueError, "`weight_averaging` to be one of 'ema'"),
        ({"label_smoothing": 2}, InvalidValueError, "`label_smoothing` to be a number from 0 to 1"),
        (
            {"loss": nn.CrossEntropyLoss(), "class_weights": [1.0, 1.0, 1.0]},
            InvalidValueError,
            "`class_weights` to be None with a `loss` function",
        ),
        (
            {"class_weights": [1.0, 2.0]},
            InvalidValueError,
            r"`class_weights` to be 3 weights, one per class, but got \[1.0, 2.0\]",
        ),
    ],
)
def test_invalid_settings_are_refused_when_the_trainer_is_made(settings, error, message):
    """The error names the argument."""
    with pytest.raises(error, match=message):
        toys.make_trainer(**settings)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"epochs": 0}, InvalidValueError, "`epochs` to be a positive integer, but got 0"),
        ({"epochs": 1.5}, InvalidTypeError, "`epochs` to be a positive integer, but got 1.5"),
        ({"eval_every": 0}, InvalidValueError, "`eval_every` to be a positive integer, but got 0"),
        ({"resume_from": "nowhere"}, InvalidValueError, "`resume_from` to be a folder that exists"),
    ],
)
def test_invalid_calls_of_fit_are_refused(settings, error, message):
    """The error comes before any hook is called."""
    heard: list[Any] = []
    watcher = LambdaCallback(on_fit_begin=heard.append, on_fit_end=heard.append)
    with pytest.raises(error, match=message):
        toys.make_trainer(callbacks=[watcher]).fit(
            toys.bucketed(TRAIN), toys.bucketed(EVAL), **({"epochs": 1} | settings)
        )
    assert heard == []


def test_monitor_is_checked_before_the_first_step():
    """A misspelt metric is found before the training."""
    trainer = toys.make_trainer(monitor="acuracy", mode="max")
    before = toys.weights_of(trainer.model)
    with pytest.raises(MissingKeyError, match=r"`monitor` to be a metric .*'accuracy'.*'acuracy'"):
        trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=1)
    assert toys.worst_difference(before, toys.weights_of(trainer.model)) == 0.0
    trainer.fit(toys.bucketed(TRAIN), epochs=1)  # without evaluations nothing is monitored


@pytest.mark.parametrize("name", ["micro_f1", "eval_micro_f1"])
def test_a_metric_has_its_name_in_the_history_too(name, tmp_path):
    """Best weights, early stopping, a plateau and a resume take `eval_loss` as `loss`."""
    batches = toys.make_batches(multilabel=True)

    def run(monitor: str, **fit: Any) -> Any:
        trainer = toys.make_trainer(
            toys.make_model(dropout=0.0),
            monitor=monitor,
            mode="max",
            scheduler=schedulers.plateau(patience=0, mode="max"),
            callbacks=[EarlyStopping(1, monitor=monitor, mode="max"), Checkpoint(tmp_path)],
        )
        history = trainer.fit(batches, batches, epochs=4, **fit)
        assert trainer.state is not None
        best = max(history["eval_micro_f1"])
        assert trainer.state.best_value == best
        return toys.weights_of(trainer.model), toys.timeless(history)

    found = run(name)
    shutil.rmtree(tmp_path)
    assert toys.worst_difference(found, run("micro_f1")) == 0.0
    run(name, resume_from=tmp_path)


def test_every_error_is_one_of_the_librarys():
    """It is also the built-in error that a caller expects."""
    with pytest.raises(ValueError, match="`epochs` to be a positive") as error:
        toys.make_trainer().fit(toys.bucketed(TRAIN), epochs=-1)
    assert isinstance(error.value, TextrnnError)


def test_a_model_is_moved_only_on_request():
    """The device is that of the parameters, also if it was given by a short name."""
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
def test_invalid_models_and_devices_are_refused(model, device, error, message):
    """The message shows what was given, and PyTorch's own reason."""
    with pytest.raises(error, match=message):
        Trainer(model, device=device)


def test_an_optimizer_is_adamw_unless_given():
    """An optimizer of other parameters, or another object, is refused."""
    model = toys.make_model()
    optimizer = check_optimizer(None, model)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["fused"]
    own = torch.optim.SGD([{"params": model.head.parameters()}], lr=0.1)
    assert check_optimizer(own, model) is own
    other = torch.optim.SGD(toys.make_model().parameters(), lr=0.1)
    with pytest.raises(InvalidValueError, match="`optimizer` to be over the model's parameters"):
        check_optimizer(other, model)
    with pytest.raises(InvalidTypeError, match="`optimizer` to be a torch optimizer, but got 'ada"):
        check_optimizer("adam", model)  # type: ignore[arg-type] # that is the point


def test_a_fused_optimizer_makes_the_updates_of_a_plain_one():
    """Weights that the fused kernel does not support get the plain optimizer."""
    torch.manual_seed(0)
    model = nn.Linear(7, 5)
    twin = copy.deepcopy(model)
    optimizers = check_optimizer(None, model), torch.optim.AdamW(twin.parameters())
    for each, optimizer in zip((model, twin), optimizers, strict=True):
        for step in range(5):
            optimizer.zero_grad()
            each(torch.linspace(-1, 1 + step, 7)).square().sum().backward()
            optimizer.step()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7)
    odd = nn.ParameterList([torch.zeros(2, dtype=torch.complex64)])
    assert not check_optimizer(None, odd).defaults["fused"]
    assert not check_optimizer(None, nn.Linear(2, 2, device="meta")).defaults["fused"]


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def on_cuda(**settings: Any) -> Any:
    """Train on the GPU from a fixed seed; return the trainer, its weights and history."""
    fit = {"resume_from": settings.pop("resume_from", None)}
    torch.manual_seed(5)
    trainer = toys.make_trainer(toys.make_model().cuda(), deterministic=True, **settings)
    history = trainer.fit(
        toys.shuffled(TRAIN, pin_memory=True), toys.bucketed(EVAL), epochs=4, **fit
    )
    return trainer, (toys.weights_of(trainer.model), toys.timeless(history))


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_learns_and_is_reproducible(precision):
    """With deterministic algorithms a second run has the same bits, in every precision."""
    settings = {"precision": precision, "max_grad_norm": 1.0, "weight_averaging": "ema"}
    trainer, first = on_cuda(**settings)
    assert toys.worst_difference(first, on_cuda(**settings)[1]) == 0.0
    assert first[1][-1]["loss"] < first[1][0]["loss"]
    assert trainer.predict(toys.bucketed(EVAL)).device.type == "cpu"


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_run_on_a_gpu_resumes_exactly(precision, tmp_path):
    """Resumed in the middle of an epoch, it has the bits of an uninterrupted run."""
    settings = {"precision": precision, "scheduler": schedulers.one_cycle()}
    _, whole = on_cuda(**settings)
    stop = LambdaCallback(on_batch_end=lambda s: s.step == 7 and s.request_stop("enough"))
    on_cuda(callbacks=[Checkpoint(tmp_path), stop], **settings)
    torch.cuda.manual_seed(99)
    _, resumed = on_cuda(callbacks=[Checkpoint(tmp_path)], resume_from=tmp_path, **settings)
    assert toys.worst_difference(whole, resumed) == 0.0


@pytest.mark.cuda
@needs_cuda
def test_a_gpu_equals_a_cpu():
    """Without dropout, results agree up to the order of additions."""
    results = []
    for device in ("cpu", "cuda"):
        trainer = toys.make_trainer(
            toys.make_model(dropout=0.0), device=device, class_weights="balanced"
        )
        history = trainer.fit(toys.bucketed(TRAIN), toys.bucketed(EVAL), epochs=3)
        results.append((history["loss"], trainer.evaluate(toys.bucketed(EVAL))["loss"]))
    assert toys.worst_difference(*results) < 1e-4


@pytest.mark.cuda
@needs_cuda
def test_invalid_labels_do_not_break_a_gpu():
    """They are found on the CPU, and the GPU still works."""
    model = toys.make_model(num_classes=2).cuda()
    batches = toys.make_batches()
    with pytest.raises(InvalidValueError, match="from 0 to 1"):
        toys.make_trainer(model).evaluate(batches)
    assert toys.make_trainer(model).predict(batches).isfinite().all()


@pytest.mark.cuda
@needs_cuda
def test_swa_on_a_gpu_is_evaluated_and_kept():
    """The model stays on the GPU."""
    averaging = WeightAveraging(kind="swa", start=0.5)
    trainer, _ = on_cuda(weight_averaging=averaging)
    assert next(trainer.model.parameters()).device.type == "cuda"
