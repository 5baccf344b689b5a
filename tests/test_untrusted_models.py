"""Folders of saved classifiers that were damaged or forged: refused with one kind of error."""

import json
import os
import re
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests import strategies
from tests.models import FILES, MODEL, PREDICTIONS, PROBE, change, read, seal
from textrnn import TextClassifier, WordTokenizer
from textrnn.errors import (
    CorruptFileError,
    InvalidValueError,
    MissingFileError,
    TextrnnError,
)
from textrnn.runtime.folder import read_folder

DAMAGE = "damaged"


@pytest.fixture(name="folder")
def _folder(tmp_path):
    return Path(shutil.copytree(MODEL, tmp_path / "model"))


def change_weights(folder, edit):
    """Edit the tensors of a folder, and seal it."""
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors")
    seal(folder)


@pytest.mark.parametrize(
    ("path", "update"),
    [
        ((), {"ngrams": []}),
        ((), {"ngrams": {}}),
        ((), {"ngrams": None}),
        (("ngrams",), {"num_ngrams": 10**9}),
        (("ngrams",), {"num_ngrams": 7}),
        (("ngrams",), {"num_ngrams": "9"}),
        (("ngrams",), {"max_order": 10**12}),
        (("ngrams",), {"max_order": 999}),
        (("ngrams",), {"max_order": 0}),
        (("ngrams",), {"num_classes": 3}),
        (("ngrams",), {"vocab_size": 10}),
        (("ngrams",), {"more": 1}),
        (("ngrams",), {"num_char_ngrams": 0}),
        (("ngrams",), {"num_char_ngrams": 9}),
        (("ngrams",), {"num_char_ngrams": -1}),
        (("ngrams",), {"num_char_ngrams": True}),
    ],
)
def test_every_lie_about_ngrams_is_found(folder, path, update):
    """Wrong values in the configuration of n-grams are found."""
    change(folder, "config.json", update, path)
    with pytest.raises(CorruptFileError, match=DAMAGE):
        TextClassifier.load(folder)


@pytest.mark.parametrize(
    "edit",
    [
        lambda w: w["ngrams.keys"].copy_(w["ngrams.keys"].flip(0)),
        lambda w: w["ngrams.keys"].fill_(5),
        lambda w: w["ngrams.keys"][:1].fill_(-1),
        lambda w: w.update({"ngrams.keys": w["ngrams.keys"].double()}),
        lambda w: w["ngrams.idf"][:1].fill_(np.nan),
        lambda w: w["ngrams.char_keys"].copy_(w["ngrams.char_keys"].flip(0)),
        lambda w: w["ngrams.char_keys"][:1].fill_(-1),
        lambda w: w["ngrams.char_idf"].resize_(2),
        lambda w: w.update({"ngrams.char_weight": w["ngrams.char_weight"].T.contiguous()}),
        lambda w: w["ngrams.char_weight"][:1].fill_(np.inf),
        lambda w: w.pop("ngrams.char_weight"),
        lambda w: w["scales"].fill_(np.inf),
        lambda w: w.pop("scales"),
    ],
)
def test_ngrams_must_be_sound(folder, edit):
    """Keys must rise, and all numbers must be finite."""
    change_weights(folder, edit)
    with pytest.raises(CorruptFileError, match=r"damaged: .*(ngrams|scales)"):
        TextClassifier.load(folder)


@pytest.mark.parametrize("name", ["nowhere", "file", "a\0b"])
def test_a_missing_folder_is_named(tmp_path, name):
    """The message has the path that may be mistyped, and both classes of errors catch it."""
    (tmp_path / "file").touch()
    with pytest.raises(MissingFileError, match=r"There is no folder '.*(nowhere|file|a\\x00b)'"):
        TextClassifier.load(tmp_path / name)
    assert issubclass(MissingFileError, FileNotFoundError)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "it has no config.json"),
        ({"README.md": "# Mine"}, "it has no config.json"),
        ({"config.json": '{"model_type": "bert"}'}, "its config.json is of another kind"),
        ({"config.json": "[1]"}, "its config.json is of another kind"),
    ],
)
def test_a_folder_of_another_kind_is_not_called_damaged(tmp_path, files, reason):
    """Nothing is wrong with it; it is not a model of this library."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CorruptFileError, match=rf"is not a model folder: {reason}\.$"):
        TextClassifier.load(tmp_path)


@pytest.mark.parametrize("name", sorted(FILES - {"README.md"}))
@pytest.mark.parametrize("damage", ["missing", "cut", "longer", "folder", "pipe"])
def test_damaged_files_are_named(folder, name, damage):
    """A missing, cut or longer file, a folder or a pipe gives one error at once."""
    path = folder / name
    data = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "longer":
        path.write_bytes(data + b"}")
    elif damage == "folder":
        path.mkdir()
    elif damage == "pipe":
        os.mkfifo(path)
    reason = rf"file '.*{name}' is damaged: "
    if (name, damage) == ("config.json", "missing"):
        reason = "is not a model folder"
    with pytest.raises(CorruptFileError, match=reason):
        TextClassifier.load(folder)


@pytest.mark.parametrize("name", sorted(FILES - {"README.md", "config.json"}))
def test_swapped_files_are_found(folder, tmp_path, name):
    """A file of another model of the same shape is refused."""
    texts = ["x y z w v u t s r q p o n"] * 8
    other = TextClassifier(
        hidden_size=6,
        embedding_size=5,
        pooling=("max", "mean", "last"),
        epochs=3,
        progress=False,
        tokenizer=WordTokenizer(lowercase=False),
    ).fit(texts, ["business", "sportx"] * 4, eval_set=(texts, ["business", "sportx"] * 4))
    other.save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / name, folder / name)
    with pytest.raises(CorruptFileError, match=r"it was changed since|and had .* when it was writ"):
        TextClassifier.load(folder)


def test_links_to_files_are_followed(folder, tmp_path):
    """Files may be links, as in a download cache."""
    for path in folder.iterdir():
        shutil.move(path, tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    assert TextClassifier.load(folder).classes_.tolist() == ["business", "sports"]


def test_a_read_only_folder_is_read(folder):
    """Loading writes nothing."""
    for path in folder.iterdir():
        path.chmod(stat.S_IRUSR)
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert TextClassifier.load(folder).classes_.tolist() == ["business", "sports"]
    finally:
        folder.chmod(stat.S_IRWXU)


def test_further_files_and_an_edited_card_do_no_harm(folder):
    """Other files and changes of the card are ignored."""
    (folder / "README.md").write_text("mine")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    assert TextClassifier.load(folder).classes_.tolist() == ["business", "sports"]


@pytest.mark.parametrize("version", [0, 2, 1.0, True, "1", None])
def test_an_unknown_version_is_refused(folder, version):
    """A folder of another format version is refused."""
    change(folder, "config.json", {"format_version": version})
    with pytest.raises(CorruptFileError, match=r"its format version is .*, and only 1 is"):
        TextClassifier.load(folder)


@pytest.mark.parametrize(
    ("name", "path", "update"),
    [
        ("config.json", (), {"more": 1}),
        ("config.json", (), {"network": []}),
        ("config.json", (), {"network": {}}),
        ("config.json", (), {"files": {}}),
        ("config.json", ("files",), {"../../etc/passwd": {"bytes": 1, "sha256": ""}}),
        ("config.json", (), {"weights": "int4"}),
        ("config.json", (), {"weights": ["fp32"]}),
        ("config.json", (), {"weights": "fp16"}),
        ("config.json", (), {"weights": "int8"}),
        ("config.json", ("network",), {"hidden_size": 10**9}),
        ("config.json", ("network",), {"hidden_size": 10**30}),
        ("config.json", ("network",), {"hidden_size": 7}),
        ("config.json", ("network",), {"hidden_size": -1}),
        ("config.json", ("network",), {"hidden_size": "6"}),
        ("config.json", ("network",), {"num_layers": 10**9}),
        ("config.json", ("network",), {"num_layers": 2}),
        ("config.json", ("network",), {"embedding_size": None}),
        ("config.json", ("network",), {"vocab_size": 10**9}),
        ("config.json", ("network",), {"num_classes": 3}),
        ("config.json", ("network",), {"bidirectional": 1}),
        ("config.json", ("network",), {"bidirectional": False}),
        ("config.json", ("network",), {"cell": "lstm"}),
        ("config.json", ("network",), {"cell": ["gru"]}),
        ("config.json", ("network",), {"pooling": "mean"}),
        ("config.json", ("network",), {"pooling": ["max"] * 3}),
        ("config.json", ("network",), {"pooling": ["max", "attention"]}),
        ("config.json", ("network",), {"dropout": 1e300}),
        ("config.json", ("network",), {"padding_id": 10**9}),
        ("config.json", ("network",), {"unheard_of": 1}),
        ("labels.json", (), {"labels": ["business"]}),
        ("labels.json", (), {"labels": ["business", "sports", "more"]}),
        ("labels.json", (), {"labels": ["business", "business"]}),
        ("labels.json", (), {"labels": [None, "sports"]}),
        ("labels.json", (), {"multi_label": "no"}),
        ("tokenizer.json", (), {"type": "os.system"}),
        ("tokenizer.json", (), {"type": ["WordTokenizer"]}),
        ("tokenizer.json", (), {"options": {"lowercase": 1, "remove_punctuation": True}}),
        ("tokenizer.json", (), {"options": None}),
        ("training.json", (), {"settings": {}}),
        ("training.json", (), {"settings": 3}),
        ("training.json", (), {"parameters": {}}),
        ("training.json", (), {"data": {}}),
        ("training.json", ("settings",), {"more": 1}),
        ("training.json", ("settings",), {"max_length": 10**30}),
        ("training.json", ("settings",), {"max_length": "400"}),
        ("training.json", ("settings",), {"cell": {"a": 1}}),
        ("training.json", ("parameters",), {"__class__": "x"}),
        ("training.json", ("parameters",), {"device": "cuda"}),
        ("training.json", ("parameters",), {"class_weight": {"by_label": [["sports"]]}}),
        ("training.json", ("parameters",), {"class_weight": {"by_label": [[[], [1]]]}}),
        ("training.json", ("parameters",), {"class_weight": {"by_label": [[{}, 1]]}}),
        ("training.json", ("parameters",), {"pooling": [["max"]]}),
        ("training.json", ("data",), {"train_texts": "32"}),
        ("training.json", ("data",), {"unlabelled_texts": "16"}),
        ("training.json", ("data",), {"vectors": "glove.txt"}),
        ("training.json", ("data",), {"vectors": {"file": "glove.txt"}}),
        ("training.json", ("data",), {"vectors": {"file": 3, "size": 5, "coverage": 1.0}}),
        ("training.json", ("data",), {"vectors": {"file": "x" * 1001, "size": 5, "coverage": 1}}),
        ("training.json", ("data",), {"vectors": {"file": "x", "size": 0, "coverage": 1.0}}),
        ("training.json", ("data",), {"vectors": {"file": "x", "size": 5, "coverage": 1.5}}),
        ("config.json", ("ngrams",), {"vector_size": -1}),
        ("config.json", ("ngrams",), {"vector_size": 3}),
        ("config.json", ("ngrams",), {"vector_size": 5}),
        ("training.json", ("data",), {"label_counts": [1]}),
        ("training.json", ("data",), {"label_counts": [1, "1"]}),
        ("training.json", ("data",), {"more": 1}),
        ("metrics.json", (), {"accuracy": "high"}),
        ("metrics.json", (), {"accuracy": True}),
        ("metrics.json", (), {"accuracy": 10**400}),
        ("metrics.json", (), {"<script>alert(1)</script>": 0.5}),
        ("metrics.json", (), {"a" * 101: 0.5}),
        ("metrics.json", (), {f"metric_{i}": 0.5 for i in range(101)}),
        ("labels.json", (), {"labels": ["business", 10**400]}),
        ("labels.json", (), {"labels": ["business", "s" * 10_001]}),
        ("labels.json", (), {"labels": ["business", ["s"] * 10_001]}),
        ("training.json", ("settings",), {"epochs": 10**400}),
        ("training.json", ("settings",), {"epochs": 0}),
        ("training.json", ("settings",), {"epochs": None}),
        ("training.json", ("settings",), {"dropout": -0.5}),
        ("training.json", ("settings",), {"pooling": "<script>"}),
        ("training.json", ("settings",), {"pooling": ["max", "<script>"]}),
        ("training.json", ("settings",), {"<script>": 1}),
        ("training.json", ("parameters",), {"threshold": -0.5}),
        ("training.json", ("parameters",), {"threshold": "0.5"}),
        ("training.json", ("parameters",), {"threshold": {"by_label": [["sports", 1.5]]}}),
        ("training.json", ("parameters",), {"threshold": {"by_label": [["weather", 0.5]]}}),
        ("training.json", ("parameters",), {"class_weight": {"by_label": [["sports", -1]]}}),
        ("training.json", ("parameters",), {"hidden_size": -3}),
        ("training.json", ("parameters",), {"cell": "tanh"}),
        ("training.json", ("data",), {"train_texts": -1}),
        ("training.json", ("data",), {"coverage": 10**400}),
        ("training.json", ("data",), {"mean_words": 1e300}),
        ("training.json", ("data",), {"stopped": "x" * 1001}),
        ("training.json", ("data",), {"label_counts": [-1, 1]}),
        ("vocabulary.json", (), {"format": 2}),
        ("vocabulary.json", ("words",), {"new": 1}),
        ("vocabulary.json", ("words",), {"oil": -1}),
    ],
)
def test_every_lie_is_found(folder, name, path, update):
    """Each value is checked even if the checksums are right."""
    change(folder, name, update, path)
    with pytest.raises(CorruptFileError, match=DAMAGE) as caught:
        TextClassifier.load(folder)
    assert_same_without_torch(folder, caught.value)


@pytest.mark.parametrize(
    "text", ["[]", "3", "null", "{}", "[{}, 3]", "NaN", '{"a": 1, "a": 1}', ""]
)
@pytest.mark.parametrize("name", sorted(FILES - {"README.md", "model.safetensors"}))
def test_other_json_is_refused(folder, name, text):
    """Valid JSON of another form is refused."""
    (folder / name).write_text(text)
    if name != "config.json":
        seal(folder)
    if (name, text) in {("metrics.json", "{}"), ("history.json", "[]")}:
        assert TextClassifier.load(folder).classes_.tolist() == ["business", "sports"]
        return
    with pytest.raises(CorruptFileError, match=f"{DAMAGE}|is not a model folder"):
        TextClassifier.load(folder)


def test_json_that_is_too_long_is_not_parsed(folder, monkeypatch):
    """The size is checked before parsing."""
    monkeypatch.setattr("textrnn.runtime.folder._MAX_BYTES", 1000)
    with pytest.raises(CorruptFileError, match="it is longer than 1000 bytes"):
        TextClassifier.load(folder)


def test_values_are_counted_before_they_are_parsed(folder):
    """Each empty list of a short file would take many times its bytes."""
    config = read(folder / "config.json")
    for name, number in (("vocabulary.json", config["network"]["vocab_size"]), ("history.json", 0)):
        shutil.copytree(folder, folder.with_name(name))
        many = 2 * number + 2**17 if name == "vocabulary.json" else 2**20
        (folder.with_name(name) / name).write_text("[" + "[]," * many + "[]]")
        seal(folder.with_name(name))
        with pytest.raises(CorruptFileError, match=r"it holds more than [0-9]+ values"):
            TextClassifier.load(folder.with_name(name))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", lambda text: {**text, **{f"<{i}>": 1 for i in range(10**5)}}),
        ("config.json", lambda text: {**text, "network": [[[["x" * 99] * 9] * 9] * 9] * 9}),
        ("config.json", lambda text: {**text, "format_version": "9" * 10**6}),
        ("labels.json", lambda text: dict.fromkeys(map(str, range(10**5)), text)),
        ("tokenizer.json", lambda text: {**text, "type": "x" * 10**6}),
        ("training.json", lambda text: {**text, "data": {"x" * 10**6: 1}}),
        ("metrics.json", lambda _: {"x" * 10**6: 1}),
        ("metrics.json", lambda _: [[["x" * 999] * 99] * 9]),
    ],
)
def test_messages_about_files_are_short(folder, name, content):
    """However long what is wrong is, the message fits on a screen."""
    (folder / name).write_text(json.dumps(content(read(folder / name))))
    if name != "config.json":
        seal(folder)
    with pytest.raises(CorruptFileError) as caught:
        TextClassifier.load(folder)
    assert len(str(caught.value)) < 1000


def test_a_message_of_the_weights_parser_is_short(folder):
    """It repeats what the header has, and that may be long."""
    text = json.dumps({"w": {"dtype": "F" * 10**5, "shape": [1], "data_offsets": [0, 4]}}).encode()
    path = folder / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(path.stat().st_size))
    seal(folder)
    with pytest.raises(CorruptFileError, match="it is not in the safetensors format") as caught:
        TextClassifier.load(folder)
    assert len(str(caught.value)) < 1000


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs files that the system makes")
@pytest.mark.parametrize("name", sorted(FILES - {"README.md"}))
def test_links_to_what_the_system_makes_up_are_refused(folder, name):
    """Such a file has no size, and reading some of them never ends."""
    for target in ("/proc/version", "/proc/kmsg", "/proc/self/mem", "/dev/zero"):
        (folder / name).unlink()
        (folder / name).symlink_to(target)
        with pytest.raises(CorruptFileError, match="damaged"):
            TextClassifier.load(folder)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_weights_must_be_finite(folder, number):
    """NaN and infinity are refused."""
    change_weights(
        folder, lambda weights: weights["recurrent.embedding.weight"][1, 1:].fill_(number)
    )
    with pytest.raises(
        CorruptFileError, match=r"'recurrent.embedding.weight' is not made of finite"
    ):
        TextClassifier.load(folder)


@pytest.mark.parametrize("number", [3e38, -1e10])
def test_weights_must_not_make_answers_infinite(folder, number):
    """Sums of finite numbers may be infinite, and their differences NaN."""
    change_weights(folder, lambda w: w["recurrent.embedding.weight"][1, 1:].fill_(number))
    with pytest.raises(CorruptFileError, match=r"embedding.weight' has numbers beyond 1e\+09"):
        TextClassifier.load(folder)


@pytest.mark.parametrize(
    "edit",
    [
        lambda w: w.update(
            {"recurrent.embedding.weight": w["recurrent.embedding.weight"].double()}
        ),
        lambda w: w.update(
            {"recurrent.embedding.weight": w["recurrent.embedding.weight"][:, :4].clone()}
        ),
        lambda w: w.update({"recurrent.embedding.weight": torch.zeros(0, 10**15)}),
        lambda w: w.pop("recurrent.embedding.weight"),
        lambda w: w.clear(),
        lambda w: w.update({"more": torch.zeros(1)}),
    ],
)
def test_weights_must_be_the_networks_own(folder, edit):
    """Other types or shapes, missing or additional tensors are refused."""
    change_weights(folder, edit)
    with pytest.raises(CorruptFileError, match="damaged"):
        TextClassifier.load(folder)


@pytest.mark.parametrize(
    "header",
    [
        {
            "recurrent.embedding.weight": {
                "dtype": "F32",
                "shape": [10**9, 10**9],
                "data_offsets": [0, 4],
            }
        },
        {"recurrent.embedding.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 10**18]}},
        {"recurrent.embedding.weight": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"recurrent.embedding.weight": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}},
        {"recurrent.embedding.weight": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}},
        {"recurrent.embedding.weight": 3},
        [],
    ],
)
def test_a_lying_header_allocates_nothing(folder, header):
    """Sizes beyond the file are refused."""
    text = json.dumps(header).encode()
    path = folder / "model.safetensors"
    data = len(text).to_bytes(8, "little") + text
    path.write_bytes(data.ljust(path.stat().st_size, b"\0"))
    seal(folder)
    with pytest.raises(CorruptFileError, match=r"it is not in the safetensors format|not made of"):
        TextClassifier.load(folder)


def test_a_header_longer_than_the_file_is_refused(folder):
    """The length in the first eight bytes is checked."""
    path = folder / "model.safetensors"
    path.write_bytes((2**62).to_bytes(8, "little").ljust(path.stat().st_size, b" "))
    seal(folder)
    with pytest.raises(CorruptFileError, match="it is not in the safetensors format"):
        TextClassifier.load(folder)


def assert_same_without_torch(folder, error=None):
    """Read a folder without PyTorch, which checks all but the facts about training."""
    try:
        read_folder(folder, tokenizer=None)
    except TextrnnError as found:
        assert (type(found), str(found)) == (type(error), str(error))  # noqa: PT017 - as above
    else:
        assert error is None or re.search(r"(history|training)\.json' is damaged", str(error))


def sound_or_corrupt(folder):
    """Load a changed folder, which is refused or works like any other model."""
    try:
        classifier = TextClassifier.load(folder, device="cpu")
    except (CorruptFileError, InvalidValueError) as error:
        if not isinstance(error, CorruptFileError):  # a tokenizer that is claimed to be custom
            assert "`tokenizer`" in str(error)  # noqa: PT017 - only one of the two outcomes raises
        assert_same_without_torch(folder, error)
        return None
    assert_same_without_torch(folder)
    probabilities = classifier.predict_proba(PROBE)
    assert np.isfinite(probabilities).all()
    classifier.save(folder.parent / "again")
    return classifier


@given(st.data())
def test_no_flipped_byte_goes_unnoticed(tmp_path_factory, data):
    """Without new checksums, only changes without effect load."""
    folder = Path(shutil.copytree(MODEL, tmp_path_factory.mktemp("x") / "model"))
    path = folder / data.draw(st.sampled_from(sorted(FILES - {"README.md"})))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    classifier = sound_or_corrupt(folder)
    if classifier is not None:
        assert path.name == "config.json"
        expected = read(PREDICTIONS)["probabilities"]
        np.testing.assert_allclose(classifier.predict_proba(PROBE), expected, atol=1e-6)


@given(st.data())
def test_sealed_bytes_never_break_the_reader(tmp_path_factory, data):
    """Any bytes with a right checksum give one error or a valid model."""
    folder = Path(shutil.copytree(MODEL, tmp_path_factory.mktemp("x") / "model"))
    path = folder / data.draw(st.sampled_from(sorted(FILES - {"README.md", "config.json"})))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        new = data.draw(st.binary(max_size=8))
        content[place : place + data.draw(st.integers(0, 8))] = new
        content = content or bytearray(b"\0")
    path.write_bytes(content)
    seal(folder)
    sound_or_corrupt(folder)


@given(st.data())
def test_sealed_json_never_breaks_the_reader(tmp_path_factory, data):
    """Replaced, dropped or doubled values give one error or a valid model."""
    folder = Path(shutil.copytree(MODEL, tmp_path_factory.mktemp("x") / "model"))
    path = folder / data.draw(st.sampled_from(sorted(FILES - {"README.md", "model.safetensors"})))
    mutated = data.draw(strategies.mutations(read(path)))
    path.write_text(json.dumps(mutated))
    if path.name != "config.json":
        seal(folder)
    sound_or_corrupt(folder)
