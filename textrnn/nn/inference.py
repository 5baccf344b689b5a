"""One direction of one recurrent layer over packed texts, without gradients.

Texts are sorted by length, the longest first, so that those with a token left are always the first
rows, and no step computes padding. Blocks of texts follow one another: the steps of a block
overwrite the same few rows, which stay in the processor's cache, while the projected inputs are
shared by all. The states can be pooled as they come, so that none needs to be kept.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from textrnn.nn.recurrence import product_type, project, rounded

__all__ = ["POOLINGS", "Packing", "read_layer"]

POOLINGS = frozenset({"max", "mean", "last"})
"""The kinds of pooling that need each state only once."""

_BLOCK = 512  # texts
_MANY = 4096  # values whose arithmetic takes longer than the calls


class Packing:
    """The order of the real tokens of a padded batch: by time, then by text, the longest first."""

    def __init__(self, lengths: Tensor) -> None:
        self.order = lengths.argsort(descending=True, stable=True)  # (batch,)
        self.lengths = lengths[self.order]  # (batch,)
        self._mask = torch.arange(int(self.lengths[0])).unsqueeze(1) < self.lengths  # (time, batch)
        self.counts: list[int] = self._mask.sum(1).tolist()  # texts that have a token, (time,)

    def pack(self, values: Tensor) -> Tensor:
        """Return the integers `(batch, time)` of all tokens, `(tokens,)`."""
        return values[self.order, : len(self.counts)].t()[self._mask]

    def unpack(self, states: Tensor, time: int) -> Tensor:
        """Return the states `(tokens, features)` of a batch, `(batch, time, features)`."""
        padded = states.new_zeros(time, len(self.order), states.shape[1])
        padded[: len(self.counts)][self._mask] = states
        return self.restore(padded.transpose(0, 1))

    def restore(self, values: Tensor) -> Tensor:
        """Return the values of sorted texts, `(batch, ...)`, in the order of the batch."""
        return values[self.order.argsort()]


def read_layer(
    cell: str,
    inputs: Tensor,
    weights: Sequence[Tensor],
    counts: Sequence[int],
    *,
    positions: Tensor | None = None,
    backward: bool = False,
    pooling: Collection[str] | None = None,
) -> dict[str, Tensor]:
    """Return the pooled states by name, `(batch, hidden)`.

    The mean is still to be divided by the lengths. Without `pooling`, there are only `"states"`,
    those at all tokens, `(tokens, hidden)`.
    """
    # inputs: (tokens, input), sorted by time, then by text; or with positions, (tokens,), the
    # different ones alone, (distinct, input)
    # counts: number of texts that have a token at each time, descending
    projected, inner = project(cell, inputs, weights)  # (inputs, gates * hidden) and (hidden,)
    w_state = weights[1].to(product_type(weights[1]))
    batch, hidden = counts[0], w_state.shape[1]
    with torch.autocast("cpu", enabled=False):
        if pooling is None:
            pooled = {"states": projected.new_empty(sum(counts), hidden)}
        else:
            pooled = {name: projected.new_zeros(batch, hidden) for name in pooling}
        if "max" in pooled:
            pooled["max"].fill_(-torch.inf)
        for first in range(0, batch, _BLOCK):
            block = {name: each[first : first + _BLOCK] for name, each in pooled.items()}
            reader = _Reader(cell, w_state, inner, projected, min(batch - first, _BLOCK))
            for start, states in reader.run(counts, first, positions, backward=backward):
                size = len(states)
                if pooling is None:
                    pooled["states"][start : start + size] = states
                if "mean" in block:
                    block["mean"][:size].add_(states)
                if "max" in block:
                    largest = block["max"][:size]
                    torch.maximum(largest, states, out=largest)
            if "last" in block:
                block["last"].copy_(reader.states)
    return pooled


class _Reader:
    """The states of a batch after a step, and the memory that each step overwrites."""

    def __init__(
        self, cell: str, w_state: Tensor, inner: Tensor, projected: Tensor, batch: int
    ) -> None:
        self.cell, self.inner, self.projected = cell, inner, projected
        self.w_state = w_state
        self.hidden = w_state.shape[1]
        self.states = projected.new_zeros(batch, self.hidden)
        self.gates = projected.new_empty(batch, projected.shape[1])
        self.products = w_state.new_empty(batch, projected.shape[1])

    def run(
        self, counts: Sequence[int], first: int, positions: Tensor | None, *, backward: bool
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield after each step the index of its first token and its states, to be read at once.

        The texts are those from `first` on.
        """
        step, size = (self._gru if self.cell == "gru" else self._rnn), 0
        # Transposed as it is: a copy would take longer than a short text.
        w_state, half = self.w_state.t(), self.w_state.dtype != self.states.dtype
        starts = accumulate(counts, initial=first)
        tokens = [
            (start, min(count - first, len(self.states)))
            for start, count in zip(starts, counts, strict=False)
            if count > first
        ]
        for start, count in reversed(tokens) if backward else tokens:
            if count != size:
                size = count
                views = self._views(size)
                states, gates = self.states[:size], self.gates[:size]
                rows = min(rounded(size), len(self.states)) if half else size
                before, products = self.states[:rows], self.products[:rows]
            if positions is None:
                gates.copy_(self.projected[start : start + size])
            else:
                place = positions[start : start + size]
                torch.index_select(self.projected, 0, place, out=gates)
            torch.mm(before.to(w_state.dtype) if half else before, w_state, out=products)
            step(views)
            yield start, states

    def _views(self, size: int) -> Sequence[Tensor]:
        """Return the parts of the memory that the first texts' steps use."""
        hidden = self.hidden
        gates, products = self.gates[:size], self.products[:size]
        each = gates.chunk(gates.shape[1] // hidden, 1)
        first = gates[:, : 2 * hidden]
        states = self.states[:size]
        if self.cell == "gru":
            return states, first, products[:, : 2 * hidden], products[:, 2 * hidden :], *each
        return states, gates, products

    @staticmethod
    def _rnn(views: Sequence[Tensor]) -> None:
        states, gates, products = views
        _tanh_(torch.add(gates, products, out=states))

    def _gru(self, views: Sequence[Tensor]) -> None:
        states, first, products, product, reset, update, candidate = views
        first.add_(products).sigmoid_()  # reset and update gates at once
        inner = torch.add(product, self.inner)  # U h + c
        _tanh_(torch.addcmul(candidate, reset, inner, out=inner))
        torch.lerp(inner, states, update, out=states)


def _tanh_(values: Tensor) -> Tensor:
    """Replace values by their tanh; many of them by `2 sigmoid(2 x) - 1`, in half the time."""
    if values.numel() < _MANY:
        return values.tanh_()
    return values.mul_(2).sigmoid_().mul_(2).sub_(1)
