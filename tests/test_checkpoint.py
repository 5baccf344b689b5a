"""Checkpoints are complete or absent, whatever happens to process, disk and folder."""

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from tests import toys
from textrnn._storage import files, writing
from textrnn.errors import CorruptFileError, InvalidTypeError, InvalidValueError, TextrnnError
from textrnn.errors import TrainingError as TrainError
from textrnn.training import Callback, Checkpoint, EarlyStopping, History, LambdaCallback, Trainer
from textrnn.training.resume import checkpoint as checkpoint_module
from textrnn.training.resume.checkpoint import load_latest

TRAIN, EVAL = toys.make_dataset(20), toys.make_dataset(5, seed=1)
FILES = [
    "ahead.safetensors",
    "best.safetensors",
    "checksums.json",
    "model.safetensors",
    "optimizer.json",
    "optimizer.safetensors",
    "state.json",
]


def fit(
    *callbacks: Callback, epochs: int = 2, resume_from: Path | str | None = None, **settings: Any
) -> tuple[Trainer, History]:
    """Train for epochs of four steps, with an evaluation after every second step."""
    torch.manual_seed(0)
    trainer = toys.make_trainer(callbacks=callbacks, **settings)
    history = trainer.fit(
        toys.bucketed(TRAIN, 5),
        toys.bucketed(EVAL),
        epochs=epochs,
        eval_every=2,
        resume_from=resume_from,
    )
    return trainer, history


def steps(folder: Path) -> list[str]:
    """Return the names in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(name="written", scope="module")
def _written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the checkpoints of steps 3 and 6 of a run that stopped at 7."""
    folder = tmp_path_factory.mktemp("written")
    stop = LambdaCallback(on_batch_end=lambda s: s.step == 7 and s.request_stop("enough"))
    fit(Checkpoint(folder, every_steps=3, keep=9), stop)
    shutil.rmtree(folder / "step-00000007")
    return folder


@pytest.fixture(name="run")
def _run(written: Path, tmp_path: Path) -> Path:
    """Return a copy of these checkpoints."""
    return Path(shutil.copytree(written, tmp_path / "run"))


@pytest.fixture(name="end", scope="module")
def _end() -> dict[str, torch.Tensor]:
    """Return the weights that the run ends with where nothing happens to it."""
    return toys.weights_of(fit()[0].model)


def test_a_checkpoint_is_a_folder_of_files_without_code(written):
    """Safetensors, JSON, and the checksums of all of them."""
    folder = written / "step-00000006"
    assert steps(folder) == FILES
    sums = json.loads((folder / "checksums.json").read_text())
    assert sums == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in FILES
        if name != "checksums.json"
    }


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"every_steps": 3}, ["step-00000006", "step-00000008"]),
        ({"every_steps": 3, "keep": 1}, ["step-00000008"]),
        ({"every_steps": 3, "keep": 5}, ["step-00000003", "step-00000006", "step-00000008"]),
        ({"every_steps": 100}, ["step-00000008"]),
        ({}, ["step-00000004", "step-00000008"]),
        ({"every_steps": 4, "keep": 9}, ["step-00000004", "step-00000008"]),
    ],
)
def test_checkpoints_come_when_they_are_due_and_old_ones_go(settings, names, tmp_path):
    """After every `every_steps` or each epoch, and always at the end; the newest `keep` remain."""
    fit(Checkpoint(tmp_path, **settings))
    assert steps(tmp_path) == names


def test_never_more_than_one_checkpoint_too_many_is_there(tmp_path):
    """An old one is removed only after the new one is complete."""
    seen: list[list[str]] = []
    original = Checkpoint.write

    class Watched(Checkpoint):
        def write(self, *args: Any) -> None:
            seen.append([name for name in steps(tmp_path) if name != ".lock"])
            original(self, *args)

    fit(Watched(tmp_path, every_steps=1, keep=2))
    assert [len(names) for names in seen] == [0, 1, 2, 2, 2, 2, 2, 2]


def test_a_stop_writes_a_checkpoint_of_its_step(tmp_path):
    """Training continues from there."""
    stop = LambdaCallback(on_batch_end=lambda s: s.step == 3 and s.request_stop("enough"))
    trainer, _ = fit(Checkpoint(tmp_path, every_steps=100), stop)
    assert steps(tmp_path) == ["step-00000003"]
    assert trainer.state is not None
    assert trainer.state.last_checkpoint == str(tmp_path / "step-00000003")


def test_a_checkpoint_is_written_when_all_callbacks_have_run(tmp_path):
    """It includes the effect of callbacks listed after the checkpoint."""

    class Count(Callback):
        count = 0

        def on_batch_end(self, _state: Any) -> None:
            self.count += 1

        def state_dict(self) -> dict[str, Any]:
            return {"count": self.count}

    fit(Checkpoint(tmp_path, every_steps=3), Count(), epochs=1)
    found = load_latest(tmp_path)
    assert found is not None
    assert found[1].values["callbacks"] == [["Checkpoint", {}], ["Count", {"count": 4}]]


def torn(path: Path) -> None:
    """Cut a file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def made_a_pipe(path: Path) -> None:
    """Replace a file by a pipe, from which reading would never end."""
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "torn": torn,
    "flipped": flipped,
    "emptied": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
    "garbage": lambda path: path.write_bytes(b"\xff" * 99),
    "a pipe": made_a_pipe,
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_skipped(name, damage, run, end):
    """The previous one is used, with a warning, and the run ends with the same bits."""
    DAMAGES[damage](run / "step-00000006" / name)
    if name != "state.json":  # one of them in full is enough
        with pytest.warns(UserWarning, match="step-00000006 can't be read: .* It is skipped"):
            found = load_latest(run)
        assert found is not None
        assert found[0] == run / "step-00000003"
        return
    with pytest.warns(UserWarning, match="step-00000006 can't be read: .* It is skipped"):
        trainer, _ = fit(Checkpoint(run, every_steps=3), resume_from=run)
    assert toys.worst_difference(toys.weights_of(trainer.model), end) == 0.0
    assert steps(run) == ["set-aside-step-00000006", "step-00000006", "step-00000008"]


@pytest.mark.parametrize(
    "content", ["[]", "3", '{"state.json": 5}', "{}", "[" * 99_999, '{"a": {}}']
)
def test_checksums_of_another_kind_are_damage(content, run):
    """Anything else than a mapping of checksums is damage, too."""
    (run / "step-00000006" / "checksums.json").write_text(content)
    with pytest.warns(UserWarning, match="step-00000006 can't be read"):
        load_latest(run)


def test_checksums_that_lead_elsewhere_are_damage(run, tmp_path):
    """A name with a path in it reads nothing outside of the checkpoint."""
    outside = tmp_path / "state.json"
    shutil.copy(run / "step-00000006" / "state.json", outside)
    folder = run / "step-00000006"
    sums = json.loads((folder / "checksums.json").read_text())
    sums["../../state.json"] = sums.pop("state.json")
    (folder / "checksums.json").write_text(json.dumps(sums))
    with pytest.warns(UserWarning, match="step-00000006 can't be read"):
        load_latest(run)


def test_without_a_complete_checkpoint_training_starts_from_scratch(run, end):
    """The damaged ones are set aside, not deleted."""
    for folder in run.iterdir():
        torn(folder / "model.safetensors")
    with pytest.warns(UserWarning, match="can't be read|starts from scratch") as warned:
        trainer, history = fit(Checkpoint(run, every_steps=4), resume_from=run)
    messages = [str(each.message) for each in warned]
    assert len(messages) == 3
    assert messages[2] == f"{run} holds no complete checkpoint; training starts from scratch."
    assert all(each.filename.endswith("test_checkpoint.py") for each in warned)
    assert history[0]["step"] == 2
    assert toys.worst_difference(toys.weights_of(trainer.model), end) == 0.0
    assert steps(run) == [
        "set-aside-step-00000003",
        "set-aside-step-00000006",
        "step-00000004",
        "step-00000008",
    ]


def test_an_empty_folder_gives_a_warning(tmp_path, end):
    """A script may therefore always resume, even the first time."""
    with pytest.warns(UserWarning, match="no complete checkpoint; training starts from scratch"):
        trainer, _ = fit(Checkpoint(tmp_path), resume_from=tmp_path)
    assert toys.worst_difference(toys.weights_of(trainer.model), end) == 0.0


def test_a_missing_folder_is_an_error(tmp_path):
    """A typing error must not restart a long run."""
    with pytest.raises(InvalidValueError, match="`resume_from` to be a folder that exists, but"):
        fit(resume_from=tmp_path / "typo")


def test_auto_resumes_if_there_is_a_checkpoint(run, tmp_path, end, recwarn):
    """A job script has the same line the first time and after an interruption."""
    new = tmp_path / "new"
    for folder in (new, run):
        trainer, _ = fit(Checkpoint(folder, every_steps=3), resume_from="auto")
        assert toys.worst_difference(toys.weights_of(trainer.model), end) == 0.0
    assert load_latest(tmp_path / "nowhere", if_any=True) is None
    assert not recwarn.list


@pytest.mark.parametrize("count", [0, 2])
def test_auto_needs_one_checkpoint_callback(count, tmp_path):
    """Otherwise the folder is unknown."""
    checkpoints = [Checkpoint(tmp_path / str(number)) for number in range(count)]
    with pytest.raises(InvalidValueError, match=f"exactly one `Checkpoint`, .* have {count}"):
        fit(*checkpoints, resume_from="auto")


def test_auto_skips_damaged_checkpoints_with_a_warning(run, end):
    """As any other folder's."""
    torn(run / "step-00000006" / "optimizer.json")
    with pytest.warns(UserWarning, match="It is skipped"):
        trainer, _ = fit(Checkpoint(run, every_steps=3), resume_from="auto")
    assert toys.worst_difference(toys.weights_of(trainer.model), end) == 0.0


def test_one_of_several_checkpoints_can_be_chosen(run, end):
    """Later ones are then set aside, and a damaged one is an error."""
    trainer, _ = fit(Checkpoint(run, every_steps=100), resume_from=run / "step-00000003")
    assert toys.worst_difference(toys.weights_of(trainer.model), end) == 0.0
    assert steps(run) == ["set-aside-step-00000006", "step-00000003", "step-00000008"]
    torn(run / "step-00000003" / "optimizer.json")
    message = r"step-00000003 can't be read: .*optimizer.json' is damaged: it was changed"
    with pytest.raises(CorruptFileError, match=message):
        fit(resume_from=run / "step-00000003")


def test_setting_aside_replaces_what_was_aside(run):
    """The same damage twice leaves one folder."""
    for _ in range(2):
        torn(run / "step-00000006" / "model.safetensors")
        with pytest.warns(UserWarning, match="It is skipped"):
            fit(Checkpoint(run, every_steps=3, keep=3), resume_from=run)
        assert "set-aside-step-00000006" in steps(run)
        shutil.rmtree(run / "step-00000008")


def test_another_version_is_named_and_left_alone(run):
    """It is an error, as starting from scratch would discard the run."""
    for folder in run.iterdir():
        values = json.loads((folder / "state.json").read_text())
        (folder / "state.json").write_text(json.dumps({**values, "format_version": 7}))
        toys.reseal(folder)
    with pytest.raises(InvalidValueError, match=r"of format 1, .* but got 'format 7'"):
        fit(Checkpoint(run), resume_from=run)
    assert steps(run) == ["step-00000003", "step-00000006"]


def test_files_that_may_not_be_read_are_no_damage(run, monkeypatch):
    """Skipping another user's files would discard the run, too."""
    original = os.open

    def forbidden(path: Any, *args: Any, **kwargs: Any) -> int:
        if path == "state.json":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return original(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(TrainError, match="step-00000006 can't be read: Permission denied"):
        load_latest(run)


def test_another_runs_checkpoints_are_refused(run, tmp_path):
    """They stay as they are, whether training starts from scratch or resumes from elsewhere."""
    before = steps(run)
    with pytest.raises(InvalidValueError, match=r"a folder without another run's checkpoints \(or"):
        fit(Checkpoint(run))
    other = tmp_path / "other"
    fit(Checkpoint(other), epochs=1)
    with pytest.raises(InvalidValueError, match="a folder without another run's checkpoints"):
        fit(Checkpoint(run), resume_from=other)
    assert steps(run) == before


def test_a_run_may_have_two_folders(tmp_path):
    """Resumed from one folder, it continues in both; later checkpoints are set aside."""
    often, seldom = tmp_path / "often", tmp_path / "seldom"

    class Death(Callback):
        def on_batch_end(self, state: Any) -> None:
            if state.step == 7:
                raise RuntimeError("died")

    def checkpoints() -> list[Callback]:
        return [Checkpoint(often, every_steps=2, keep=9), Checkpoint(seldom, keep=9)]

    with pytest.raises(RuntimeError, match="died"):
        fit(*checkpoints(), Death())
    assert steps(often) == ["step-00000002", "step-00000004", "step-00000006"]
    fit(*checkpoints(), resume_from=seldom)
    assert steps(seldom) == ["step-00000004", "step-00000008"]
    assert steps(often) == [
        "set-aside-step-00000006",
        *[f"step-0000000{step}" for step in (2, 4, 6, 8)],
    ]


def test_two_checkpoints_may_share_a_folder(tmp_path):
    """A step that both write has one complete checkpoint."""
    fit(Checkpoint(tmp_path), Checkpoint(tmp_path, every_steps=3))
    assert steps(tmp_path) == ["step-00000006", "step-00000008"]
    assert load_latest(tmp_path) is not None


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")
def test_a_folder_that_another_run_writes_to_is_refused(tmp_path):
    """Runs that start at the same moment would replace each other's checkpoints."""
    messages = []

    def second(state: Any) -> None:
        if state.step == 1:  # before the first checkpoint
            with pytest.raises(InvalidValueError) as caught:
                fit(Checkpoint(tmp_path), epochs=1)
            messages.append(str(caught.value))

    fit(LambdaCallback(on_batch_end=second), Checkpoint(tmp_path))
    assert len(messages) == 1
    assert messages[0].startswith("Expected `directory` to be a folder to which no other run writ")
    assert steps(tmp_path) == ["step-00000004", "step-00000008"]


OTHER_RUN = """
import sys
from contextlib import ExitStack
from pathlib import Path
from textrnn._storage import claim
with ExitStack() as exits:
    print(claim(Path(sys.argv[1]) / ".lock", "another", exits), flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")
def test_a_killed_run_leaves_its_folder_to_others(tmp_path):
    """The lock ends with the process that has it, and its file does no harm."""
    with subprocess.Popen(  # noqa: S603 # our own program
        [sys.executable, "-c", OTHER_RUN, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        with pytest.raises(InvalidValueError, match="a folder to which no other run writes"):
            fit(Checkpoint(tmp_path), epochs=1)
        other.kill()
    assert steps(tmp_path) == [".lock"]
    fit(Checkpoint(tmp_path), epochs=1)
    assert steps(tmp_path) == ["step-00000004"]


def _claim_with_worker(path: Path, worker: int) -> None:
    """Claim a file, fork a worker that lives until the other end of `worker` closes, and die."""
    with ExitStack() as exits:
        assert files.claim(path, "killed", exits)
        if not os.fork():
            exits.close()  # which must not remove the file of the other process
            os.write(worker, b"x" if path.exists() else b"-")
            os.read(worker, 1)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_workers_of_a_killed_run_do_not_hold_its_folder(tmp_path):
    """They notice only after seconds that their parent is dead."""
    here, worker = socket.socketpair()
    with here, worker, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*multi-threaded", category=DeprecationWarning)
        killed = os.fork()
        if not killed:
            here.close()  # whose end is the worker's end
            _claim_with_worker(tmp_path / ".lock", worker.fileno())
        assert os.waitstatus_to_exitcode(os.waitpid(killed, 0)[1]) == -signal.SIGKILL
        assert here.recv(1) == b"x"
        with ExitStack() as exits:
            assert files.claim(tmp_path / ".lock", "next", exits)


def test_a_run_that_is_refused_leaves_no_lock(run):
    """The next one with the same callback can begin."""
    checkpoint = Checkpoint(run)
    for _ in range(2):
        with pytest.raises(InvalidValueError, match="another run's checkpoints"):
            fit(checkpoint)
    assert ".lock" not in steps(run)


def test_a_folder_without_locks_is_used(tmp_path, monkeypatch):
    """A file system without locks is no reason not to write checkpoints."""

    def unsupported(*_: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    fit(Checkpoint(tmp_path), Checkpoint(tmp_path, every_steps=3))
    assert steps(tmp_path) == ["step-00000006", "step-00000008"]


def test_a_lock_file_that_is_removed_is_made_again(tmp_path, monkeypatch):
    """The run before may end between the opening of its file and the lock."""
    path, lock = tmp_path / ".lock", files._lock

    def removed(descriptor: int, *, wait: bool) -> bool:
        monkeypatch.setattr(files, "_lock", lock)
        path.unlink()
        return lock(descriptor, wait=wait)

    monkeypatch.setattr(files, "_lock", removed)
    with ExitStack() as exits:
        assert files.claim(path, "one", exits)
        assert path.read_text() == "one"
        assert files.claim(path, "one", exits)
        assert not files.claim(path, "two", exits)
    assert steps(tmp_path) == []


def test_a_lock_that_can_not_be_made_is_found_before_the_first_step(tmp_path, monkeypatch):
    """It is the error of a folder that can't be written to."""
    refused = OSError(errno.EROFS, os.strerror(errno.EROFS))
    monkeypatch.setattr(checkpoint_module, "claim", mock.Mock(side_effect=refused))
    with pytest.raises(TrainError, match="can't be written to: Read-only file system"):
        fit(Checkpoint(tmp_path))


def test_a_damaged_checkpoint_in_the_second_folder_is_set_aside(tmp_path):
    """Its run is unknown, so it is kept under another name."""
    one, two = tmp_path / "one", tmp_path / "two"
    fit(Checkpoint(one), Checkpoint(two), epochs=1)
    torn(two / "step-00000004" / "state.json")
    fit(Checkpoint(one), Checkpoint(two), resume_from=one)
    assert steps(two) == ["set-aside-step-00000004", "step-00000008"]


def test_leftovers_of_a_killed_run_are_cleared(run):
    """Half-written checkpoints are removed when the run resumes."""
    half = run / ".step-00000007.0123456789abcdef.textrnn-new"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    fit(Checkpoint(run, every_steps=3), resume_from=run)
    assert steps(run) == ["step-00000006", "step-00000008"]


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """Limit the size of the files that the system writes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """Put one of the files on a full disk."""
    opened = Path.open

    def on_full(self: Path, *args: Any, **kwargs: Any) -> Any:
        return opened(Path("/dev/full") if self.name == name else self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", on_full)
        yield


def assert_intact(folder: Path, end: dict[str, torch.Tensor]) -> None:
    """Check that only the checkpoint of step 3 is there, and good."""
    assert steps(folder) == ["step-00000003"]
    trainer, _ = fit(resume_from=folder)
    assert toys.worst_difference(toys.weights_of(trainer.model), end) == 0.0


@pytest.mark.parametrize("limit", [0, 100, 3000])
def test_a_write_that_the_system_refuses_leaves_the_last_checkpoint(limit, tmp_path, end):
    """The system's own limit is met in the first file or in a later one."""
    stack: list[Any] = []

    def shut(state: Any) -> None:
        if state.step == 6:
            stack.append(small_files(limit))
            stack[0].__enter__()

    try:
        with pytest.raises(TrainError, match=r"step-00000006 can't be written: File too large. T"):
            fit(LambdaCallback(on_batch_end=shut), Checkpoint(tmp_path, every_steps=3))
    finally:
        stack[0].__exit__(None, None, None)
    assert_intact(tmp_path, end)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk to write to")
@pytest.mark.parametrize("name", FILES)
def test_a_full_disk_leaves_the_last_checkpoint(name, tmp_path, monkeypatch, end):
    """Whichever file fails, the error names the last good checkpoint."""
    contexts: list[Any] = []

    def fill(state: Any) -> None:
        if state.step == 6:
            contexts.append(full_disk(monkeypatch, name))
            contexts[0].__enter__()

    last = tmp_path / "step-00000003"
    message = f"can't be written: No space left on device. The last good one is {last}."
    try:
        with pytest.raises(TrainError) as error:
            fit(LambdaCallback(on_batch_end=fill), Checkpoint(tmp_path, every_steps=3))
    finally:
        contexts[0].__exit__(None, None, None)
    assert str(error.value).endswith(message)
    assert isinstance(error.value.__cause__, OSError)
    assert_intact(tmp_path, end)


@pytest.mark.parametrize(
    ("function", "code"),
    [
        ((os, "fsync"), errno.EIO),
        ((Path, "mkdir"), errno.EROFS),
        ((Path, "rename"), errno.ENOSPC),
        ((Path, "open"), errno.EDQUOT),
    ],
)
def test_whatever_fails_while_writing_leaves_the_last_checkpoint(
    function, code, tmp_path, monkeypatch, end
):
    """A failing operation leaves neither half a checkpoint nor a temporary folder."""

    def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise OSError(code, os.strerror(code))

    def breaks(state: Any) -> None:
        if state.step == 6:
            monkeypatch.setattr(*function, broken)

    with pytest.raises(TrainError, match=f"can't be written: {os.strerror(code)}. The last good"):
        fit(LambdaCallback(on_batch_end=breaks), Checkpoint(tmp_path, every_steps=3))
    monkeypatch.undo()
    assert_intact(tmp_path, end)


def test_the_first_checkpoint_has_none_before_it(tmp_path, monkeypatch):
    """The error says so."""
    monkeypatch.setattr(writing, "_swap", mock.Mock(side_effect=OSError(28, "full")))
    with pytest.raises(TrainError, match=r"can't be written: full. There is no earlier one\."):
        fit(Checkpoint(tmp_path, every_steps=3))
    assert steps(tmp_path) == []


def test_an_interrupt_while_writing_leaves_nothing_behind(tmp_path, monkeypatch):
    """The folder is clean after a second Ctrl-C during the write."""

    def interrupt(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(Checkpoint(tmp_path, every_steps=3))
    assert steps(tmp_path) == []


def test_a_folder_that_can_not_be_written_to_is_found_before_the_first_step(tmp_path, monkeypatch):
    """Errors of the write probe and of setting aside come before training."""
    checkpoint = Checkpoint(tmp_path)

    def read_only(path: Path, *_args: Any, **_kwargs: Any) -> None:
        if path != tmp_path:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", read_only)
    seen: list[int] = []
    with pytest.raises(TrainError, match="can't be written to: Read-only file system"):
        fit(checkpoint, LambdaCallback(on_batch_end=lambda state: seen.append(state.step)))
    assert seen == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_found_before_the_first_step(run):
    """The error names the missing permission, and nothing is lost."""
    run.chmod(0o500)
    try:
        with pytest.raises(TrainError, match="can't be written to: Permission denied"):
            fit(Checkpoint(run), resume_from=run)
    finally:
        run.chmod(0o700)
    assert steps(run) == ["step-00000003", "step-00000006"]


def test_a_folder_that_can_not_be_made_is_found_at_once(tmp_path):
    """A file in its place is an error when the checkpoint is made."""
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainError, match=r"file/run can't be made: Not a directory"):
        Checkpoint(tmp_path / "file" / "run")


def test_what_can_not_be_written_without_code_is_an_error_at_once(tmp_path):
    """The error comes at the time of writing, not of reading."""

    class Odd(Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"odd": {1, 2}}

    with pytest.raises(TrainError, match="can't be written: Object of type set is not JSON ser"):
        fit(Checkpoint(tmp_path), Odd())
    assert steps(tmp_path) == []


def test_weights_that_are_not_finite_are_never_kept(tmp_path):
    """The last checkpoint is good, even if only the next loss would show the damage."""

    def spoil(state: Any) -> None:
        if state.step == 6:
            with torch.no_grad():
                state.model.head[1].bias[0] = torch.inf

    message = (
        r"weights head.1.bias are not finite after step 6. The last good checkpoint is .*3\. A"
    )
    with pytest.raises(TrainError, match=message):
        fit(LambdaCallback(on_batch_end=spoil), Checkpoint(tmp_path, every_steps=3))
    assert steps(tmp_path) == ["step-00000003"]
    shutil.rmtree(tmp_path)
    with pytest.raises(TrainError, match=r"after step 6. There is no checkpoint\."):
        fit(LambdaCallback(on_batch_end=spoil), Checkpoint(tmp_path, every_steps=6))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"every_steps": 0},
            InvalidValueError,
            "`every_steps` to be a positive integer, but got 0",
        ),
        ({"every_steps": "all"}, InvalidTypeError, "`every_steps` to be a positive integer"),
        ({"keep": 0}, InvalidValueError, "`keep` to be a positive integer, but got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, error, message, tmp_path):
    """Each is an error that names the setting."""
    with pytest.raises(error, match=message):
        Checkpoint(tmp_path, **settings)


def test_a_checkpoint_says_what_it_is(tmp_path):
    """Its repr reproduces the call."""
    expected = f"Checkpoint({str(tmp_path)!r}, every_steps=5, keep=2)"
    assert repr(Checkpoint(tmp_path, every_steps=5)) == expected


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_file_that_no_checkpoint_of_the_model_has_is_not_read(run, name):
    """A sparse file takes no space on a disk, but would in memory."""
    with (run / "step-00000006" / name).open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(InvalidValueError, match=rf"whose {name} has at most [0-9]+ bytes, but got"):
        fit(resume_from=run)


def test_a_checkpoint_too_large_to_be_read_is_not_written(tmp_path, monkeypatch):
    """The limit of reading holds for writing as well."""
    monkeypatch.setattr(checkpoint_module, "max_bytes", lambda *_: 100)
    with pytest.raises(TrainError, match=r"can't be written: model.safetensors has [0-9]+ bytes, "):
        fit(Checkpoint(tmp_path))
    assert steps(tmp_path) == []


def test_messages_about_checkpoints_are_short(run):
    """However long the text in a file is, the message fits on a screen."""
    target = run / "step-00000006" / "state.json"
    values = json.loads(target.read_text())
    target.write_text(json.dumps({**values, "settings": "x" * 10**6}))
    toys.reseal(target.parent)
    with pytest.raises(CorruptFileError) as caught:
        load_latest(target.parent)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["state.json", "optimizer.json"])
def test_values_of_a_checkpoint_are_counted_before_they_are_parsed(run, name):
    """Each empty list would take many times its bytes."""
    target = run / "step-00000006" / name
    target.write_text("[" + "[]," * 2**22 + "[]]")
    toys.reseal(target.parent)
    with pytest.raises(CorruptFileError, match=r"it holds more than [0-9]+ values"):
        load_latest(target.parent)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the paths to all places of a nested structure."""
    items: Any = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def with_changed(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a nested structure with one place changed."""
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = with_changed(copy[path[0]], path[1:], value)
    return copy


VALUES = [None, True, -1, 10**30, 0.5, "text", [], {}, [1], {"a": 1}, {"tensor": "0"}, "nan"]


@pytest.mark.parametrize("name", ["state.json", "optimizer.json"])
def test_a_hostile_checkpoint_never_crashes_a_run(name, run):
    """With any value changed and right checksums, it is skipped, refused, or harmless."""
    chance = random.Random(0)
    target = run / "step-00000006" / name
    tree = json.loads(target.read_bytes())
    paths = list(places(tree))
    outcomes = {"skipped": 0, "refused": 0, "harmless": 0}
    for _ in range(40):
        changed = with_changed(tree, chance.choice(paths), chance.choice(VALUES))
        target.write_text(json.dumps(changed))
        toys.reseal(target.parent)
        with warnings.catch_warnings(record=True, action="always") as warned:
            try:
                fit(EarlyStopping(9), resume_from=run)
            except TextrnnError:
                outcomes["refused"] += 1
            else:
                outcomes["skipped" if warned else "harmless"] += 1
    assert min(outcomes.values()) > 0, outcomes
