"""Recurrent layers over padded batches: fast, and exact whatever the padding."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from textrnn.errors import InvalidValueError, check_choice, check_float, check_int, expected
from textrnn.nn.masking import check_lengths, padding_mask

__all__ = ["RecurrentEncoder"]

_CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentEncoder(nn.Module):
    """Read texts with a recurrent network and give the state at every token.

    The parameters are those of a `torch.nn.RNN` (tanh), `torch.nn.GRU` or `torch.nn.LSTM`, held
    in the attribute `rnn`. The results are those of its packed sequences.

    Args:
        input_size: Features of each input.
        hidden_size: Features of a state in one direction.
        cell: `"rnn"` (tanh; Elman, 1990), `"gru"` (Cho et al., 2014) or `"lstm"` (Hochreiter and
            Schmidhuber, 1997).
        num_layers: Number of layers, each of which reads the states of the one before.
        bidirectional: Whether a second network reads each layer's inputs backward.
        dropout: Probability of dropping a feature between two layers, from 0 to 1.

    Raises:
        InvalidTypeError: If an argument has the wrong type.
        InvalidValueError: If an argument has a value that it must not have.

    Example:
        >>> import torch
        >>> encoder = RecurrentEncoder(8, 16, cell="lstm", bidirectional=True)
        >>> states = encoder(torch.randn(2, 5, 8), torch.tensor([5, 3]))
        >>> states.shape
        torch.Size([2, 5, 32])
        >>> bool((states[1, 3:] == 0).all())
        True
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        cell: str = "gru",
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.cell = check_choice("cell", cell, _CELLS)
        self.input_size = check_int("input_size", input_size)
        self.hidden_size = check_int("hidden_size", hidden_size)
        self.num_layers = check_int("num_layers", num_layers)
        self.bidirectional = bidirectional
        self.dropout = check_float("dropout", dropout, minimum=0.0, maximum=1.0)
        if self.dropout and self.num_layers == 1:
            raise InvalidValueError(
                expected(
                    "dropout", "0 in an encoder of one layer (it acts between layers)", dropout
                )
            )
        self.rnn = _CELLS[cell](
            self.input_size,
            self.hidden_size,
            self.num_layers,
            batch_first=True,
            dropout=self.dropout,
            bidirectional=bidirectional,
        )

    @property
    def output_size(self) -> int:
        """Features of a state, both directions together."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Compute the state of the last layer at every token.

        Args:
            inputs: Floating-point tensor, `(batch, time, input_size)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.

        Returns:
            The states, `(batch, time, output_size)`; zeros at padding.

        Raises:
            InvalidTypeError: If `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, or a length is out of range.
        """
        if inputs.dim() != 3 or inputs.shape[2] != self.input_size:
            raise InvalidValueError(
                f"Expected `inputs` to be of shape (batch, time, {self.input_size}), "
                f"but got the shape {tuple(inputs.shape)}."
            )
        batch, time, _ = inputs.shape
        lengths = check_lengths(lengths, batch, time)
        if not batch:
            return inputs.new_zeros(batch, time, self.output_size)
        padding = padding_mask(lengths, time, inputs.device)
        if padding is None:
            states, _ = self.rnn(inputs)
        elif not self.bidirectional:
            states, _ = self.rnn(inputs)
            states = states.masked_fill(padding.unsqueeze(2), 0.0)
        else:
            packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
            packed, _ = self.rnn(packed)
            states, _ = pad_packed_sequence(packed, batch_first=True, total_length=time)
        return torch.as_tensor(states)  # (batch, time, output)
