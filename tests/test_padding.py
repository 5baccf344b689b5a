"""Lengths are checked, derived from ids and turned into masks."""

import pytest
import torch
from hypothesis import given

from tests import strategies
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.nn.padding import check_lengths, resolve_lengths, token_mask


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8])
def test_lengths_of_every_integer_type_become_int64(dtype):
    """Lengths of all integer types are returned as int64."""
    lengths = check_lengths(torch.tensor([4, 1], dtype=dtype), 2, 4)
    assert lengths.tolist() == [4, 1]
    assert lengths.dtype == torch.int64


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([4, 1], r"`lengths` to be an integer tensor, but got \[4, 1\]"),
        (torch.tensor([4.0, 1.0]), r"`lengths` to be an integer tensor, but got torch\.float32"),
        (torch.tensor([True, True]), r"`lengths` to be an integer tensor, but got torch\.bool"),
    ],
)
def test_lengths_that_are_no_integer_tensor_are_refused(lengths, message):
    """A list, floats and booleans are not accepted as lengths."""
    with pytest.raises(InvalidTypeError, match=message):
        check_lengths(lengths, 2, 4)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([4, 0], r"from 1 to 4, the number of steps, but got 0 at position 1\."),
        ([-2, 4], r"from 1 to 4, the number of steps, but got -2 at position 0\."),
        ([4, 5], r"from 1 to 4, the number of steps, but got 5 at position 1\."),
        ([4, 4, 4], r"of shape \(2,\), one for each text, but got \(3,\)\."),
        ([[4, 4]], r"of shape \(2,\), one for each text, but got \(1, 2\)\."),
    ],
)
def test_lengths_that_do_not_fit_are_refused(lengths, message):
    """The message names a length out of range with its position, or the right shape."""
    with pytest.raises(InvalidValueError, match=message):
        check_lengths(torch.tensor(lengths), 2, 4)


def test_an_empty_batch_has_no_wrong_lengths():
    """An empty batch passes the check."""
    assert check_lengths(torch.empty(0, dtype=torch.int64), 0, 4).shape == (0,)


def test_a_batch_without_padding_needs_no_mask():
    """The mask is None if all texts have full length, and for an empty batch."""
    cpu = torch.device("cpu")
    assert token_mask(torch.tensor([3, 3]), 3, cpu) is None
    assert token_mask(torch.empty(0, dtype=torch.int64), 3, cpu) is None


@given(strategies.ragged_ids())
def test_derived_lengths_and_their_mask_recover_the_texts(texts):
    """Derived lengths and their mask select exactly the tokens of each text."""
    longest = max(map(len, texts)) + 2
    input_ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
    lengths = resolve_lengths(input_ids, 0)
    mask = token_mask(lengths, longest, torch.device("cpu"))
    assert lengths.tolist() == [len(text) for text in texts]
    assert mask is not None
    assert [row[kept].tolist() for row, kept in zip(input_ids, mask, strict=True)] == texts


def test_padding_inside_a_text_belongs_to_it():
    """The padding id counts as a token before the last other id."""
    assert resolve_lengths(torch.tensor([[0, 0, 5, 0]]), 0).tolist() == [3]


@pytest.mark.parametrize("input_ids", [torch.tensor([[5, 1], [1, 1]]), torch.empty(2, 0).long()])
def test_a_text_of_nothing_but_padding_has_no_length(input_ids):
    """A text that has only padding is an error that names its position."""
    position = 1 if input_ids.numel() else 0
    with pytest.raises(InvalidValueError, match=rf"only padding \(id 1\) at position {position}\."):
        resolve_lengths(input_ids, 1)
