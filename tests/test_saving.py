"""The folder of a saved classifier: round trips, and how it is replaced."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from tests.models import FILES, MODEL, PREDICTIONS, PROBE, fit, read, seal
from textrnn import TextClassifier, WordTokenizer
from textrnn._storage import NewFolder, writing
from textrnn.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    TextrnnError,
)
from textrnn.text import WordPunctTokenizer


@pytest.fixture(scope="module", name="classifier")
def _classifier():
    return TextClassifier.load(MODEL, device="cpu")


@pytest.fixture(name="folder")
def _folder(tmp_path):
    return Path(shutil.copytree(MODEL, tmp_path / "model"))


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


def test_a_long_label_takes_no_space_for_the_others(tmp_path):
    """An array of strings would pad each answer to the longest label."""
    saved = fit(labels=("a", "b" * 10_000))
    saved.save(tmp_path / "model")
    loaded = TextClassifier.load(tmp_path / "model")
    assert loaded.classes_.tolist() == ["a", "b" * 10_000]
    assert loaded.classes_.dtype == object
    assert loaded.predict(["oil"] * 1000).nbytes == 8000


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
