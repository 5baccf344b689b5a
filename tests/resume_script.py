"""Train in processes that are killed at random moments, and tell what came of it.

``python resume_script.py FOLDER KILLS SEED`` trains once without interruption. Then it trains
again, in one forked process after the other: each continues from the checkpoints in FOLDER and is
killed with SIGKILL when it has told of a random number of events (a step, a write, a sync, a
rename, a removal), until KILLS processes are dead; the next one may finish. What is printed at the
end is JSON: the number of kills, how many of them left a half-written checkpoint, and the largest
difference to the first run in weights, optimizer, history, callbacks and generators.
"""

import json
import os
import random
import select
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests import toys
from textrnn.training import (
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    JSONLogger,
    LambdaCallback,
    LearningRateMonitor,
    Trainer,
    schedulers,
)
from textrnn.training.resume.generators import generator_states

TRAIN, EVAL = toys.make_dataset(64), toys.make_dataset(12, seed=1)


def train(folder: Path, seed: int, num_workers: int, tell: Callable[[], None]) -> dict[str, Any]:
    """Train, from the checkpoints in a folder on; return all that is left at the end."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 # the global generator
    torch.manual_seed(seed)
    model = toys.make_model(hidden_size=48)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.002)
    callbacks = [
        EarlyStopping(patience=1000),
        LearningRateMonitor(),
        CSVLogger(folder / "log.csv"),
        JSONLogger(folder / "log.jsonl"),
        LambdaCallback(on_batch_end=lambda _state: tell()),
    ]
    trainer = Trainer(
        model,
        optimizer=optimizer,
        scheduler=schedulers.one_cycle(),
        accumulation_steps=2,
        max_grad_norm=1.0,
        weight_averaging="ema",
        callbacks=[*callbacks, Checkpoint(folder / "checkpoints", every_steps=2)],
        progress=False,
    )
    loader = toys.shuffled(TRAIN, 4, num_workers=num_workers)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*holds no complete checkpoint")
        history = trainer.fit(
            loader,
            toys.bucketed(EVAL),
            epochs=10,
            eval_every=5,
            resume_from=folder / "checkpoints",
        )
    rows = [
        [cell for i, cell in enumerate(row.split(",")) if i != 4]  # not the seconds
        for row in (folder / "log.csv").read_text().splitlines()
    ]
    return {
        "weights": toys.weights_of(model),
        "optimizer": optimizer.state_dict(),
        "history": toys.timeless(history),
        "logs": [rows, len((folder / "log.jsonl").read_text().splitlines())],
        "callbacks": [callback.state_dict() for callback in callbacks],
        "generators": generator_states(()),
    }


class HalfWriting:
    """A file that tells of an event half-way through each write."""

    def __init__(self, file: Any, tell: Callable[[], None]) -> None:
        self.file, self.tell = file, tell

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: bytes) -> None:
        """Write in two halves."""
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        self.tell()
        self.file.write(data[len(data) // 2 :])


def tell_around(owner: Any, name: str, tell: Callable[[], None]) -> None:
    """Tell of an event before and after each call of a function."""
    function = getattr(owner, name)

    def called(*args: Any, **kwargs: Any) -> Any:
        tell()
        result = function(*args, **kwargs)
        tell()
        return result

    setattr(owner, name, called)


def instrument(tell: Callable[[], None]) -> None:
    """Tell of everything that happens to a file."""
    opened = Path.open

    def half(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = opened(self, mode, *args, **kwargs)
        return HalfWriting(file, tell) if mode == "wb" else file

    Path.open = half  # type: ignore[method-assign,assignment]  # in this process alone
    for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "mkdir"), (shutil, "rmtree")):
        tell_around(owner, name, tell)


def spawn(folder: Path, number: int, *, wait: bool, num_workers: int) -> tuple[int, int, int]:
    """Start a training process; return its id, where it tells of events and where it is answered.

    Where it is to wait, it stands still after each event until it is answered.
    """
    events, told = os.pipe()
    answers, answered = os.pipe()
    child = os.fork()
    if child:
        os.close(told)
        os.close(answers)
        return child, events, answered
    try:
        os.setsid()  # so that its workers are killed with it
        main = os.getpid()

        def tell() -> None:
            if os.getpid() == main:
                os.write(told, b".")
                if wait:
                    os.read(answers, 1)

        instrument(tell)
        seed = 1000 + number if any((folder / "checkpoints").glob("step-*")) else 0
        torch.save(train(folder, seed, num_workers, tell), folder / "result.pt")
    except BaseException:  # noqa: BLE001 # whatever it is, two processes must not go on
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def finish(child: int) -> bool:
    """Wait for a process; tell whether it was killed, and fail if it failed."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in {0, -signal.SIGKILL}:
        raise SystemExit(f"the training process ended with {status}")
    return status != 0


def attempt(folder: Path, number: int, chance: random.Random, *, kill: bool) -> bool:
    """Train in a process of its own; tell whether it was killed before it was through."""
    wait = kill and chance.random() < 0.5
    num_workers = 0 if wait or chance.random() < 0.8 else 2
    child, events, answers = spawn(folder, number, wait=wait, num_workers=num_workers)
    left = chance.randrange(1, 80) if kill else -1
    while left and os.read(events, 1):
        left -= 1
        if wait and left:
            os.write(answers, b".")
    if not left:
        if not wait:  # some moment before or after the next event
            select.select([events], [], [], chance.random() * 0.004)
        os.killpg(child, signal.SIGKILL)
    os.close(events)
    os.close(answers)
    return finish(child)


def run(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Kill and resume, and compare with what was never killed."""
    torch.set_num_threads(1)
    whole, broken = folder / "whole", folder / "broken"
    for each in (whole, broken):
        (each / "checkpoints").mkdir(parents=True)
    # In this process: what torch imports on first use is there for all children then.
    uninterrupted = train(whole, 0, 0, lambda: None)
    chance = random.Random(seed)
    killed = torn = number = 0
    while True:
        number += 1
        if not attempt(broken, number, chance, kill=killed < kills):
            break
        killed += 1
        torn += any((broken / "checkpoints").glob(".step-0*.textrnn-new"))
    resumed = torch.load(broken / "result.pt", weights_only=True)
    return {
        "kills": killed,
        "half-written checkpoints": torn,
        "steps": len(uninterrupted["callbacks"][1]["steps"]),
        "worst difference": toys.worst_difference(uninterrupted, resumed),
        "left over": sorted(
            path.name for path in (broken / "checkpoints").iterdir() if path.name[:5] != "step-"
        ),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
