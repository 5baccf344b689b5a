"""The table of experiments: each is a parent experiment with changed settings."""

import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

__all__ = ["EXPERIMENTS", "Experiment", "notebook_facts"]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The settings of one experiment; the defaults are those of the first baseline."""

    name: str
    parent: str | None = None  # the experiment to compare with
    change: str
    group: str = "notebook"  # or "pooling" and "search", which the notebook's task suggested
    cell: str = "rnn"
    pooling: tuple[str, ...] = ("mean",)  # several are concatenated
    hidden_size: int = 256  # of the states and of the embedding
    num_layers: int = 1
    epochs: int = 5
    learning_rate: float = 1e-3  # of Adam
    gamma: float | None = None  # factor of the learning rate after each epoch
    dropout: float = 0.1  # in the head
    min_freq: int = 26  # minimum count of a word in 120,000 training texts

    def child(self, name: str, change: str, **changes: Any) -> "Experiment":
        """Return a copy with this experiment as its parent and other settings."""
        return replace(self, name=name, parent=self.name, change=change, **changes)

    def reduced(self) -> "Experiment":
        """Return a copy with two thirds of the epochs and a quarter of the width."""
        return replace(self, epochs=ceil(self.epochs * 2 / 3), hidden_size=self.hidden_size // 4)

    def settings(self) -> dict[str, Any]:
        """Return the settings that affect the results, as JSON values."""
        words = ("name", "parent", "change", "group")
        values = {name: value for name, value in asdict(self).items() if name not in words}
        return {**values, "pooling": list(self.pooling)}


def _table() -> dict[str, Experiment]:
    mean = Experiment(name="baseline-mean", change="baseline: RNN, mean pooling")
    gru = mean.child("exp1-gru", "GRU instead of RNN", cell="gru")
    deep = gru.child("exp2-gru-3-layers", "3 layers instead of 1", num_layers=3)
    long = deep.child("exp3-15-epochs", "15 epochs instead of 5", epochs=15)
    wide = long.child("exp5-hidden-512", "hidden width 512 instead of 256", hidden_size=512)
    decay = wide.child("exp6-exponential-lr", "learning rate times 0.9 after each epoch", gamma=0.9)
    two = "LSTM instead of GRU and 10 epochs instead of 15 (two changes at once)"
    lstm = {"cell": "lstm"}
    last = {"pooling": ("mean", "last"), "group": "pooling"}

    def search(name: str, change: str, **changes: Any) -> Experiment:
        return gru.child(f"search-{name}", change, group="search", **changes)

    rows = (
        mean,
        mean.child("baseline-max", "max pooling instead of mean", pooling=("max",)),
        gru,
        deep,
        long,
        long.child("exp4-lr-1e-4", "learning rate 1e-4 instead of 1e-3", learning_rate=1e-4),
        wide,
        decay,
        decay.child("exp7-lstm", two, epochs=10, **lstm),
        decay.child("exp7-lstm-15-epochs", "LSTM instead of GRU", **lstm),
        gru.child("concat-last", "mean and last state concatenated", **last),
        search("min-freq-2", "minimum word count 2 per 120,000 texts, not 26", min_freq=2),
        search("min-freq-8", "minimum word count 8 per 120,000 texts, not 26", min_freq=8),
        search("min-freq-100", "minimum word count 100 per 120,000 texts, not 26", min_freq=100),
        search("dropout-0", "no dropout instead of 0.1", dropout=0.0),
        search("dropout-0.3", "dropout 0.3 instead of 0.1", dropout=0.3),
        search("dropout-0.5", "dropout 0.5 instead of 0.1", dropout=0.5),
        search("hidden-128", "hidden width 128 instead of 256", hidden_size=128),
        search("hidden-512", "hidden width 512 instead of 256", hidden_size=512),
    )
    return {row.name: row for row in rows}


EXPERIMENTS = _table()
"""All experiments by name, in the order of the report; parents come before children."""


@cache
def notebook_facts() -> dict[str, dict[str, Any]]:
    """Return what the notebook logged, by experiment: settings, accuracies, minutes, conclusion."""
    return dict(json.loads(Path(__file__).with_name("notebook.json").read_text("utf-8")))
