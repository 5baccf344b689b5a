"""Folders that are replaced while others read or write them, and what killed writers leave."""

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from unittest import mock

import pytest
import torch

from tests import toys
from textrnn import TextClassifier, WordDataset
from textrnn._storage import FolderFormat, clear_leftovers, files, jsonfiles, reading, writing
from textrnn.errors import CorruptFileError, InvalidValueError, MissingFileError, TextrnnError
from textrnn.training import Checkpoint
from textrnn.training.resume.checkpoint import load_latest

MODEL = Path(__file__).parent / "fixtures" / "model"
FORMAT = FolderFormat(
    kind="numbers folder", what="numbers", argument="path", manifest="all.json", others=("a", "b")
)
TEXT = {"a": 3000, "b": 7}  # bytes of a file


@pytest.fixture(name="in_steps")
def _in_steps(request, monkeypatch):
    """Replace folders in one step, as Linux does, or in two, as other systems do."""
    if not request.param:
        monkeypatch.setattr(writing, "_exchange", lambda *_: False)


def save(path, number):
    """Write a folder of files that are full of a digit."""
    with FORMAT.replace(path) as folder:
        for name, size in TEXT.items():
            folder.write(name, str(number).encode() * size)
        folder.write_json("all.json", {"number": number, "files": folder.files})


def load(path):
    """Read such a folder, and return its digit if all files have it."""
    with FORMAT.open(path) as folder:
        manifest = folder.read_json("all.json", "numbers")
        folder.expect(manifest["files"])
        for name, size in TEXT.items():
            assert folder.read(name, "numbers") == str(manifest["number"]).encode() * size
    return manifest["number"]


def names(folder):
    """Return the names in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def swap_until(done, path, other):
    """Let two folders change places again and again, as two savers would do it."""
    aside = path.with_name("aside")
    while not done.is_set():
        if not writing._exchange(path, other):
            path.rename(aside)
            other.rename(path)
            aside.rename(other)


class Background(threading.Thread):
    """A thread that runs until the end of a block, and whose error is raised there."""

    def __init__(self, work) -> None:
        super().__init__()
        self.work, self.done, self.error = work, threading.Event(), None

    def run(self):
        """Do the work."""
        try:
            self.work(self.done)
        except BaseException as error:  # noqa: BLE001 - it is raised in the other thread
            self.error = error

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.join()
        if self.error is not None:
            raise self.error


# --- one that reads, one that writes --------------------------------------------------------------


@pytest.mark.parametrize("in_steps", [True, False], ids=["one step", "two steps"], indirect=True)
@pytest.mark.usefixtures("in_steps")
def test_a_folder_is_read_whole_while_it_is_replaced(tmp_path):
    """There is always a folder, and all of its files belong together."""
    path = tmp_path / "folder"
    save(path, 1)

    def work(done):
        while not done.is_set():
            save(path, random.randint(1, 9))

    with Background(work):
        for _ in range(500):
            assert load(path) in range(1, 10)
    assert names(tmp_path) == ["folder"]


def test_a_folder_is_read_whole_where_it_has_no_handle(tmp_path, monkeypatch):
    """Without handles of folders, one that was replaced meanwhile is read again."""
    monkeypatch.setattr(reading, "_HAS_HANDLES", False)
    path = tmp_path / "folder"
    save(path, 1)
    opened, original = [], os.open

    def replaced(name, *args: int, **kwargs: int | None):
        if str(name).endswith("b") and not opened:
            opened.append(name)
            save(path, 2)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(os, "open", replaced)
    assert load(path) == 2


def test_a_folder_that_never_rests_is_an_error(tmp_path, monkeypatch):
    """Reading ends, with an error that names the folder."""
    save(tmp_path / "folder", 1)
    monkeypatch.setattr(reading, "_open_files", lambda *_: (False, {}))
    with pytest.raises(OSError, match="it is replaced all the time"):
        load(tmp_path / "folder")


@pytest.fixture(name="two_models", scope="module")
def _two_models(tmp_path_factory):
    """Save two models of the same shape, whose labels and answers tell them apart."""
    folder = tmp_path_factory.mktemp("models")
    texts = ["oil prices soar", "the keeper scores"] * 4
    for name in ("one", "two"):
        labels = [f"{name} business", f"{name} sports"][:: 1 if name == "one" else -1] * 4
        TextClassifier(hidden_size=4, epochs=2, seed=5, device="cpu", progress=False).fit(
            texts, labels
        ).save(folder / name)
    return folder


def test_no_model_is_a_mixture_of_two(two_models, tmp_path):
    """Weights and labels are of one of two models that change places all the time."""
    path = Path(shutil.copytree(two_models, tmp_path / "models"))
    answers = {}
    for name in ("one", "two"):
        classifier = TextClassifier.load(path / name, device="cpu")
        answers[classifier.predict_proba(["oil"]).tobytes()] = classifier.classes_.tolist()
    assert len(answers) == 2
    with Background(lambda done: swap_until(done, path / "one", path / "two")):
        for _ in range(200):
            classifier = TextClassifier.load(path / "one", device="cpu")
            found = classifier.predict_proba(["oil"]).tobytes()
            assert answers[found] == classifier.classes_.tolist()


def test_no_data_set_is_a_mixture_of_two(tmp_path):
    """Vocabulary, ids and labels are of one of two data sets that change places."""
    wholes = [toys.make_dataset(20, seed=seed) for seed in (1, 2)]
    for name, whole in zip(("one", "two"), wholes, strict=True):
        whole.save(tmp_path / name)
    with Background(lambda done: swap_until(done, tmp_path / "one", tmp_path / "two")):
        for _ in range(200):
            opened = WordDataset.open(tmp_path / "one", tokenizer=str.split, verify=True)
            assert any(
                torch.equal(opened.input_ids, whole.input_ids)
                and torch.equal(opened.labels, whole.labels)
                for whole in wholes
            )


def test_a_built_data_set_that_was_replaced_at_once_is_refused(tmp_path, monkeypatch):
    """Its ids would be looked up in another vocabulary."""
    dataset = toys.make_dataset(5)
    rename, done = writing._swap, []

    def replaced(new, target):
        rename(new, target)
        if not done:
            done.append(new)
            toys.make_dataset(6, seed=3).save(target)

    monkeypatch.setattr(writing, "_swap", replaced)
    with pytest.raises(CorruptFileError, match="another data set was written in its place"):
        WordDataset.build(tmp_path / "news", [("w1", 0)], dataset.vocabulary, str.split)


def test_a_checkpoint_that_its_run_removes_is_no_damage(tmp_path, monkeypatch):
    """A newer one is there then, and it is read without a warning."""
    trainer = toys.make_trainer(callbacks=[Checkpoint(tmp_path)])
    trainer.fit(toys.bucketed(toys.make_dataset()), epochs=1)
    (newest,) = tmp_path.glob("step-*")
    older = Path(shutil.copytree(newest, tmp_path / "step-99999999"))
    original = reading._open_files

    def removed(path, names, exits):
        if path == older:
            older.rename(tmp_path / "removed")
        return original(path, names, exits)

    monkeypatch.setattr(reading, "_open_files", removed)
    found = load_latest(tmp_path)
    assert found is not None
    assert found[0] == newest


# --- two that write -------------------------------------------------------------------------------


@pytest.mark.parametrize("in_steps", [True, False], ids=["one step", "two steps"], indirect=True)
@pytest.mark.usefixtures("in_steps")
def test_of_two_savers_one_wins(tmp_path):
    """Neither gets an error, and nothing of the other one is left."""
    path = tmp_path / "folder"

    def work(number, done):
        for _ in range(50):
            save(path, number)
        done.wait()

    with (
        Background(lambda done: work(1, done)),
        Background(lambda done: work(2, done)),
    ):
        pass
    assert load(path) in {1, 2}
    assert names(tmp_path) == ["folder"]


def test_a_folder_that_is_replaced_while_it_is_listed_is_listed_again(tmp_path, monkeypatch):
    """The old folder, half removed, is not taken for someone's own."""
    path, listed = tmp_path / "folder", Path.iterdir
    save(path, 1)

    def halfway(folder):
        if folder != path:
            return listed(folder)
        monkeypatch.setattr(Path, "iterdir", listed)
        save(path, 2)
        return iter([path / "a"])  # what is left of the old one

    monkeypatch.setattr(Path, "iterdir", halfway)
    save(path, 3)
    assert load(path) == 3


def test_files_that_appear_while_a_folder_is_written_are_kept(tmp_path):
    """They are someone's, as if they had been there before."""
    path = tmp_path / "folder"
    save(path, 1)

    def fill():
        with FORMAT.replace(path) as folder:
            folder.write("a", b"2")
            (path / "notes.txt").write_text("mine")

    with pytest.raises(InvalidValueError, match=r"holds 'notes\.txt'"):
        fill()
    assert (path / "notes.txt").read_text() == "mine"
    assert names(tmp_path) == ["folder"]


def test_a_folder_that_others_move_all_the_time_is_an_error(tmp_path, monkeypatch):
    """Writing ends, with the system's error."""
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(FileNotFoundError(2, "x")))
    with pytest.raises(FileNotFoundError):
        save(tmp_path / "folder", 1)
    assert names(tmp_path) == []


# --- those that are killed ------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from textrnn._storage import writing
from tests import test_folders as own

path, moment = Path(sys.argv[1]), sys.argv[2]

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "before":
    writing._swap = kill
elif moment == "after":
    writing.remove = lambda each: (each / "all.json").exists() and kill()
else:
    writing._exchange = lambda *_: False
    rename, calls = Path.rename, []

    def between(self, target):
        calls.append(self)
        if len(calls) == 3:  # the first one is a trial
            kill()
        return rename(self, target)

    Path.rename = between
own.save(path, 2)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such kill, and no locks")
@pytest.mark.parametrize(("moment", "found"), [("before", {1}), ("between", {1}), ("after", {2})])
def test_a_killed_writer_costs_nothing(tmp_path, moment, found):
    """There is a whole folder at once, and the next writer removes what was left."""
    path = tmp_path / "folder"
    save(path, 1)
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", KILLED, path, moment], check=False, cwd=Path(__file__).parents[1]
    )
    assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) > 1
    assert load(path) in found
    save(path, 3)
    assert load(path) == 3
    assert names(tmp_path) == ["folder"]


def leave(path, suffix, content="1"):
    """Leave what a killed writer does."""
    leftover = files.beside(path, suffix)
    leftover.mkdir()
    (leftover / "file").write_text(content)
    return leftover


def test_only_the_leftovers_of_the_dead_are_removed(tmp_path):
    """What is locked is being written, and other names belong to others."""
    path = tmp_path / "folder"
    leave(path, "new")
    alive, others = leave(path, "new"), leave(tmp_path / "another", "new")
    (tmp_path / ".folder.0123456789abcdef.tmp").touch()
    linked = tmp_path / ".folder.0123456789abcdef.textrnn-new"
    linked.symlink_to(others)
    with ExitStack() as exits:
        files.hold(alive, exits)
        save(path, 1)
        (tmp_path / "file").touch()
        files.write_atomically(tmp_path / "file", b"1")
        kept = {".folder.0123456789abcdef.tmp", alive.name, others.name, linked.name}
        assert set(names(tmp_path)) == {"file", "folder", *kept}
    save(path, 1)
    assert set(names(tmp_path)) == {"file", "folder", *kept} - {alive.name}
    assert (others / "file").exists()


def test_files_of_killed_writers_are_removed(tmp_path):
    """A file is written in the same way as a folder."""
    files.beside(tmp_path / "file", "new").write_bytes(b"half")
    files.write_atomically(tmp_path / "file", b"whole")
    assert names(tmp_path) == ["file"]


def test_a_folder_that_was_moved_away_is_put_back(tmp_path):
    """By whoever comes first, a reader or a writer; but it never replaces a newer one."""
    path = tmp_path / "folder"
    save(path, 1)
    path.rename(files.beside(path, "old"))
    assert load(path) == 1
    path.rename(files.beside(path, "old"))
    clear_leftovers(path)
    assert names(tmp_path) == ["folder"]
    leave(path, "old")
    clear_leftovers(path)
    assert names(tmp_path) == ["folder"]
    assert load(path) == 1


def test_a_reader_waits_for_a_folder_that_is_being_replaced(tmp_path, monkeypatch):
    """A folder that is away for a moment is not called missing."""
    path = tmp_path / "folder"
    save(path, 1)
    old = path.rename(files.beside(path, "old"))
    with ExitStack() as exits:
        files.hold(old, exits)
        monkeypatch.setattr(reading.time, "sleep", lambda _: old.rename(path))
        assert load(path) == 1


def test_long_names_can_be_written(tmp_path):
    """A hidden name is no longer than names may be."""
    path = tmp_path / ("\u00fc" * 120)
    for number in (1, 2):
        leave(path, "new")
        save(path, number)
    assert load(path) == 2
    assert names(tmp_path) == [path.name]


def test_a_file_system_without_locks_or_exchanges_will_do(tmp_path, monkeypatch):
    """Folders are replaced all the same; nothing is known about leftovers, so they stay."""

    def unsupported(*_: object):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    monkeypatch.setattr(writing, "_exchange", lambda *_: False)
    path = tmp_path / "folder"
    leftover = leave(path, "new")
    for number in (1, 2):
        save(path, number)
        assert load(path) == number
    assert names(tmp_path) == [leftover.name, "folder"]


def test_a_system_without_locks_will_do(tmp_path, monkeypatch):
    """So do those that have no module for them."""
    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setattr(writing, "_renameat2", lambda: None)
    for number in (1, 2):
        save(tmp_path / "folder", number)
        files.write_atomically(tmp_path / "file", str(number).encode())
    assert load(tmp_path / "folder") == 2
    assert names(tmp_path) == ["file", "folder"]


def test_a_writer_taken_for_dead_begins_anew(tmp_path, monkeypatch):
    """Another process may remove a new folder before it is locked."""
    original, calls = files._lock, []

    def removed(descriptor, *, wait):
        calls.append(wait)
        if len(calls) == 1:
            (new,) = tmp_path.iterdir()
            files.remove(new)
        return original(descriptor, wait=wait)

    monkeypatch.setattr(files, "_lock", removed)
    for path in (tmp_path / "folder", tmp_path / "file"):
        calls.clear()
        if path.name == "folder":
            save(path, 1)
        else:
            shutil.rmtree(tmp_path / "folder")
            files.write_atomically(path, b"1")
    assert names(tmp_path) == ["file"]


# --- where a folder can be written ----------------------------------------------------------------


def test_the_current_folder_is_refused(tmp_path, monkeypatch):
    """Shells and programs that are in it would be in a folder that is gone."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    for path in (".", tmp_path / "a" / "b", "../b"):
        with pytest.raises(InvalidValueError, match="`path` to be a folder other than the current"):
            FORMAT.prepare(path)
    FORMAT.prepare("../bc")
    (tmp_path / "a" / "b").rmdir()
    FORMAT.prepare(tmp_path / "d")  # although there is no current folder any more


def test_a_mount_point_is_refused(tmp_path, monkeypatch):
    """The error comes before any work, and says what to do."""
    save(tmp_path / "folder", 1)
    busy = OSError(16, "Device or resource busy")
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(busy))
    with pytest.raises(InvalidValueError, match="`path` to be a folder in a mounted one, not a"):
        FORMAT.prepare(tmp_path / "folder")
    monkeypatch.undo()
    assert names(tmp_path) == ["folder"]
    assert load(tmp_path / "folder") == 1


def test_trying_a_place_changes_nothing(tmp_path, monkeypatch):
    """The folder is where it was, even where a folder could be renamed to one with files."""
    save(tmp_path / "folder", 1)
    inode = (tmp_path / "folder").stat().st_ino
    FORMAT.prepare(tmp_path / "folder")
    rename = Path.rename

    def replacing(self, target):
        if target.is_dir():
            shutil.rmtree(target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", replacing)
    FORMAT.prepare(tmp_path / "folder")
    assert (tmp_path / "folder").stat().st_ino == inode
    assert names(tmp_path) == ["folder"]


def test_a_replaced_folder_keeps_its_permissions(tmp_path):
    """Who could not read the folder or a file still can't; one that was read-only stays so."""
    path = tmp_path / "folder"
    save(path, 1)
    (path / "a").chmod(0o600)
    (path / "b").chmod(0o444)
    for mode in (0o700, 0o2750, 0o555):
        path.chmod(mode)
        save(path, 2)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert stat.S_IMODE((path / "a").stat().st_mode) == 0o600
        assert stat.S_IMODE((path / "b").stat().st_mode) == 0o444
        assert names(tmp_path) == ["folder"]
    path.chmod(0o755)


def test_a_new_folder_has_the_permissions_of_any_new_folder(tmp_path):
    """The user's mask decides."""
    (tmp_path / "usual").mkdir()
    save(tmp_path / "folder", 1)
    assert (tmp_path / "folder").stat().st_mode == (tmp_path / "usual").stat().st_mode


# --- what is read ---------------------------------------------------------------------------------


def test_a_missing_folder_is_both_errors(tmp_path):
    """Python's own, and one of this library."""
    for error in (FileNotFoundError, TextrnnError, MissingFileError):
        with pytest.raises(error, match="There is no folder"):
            load(tmp_path / "nowhere")


def test_a_file_is_read_up_to_its_size(tmp_path):
    """A file that is not as long as expected, or longer than it may be, is refused."""
    save(tmp_path / "folder", 1)
    with FORMAT.open(tmp_path / "folder") as folder:
        with pytest.raises(CorruptFileError, match="it is longer than 6 bytes"):
            folder.read("b", "numbers", max_bytes=6)
        assert folder.read("b", "numbers", max_bytes=7) == b"1" * 7
        assert folder.size("a", "numbers") == 3000
        folder.expect({"b": {"bytes": 8}})
        with pytest.raises(CorruptFileError, match="it has 7 bytes, and had 8"):
            folder.size("b", "numbers")


def test_an_error_while_reading_is_named(tmp_path, monkeypatch):
    """A disk may fail in the middle of a file."""
    save(tmp_path / "folder", 1)

    with FORMAT.open(tmp_path / "folder") as folder:
        broken = mock.MagicMock()
        broken.__enter__.return_value.read.side_effect = OSError(5, "Input/output error")
        monkeypatch.setattr(folder, "size", lambda *_: 7)
        monkeypatch.setattr(folder, "open", lambda *_: broken)
        with pytest.raises(CorruptFileError, match=r"it can't be read \(Input/output error\)"):
            folder.read("b", "numbers")


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1), ([], 1), ([1, 2], 3), ({"a": 1}, 3), ({"a,:[{": '\\",,,'}, 3), ([[1], {}], 5)],
)
def test_values_are_counted_outside_of_strings(value, number):
    """The count is never too small, and words with marks in them count once in a long file."""
    short, long = json.dumps(value).encode(), json.dumps([value] * 20_000).encode()
    assert jsonfiles._count_values(short) >= number
    assert jsonfiles._count_values(long) <= 20_000 * (number + 1) + 2
