"""Predictions without PyTorch equal those of `TextClassifier`."""

import json
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import strategies
from textrnn import TextClassifier, runtime
from textrnn.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    MissingDependencyError,
    MissingFileError,
    MissingKeyError,
)
from textrnn.estimator.fit_report import FitReport
from textrnn.estimator.model import Model
from textrnn.estimator.settings import Data, choose_settings
from textrnn.ngrams import BlendedClassifier, NgramClassifier
from textrnn.nn import RecurrentClassifier
from textrnn.runtime.labels import LabelSet
from textrnn.text import Vocabulary, WordPunctTokenizer, WordTokenizer
from textrnn.training import History

ROOT = Path(__file__).parents[1]
MODEL = Path(__file__).parent / "fixtures" / "model"
BACKENDS = ["numpy", *["onnx"] * (find_spec("onnxruntime") is not None)]
PROBE = ["oil falls", "the keeper scores", "", "weather"]
WORDS = "abcdefghijkl"
TRAINING_ONLY = ["nltk", "safetensors", "tqdm", "torch"]
UNUSED = ["concurrent.futures.process", "multiprocessing", "textrnn.data", "textrnn.text.vectors"]
DATA = {
    "columns": None,
    "coverage": 1.0,
    "cut_texts": 0,
    "eval_given": False,
    "eval_texts": 0,
    "mean_words": 3.0,
    "stopped": None,
    "train_texts": 9,
    "unlabelled_texts": 0,
    "vectors": None,
}


@st.composite
def classifiers(draw):
    """Draw a classifier of any configuration with random weights."""
    network, ngrams = draw(strategies.configurations(max_size=9))
    kind = draw(st.sampled_from(["one", "lists", "matrix"]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    model = RecurrentClassifier.from_config(network, generator=generator)
    size, classes = network["vocab_size"], network["num_classes"]
    if ngrams is not None:
        linear = NgramClassifier.from_config(ngrams)
        every = size + size**2 * (ngrams["max_order"] > 1) - 4
        chosen = torch.randperm(every, generator=generator)[: ngrams["num_ngrams"]].sort().values
        linear.keys[: len(chosen)] = chosen + 4
        linear.keys[len(chosen) :] = size**3 + torch.arange(ngrams["num_ngrams"] - len(chosen))
        linear.idf.copy_(torch.rand(linear.idf.shape, generator=generator) + 1)
        linear.weight.data.copy_(torch.randn(linear.weight.shape, generator=generator) * 4)
        model = BlendedClassifier(model, linear)
        model.scales.copy_(torch.rand(2, generator=generator))
        model = draw(st.sampled_from([model, linear]))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.5)
    params = {"max_length": draw(st.sampled_from([3, 5, 1000])), "device": "cpu"}
    params["threshold"] = draw(st.sampled_from([0.5, 0.3, {0: 0.6}]))
    classifier = TextClassifier(**params)
    classifier._fitted = Model(
        network=model.eval(),
        vocabulary=Vocabulary(dict.fromkeys(WORDS[: size - 4], 1)),
        tokenizer=draw(st.sampled_from([WordTokenizer(), WordPunctTokenizer()])),
        labels=LabelSet(tuple(range(classes)), multi_label=kind != "one", matrix=kind == "matrix"),
        settings=choose_settings(classifier.get_params(), Data(9)),
        data={**DATA, "label_counts": [1] * classes},
        report=FitReport(texts=0),
        history=History(),
        metrics={},
    )
    return classifier


def texts():
    """Draw texts, some of them empty, of known and unknown words."""
    text = st.lists(st.sampled_from([*WORDS, "zz", "!"]), max_size=12).map(" ".join)
    return st.lists(text, max_size=6) | st.lists(text, min_size=30, max_size=40)


def assert_same(small, classifier, drawn):
    """Compare all predictions of two classifiers."""
    probabilities = classifier.predict_proba(drawn)
    found = small.predict_proba(drawn)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, probabilities, rtol=0, atol=1e-6)
    # Where two labels are as probable, rounding decides.
    limits = classifier._model().labels.thresholds(classifier.threshold)
    gaps = np.abs(np.diff(np.sort(probabilities, axis=1), axis=1))
    if classifier.multi_label_:
        gaps = np.abs(probabilities - limits)
    if not (gaps < 2e-6).any():
        answers, expected = small.predict(drawn), classifier.predict(drawn)
        assert type(answers) is type(expected)
        np.testing.assert_equal(answers, expected)
        if isinstance(expected, np.ndarray):
            assert answers.dtype == expected.dtype
            assert answers.shape == expected.shape
    for pairs, others in zip(small.top_k(drawn, 2), classifier.top_k(drawn, 2), strict=True):
        np.testing.assert_allclose([p for _, p in pairs], [p for _, p in others], atol=1e-6)


@settings(max_examples=60)
@given(classifiers(), st.sampled_from(["fp32", "fp16", "int8"]), texts())
def test_predictions_are_those_of_the_classifier(tmp_path_factory, saved, weights, drawn):
    """Labels, their containers and probabilities are equal in every configuration."""
    folder = tmp_path_factory.mktemp("model")
    saved.save(folder, weights=weights)
    classifier = TextClassifier.load(folder, device="cpu")
    for backend in BACKENDS:
        small = runtime.load(folder, backend=backend)
        assert_same(small, classifier, drawn)
        assert_same(small, classifier, [])
        assert_same(small, classifier, [""])
    assert small.classes_.tolist() == classifier.classes_.tolist()
    assert small.multi_label_ == classifier.multi_label_
    assert small.vocabulary_ == classifier.vocabulary_
    assert small.tokenizer_ == classifier.tokenizer_
    assert small.threshold == classifier.threshold


@pytest.mark.parametrize(
    ("labels", "params"),
    [
        (["a", "b"], {"spelling": True}),
        ([["a"], ["b", "c"]], {"threshold": {"a": 0.2}, "ngram_order": 0}),
        (np.array([[1, 0], [1, 1]]), {"cell": "lstm", "num_layers": 2}),
    ],
)
def test_a_fitted_classifier_is_carried_away(tmp_path, labels, params):
    """Its labels of every form, and thresholds in a call, give the same answers."""
    texts = ["oil prices soar", "the striker scores"] * 4
    many = np.tile(labels, (4, 1)) if isinstance(labels, np.ndarray) else list(labels) * 4
    classifier = TextClassifier(hidden_size=4, epochs=3, progress=False, device="cpu", **params)
    classifier.fit(texts, many).save(tmp_path)
    small = runtime.load(tmp_path)
    assert_same(small, classifier, PROBE)
    for threshold in (0.1, dict.fromkeys(classifier.classes_.tolist(), 0.9)):
        np.testing.assert_equal(
            small.predict(PROBE, threshold=threshold),
            classifier.predict(PROBE, threshold=threshold),
        )
    assert small.top_k(PROBE, 1, threshold=0.99) == classifier.top_k(PROBE, 1, threshold=0.99)


def test_a_custom_tokenizer_is_given(tmp_path):
    """It is not part of the folder, as for `TextClassifier.load`."""
    classifier = TextClassifier(hidden_size=2, epochs=1, progress=False, tokenizer=str.split)
    classifier.fit(["a b", "c"] * 4, [0, 1] * 4).save(tmp_path, custom_tokenizer=True)
    with pytest.raises(InvalidValueError, match="`tokenizer` to be given"):
        runtime.load(tmp_path)
    small = runtime.load(tmp_path, tokenizer=str.split)
    assert_same(small, classifier, ["a b", "c"])


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda c: c.predict("text"), InvalidTypeError),
        (lambda c: c.predict([1]), InvalidTypeError),
        (lambda c: c.predict_proba({"a"}), InvalidTypeError),
        (lambda c: c.top_k(["a"], 0), InvalidValueError),
        (lambda c: c.top_k(["a"], threshold=2), InvalidValueError),
    ],
)
def test_errors_are_those_of_the_classifier(call, error):
    """The same mistakes give the same messages."""
    with pytest.raises(error) as expected:
        call(TextClassifier.load(MODEL))
    with pytest.raises(error) as found:
        call(runtime.load(MODEL))
    assert str(found.value) == str(expected.value)


def test_thresholds_of_unknown_labels_are_refused(tmp_path):
    """A mistyped label is named."""
    TextClassifier(hidden_size=2, epochs=1, progress=False).fit(
        ["a", "b"] * 4, [["x"], ["y"]] * 4
    ).save(tmp_path)
    with pytest.raises(MissingKeyError, match="No label 'z'"):
        runtime.load(tmp_path).predict(["a"], threshold={"z": 0.5})


def test_a_missing_or_foreign_folder_is_named(tmp_path):
    """The errors are those of `TextClassifier.load`."""
    with pytest.raises(MissingFileError, match="There is no folder"):
        runtime.load(tmp_path / "nowhere")
    with pytest.raises(CorruptFileError, match=r"is not a model folder: it has no config\.json"):
        runtime.load(tmp_path)


def test_an_unknown_backend_is_named():
    """The message lists those that there are."""
    with pytest.raises(InvalidValueError, match="`backend` to be one of 'numpy', 'onnx'"):
        runtime.load(MODEL, backend="torch")


@pytest.mark.parametrize("backend", BACKENDS)
def test_copies_by_pickle_predict_the_same(backend):
    """Worker processes can be given a classifier, with either backend."""
    classifier = runtime.load(MODEL, backend=backend)
    copy = pickle.loads(pickle.dumps(classifier))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(copy.predict_proba(PROBE), classifier.predict_proba(PROBE))


def test_a_backend_without_its_package_names_the_extra(monkeypatch):
    """The default backend does not need it."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    runtime.load(MODEL)
    with pytest.raises(MissingDependencyError, match=r"pip install 'textrnn\[onnx\]'"):
        runtime.load(MODEL, backend="onnx")


def in_new_process(program, blocked=()):
    """Run a program in which some packages can't be imported, and return its JSON output."""
    block = f"import sys; sys.modules.update(dict.fromkeys({list(blocked)}));"
    run = subprocess.run(  # noqa: S603 - the program is ours
        [sys.executable, "-c", block + program],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


NAMES = [*TRAINING_ONLY, *UNUSED]
LOADED = f"print(json.dumps([found, [name for name in {NAMES} if name in sys.modules]]))"


@pytest.mark.parametrize("backend", BACKENDS)
def test_predictions_load_neither_pytorch_nor_worker_pools(backend):
    """Loading and predicting import NumPy and regex, and of this package two rooms."""
    program = (
        "import json, sys; from textrnn import runtime;"
        f"small = runtime.load({str(MODEL)!r}, backend={backend!r});"
        f"found = small.predict({PROBE!r}).tolist();" + LOADED
    )
    found, loaded = in_new_process(program)
    assert loaded == []
    assert found == TextClassifier.load(MODEL).predict(PROBE).tolist()
    assert in_new_process(program, blocked=TRAINING_ONLY)[0] == found


def test_importing_the_room_of_texts_is_cheap():
    """Its names bring neither worker pools nor word vectors along."""
    program = "import json, sys; from textrnn.text import Vocabulary, encode_texts;"
    assert in_new_process(program + "found = 1;" + LOADED) == [1, []]


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("from textrnn import TextClassifier", "torch"),
        ("from textrnn.estimator import TextClassifier", "torch"),
        ("from textrnn.data import WordDataset", "torch"),
        ("from textrnn.text import Vocabulary", "numpy"),
    ],
)
def test_a_missing_package_is_named(name, missing):
    """An import that needs PyTorch says how to install it, in one sentence."""
    program = (
        "import json\n"
        "try:\n"
        f"    {name}\n"
        "except ImportError as error:\n"
        "    print(json.dumps([type(error).__name__, str(error)]))\n"
    )
    kind, message = in_new_process(f"\n{program}", blocked=[missing])
    assert kind == "MissingDependencyError"
    assert f"needs `{missing}`, which is not installed: pip install {missing}." in message


@pytest.mark.parametrize(
    "arguments", [["predict", str(MODEL), "--proba"], ["predict", str(MODEL)], ["info", str(MODEL)]]
)
def test_the_command_line_predicts_without_pytorch(run_cli, arguments):
    """The commands `predict` and `info` give the same output where it can't be imported."""
    program = (
        "import contextlib, io, json, sys; from textrnn.cli import main\n"
        "sys.stdin = io.TextIOWrapper(io.BytesIO(b'oil falls\\nthe keeper scores\\n'))\n"
        "with contextlib.redirect_stdout(io.StringIO()) as output:\n"
        f"    code = main({arguments})\n"
        "found = [code, output.getvalue()];"
    )
    found, loaded = in_new_process(program + LOADED)
    assert set(loaded) <= {"textrnn.data"}  # which has the tables
    assert in_new_process(program + LOADED, blocked=TRAINING_ONLY)[0] == found
    code, output, errors = run_cli(*arguments, stdin="oil falls\nthe keeper scores\n")
    assert ([code, output], errors) == (found, "")


def test_many_texts_are_predicted_with_pytorch(run_cli, monkeypatch):
    """The command line changes over to it in the middle, with the model that was read first."""
    lines = "".join(f"{text}\n" for text in PROBE)
    expected = run_cli("predict", MODEL, "--proba", stdin=lines * 2)
    restored = []
    restore = TextClassifier._restore
    monkeypatch.setattr(
        TextClassifier, "_restore", lambda *a, **k: restored.append(1) or restore(*a, **k)
    )
    assert run_cli("predict", MODEL, "--proba", stdin=lines * 2) == expected
    assert not restored
    monkeypatch.setattr("textrnn.cli.predict._FEW_TEXTS", 5)
    _, output, _ = run_cli("predict", MODEL, "--proba", stdin=lines * 2)
    assert len(restored) == 1
    for line, other in zip(output.splitlines(), expected[1].splitlines(), strict=True):
        assert json.loads(line)["label"] == json.loads(other)["label"]
        found, same = (json.loads(each)["probabilities"] for each in (line, other))
        assert found == pytest.approx(same, abs=2e-6)
    monkeypatch.setattr("textrnn.cli.predict.find_spec", lambda _name: None)
    assert run_cli("predict", MODEL, "--proba", stdin=lines * 2) == expected


def test_another_device_is_pytorchs(run_cli):
    """A device that is not there is named, as by `TextClassifier.load`."""
    code, _, errors = run_cli("predict", MODEL, "--device", "abacus", stdin="oil\n")
    assert code == 1
    assert "Expected `device` to be 'auto' or the name of an available device" in errors
