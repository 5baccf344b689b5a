"""Models refuse to be traced: a trace holds for texts of the same lengths alone."""

import io

import pytest
import torch
from torch import nn

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

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tracing is deprecated

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
