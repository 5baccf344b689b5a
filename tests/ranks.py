"""The work of one of several processes in the tests of distributed training.

`python ranks.py RANK COUNT FOLDER JOB...` joins the others by a file in FOLDER and does the jobs in
turn. The result of each is saved as `JOB-RANK.pt`, an error as its kind and its message.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests import toys
from textrnn import Batch, BucketBatchSampler, PaddingCollator
from textrnn.training import (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    FreezeEmbeddings,
    LambdaCallback,
    ProgressBar,
    Trainer,
    WeightAveraging,
    schedulers,
)
from textrnn.training.resume.generators import generator_states

# Batches of 8 texts leave a last one of 3, which two processes share out as 1 and 2.
TRAIN, EVAL = toys.make_dataset(43), toys.make_dataset(17, seed=1)
WEIGHTED = toys.make_dataset(43)
WEIGHTED.weights = torch.arange(43) % 4
TEXTS = 8
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"accumulation_steps": 4},
    "weighted": {"class_weights": [1.0, 5.0, 0.5], "label_smoothing": 0.1},
    "clipped": {"max_grad_norm": 0.05, "accumulation_steps": 2},
    "averaged": {"weight_averaging": WeightAveraging(kind="ema", decay=0.8)},
    "weighted texts": {"train": WEIGHTED, "accumulation_steps": 2, "class_weights": "balanced"},
    "frozen": {"callbacks": [FreezeEmbeddings(until_epoch=2)]},
    "everything": {
        "accumulation_steps": 4,
        "class_weights": "balanced",
        "max_grad_norm": 0.1,
        "weight_averaging": "swa",
        "scheduler": schedulers.one_cycle(),
    },
}


def last_mean(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Give a figure that depends on which logits belong to which labels and weights."""
    own = logits[torch.arange(len(labels)), labels]
    return (own if weights is None else own * weights).mean()


def loader_of(dataset: Any, count: int, **settings: Any) -> DataLoader[Any]:
    """Return batches that have so many texts in all processes together."""
    return toys.bucketed(dataset, TEXTS // count, **settings)


def fit(count: int, train: Any = TRAIN, **settings: Any) -> dict[str, Any]:
    """Train for three epochs, and return all that came of it."""
    torch.manual_seed(3)
    model = toys.make_model(dropout=0.0)
    trainer = toys.make_trainer(model, metrics={"mean": last_mean}, **settings)
    history = trainer.fit(loader_of(train, count), loader_of(EVAL, count), epochs=3, eval_every=5)
    return {
        "weights": toys.weights_of(model),
        "history": toys.timeless(history),
        "evaluation": trainer.evaluate(loader_of(EVAL if train is TRAIN else train, count)),
        "logits": trainer.predict(loader_of(EVAL, count)),
    }


def equality(folder: Path, rank: int, count: int) -> dict[str, Any]:
    """Train with each of the settings."""
    del folder, rank
    return {name: fit(count, **settings) for name, settings in SETTINGS.items()}


def fit_list(batches: list[Batch]) -> dict[str, Any]:
    """Train on ready batches."""
    model = toys.make_model(dropout=0.0)
    trainer = toys.make_trainer(
        model,
        # Adam would make much of the rounding where a gradient is next to nothing.
        optimizer=torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.5),
        class_weights="balanced",
        restore_best=False,
    )
    history = trainer.fit(batches, batches, epochs=3)
    return {"weights": toys.weights_of(model), "history": toys.timeless(history)}


def lists(folder: Path, rank: int, count: int) -> dict[str, Any]:
    """Train on lists of batches of unlike sizes, every process on its own."""
    del folder
    return {
        kind: fit_list(toys.make_batches((5, 3, 6, 2), weighted=kind == "weighted")[rank::count])
        for kind in ("plain", "weighted")
    }


class Counted(nn.Module):
    """A classifier with a buffer that each batch changes."""

    def __init__(self) -> None:
        super().__init__()
        self.model = toys.make_model(dropout=0.0)
        self.register_buffer("mean_length", torch.zeros(()))

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """Give logits that the buffer has a part in."""
        if self.training:
            self.mean_length = lengths.double().mean().float()
        logits: Tensor = self.model(input_ids, lengths)
        return logits * (1 + self.mean_length)


def buffers(folder: Path, rank: int, count: int) -> dict[str, Any]:
    """Train a model whose buffers differ from process to process."""
    del folder, rank
    model = Counted()
    loaders = loader_of(TRAIN, count), loader_of(EVAL, count)
    history = toys.make_trainer(model).fit(*loaders, epochs=2)
    return {"weights": toys.weights_of(model), "history": toys.timeless(history)}


def random_numbers(folder: Path, rank: int, count: int) -> dict[str, Any]:
    """Return the generators' states before the first step, and those the script had set."""
    del folder, rank
    torch.manual_seed(5)
    seen: list[Any] = []
    watch = LambdaCallback(on_epoch_begin=lambda _state: seen.append(generator_states(())))
    before = generator_states(())
    toys.make_trainer(callbacks=[watch]).fit(loader_of(TRAIN, count), epochs=1)
    return {"before": before, "after": seen[0]}


class Noise(PaddingCollator):
    """Hides words at random."""

    def __call__(self, items: Any) -> Batch:
        """Pad, then hide."""
        batch = super().__call__(items)
        ids = batch.input_ids
        return Batch(
            ids.masked_fill(torch.rand(ids.shape) < 0.2, 1),
            batch.lengths,
            batch.labels,
            batch.indices,
        )


def resumable(folder: Path, count: int, *callbacks: Callback, dropout: float = 0.3) -> Any:
    """Train with random numbers from the checkpoints in a folder, and return the results."""
    model = toys.make_model(dropout=dropout, hidden_size=16)
    trainer = toys.make_trainer(
        model,
        scheduler=schedulers.one_cycle(),
        weight_averaging="ema",
        accumulation_steps=2,
        callbacks=[*callbacks, EarlyStopping(patience=100), Checkpoint(folder, every_steps=2)],
    )
    collate = Noise() if dropout else PaddingCollator()
    resumes = any(folder.glob("step-*"))
    history = trainer.fit(
        loader_of(TRAIN, count, collate_fn=collate),
        loader_of(EVAL, count),
        epochs=4,
        eval_every=2,
        resume_from=folder if resumes else None,
    )
    return {
        "weights": toys.weights_of(model),
        "optimizer": trainer.optimizer.state_dict(),
        "history": toys.timeless(history),
        "generators": generator_states(()),
    }


def resuming(folder: Path, rank: int, count: int) -> dict[str, Any]:
    """Train without interruption, and in three parts that a request of rank 1 ends."""
    torch.manual_seed(7)
    found = {"whole": resumable(folder / "whole", count)}
    for end, seed in {4: 7, 8: 108, 1000: 109}.items():
        torch.manual_seed(seed)

        def stop(state: Any, end: int = end) -> None:
            if rank == 1 and state.step == end:
                state.request_stop("the power fails")

        found[f"until {end}"] = resumable(
            folder / "parts", count, LambdaCallback(on_batch_end=stop)
        )
    return found


def leaving(folder: Path, rank: int, count: int) -> dict[str, Any]:
    """Leave a checkpoint in the middle of an epoch, for a run of another number of processes."""
    stop = LambdaCallback(
        on_batch_end=lambda state: state.request_stop("enough") if state.step == 4 else None
    )
    del rank
    return {"history": resumable(folder / "left", count, stop, dropout=0.0)["history"]}


def writing(folder: Path, rank: int, count: int) -> dict[str, Any]:
    """Train with callbacks that write; each process has a folder of its own."""
    own = folder / f"own-{rank}"
    hooks: list[int] = []
    watch = LambdaCallback(on_batch_end=lambda state: hooks.append(state.step))
    bar = ProgressBar(progress=True, description=f"bar of {rank}")
    checkpoint = Checkpoint(own / "checkpoints", every_steps=2)
    trainer = Trainer(
        toys.make_model(), callbacks=[watch, bar, CSVLogger(own / "log.csv"), checkpoint]
    )
    trainer.fit(loader_of(TRAIN, count), epochs=1)
    assert trainer.state is not None
    return {
        "files": sorted(str(path.relative_to(own)) for path in own.rglob("*") if path.is_file()),
        "hooks": hooks,
        "last_checkpoint": trainer.state.last_checkpoint,
    }


def stopping(folder: Path, rank: int, count: int) -> dict[str, Any]:
    """Stop by the request of one process, by Ctrl-C in one, and by a callback of all."""
    del folder

    def ask(state: Any) -> None:
        if rank == 1 and state.step == 4:
            state.request_stop("rank 1 has had enough")

    def interrupt(state: Any) -> None:
        if rank == 1 and state.step == 3:
            signal.raise_signal(signal.SIGINT)

    found = {}
    for name, callback in {
        "asked": LambdaCallback(on_batch_end=ask),
        "interrupted": LambdaCallback(on_batch_end=interrupt),
        "early": EarlyStopping(patience=1, monitor="accuracy", mode="max", min_delta=1.0),
    }.items():
        trainer = toys.make_trainer(callbacks=[callback])
        trainer.fit(loader_of(TRAIN, count), loader_of(EVAL, count), epochs=9)
        assert trainer.state is not None
        found[name] = [trainer.state.step, trainer.state.stop_reason]
    return found


class Endless:
    """Batches of an unknown number: one more in each rank than in the one before."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def __iter__(self) -> Iterator[Batch]:
        """Begin again."""
        return iter(toys.make_batches((3,) * (2 + self.rank)))


def complaints(folder: Path, rank: int, count: int) -> dict[str, list[str]]:
    """Make mistakes that only several processes can make; return how each is answered."""
    batches = toys.make_batches((5, 3, 6, 2))
    trainer = toys.make_trainer()
    shared = loader_of(TRAIN, count)
    sampler = DistributedSampler(EVAL, shuffle=False)
    padded: Any = DataLoader(EVAL, 4, sampler=sampler, collate_fn=PaddingCollator())
    unsplit = BucketBatchSampler(TRAIN, 4, rank=0, world_size=1)
    own = torch.ones(len(batches[rank])) if rank else None
    unknown = [Batch(batch.input_ids, batch.lengths, batch.labels) for batch in batches]
    blocked = folder / f"blocked-{rank}"
    blocked.mkdir()
    checkpoint = Checkpoint(blocked)
    if rank == 0:
        blocked.rmdir()
        blocked.write_text("a file stands where the folder was")

    def spoil(logits: Tensor, labels: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(logits, labels)
        return loss * float("nan") if rank == 1 and trainer_of_nan.state.step == 2 else loss

    trainer_of_nan: Any = toys.make_trainer(loss=spoil)
    wrong: dict[str, Callable[[], object]] = {
        "shuffled": lambda: trainer.fit(toys.shuffled(TRAIN), epochs=1),
        "whole": lambda: trainer.fit(
            DataLoader(TRAIN, batch_sampler=unsplit, collate_fn=PaddingCollator()), epochs=1
        ),
        "same texts": lambda: trainer.fit(batches, epochs=1),
        "lengths": lambda: trainer.fit(batches[: 1 + rank] if rank else batches[3:], epochs=1),
        "weights": lambda: trainer.fit([replace(batches[rank], weights=own)], epochs=1),
        "exhausted": lambda: trainer.fit(Endless(rank), epochs=1),
        "evaluated whole": lambda: trainer.evaluate(toys.shuffled(EVAL)),
        "padded": lambda: trainer.evaluate(padded),
        "predicted twice": lambda: trainer.predict(batches),
        "no indices": lambda: trainer.predict(unknown),
        "too few": lambda: trainer.evaluate(loader_of(toys.make_dataset(1), count)),
        "blocked": lambda: toys.make_trainer(callbacks=[checkpoint]).fit(shared, epochs=1),
        "missing": lambda: trainer.fit(shared, epochs=1, resume_from=folder / "nowhere"),
        "wrapped": lambda: Trainer(nn.parallel.DistributedDataParallel(toys.make_model())),
        "not finite": lambda: trainer_of_nan.fit(shared, epochs=1),
    }
    answers = {}
    for name, mistake in wrong.items():
        try:
            mistake()
        except Exception as error:  # noqa: BLE001 # which one is what is asked
            answers[name] = [type(error).__name__, str(error)]
        else:
            answers[name] = ["nothing", ""]
    return answers


def dying(folder: Path, rank: int, count: int) -> dict[str, Any]:
    """Train until rank 1 kills itself."""
    checkpoint = Checkpoint(folder / "dying", every_steps=2)

    def die(state: Any) -> None:
        if rank == 1 and state.step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    callbacks = [LambdaCallback(on_batch_end=die), checkpoint]
    toys.make_trainer(callbacks=callbacks).fit(loader_of(TRAIN, count), epochs=9)
    return {}


JOBS: dict[str, Callable[[Path, int, int], dict[str, Any]]] = {
    job.__name__: job
    for job in (
        equality,
        lists,
        buffers,
        random_numbers,
        resuming,
        leaving,
        writing,
        stopping,
        complaints,
        dying,
    )
}


def main(rank: int, count: int, folder: Path, jobs: list[str]) -> None:
    """Do the jobs together with the other processes."""
    torch.set_num_threads(1)
    place = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=count)
    for job in jobs:
        torch.save(JOBS[job](folder, rank, count), folder / f"{job}-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
