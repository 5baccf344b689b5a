"""The table of experiments of the AG News example, compared with the notebook."""

import pytest

from examples.ag_news.experiments import EXPERIMENTS, notebook_facts

CHANGES = {
    "baseline-max": {"pooling": (["mean"], ["max"])},
    "exp1-gru": {"cell": ("rnn", "gru")},
    "exp2-gru-3-layers": {"num_layers": (1, 3)},
    "exp3-15-epochs": {"epochs": (5, 15)},
    "exp4-lr-1e-4": {"learning_rate": (1e-3, 1e-4)},
    "exp5-hidden-512": {"hidden_size": (256, 512)},
    "exp6-exponential-lr": {"gamma": (None, 0.9)},
    "exp7-lstm": {"cell": ("gru", "lstm"), "epochs": (15, 10)},
    "exp7-lstm-15-epochs": {"cell": ("gru", "lstm")},
    "concat-last": {"pooling": (["mean"], ["mean", "last"])},
}


def changes_of(experiment, parent):
    """Return the settings that differ from the parent, as name to (parent, own)."""
    own, other = experiment.settings(), parent.settings()
    return {name: (other[name], own[name]) for name in own if own[name] != other[name]}


@pytest.mark.parametrize("name", notebook_facts())
def test_settings_are_the_notebooks(name):
    """Each run of the notebook is in the table with its settings and its parent."""
    facts, experiment = notebook_facts()[name], EXPERIMENTS[name]
    expected = {
        "cell": facts["cell"],
        "pooling": [facts["pooling"]],
        "hidden_size": facts["hidden"],
        "num_layers": facts["layers"],
        "epochs": facts["epochs"],
        "learning_rate": facts["lr"],
        "gamma": 0.9 if facts["scheduler"] else None,
        "dropout": 0.1,
        "min_freq": 26,
    }
    assert experiment.settings() == expected
    assert experiment.parent == facts["parent"]


def test_the_notebooks_figures_are_carried_over():
    """Best accuracies and numbers of logged values are those of the notebook."""
    best = [facts["best"] for facts in notebook_facts().values()]
    assert best == [90.3, 90.66, 91.04, 91.06, 91.32, 89.84, 91.2, 91.7, 91.54]
    for facts in notebook_facts().values():
        assert len(facts["eval_accuracy"]) == 2 * facts["epochs"]
    lost = {n: f["eval_accuracy"].count(None) for n, f in notebook_facts().items()}
    assert {name: count for name, count in lost.items() if count} == {
        "exp3-15-epochs": 1,
        "exp4-lr-1e-4": 3,
        "exp5-hidden-512": 2,
    }


@pytest.mark.parametrize(("name", "changes"), CHANGES.items())
def test_an_experiment_changes_what_it_says(name, changes):
    """Each experiment changes one setting; exp7 changes two and says so."""
    experiment = EXPERIMENTS[name]
    assert changes_of(experiment, EXPERIMENTS[experiment.parent]) == changes
    assert ("two changes" in experiment.change) == (len(changes) == 2)


def test_the_search_is_small_and_changes_one_setting_of_exp1():
    """The search has at most 8 runs of 5 epochs over vocabulary size, dropout and width."""
    search = [row for row in EXPERIMENTS.values() if row.group == "search"]
    assert 0 < len(search) <= 8
    assert {row.epochs for row in search} == {5}
    assert {row.parent for row in search} == {"exp1-gru"}
    changed = [tuple(changes_of(row, EXPERIMENTS["exp1-gru"])) for row in search]
    assert set(changed) == {("min_freq",), ("dropout",), ("hidden_size",)}


def test_a_parent_stands_before_its_children():
    """Parents come before their children."""
    seen = set()
    for name, experiment in EXPERIMENTS.items():
        assert experiment.name == name
        assert experiment.parent is None or experiment.parent in seen
        seen.add(name)


def test_reduced_settings_keep_what_the_experiments_compare():
    """Reduced experiments are smaller, and differ from their parents in the same settings."""
    for experiment in EXPERIMENTS.values():
        assert experiment.reduced().epochs < experiment.epochs
        assert experiment.reduced().hidden_size == experiment.hidden_size / 4
        if experiment.parent:
            parent = EXPERIMENTS[experiment.parent]
            before = set(changes_of(experiment, parent))
            assert set(changes_of(experiment.reduced(), parent.reduced())) == before
