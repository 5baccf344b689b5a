"""A run that was interrupted ends with the very bits of one that was not."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Subset,
    WeightedRandomSampler,
)

from tests import toys
from textrnn import Batch, PaddingCollator
from textrnn.training import (
    Callback,
    Checkpoint,
    EarlyStopping,
    FreezeEmbeddings,
    LearningRateMonitor,
    Trainer,
    WeightAveraging,
    schedulers,
)
from textrnn.training.resume.generators import generator_states

TRAIN, EVAL = toys.make_dataset(20), toys.make_dataset(7, seed=1)
WEIGHTED = toys.make_dataset(20)
WEIGHTED.weights = torch.arange(20) % 3
EPOCHS = 2
# Python 3.12 and later warn when a process with threads forks, as a DataLoader's workers do.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


class NoisyCollator(PaddingCollator):
    """Replaces words at random, with numbers from all three global generators."""

    def __call__(self, items: Any) -> Batch:
        """Pad, then replace."""
        batch = super().__call__(items)
        ids = batch.input_ids.clone()
        ids[:, 0] = 4 + random.randrange(12)
        ids[0] = torch.randint(4, 16, (ids.shape[1],))
        ids[-1, -1] = 4 + int(np.random.randint(12))  # noqa: NPY002 # the global generator
        return Batch(ids, batch.lengths, batch.labels, batch.indices)


class ShuffledBatches:
    """Ready batches, in a new order of Python's global generator each time."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch]:
        order = list(range(len(self.batches)))
        random.shuffle(order)
        for i in order:
            yield self.batches[i]


class Stream(IterableDataset[Any]):
    """Items without a length, which draw a random number each."""

    def __iter__(self) -> Iterator[Any]:
        for i in range(20):
            yield {**TRAIN[i], "label": (TRAIN[i]["label"] + random.randrange(2)) % 3}


class RollDice(Callback):
    """A user's callback that draws random numbers at every hook and remembers the last ones."""

    def __init__(self) -> None:
        self.rolls: list[float] = []

    def _roll(self, _state: Any) -> None:
        self.rolls = [*self.rolls[-3:], random.random(), float(torch.rand(())), np.random.rand()]  # noqa: NPY002 # the global one

    on_epoch_begin = on_evaluation_end = on_batch_end = on_epoch_end = _roll

    def state_dict(self) -> dict[str, Any]:
        """Return the last rolls."""
        return {"rolls": self.rolls}

    def load_state_dict(self, state: Any) -> None:
        """Take them back."""
        self.rolls = state["rolls"]


def scatter_generators(seed: int) -> None:
    """Set the global generators to where a new process might have them."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 # the global one
    torch.manual_seed(seed)


class Setting:
    """What a run is made of; calling it makes all of it anew, as a new process would.

    Args:
        loader: Makes the training loader.
        model: Arguments of the model.
        fit: Further arguments of `Trainer.fit`.
        callbacks: Makes the callbacks beside the checkpoint.
        optimizer: Makes the optimizer. Default: Adam.
        trainer: Further arguments of the trainer.
    """

    def __init__(
        self,
        loader: Callable[[], Iterable[Any]] = lambda: toys.bucketed(TRAIN),
        *,
        model: dict[str, Any] | None = None,
        fit: dict[str, Any] | None = None,
        callbacks: Callable[[], list[Callback]] = list,
        optimizer: Callable[[Any], torch.optim.Optimizer] | None = None,
        **trainer: Any,
    ) -> None:
        self.loader, self.model, self.fit = loader, model or {}, fit or {}
        self.callbacks, self.optimizer, self.trainer = callbacks, optimizer, trainer

    def __call__(
        self, folder: Path, *, resume_from: Path | None = None, **checkpoint: Any
    ) -> dict[str, Any]:
        """Run to the end and return all that is left then."""
        arguments = {name: v() if callable(v) else v for name, v in self.model.items()}
        model = toys.make_model(**arguments)
        make = self.optimizer or (lambda weights: torch.optim.Adam(weights, lr=0.01))
        callbacks: list[Callback] = self.callbacks()
        if checkpoint:
            callbacks.append(Checkpoint(folder, **checkpoint))
        settings = dict(self.trainer)
        optimizer = make(model.parameters())
        if isinstance(settings.get("scheduler"), tuple):  # a torch scheduler over the optimizer
            kind, arguments = settings["scheduler"]
            settings["scheduler"] = kind(optimizer, **arguments)
        trainer = Trainer(
            model, optimizer=optimizer, callbacks=callbacks, progress=False, **settings
        )
        fit = {"eval_loader": toys.bucketed(EVAL, 4), "epochs": EPOCHS} | self.fit
        eval_loader = fit.pop("eval_loader")
        history = trainer.fit(self.loader(), eval_loader, resume_from=resume_from, **fit)
        assert trainer.state is not None
        return {
            "weights": toys.weights_of(model),
            "optimizer": optimizer.state_dict(),
            "history": toys.timeless(history),
            "callbacks": [c.state_dict() for c in callbacks if not isinstance(c, Checkpoint)],
            "generators": {k: v for k, v in generator_states((), model).items() if k != "loader"},
            "best": [trainer.state.best_step, trainer.state.best_value],
        }


def scheduled(factory: Any, **settings: Any) -> Setting:
    """Return a setting with a schedule."""
    return Setting(scheduler=factory, **settings)


SETTINGS: dict[str, Setting] = {
    "buckets": Setting(),
    "a generator of the model's own": Setting(
        model={
            "generator": lambda: torch.Generator().manual_seed(4),
            "num_layers": 2,
            "layer_dropout": 0.3,
        }
    ),
    "buckets of a subset": Setting(lambda: toys.bucketed(Subset(TRAIN, [*range(19, 2, -1)]))),
    "shuffled": Setting(lambda: toys.shuffled(TRAIN)),
    "shuffled, own generator": Setting(
        lambda: toys.shuffled(TRAIN, generator=torch.Generator().manual_seed(7))
    ),
    "batches of a sampler with its own generator": Setting(
        lambda: DataLoader(
            TRAIN,
            batch_sampler=BatchSampler(
                RandomSampler(TRAIN, generator=torch.Generator().manual_seed(7)), 6, False
            ),
            collate_fn=PaddingCollator(),
        )
    ),
    "drawn with replacement": Setting(
        lambda: DataLoader(
            TRAIN,
            6,
            sampler=RandomSampler(TRAIN, replacement=True, num_samples=40),
            collate_fn=PaddingCollator(),
        )
    ),
    "weighted sampler": Setting(
        lambda: DataLoader(
            TRAIN,
            6,
            sampler=WeightedRandomSampler([1.0, 2.0] * 10, 20),
            collate_fn=PaddingCollator(),
        )
    ),
    "ready batches": Setting(toys.make_batches),
    "an iterable that shuffles": Setting(lambda: ShuffledBatches(toys.make_batches())),
    "a stream": Setting(lambda: DataLoader(Stream(), 6, collate_fn=PaddingCollator())),
    "noisy collator": Setting(lambda: toys.bucketed(TRAIN, collate_fn=NoisyCollator())),
    "noisy collator, shuffled": Setting(lambda: toys.shuffled(TRAIN, collate_fn=NoisyCollator())),
    "one generator for both loaders": Setting(
        lambda: toys.shuffled(TRAIN, generator=SHARED.manual_seed(3)),
        fit={"eval_loader": toys.shuffled(EVAL, 4, generator=(SHARED := torch.Generator()))},
    ),
    "a shuffled evaluation": Setting(fit={"eval_loader": toys.shuffled(EVAL, 4)}),
    "no evaluation": Setting(lambda: toys.shuffled(TRAIN), fit={"eval_loader": None}),
    "evaluation after every third step": Setting(
        fit={"eval_every": 3}, monitor="accuracy", mode="max"
    ),
    "last weights": Setting(restore_best=False),
    "lstm with all dropouts": Setting(
        model={"cell": "lstm", "num_layers": 2, "layer_dropout": 0.2, "embedding_dropout": 0.2}
    ),
    "accumulation": Setting(
        lambda: toys.shuffled(TRAIN, 3), accumulation_steps=3, class_weights=[1.0, 2.0, 0.5]
    ),
    "accumulation, noisy": Setting(
        lambda: toys.shuffled(TRAIN, 3, collate_fn=NoisyCollator()), accumulation_steps=3
    ),
    "clipping, smoothing, balance": Setting(
        max_grad_norm=0.1, label_smoothing=0.1, class_weights="balanced"
    ),
    "ema": Setting(weight_averaging=WeightAveraging(kind="ema", decay=0.8)),
    "swa": Setting(weight_averaging=WeightAveraging(kind="swa", start=0.5), fit={"eval_every": 2}),
    "bf16": Setting(precision="bf16"),
    "fp16": Setting(precision="fp16", scheduler=schedulers.linear_warmup()),
    "sgd with momentum": Setting(
        optimizer=lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9, nesterov=True)
    ),
    "adamw with amsgrad": Setting(
        optimizer=lambda weights: torch.optim.AdamW(weights, lr=np.float64(0.01), amsgrad=True)
    ),
    "rmsprop": Setting(optimizer=lambda weights: torch.optim.RMSprop(weights, centered=True)),
    "callbacks": Setting(
        callbacks=lambda: [
            LearningRateMonitor(),
            EarlyStopping(patience=2),
            EarlyStopping(patience=3, monitor="accuracy", mode="max"),
            FreezeEmbeddings(2),
            RollDice(),
        ],
        fit={"eval_every": 2},
        scheduler=schedulers.slanted_triangular(),
    ),
    "early stop": Setting(
        callbacks=lambda: [EarlyStopping(patience=2, min_delta=10.0)], fit={"eval_every": 2}
    ),
}
SCHEDULED = {
    **{
        f"{name} per {interval}": scheduled(
            schedulers.by_name(name, interval=interval), fit={"eval_every": 2}
        )
        for name in schedulers.NAMES
        for interval in ("step", "evaluation", "epoch")
        if (name, interval) != ("plateau", "epoch")
    },
    "plateau per epoch": scheduled(schedulers.plateau(patience=0, threshold=0.5, interval="epoch")),
    "torch's MultiStepLR": scheduled(
        (lr_scheduler.MultiStepLR, {"milestones": [2, 5, 5]}), scheduler_interval="step"
    ),
    "torch's CyclicLR": scheduled(
        (
            lr_scheduler.CyclicLR,
            {"base_lr": 0.001, "max_lr": 0.1, "step_size_up": 3, "cycle_momentum": False},
        ),
        scheduler_interval="step",
    ),
    "torch's warm restarts": scheduled(
        (lr_scheduler.CosineAnnealingWarmRestarts, {"T_0": 3}), scheduler_interval="step"
    ),
    "torch's schedulers in sequence": scheduled(
        lambda optimizer, total: lr_scheduler.SequentialLR(
            optimizer,
            [
                lr_scheduler.LinearLR(optimizer, total_iters=3),
                lr_scheduler.ExponentialLR(optimizer, 0.9),
            ],
            milestones=[total // 2],
        ),
        scheduler_interval="step",
    ),
}
SETTINGS |= SCHEDULED


@pytest.mark.parametrize("name", SETTINGS)
def test_resuming_at_any_step_gives_the_same_bits(name, tmp_path):
    """From each of a run's checkpoints, a new trainer reaches exactly the same end."""
    setting = SETTINGS[name]
    scatter_generators(0)
    whole = setting(tmp_path, every_steps=1, keep=1000)
    steps = sorted(tmp_path.glob("step-*"))
    assert len(steps) >= 4
    for number, step in enumerate(steps if name not in SCHEDULED else steps[1::3]):
        scatter_generators(1000 + number)
        assert toys.worst_difference(whole, setting(tmp_path, resume_from=step)) == 0.0, step


WITH_WORKERS = {
    "weighted texts": Setting(lambda: toys.shuffled(WEIGHTED, num_workers=2)),
    "buckets": Setting(lambda: toys.bucketed(TRAIN, num_workers=2)),
    "shuffled": Setting(lambda: toys.shuffled(TRAIN, num_workers=2)),
    "noisy buckets": Setting(
        lambda: toys.bucketed(TRAIN, num_workers=2, collate_fn=NoisyCollator())
    ),
    "noisy, accumulation": Setting(
        lambda: toys.shuffled(TRAIN, 3, num_workers=2, collate_fn=NoisyCollator()),
        accumulation_steps=2,
    ),
    "persistent workers": Setting(
        lambda: toys.shuffled(TRAIN, num_workers=2, persistent_workers=True)
    ),
    "evaluation with workers": Setting(
        lambda: toys.shuffled(TRAIN),
        fit={"eval_loader": toys.shuffled(EVAL, 4, num_workers=2, persistent_workers=True)},
    ),
}


@pytest.mark.parametrize("name", WITH_WORKERS)
def test_resuming_with_workers_gives_the_same_bits(name, tmp_path):
    """Batches that workers had made ahead are neither lost nor trained on twice."""
    setting = WITH_WORKERS[name]
    scatter_generators(0)
    whole = setting(tmp_path, every_steps=1, keep=1000)
    for step in sorted(tmp_path.glob("step-*"))[1:-1:2]:
        scatter_generators(1)
        assert toys.worst_difference(whole, setting(tmp_path, resume_from=step)) == 0.0, step


def test_a_chain_of_interruptions_gives_the_same_bits(tmp_path):
    """A run that dies after every third step, each time resumed, ends like one that lives."""

    class Death(Callback):
        def __init__(self, step: int) -> None:
            self.step = step

        def on_batch_end(self, state: Any) -> None:
            if state.step == self.step:
                raise RuntimeError("died")

    scatter_generators(0)
    whole = Setting(lambda: toys.shuffled(TRAIN))(tmp_path)
    folder = tmp_path / "run"
    for step in (3, 6, 8):
        scatter_generators(0 if step == 3 else step)
        dying = Setting(lambda: toys.shuffled(TRAIN), callbacks=lambda at=step: [Death(at)])
        with pytest.raises(RuntimeError, match="died"):
            dying(folder, resume_from=folder if step > 3 else None, every_steps=2)
    resumed = Setting(lambda: toys.shuffled(TRAIN))(folder, resume_from=folder, every_steps=2)
    assert toys.worst_difference(whole, resumed) == 0.0


def test_a_resumed_run_that_stops_at_once_loses_nothing(tmp_path):
    """Written into another folder before any step was made, its checkpoint is as good."""

    class Stop(Callback):
        def __init__(self, step: int) -> None:
            self.step = step

        def on_fit_begin(self, state: Any) -> None:
            self.on_batch_end(state)

        def on_batch_end(self, state: Any) -> None:
            if state.step == self.step:
                state.request_stop("enough")

    def loader() -> Any:
        return toys.shuffled(TRAIN, collate_fn=NoisyCollator())

    one, two = tmp_path / "one", tmp_path / "two"
    stopping = Setting(loader, callbacks=lambda: [Stop(2)])
    scatter_generators(0)
    whole = Setting(loader)(tmp_path)
    scatter_generators(0)
    stopping(one, every_steps=9)
    scatter_generators(1)
    stopping(two, resume_from=one, every_steps=9)
    scatter_generators(2)
    assert toys.worst_difference(whole, Setting(loader)(tmp_path, resume_from=two)) == 0.0


def test_more_epochs_go_on_where_fewer_ended(tmp_path):
    """`epochs` is the total: one epoch and then another equal two."""
    scatter_generators(0)
    whole = Setting(lambda: toys.shuffled(TRAIN))(tmp_path / "whole")
    scatter_generators(0)
    Setting(lambda: toys.shuffled(TRAIN), fit={"epochs": 1})(tmp_path, every_steps=100)
    scatter_generators(9)
    resumed = Setting(lambda: toys.shuffled(TRAIN))(tmp_path, resume_from=tmp_path)
    assert toys.worst_difference(whole, resumed) == 0.0


def test_checkpoints_change_nothing(tmp_path):
    """A run that writes checkpoints ends with the bits of one that does not."""
    results = []
    for checkpoint in ({}, {"every_steps": 1}):
        scatter_generators(0)
        results.append(Setting(callbacks=lambda: [RollDice()])(tmp_path, **checkpoint))
    assert toys.worst_difference(*results) == 0.0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_a_run_survives_being_killed_thirty_times(tmp_path):
    """SIGKILL at random moments, also within the writing of a checkpoint, costs not one bit."""
    script = Path(__file__).with_name("resume_script.py")
    done = subprocess.run(  # noqa: S603 # the program is this test's own
        [sys.executable, script, tmp_path, "30", "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["kills"] >= 30
    assert result["half-written checkpoints"] >= 5
    assert result["steps"] == 80
    assert result["worst difference"] == 0.0
    assert result["left over"] == []
