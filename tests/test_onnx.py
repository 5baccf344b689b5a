"""The ONNX file of a classifier gives its logits at every shape, and refuses invalid batches."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests import strategies
from textrnn import TextClassifier, runtime
from textrnn.errors import CorruptFileError, InvalidValueError
from textrnn.nn import RecurrentClassifier
from textrnn.nn.export import to_onnx
from textrnn.runtime.onnx import onnx_model

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

MODEL = Path(__file__).parent / "fixtures" / "model"
PROBE = ["oil falls", "the keeper scores", ""]
VOCAB_SIZE, NUM_CLASSES = 12, 3
POOLINGS = st.lists(st.sampled_from(["max", "mean", "last", "attention"]), min_size=1, unique=True)
CELLS = ["rnn", "gru", "lstm"]


def classifier(**arguments):
    """Return a classifier in evaluation mode, with weights large enough to matter."""
    shape = {"hidden_size": 5, "embedding_size": 4} | arguments
    model = RecurrentClassifier(VOCAB_SIZE, num_classes=NUM_CLASSES, **shape).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
    return model


def export(model, path):
    """Export a classifier, and return a function that runs the file as the classifier is called."""
    model.export(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # errors are exceptions, which the tests expect
    session = onnxruntime.InferenceSession(path, options)

    def run(input_ids, lengths):
        feed = {"input_ids": input_ids.numpy(), "lengths": lengths.numpy()}
        (logits,) = session.run(["logits"], feed)
        return torch.from_numpy(logits)

    return run


def pad(texts, extra=0):
    """Return the ids `(batch, time)` and lengths `(batch,)` of texts."""
    time = max(map(len, texts)) + extra
    ids = torch.tensor([text + [0] * (time - len(text)) for text in texts])
    return ids, torch.tensor([len(text) for text in texts])


@given(
    architecture=st.fixed_dictionaries(
        {
            "cell": st.sampled_from(CELLS),
            "num_layers": st.integers(1, 3),
            "bidirectional": st.booleans(),
            "pooling": POOLINGS,
        }
    ),
    batches=st.lists(strategies.ragged_ids(vocab_size=VOCAB_SIZE), min_size=1, max_size=4),
    extra=st.integers(0, 3),
)
@settings(max_examples=60)
def test_an_exported_model_gives_the_logits_of_the_classifier(
    architecture, batches, extra, tmp_path_factory
):
    """Every configuration does, within 1e-5 at every shape, and whatever else is in the batch."""
    model, path = classifier(**architecture), tmp_path_factory.getbasetemp() / "model.onnx"
    exported = export(model, path)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.SerializeToString(deterministic=True) == path.read_bytes()
    for texts in batches:
        ids, lengths = pad(texts, extra)
        logits = exported(ids, lengths)
        with torch.no_grad():
            torch.testing.assert_close(logits, model(ids, lengths), atol=1e-5, rtol=0)
        alone = torch.cat([exported(*pad([text])) for text in texts])
        torch.testing.assert_close(logits, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_long_texts_and_large_batches_are_no_different(cell, bidirectional, tmp_path):
    """The sizes of real models, at which ONNX Runtime uses other kernels."""
    pooling = ("mean", "max", "last", "attention")
    model = RecurrentClassifier(
        500, num_classes=9, cell=cell, bidirectional=bidirectional, pooling=pooling, hidden_size=64
    ).eval()
    exported = export(model, tmp_path / "model.onnx")
    lengths = torch.randint(1, 121, (70,))
    ids = torch.randint(1, 500, (70, 125))  # there are ids at padding too
    with torch.no_grad():
        torch.testing.assert_close(exported(ids, lengths), model(ids, lengths), atol=1e-5, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("time", [0, 4])
def test_an_empty_batch_has_no_logits(cell, time, tmp_path):
    """ONNX Runtime would crash in a recurrent operator without texts."""
    exported = export(classifier(cell=cell, bidirectional=True), tmp_path / "model.onnx")
    ids = torch.zeros(0, time, dtype=torch.int64)
    assert exported(ids, torch.zeros(0, dtype=torch.int64)).shape == (0, NUM_CLASSES)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("ids", "lengths"),
    [
        ([[3, -1], [2, 5]], [2, 2]),
        ([[3, VOCAB_SIZE], [2, 5]], [2, 2]),
        ([[3, 1], [2, 5]], [2, 0]),
        ([[3, 1], [2, 5]], [2, -1]),
        ([[3, 1], [2, 5]], [2, 3]),
        ([[3, 1], [2, 5]], [2, 2**32 + 1]),
        ([[3, 1], [2, 5]], [2]),
        ([[3, 1], [2, 5]], [2, 2, 2]),
        ([[], []], [1, 1]),
        ([[], []], [0, 0]),
    ],
)
def test_an_exported_model_refuses_invalid_batches(cell, ids, lengths, tmp_path):
    """An id or a length out of range is an error, as it is in the classifier."""
    model = classifier(cell=cell, pooling="last")
    batch = torch.tensor(ids, dtype=torch.int64), torch.tensor(lengths)
    with pytest.raises(InvalidValueError):
        model(*batch)
    exported = export(model, tmp_path / "model.onnx")
    with pytest.raises(Exception, match=r"INVALID_ARGUMENT|out of data bounds|RUNTIME_EXCEPTION"):
        exported(*batch)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_are_exported_as_float32(dtype):
    """Whatever their type: ONNX Runtime has few operators for the others."""
    model = classifier(pooling=("attention", "last")).to(dtype)
    assert to_onnx(model) == to_onnx(model.float())


def test_an_export_leaves_the_model_and_the_generators_alone(tmp_path):
    """Also in training mode, whose dropout is left out of the file."""
    model = classifier(dropout=0.5, embedding_dropout=0.5, num_layers=2, layer_dropout=0.5)
    model.export(tmp_path / "evaluated.onnx")
    model.train()
    before = torch.get_rng_state()
    model.export(tmp_path / "trained.onnx")
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    files = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert files[0] == files[1]


@pytest.mark.parametrize("pooling", ["max", "mean", "last", "attention"])
def test_onnx_runtime_has_no_complaints(pooling, tmp_path, capfd):
    """It would print warnings about constants that no operator uses."""
    classifier(pooling=pooling).export(tmp_path / "model.onnx")
    onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")


def test_an_exported_model_says_what_it_is(tmp_path):
    """Its versions are old, so that old runtimes load it."""
    classifier().export(tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    assert (proto.producer_name, proto.ir_version) == ("textrnn", 7)
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", 13)]
    assert {each.key: each.value for each in proto.metadata_props} == {"vocab_size": "12"}
    shapes = [
        (value.name, [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim])
        for value in [*proto.graph.input, *proto.graph.output]
    ]
    assert shapes == [
        ("input_ids", ["batch", "time"]),
        ("lengths", ["batch"]),
        ("logits", ["batch", NUM_CLASSES]),
    ]


def hooked(model):
    """Add a hook, as pruning does."""
    model.encoder.rnn.register_forward_hook(lambda *_: None)


def pruned(model):
    """Add a mask to a weight."""
    nn.utils.parametrizations.weight_norm(model.head[1])


def replaced(model):
    """Replace a layer by one of another class."""
    model.head[3] = nn.ReLU()


def resized(model):
    """Replace a layer by one of another size."""
    model.embedding = nn.Embedding(VOCAB_SIZE + 1, 4)


def patched(model):
    """Replace the `forward` of a layer."""
    model.pooling.forward = lambda states, lengths: states[:, 0] * lengths.sum()


def removed(model):
    """Remove a layer."""
    del model.head[4]


def extended(model):
    """Add a layer."""
    model.head.append(nn.Softmax(1))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (hooked, "encoder.rnn"),
        (pruned, "head.1"),
        (replaced, "head.3"),
        (resized, "embedding.weight"),
        (patched, "pooling"),
        (removed, "head.4"),
        (extended, "head.5"),
    ],
)
def test_a_changed_model_is_not_exported(change, place, tmp_path):
    """What ONNX would not know of is an error, and the old file stays."""
    model, path = classifier(), tmp_path / "model.onnx"
    path.write_bytes(b"old")
    change(model)
    with pytest.raises(InvalidValueError, match=rf"describe, but {re.escape(place)} was changed"):
        model.export(path)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_class_of_ones_own_is_not_exported(tmp_path):
    """Its `forward` may be another."""

    class Own(RecurrentClassifier):
        pass

    with pytest.raises(InvalidValueError, match="but the model was changed"):
        Own(VOCAB_SIZE, num_classes=2).export(tmp_path / "model.onnx")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_not_finite_are_not_exported(value, tmp_path):
    """Neither are those that float32 can't hold."""
    model = classifier().double()
    with torch.no_grad():
        model.head[4].bias[1] = value
    with pytest.raises(InvalidValueError, match=r"finite float32 weights, but head\.4\.bias has"):
        model.export(tmp_path / "model.onnx")


def test_weights_of_two_gigabytes_are_not_exported():
    """An ONNX file can't hold them."""
    model = classifier()
    weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
    weights["embedding.weight"] = np.broadcast_to(np.float32(1), (2**20, 2**9))
    with pytest.raises(InvalidValueError, match="less than 2 GiB, the limit of an ONNX file"):
        onnx_model(model.config, weights)


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    """Export the stored classifier."""
    TextClassifier.load(MODEL, device="cpu").export(tmp_path / "exported")
    return tmp_path / "exported"


def seal(folder):
    """Update the size and the checksum of the ONNX file, as an attacker would."""
    config = json.loads((folder / "config.json").read_text())
    data = (folder / "model.onnx").read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    config["files"]["model.onnx"] = {"bytes": len(data), "sha256": sha256}
    (folder / "config.json").write_text(json.dumps(config))


def assert_same_predictions(folder):
    """Compare the predictions of an exported folder in all ways to load it."""
    expected = TextClassifier.load(MODEL, device="cpu").predict_proba(PROBE)
    for classifier in (
        TextClassifier.load(folder, device="cpu"),
        runtime.load(folder),
        runtime.load(folder, backend="onnx"),
    ):
        np.testing.assert_allclose(classifier.predict_proba(PROBE), expected, atol=1e-6)


def test_an_exported_folder_is_a_saved_one_with_an_onnx_file(folder, tmp_path):
    """It has the file of the recurrent network, and is loaded as any other."""
    classifier = TextClassifier.load(MODEL, device="cpu")
    classifier.network_.recurrent.export(tmp_path / "model.onnx")
    assert (folder / "model.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()
    classifier.save(tmp_path / "saved")
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert {path.name for path in folder.iterdir()} == names | {"model.onnx"}
    assert_same_predictions(folder)
    classifier.save(folder)  # which leaves no file of the older model
    assert {path.name for path in folder.iterdir()} == names


def test_a_damaged_onnx_file_is_named(folder):
    """As any other file of the folder."""
    path = folder / "model.onnx"
    content = path.read_bytes()
    for damaged in (content[:-1], content[:-1] + b"?", None):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        for load in (TextClassifier.load, runtime.load):
            with pytest.raises(CorruptFileError, match=r"ONNX file .*model\.onnx' is damaged"):
                load(folder)
        path.write_bytes(content)
    path.write_bytes(content + bytes(2**25))
    seal(folder)
    with pytest.raises(CorruptFileError, match="is longer than"):
        runtime.load(folder)


def foreign(kind):
    """Return an ONNX model that reads another file, has an unknown operator or no logits."""
    helper, types = onnx.helper, onnx.TensorProto
    constant = helper.make_tensor("c", types.FLOAT, [1], [1.0])
    if kind == "reads another file":
        constant.ClearField("float_data")
        constant.data_location = types.EXTERNAL
        constant.external_data.add(key="location", value="/etc/passwd")
    node = helper.make_node("Identity", ["c"], ["y"])
    if kind == "has an unknown operator":
        node = helper.make_node("Own", ["c"], ["y"], domain="own")
    output = helper.make_tensor_value_info("y", types.FLOAT, [1])
    graph = helper.make_graph([node], "g", [], [output], [constant])
    return helper.make_model(graph, ir_version=7).SerializeToString()


@pytest.mark.parametrize(
    "kind", ["reads another file", "has an unknown operator", "has other inputs and outputs"]
)
def test_a_foreign_onnx_file_is_not_run(folder, kind):
    """ONNX Runtime gets a model that is made of the checked weights, never that of a folder."""
    (folder / "model.onnx").write_bytes(foreign(kind))
    seal(folder)
    assert_same_predictions(folder)


def test_the_command_line_exports(run_cli, folder, tmp_path):
    """`textrnn export` writes the same folder."""
    assert run_cli("export", MODEL, tmp_path / "copy") == (0, "", "")
    for path in folder.iterdir():
        assert (tmp_path / "copy" / path.name).read_bytes() == path.read_bytes()


def test_an_export_that_fails_leaves_the_old_folder(tmp_path):
    """It is only replaced by a whole one."""
    folder = shutil.copytree(MODEL, tmp_path / "model")
    classifier = TextClassifier.load(folder, device="cpu")
    replaced(classifier.network_.recurrent)
    with pytest.raises(InvalidValueError, match=r"but head\.3 was changed"):
        classifier.export(folder)
    assert not (folder / "model.onnx").exists()
    TextClassifier.load(folder)
