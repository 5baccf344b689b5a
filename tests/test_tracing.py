"""Recorded models: `torch.export` gives the same logits at every shape, and a trace is refused."""

import io
import json
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.export import Dim

from textrnn.errors import InvalidValueError
from textrnn.ngrams import BlendedClassifier, NgramClassifier
from textrnn.nn import (
    AttentionPooling,
    LanguageModel,
    LockedDropout,
    Pooling,
    RecurrentClassifier,
    RecurrentEncoder,
    last_pool,
    max_pool,
    mean_pool,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:.torch.jit:FutureWarning"
)  # tracing is deprecated

IDS, LENGTHS = torch.tensor([[2, 5, 3], [2, 3, 0]]), torch.tensor([3, 2])
STATES = torch.randn(2, 3, 4)
NGRAMS = NgramClassifier(9, num_classes=2, num_ngrams=5)
MESSAGE = "Expected the model to be called, but got a call that `torch.jit.trace`"


def classifier(**settings):
    """Return a small classifier in evaluation mode."""
    return RecurrentClassifier(9, num_classes=2, hidden_size=4, **settings).eval()


class Wrapped(nn.Module):
    """A module of a user's that contains a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = classifier()

    def forward(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return probabilities."""
        probabilities: torch.Tensor = self.inner(input_ids, lengths).softmax(1)
        return probabilities


@pytest.mark.parametrize(
    ("traced", "inputs"),
    [
        (classifier(cell="rnn"), (IDS, LENGTHS)),
        (classifier(cell="gru", bidirectional=True), (IDS, LENGTHS)),
        (classifier(cell="lstm", num_layers=2, pooling=("max", "last")), (IDS, LENGTHS)),
        (classifier(pooling="attention").train(), (IDS, LENGTHS)),
        (classifier(), (IDS,)),
        (Wrapped(), (IDS, LENGTHS)),
        (NGRAMS, (IDS, LENGTHS)),
        (NGRAMS, (IDS,)),
        (BlendedClassifier(classifier(), NGRAMS), (IDS, LENGTHS)),
        (LanguageModel(classifier()), (IDS, LENGTHS)),
        (RecurrentEncoder(4, 3), (STATES, LENGTHS)),
        (AttentionPooling(4), (STATES, LENGTHS)),
        (Pooling(("max", "mean")), (STATES, LENGTHS)),
        (last_pool, (STATES, LENGTHS)),
        (max_pool, (STATES, LENGTHS)),
        (mean_pool, (STATES, LENGTHS)),
    ],
)
def test_tracing_is_refused(traced, inputs):
    """A trace keeps what depends on the lengths, and would be wrong at others without a word."""
    with pytest.raises(InvalidValueError, match=MESSAGE):
        torch.jit.trace(traced, inputs)
    traced(*inputs)  # an ordinary call afterwards is not affected


def test_an_onnx_export_by_tracing_is_refused():
    """Without an extra package, and before a file is written."""
    file = io.BytesIO()
    with pytest.raises(InvalidValueError, match=MESSAGE):
        torch.onnx.export(classifier(), (IDS, LENGTHS), file, dynamo=False)
    assert not file.getvalue()


def test_dropout_can_be_traced():
    """In evaluation mode it is the identity at every shape."""
    traced = torch.jit.trace(LockedDropout().eval(), STATES)
    inputs = torch.randn(5, 7, 4)
    assert torch.equal(traced(inputs), inputs)


POOLINGS = ("mean", "attention", "last", "max")
SHAPES = [(1, 1), (1, 6), (2, 1), (3, 3), (9, 14), (0, 4)]


def export(model, *, lengths=True, min_batch=1, min_time=1, **options):
    """Export a model for batches of any shape, from an example."""
    shapes = {"input_ids": {0: Dim("batch", min=min_batch), 1: Dim("time", min=min_time)}}
    if lengths:
        shapes["lengths"] = {0: shapes["input_ids"][0]}
    inputs = (IDS, LENGTHS) if lengths else (IDS,)
    return torch.export.export(model, inputs, dynamic_shapes=shapes, **options)


def batch(texts, time):
    """Return random ids `(texts, time)` and lengths `(texts,)`, with zeros at padding."""
    lengths = torch.randint(1, time + 1, (texts,))
    ids = torch.randint(1, 9, (texts, time))
    return ids * (torch.arange(time) < lengths.unsqueeze(1)), lengths


def assert_same_logits(program, model, shapes=SHAPES):
    """Compare the logits of random batches."""
    for texts, time in shapes:
        ids, lengths = batch(texts, time)
        with torch.no_grad():
            torch.testing.assert_close(program(ids, lengths), model(ids, lengths))


@pytest.fixture(name="exported", scope="module")
def fixture_exported():
    """Return a classifier and its exported program."""
    model = classifier(bidirectional=True)
    return model, export(model)


@pytest.mark.parametrize(
    ("cell", "num_layers", "bidirectional", "pooling", "strict"),
    [
        ("rnn", 1, False, "max", False),
        ("gru", 2, False, "last", False),
        ("lstm", 2, True, POOLINGS, True),
    ],
)
def test_an_exported_program_gives_the_same_logits_at_every_shape(
    cell, num_layers, bidirectional, pooling, strict
):
    """Also for batches of one text or one token, and empty ones."""
    model = classifier(
        cell=cell, num_layers=num_layers, bidirectional=bidirectional, pooling=pooling
    )
    assert_same_logits(export(model, strict=strict).module(), model)


def test_an_exported_program_counts_tokens():
    """Without lengths it counts up to the last id that is not padding, as the model does."""
    model = classifier(cell="rnn")
    program = export(model, lengths=False).module()
    assert_same_logits(lambda ids, _: program(ids), model)


def test_a_blend_is_exported_for_larger_batches():
    """Of at least two texts and three steps; the program refuses smaller ones."""
    model = BlendedClassifier(classifier(), NGRAMS).eval()
    program = export(model, min_batch=2, min_time=3).module()
    assert_same_logits(program, model, [(2, 3), (5, 9)])
    for texts, time in [(1, 3), (2, 2)]:
        with pytest.raises(AssertionError, match="Guard failed"):
            program(*batch(texts, time))


def test_an_exported_program_refuses_invalid_batches(exported):
    """Lengths and ids out of range, as the model does."""
    model, program = exported[0], exported[1].module()
    assert_same_logits(program, model)
    for lengths in ([3, 0], [3, 4], [-1, 2]):
        with pytest.raises(RuntimeError, match="Expected `lengths` to be from 1 to `time`"):
            program(IDS, torch.tensor(lengths))
    for wrong in (-1, 9):
        with pytest.raises(IndexError, match="out of range"):
            program(torch.tensor([[2, wrong, 3], [2, 3, 0]]), LENGTHS)


def test_an_exported_program_refuses_to_learn(exported):
    """Its recurrent operation has no gradient, and says so."""
    logits = exported[1].module()(IDS, LENGTHS)
    with pytest.raises(RuntimeError, match=r"textrnn\.run_direction.*no autograd formula"):
        logits.sum().backward()


def test_an_exported_program_runs_in_another_process(exported, tmp_path):
    """The process has to import `textrnn.nn`, which brings the recurrent operation."""
    torch.export.save(exported[1], tmp_path / "model.pt2")
    program = (
        "import json, sys, torch, textrnn.nn;"
        "model = torch.export.load(sys.argv[1]).module();"
        f"ids, lengths = torch.tensor({IDS.tolist()}), torch.tensor({LENGTHS.tolist()});"
        "print(json.dumps(model(ids, lengths).tolist()))"
    )
    run = subprocess.run(  # noqa: S603 - the program is ours
        [sys.executable, "-c", program, str(tmp_path / "model.pt2")],
        capture_output=True,
        text=True,
        check=True,
    )
    with torch.no_grad():
        logits = exported[0](IDS, LENGTHS)
    torch.testing.assert_close(torch.tensor(json.loads(run.stdout)), logits)
