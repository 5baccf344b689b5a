"""Files and folders are written whole or not at all, and read without trust."""

import errno
import hashlib
import math
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textrnn import _storage
from textrnn._storage import jsonfiles
from textrnn.errors import CorruptFileError, InvalidValueError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=())), inner)
    ),
    max_leaves=10,
)


def names(folder):
    """Return the names of all files in a folder."""
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("data", [b"", b"oil", bytearray(b"gas"), memoryview(b"soar")])
def test_a_new_file_holds_the_data_alone_in_its_folder(tmp_path, data):
    """Nothing but the file appears."""
    _storage.write_atomically(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == bytes(data)
    assert names(tmp_path) == ["file"]


def test_an_old_file_is_replaced_and_keeps_its_permissions(tmp_path):
    """Who could read the file before still can, and nobody else."""
    path = tmp_path / "file"
    path.write_bytes(b"a longer old content")
    path.chmod(0o640)
    _storage.write_atomically(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    """The user's mask decides, as with `open`."""
    (tmp_path / "usual").touch()
    _storage.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_link_is_followed(tmp_path):
    """A link stays a link; the file it names gets the data."""
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "file", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    _storage.write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_write_that_takes_a_part_goes_on(tmp_path, monkeypatch):
    """The system may take fewer bytes than it was given."""
    whole = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole(descriptor, data[:3]))
    _storage.write_atomically(tmp_path / "file", b"oil prices soar")
    assert (tmp_path / "file").read_bytes() == b"oil prices soar"


@pytest.mark.parametrize("call", ["write", "fsync", "close"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call, error):
    """Whatever stops the writing, the old content is intact and no other file is left."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    original = getattr(os, call)

    def fail(descriptor, data=b""):
        if call == "write":
            original(descriptor, data[:2])  # half of it was written before
        if call == "close":
            original(descriptor)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(type(error)):
            _storage.write_atomically(path, b"new content")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_missing_folder_is_named(tmp_path):
    """The error speaks of the folder, not of a file that nobody asked for."""
    with pytest.raises(FileNotFoundError) as caught:
        _storage.write_atomically(tmp_path / "missing" / "file", b"new")
    assert caught.value.filename == str(tmp_path / "missing")


def test_a_folder_is_not_overwritten(tmp_path):
    """A folder in the place of the file stays, and nothing is left beside it."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        _storage.write_atomically(tmp_path / "folder", b"new")
    assert names(tmp_path) == ["folder"]


def test_a_folder_that_can_not_be_synced_is_no_failure(tmp_path, monkeypatch):
    """Some systems open no folders; the file is written all the same."""
    original = os.open

    def refuse(path, flags, mode=0o777):
        if path == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    _storage.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@given(value=JSON, indent=st.none() | st.integers(0, 3))
def test_json_comes_back_as_it_was(tmp_path_factory, value, indent):
    """Any value survives, lone surrogates and pairs of them included."""
    path = tmp_path_factory.getbasetemp() / "value.json"
    _storage.write_json(path, value, indent=indent)
    assert _storage.read_json(path, what="test") == value


def test_json_is_written_for_people(tmp_path):
    """Letters stand for themselves, one entry has one line, and the last line ends."""
    _storage.write_json(tmp_path / "file", {"\u00fcber": 1})
    assert (tmp_path / "file").read_text("utf-8") == '{\n  "\u00fcber": 1\n}\n'


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (float("nan"), InvalidValueError),
        ([float("inf")], InvalidValueError),
        ([10**5000], InvalidValueError),
        (b"", TypeError),
    ],
)
def test_what_is_no_json_is_not_written(tmp_path, value, error):
    """A value that could not be read again leaves no file."""
    with pytest.raises(error):
        _storage.write_json(tmp_path / "file", value)
    assert not names(tmp_path)


def test_json_too_long_to_be_read_is_not_written(tmp_path, monkeypatch):
    """The limit of reading holds for writing, so that no model is lost."""
    monkeypatch.setattr(jsonfiles, "MAX_JSON_BYTES", 7)
    _storage.write_json(tmp_path / "short", "oil")
    with pytest.raises(InvalidValueError, match="to need at most 7 bytes, but got 10"):
        _storage.write_json(tmp_path / "long", "oil gas")
    monkeypatch.setattr(jsonfiles, "MAX_JSON_VALUES", 3)
    monkeypatch.setattr(jsonfiles, "MAX_JSON_BYTES", 99)
    with pytest.raises(InvalidValueError, match="'long' to hold at most 3 values, but got 4"):
        _storage.write_json(tmp_path / "long", [1, 2, 3])
    assert names(tmp_path) == ["short"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not the JSON expected"),
        (b"{", "not the JSON expected"),
        (b'{"a": 1} trailing', "Extra data"),
        (b"\xff\xfe{}", "not the JSON expected"),
        (b"\x00\x00\x00", "not the JSON expected"),
        (b"[NaN]", "'NaN' is not a finite number"),
        (b"[-Infinity]", "'-Infinity' is not a finite number"),
        (b"[1e999]", "'1e999' is not a finite number"),
        (b'{"a": 1, "a": 2}', "names a key twice"),
        (b"[" * 200_000, "nested too deeply"),
        (b"9" * 10_000, "not the JSON expected"),
        (b"[1" + b"0" * 400 + b"]", "is not a finite number"),
        (b"[" + b"[]," * 500 + b"[]]", "it holds more than 1000 values"),
        (b"[1, 2, 3" + b" " * 20_000 + b"]", "longer than 20000 bytes"),
    ],
)
def test_damaged_json_is_named(tmp_path, monkeypatch, data, reason):
    """Whatever is wrong with a file, one error says which file and what."""
    path = tmp_path / "words.json"
    path.write_bytes(data)
    if len(data) < 100_000:
        monkeypatch.setattr(jsonfiles, "MAX_JSON_VALUES", 1000)
        monkeypatch.setattr(jsonfiles, "MAX_JSON_BYTES", 20_000)
    with pytest.raises(CorruptFileError, match=reason) as caught:
        _storage.read_json(path, what="vocabulary")
    assert str(caught.value).startswith("The vocabulary file ")
    assert "words.json" in str(caught.value)


@given(data=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    """No content of a file gets another error out of the reader."""
    path = tmp_path_factory.getbasetemp() / "bytes.json"
    path.write_bytes(data)
    try:
        _storage.read_json(path, what="test")
    except CorruptFileError as error:
        assert "bytes.json" in str(error)  # noqa: PT017 - most bytes are refused, but some are not


def test_a_missing_file_is_the_usual_error(tmp_path):
    """A file that is not there is not called damaged."""
    with pytest.raises(FileNotFoundError):
        _storage.read_json(tmp_path / "missing", what="vocabulary")


def test_numbers_that_are_not_finite_are_parsed_where_they_may_be():
    """A value that was monitored may be infinite, a name given twice is damage all the same."""
    values = _storage.parse_json(b"[NaN, -Infinity, 1e999, 0.5]", finite=False)
    assert math.isnan(values[0])
    assert values[1:] == [-math.inf, math.inf, 0.5]
    with pytest.raises(ValueError, match="names a key twice"):
        _storage.parse_json(b'{"a": 1, "a": 2}', finite=False)


def test_a_new_folder_knows_its_files(tmp_path):
    """Files that grow, bytes and JSON are there together, each with its size and checksum."""
    with _storage.new_folder(tmp_path / "folder") as folder:
        with folder.open("grown") as file:
            file.write(b"oil ")
            file.write(memoryview(b"prices"))
        folder.write("empty", b"")
        folder.write_json("words.json", {"oil": 1})
        assert not (tmp_path / "folder").exists()
    assert names(tmp_path) == ["folder"]
    target = tmp_path / "folder"
    assert (target / "grown").read_bytes() == b"oil prices"
    assert _storage.read_json(target / "words.json", what="word") == {"oil": 1}
    assert folder.files == {
        path.name: {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in target.iterdir()
    }


@pytest.mark.parametrize("error", [OSError(errno.EIO, "gone"), KeyboardInterrupt()])
def test_a_folder_that_fails_leaves_the_old_one(tmp_path, error):
    """Whatever is raised while it is filled, nothing lies beside the old folder."""
    with _storage.new_folder(tmp_path / "folder") as folder:
        folder.write("file", b"old")

    def fail():
        with _storage.new_folder(tmp_path / "folder") as new, new.open("file") as file:
            file.write(b"new")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert names(tmp_path) == ["folder"]
    assert (tmp_path / "folder" / "file").read_bytes() == b"old"


def test_a_removed_folder_is_gone(tmp_path):
    """Nothing of it lies beside, and a folder that is not there is no error."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"old")
    for _ in range(2):
        _storage.remove_folder(tmp_path / "folder")
        assert not names(tmp_path)


def test_a_place_is_tried_without_a_trace(tmp_path):
    """Where a folder can be made, nothing is left; where not, it is the usual error."""
    _storage.check_writable(tmp_path / "folder")
    assert not names(tmp_path)
    with pytest.raises(FileNotFoundError):
        _storage.check_writable(tmp_path / "missing" / "folder")
