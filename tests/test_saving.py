"""The folder of a saved classifier: round trips, damage and attacks."""

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests import strategies
from textrnn import TextClassifier, WordTokenizer
from textrnn._storage import NewFolder, writing
from textrnn.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
    TextrnnError,
)
from textrnn.runtime.folder import read_folder
from textrnn.text import WordPunctTokenizer

MODEL = Path(__file__).parent / "fixtures" / "model"
PREDICTIONS = MODEL.with_name("model_predictions.json")
PROBE = ["oil falls", "the keeper scores", "", "weather"]
FILES = {
    "README.md",
    "config.json",
    "history.json",
    "labels.json",
    "metrics.json",
    "model.safetensors",
    "tokenizer.json",
    "training.json",
    "vocabulary.json",
}
DAMAGE = "damaged"


def fit(texts=("oil prices", "the striker scores"), labels=("a", "b"), **params):
    """Return a tiny classifier."""
    params = {"hidden_size": 4, "epochs": 2, "device": "cpu", "progress": False} | params
    many = np.tile(labels, (4, 1)) if isinstance(labels, np.ndarray) else list(labels) * 4
    return TextClassifier(**params).fit(list(texts) * 4, many)


@pytest.fixture(scope="module", name="classifier")
def _classifier():
    return TextClassifier.load(MODEL, device="cpu")


@pytest.fixture(name="folder")
def _folder(tmp_path):
    return Path(shutil.copytree(MODEL, tmp_path / "model"))


def read(path):
    """Return what a JSON file holds."""
    return json.loads(path.read_text())


def seal(folder):
    """Update the sizes and checksums of all files, as an attacker would."""
    config = read(folder / "config.json")
    for name in FILES & config["files"].keys():
        entry = config["files"][name]
        data = (folder / name).read_bytes()
        entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (folder / "config.json").write_text(json.dumps(config))


def change(folder, name, update, path=()):
    """Update an object in a JSON file, and seal the folder."""
    data = read(folder / name)
    part = data
    for key in path:
        part = part[key]
    part.update(update)
    (folder / name).write_text(json.dumps(data))
    seal(folder)


def change_weights(folder, edit):
    """Edit the tensors of a folder, and seal it."""
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors")
    seal(folder)


@pytest.mark.parametrize(
    "params",
    [{"pooling": ("max", "last")}, {"pooling": "attention", "ngram_order": 0}, {"spelling": False}],
)
def test_a_saved_classifier_comes_back(tmp_path, params):
    """Predictions are the same to the bit, and attributes are equal."""
    saved = fit(**params, class_weight={"a": 2}, threshold=0.4, seed=np.int64(7))
    saved.save(tmp_path / "model")
    loaded = TextClassifier.load(tmp_path / "model", device="cpu")
    assert (loaded.predict_proba(PROBE) == saved.predict_proba(PROBE)).all()
    assert loaded.classes_.tolist() == saved.classes_.tolist()
    assert loaded.vocabulary_ == saved.vocabulary_
    assert loaded.history_ == saved.history_
    assert loaded.metrics_ == saved.metrics_
    assert loaded.settings_ == saved.settings_
    unsaved = {"device", "num_threads", "progress", "tokenizer"}
    params = saved.get_params()
    assert {k: v for k, v in loaded.get_params().items() if k not in unsaved} == {
        k: v for k, v in params.items() if k not in unsaved
    }
    assert {entry.name for entry in (tmp_path / "model").iterdir()} == FILES
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("labels", [("a", "b"), (["a"], ["b"])])
@pytest.mark.parametrize("weights", ["fp16", "int8"])
def test_a_smaller_file_predicts_nearly_the_same(tmp_path, weights, labels):
    """Half and a third of the bytes; the card tells what that costs on the validation texts."""
    texts = [f"{word} {number}" for number in range(60) for word in ("oil", "goal")]
    params = {"hidden_size": 16, "embedding_size": 64, "epochs": 1, "device": "cpu"}
    saved = TextClassifier(**params, progress=False).fit(texts, list(labels) * 60)
    saved.save(tmp_path / "exact")
    saved.save(tmp_path / "small", weights=weights)
    small = TextClassifier.load(tmp_path / "small", device="cpu")
    shift = abs(small.predict_proba(texts) - saved.predict_proba(texts)).max()
    assert 0 < shift < 0.01
    assert {param.dtype for param in small.network_.parameters()} == {torch.float32}
    exact = (tmp_path / "exact" / "model.safetensors").stat().st_size
    bound = {"fp16": 0.6, "int8": 0.45}[weights]
    assert (tmp_path / "small" / "model.safetensors").stat().st_size < bound * exact
    card = (tmp_path / "small" / "README.md").read_text()
    pattern = (
        r"0 of 12 predictions on the validation texts changed, and no probability by more than"
    )
    told = re.search(rf"{pattern} ([\d.e-]+)\.", card)
    assert 0 < float(told[1]) <= 0.01
    assert "## Weights" not in (tmp_path / "exact" / "README.md").read_text()


def test_the_cost_of_a_smaller_file_may_be_unknown(folder, tmp_path):
    """A loaded model has no validation texts."""
    TextClassifier.load(folder, device="cpu").save(tmp_path / "small", weights="int8")
    card = (tmp_path / "small" / "README.md").read_text()
    assert "What that costs was not measured, without validation texts." in card


def test_unknown_weights_are_refused(classifier, tmp_path):
    """Nothing is written then."""
    message = "Expected `weights` to be one of 'fp32', 'fp16', 'int8', but got 'int4'"
    with pytest.raises(InvalidValueError, match=message):
        classifier.save(tmp_path / "model", weights="int4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "labels",
    [("a", "b\0"), ("\ud800", "\n"), (3, 1), (False, True), (0.5, 2), (("x", 1), ("y", 2))],
)
def test_labels_come_back_as_they_were(tmp_path, labels):
    """Strings, numbers and tuples keep their types."""
    saved = fit(labels=labels)
    saved.save(tmp_path / "model")
    loaded = TextClassifier.load(tmp_path / "model")
    assert loaded.predict(PROBE).tolist() == saved.predict(PROBE).tolist()
    assert list(map(type, loaded.classes_.tolist())) == list(map(type, saved.classes_.tolist()))


def test_multi_label_comes_back(tmp_path):
    """Lists stay lists, and a matrix stays a matrix."""
    for labels in ([["a"], ["b", "c"]], np.array([[1, 0], [1, 1]])):
        saved = fit(labels=labels)
        saved.save(tmp_path / "model")
        loaded = TextClassifier.load(tmp_path / "model")
        assert np.array_equal(
            np.array(loaded.predict(PROBE), dtype=object),
            np.array(saved.predict(PROBE), dtype=object),
        )


def test_loading_draws_nothing(folder):
    """Loading does not use the global generator."""
    before = torch.get_rng_state()
    TextClassifier.load(folder)
    assert torch.equal(before, torch.get_rng_state())


def test_a_loaded_classifier_learns_on(folder):
    """Continued training, saving and the card work after loading."""
    classifier = TextClassifier.load(folder, device="cpu")
    classifier.set_params(warm_start=True, epochs=1, progress=False)
    classifier.fit(["oil prices", "striker"], ["business", "sports"])
    classifier.save(folder)
    assert TextClassifier.load(folder).history_ == classifier.history_
    assert "| train" in (folder / "README.md").read_text()


def test_a_stored_folder_predicts_what_it_did_when_it_was_written(classifier):
    """A folder in the repository loads with all its parts."""
    expected = read(PREDICTIONS)
    found = classifier.predict_proba(expected["texts"])
    np.testing.assert_allclose(found, expected["probabilities"], atol=1e-6)
    assert classifier.predict(expected["texts"][:2]).tolist() == ["business", "sports"]
    assert classifier.class_weight == {"sports": 1.5}
    assert classifier.pooling == ("max", "mean", "last")
    assert (classifier.preset, classifier.pretrain_epochs) == ("best", 3)
    assert classifier.data_["unlabelled_texts"] == 16
    assert classifier.network_.ngrams.max_order == 2
    assert classifier.network_.ngrams.num_char_ngrams > 100
    assert classifier.tokenizer_ == WordPunctTokenizer()
    card = (MODEL / "README.md").read_text()
    number = classifier.network_.ngrams.num_char_ngrams
    assert f"n-grams of up to 2 words and {number} character n-grams of words, trained" in card
    assert "all other words differ by their spelling alone" in card
    assert "| texts without labels, to pretrain on | 16 |" in card


def test_loading_does_not_wait_for_the_compiler():
    """Loading does not import PyTorch's compiler."""
    program = (
        "import sys; from textrnn import TextClassifier;"
        f"print(TextClassifier.load({str(MODEL)!r}).predict(['oil soars'])[0],"
        "'torch._dynamo' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)  # noqa: S603, PLW1510 - our own program, whose output tells
    assert run.stdout.split() == ["business", "False"], run.stderr


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


def test_the_card_tells_a_person_what_the_model_is(tmp_path):
    """The card has labels, data, metrics, settings and use, in valid tables."""
    texts, labels = ["oil prices", "the striker scores"] * 4, ["a|b\n*c*", "plain"] * 4
    params = {"hidden_size": 4, "epochs": 2, "device": "cpu", "progress": False}
    classifier = TextClassifier(**params).fit(texts, labels, eval_set=(texts, labels))
    classifier.save(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: textrnn\npipeline_tag: text-classification\n")
    assert "| a\\|b\\\\n\\*c\\* | 4 |" in card
    assert f"| accuracy | {classifier.metrics_['accuracy']:.4f} |" in card
    assert "| training texts | 8 |" in card
    assert "| `epochs` | 2 |" in card
    assert 'TextClassifier.load("this/folder")' in card
    assert f"PyTorch {torch.__version__}" in card
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert all(line.endswith(" |") for line in rows)


def test_the_card_of_a_model_without_measures_says_so(tmp_path):
    """Without metrics the card has none."""
    fit(labels=[["a"], ["b"]]).save(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Nothing was measured" in card
    assert "any number of labels out of 2" in card


def test_the_card_lists_the_first_labels_only(tmp_path):
    """A long list of labels is cut."""
    texts = [f"word{i}" for i in range(60)]
    TextClassifier(hidden_size=2, epochs=1, progress=False).fit(texts, range(60)).save(
        tmp_path / "model"
    )
    card = (tmp_path / "model" / "README.md").read_text()
    assert "and 10 more, all of them in `labels.json`" in card


def test_a_custom_tokenizer_is_not_written(tmp_path):
    """A function is left out only on request, and needed for loading."""
    classifier = fit(tokenizer=str.split)
    with pytest.raises(InvalidTypeError, match="`tokenizer` to be one of this library, which"):
        classifier.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    classifier.save(tmp_path / "model", custom_tokenizer=True)
    with pytest.raises(InvalidValueError, match=r"without its own \('str.split'\), but got None"):
        TextClassifier.load(tmp_path / "model")
    loaded = TextClassifier.load(tmp_path / "model", tokenizer=str.split)
    assert (loaded.predict_proba(PROBE) == classifier.predict_proba(PROBE)).all()
    assert (
        'TextClassifier.load("this/folder", tokenizer=tokenizer)'
        in (tmp_path / "model" / "README.md").read_text()
    )


def test_a_tokenizer_that_is_not_the_models_own_is_refused(tmp_path):
    """Another tokenizer would give wrong predictions."""
    fit(tokenizer=WordTokenizer(lowercase=False)).save(tmp_path / "model")
    own = WordTokenizer(lowercase=False)
    assert TextClassifier.load(tmp_path / "model").tokenizer_ == own
    assert TextClassifier.load(tmp_path / "model", tokenizer=own).tokenizer_ == own
    with pytest.raises(InvalidValueError, match="`tokenizer` to be the model's own"):
        TextClassifier.load(tmp_path / "model", tokenizer=WordTokenizer())


def test_labels_and_parameters_that_json_lacks_are_refused(tmp_path):
    """Nothing is left behind after an error."""
    with pytest.raises(InvalidTypeError, match="`label` to be a string, a number or a tuple"):
        fit(labels=[frozenset("a"), frozenset("b")]).save(tmp_path / "model")
    classifier = fit()
    classifier.threshold = object()
    with pytest.raises(InvalidTypeError, match="`threshold` to be a value that can be written"):
        classifier.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_saving_replaces_a_model_and_nothing_else(tmp_path, classifier):
    """A folder with other files is left alone."""
    target = tmp_path / "a" / "model"
    classifier.save(target)
    classifier.save(target)
    (target / "notes.txt").write_text("mine")
    with pytest.raises(InvalidValueError, match=r"with nothing but a saved model, but .*notes.txt"):
        classifier.save(target)
    assert (target / "notes.txt").read_text() == "mine"
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InvalidValueError, match="`path` to be a new or empty folder"):
        classifier.save(file)
    (tmp_path / "empty").mkdir()
    classifier.save(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "labels.json").write_text("{}")
    with pytest.raises(InvalidValueError, match="a saved model"):
        classifier.save(tmp_path / "other")


def test_saving_follows_a_link(tmp_path, classifier):
    """The link stays, and its target is replaced."""
    classifier.save(tmp_path / "model")
    (tmp_path / "link").symlink_to("model")
    classifier.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert TextClassifier.load(tmp_path / "link").classes_.tolist() == ["business", "sports"]


@pytest.mark.parametrize("failing", ["exchange", "first rename", "second rename", "write"])
def test_a_save_that_fails_leaves_the_old_model(folder, classifier, monkeypatch, failing):
    """Whichever step breaks, the old model is unchanged and nothing lies beside it."""
    before = {entry.name: entry.read_bytes() for entry in folder.iterdir()}
    rename, calls = Path.rename, []

    def broken(self, target):
        calls.append(target)
        # The first call of all is the trial that a folder can be renamed.
        if len(calls) == {"first rename": 2, "second rename": 3}.get(failing):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    full = mock.Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr(Path, "rename", broken)
    if failing == "exchange":
        monkeypatch.setattr(writing, "_replace", full)
    elif failing == "write":
        monkeypatch.setattr(NewFolder, "write_json", full)
    else:
        monkeypatch.setattr(writing, "_exchange", lambda *_: False)
    with pytest.raises(OSError, match="No space left"):
        classifier.save(folder)
    monkeypatch.undo()
    assert {entry.name: entry.read_bytes() for entry in folder.iterdir()} == before
    assert [entry.name for entry in folder.parent.iterdir()] == ["model"]


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


@pytest.mark.parametrize("name", ["parameters", "settings"])
def test_a_later_version_reads_the_folder_of_an_earlier_one(folder, name):
    """An option that the folder lacks has its default; one that predictions need is not left out.

    The fixture's preset is "best", and it has 16 texts without labels.
    """
    needed = {"parameters": "threshold", "settings": "max_length"}[name]
    training = read(folder / "training.json")
    training[name] = {needed: training[name][needed]}
    (folder / "training.json").write_text(json.dumps(training))
    seal(folder)
    before = TextClassifier.load(MODEL, device="cpu")
    loaded = TextClassifier.load(folder, device="cpu")
    assert (loaded.predict_proba(PROBE) == before.predict_proba(PROBE)).all()
    defaults = TextClassifier(device="cpu").get_params()
    if name == "parameters":
        assert loaded.get_params() == {**defaults, needed: before.threshold}
        assert loaded.settings_ == before.settings_
    else:
        assert loaded.get_params() == before.get_params()
        assert loaded.settings_.keys() == before.settings_.keys()
        assert loaded.settings_["max_length"] == before.settings_["max_length"]
        assert loaded.settings_["pretrain_epochs"] == before.pretrain_epochs == 3
        assert loaded.settings_["min_freq"] == 1
        assert loaded.settings_["weight_decay"] == 0.01
    loaded.save(folder)
    del training[name][needed]
    (folder / "training.json").write_text(json.dumps(training))
    seal(folder)
    with pytest.raises(CorruptFileError, match=f"damaged: `{name}` has no '{needed}'"):
        TextClassifier.load(folder)


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


def test_a_long_label_takes_no_space_for_the_others(tmp_path):
    """An array of strings would pad each answer to the longest label."""
    saved = fit(labels=("a", "b" * 10_000))
    saved.save(tmp_path / "model")
    loaded = TextClassifier.load(tmp_path / "model")
    assert loaded.classes_.tolist() == ["a", "b" * 10_000]
    assert loaded.classes_.dtype == object
    assert loaded.predict(["oil"] * 1000).nbytes == 8000


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


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e30])
def test_what_can_not_be_loaded_is_not_saved(folder, number):
    """The model that was there before is intact."""
    before = {entry.name: entry.read_bytes() for entry in folder.iterdir()}
    classifier = TextClassifier.load(folder, device="cpu")
    with torch.no_grad():
        classifier.network_.recurrent.embedding.weight[1, 1] = number
    message = "one that can be loaded again, but got: 'recurrent.embedding.weight' (is not|has)"
    with pytest.raises(InvalidValueError, match=message):
        classifier.save(folder)
    assert {entry.name: entry.read_bytes() for entry in folder.iterdir()} == before
    assert [entry.name for entry in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("labels", [("a", 10**400), ("a", ((((((((("b",),),),),),),),),))])
def test_labels_that_can_not_be_loaded_are_not_saved(tmp_path, labels):
    """Integers beyond all floats and tuples in tuples are not read, so they are not written."""
    with pytest.raises(TextrnnError):
        fit(labels=labels).save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_parameters_that_can_not_be_loaded_are_not_saved(tmp_path):
    """A parameter out of range is found when the classifier is saved, not when it is loaded."""
    classifier = fit()
    classifier.set_params(hidden_size=-3)
    with pytest.raises(InvalidValueError, match="`hidden_size` to be a positive integer"):
        classifier.save(tmp_path / "model")


def test_the_card_escapes_what_a_terminal_or_a_browser_obeys(tmp_path):
    """A label is text, whatever characters it has."""
    fit(labels=("\x1b[2Jgone", "<script>alert(1)</script>")).save(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "\x1b" not in card
    assert "\\x1b" in card
    assert "\\<script>" in card
    assert card.count("<script>") == card.count("\\<script>")


def test_the_card_shortens_long_labels(tmp_path):
    """One label of thousands of characters does not hide the others."""
    fit(labels=("short", "x" * 9000)).save(tmp_path / "model")
    assert len((tmp_path / "model" / "README.md").read_text()) < 5000


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
