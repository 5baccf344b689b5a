"""A recurrent layer whose inputs come again and again, as the words of texts do.

Half of what a first layer computes are products of its inputs and their weights. A batch of 256
texts has some 10,000 words, but only 2,000 different ones: here each of these is multiplied once,
and looked up at its places. It serves prediction on a CPU: nothing is kept for a backward pass.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["run_repeated"]

_GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def run_repeated(
    cell: str,
    distinct: Tensor,
    positions: Tensor,
    weights: Sequence[Tensor],
    *,
    mask: Tensor | None = None,
    backward: bool = False,
) -> Tensor:
    """Run one direction of one layer, without gradients.

    Under autocast, matrices are multiplied in its type, while states and gates stay in that of the
    inputs.

    Args:
        cell: `"rnn"`, `"gru"` or `"lstm"`.
        distinct: The different inputs, `(distinct, input)`.
        positions: Which of them stands where, int64 `(time, batch)`.
        weights: As torch's modules have them: of the inputs `(gates * hidden, input)`, of the
            states `(gates * hidden, hidden)`, and the biases of both, `(gates * hidden,)`.
        mask: Where the real tokens are, boolean `(time, batch)`; None if they are everywhere.
        backward: Whether texts are read from their ends to their beginnings.

    Returns:
        The states, `(time, batch, hidden)`. What stands at padding means nothing.

    Example:
        >>> import torch
        >>> gru = torch.nn.GRU(3, 5)
        >>> words, positions = torch.randn(2, 3), torch.tensor([[0, 1], [1, 1], [0, 0]])
        >>> with torch.no_grad():
        ...     states = run_repeated("gru", words, positions, gru.all_weights[0])
        ...     torch.allclose(states, gru(words[positions])[0], atol=1e-6)
        True
    """
    kind, dtype = distinct.dtype, distinct.dtype
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
    w_input, w_state, b_input, b_state = weights
    hidden = w_state.shape[1]
    # The states' bias acts within a GRU's candidate, everywhere else as the inputs' does.
    inner = 2 * hidden if cell == "gru" else len(b_state)
    bias = b_input + torch.cat((b_state[:inner], torch.zeros_like(b_state[inner:])))
    real = None
    if backward and mask is not None:
        real = mask.to(kind).unsqueeze(2)  # (time, batch, 1)
    time, batch = positions.shape
    with torch.autocast("cpu", enabled=False):
        table = torch.addmm(bias.to(dtype), distinct.to(dtype), w_input.to(dtype).t())
        table = table.to(kind)  # (distinct, gates * hidden)
        across = w_state.to(dtype).t()  # (hidden, gates * hidden)
        gates = table.new_empty(batch, _GATES[cell] * hidden)
        product = torch.empty_like(gates, dtype=dtype)
        states = table.new_empty(time, batch, hidden)
        before = table.new_zeros(batch, hidden)
        memory = torch.zeros_like(before)  # an LSTM's cells
        for step in range(time - 1, -1, -1) if backward else range(time):
            now = states[step]  # (batch, hidden)
            torch.index_select(table, 0, positions[step], out=gates)
            torch.mm(before.to(dtype), across, out=product)
            if cell == "rnn":
                torch.add(gates, product, out=now).tanh_()
            elif cell == "gru":
                _gru(gates, product, b_state[inner:], before, now)
            else:
                _lstm(gates, product, memory, now)
            if real is not None:
                # The first token that is read, a text's last one, finds nothing before it.
                now.mul_(real[step])
                memory.mul_(real[step])
            before = now
    return states


def _gru(gates: Tensor, product: Tensor, bias: Tensor, before: Tensor, now: Tensor) -> None:
    """Fill `now` with `(1 - z) n + z h`, where `n = tanh(input + r (product + bias))`."""
    both = 2 * now.shape[1]
    reset, update, candidate = gates.chunk(3, 1)  # (batch, hidden) each
    gates[:, :both].add_(product[:, :both]).sigmoid_()
    candidate.addcmul_(reset, product[:, both:] + bias).tanh_()
    torch.lerp(candidate, before, update, out=now)


def _lstm(gates: Tensor, product: Tensor, memory: Tensor, now: Tensor) -> None:
    """Make `memory` to `c' = f c + i g`, and fill `now` with `o tanh(c')`."""
    into, forget, new, out = gates.add_(product).chunk(4, 1)  # (batch, hidden) each
    gates[:, : 2 * now.shape[1]].sigmoid_()
    new.tanh_()
    memory.mul_(forget).addcmul_(into, new)
    torch.tanh(memory, out=now).mul_(out.sigmoid_())
