"""The runs of the AG News example: results, skipping, resuming."""

import json
from dataclasses import dataclass, replace

import pytest
import torch

from examples.ag_news import results, runner
from examples.ag_news.data import load
from examples.ag_news.experiments import EXPERIMENTS, Experiment
from examples.ag_news.pipeline import Encoded, scale_min_freq
from examples.ag_news.results import (
    choose_device,
    describe_environment,
    load_result,
    load_results,
    save_result,
)
from examples.ag_news.runner import Runner, TestLooks
from textrnn.errors import CorruptFileError, InvalidValueError

SMALL = {"hidden_size": 8, "num_layers": 1, "epochs": 3}
TIMES = ("seconds", "look_seconds", "texts_per_second")


@pytest.fixture(scope="module", name="corpus")
def _corpus():
    """Return a small part of the sample."""
    sample = load("sample")
    return replace(
        sample,
        train=sample.train.select(range(0, 3800, 10)),
        validation=sample.validation.select(range(0, 200, 4)),
        test=sample.test.select(range(0, 1000, 10)),
    )


@pytest.fixture(scope="module", name="experiment")
def _experiment():
    """Return a small experiment whose learning rate decays."""
    return replace(EXPERIMENTS["exp6-exponential-lr"], **SMALL)


@pytest.fixture(scope="module", name="finished")
def _finished(corpus, experiment, tmp_path_factory):
    """Return the folder and the result of a run."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, Runner(corpus, folder, torch.device("cpu")).run(experiment, 1)


def without_times(result):
    """Return a result without the values that differ between equal runs: times and commit."""
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in result.history]
    return replace(result, history=history, environment={}, **dict.fromkeys(TIMES, 0.0))


@dataclass
class Interruptible:
    """A runner whose run of `experiment` can be interrupted."""

    runner: Runner
    experiment: Experiment
    patches: pytest.MonkeyPatch

    def run(self):
        """Run, or resume, to the end."""
        return self.runner.run(self.experiment, 1)

    def run_until(self, step, happen):
        """Run until an exception after a step."""

        class Interrupted(TestLooks):
            def on_batch_end(self, state):
                super().on_batch_end(state)
                if state.step == step:
                    happen(state)

        Interrupted.__name__ = "TestLooks"  # a checkpoint names its callbacks
        with self.patches.context() as patch:
            patch.setattr(runner, "TestLooks", Interrupted)
            self.run()


@pytest.fixture(name="interruptible")
def _interruptible(corpus, experiment, tmp_path, monkeypatch):
    """Return a runner with its own folder."""
    own = Runner(corpus, tmp_path, torch.device("cpu"))
    return Interruptible(own, experiment, monkeypatch)


def test_a_result_holds_what_the_report_needs(corpus, experiment, finished):
    """A result has settings, data, environment, history, evaluations, predictions, mistakes."""
    _, result = finished
    assert (result.experiment, result.parent) == ("exp6-exponential-lr", "exp5-hidden-512")
    assert result.settings == experiment.settings()
    assert result.data["fingerprint"] == corpus.fingerprint
    assert result.environment["torch"] == torch.__version__
    assert result.steps_per_epoch == 3
    assert [look["step"] for look in result.looks] == [1, 2, 4, 5, 7, 8]
    accuracies = {row["step"]: row.get("eval_accuracy") for row in result.history}
    assert result.chosen["accuracy"] == max(accuracies.values())
    assert accuracies[result.chosen["step"]] == result.chosen["accuracy"]
    assert result.labels == "".join(map(str, corpus.test.labels))
    assert set(result.predictions) <= set("0123")
    assert result.accuracy == sum(result.correct) / 100
    assert 0 < len(result.mistakes) <= 20
    for mistake in result.mistakes:
        assert mistake["text"] == corpus.test.texts[mistake["row"]]
        assert mistake["prediction"] == int(result.predictions[mistake["row"]])
        assert mistake["prediction"] != mistake["label"]
    rates = {row["epoch"]: row["learning_rate"] for row in result.history}
    assert rates == pytest.approx({1: 1e-3, 2: 9e-4, 3: 8.1e-4})


def test_a_result_comes_back_from_its_file(finished):
    """A result file is read back unchanged, and no checkpoint is left."""
    folder, result = finished
    assert load_results(folder) == [result]
    assert not any((folder / "checkpoints").iterdir())


def test_a_finished_run_is_skipped(corpus, experiment, finished):
    """A finished run is found by its settings, whatever the device."""
    folder, result = finished
    again = Runner(corpus, folder, torch.device("cpu"))
    again.checkpoint_folder(experiment, 1).mkdir(parents=True)  # what a kill may leave behind
    assert again.finished(experiment, 1) == result
    assert not any((folder / "checkpoints").iterdir())
    assert again.finished(experiment, 2) is None


@pytest.mark.parametrize("change", ["settings", "precision", "data"])
def test_a_result_of_another_run_is_not_taken(corpus, experiment, finished, change):
    """A result with other settings, precision or data raises an error."""
    folder, _ = finished
    if change == "settings":
        experiment = replace(experiment, dropout=0.2)
    if change == "data":
        corpus = replace(corpus, fingerprint="0" * 16)
    precision = "bf16" if change == "precision" else "fp32"
    other = Runner(corpus, folder, torch.device("cpu"), precision=precision)
    with pytest.raises(InvalidValueError, match="other settings or other data: choose another"):
        other.finished(experiment, 1)


def test_checkpoints_of_other_runs_lie_elsewhere(corpus, experiment, tmp_path):
    """A run never resumes from a checkpoint of other settings, precision, seed or data."""
    cpu = torch.device("cpu")
    other_data = replace(corpus, fingerprint="0" * 16)
    folders = {
        Runner(corpus, tmp_path, cpu).checkpoint_folder(experiment, 1),
        Runner(corpus, tmp_path, cpu).checkpoint_folder(experiment, 2),
        Runner(corpus, tmp_path, cpu).checkpoint_folder(replace(experiment, epochs=4), 1),
        Runner(corpus, tmp_path, cpu, precision="bf16").checkpoint_folder(experiment, 1),
        Runner(other_data, tmp_path, cpu).checkpoint_folder(experiment, 1),
    }
    assert len(folders) == 5


@pytest.mark.parametrize("step", [1, 2, 5, 7])
def test_a_killed_run_gives_the_same_result(interruptible, finished, step):
    """A run that is killed at any step and resumed differs only in its times."""

    def kill(_):
        raise SystemExit

    with pytest.raises(SystemExit):
        interruptible.run_until(step, kill)
    assert not load_results(interruptible.runner.folder)
    assert without_times(interruptible.run()) == without_times(finished[1])
    assert not any((interruptible.runner.folder / "checkpoints").iterdir())


def test_ctrl_c_stops_and_keeps_what_was_done(interruptible, finished):
    """A requested stop writes no result; the resumed run gives the same result."""
    with pytest.raises(KeyboardInterrupt):
        interruptible.run_until(4, lambda state: state.request_stop("interrupted by Ctrl-C"))
    folder = interruptible.runner.checkpoint_folder(interruptible.experiment, 1)
    assert any(folder.glob("step-*"))
    assert without_times(interruptible.run()) == without_times(finished[1])


def test_looks_change_nothing(corpus, experiment, finished, tmp_path, monkeypatch):
    """A run without evaluations on test texts gives the same weights and checkpoint."""

    class Blind(TestLooks):
        def on_batch_end(self, state):
            self.looks = [{"epoch": 1, "step": state.step, "accuracy": 0.0, "gained": 0, "lost": 0}]

    monkeypatch.setattr(runner, "TestLooks", Blind)
    blind = without_times(Runner(corpus, tmp_path, torch.device("cpu")).run(experiment, 1))
    seeing = without_times(finished[1])
    assert replace(blind, looks=seeing.looks) == seeing


def test_seeds_differ(corpus, experiment, finished, tmp_path):
    """Another seed gives another result."""
    other = Runner(corpus, tmp_path, torch.device("cpu")).run(experiment, 2)
    assert other.history != finished[1].history


@pytest.mark.parametrize("name", ["baseline-max", "exp7-lstm", "concat-last"])
def test_every_cell_and_pooling_runs(corpus, tmp_path, name):
    """Other networks train as well."""
    experiment = replace(EXPERIMENTS[name], hidden_size=4, epochs=1)
    result = Runner(corpus, tmp_path, torch.device("cpu")).run(experiment, 0)
    assert len(result.looks) == 2


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_cuda_runs_by_its_name_alone(corpus, experiment, tmp_path, precision):
    """On a GPU the losses are close to those on the CPU."""
    gpu = Runner(corpus, tmp_path, choose_device("auto"), precision=precision).run(experiment, 1)
    cpu = Runner(corpus, tmp_path / "cpu", torch.device("cpu"), precision).run(experiment, 1)
    assert gpu.environment["device"].startswith("cuda")
    assert gpu.history[-1]["loss"] == pytest.approx(cpu.history[-1]["loss"], rel=0.05)


def test_the_minimum_frequency_shrinks_with_the_texts():
    """The minimum count is the notebook's for its number of texts, and at least 2."""
    assert scale_min_freq(26, 120_000) == 26
    assert scale_min_freq(26, 33_450) == 8
    assert scale_min_freq(26, 4_000) == 2
    assert scale_min_freq(1, 4_000) == 1


def test_the_vocabulary_sees_training_texts_alone(corpus):
    """Words that only validation or test texts have are unknown."""
    strange = replace(corpus.validation, texts=["xyzzy"] * len(corpus.validation))
    encoded = Encoded(replace(corpus, validation=strange, test=strange), 1)
    assert "xyzzy" not in encoded.vocabulary
    assert encoded.test[0]["input_ids"].tolist() == [2, encoded.vocabulary.unk_id, 3]


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.pop("looks"),
        lambda values: values.update(extra=1),
        lambda values: values.update(format_version=2),
        lambda values: values.update(predictions="0"),
        lambda values: values.update(looks=[]),
    ],
)
def test_a_damaged_result_is_named(finished, tmp_path, damage):
    """An incomplete result file raises an error that names it."""
    path = tmp_path / "exp1-gru-seed0.json"
    save_result(path, finished[1])
    values = json.loads(path.read_text("utf-8"))
    damage(values)
    path.write_text(json.dumps(values), "utf-8")
    with pytest.raises(CorruptFileError, match=r"exp1-gru-seed0.json is not .*delete it"):
        load_result(path)


@pytest.mark.parametrize("content", ["", "[1]", "\udc00"])
def test_a_result_that_is_no_json_is_named(tmp_path, content):
    """A file with other content raises an error that names it."""
    path = tmp_path / "run.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(CorruptFileError, match=r"run.json is not a result file"):
        load_result(path)


def test_devices_are_chosen_by_name_or_automatically():
    """`"auto"` is CUDA if available; an unavailable device raises an error."""
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("cpux", "cuda:99"):
        with pytest.raises(InvalidValueError, match=f"The device '{name}' can't be used here"):
            choose_device(name)


def test_the_environment_is_described(monkeypatch, tmp_path):
    """The environment has device and versions, and the commit in a checkout."""
    described = describe_environment(torch.device("cpu"))
    assert described["device"] == "cpu"
    assert described["device_name"]
    assert described["python"].startswith("3.")
    monkeypatch.setattr(results, "__file__", str(tmp_path / "results.py"))
    assert describe_environment(torch.device("cpu"))["commit"] is None
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert describe_environment(torch.device("cpu"))["commit"] is None
