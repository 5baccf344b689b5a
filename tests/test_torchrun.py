"""Programs under `torchrun`: a job that dies and resumes, the commands, the example."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from examples.ag_news.results import load_results
from tests import toys
from textrnn import TextClassifier
from textrnn.cli import main

ROOT = Path(__file__).parents[1]
SECONDS = 600  # far more than is ever needed, so that a busy machine fails no test

# Trains to the end once, and once until rank 1 is killed at step 5; then goes on where that was.
JOB = """
import os, signal, sys
from pathlib import Path
import torch
from tests import ranks
from textrnn.training import LambdaCallback

def die(state):
    if rank == 1 and state.step == 5 and begins:
        os.kill(os.getpid(), signal.SIGKILL)

folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
begins = not (folder / "broken").exists()
torch.manual_seed(7)
if begins:
    torch.save(ranks.resumable(folder / "whole", 2), folder / f"whole-{rank}.pt")
torch.manual_seed(7 if begins else 8)
found = ranks.resumable(folder / "broken", 2, LambdaCallback(on_batch_end=die))
torch.save(found, folder / f"resumed-{rank}.pt")
"""


def torchrun(*program: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a program in two processes; return the result and its time in seconds."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    start = time.monotonic()
    run = subprocess.run(  # noqa: S603 - the programs are ours
        [*command, "--local-addr=127.0.0.1", *program],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
            "MPLBACKEND": "Agg",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    return run, time.monotonic() - start


@pytest.mark.slow
def test_a_job_that_dies_resumes_from_its_checkpoint(tmp_path):
    """A killed rank ends the job with an error; the same command again ends with the same bits."""
    script = tmp_path / "job.py"
    script.write_text(JOB)
    first, seconds = torchrun(str(script), str(tmp_path))
    assert first.returncode == 1
    assert "exitcode  : -9" in first.stderr
    assert seconds < SECONDS / 2  # a few on an idle machine
    assert not (tmp_path / "resumed-0.pt").exists()
    steps = sorted(path.name for path in (tmp_path / "broken").glob("step-*"))
    assert steps == ["step-00000002", "step-00000004"]

    second, _ = torchrun(str(script), str(tmp_path))
    assert second.returncode == 0, second.stderr
    for rank in range(2):
        whole, resumed = (
            torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True)
            for name in ("whole", "resumed")
        )
        assert whole["history"][-1]["step"] == 12
        assert toys.worst_difference(whole, resumed) == 0.0


@pytest.mark.slow
def test_the_command_trains_the_model_that_one_process_trains(tmp_path, capsys):
    """`textrnn train` prints and saves once, and its figures are those of one process."""
    rows = ["oil prices soar,business", "a striker scores,sports", "stocks fall,business"] * 40
    words = ["alpha", "beta", "gamma", "delta", "epsilon"]
    lines = [f"{words[i % 5]} {words[i % 3]} {row}" for i, row in enumerate(rows)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *lines, ""]))
    options = (
        f"train --train {tmp_path / 'train.csv'} --hidden-size 8 --epochs 2 --batch-size 16 --json "
        "--dropout 0 --embedding-dropout 0 --word-dropout 0 --device cpu"
    ).split()
    run, _ = torchrun("-m", "textrnn", *options, "--output", str(tmp_path / "two"))
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("Saved to") == 1
    assert run.stderr.count("Network, epoch 2 of 2") == 1
    assert main([*options, "--output", str(tmp_path / "one")]) == 0
    printed = run.stdout[run.stdout.index("{") :]  # Gloo may print a line before
    two, one = (json.loads(text)["metrics"] for text in (printed, capsys.readouterr().out))
    assert two == pytest.approx(one, abs=1e-5)
    classifiers = [TextClassifier.load(tmp_path / name, device="cpu") for name in ("one", "two")]
    texts = [line.partition(",")[0] for line in lines[:20]]
    probabilities = [classifier.predict_proba(texts) for classifier in classifiers]
    assert abs(probabilities[0] - probabilities[1]).max() < 1e-4


@pytest.mark.slow
def test_the_command_pretrains_in_two_processes(tmp_path):
    """Stages are logged once, and one whole model is saved."""
    lines = [f"w{i % 5} {word},{word}" for i, word in enumerate(["oil", "goal"] * 60)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *lines, ""]))
    (tmp_path / "more.txt").write_text("w1 gas\nw2 referee\n" * 20)
    options = (
        f"train --train {tmp_path / 'train.csv'} --unlabelled {tmp_path / 'more.txt'} --epochs 1 "
        "--hidden-size 8 --pretrain-epochs 1 --device cpu"
    ).split()
    run, _ = torchrun("-m", "textrnn", *options, "--output", str(tmp_path / "model"))
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("Pretraining, epoch 1 of 1") == 1
    assert run.stderr.count("\nNetwork, epoch 1 of 1") == 1
    assert run.stderr.count("Saved to") == 1
    classifier = TextClassifier.load(tmp_path / "model", device="cpu")
    assert "referee" in classifier.vocabulary_


@pytest.mark.slow
def test_the_example_runs_once_in_two_processes(tmp_path):
    """One process prints about the run and writes its result and the report."""
    texts, labels = [f"w{i % 4} of w{i % 4} and w{i % 7}" for i in range(160)], [0, 1, 2, 3] * 40
    toys.write_parquet(tmp_path / "train.parquet", texts, labels)
    toys.write_parquet(tmp_path / "test.parquet", texts[:40], labels[:40])
    options = ["--experiments=baseline-mean", "--quick", "--epochs=1", "--device=cpu"]
    folders = [f"--data={tmp_path}", f"--output={tmp_path / 'out'}"]
    run, _ = torchrun("-m", "examples.ag_news", *options, *folders)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("[1/1] baseline-mean seed 0: accuracy") == 1
    assert "152 training texts, on cpu in 2 processes\n" in run.stdout
    (result,) = load_results(tmp_path / "out")
    assert len(result.predictions) == 40
    assert result.environment["processes"] == 2
    assert (tmp_path / "out" / "report.html").is_file()
    assert list((tmp_path / "out" / "checkpoints").iterdir()) == []
