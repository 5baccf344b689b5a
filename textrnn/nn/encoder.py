"""Recurrent layers over padded batches: fast, and exact whatever the padding.

PyTorch's own way to be exact is a packed sequence, which takes about twice the time of a padded
one on a CPU. It isn't needed there: padding on the right can't reach the tokens before it, so the
forward direction runs over the padded batch as it is. The backward direction does the same over a
copy in which each text is reversed, or forgets whatever it has read at padding.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    check_choice,
    check_float,
    check_int,
    expected,
)
from textrnn.nn.padding import check_lengths, token_mask
from textrnn.nn.recurrence import is_traced, is_untouched, run_layer

__all__ = ["RecurrentEncoder"]

_CELLS: dict[str, type[nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentEncoder(nn.Module):
    """Read texts with a recurrent network and give the state at every token.

    The results are those of a `torch.nn.RNN` (tanh), `torch.nn.GRU` or `torch.nn.LSTM` over packed
    sequences. That module holds the parameters; it is the attribute `rnn`, time first. What stands
    at padding must be finite, but never reaches a real token. On a CPU it learns by a backward
    pass of its own, in half precision only with `positions`, which gives no gradients of gradients
    and no forward-mode ones.

    Args:
        input_size: Features of each input.
        hidden_size: Features of a state in one direction.
        cell: `"rnn"` (tanh; Elman, 1990), `"gru"` (Cho et al., 2014) or `"lstm"` (Hochreiter and
            Schmidhuber, 1997).
        num_layers: Number of layers, each of which reads the states of the one before.
        bidirectional: Whether a second network reads each layer's inputs backward.
        dropout: Probability of dropping a feature between two layers, from 0 to 1; only 0
            makes sense, and is allowed, with one layer.

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
        if not isinstance(bidirectional, bool):
            raise InvalidTypeError(expected("bidirectional", "True or False", bidirectional))
        self.bidirectional = bidirectional
        self.dropout = check_float("dropout", dropout, minimum=0.0, maximum=1.0)
        if self.dropout and self.num_layers == 1:
            raise InvalidValueError(
                expected(
                    "dropout", "0 in an encoder of one layer (it acts between layers)", dropout
                )
            )
        make: Callable[..., nn.RNNBase] = _CELLS[cell]
        self.rnn = make(
            self.input_size,
            self.hidden_size,
            self.num_layers,
            dropout=self.dropout,
            bidirectional=bidirectional,
        )

    @property
    def output_size(self) -> int:
        """Features of a state, both directions together."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    def forward(self, inputs: Tensor, lengths: Tensor, positions: Tensor | None = None) -> Tensor:
        """Compute the state of the last layer at every token.

        Args:
            inputs: Floating-point tensor, `(batch, time, input_size)`; with `positions` the
                different inputs alone, `(distinct, input_size)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.
            positions: Which of the different inputs stands where, int64 `(batch, time)`. The
                result is that of `inputs[positions]`, on a CPU in less time where the same inputs
                come again and again. Default: None.

        Returns:
            The states, `(batch, time, output_size)`; zeros at padding.

        Raises:
            InvalidTypeError: If `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, or a length is out of range.
        """
        shape = "(batch, time, {})" if positions is None else "(distinct, {}) with `positions`"
        if inputs.dim() != shape.count(",") + 1 or inputs.shape[-1] != self.input_size:
            raise InvalidValueError(
                f"Expected `inputs` to be of shape {shape.format(self.input_size)}, "
                f"but got the shape {tuple(inputs.shape)}."
            )
        if positions is not None and positions.dim() != 2:
            raise InvalidValueError(
                "Expected `positions` to be of shape (batch, time), "
                f"but got the shape {tuple(positions.shape)}."
            )
        batch, time = inputs.shape[:2] if positions is None else positions.shape
        lengths = check_lengths(lengths, batch, time)
        if not batch:
            return inputs.new_zeros(batch, time, self.output_size)
        mask = token_mask(lengths, time, inputs.device)
        if self._steps_in_place(inputs, positions):
            return self._run_in_place(inputs, positions, mask).transpose(0, 1)
        if positions is not None:
            inputs = functional.embedding(positions, inputs)  # (batch, time, input)
        steps = self._run_all(inputs, lengths, mask)
        states = steps.transpose(0, 1)  # (batch, time, output)
        return states if mask is None else states * mask.to(states.dtype).unsqueeze(2)

    def _run_all(self, inputs: Tensor, lengths: Tensor, mask: Tensor | None) -> Tensor:
        """Run all layers over inputs that are each for itself."""
        if self.cell == "lstm" and inputs.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # Autocast casts the weights of a CPU LSTM alone, and the kernel refuses the mixture.
            inputs = inputs.to(torch.get_autocast_dtype("cpu"))
        steps = inputs.transpose(0, 1)  # (time, batch, input)
        if mask is None or not self.bidirectional:
            steps, _ = self.rnn(steps)
        elif inputs.is_cuda:
            steps = self._run_packed(steps, lengths)
        else:
            steps = self._run_directions(steps, lengths)
        return steps  # (time, batch, output)

    def gains_by_positions(self, device: torch.device) -> bool:
        """Tell whether `positions` save time now.

        Args:
            device: Where the inputs are.
        """
        half, learns = torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()
        # Torch predicts fast with LSTMs, and is fast throughout with those in half precision.
        fast = self.cell == "lstm" and (half or (self.num_layers > 1 and not learns))
        return (
            device.type == "cpu"
            and not fast
            and is_untouched(self.rnn, _CELLS[self.cell])
            and not is_traced()
            and not torch._C._are_functorch_transforms_active()  # noqa: SLF001 # no public name
        )

    def _steps_in_place(self, inputs: Tensor, positions: Tensor | None) -> bool:
        """Tell whether `run_layer` is faster than torch's own modules: nearly always if it learns.

        Args:
            inputs: The inputs.
            positions: Which of them stands where, or None.
        """
        if not self.gains_by_positions(inputs.device):
            return False
        if positions is not None:
            return True
        if torch.is_autocast_enabled("cpu") or not torch.is_grad_enabled():
            return False
        return inputs.requires_grad or any(p.requires_grad for p in self.rnn.parameters())

    def _run_in_place(
        self, inputs: Tensor, positions: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """Run all layers as operations of this library, which leave zeros at padding."""
        real = None if mask is None else mask.t()  # (time, batch)
        at = None if positions is None else positions.t()  # (time, batch)
        steps = inputs.transpose(0, 1) if at is None else inputs
        for layer, layer_weights in enumerate(self._weights()):
            if layer:
                at, steps = None, functional.dropout(steps, self.dropout, self.training)
            directions = [
                run_layer(
                    self.cell, steps, weights, positions=at, mask=real, backward=bool(direction)
                )
                for direction, weights in enumerate(layer_weights)
            ]
            steps = torch.cat(directions, 2) if self.bidirectional else directions[0]
        return steps  # (time, batch, output)

    def _weights(self) -> list[list[tuple[Tensor, ...]]]:
        """Return the weights of each direction of each layer."""
        weights: list[tuple[Tensor, ...]] = [tuple(those) for those in self.rnn.all_weights]
        count = 1 + self.bidirectional
        return [weights[first : first + count] for first in range(0, len(weights), count)]

    def _run_packed(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Run all layers at once, which cuDNN does in one call."""
        packed = pack_padded_sequence(steps, lengths, enforce_sorted=False)
        packed, _ = self.rnn(packed)
        steps, _ = pad_packed_sequence(packed, total_length=len(steps))
        return steps  # (time, batch, output)

    def _run_directions(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Run each direction of each layer by itself over the padded batch."""
        order = _reversed_order(lengths, *steps.shape[:2]).to(steps.device)  # (time, batch)
        for layer, weights in enumerate(self._weights()):
            if layer:
                steps = functional.dropout(steps, self.dropout, self.training)
            forward = self._run(steps, weights[0])  # (time, batch, hidden)
            backward = self._run(_take_steps(steps, order), weights[1])
            steps = torch.cat((forward, _take_steps(backward, order)), 2)  # (time, batch, output)
        return steps

    def _run(self, steps: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
        """Run one direction of one layer over the padded batch."""
        start = steps.new_zeros(1, steps.shape[1], self.hidden_size)
        settings = (True, 1, 0.0, self.training, False, False)  # biases, layers, dropout, ...
        if self.cell == "lstm":
            return torch.lstm(steps, (start, start), weights, *settings)[0]
        run = torch.gru if self.cell == "gru" else torch.rnn_tanh
        return run(steps, start, weights, *settings)[0]


def _reversed_order(lengths: Tensor, time: int, batch: int) -> Tensor:
    """Return for each step which of the `time * batch` steps it changes places with."""
    step = torch.arange(time).unsqueeze(1)  # (time, 1)
    mirrored = lengths - 1 - step  # (time, batch)
    return torch.where(mirrored < 0, step, mirrored) * batch + torch.arange(batch)


def _take_steps(steps: Tensor, order: Tensor) -> Tensor:
    """Rearrange the steps of a batch."""
    # A look-up as in an embedding, whose backward pass is the fastest of all ways to index.
    return functional.embedding(order, steps.flatten(0, 1))  # (time, batch, features)
