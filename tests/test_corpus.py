"""Data sets in folders: equal to those in memory, written atomically, read without trust."""

import copy
import errno
import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import warnings
from concurrent.futures.process import BrokenProcessPool
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset

from textrnn._storage import NewFolder, writing
from textrnn.data import BucketBatchSampler, PaddingCollator, WordDataset
from textrnn.data import flat as flat_module
from textrnn.data.corpus import building, stored
from textrnn.errors import CorruptFileError, InvalidTypeError, InvalidValueError
from textrnn.text import Vocabulary, WordPunctTokenizer, WordTokenizer

WORDS = ["oil", "prices", "soar", "fall", "again"]
VOCABULARY = Vocabulary.build([WORDS])
TOKENIZER = WordTokenizer()
TEXTS = [" ".join(WORDS[: i % 6] + ["unheard"] * (i % 2)) for i in range(23)]
LABELS = {
    "none": [None] * 23,
    "ids": [i % 3 for i in range(23)],
    "targets": [[i % 2, 0.5] for i in range(23)],
}
COLUMNS = ("input_ids", "offsets", "lengths", "labels")


def make(kind="ids", **options):
    """Make a data set in memory."""
    labels = None if kind == "none" else LABELS[kind]
    return WordDataset(TEXTS, labels, VOCABULARY, TOKENIZER, **options)


@pytest.fixture(name="saved")
def fixture_saved(tmp_path):
    """Save a data set and return its folder."""
    make().save(tmp_path / "news")
    return tmp_path / "news"


def assert_same(one, other):
    """Compare two data sets completely."""
    assert len(one) == len(other)
    for name in COLUMNS:
        mine, others = getattr(one, name), getattr(other, name)
        assert (mine is None) == (others is None), name
        if mine is not None:
            torch.testing.assert_close(mine, others, rtol=0, atol=0)
    assert (one.vocabulary, one.tokenizer) == (other.vocabulary, other.tokenizer)
    assert (one.max_length, one.num_classes) == (other.max_length, other.num_classes)
    assert repr(one) == repr(other)


def contents(folder):
    """Return every file of a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def forge(folder, name, data):
    """Replace a file of a data set, with its size and checksum in the manifest."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "dataset.json").read_text())
    digest = hashlib.sha256(data).hexdigest()
    manifest["files"][name] = {"bytes": len(data), "sha256": digest}
    (folder / "dataset.json").write_text(json.dumps(manifest))


# --- equal to data sets in memory -----------------------------------------------------------------


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("options", [{}, {"max_length": 3}, {"add_bos": False, "add_eos": False}])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_built_data_set_equals_one_in_memory(tmp_path, monkeypatch, kind, options, num_workers):
    """A stream of rows gives the same data set, and the same files for any number of workers."""
    monkeypatch.setattr(building, "_ROWS", 4)
    whole = make(kind, **options)
    rows = zip(TEXTS, LABELS[kind], strict=True)
    built = WordDataset.build(
        tmp_path / "built", rows, VOCABULARY, TOKENIZER, num_workers=num_workers, **options
    )
    assert_same(built, whole)
    assert_same(WordDataset.open(tmp_path / "built", verify=True), whole)
    whole.save(tmp_path / "saved")
    assert contents(tmp_path / "built") == contents(tmp_path / "saved")


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.sampled_from([*WORDS, "..."]), max_size=6).map(" ".join), max_size=12),
    st.integers(1, 5),
    st.integers(1, 40),
    st.booleans(),
)
def test_block_sizes_do_not_change_the_data_set(tmp_path_factory, texts, rows, characters, edges):
    """Any division of a stream gives the same data set, also without texts."""
    folder = tmp_path_factory.mktemp("any") / "news"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "_ROWS", rows)
        patch.setattr(building, "_CHARACTERS", characters)
        patch.setattr(flat_module, "_TEXTS_AT_A_TIME", rows)
        pairs = ((text, None) for text in texts)
        options = {"add_bos": edges, "add_eos": edges}
        built = WordDataset.build(folder, pairs, VOCABULARY, TOKENIZER, **options)
        whole = WordDataset(texts, None, VOCABULARY, TOKENIZER, **options)
        assert_same(built, whole)
        order = list(range(len(texts)))[::-2]
        assert_same(built.select(order), whole.select(order))
        built.select(order).save(folder)
        assert_same(WordDataset.open(folder), whole.select(order))
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", LABELS)
def test_an_empty_data_set_is_saved_and_opened(tmp_path, kind):
    """It has the same files as any other."""
    empty = make(kind).select([])
    empty.save(tmp_path / "news")
    assert_same(WordDataset.open(tmp_path / "news", verify=True), empty)


@pytest.mark.parametrize("kind", LABELS)
def test_an_opened_data_set_works_like_one_in_memory(tmp_path, kind):
    """Items, selections, subsets and splits are equal."""
    whole = make(kind)
    whole.save(tmp_path / "news")
    opened = WordDataset.open(tmp_path / "news")
    assert type(opened) is WordDataset
    for one, other in ((opened, whole), (opened.select([5, -1, 5]), whole.select([5, -1, 5]))):
        torch.testing.assert_close(list(one), list(other), rtol=0, atol=0)
        assert_same(one, other)
        torch.testing.assert_close(list(Subset(one, [1, 0])), list(Subset(other, [1, 0])))
    for one, other in zip(opened.split(0.3, seed=1), whole.split(0.3, seed=1), strict=True):
        assert_same(one, other)
        assert_same(one.select([1, 0]), other.select([1, 0]))
        assert_same(one.split(0.5)[1], other.split(0.5)[1])


def test_selections_of_an_opened_data_set_copy_no_ids(saved):
    """They use the same mapped memory, until `input_ids` gathers a copy."""
    opened = WordDataset.open(saved)
    flat = opened.input_ids.data_ptr()
    size = opened.input_ids.nbytes
    for part in (*opened.split(0.5), opened.select([3, 4]).select([1])):
        assert part.__getitems__([0]).input_ids.data_ptr() == flat
        assert not flat <= part.input_ids.data_ptr() < flat + size
    opened.select([0]).input_ids.zero_()
    assert_same(WordDataset.open(saved, verify=True), make())


def test_a_tensor_of_labels_may_be_replaced(saved):
    """New labels belong to this data set only, also in another process."""
    opened = WordDataset.open(saved)
    opened.labels = opened.labels + 4
    assert (opened.num_classes, opened[0]["label"]) == (7, 4)
    assert pickle.loads(pickle.dumps(opened)).num_classes == 7  # noqa: S301 - our own
    opened.labels = None
    assert "label" not in pickle.loads(pickle.dumps(opened))[0]  # noqa: S301 - our own
    assert WordDataset.open(saved).num_classes == 3


def test_opening_does_not_warn_or_change_the_files(saved):
    """PyTorch's warning about read-only arrays is suppressed, and items are copies."""
    before = contents(saved)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = WordDataset.open(saved)
        dataset[0]["input_ids"].zero_()
        dataset.select([0, 1]).labels.zero_()
    assert contents(saved) == before


# --- other processes ------------------------------------------------------------------------------


def test_a_pickle_has_the_path_of_the_folder(saved, monkeypatch):
    """It is small, also of a selection, and maps the files again in any working directory."""
    monkeypatch.chdir(saved.parent)
    opened = WordDataset.open("news")
    rows = list(zip(TEXTS, LABELS["ids"], strict=True))
    big = WordDataset.build("big", rows * 500, VOCABULARY, TOKENIZER)
    data = pickle.dumps(big)
    assert len(data) < len(pickle.dumps(opened)) + 100 < 2000 + len(pickle.dumps(VOCABULARY))
    part = pickle.dumps(big.select(range(100)))
    assert len(part) < len(data) + 100 * 24 + 2000
    monkeypatch.chdir("/")
    copies = (pickle.loads(data), copy.copy(big), copy.deepcopy(big))  # noqa: S301 - our own
    for other in copies:
        assert_same(other, big)
    assert_same(pickle.loads(part), big.select(range(100)))  # noqa: S301 - our own
    in_memory = make()
    assert_same(pickle.loads(pickle.dumps(in_memory)), in_memory)  # noqa: S301 - our own


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_of_a_loader_map_the_files(saved, context):
    """Forked or spawned, they give the same batches as this process."""
    opened, part = WordDataset.open(saved), WordDataset.open(saved).split(0.5)[0]
    for dataset in (opened, part)[: 2 if context == "fork" else 1]:
        sampler = BucketBatchSampler(dataset, 4, seed=1)
        here = DataLoader(dataset, batch_sampler=sampler, collate_fn=PaddingCollator())
        there = DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=PaddingCollator(),
            num_workers=1,
            multiprocessing_context=context,
        )
        for one, other in zip(here, there, strict=True):
            assert torch.equal(one.input_ids, other.input_ids)
            assert torch.equal(one.labels, other.labels)
            assert torch.equal(one.indices, other.indices)


def test_a_pickle_of_a_replaced_folder_is_refused(saved):
    """Another process never trains on other texts than this one."""
    data = pickle.dumps(WordDataset.open(saved))
    make("targets").save(saved)
    with pytest.raises(CorruptFileError, match="another data set was written in its place"):
        pickle.loads(data)  # noqa: S301 - our own
    shutil.rmtree(saved)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        pickle.loads(data)  # noqa: S301 - our own


def test_mapped_memory_is_released(saved, monkeypatch):
    """After many texts everything is unmapped, and mapped again on the next read."""
    opened = WordDataset.open(saved)
    items = list(opened)
    monkeypatch.setattr(stored, "MAPPED_BYTES", 1)
    torch.testing.assert_close(list(opened), items, rtol=0, atol=0)
    assert_same(opened, make())


# --- written atomically ---------------------------------------------------------------------------


def failing_rows(error, after):
    """Yield rows, then raise an error."""
    yield from zip(TEXTS[:after], LABELS["ids"], strict=False)
    raise error


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "gone"), MemoryError()])
@pytest.mark.parametrize("replaced", [True, False])
def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch, num_workers, error, replaced):
    """After Ctrl-C or a disk error, the old data set is unchanged, with no file beside it."""
    monkeypatch.setattr(building, "_ROWS", 4)
    if replaced:
        make("none").save(tmp_path / "news")
    before = contents(tmp_path / "news") if replaced else None
    with pytest.raises(type(error)):
        WordDataset.build(
            tmp_path / "news",
            failing_rows(error, 17),
            VOCABULARY,
            TOKENIZER,
            num_workers=num_workers,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["news"] * replaced
    if replaced:
        assert contents(tmp_path / "news") == before


@pytest.mark.parametrize(
    ("number", "here", "error"),
    [(signal.SIGINT, True, KeyboardInterrupt), (signal.SIGKILL, False, BrokenProcessPool)],
)
def test_a_signal_ends_a_build_cleanly(tmp_path, monkeypatch, number, here, error):
    """After Ctrl-C in all processes or a killed worker, no process and no file is left."""
    monkeypatch.setattr(building, "_ROWS", 4)
    others = {child.pid for child in multiprocessing.active_children()}  # of a loader before

    def workers():
        return [each for each in multiprocessing.active_children() if each.pid not in others]

    def rows():
        yield from zip(TEXTS, LABELS["ids"], strict=True)
        for child in workers():
            os.kill(child.pid, number)
        if here:
            os.kill(os.getpid(), number)
        yield from zip(TEXTS * 10, LABELS["ids"] * 10, strict=True)

    with pytest.raises(error):
        WordDataset.build(tmp_path / "news", rows(), VOCABULARY, TOKENIZER, num_workers=2)
    assert list(tmp_path.iterdir()) == []
    assert not workers()


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    """The old data set stays if the last file can't be written or the folder not renamed."""
    full = mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(NewFolder, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        make().save(tmp_path / "news")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    make("none").save(tmp_path / "news")
    before = contents(tmp_path / "news")
    monkeypatch.setattr(writing, "_swap", mock.Mock(side_effect=OSError(errno.EIO, "gone")))
    with pytest.raises(OSError, match="gone"):
        make().save(tmp_path / "news")
    assert [path.name for path in tmp_path.iterdir()] == ["news"]
    assert contents(tmp_path / "news") == before


def test_a_data_set_is_replaced_while_it_is_open(saved):
    """An open data set stays valid, even if a part of it replaces its own folder."""
    opened = WordDataset.open(saved)
    opened.select(range(5)).save(saved)
    assert_same(opened, make())
    assert_same(WordDataset.open(saved), make().select(range(5)))
    assert [path.name for path in saved.parent.iterdir()] == ["news"]


def test_other_files_and_folders_are_not_replaced(tmp_path, saved):
    """A file or a folder with other files is refused; an empty or new folder is used."""
    (saved / "notes.txt").write_text("mine")
    with pytest.raises(
        InvalidValueError, match=r"nothing but a saved data set.* holds 'notes.txt'"
    ):
        make().save(saved)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidValueError, match="`folder` to be a new or empty folder"):
        make().save(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    make().save(tmp_path / "empty")
    make().save(tmp_path / "a" / "b")
    assert_same(WordDataset.open(tmp_path / "empty"), WordDataset.open(tmp_path / "a" / "b"))


# --- read without trust ---------------------------------------------------------------------------


def test_a_missing_folder_is_refused(tmp_path):
    """So is an empty one."""
    with pytest.raises(FileNotFoundError, match="There is no folder 'nowhere'"):
        WordDataset.open("nowhere")
    with pytest.raises(
        CorruptFileError, match=r"is not a data-set folder: it has no dataset\.json"
    ):
        WordDataset.open(tmp_path)


@pytest.mark.parametrize("name", ["dataset.json", *(f"{column}.bin" for column in COLUMNS)])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "can't be read|has no dataset.json"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "not a regular file"),
        (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-2]), "bytes, and had|JSON expected"),
        (lambda path: path.write_bytes(path.read_bytes() + b"}"), "bytes, and had|JSON expected"),
    ],
)
def test_missing_and_odd_files_are_refused(saved, name, damage, message):
    """No file may be missing, longer, shorter, a folder or a pipe, which would block."""
    damage(saved / name)
    with pytest.raises(CorruptFileError, match=message):
        WordDataset.open(saved)


@pytest.mark.parametrize(
    "name", ["lengths.bin", "offsets.bin", "labels.bin", "vocabulary.json", "input_ids.bin"]
)
def test_every_changed_byte_is_detected(saved, name):
    """One changed bit is detected; in the ids, only with `verify`."""
    data = bytearray((saved / name).read_bytes())
    data[-8] ^= 1
    (saved / name).write_bytes(data)
    if name == "input_ids.bin":
        WordDataset.open(saved)
    with pytest.raises(CorruptFileError, match=r"changed since|does not match|out of range"):
        WordDataset.open(saved, verify=name == "input_ids.bin")


def test_swapped_files_are_detected(saved, tmp_path):
    """A file of another data set of the same sizes is refused."""
    other = WordDataset(TEXTS[::-1], LABELS["ids"], VOCABULARY, TOKENIZER)
    other.save(tmp_path / "other")
    for name in ("offsets.bin", "lengths.bin", "labels.bin", "input_ids.bin"):
        make().save(saved)
        shutil.copy(tmp_path / "other" / name, saved / name)
        if name != "labels.bin":  # the labels are the same here
            with pytest.raises(CorruptFileError):
                WordDataset.open(saved, verify=True)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("offsets", lambda x: x + 1, "does not match the lengths of the texts"),
        ("offsets", lambda x: np.where(x == x[-1], 2**62, x), "does not match the lengths"),
        ("offsets", lambda x: np.roll(x, 1), "does not match the lengths"),
        ("lengths", lambda x: np.maximum(x - 1, 0), "does not match the lengths"),
        ("labels", lambda x: x - 1, "a label is out of range"),
        ("labels", lambda x: x + 1, "a label is out of range"),
        ("input_ids", lambda x: x + 5, "an id is not one of the 9 in the vocabulary"),
        ("input_ids", lambda x: x - 3, "an id is not one of the 9 in the vocabulary"),
    ],
)
def test_forged_numbers_are_refused(saved, name, change, message):
    """Even with valid checksums, no text may lie outside the ids."""
    dtype = np.int32 if name == "input_ids" else np.int64
    values = np.fromfile(saved / f"{name}.bin", dtype)
    forge(saved, f"{name}.bin", change(values).astype(dtype).tobytes())
    with pytest.raises(CorruptFileError, match=message):
        WordDataset.open(saved, verify=True)


def test_consistent_but_impossible_offsets_are_refused(saved):
    """Differences of offsets that wrap around are detected."""
    offsets = np.fromfile(saved / "offsets.bin", np.int64)
    lengths = np.fromfile(saved / "lengths.bin", np.int64)
    offsets[3] = offsets[2] - 5
    with np.errstate(over="ignore"):
        lengths[:] = np.diff(offsets)
    forge(saved, "offsets.bin", offsets.tobytes())
    forge(saved, "lengths.bin", lengths.tobytes())
    with pytest.raises(CorruptFileError, match="does not match the lengths"):
        WordDataset.open(saved)


def test_forged_targets_are_refused(tmp_path):
    """NaN is not a target."""
    make("targets").save(tmp_path)
    values = np.fromfile(tmp_path / "labels.bin", np.float32)
    values[3] = np.nan
    forge(tmp_path, "labels.bin", values.tobytes())
    with pytest.raises(CorruptFileError, match="a label is out of range"):
        WordDataset.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "its format version is 2, and only 1 is supported"),
        ({"format_version": True}, "its format version is True"),
        ({"more": 1}, "should have the keys"),
        ({"texts": -1}, "texts is -1"),
        ({"texts": 22}, "should have"),
        ({"texts": 2**59}, "should have"),
        ({"ids": 2**60}, "ids is 1152921504606846976"),
        ({"ids": 3.0}, "ids is 3.0"),
        ({"max_length": "x"}, "max_length is 'x'"),
        ({"labels": None}, "`files` should have the keys"),
        ({"labels": []}, "`labels` should have the keys"),
        ({"labels": {"kind": "stars", "classes": 3}}, "the kind of labels is 'stars'"),
        ({"labels": {"kind": "targets", "classes": 2**40}}, "classes is 1099511627776"),
        ({"labels": {"kind": "targets", "classes": 3}}, "labels.bin should have 276 bytes"),
        ({"labels": {"kind": "class ids", "classes": 2}}, "a label is out of range"),
        ({"labels": {"kind": "class ids", "classes": 10**9}}, "classes is 1000000000"),
        ({"labels": {"kind": "class ids", "classes": 10**6}}, "have 3 classes, and should have 1"),
        ({"texts": 10**400}, "is not a finite number"),
        ({"tokenizer": {"type": "os.system", "options": {}}}, "its tokenizer is 'os.system'"),
        ({"tokenizer": {"type": ["x"], "options": {}}}, "its tokenizer is"),
        ({"tokenizer": {"type": "WordTokenizer", "options": {"a": 1}}}, "to have the keys"),
        ({"tokenizer": 1}, "`tokenizer` should have the keys"),
        ({"files": {}}, "`files` should have the keys"),
    ],
)
def test_forged_manifests_are_refused(saved, change, message):
    """Every entry of the manifest is checked before it is used."""
    manifest = json.loads((saved / "dataset.json").read_text())
    (saved / "dataset.json").write_text(json.dumps(manifest | change))
    with pytest.raises(CorruptFileError, match=message):
        WordDataset.open(saved)


def test_too_many_classes_are_not_saved(tmp_path):
    """A label that could not be read again is refused."""
    dataset = make()
    dataset.labels = torch.full((23,), 2**20)
    with pytest.raises(InvalidValueError, match="`labels` to be labels of at most 1048576 classes"):
        dataset.save(tmp_path / "news")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("entry", [3, {"bytes": 8}, {"bytes": "8", "sha256": ""}])
def test_forged_entries_of_files_are_refused(saved, entry):
    """An entry needs a checksum and a number as size."""
    manifest = json.loads((saved / "dataset.json").read_text())
    manifest["files"]["labels.bin"] = entry
    (saved / "dataset.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptFileError, match=r"labels\.bin"):
        WordDataset.open(saved)


def test_a_manifest_must_be_an_object(saved):
    """A JSON file may hold any value."""
    (saved / "dataset.json").write_text("[1]")
    with pytest.raises(CorruptFileError, match="its format version is None"):
        WordDataset.open(saved)


def test_a_custom_tokenizer_must_be_given_again(tmp_path):
    """Only its name is saved; a tokenizer other than the data set's is refused."""
    WordDataset(TEXTS, None, VOCABULARY, str.split).save(tmp_path / "own")
    with pytest.raises(InvalidValueError, match=r"`tokenizer` to be given.*'str\.split'"):
        WordDataset.open(tmp_path / "own")
    assert WordDataset.open(tmp_path / "own", tokenizer=str.split).tokenizer is str.split
    punctuated = WordPunctTokenizer(lowercase=False)
    WordDataset(TEXTS, None, VOCABULARY, punctuated).save(tmp_path / "punctuated")
    assert WordDataset.open(tmp_path / "punctuated").tokenizer == punctuated
    make().save(tmp_path / "ours")
    assert WordDataset.open(tmp_path / "ours", tokenizer=TOKENIZER).tokenizer == TOKENIZER
    with pytest.raises(InvalidValueError, match="`tokenizer` to be the data set's, WordTokenizer"):
        WordDataset.open(tmp_path / "ours", tokenizer=str.split)


# --- invalid rows and arguments -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "kind", "message"),
    [
        ("oil", InvalidTypeError, r"`rows\[17\]` to be a pair of a text .*, but got 'oil'"),
        (("oil",), InvalidTypeError, r"`rows\[17\]` to be a pair"),
        ((None, 1), InvalidTypeError, r"`rows\[17\]` to be a pair"),
        (("oil", "sports"), InvalidTypeError, r"`labels\[17\]` to be a class id .*'sports'"),
        (("oil", -1), InvalidValueError, r"`labels\[17\]` to be a class id .*-1"),
        (("oil", None), InvalidValueError, r"`labels\[17\]` to be a class id .*None"),
    ],
)
def test_invalid_rows_are_refused(tmp_path, monkeypatch, row, kind, message):
    """The message has the number of the row in the stream; no file is left."""
    monkeypatch.setattr(building, "_ROWS", 4)
    for num_workers in (0, 1):
        rows = [*zip(TEXTS[:17], LABELS["ids"], strict=False), row, ("oil", 1)]
        with pytest.raises(kind, match=message):
            WordDataset.build(
                tmp_path / "news", rows, VOCABULARY, TOKENIZER, num_workers=num_workers
            )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, "to have class ids, as the first 4 have, but got no labels"),
        ([0.5, 1], "to have class ids, .* but got targets of 2 classes"),
    ],
)
def test_labels_of_several_kinds_are_refused(tmp_path, monkeypatch, label, message):
    """All texts have class ids, targets of the same number of classes, or no labels."""
    monkeypatch.setattr(building, "_ROWS", 4)
    rows = [("oil", 1)] * 4 + [("oil", label)] * 4
    with pytest.raises(InvalidValueError, match=message):
        WordDataset.build(tmp_path / "news", rows, VOCABULARY, TOKENIZER)
    with pytest.raises(InvalidValueError, match="to have no labels, as the first 4 have"):
        WordDataset.build(
            tmp_path / "news", [("oil", None)] * 4 + [("oil", 1)], VOCABULARY, TOKENIZER
        )
    with pytest.raises(InvalidValueError, match=r"`labels\[1\]` to be numbers from 0 to 1"):
        WordDataset.build(
            tmp_path / "news", [("oil", [0, 1]), ("oil", [0, 2])], VOCABULARY, TOKENIZER
        )


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("oil", VOCABULARY, TOKENIZER), {}, "`rows` to be an iterable of pairs"),
        ((3, VOCABULARY, TOKENIZER), {}, "`rows` to be an iterable of pairs"),
        (([], {}, TOKENIZER), {}, "`vocabulary` to be a Vocabulary"),
        (([], VOCABULARY, 3), {}, "`tokenizer` to be a callable"),
        (([], VOCABULARY, lambda text: [text]), {"num_workers": 1}, "`tokenizer` to be picklable"),
        (([], VOCABULARY, TOKENIZER), {"num_workers": 0.5}, "`num_workers` to be a non-negative"),
    ],
)
def test_invalid_arguments_are_refused(tmp_path, arguments, options, message):
    """They are checked before anything is written."""
    with pytest.raises(InvalidTypeError, match=message):
        WordDataset.build(tmp_path / "news", *arguments, **options)
    assert list(tmp_path.iterdir()) == []
