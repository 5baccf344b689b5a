"""`tune`: trials on the same held-out parts, the choice of the best, storages and interruptions."""

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from textrnn import TextClassifier
from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingDependencyError,
    NonFiniteLossError,
)
from textrnn.estimator import scoring, tune, tuning

TEXTS = ["oil prices soar", "stocks and oil fall", "the striker scores", "a keeper saves"] * 30
LABELS = ["business", "business", "sports", "sports"] * 30
SMALL = {"hidden_size": 4, "embedding_size": 4, "epochs": 1, "device": "cpu", "progress": False}


@pytest.fixture(name="scored")
def _scored(monkeypatch):
    """Replace training by a function of the parameters and the part; return the calls."""
    calls = []

    def replace(losses, accuracy=lambda _params: 0.5):
        def score(_self, params, part):
            calls.append((part, params))
            found = losses(params, part)
            return scoring.Score(found, accuracy(params))

        monkeypatch.setattr(scoring.Scoring, "score", score)
        return calls

    return replace


def states(path):
    """Return the number of trials in each state, as the database has them."""
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT state, COUNT(*) FROM trials GROUP BY state").fetchall()
    connection.close()
    return dict(found)


def test_the_first_trial_has_the_defaults():
    """What is found is trained on all texts; parameters that are given are not searched."""
    found = tune(TEXTS, LABELS, minutes=5, trials=3, seed=1, **SMALL)
    assert [trial["trial"] for trial in found.trials] == [0, 1, 2]
    first = found.trials[0]
    settings = TextClassifier(seed=1, **SMALL).fit(TEXTS, LABELS).settings_
    searched = first.keys() - {"trial", "log_loss", "accuracy", "pruned"}
    assert {name: first[name] for name in searched} == {name: settings[name] for name in searched}
    assert not searched & SMALL.keys()
    assert len({trial["dropout"] for trial in found.trials}) >= 2
    same = TextClassifier(seed=1, **SMALL, **found.params).fit(TEXTS, LABELS)
    expected = same.predict_proba(TEXTS[:4])
    np.testing.assert_array_equal(found.classifier.predict_proba(TEXTS[:4]), expected)


def test_a_network_is_searched_where_few_texts_have_none(scored):
    """The first trial has n-grams alone; a given option of the network settles that it has one."""
    scored(lambda params, _part: [0.5 if params.get("network") else 0.7] * 10)
    found = tune(TEXTS, LABELS, minutes=5, trials=8, progress=False)
    assert found.trials[0]["network"] is False
    assert found.params["network"] is True
    assert "network" not in tune(TEXTS, LABELS, minutes=5, trials=1, **SMALL).trials[0]


def test_the_trial_with_the_lowest_loss_is_chosen(scored):
    """It beats the defaults in all parts."""
    calls = scored(lambda params, _part: [params["dropout"] + i for i in range(10)])
    found = tune(TEXTS, LABELS, minutes=5, trials=12, **SMALL)
    lowest = min(found.trials, key=lambda trial: trial["log_loss"])
    assert found.params["dropout"] == lowest["dropout"] < 0.3
    assert found.classifier.get_params()["dropout"] == lowest["dropout"]
    assert any(trial["pruned"] for trial in found.trials)
    assert not lowest["pruned"]
    parts = [part for part, _ in calls]
    assert parts[:10] == [0, 1, 2, 3, 4] * 2  # a pruned trial has fewer
    assert len(parts) < 5 * 12


def test_the_defaults_are_kept_where_others_are_better_by_chance(scored):
    """A gain of less than a standard error is none."""
    generator = np.random.default_rng(0)

    def losses(params, _part):
        gain = 0.02 * (params["dropout"] != 0.3)
        return generator.normal(0.5 - gain, 0.5, 10).tolist()

    scored(losses)
    assert tune(TEXTS, LABELS, minutes=5, trials=2, **SMALL).params == {}


def test_the_defaults_are_kept_where_others_are_less_accurate(scored):
    """A lower loss alone does not pay."""
    scored(lambda params, _part: [params["dropout"]] * 10, lambda params: params["dropout"])
    found = tune(TEXTS, LABELS, minutes=5, trials=8, **SMALL)
    assert min(trial["log_loss"] for trial in found.trials) < 0.3
    assert found.params == {}


def test_the_same_seed_gives_the_same_trials(scored, tmp_path):
    """Also in a storage, and in two calls instead of one."""
    scored(lambda params, part: [params["dropout"] + part] * 10)
    once = tune(TEXTS, LABELS, minutes=5, trials=13, **SMALL)
    path = str(tmp_path / "trials.db")
    tune(TEXTS, LABELS, minutes=5, trials=6, storage=path, **SMALL)
    twice = tune(TEXTS, LABELS, minutes=5, trials=13, storage=path, **SMALL)
    assert twice.trials == once.trials
    other = tune(TEXTS, LABELS, minutes=5, trials=13, seed=1, **SMALL)
    assert other.trials != once.trials


def test_another_search_has_trials_of_its_own(scored, tmp_path):
    """Other texts, labels or parameters are not mixed in one storage."""
    calls = scored(lambda _params, part: [part] * 10)
    path = f"sqlite:///{tmp_path / 'trials.db'}"
    for texts, labels, params in (
        (TEXTS, LABELS, {}),
        (TEXTS[::-1], LABELS, {}),
        (TEXTS, LABELS[::-1], {}),
        (TEXTS, LABELS, {"cell": "lstm"}),
        (TEXTS, LABELS, {"tokenizer": str.split}),
    ):
        calls.clear()
        tune(texts, labels, minutes=5, trials=1, storage=path, **SMALL, **params)
        assert len(calls) == 5
    calls.clear()
    tune(TEXTS, LABELS, minutes=5, trials=1, storage=path, **SMALL)
    assert not calls


def test_a_killed_search_goes_on(tmp_path):
    """Finished trials are kept, and the one that ran is repeated."""
    path = tmp_path / "trials.db"
    script = Path(__file__).with_name("tuning_script.py")
    command = [sys.executable, script, path, "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        for line in process.stdout:
            if line.startswith("Trial 3"):
                os.kill(process.pid, signal.SIGKILL)
                break
    before = states(path)
    assert before["RUNNING"] == 1
    connection = sqlite3.connect(path)  # as if its last sign of life were long ago
    (params,) = connection.execute(
        "SELECT COUNT(*) FROM trial_params JOIN trials USING (trial_id) WHERE state = 'RUNNING'"
    ).fetchone()
    connection.execute("UPDATE trial_heartbeats SET heartbeat = '2000-01-01 00:00:00'")
    connection.commit()
    connection.close()
    total = sum(before.values()) + 2
    found = tune(TEXTS, LABELS, minutes=5, trials=total, storage=str(path), **SMALL)
    assert [trial["trial"] for trial in found.trials[:3]] == [0, 1, 2]
    assert len(found.trials) == total
    after = states(path)
    assert after.get("RUNNING", 0) == 0
    assert after["FAIL"] == 1
    assert params == 0 or after["COMPLETE"] + after["PRUNED"] == total


def test_ctrl_c_leaves_the_trial_to_a_later_search(scored, tmp_path):
    """The search that goes on begins with its settings."""
    pressed = []

    def losses(params, part):
        if len(calls) == 7 and not pressed:
            pressed.append(params)
            raise KeyboardInterrupt
        return [part] * 10

    calls = scored(losses)
    path = str(tmp_path / "trials.db")
    with pytest.raises(KeyboardInterrupt):
        tune(TEXTS, LABELS, minutes=5, storage=path, **SMALL)
    assert states(path) == {"COMPLETE": 1, "FAIL": 1, "WAITING": 1}
    calls.clear()
    pressed.append({})
    tune(TEXTS, LABELS, minutes=5, trials=2, storage=path, **SMALL)
    assert calls[0] == (0, pressed[0])


def test_ctrl_c_within_training_ends_the_search(monkeypatch):
    """A classifier that stopped early has no score."""
    learned = scoring.learn

    def pressing(params, examples, eval_examples, more, **keywords):
        model = learned(params, examples, eval_examples, more, **keywords)
        model.data["stopped"] = scoring.CTRL_C
        return model

    monkeypatch.setattr(scoring, "learn", pressing)
    with pytest.raises(KeyboardInterrupt):
        tune(TEXTS, LABELS, minutes=5, **SMALL)


def test_a_loss_that_is_not_finite_is_the_worst(scored):
    """The trial is pruned; with the defaults, it is an error."""

    def losses(params, part):
        if params["dropout"] == limit:
            raise NonFiniteLossError
        return [part] * 10

    scored(losses)
    limit = None
    second = tune(TEXTS, LABELS, minutes=5, trials=2, **SMALL).trials[1]
    limit = second["dropout"]
    if limit != 0.3:
        found = tune(TEXTS, LABELS, minutes=5, trials=2, **SMALL)
        assert found.trials[1] == second | {"pruned": True, "log_loss": np.inf, "accuracy": 0.0}
        assert found.params == {}
    limit = 0.3
    with pytest.raises(NonFiniteLossError):
        tune(TEXTS, LABELS, minutes=5, trials=1, **SMALL)


def test_the_search_ends_in_time(scored, monkeypatch):
    """The time of the last training is left; a trial that does not fit is one of a later search."""
    now = [0.0]
    monkeypatch.setattr(tuning, "time", mock.Mock(monotonic=lambda: now[0]))

    def losses(_params, part):
        now[0] += 10
        return [part] * 10

    calls = scored(losses)
    found = tune(TEXTS, LABELS, minutes=2, **SMALL)
    assert len(calls) == 10
    assert now[0] == 100  # a part and the last training take 22.5 seconds
    assert len(found.trials) == 2
    calls.clear()
    found = tune(TEXTS, LABELS, minutes=0.2, **SMALL)
    assert len(calls) == 1
    assert (found.trials, found.params) == ([], {})


def test_every_text_is_held_out_once():
    """But the only text of a label; each label has its share in each part."""
    labels = ["a"] * 50 + ["b"] * 49 + ["c"] * 7 + ["d"]
    texts = [str(number) for number in range(len(labels))]
    held = scoring.Scoring(TextClassifier().get_params(), (texts, labels))
    assert held.parts == 5
    assert held.folds[-1] == -1
    for label, (least, most) in {"a": (10, 10), "b": (9, 10), "c": (1, 2)}.items():
        counts = np.bincount(held.folds[np.array(labels) == label], minlength=5)
        assert (counts.min(), counts.max()) == (least, most)
    many = scoring.Scoring(
        TextClassifier().get_params(), (["a", "b"] * 25_000, ["c", "d"] * 25_000)
    )
    assert many.parts == 1
    assert (many.folds == 0).sum() == 10_000


def test_a_score_is_that_of_a_classifier():
    """The mean loss and the accuracy are those of the metrics on the part."""
    texts, labels = (
        np.array(TEXTS[:100] * 2, dtype=object),
        np.array(LABELS[:100] * 2, dtype=object),
    )
    held = scoring.Scoring(TextClassifier(**SMALL).get_params(), (texts.tolist(), labels.tolist()))
    score = held.score({}, 2)
    held_out = held.folds == 2
    classifier = TextClassifier(**SMALL)
    classifier.fit(texts[~held_out], labels[~held_out], (texts[held_out], labels[held_out]))
    assert score.accuracy == classifier.metrics_["accuracy"]
    assert np.mean(score.losses) == pytest.approx(classifier.metrics_["log_loss"], rel=1e-5)


@pytest.mark.parametrize("weights", ["balanced", {"business": 0.1}])
def test_a_score_has_the_weights_of_the_classes(weights):
    """As the loss of the training has them."""
    labels = ["business"] * 24 + LABELS[24:]
    params = TextClassifier(**SMALL, class_weight=weights).get_params()
    held = scoring.Scoring(params, (TEXTS, labels))
    business, sports = held.loss.class_weights.tolist()
    assert business < sports
    assert np.isfinite(held.score({}, 0).losses).all()


@pytest.mark.parametrize("as_matrix", [False, True])
def test_texts_may_have_several_labels(as_matrix):
    """Labels that a part lacks are known all the same."""
    topics = [["oil", "up"], ["oil"], ["sports"], []] * 30
    topics[0] = [*topics[0], "rare"]
    names = ["oil", "rare", "sports", "up"]
    matrix = np.array([[name in labels for name in names] for labels in topics]).astype(int)
    given = matrix if as_matrix else topics
    found = tune(TEXTS, given, minutes=5, trials=3, **SMALL)
    assert "label_smoothing" not in found.trials[2]
    assert len(found.classifier.classes_) == 4
    assert all(np.isfinite(trial["log_loss"]) for trial in found.trials)


def test_epochs_of_trials_are_not_logged(caplog):
    """A line tells of each trial, and the classifier's own lines of the last training."""
    with caplog.at_level(logging.INFO, logger="textrnn"):
        tune(TEXTS, LABELS, minutes=5, trials=1, **SMALL)
    lines = caplog.messages
    assert lines[0].startswith("Trial 0: log_loss 0.")
    assert lines[1] == "No trial beats the defaults by more than chance; they are kept."
    assert lines[2].startswith("Network, epoch 1 of 1")


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"minutes": 0}, InvalidValueError, "Expected `minutes` to be a number above 0"),
        ({"minutes": "1"}, InvalidTypeError, "Expected `minutes`"),
        ({"trials": 0}, InvalidValueError, "Expected `trials` to be a positive integer"),
        ({"storage": 3}, InvalidTypeError, "Expected `storage` to be a URL or a path"),
        ({"storage": "no://where"}, InvalidValueError, "Expected `storage` to be a database"),
        ({"storage": "/no/where.db"}, InvalidValueError, "Expected `storage` to be a database"),
        ({"storage": "trials?.db"}, InvalidValueError, "a path without ?, { and }"),
        ({"dropout": 2}, InvalidValueError, "Expected `dropout`"),
        ({"class_weight": 2}, InvalidTypeError, "Expected `class_weight`"),
        ({"texts": TEXTS[:99], "labels": LABELS[:99]}, InvalidValueError, "at least 100 texts"),
    ],
)
def test_wrong_arguments_are_named(arguments, kind, message):
    """Before anything is trained."""
    given = {"texts": TEXTS, "labels": LABELS, "minutes": 1, **arguments}
    with pytest.raises(kind) as error:
        tune(**given)
    assert message in str(error.value)


def test_a_storage_that_fails_is_named(scored, tmp_path):
    """As by a database that was damaged meanwhile."""
    path = tmp_path / "trials.db"

    def losses(_params, _part):
        connection = sqlite3.connect(path)
        connection.execute("DROP TABLE trial_user_attributes")
        connection.close()
        return [0.5] * 10

    scored(losses)
    with pytest.raises(OSError, match="The storage of the trials failed: "):
        tune(TEXTS, LABELS, minutes=5, storage=str(path), **SMALL)


def test_processes_that_train_together_do_not_search(monkeypatch):
    """Each would search on its own, and wait for the others in vain."""
    monkeypatch.setattr(tuning, "join", lambda: mock.Mock(count=2))
    with pytest.raises(InvalidValueError, match="Expected `processes` to be 1"):
        tune(TEXTS, LABELS, minutes=1)


def test_the_extra_is_named(monkeypatch):
    """Where Optuna is not installed."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'textrnn\[tune\]'"):
        tune(TEXTS, LABELS, minutes=1)


@pytest.fixture
def table(tmp_path):
    """Return a table of all texts."""
    path = tmp_path / "train.csv"
    rows = zip(LABELS, TEXTS, strict=True)
    path.write_text("label,text\n" + "".join(f"{label},{text}\n" for label, text in rows))
    return path


def test_a_time_too_short_for_a_trial_trains_with_the_defaults(run_cli, table, tmp_path):
    """The command saves the model and says so; there are no trials to draw."""
    command = ["tune", "--train", table, "--minutes", 1e-6, "--output", tmp_path / "model"]
    code, output, errors = run_cli(*command)
    assert code == 0
    assert "held-out texts" in output
    assert "The time was too short for a trial." in errors
    assert not (tmp_path / "model.trials.png").exists()
    assert len(TextClassifier.load(tmp_path / "model").classes_) == 2


def test_the_command_saves_the_model_and_the_trials(run_cli, table, tmp_path):
    """The same command goes on with the trials beside the model, which it replaces."""
    model = tmp_path / "model"
    command = ["tune", "--train", table, "--minutes", 5, "--output", model, "--device", "cpu"]
    command += ["--hidden-size", 4, "--epochs", 1]
    code, output, errors = run_cli(*command, "--trials", 1, "--json")
    assert code == 0
    facts = json.loads(output)
    assert (facts["settings"], facts["train_texts"] + facts["eval_texts"]) == ({}, 120)
    assert "Trial 0: log_loss" in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("model", "model.trials.db", "model.trials.png", "train.csv")
    ]
    assert TextClassifier.load(model).get_params()["hidden_size"] == 4
    code, output, errors = run_cli(*command, "--trials", 2, "--quiet")
    assert (code, errors) == (0, "")
    assert "held-out texts" in output
    assert sum(states(tmp_path / "model.trials.db").values()) == 2
    own = tmp_path / "own.db"
    code, _, _ = run_cli(*command, "--trials", 1, "--storage", f"sqlite:///{own}")
    assert (code, own.exists()) == (0, True)
