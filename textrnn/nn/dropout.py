"""Dropout for sequences."""

from torch import Tensor, nn

from textrnn.errors import InvalidValueError, check_float

__all__ = ["LockedDropout"]


class LockedDropout(nn.Module):
    """Drop the same features at every time step of a text.

    Each text of a batch draws one mask, which all its steps share ("variational" or "locked"
    dropout), so that a feature is either seen throughout a text or not at all. What remains is
    scaled by `1 / (1 - p)`. In evaluation mode the input passes unchanged.

    Source: Gal and Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent
    Neural Networks", 2016, https://arxiv.org/abs/1512.05287.

    Args:
        p: Probability of dropping a feature, from 0 to 1.

    Raises:
        InvalidTypeError: If `p` is not a number.
        InvalidValueError: If `p` is not between 0 and 1.

    Example:
        >>> import torch
        >>> dropped = LockedDropout(0.5)(torch.ones(1, 3, 4))  # (batch, time, features)
        >>> bool((dropped == dropped[:, :1]).all())
        True
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = check_float("p", p, minimum=0.0, maximum=1.0)

    def forward(self, inputs: Tensor) -> Tensor:
        """Drop features of `inputs`, or return it as it is in evaluation mode.

        Args:
            inputs: Floating-point tensor, `(batch, time, features)`.

        Returns:
            A tensor like `inputs`.

        Raises:
            InvalidValueError: If `inputs` has not three dimensions.
        """
        if inputs.dim() != 3:
            raise InvalidValueError(
                "Expected `inputs` to be of shape (batch, time, features), "
                f"but got the shape {tuple(inputs.shape)}."
            )
        if not self.training or self.p == 0.0:
            return inputs
        batch, _, features = inputs.shape
        # F.dropout on ones gives the scaled mask, and zeros where `p` is 1.
        mask = nn.functional.dropout(inputs.new_ones(batch, 1, features), self.p)
        return inputs * mask  # (batch, time, features)

    def extra_repr(self) -> str:
        """Show the probability."""
        return f"p={self.p}"
