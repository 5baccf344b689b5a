"""Recurrent layers over padded batches, with results that do not depend on padding.

PyTorch's own way is a packed sequence, which takes about twice the time of a padded one on a CPU.
Padding on the right can't reach the tokens before it, so the forward direction runs over the padded
batch as it is. The backward direction runs over a copy in which each text is reversed, or resets
its state at padding.
"""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn
from torch.compiler import is_exporting
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
from textrnn.nn.inference import Packing, read_layer
from textrnn.nn.layers import check_generator, drop, first_weights_from
from textrnn.nn.padding import check_lengths, check_type, refuse_tracing, token_mask
from textrnn.nn.recurrence import is_unmodified, run_layer

__all__ = ["RecurrentEncoder"]

_CELLS: dict[str, type[nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentEncoder(nn.Module):
    """Compute the states of a recurrent network at every token.

    The results are those of `torch.nn.RNN` (tanh), `torch.nn.GRU` or `torch.nn.LSTM` over packed
    sequences. The attribute `rnn` is that module, which holds the parameters (time first). Inputs
    at padding must be finite, but never affect a real token. On a CPU training uses a backward pass
    of this library (under autocast only with `positions`), which supports neither double backward
    nor forward-mode differentiation.

    Args:
        input_size: Number of features of each input.
        hidden_size: Number of features of a state in one direction.
        cell: `"rnn"` (tanh; Elman, 1990), `"gru"` (Cho et al., 2014) or `"lstm"` (Hochreiter and
            Schmidhuber, 1997). Default: "gru".
        num_layers: Number of stacked layers. Default: 1.
        bidirectional: Whether a second network reads each layer's inputs backward. Default: False.
        dropout: Dropout probability between layers, from 0 to 1; must be 0 with one layer.
            Default: 0.
        generator: Generator of the first weights and of dropout, on any device; None means
            PyTorch's global one. Default: None.

    Raises:
        InvalidTypeError: If an argument has a wrong type.
        InvalidValueError: If an argument has an invalid value.

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
        generator: torch.Generator | None = None,
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
            rule = "0 in an encoder of one layer (it acts between layers)"
            raise InvalidValueError(expected("dropout", rule, dropout))
        self.generator = check_generator(generator)
        make: Callable[..., nn.RNNBase] = _CELLS[cell]
        with first_weights_from(generator):
            self.rnn = make(
                self.input_size,
                self.hidden_size,
                self.num_layers,
                dropout=self.dropout,
                bidirectional=bidirectional,
                dtype=torch.float32,
            )

    @property
    def output_size(self) -> int:
        """Number of features of a state, both directions together."""
        return self.hidden_size * (2 if self.bidirectional else 1)

    def forward(self, inputs: Tensor, lengths: Tensor, positions: Tensor | None = None) -> Tensor:
        """Compute the states of the last layer.

        Args:
            inputs: Floating-point tensor, `(batch, time, input_size)`; with `positions` only the
                different inputs, `(distinct, input_size)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.
            positions: Index of the input at each token, int64 `(batch, time)`. The result is that
                of `inputs[positions]`, computed faster on a CPU if inputs repeat. Default: None.

        Returns:
            The states, `(batch, time, output_size)`; zeros at padding.

        Raises:
            InvalidTypeError: If `lengths` is not an integer tensor, or `inputs` have another type
                than the weights (float32 unless they were converted).
            InvalidValueError: If the shapes don't fit, a length is out of range, or
                `torch.jit.trace` records the call.
        """
        refuse_tracing()
        shape = "(batch, time, {})" if positions is None else "(distinct, {}) with `positions`"
        if inputs.dim() != shape.count(",") + 1 or inputs.shape[-1] != self.input_size:
            raise InvalidValueError(
                f"Expected `inputs` to be of shape {shape.format(self.input_size)}, "
                f"but got the shape {tuple(inputs.shape)}."
            )
        check_type("inputs", inputs, next(self.rnn.parameters()))
        if positions is not None and positions.dim() != 2:
            raise InvalidValueError(
                "Expected `positions` to be of shape (batch, time), "
                f"but got the shape {tuple(positions.shape)}."
            )
        batch, time = inputs.shape[:2] if positions is None else positions.shape
        lengths = check_lengths(lengths, batch, time)
        if not batch:
            return inputs.new_zeros(batch, time, self.output_size)
        if positions is not None and self.reads_packed(inputs.device):
            packing = Packing(lengths)
            states = self.read_packed(inputs, packing.counts, packing.pack(positions))["states"]
            return packing.unpack(states, time)  # (batch, time, output)
        mask = token_mask(lengths, time, inputs.device)
        if self._is_faster_fused(inputs, positions):
            return self._run_fused(inputs, positions, mask).transpose(0, 1)
        if positions is not None:
            inputs = functional.embedding(positions, inputs)  # (batch, time, input)
        states = self._run_torch(inputs, lengths, mask).transpose(0, 1)  # (batch, time, output)
        return states if mask is None else states * mask.to(states.dtype).unsqueeze(2)

    def gains_by_positions(self, device: torch.device) -> bool:
        """Tell whether `forward` is faster with `positions` in the current mode.

        Args:
            device: Device of the inputs.

        Returns:
            Whether repeated inputs should be passed once.
        """
        return (
            device.type == "cpu"
            and self.cell != "lstm"  # oneDNN's, in PyTorch, are as fast or faster
            and is_unmodified(self.rnn, _CELLS[self.cell])
            and not torch.compiler.is_compiling()
            and not torch._C._are_functorch_transforms_active()  # noqa: SLF001 # no public name
        )

    def reads_packed(self, device: torch.device) -> bool:
        """Tell whether `read_packed` is valid and faster than `forward` in the current mode.

        Args:
            device: Device of the inputs.

        Returns:
            Whether to use it.
        """
        return not torch.is_grad_enabled() and self.gains_by_positions(device)

    def read_packed(
        self,
        inputs: Tensor,
        counts: Sequence[int],
        positions: Tensor | None = None,
        pooling: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the states of texts sorted by length, without gradients, on a CPU.

        Args:
            inputs: Floating-point tensor, `(tokens, input_size)`, as the `data` of a
                `torch.nn.utils.rnn.PackedSequence`; with `positions` only the different inputs,
                `(distinct, input_size)`.
            counts: Its `batch_sizes`: number of texts with a token at each time.
            positions: Index of the input at each token, int64 `(tokens,)`. Default: None.
            pooling: Names out of `"max"`, `"mean"` and `"last"`; the mean is not divided by the
                length. Default: None.

        Returns:
            The pooled states by name, `(batch, output_size)`; without `pooling`, only `"states"`,
            those of the last layer at each token, `(tokens, output_size)`.
        """
        layers = self._weights()
        read: dict[str, Tensor] = {}
        for layer, weights in enumerate(layers):
            if layer:
                inputs, positions = self._drop(read["states"]), None
            names = pooling if layer == len(layers) - 1 else None
            directions = [
                read_layer(
                    self.cell,
                    inputs,
                    each,
                    counts,
                    positions=positions,
                    backward=backward,
                    pooling=names,
                )
                for backward, each in zip((False, True), weights, strict=False)
            ]
            read = {
                name: torch.cat([each[name] for each in directions], 1) for name in directions[0]
            }
        return read

    def _is_faster_fused(self, inputs: Tensor, positions: Tensor | None) -> bool:
        """Tell whether `run_layer` is faster than PyTorch's modules, as mostly in training."""
        if not self.gains_by_positions(inputs.device):
            return False
        if positions is not None:
            return True
        if torch.is_autocast_enabled("cpu") or not torch.is_grad_enabled():
            return False
        return inputs.requires_grad or any(p.requires_grad for p in self.rnn.parameters())

    def _run_fused(self, inputs: Tensor, positions: Tensor | None, mask: Tensor | None) -> Tensor:
        """Run all layers by `run_layer`, which leaves zeros at padding."""
        mask = None if mask is None else mask.t()  # (time, batch)
        positions = None if positions is None else positions.t()  # (time, batch)
        steps = inputs.transpose(0, 1) if positions is None else inputs
        for layer, layer_weights in enumerate(self._weights()):
            if layer:
                positions, steps = None, self._drop(steps)
            directions = [
                run_layer(self.cell, steps, each, positions=positions, mask=mask, backward=backward)
                for backward, each in zip((False, True), layer_weights, strict=False)
            ]
            steps = torch.cat(directions, 2) if self.bidirectional else directions[0]
        return steps  # (time, batch, output)

    def _run_torch(self, inputs: Tensor, lengths: Tensor, mask: Tensor | None) -> Tensor:
        """Run all layers by PyTorch's operations."""
        if self.cell == "lstm" and inputs.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # Autocast casts only the weights of a CPU LSTM, whose kernel refuses mixed types.
            inputs = inputs.to(torch.get_autocast_dtype("cpu"))
        steps = inputs.transpose(0, 1)  # (time, batch, input)
        if is_exporting() or (self.generator is not None and self.training and self.dropout):
            # PyTorch's modules are unrolled in an export, and take no generator.
            steps = self._run_layers(steps, lengths)
        elif mask is None or not self.bidirectional:
            steps, _ = self.rnn(steps)
        elif inputs.is_cuda:
            # cuDNN runs all layers of a packed sequence in one call.
            packed = pack_padded_sequence(steps, lengths, enforce_sorted=False)
            packed, _ = self.rnn(packed)
            steps, _ = pad_packed_sequence(packed, total_length=len(steps))
        else:
            steps = self._run_layers(steps, lengths)
        return steps  # (time, batch, output)

    def _run_layers(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Run each direction by itself, the backward one over a padded batch of reversed texts."""
        order = _reversed_order(lengths, *steps.shape[:2]).to(steps.device)  # (time, batch)
        for layer, weights in enumerate(self._weights()):
            if layer:
                steps = self._drop(steps)
            forward = self._run_direction(steps, weights[0])  # (time, batch, hidden)
            if self.bidirectional:
                backward = self._run_direction(_take_steps(steps, order), weights[1])
                forward = torch.cat((forward, _take_steps(backward, order)), 2)
            steps = forward  # (time, batch, output)
        return steps

    def _drop(self, steps: Tensor) -> Tensor:
        """Apply dropout between layers in training mode."""
        return drop(steps, self.dropout, self.generator) if self.training else steps

    def _run_direction(self, steps: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
        """Run one direction of one layer over the padded batch."""
        if is_exporting():
            states: Tensor = _run_exported(self.cell, steps, list(weights))
            return states
        return _run(self.cell, steps, list(weights), train=self.training)

    def _weights(self) -> list[list[tuple[Tensor, ...]]]:
        """Return the weights of each direction of each layer."""
        weights: list[tuple[Tensor, ...]] = [tuple(each) for each in self.rnn.all_weights]
        count = 1 + self.bidirectional
        return [weights[first : first + count] for first in range(0, len(weights), count)]


def _run(cell: str, steps: Tensor, weights: list[Tensor], *, train: bool) -> Tensor:
    """Return the states `(time, batch, hidden)` of one direction of one layer."""
    start = steps.new_zeros(1, steps.shape[1], weights[1].shape[1])
    settings = (True, 1, 0.0, train, False, False)  # biases, layers, dropout, ...
    if cell == "lstm":
        return torch.lstm(steps, (start, start), weights, *settings)[0]
    run = torch.gru if cell == "gru" else torch.rnn_tanh
    return run(steps, start, weights, *settings)[0]


@torch.library.custom_op("textrnn::run_direction", mutates_args=())
def _run_exported(cell: str, steps: Tensor, weights: list[Tensor]) -> Tensor:
    """Return the same from one operation, which `torch.export` does not unroll."""
    return _run(cell, steps, weights, train=False)


@_run_exported.register_fake
def _(cell: str, steps: Tensor, weights: list[Tensor]) -> Tensor:
    """Return a tensor of the same shape."""
    del cell
    return steps.new_empty(*steps.shape[:2], weights[1].shape[1])


def _reversed_order(lengths: Tensor, time: int, batch: int) -> Tensor:
    """Return an index `(time, batch)` into `time * batch` steps that reverses each text."""
    step = torch.arange(time).unsqueeze(1)  # (time, 1)
    mirrored = lengths - 1 - step  # (time, batch)
    return torch.where(mirrored < 0, step, mirrored) * batch + torch.arange(batch)


def _take_steps(steps: Tensor, order: Tensor) -> Tensor:
    """Return the steps of a batch in another order."""
    # An embedding look-up has the fastest backward pass of all ways to index.
    return functional.embedding(order, steps.flatten(0, 1))  # (time, batch, features)
