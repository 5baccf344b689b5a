"""What network and n-grams contribute: the report of a fit, and n-grams without a network."""

import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.models import change
from tests.test_estimator import LABELS, SMALL, TEXTS
from textrnn import TextClassifier, runtime
from textrnn.cli import main
from textrnn.errors import CorruptFileError, InvalidValueError
from textrnn.estimator import learning, settings
from textrnn.estimator.fit_report import FitReport, gain_error
from textrnn.ngrams import BlendedClassifier, NgramClassifier
from textrnn.nn import RecurrentClassifier

NOISE = np.random.default_rng(0)
TOPICS = ["oil", "goal", "film", "vote"]
MANY = [
    " ".join(NOISE.permutation([TOPICS[i % 4], *NOISE.choice(TOPICS, 2), f"w{i % 7}"]))
    for i in range(240)
]
FOUR = [i % 4 for i in range(240)]
KINDS = {
    "binary": [i % 2 for i in range(240)],
    "multi-class": FOUR,
    "multi-label": [[name for name in TOPICS if text.count(name) > 1] for text in MANY],
    "matrix": np.array([[text.count(name) > 0 for name in TOPICS] for text in MANY]) * 1,
}
ALONE = {"network": False, "device": "cpu", "progress": False}


def parts_of(labels):
    """Return a part of the labels to train on and one to evaluate with."""
    return labels[:160], labels[160:]


def fit(kind, **params):
    """Return a classifier that evaluates on texts that it was given, and those texts."""
    train, held_out = parts_of(KINDS[kind])
    pair = (MANY[160:], held_out)
    classifier = TextClassifier(**{**SMALL, "epochs": 2, **params})
    return classifier.fit(MANY[:160], train, eval_set=pair), pair


@pytest.mark.parametrize("threshold", [0.5, 0.2])
@pytest.mark.parametrize("kind", KINDS)
def test_the_report_states_the_accuracy_of_each_part(kind, threshold):
    """Each is that of a classifier with this part alone, for multi-label data at 0.5."""
    classifier, (texts, labels) = fit(kind, threshold=threshold)
    report, network = classifier.report_, classifier.network_
    assert report.texts == len(texts) == classifier.data_["eval_texts"]
    assert report.accuracy["both"] == pytest.approx(classifier.metrics_["accuracy"])
    blend = dict(zip(("network", "ngrams"), network.scales.tolist(), strict=True))
    assert report.blend_weights == blend
    assert report.cpu_seconds.keys() == {"ngrams", "network"}
    assert min(report.cpu_seconds.values()) > 0
    classifier.threshold = 0.5
    for name, scales in {"both": None, "network": (1.0, 0.0), "ngrams": (0.0, 1.0)}.items():
        if scales is not None:
            with torch.no_grad():
                network.scales.copy_(torch.tensor(scales))
        assert report.accuracy[name] == pytest.approx(classifier.score(texts, labels))
    assert report.gain == report.accuracy["both"] - report.accuracy["ngrams"]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_the_error_of_the_gain_is_that_of_paired_differences(pairs):
    """It is their standard error without a gain; texts that both label alike add nothing."""
    both, ngrams = np.array(pairs).T
    differences = both.astype(float) - ngrams
    found = gain_error({"both": both, "ngrams": ngrams})
    expected = differences.var() + differences.mean() ** 2
    assert found**2 * len(pairs) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("both", "words"),
    [
        (0.92, "adds nothing beyond noise to n-grams (+0.0200, standard error 0.0100): "),
        (0.89, "adds nothing beyond noise to n-grams (-0.0100, standard error 0.0100): "),
        (0.9202, "adds to the accuracy of n-grams (+0.0202, standard error 0.0100)."),
    ],
)
def test_a_gain_of_two_standard_errors_is_noise(both, words):
    """Then the report names the option that leaves the network out, and its time."""
    report = FitReport(
        texts=1000,
        accuracy={"ngrams": 0.9, "network": 0.5, "both": both},
        blend_weights={"ngrams": 0.75, "network": 0.25},
        cpu_seconds={"ngrams": 1, "network": 9.04},
        gain_error=0.01,
    )
    noise = "network=False leaves it out, and saves 9.0 CPU seconds."
    start = "On 1,000 validation texts, the network "
    assert report.conclusion == start + words + noise * ("noise" in words)
    assert str(report).splitlines()[:4] == [
        "         accuracy  blend weight  CPU seconds",
        "n-grams    0.9000          0.75          1.0",
        "network    0.5000          0.25          9.0",
        f"both       {both:.4f}                       10.0",
    ]
    assert str(report).endswith("\n\n" + report.conclusion)
    page = report._repr_html_()
    assert page.count("<tr") == 4
    assert f">{report.conclusion}<" in page
    assert FitReport.from_dict(json.loads(report.to_json())) == report


@pytest.mark.parametrize(
    ("params", "texts", "parts", "words"),
    [
        ({}, 8, {"ngrams", "network"}, "Nothing was measured: there were no validation texts."),
        ({"network": False}, 240, {"ngrams"}, "No network was trained: on few"),
        ({"ngram_order": 0}, 240, {"network"}, "No n-grams were fitted. Measured on 24 validation"),
        ({"ngram_order": 0}, 8, {"network"}, "No n-grams were fitted. Nothing was measured: there"),
    ],
)
def test_a_part_that_is_missing_is_named(params, texts, parts, words):
    """Without a part or validation texts, there is no gain, and the table has no such row."""
    classifier = TextClassifier(**{**SMALL, "epochs": 1, **params}).fit(MANY[:texts], FOUR[:texts])
    report = classifier.report_
    assert report.cpu_seconds.keys() == parts
    assert report.accuracy.keys() == (parts if texts > 100 else set())
    assert (report.gain, report.gain_error) == (None, None)
    assert report.conclusion.startswith(words)
    lines = str(report).partition("\n\n")[0].splitlines()[1:]
    rows = [line.split()[0].replace("-", "") for line in lines]
    assert rows == [*sorted(parts, reverse=True), *["both"] * (len(parts) == 2)]
    for name, value in report.accuracy.items():
        assert value == classifier.metrics_["accuracy"], name


def test_the_report_is_saved_with_the_model(tmp_path, capsys):
    """A loaded or copied classifier, its card and the command line have the same report."""
    classifier, _ = fit("multi-class")
    report = classifier.report_
    classifier.save(tmp_path / "model")
    assert TextClassifier.load(tmp_path / "model").report_ == report
    assert pickle.loads(pickle.dumps(classifier)).report_ == report  # noqa: S301 - our own
    card = (tmp_path / "model" / "README.md").read_text()
    assert report.conclusion in card
    assert f"| network | {report.accuracy['network']:.4f} |" in card
    assert main(["info", str(tmp_path / "model")]) == 0
    assert capsys.readouterr().out.endswith(f"\n\n{report}\n")
    assert main(["info", str(tmp_path / "model"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == report.to_dict()


@pytest.mark.parametrize(
    ("path", "update"),
    [
        ((), {"report": None}),
        ((), {"report": {}}),
        (("report",), {"more": 1}),
        (("report",), {"texts": -1}),
        (("report",), {"texts": 2.5}),
        (("report",), {"accuracy": [1.0]}),
        (("report",), {"accuracy": {"ngrams": 1.5}}),
        (("report",), {"accuracy": {"<script>": 0.5}}),
        (("report",), {"accuracy": {}}),
        (("report",), {"blend_weights": {"ngrams": "1"}}),
        (("report",), {"cpu_seconds": {"ngrams": -1.0}}),
        (("report",), {"gain_error": None}),
        (("report",), {"gain_error": 2.0}),
        (("report",), {"cpu_seconds": {}}),
        (("report",), {"cpu_seconds": {"both": 1.0}}),
        (("report",), {"unknown_words": "0.5"}),
        (("report",), {"unknown_words": 1.5}),
    ],
)
def test_a_report_that_can_t_be_is_refused(tmp_path_factory, saved, path, update):
    """Each value of a saved report is checked, so that it prints."""
    folder = tmp_path_factory.mktemp("folder") / "model"
    saved.save(folder)
    change(folder, "training.json", update, path)
    with pytest.raises(CorruptFileError, match="damaged"):
        TextClassifier.load(folder)
    assert main(["info", str(folder)]) == 1


@pytest.fixture(scope="module", name="saved")
def _saved():
    return fit("binary")[0]


@pytest.mark.parametrize("weights", ["fp32", "int8"])
@pytest.mark.parametrize("kind", KINDS)
def test_ngrams_predict_without_a_network(kind, weights, tmp_path):
    """Saved, loaded and read without PyTorch, predictions are those of the linear model."""
    classifier, (texts, _) = fit(kind, network=False)
    network = classifier.network_
    assert isinstance(network, NgramClassifier)
    assert len(classifier.history_) == 0
    assert classifier.metrics_.keys() > {"log_loss", "accuracy"}
    assert classifier.stopped_ is None
    probabilities = classifier.predict_proba(texts)
    classifier.save(tmp_path / "model", weights=weights)
    loaded = TextClassifier.load(tmp_path / "model", device="cpu")
    assert isinstance(loaded.network_, NgramClassifier)
    assert loaded.get_params() == {**classifier.get_params(), "progress": None}
    card = (tmp_path / "model" / "README.md").read_text()
    assert ("## Weights\n\nThe weights are 16-bit floats." in card) == (weights == "int8")
    bound = 0 if weights == "fp32" else 2e-3
    assert abs(loaded.predict_proba(texts) - probabilities).max() <= bound
    for backend in ("numpy", "onnx"):
        small = runtime.load(tmp_path / "model", backend=backend)
        assert abs(small.predict_proba(texts) - loaded.predict_proba(texts)).max() < 1e-6
    assert small.top_features(0 if isinstance(KINDS[kind][0], int) else classifier.classes_[0])


def test_the_linear_model_is_the_one_beside_a_network():
    """With the same regularization, n-grams and weights are the same with and without a network."""
    beside = TextClassifier(**{**SMALL, "epochs": 1}).fit(TEXTS, LABELS).network_.ngrams
    alone = TextClassifier(**ALONE).fit(TEXTS, LABELS).network_
    for name, value in beside.state_dict().items():
        assert torch.equal(value, alone.state_dict()[name]), name


def test_weights_of_classes_count_without_a_network():
    """`class_weight` is that of the linear model and of the loss on the validation part."""
    labels = [int(i % 10 == 0) for i in range(240)]
    pair = (MANY[160:], labels[160:])
    losses = []
    for weights in ("balanced", {0: 240 / (2 * 216), 1: 240 / (2 * 24)}, None):
        classifier = TextClassifier(**ALONE, class_weight=weights)
        classifier.fit(MANY, labels, eval_set=pair)
        losses.append(classifier.metrics_["log_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert abs(losses[0] - losses[2]) > 0.01


def test_explanations_without_a_network_are_exact():
    """Bias and words add up to the logit."""
    classifier = TextClassifier(**ALONE).fit(TEXTS, LABELS)
    for explanation in classifier.explain([*TEXTS[:4], "", "unheard oil"], "sports"):
        assert abs(explanation.residual) < 1e-5
        assert explanation.weights or not explanation.words


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"ngram_order": 0}, "`ngram_order` to be at least 1 without a network, but got 0"),
        ({"pretrain_epochs": 2}, "`pretrain_epochs` to be 0 without a network, but got 2"),
        ({"preset": "best"}, "`pretrain_epochs` to be 0 without a network, but got 1"),
    ],
)
def test_what_needs_a_network_is_refused_without_one(params, message):
    """There must be something to predict with, and nothing that is left undone."""
    with pytest.raises(InvalidValueError, match=message):
        TextClassifier(**ALONE, **params).fit(TEXTS, LABELS)
    with pytest.raises(InvalidValueError, match="`unlabelled` to be None where nothing is pre"):
        TextClassifier(**ALONE).fit(TEXTS, LABELS, unlabelled=["more"])


def test_there_is_no_onnx_file_without_a_network(tmp_path, capsys):
    """`export` says so and writes nothing; a folder that claims one is damaged."""
    classifier = TextClassifier(**ALONE).fit(TEXTS, LABELS)
    classifier.save(tmp_path / "model")
    with pytest.raises(InvalidValueError, match="a classifier with a recurrent network"):
        classifier.export(tmp_path / "exported")
    assert main(["export", str(tmp_path / "model"), str(tmp_path / "exported")]) == 1
    assert "network=True" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    (tmp_path / "model" / "model.onnx").write_bytes(b"x")
    entry = {"model.onnx": {"bytes": 1, "sha256": "0" * 64}}
    change(tmp_path / "model", "config.json", entry, ("files",))
    with pytest.raises(CorruptFileError, match=r"`files` has model.onnx, but there is no network"):
        TextClassifier.load(tmp_path / "model")


@pytest.mark.parametrize("update", [{"network": None, "ngrams": None}, {"network": None}])
def test_a_folder_has_a_network_or_ngrams(saved, tmp_path, update):
    """A configuration without either, or without one whose weights are there, is damaged."""
    saved.save(tmp_path / "model")
    change(tmp_path / "model", "config.json", update)
    with pytest.raises(CorruptFileError, match="damaged"):
        TextClassifier.load(tmp_path / "model")


def test_continued_training_adds_or_drops_the_network():
    """N-grams are trained on, with a network that is new or without one."""
    classifier = TextClassifier(**{**SMALL, **ALONE, "epochs": 1}).fit(TEXTS, LABELS)
    keys = classifier.network_.keys
    classifier.set_params(warm_start=True).fit(TEXTS, LABELS)
    assert torch.equal(classifier.network_.keys, keys)
    classifier.set_params(network=True).fit(TEXTS, LABELS)
    assert isinstance(classifier.network_, BlendedClassifier)
    assert torch.equal(classifier.network_.ngrams.keys, keys)
    classifier.set_params(network=False).fit(TEXTS, LABELS)
    assert isinstance(classifier.network_, NgramClassifier)
    assert torch.equal(classifier.network_.keys, keys)
    classifier.set_params(network=True, ngram_order=0).fit(TEXTS, LABELS)
    assert isinstance(classifier.network_, RecurrentClassifier)


def test_few_texts_have_no_network_and_the_report_says_so():
    """The report names the option that trains one."""
    classifier = TextClassifier(device="cpu", progress=False).fit(MANY, FOUR)
    assert isinstance(classifier.network_, NgramClassifier)
    assert classifier.settings_["network"] is False
    assert classifier.report_.conclusion == (
        "No network was trained: on few texts, it seldom adds to n-grams. network=True trains "
        "one. Measured on 24 validation texts."
    )
    classifier.set_params(network=True, epochs=1).fit(MANY, FOUR)
    assert isinstance(classifier.network_, BlendedClassifier)


def test_continued_training_keeps_its_parts(monkeypatch):
    """There is a network if there was one, whatever the number of texts and of options."""
    plain = {"device": "cpu", "progress": False}
    beside = TextClassifier(**plain, epochs=1).fit(TEXTS, LABELS)
    beside.set_params(warm_start=True, epochs=None).fit(TEXTS, LABELS)
    assert isinstance(beside.network_, BlendedClassifier)
    alone = TextClassifier(**plain).fit(TEXTS, LABELS)
    monkeypatch.setattr(settings, "_NETWORK_TEXTS", 1)
    alone.set_params(warm_start=True).fit(TEXTS, LABELS)
    assert isinstance(alone.network_, NgramClassifier)


def test_ctrl_c_leaves_a_classifier_without_a_network_as_it_was(monkeypatch):
    """There is nothing to end with early; a network added to earlier n-grams keeps these."""
    classifier = TextClassifier(**{**SMALL, **ALONE, "epochs": 1}).fit(MANY, FOUR)
    before = classifier.network_

    def interrupted(_loader, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "ngram_path", interrupted)
    with pytest.raises(KeyboardInterrupt):
        classifier.set_params(warm_start=True).fit(MANY, FOUR)
    assert classifier.network_ is before
    classifier.set_params(network=True).fit(MANY, FOUR)
    report = classifier.report_
    assert torch.equal(classifier.network_.ngrams.weight, before.weight)
    assert classifier.metrics_ == report.accuracy == {}
    assert report.conclusion.endswith("Nothing was measured: training was interrupted.")


def test_the_card_and_the_command_line_tell_that_there_is_no_network(tmp_path, capsys):
    """`--no-network` trains n-grams alone; no setting of a network is listed."""
    table = tmp_path / "table.csv"
    rows = zip(MANY, FOUR, strict=True)
    table.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    model = str(tmp_path / "model")
    assert main(["train", "--train", str(table), "--output", model, "--no-network"]) == 0
    found = capsys.readouterr()
    report = TextClassifier.load(model).report_
    assert f"\n\n{report}\n" in found.out
    assert found.err.startswith("N-grams: log_loss ")
    assert main(["train", "--train", str(table), "--output", model, "--no-network", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"].keys() == report.to_dict().keys()
    assert main(["info", model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["network", "none"] in [line.split(maxsplit=1) for line in lines]
    card = (tmp_path / "model" / "README.md").read_text()
    assert "It is a linear model over " in card
    assert report.conclusion in card
    assert "| `ngram_order` |" in card
    assert "`hidden_size`" not in card
    assert "- gru" not in card
    assert math.isfinite(report.accuracy["ngrams"])


def test_the_report_is_read_without_pytorch():
    """`textrnn info` starts in a tenth of the time."""
    program = "import sys, textrnn.estimator.fit_report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0  # noqa: S603 - our own program
