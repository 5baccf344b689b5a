"""The command of the AG News example."""

import re
from unittest import mock

import pytest
import torch

from examples.ag_news.__main__ import main
from examples.ag_news.data import Texts, write_parquet
from examples.ag_news.experiments import EXPERIMENTS
from examples.ag_news.results import load_results
from examples.ag_news.runner import Runner
from textrnn.errors import TextrnnError


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Use one thread, which is fastest for small models."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    """Return a folder with a few training and test texts."""
    folder = tmp_path_factory.mktemp("data")
    texts = Texts([f"w{i % 4} of w{i % 4} and w{i % 7}" for i in range(160)], list(range(4)) * 40)
    write_parquet(folder / "train.parquet", texts)
    write_parquet(folder / "test.parquet", texts.select(range(40)))
    return folder


@pytest.fixture(name="command")
def _command(folder, tmp_path):
    """Return a function that runs the command on these texts."""

    def run(arguments):
        common = f"--data {folder} --output {tmp_path / 'out'} --preset quick "
        return main((common + arguments).split())

    return run


def test_a_run_prints_its_accuracy_and_leaves_plot_result_and_report(command, tmp_path, capsys):
    """An experiment gives a line, a plot, a result file and a report."""
    assert command("--only baseline-mean --epochs 1") == 0
    printed = capsys.readouterr().out
    line = re.search(r"\n\[1/1\] baseline-mean: accuracy ([\d.]+) % on the test texts", printed)
    (result,) = load_results(tmp_path / "out")
    assert float(line[1]) == pytest.approx(100 * result.accuracy, abs=0.005)
    assert result.settings["hidden_size"] == 64
    for name in ("report.md", "report.html", "plots/runs/baseline-mean-seed0.png"):
        assert (tmp_path / "out" / name).is_file()


def test_a_second_start_skips_what_is_finished(command, tmp_path, capsys):
    """Finished runs are kept; a new one is added to the report."""
    assert command("--only baseline-mean --epochs 1") == 0
    before = (tmp_path / "out" / "runs" / "baseline-mean-seed0.json").read_bytes()
    assert command("--only baseline-mean exp1-gru --epochs 1") == 0
    assert "[1/2] baseline-mean: finished before" in capsys.readouterr().out
    assert (tmp_path / "out" / "runs" / "baseline-mean-seed0.json").read_bytes() == before
    report = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "2 runs of 2 experiments" in report


def test_seeds_are_run_one_after_another(command, tmp_path):
    """`--seeds 2` runs every experiment with seeds 0 and 1."""
    assert command("--only baseline-mean --epochs 1 --seeds 2") == 0
    assert [result.seed for result in load_results(tmp_path / "out")] == [0, 1]


def test_the_report_can_be_written_again_without_data(command, tmp_path):
    """`--report-only` writes the same report without texts."""
    assert command("--only baseline-mean --epochs 1") == 0
    report = tmp_path / "out" / "report.html"
    before = report.read_bytes()
    report.unlink()
    assert main(["--report-only", "--data", "nowhere", "--output", str(tmp_path / "out")]) == 0
    assert report.read_bytes() == before


def test_ctrl_c_is_told_in_a_line(command, monkeypatch, capsys):
    """Ctrl-C exits with 130, and the message says how to continue."""
    monkeypatch.setattr(Runner, "run", mock.Mock(side_effect=KeyboardInterrupt))
    assert command("--only baseline-mean") == 130
    assert capsys.readouterr().err == "stopped; run the same command again to continue\n"


def test_a_begun_experiment_is_reported_as_unfinished(command, tmp_path):
    """The report distinguishes started experiments from those that were never run."""
    assert command("--only baseline-mean --epochs 1") == 0
    (tmp_path / "out" / "checkpoints" / "exp1-gru-seed0-01234567").mkdir(parents=True)
    assert command("--report-only") == 0
    report = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "**Started but not finished:** `exp1-gru (seed 0)`." in report


def test_the_list_shows_every_experiment(capsys):
    """`--list` prints name, epochs, change and parent with the current options."""
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == len(EXPERIMENTS)
    assert re.search(r"\nexp4-lr-1e-4 +15 epochs +learning rate .* \(against exp3", printed)
    assert main(["--list", "--only", "exp4-lr-1e-4", "--epochs", "2"]) == 0
    assert re.search(r"^exp4-lr-1e-4 +2 epochs", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "exp9"], "There is no experiment 'exp9'; choose from: baseline-mean, "),
        (["--data", "nowhere"], "nowhere has no train.parquet and no train.csv"),
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

    def refuse():
        raise TextrnnError("fancyzhx/ag_news can't be loaded")

    monkeypatch.setattr("examples.ag_news.data.load_hub", refuse)
    assert main(["--data", "hub", "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: fancyzhx/ag_news can't be loaded\n"


@pytest.mark.parametrize("number", ["0", "-1", "x"])
def test_numbers_are_checked(capsys, number):
    """Epochs and seeds are positive integers."""
    with pytest.raises(SystemExit, match="2"):
        main(["--epochs", number])
    assert f"expected a positive integer, but got '{number}'" in capsys.readouterr().err


def test_the_carried_sample_is_the_default(tmp_path):
    """Without `--data`, the sample is trained on."""
    stop = mock.patch.object(Runner, "run", autospec=True, side_effect=KeyboardInterrupt)
    with stop as run:
        assert main(["--output", str(tmp_path)]) == 130
    assert run.call_args.args[0].corpus.name == "sample"
