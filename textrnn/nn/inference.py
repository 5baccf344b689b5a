"""One direction of one recurrent layer over packed texts, without gradients.

Texts are sorted by length, the longest first, so that those with a token left are always the first
rows, and no step computes padding. All steps overwrite the same few rows, which stay in the
processor's cache. The states can be pooled as they come, so that none needs to be kept.
"""

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from textrnn.nn.recurrence import product_type, project, rounded

__all__ = ["POOLINGS", "read_layer"]

POOLINGS = frozenset({"max", "mean", "last"})
"""The kinds of pooling that need each state only once."""

_MANY = 4096  # values whose arithmetic takes longer than the calls


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
    with torch.autocast("cpu", enabled=False):
        reader = _Reader(cell, weights[1].to(product_type(weights[1])), inner, projected, counts[0])
        if pooling is None:
            tokens = sum(counts)
            states = projected.new_empty(tokens, reader.hidden)
            for start, state in reader.run(counts, positions, backward=backward):
                states[start : start + len(state)] = state
            return {"states": states}
        pooled = {name: torch.zeros_like(reader.states) for name in pooling}
        if "max" in pooled:
            pooled["max"].fill_(-torch.inf)
        for _, state in reader.run(counts, positions, backward=backward):
            size = len(state)
            if "mean" in pooled:
                pooled["mean"][:size].add_(state)
            if "max" in pooled:
                largest = pooled["max"][:size]
                torch.maximum(largest, state, out=largest)
        if "last" in pooled:
            pooled["last"] = reader.states
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
        self.cells = torch.zeros_like(self.states) if cell == "lstm" else self.states
        self.gates = projected.new_empty(batch, projected.shape[1])
        self.products = w_state.new_empty(batch, projected.shape[1])

    def run(
        self, counts: Sequence[int], positions: Tensor | None, *, backward: bool
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield after each step the index of its first token and its states, to be read at once."""
        start, end = (sum(counts), 0) if backward else (0, 0)
        step, size = {"rnn": self._rnn, "gru": self._gru, "lstm": self._lstm}[self.cell], 0
        # Transposed as it is: a copy would take longer than a short text.
        w_state, half = self.w_state.t(), self.w_state.dtype != self.states.dtype
        for count in reversed(counts) if backward else counts:
            start, end = (start - count, start) if backward else (end, end + count)
            if count != size:
                size = count
                views = self._views(size)
                states, gates = self.states[:size], self.gates[:size]
                rows = min(rounded(size), len(self.states)) if half else size
                before, products = self.states[:rows], self.products[:rows]
            if positions is None:
                gates.copy_(self.projected[start:end])
            else:
                torch.index_select(self.projected, 0, positions[start:end], out=gates)
            torch.mm(before.to(w_state.dtype) if half else before, w_state, out=products)
            step(views)
            yield start, states

    def _views(self, size: int) -> Sequence[Tensor]:
        """Return the parts of the memory that the first texts' steps use."""
        hidden = self.hidden
        gates, products = self.gates[:size], self.products[:size]
        each = gates.chunk(gates.shape[1] // hidden, 1)
        first = gates[:, : 2 * hidden]
        states, cells = self.states[:size], self.cells[:size]
        if self.cell == "gru":
            return states, first, products[:, : 2 * hidden], products[:, 2 * hidden :], *each
        if self.cell == "lstm":
            return states, cells, gates, products, first, *each
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

    @staticmethod
    def _lstm(views: Sequence[Tensor]) -> None:
        states, cells, gates, products, first, into, forget, new, out = views
        gates.add_(products)
        first.sigmoid_()  # input and forget gates at once
        cells.mul_(forget).addcmul_(into, _tanh_(new))
        torch.mul(_tanh_(states.copy_(cells)), out.sigmoid_(), out=states)


def _tanh_(values: Tensor) -> Tensor:
    """Replace values by their tanh; many of them by `2 sigmoid(2 x) - 1`, in half the time."""
    if values.numel() < _MANY:
        return values.tanh_()
    return values.mul_(2).sigmoid_().mul_(2).sub_(1)
