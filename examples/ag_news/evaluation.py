"""Two evaluations of one training run: by the notebook's method, and without test-set selection.

The notebook drew 5,000 test texts with replacement, measured accuracy on them twice an epoch and
took the best value, so the test texts selected the checkpoint. `TestLooks` records the same
evaluations during training and changes nothing. For the honest evaluation, the validation part
selects the checkpoint (`monitor="accuracy"`), and `read_test` evaluates all test texts once.
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
    """Texts drawn with replacement.

    Args:
        rows: Positions of the distinct texts, ascending.
        counts: How often each of them was drawn.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]

    def accuracy(self, correct: ArrayLike) -> float:
        """Return the accuracy on the drawn texts; `correct` has one value per distinct text."""
        return float(self.counts[np.asarray(correct)].sum() / self.counts.sum())


def draw_like_the_notebook(texts: int) -> Draw:
    """Draw test texts as the notebook did: 5,000 of 7,600, or the same share of fewer texts."""
    size = max(1, round(texts * _DRAWN / _DRAWN_FROM))
    # The legacy generator of NumPy, which the notebook used.
    drawn = np.random.RandomState(_SEED).choice(np.arange(texts), size)
    rows, counts = np.unique(drawn, return_counts=True)
    return Draw(rows, counts)


class TestLooks(Callback):
    """Evaluate test texts when the notebook did: after the first update and halfway in an epoch.

    With `steps` updates per epoch, counted from 0, these are the updates 0 and `steps // 2` (1 and
    470 of the notebook's 938). The evaluations are recorded and have no effect on training. Each
    has its accuracy and the numbers of distinct texts `gained` (newly correct) and `lost`.
    """

    __test__ = False  # not a test case

    def __init__(self, predict: Callable[[], Tensor], labels: Tensor, draw: Draw) -> None:
        self.predict = predict
        self.labels = labels
        self.draw = draw
        self.looks: list[dict[str, Any]] = []
        self.seconds = 0.0
        self._previous: Tensor | None = None

    def on_batch_end(self, state: TrainingState) -> None:
        """Evaluate after one of the two updates."""
        steps = state.steps_per_epoch or 1
        if (state.step - 1) % steps in {0, steps // 2}:
            if torch.cuda.is_available():
                torch.cuda.synchronize()  # the time of pending updates does not count
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
        """Return the evaluations so far."""
        previous = None if self._previous is None else self._previous.int().tolist()
        return {"looks": list(self.looks), "seconds": self.seconds, "previous": previous}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the evaluations so far."""
        self.looks = list(state["looks"])
        self.seconds = state["seconds"]
        previous = state["previous"]
        self._previous = None if previous is None else torch.tensor(previous, dtype=torch.bool)


@dataclass(frozen=True)
class TestReading:
    """Predictions for all test texts by the checkpoint selected on the validation part.

    Args:
        predictions: Predicted class id of each text.
        confidences: Probability of that class.
    """

    __test__ = False  # not a test case

    predictions: Sequence[int]
    confidences: Sequence[float]

    def mistakes(self, labels: Sequence[int], count: int) -> list[int]:
        """Return the positions of the most confident mistakes, most confident first."""
        wrong = [row for row, label in enumerate(labels) if self.predictions[row] != label]
        return sorted(wrong, key=lambda row: (-self.confidences[row], row))[:count]


def read_test(logits: Tensor) -> TestReading:
    """Convert logits `(texts, classes)` to predictions and their probabilities."""
    confidences, predictions = logits.softmax(1).max(1)
    return TestReading(predictions.tolist(), confidences.tolist())
