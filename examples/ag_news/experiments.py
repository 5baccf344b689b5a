"""The experiments as data: each is its parent with something changed.

The table is read from top to bottom. A row names its parent and what differs from it, so what an
experiment changes is a fact of the table (`Experiment.changes`) rather than a claim of its name.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import Any

__all__ = ["EXPERIMENTS", "PRESETS", "Experiment", "Preset", "notebook_facts"]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The settings of one experiment; the defaults are those of the first baseline.

    Args:
        name: what it is called on the command line and in the report.
        parent: the experiment that it is compared with, or None.
        change: what it changes, in words.
        group: ``"notebook"``; or what the notebook's task suggested and the notebook left out:
            ``"pooling"`` (pooled states beside the last one) and ``"search"``.
        cell: ``"rnn"``, ``"gru"`` or ``"lstm"``.
        pooling: how states become one vector; several are concatenated.
        hidden_size: width of the states and of the embedding.
        num_layers: recurrent layers.
        epochs: how often the training texts are gone through.
        learning_rate: Adam's rate at the beginning.
        gamma: the factor that the rate is multiplied by after each epoch, or None.
        dropout: share of the head's inner values that training leaves out.
        min_freq: how often a word must occur in 120,000 training texts to be in the vocabulary; in
            fewer texts less often, in proportion.
    """

    name: str
    parent: str | None = None
    change: str
    group: str = "notebook"
    cell: str = "rnn"
    pooling: tuple[str, ...] = ("mean",)
    hidden_size: int = 256
    num_layers: int = 1
    epochs: int = 5
    learning_rate: float = 1e-3
    gamma: float | None = None
    dropout: float = 0.1
    min_freq: int = 26

    def child(self, name: str, change: str, **changes: Any) -> "Experiment":
        """Return an experiment that differs from this one in `changes` alone."""
        return replace(self, name=name, parent=self.name, change=change, **changes)

    def settings(self) -> dict[str, Any]:
        """Return what decides the numbers, as plain values that JSON can hold."""
        words = ("name", "parent", "change", "group")
        values = {name: value for name, value in asdict(self).items() if name not in words}
        return {**values, "pooling": list(self.pooling)}

    def changes(self, parent: "Experiment") -> dict[str, tuple[Any, Any]]:
        """Return the settings that differ from the parent's: name to (parent's, own)."""
        own, other = self.settings(), parent.settings()
        return {name: (other[name], own[name]) for name in own if own[name] != other[name]}


def _table() -> dict[str, Experiment]:
    mean = Experiment(name="baseline-mean", change="the starting point: RNN, mean pooling")
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
        gru.child("concat-last", "the last state beside the mean of all", **last),
        search("min-freq-2", "words kept from 2 in 120,000 texts on, not 26", min_freq=2),
        search("min-freq-8", "words kept from 8 in 120,000 texts on, not 26", min_freq=8),
        search("min-freq-100", "words kept from 100 in 120,000 texts on, not 26", min_freq=100),
        search("dropout-0", "no dropout instead of 0.1", dropout=0.0),
        search("dropout-0.3", "dropout 0.3 instead of 0.1", dropout=0.3),
        search("dropout-0.5", "dropout 0.5 instead of 0.1", dropout=0.5),
        search("hidden-128", "hidden width 128 instead of 256", hidden_size=128),
        search("hidden-512", "hidden width 512 instead of 256", hidden_size=512),
    )
    return {row.name: row for row in rows}


EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(_table())
"""All experiments by their names, in the report's order; a parent stands before its children."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A way to make all experiments cheaper alike, so that they stay comparable.

    Args:
        name: what it is called on the command line and in the report.
        summary: what it does, in words.
        epochs_share: epochs are multiplied by this, and rounded up.
        width_divisor: hidden widths are divided by this.
    """

    name: str
    summary: str
    epochs_share: float = 1.0
    width_divisor: int = 1

    def apply(self, experiment: Experiment, *, epochs: int | None = None) -> Experiment:
        """Return the experiment as the preset runs it; `epochs` overrides how long it is."""
        return replace(
            experiment,
            epochs=ceil(experiment.epochs * self.epochs_share) if epochs is None else epochs,
            hidden_size=experiment.hidden_size // self.width_divisor,
        )


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(name="full", summary="the notebook's settings"),
            Preset(
                name="quick",
                summary="two thirds of the epochs and a quarter of the hidden width",
                epochs_share=2 / 3,
                width_divisor=4,
            ),
        )
    }
)
"""The presets by their names."""


@cache
def notebook_facts() -> Mapping[str, Mapping[str, Any]]:
    """Return what the notebook logged, by experiment.

    Returns:
        For each of its nine runs the settings, ``best`` (its best accuracy in percent),
        ``minutes`` on its GPU, ``author`` (what its author concluded) and ``eval_accuracy`` (what
        it logged, two values an epoch; None where the source lost one).
    """
    path = Path(__file__).with_name("notebook.json")
    facts: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return MappingProxyType(facts)
