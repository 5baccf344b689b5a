"""The command of the AG News example."""

import re
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import torch

from examples.ag_news import models
from examples.ag_news.__main__ import main, table
from examples.ag_news.data import load
from examples.ag_news.experiments import EXPERIMENTS
from examples.ag_news.results import load_results
from examples.ag_news.runner import Runner
from tests.toys import write_parquet
from textrnn import TextClassifier
from textrnn.errors import TextrnnError

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "examples" / "ag_news" / "results"


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    """Return a folder with a few training and test texts."""
    folder = tmp_path_factory.mktemp("data")
    texts, labels = [f"w{i % 4} of w{i % 4} and w{i % 7}" for i in range(160)], [0, 1, 2, 3] * 40
    write_parquet(folder / "train.parquet", texts, labels)
    write_parquet(folder / "test.parquet", texts[:40], labels[:40])
    return folder


@pytest.fixture(name="command")
def _command(folder, tmp_path):
    """Return a function that runs the command on these texts."""

    def run(arguments):
        return main(f"--data {folder} --output {tmp_path / 'out'} {arguments}".split())

    return run


@pytest.fixture(name="small_models")
def _small_models(monkeypatch):
    """Make the first command quick: a small network and a small `TextClassifier`."""
    baseline = EXPERIMENTS["baseline-mean"].reduced()
    monkeypatch.setitem(EXPERIMENTS, "baseline-mean", baseline)
    small = partial(TextClassifier, hidden_size=4, embedding_size=4, epochs=2)
    monkeypatch.setattr(models, "TextClassifier", small)


@pytest.mark.usefixtures("small_models")
def test_the_command_compares_three_models(command, tmp_path, capsys):
    """It prints accuracy and seconds of each, some predictions, and where report and model are."""
    assert command("--device cpu") == 0
    printed = capsys.readouterr().out
    results = {result.experiment: result for result in load_results(tmp_path / "out")}
    assert set(results) == {"baseline-mean", "tf-idf", "text-classifier"}
    for name, result in results.items():
        line = re.search(rf"^{name} +([\d.]+) +([\d.]+)  ", printed, re.MULTILINE)
        assert float(line[1]) == pytest.approx(100 * result.accuracy, abs=0.005)
        assert float(line[2]) == result.seconds
    shares = re.findall(r"^ *([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)  w\d of", printed, re.MULTILINE)
    classifier = TextClassifier.load(tmp_path / "out" / "model", device="cpu")
    found = models.probabilities(classifier, ["w0 of w0 and w0"])[0]
    assert list(map(float, shares[0])) == pytest.approx(found, abs=0.006)
    assert len(shares) == 4
    assert f"model: {tmp_path / 'out' / 'model'}" in printed
    assert f"report: {tmp_path / 'out' / 'report.html'}" in printed
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "Which changes helped" in page


@pytest.mark.usefixtures("small_models")
def test_the_models_see_the_same_texts(folder):
    """No model is trained on validation or test texts, and all predict the same test texts."""
    corpus = load(str(folder))
    fitted = []

    class Spy(TextClassifier):
        def fit(self, texts, labels):
            fitted.append((texts, labels))
            return super().fit(texts, labels)

    with mock.patch.object(models, "TextClassifier", partial(Spy, hidden_size=4, epochs=1)):
        _, combined = models.train_text_classifier(corpus, torch.device("cpu"))
    linear = models.train_tf_idf(corpus)
    assert fitted[0][0] == corpus.train.texts
    assert linear.labels == combined.labels == "".join(map(str, corpus.test.labels))
    assert linear.accuracy == 1.0
    assert linear.parameters == 4 * (linear.vocabulary_size + 1)
    assert linear.chosen["accuracy"] == 1.0


@pytest.mark.parametrize("option", ["--epochs 2", "--seeds 2", "--precision bf16", "--quick"])
def test_options_of_experiments_need_experiments(command, capsys, option):
    """An option that would have no effect is an error."""
    assert command(option) == 1
    assert "--seeds and --precision need --experiments" in capsys.readouterr().err


def test_the_readme_shows_the_committed_table():
    """The table in the README is the one that the command printed for the committed results."""
    order = ("baseline-mean", "tf-idf", "text-classifier")
    results = sorted(load_results(RESULTS / "sample"), key=lambda run: order.index(run.experiment))
    for readme in (ROOT / "README.md", ROOT / "examples" / "ag_news" / "README.md"):
        assert table(results) in readme.read_text("utf-8")


def test_an_experiment_prints_its_accuracy_and_leaves_result_and_report(command, tmp_path, capsys):
    """An experiment gives a line, a result file and a report."""
    assert command("--experiments baseline-mean --quick --epochs 1") == 0
    printed = capsys.readouterr().out
    line = re.search(r"\n\[1/1\] baseline-mean seed 0: accuracy ([\d.]+) % on the test", printed)
    (result,) = load_results(tmp_path / "out")
    assert float(line[1]) == pytest.approx(100 * result.accuracy, abs=0.005)
    assert (result.settings["hidden_size"], result.preset) == (64, "quick")
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_second_start_skips_what_is_finished(command, tmp_path, capsys):
    """Finished runs are kept; a new one is added to the report."""
    assert command("--experiments baseline-mean --quick --epochs 1") == 0
    before = (tmp_path / "out" / "runs" / "baseline-mean-seed0.json").read_bytes()
    assert command("--quick --epochs 1 --experiments baseline-mean exp1-gru") == 0
    assert "[1/2] baseline-mean seed 0: finished before" in capsys.readouterr().out
    assert (tmp_path / "out" / "runs" / "baseline-mean-seed0.json").read_bytes() == before
    assert "2 runs of 2 models" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_all_experiments_and_seeds_are_run_one_after_another(tmp_path):
    """`--experiments` without names runs all of them, with every seed."""
    ran = []

    def run(_, experiment, seed, title):  # noqa: ARG001
        ran.append((experiment.name, seed))
        if len(ran) == 2 * len(EXPERIMENTS):
            raise KeyboardInterrupt
        return mock.Mock(accuracy=0.5, best_look=0.5)

    with mock.patch.object(Runner, "run", run):
        assert main(["--output", str(tmp_path), "--seeds", "2", "--experiments"]) == 130
    assert ran == [(name, seed) for seed in (0, 1) for name in EXPERIMENTS]


def test_the_report_can_be_written_again_without_data(command, tmp_path):
    """`--report-only` writes the same report without texts."""
    assert command("--experiments baseline-mean --quick --epochs 1") == 0
    report = tmp_path / "out" / "report.html"
    before = report.read_bytes()
    report.unlink()
    assert main(["--report-only", "--data", "nowhere", "--output", str(tmp_path / "out")]) == 0
    assert report.read_bytes() == before


def test_ctrl_c_is_told_in_a_line(command, monkeypatch, capsys):
    """Ctrl-C exits with 130, and the message says how to continue."""
    monkeypatch.setattr(Runner, "run", mock.Mock(side_effect=KeyboardInterrupt))
    assert command("") == 130
    assert capsys.readouterr().err == "stopped; run the same command again to continue\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--experiments", "exp9"], "There is no experiment 'exp9'; choose from: baseline-mean, "),
        (["--experiments", "--epochs", "0"], "Expected `epochs` to be a positive integer, but got"),
        (["--seeds", "-1"], "Expected `seeds` to be a positive integer, but got -1."),
        (["--data", "nowhere"], "nowhere has no train.parquet"),
        (["--device", "cpux"], "The device 'cpux' can't be used here"),
        (["--report-only"], "There are no finished runs."),
    ],
)
def test_an_error_is_one_line(tmp_path, capsys, arguments, message):
    """An error prints one line without a traceback, and exits with 1."""
    assert main([*arguments, "--output", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1


def test_the_hub_without_a_network_is_one_line(monkeypatch, capsys, tmp_path):
    """An unreachable Hub is such an error."""
    refuse = mock.Mock(side_effect=TextrnnError("fancyzhx/ag_news can't be loaded"))
    monkeypatch.setattr("examples.ag_news.data._load_hub", refuse)
    assert main(["--data", "hub", "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: fancyzhx/ag_news can't be loaded\n"


def test_the_carried_sample_is_the_default(tmp_path):
    """Without `--data`, the sample is trained on."""
    stop = mock.patch.object(Runner, "run", autospec=True, side_effect=KeyboardInterrupt)
    with stop as run:
        assert main(["--output", str(tmp_path)]) == 130
    assert run.call_args.args[0].corpus.name == "sample"
