"""Locked dropout drops the same features throughout a text."""

import pytest
import torch

from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.nn import LockedDropout


def test_all_steps_of_a_text_share_one_mask():
    """A feature is dropped at every step or at none, and each text has its own mask."""
    dropped = LockedDropout(0.5)(torch.ones(8, 5, 32))  # (batch, time, features)
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert len(dropped[:, 0].unique(dim=0)) == 8


def test_kept_features_are_scaled_by_what_was_kept():
    """What remains is divided by the share that remains, so that means stay as they are."""
    dropped = LockedDropout(0.2)(torch.ones(400, 1, 100))
    assert dropped.unique().tolist() == [0.0, 1.25]
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.01)


def test_the_generator_decides_the_mask():
    """The same seed drops the same features, and the next draw others."""
    dropout, inputs = LockedDropout(0.5), torch.randn(4, 3, 16)
    torch.manual_seed(7)
    first, second = dropout(inputs), dropout(inputs)
    torch.manual_seed(7)
    assert torch.equal(first, dropout(inputs))
    assert not torch.equal(first, second)


def test_evaluation_passes_the_input_itself():
    """Neither evaluation mode nor a probability of 0 changes or copies anything."""
    inputs = torch.randn(2, 3, 4)
    assert LockedDropout(0.5).eval()(inputs) is inputs
    assert LockedDropout(0.0)(inputs) is inputs


def test_everything_can_be_dropped():
    """A probability of 1 leaves zeros, not a division by zero."""
    assert torch.equal(LockedDropout(1.0)(torch.ones(2, 3, 4)), torch.zeros(2, 3, 4))


def test_gradients_pass_where_features_were_kept():
    """The gradient of an input is the factor that it was multiplied with."""
    inputs = torch.ones(2, 3, 4, requires_grad=True)
    dropped = LockedDropout(0.5)(inputs)
    dropped.sum().backward()
    assert torch.equal(inputs.grad, dropped.detach())


@pytest.mark.parametrize(("p", "error"), [(-0.1, InvalidValueError), (1.5, InvalidValueError)])
def test_probabilities_out_of_range_are_refused(p, error):
    """A probability is from 0 to 1."""
    with pytest.raises(error, match=r"`p` to be a number from 0 to 1, but got"):
        LockedDropout(p)


def test_a_probability_is_a_number():
    """A string is not taken for a number."""
    with pytest.raises(InvalidTypeError, match=r"`p` to be a number from 0 to 1, but got 'half'"):
        LockedDropout("half")


def test_inputs_have_three_dimensions():
    """Without a time dimension there is nothing to share a mask over."""
    with pytest.raises(InvalidValueError, match=r"shape \(batch, time, features\), but .*\(2, 3\)"):
        LockedDropout()(torch.ones(2, 3))


def test_the_repr_shows_the_probability():
    """The probability can be read from a printed model."""
    assert repr(LockedDropout(0.25)) == "LockedDropout(p=0.25)"
