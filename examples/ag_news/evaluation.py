"""Two readings of one training run: the notebook's, which flatters, and an honest one.

The notebook drew 5,000 test texts with replacement, measured accuracy on them twice an epoch and
took the best value, so its test texts chose the checkpoint. `TestLooks` makes the same looks while
a run trains; they are only written down and change nothing. The honest reading lets the validation
part choose the checkpoint, which is `textrnn.training.Trainer`'s ``monitor="accuracy"``, and reads
all test texts once at the end, `read_test`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from textrnn.training import Callback, TrainingState

__all__ = ["Draw", "TestLooks", "TestReading", "draw_like_the_notebook", "read_test"]

_DRAWN, _DRAWN_FROM, _SEED = 5_000, 7_600, 42


@dataclass(frozen=True)
class Draw:
    """Texts drawn with replacement: the distinct ones, and how often each came.

    Args:
        rows: positions of the distinct texts, ascending.
        counts: as many numbers; their sum is the number of texts drawn.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]

    def accuracy(self, correct: ArrayLike) -> float:
        """Return the accuracy on the texts drawn, each counted as often as it came.

        Args:
            correct: whether each of the distinct texts is right, ``(rows,)``.
        """
        return float(self.counts[np.asarray(correct)].sum() / self.counts.sum())


def draw_like_the_notebook(texts: int) -> Draw:
    """Draw test texts as the notebook did.

    Args:
        texts: how many test texts there are. Of 7,600 it drew 5,000; of another number as many in
            proportion are drawn.

    Returns:
        The draw; with 7,600 texts, 3,608 distinct ones.
    """
    size = max(1, round(texts * _DRAWN / _DRAWN_FROM))
    # NumPy's old generator, because that is what gives the notebook's texts.
    drawn = np.random.RandomState(_SEED).choice(np.arange(texts), size)
    rows, counts = np.unique(drawn, return_counts=True)
    return Draw(rows, counts)


class TestLooks(Callback):
    """Look at test texts when the notebook did: after an epoch's first update, and half-way.

    With ``steps`` updates in an epoch, counted from 0, these are the updates 0 and ``steps // 2``
    (1 and 470 of the notebook's 938). The looks are kept and never used: they change neither the
    model nor a generator, and no checkpoint is chosen by them. Beside its accuracy, a look tells
    how many of the distinct texts it ``gained`` (right now, wrong at the look before) and ``lost``.

    Args:
        predict: gives the model's logits ``(rows, classes)`` for the distinct texts of the draw.
        labels: their classes, ``(rows,)``.
        draw: how often each counts.
    """

    __test__ = False  # the name is not that of a test case

    def __init__(self, predict: Callable[[], Tensor], labels: Tensor, draw: Draw) -> None:
        self.predict = predict
        self.labels = labels
        self.draw = draw
        self.looks: list[dict[str, Any]] = []
        self.seconds = 0.0
        self._previous: Tensor | None = None

    def on_batch_end(self, state: TrainingState) -> None:
        """Look, if the update was one of the two."""
        steps = state.steps_per_epoch or 1
        if (state.step - 1) % steps in {0, steps // 2}:
            if torch.cuda.is_available():
                torch.cuda.synchronize()  # updates still under way are not the look's time
            start = time.perf_counter()
            correct = self.predict().argmax(1) == self.labels  # (rows,)
            self.seconds += time.perf_counter() - start
            before = correct if self._previous is None else self._previous
            self.looks.append(
                {
                    "epoch": state.epoch,
                    "step": state.step,
                    "accuracy": self.draw.accuracy(correct),
                    "gained": int((correct & ~before).sum()),
                    "lost": int((before & ~correct).sum()),
                }
            )
            self._previous = correct

    def state_dict(self) -> dict[str, Any]:
        """Return the looks so far."""
        previous = None if self._previous is None else self._previous.int().tolist()
        return {"looks": list(self.looks), "seconds": self.seconds, "previous": previous}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back the looks so far."""
        self.looks = list(state["looks"])
        self.seconds = state["seconds"]
        previous = state["previous"]
        self._previous = None if previous is None else torch.tensor(previous, dtype=torch.bool)


@dataclass(frozen=True)
class TestReading:
    """All test texts, read once with the checkpoint that the validation part chose.

    Args:
        predictions: the class id predicted for each text.
        confidences: the probability given to it.
    """

    __test__ = False  # the name is not that of a test case

    predictions: Sequence[int]
    confidences: Sequence[float]

    def mistakes(self, labels: Sequence[int], count: int) -> list[int]:
        """Return the rows of the wrong texts that the model was surest of, surest first."""
        wrong = [row for row, label in enumerate(labels) if self.predictions[row] != label]
        return sorted(wrong, key=lambda row: (-self.confidences[row], row))[:count]


def read_test(logits: Tensor) -> TestReading:
    """Turn logits ``(texts, classes)`` into predictions and their probabilities."""
    confidences, predictions = logits.softmax(1).max(1)
    return TestReading(predictions.tolist(), confidences.tolist())
