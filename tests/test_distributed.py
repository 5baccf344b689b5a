"""Two processes train as one does, stop together, and end if one of them dies."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tests import ranks, toys
from textrnn import Trainer
from textrnn.errors import InvalidValueError, TrainingError
from textrnn.training import Checkpoint
from textrnn.training.distributed import processes as distributed
from textrnn.training.distributed.processes import (
    ALONE,
    Processes,
    check_devices,
    device_location,
    join,
)
from textrnn.training.resume.generators import separate_generators, undisturbed_generators

JOBS = [name for name in ranks.JOBS if name != "dying"]
SECONDS = 600  # far more than is ever needed, so that a busy machine fails no test
Results = Callable[[str], list[dict[str, Any]]]


def start(folder: Path, jobs: Sequence[str]) -> list[subprocess.Popen[str]]:
    """Start two processes that do jobs together."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    script = str(Path(ranks.__file__))
    return [
        subprocess.Popen(  # noqa: S603 - the program is ours
            [sys.executable, script, str(rank), "2", str(folder), *jobs],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str, float]]:
    """Wait for processes; return the exit code, standard error and time of the end of each."""
    ends = []
    try:
        for process in reversed(processes):
            _, errors = process.communicate(timeout=SECONDS)
            ends.append((process.returncode, errors, time.monotonic()))
    finally:
        for process in processes:
            process.kill()
    return ends[::-1]


@pytest.fixture(name="run", scope="module")
def fixture_run(tmp_path_factory) -> SimpleNamespace:
    """Let two processes do all jobs, once for all tests."""
    folder = tmp_path_factory.mktemp("ranks")
    ends = finish(start(folder, JOBS))
    assert [code for code, _, _ in ends] == [0, 0], "\n".join(errors for _, errors, _ in ends)
    return SimpleNamespace(folder=folder, errors=[errors for _, errors, _ in ends])


@pytest.fixture(name="results")
def fixture_results(run) -> Results:
    """Return a function that gives the results of a job, by rank."""
    return lambda job: [
        torch.load(run.folder / f"{job}-{rank}.pt", weights_only=True) for rank in range(2)
    ]


@pytest.mark.parametrize("name", ranks.SETTINGS)
def test_two_processes_train_as_one_with_the_doubled_batch(results, name):
    """Weights, history, figures and logits agree to 1e-5, whatever the mathematics of a step."""
    first, second = (result[name] for result in results("equality"))
    one = ranks.fit(1, **ranks.SETTINGS[name])
    assert toys.worst_difference(first, second) == 0.0
    assert toys.worst_difference(one, first) < 1e-5
    assert one["history"][-1]["step"] == 3 * -(
        -6 // ranks.SETTINGS[name].get("accumulation_steps", 1)
    )


def test_a_short_last_batch_counts_by_its_texts(results):
    """The last batch's 3 texts are no pairs, so plain averaging would give other weights."""
    batches = [len(batch) for batch in ranks.loader_of(ranks.TRAIN, 1)]
    assert batches == [8, 8, 8, 8, 8, 3]
    model = toys.make_model(dropout=0.0)
    before = toys.weights_of(model)
    ranks_apart = toys.worst_difference(before, results("equality")[0]["plain"]["weights"])
    assert ranks_apart > 0.01


@pytest.mark.parametrize("kind", ["plain", "weighted"])
def test_lists_of_unlike_batches_are_added_up(results, kind):
    """Each process brings batches of its own; balanced weights and figures are of all of them."""
    first, second = (result[kind] for result in results("lists"))
    assert toys.worst_difference(first, second) == 0.0
    batches = toys.make_batches((5, 3, 6, 2), weighted=kind == "weighted")
    merged = [toys.merge(batches[:2]), toys.merge(batches[2:])]
    assert toys.worst_difference(ranks.fit_list(merged), first) < 1e-5


def test_buffers_are_the_main_process_s(results):
    """Buffers are the same in all processes at evaluations and in checkpoints."""
    first, second = results("buffers")
    assert toys.worst_difference(first, second) == 0.0
    assert float(first["weights"]["mean_length"]) > 1.0


def test_each_process_draws_random_numbers_of_its_own(results):
    """A seed that the script sets everywhere gives other dropout everywhere; the first keeps it."""
    first, second = results("random_numbers")
    for name in ("python", "numpy", "torch"):
        same = [str(result["before"][name]) for result in (first, second)]
        assert same[0] == same[1] or name != "torch"
        assert str(first["after"][name]) != str(second["after"][name])
    assert torch.equal(first["before"]["torch"], first["after"]["torch"])


def test_generators_that_differ_already_are_left_alone(monkeypatch):
    """A script that seeds each process differently keeps these seeds."""
    torch.manual_seed(11)
    before = torch.get_rng_state()
    other = {"python": b"", "numpy": b"", "torch": b"", "model": b""}
    monkeypatch.setattr(Processes, "gather", lambda _self, value: [other, value])
    model = toys.make_model(generator=torch.Generator().manual_seed(3))
    own = model.generator.get_state()
    separate_generators(Processes(1, 2), model)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model.generator.get_state(), own)


def test_a_models_own_generator_differs_between_processes(monkeypatch):
    """A model with the same seed everywhere drops other features everywhere."""
    monkeypatch.setattr(Processes, "gather", lambda _self, value: [value, value])
    with undisturbed_generators(()):
        model = toys.make_model(generator=torch.Generator().manual_seed(3))
        own = model.generator.get_state()
        separate_generators(Processes(1, 2), model)
    assert not torch.equal(model.generator.get_state(), own)


def test_every_process_resumes_exactly(results):
    """Stopped twice in the middle of an epoch, with dropout and noise: the very same bits."""
    for result in results("resuming"):
        whole = result["whole"]
        assert whole["history"][-1]["step"] == 12
        assert [result[f"until {end}"]["history"][-1]["step"] for end in (4, 8)] == [4, 8]
        assert toys.worst_difference(whole, result["until 1000"]) == 0.0
    first, second = results("resuming")
    assert toys.worst_difference(first["whole"]["weights"], second["whole"]["weights"]) == 0.0
    generators = [str(result["whole"]["generators"]["torch"]) for result in (first, second)]
    assert generators[0] != generators[1]


def test_another_number_of_processes_may_go_on(run, tmp_path):
    """With the same texts per step, one process continues the run of two, with a warning."""
    with pytest.warns(UserWarning, match="had 2 processes, but this one has 1: .* other random"):
        resumed = ranks.resumable(run.folder / "left", 1, dropout=0.0)
    whole = ranks.resumable(tmp_path, 1, dropout=0.0)
    for name in ("weights", "optimizer", "history"):
        assert toys.worst_difference(whole[name], resumed[name]) < 1e-5


def test_another_number_of_texts_to_a_step_is_refused(run):
    """The position in the epoch does not apply to batches of another size."""
    trainer = toys.make_trainer(
        scheduler=ranks.schedulers.one_cycle(),
        weight_averaging="ema",
        accumulation_steps=2,
        callbacks=[Checkpoint(run.folder / "whole")],
    )
    message = "`loader` to be 'one of 3 steps per epoch' as in the resumed run"
    with pytest.raises(InvalidValueError, match=message):
        trainer.fit(
            toys.bucketed(ranks.TRAIN, 4),
            toys.bucketed(ranks.EVAL, 4),
            epochs=4,
            resume_from=run.folder / "whole",
        )


def test_the_main_process_alone_writes_and_shows(run, results):
    """Logs, checkpoints and bars come from rank 0; other callbacks run everywhere."""
    first, second = results("writing")
    assert {path.split("/")[0] for path in first["files"]} == {"checkpoints", "log.csv"}
    assert second["files"] == []
    assert first["hooks"] == second["hooks"] == [1, 2, 3, 4, 5, 6]
    assert first["last_checkpoint"] == second["last_checkpoint"]
    assert "bar of 0" in run.errors[0]
    assert "bar of 1" not in "".join(run.errors)


def test_all_stop_when_one_is_asked_to(results):
    """A request in rank 1, Ctrl-C in rank 1, and patience that is used up stop both at once."""
    first, second = results("stopping")
    assert first == second
    assert first == {
        "asked": [4, "rank 1 has had enough"],
        "interrupted": [3, "interrupted by Ctrl-C"],
        "early": [12, "no better accuracy for 1 evaluation"],
    }


@pytest.mark.parametrize(
    ("mistake", "kind", "message"),
    [
        ("shuffled", "InvalidValueError", "`loader` to be one that gives each of 2 processes"),
        ("whole", "InvalidValueError", "its share, but got that of rank 0 of 1 in rank "),
        ("same texts", "InvalidValueError", "each text to one process, but 2 have text 0."),
        (
            "lengths",
            "InvalidValueError",
            "number of batches in all processes, but got [1, 2].",
        ),
        ("weights", "InvalidValueError", "`loader` to be of weighted texts in all processes or"),
        ("exhausted", "TrainingError", "but it ended in 1 of 2 after step 2."),
        ("evaluated whole", "InvalidValueError", "its share, but got 'RandomSampler'."),
        ("padded", "InvalidValueError", "each text to one process, but 2 have text 0."),
        ("predicted twice", "InvalidValueError", "each text to one process, but 2 have text 0."),
        ("no indices", "InvalidValueError", "Expected the batches to have indices, which put"),
        ("too few", "InvalidValueError", "at least one text for each of the 2 processes"),
        ("blocked", "TrainingError", "can't be made: File exists."),
        ("missing", "InvalidValueError", "`resume_from` to be a folder that exists"),
        ("wrapped", "InvalidTypeError", "without the `DistributedDataParallel` that the Trainer"),
        ("not finite", "NonFiniteLossError", "The loss became nan in step 3, on the texts with"),
    ],
)
def test_errors_are_raised_in_all_processes(results, mistake, kind, message):
    """A mistake that only one process sees ends both with the same message."""
    for rank in range(2):
        found_kind, text = results("complaints")[rank][mistake]
        assert (found_kind, message in text) == (kind, True), text


def test_a_loss_that_is_not_finite_is_blamed_on_its_own_texts(results):
    """Only the texts of the process whose loss broke are named: a batch of 4, not all 8."""
    first, second = (result["not finite"][1] for result in results("complaints"))
    assert first == second
    assert first.partition("indices ")[2].partition(". ")[0].count(",") == 3


def test_a_process_that_is_killed_ends_the_other_at_once(tmp_path):
    """The other process ends with an error, even without an agent such as torchrun."""
    (_, _, died), (survivor_code, survivor_errors, ended) = (
        (code, errors, end) for code, errors, end in finish(start(tmp_path, ["dying"]))[::-1]
    )
    assert survivor_code == 1
    assert "TrainingError: Lost the connection to another process of this training" in (
        survivor_errors
    )
    assert ended - died < 60  # a second or so on an idle machine
    assert [path.name for path in sorted((tmp_path / "dying").glob("step-*"))] == [
        "step-00000002",
        "step-00000004",
    ]


def test_one_process_does_not_communicate():
    """All methods work without communication, and errors pass."""
    assert join() == ALONE
    assert list(ALONE.sum([1.0, 2.0])) == [1.0, 2.0]
    assert ALONE.gather("x") == ["x"]
    assert ALONE.from_main(lambda: 3) == 3
    assert ALONE.begin_total(4)() == 4
    with pytest.raises(ZeroDivisionError):
        ALONE.from_main(lambda: 1 // 0)
    model = toys.make_model()
    assert distributed.Replica(model, ALONE)._called is model
    assert toys.make_trainer().processes == ALONE


@pytest.mark.parametrize("missing", [None, "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"])
def test_processes_are_joined_where_all_variables_say_so(monkeypatch, missing):
    """The variables of torchrun make the group; with one of them missing nothing happens."""
    made: list[Any] = []
    monkeypatch.setattr(dist, "init_process_group", lambda *args, **_: made.append(args))
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed.atexit, "register", lambda _function: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    variables = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in variables.items():
        if name != missing:
            monkeypatch.setenv(name, value)
    assert join() == (ALONE if missing else Processes(1, 2))
    assert made == ([] if missing else [("gloo",)])


def test_one_process_of_torchrun_is_alone(monkeypatch):
    """With `--nproc-per-node=1` no group is created."""
    variables = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert join() == ALONE
    assert not dist.is_initialized()


def test_each_process_takes_the_gpu_of_its_number(monkeypatch):
    """NCCL is used for GPUs, and gloo for tensors on the CPU."""
    chosen: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **_: chosen.append(backend))
    monkeypatch.setattr(distributed.atexit, "register", lambda _function: None)
    monkeypatch.setenv("LOCAL_RANK", "3")
    distributed._make_group()
    monkeypatch.setenv("LOCAL_RANK", "4")  # more processes than GPUs train on the CPU
    distributed._make_group()
    assert chosen == [3, "cpu:gloo,cuda:nccl", "gloo"]


def test_two_processes_on_one_gpu_are_refused():
    """A GPU can't be shared, nor can some train on GPUs and others on CPUs."""
    check_devices([("a", "cuda:0"), ("b", "cuda:0")])
    check_devices([("a", "cpu"), ("a", "cpu")])
    with pytest.raises(
        InvalidValueError, match=r"but 2 processes use .cuda:0. of .a.\. Pass `device"
    ):
        check_devices([("a", "cuda:1"), ("a", "cuda:0"), ("a", "cuda:0")])
    with pytest.raises(InvalidValueError, match=r"of the same kind .*, but got .cpu and cuda."):
        check_devices([("a", "cpu"), ("a", "cuda:0")])
    assert device_location(torch.device("cpu"))[1] == "cpu"


def test_errors_that_can_not_be_sent_are_described():
    """An error that can't be pickled reaches the other processes as a description."""
    error = ValueError(lambda: None)
    assert isinstance(distributed._portable(error), TrainingError)
    assert str(distributed._portable(error)).startswith("The main process failed: ValueError(")
    plain = InvalidValueError("no")
    assert distributed._portable(plain) is plain


def test_errors_of_another_kind_are_not_taken_for_a_lost_connection():
    """Other errors are raised unchanged."""
    wrong = pytest.raises(RuntimeError, match="shapes cannot be multiplied")
    with wrong as caught, distributed._connected():
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not isinstance(caught.value, TrainingError)


@pytest.mark.cuda
def test_gpus_train_as_the_cpu_does(tmp_path):
    """One process per GPU, joined by NCCL, gives the weights of one process on the CPU."""
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import torch\n"
        "from tests import ranks, toys\n"
        "model = toys.make_model(dropout=0.0)\n"
        "trainer = toys.make_trainer(model, device='cuda')\n"
        "trainer.fit(ranks.loader_of(ranks.TRAIN, 2), epochs=3)\n"
        "if trainer.processes.is_main:\n"
        "    torch.save(model.cpu().state_dict(), sys.argv[2])\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    root = str(Path(__file__).parents[1])
    subprocess.run(  # noqa: S603 - the program is ours
        [*command, str(script), root, str(tmp_path / "weights.pt")], check=True, timeout=SECONDS
    )
    model: nn.Module = toys.make_model(dropout=0.0)
    Trainer(model, optimizer=torch.optim.Adam(model.parameters(), lr=0.01), progress=False).fit(
        ranks.loader_of(ranks.TRAIN, 1), epochs=3
    )
    weights = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert toys.worst_difference(toys.weights_of(model), weights) < 1e-4
