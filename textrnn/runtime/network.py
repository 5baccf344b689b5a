"""The logits of a recurrent classifier, in NumPy.

Each step computes both directions at once; the backward one starts at the last token of each text.
The texts of a batch are sorted by length, so that those with a token left are always the first
ones, and no step computes padding.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["RecurrentNetwork", "batches_by_length"]

_Floats: TypeAlias = NDArray[np.float32]
_Integers: TypeAlias = NDArray[np.int64]
_Step: TypeAlias = Callable[[_Floats, _Floats], None]

_MAX_IDS = 16_384  # in a batch, to bound the memory
_MAX_TEXTS = 128  # whose states and gates fit into the processor's cache
_MAX_STEPS = 64  # whose states are added in single precision
_HALF = np.array(0.5, np.float32)  # as an array, which costs a call less than a number


class RecurrentNetwork:
    """The network of a `RecurrentClassifier`.

    Args:
        config: Its `config`.
        weights: Its `state_dict()` as arrays.
    """

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, NDArray[Any]]) -> None:
        pooling = config["pooling"]
        self._pooling = (pooling,) if isinstance(pooling, str) else tuple(pooling)
        self._num_classes = int(config["num_classes"])
        self._weights = weights
        directions = ("", "_reverse") if config["bidirectional"] else ("",)
        self._layers = [
            _Layer(config["cell"], weights, [f"_l{layer}{direction}" for direction in directions])
            for layer in range(config["num_layers"])
        ]

    def logits(self, ids: NDArray[np.int32], lengths: _Integers) -> _Floats:
        """Compute the logits of encoded texts.

        Args:
            ids: Token ids of all texts, one after the other, `(total,)`.
            lengths: Number of ids of each text, at least 1, `(texts,)`.

        Returns:
            The logits, `(texts, classes)`.
        """
        starts = lengths.cumsum() - lengths  # (texts,)
        logits = np.empty((len(lengths), self._num_classes), np.float32)
        for rows in batches_by_length(lengths, max_ids=_MAX_IDS, max_texts=_MAX_TEXTS):
            steps = _Steps(lengths[rows], len(self._layers[0].inner))
            tokens = ids[starts[rows][steps.texts] + steps.times]  # (tokens,)
            logits[rows] = self._forward(tokens, steps)
        return logits

    def _forward(self, tokens: NDArray[np.int32], steps: "_Steps") -> _Floats:
        """Return the logits of a batch, `(texts, classes)`."""
        places: _Integers | None = None
        if len(steps.lengths) > 1:  # each different word is multiplied once
            tokens, places = np.unique(tokens, return_inverse=True)  # (words,) and (tokens,)
        inputs = self._weights["embedding.weight"][tokens]  # (words, embedding)
        for layer in self._layers[:-1]:
            inputs = steps.by_token(layer.run(inputs, places, steps))  # (tokens, features)
            places = None
        states = self._layers[-1].run(inputs, places, steps)  # (rows, hidden)
        pooled = [self._pool(name, states, steps) for name in self._pooling]
        features = np.tanh(np.concatenate(pooled, axis=1))  # (texts, features)
        return self._linear("head.4", np.tanh(self._linear("head.1", features)))

    def _linear(self, name: str, inputs: _Floats) -> _Floats:
        outputs: _Floats = inputs @ self._weights[f"{name}.weight"].T
        outputs += self._weights[f"{name}.bias"]
        return outputs

    def _pool(self, name: str, states: _Floats, steps: "_Steps") -> _Floats:
        """Return the pooled states of a batch, `(texts, features)`."""
        if name == "attention":
            return self._attend(steps.by_token(states), steps)
        pooled: NDArray[Any]  # (directions, texts, hidden)
        if name == "last":
            pooled = states[steps.last_rows]
        elif name == "max":
            pooled = steps.reduce(np.maximum, states, steps.directions)
        else:
            pooled = steps.reduce(np.add, states, steps.directions) / steps.lengths[:, np.newaxis]
        pooled = pooled.swapaxes(0, 1).reshape(len(steps.lengths), -1)  # (texts, features)
        return pooled.astype(np.float32, copy=False)

    def _attend(self, states: _Floats, steps: "_Steps") -> _Floats:
        """Return the mean of states `(tokens, features)` by attention, `(texts, features)`."""
        hidden = np.tanh(self._linear("pooling.attention.hidden", states))
        query = self._weights["pooling.attention.query.weight"]  # (1, features)
        scores: _Floats = hidden @ query.T  # (tokens, 1)
        scores -= steps.reduce(np.maximum, scores, 1)[0, steps.texts].astype(np.float32)
        shares = np.exp(scores)
        sums = steps.reduce(np.add, shares, 1)[0]  # (texts, 1)
        pooled: _Floats = (steps.reduce(np.add, states * shares, 1)[0] / sums).astype(np.float32)
        return pooled


def batches_by_length(lengths: _Integers, *, max_ids: int, max_texts: int) -> Iterator[_Integers]:
    """Yield the positions of texts batch by batch, the longest first; padding counts as ids."""
    order = np.argsort(-lengths, kind="stable")
    first = 0
    while first < len(order):
        texts = max_ids // int(lengths[order[first]])
        rows = order[first : first + min(max(texts, 1), max_texts)]
        yield rows
        first += len(rows)


class _Steps:
    """The order of computation of a batch whose lengths descend.

    Tokens are sorted by time, then by text. States are computed in rows, which are sorted by step,
    then by direction, then by text.
    """

    def __init__(self, lengths: _Integers, directions: int) -> None:
        time = np.arange(lengths[0])
        self.lengths = lengths  # (texts,)
        self.directions = directions
        self.counts = (-lengths).searchsorted(-time)  # texts that have a token, (time,)
        self.starts = self.counts.cumsum() - self.counts  # tokens before each time, (time,)
        self.times = time.repeat(self.counts)  # (tokens,)
        tokens = np.arange(len(self.times))
        self.texts = tokens - self.starts[self.times]  # (tokens,)
        mirrored = self.starts[lengths[self.texts] - 1 - self.times] + self.texts  # (tokens,)
        # The token that each direction reads, and the row of the state that it then computes.
        self.reads = np.stack([tokens, mirrored][:directions])  # (directions, tokens)
        self.rows = np.arange(directions)[:, np.newaxis] * self.counts[self.times]
        self.rows += self.starts[self.times] * directions + self.texts  # (directions, tokens)

    @property
    def last_rows(self) -> _Integers:
        """Rows of the states that have read a whole text, `(directions, texts)`."""
        return self.rows[:, self.starts[self.lengths - 1] + np.arange(len(self.lengths))]

    def by_token(self, states: _Floats) -> _Floats:
        """Return the states of all directions at each token, `(tokens, features)`."""
        rows = np.take_along_axis(self.rows, self.reads, axis=1)  # (directions, tokens)
        found: _Floats = states[rows.T]  # (tokens, directions, hidden)
        return found.reshape(len(found), -1)

    def blocks(self, values: NDArray[Any], directions: int) -> Iterator[NDArray[Any]]:
        """Yield views of consecutive steps with the same texts, `(steps, directions, texts, ...)`.

        The values are `(rows, ...)`; with one direction rows are tokens.
        """
        changes = np.flatnonzero(np.diff(self.counts)) + 1
        first = 0
        for last in [*changes.tolist(), len(self.counts)]:
            start, texts = int(self.starts[first]), int(self.counts[first])
            end = start + (last - first) * texts
            shape = (last - first, directions, texts, *values.shape[1:])
            yield values[start * directions : end * directions].reshape(shape)
            first = last

    def reduce(self, ufunc: np.ufunc, values: _Floats, directions: int) -> NDArray[np.float64]:
        """Return the sum or maximum of each text over time, `(directions, texts, features)`."""
        shape = (directions, len(self.lengths), values.shape[1])
        result = np.full(shape, 0.0 if ufunc is np.add else -np.inf)
        for block in self.blocks(values, directions):
            part = result[:, : block.shape[2]]
            for first in range(0, len(block), _MAX_STEPS):
                ufunc(part, ufunc.reduce(block[first : first + _MAX_STEPS]), out=part)
        return result


class _Layer:
    """All directions of one recurrent layer; `names` end the names of their weights."""

    def __init__(self, cell: str, weights: Mapping[str, NDArray[Any]], names: list[str]) -> None:
        self.start, order = _CELLS[cell]
        # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2 is fast in NumPy. Weights hold the first half of x.
        scale = np.full(len(order), 0.5, np.float32)  # (gates,)
        scale[-1] = 1.0  # the only tanh comes last

        def stacked(kind: str) -> _Floats:
            each = np.stack([weights[f"encoder.rnn.{kind}{name}"] for name in names])
            shape = (len(names), len(order), -1, *each.shape[2:])
            gates = each.reshape(shape).swapaxes(0, 1)[order]  # (gates, directions, hidden, ...)
            return gates * scale.reshape(-1, *[1] * (gates.ndim - 1))

        w_input = stacked("weight_ih")  # (gates, directions, hidden, inputs)
        self.w_input = w_input.reshape(-1, w_input.shape[-1]).T  # (inputs, features)
        w_state = stacked("weight_hh")  # (gates, directions, hidden, hidden)
        self.w_state = np.ascontiguousarray(w_state.swapaxes(2, 3))
        bias, inner = stacked("bias_ih"), stacked("bias_hh")  # (gates, directions, hidden)
        self.inner = inner[-1, :, np.newaxis].copy()  # (directions, 1, hidden)
        if cell == "gru":  # whose reset gate scales the last bias
            inner[-1] = 0.0
        self.bias = (bias + inner).ravel()  # (features,)

    def run(self, inputs: _Floats, places: _Integers | None, steps: _Steps) -> _Floats:
        """Return the states, `(rows, hidden)`; `places` are the inputs of tokens."""
        gates, directions, hidden = self.w_state.shape[:3]
        projected = inputs @ self.w_input  # (inputs, gates * directions * hidden)
        projected += self.bias
        projected = projected.reshape(-1, hidden)
        reads = np.empty(steps.rows.size, np.int64)  # (rows,)
        reads[steps.rows] = steps.reads if places is None else places[steps.reads]
        reads *= gates * directions
        parts = np.arange(gates * directions).reshape(gates, directions, 1)
        states = np.empty((len(reads), hidden), np.float32)
        before = np.zeros((directions, len(steps.lengths), hidden), np.float32)
        cells = np.zeros_like(before)
        scratch = np.empty((2, gates * before.size), np.float32)
        for read, block in zip(
            steps.blocks(reads, directions), steps.blocks(states, directions), strict=True
        ):
            before = before[:, : block.shape[2]]
            used = scratch[:, : gates * before.size]
            gate, product = used.reshape(2, gates, *before.shape)
            step = self.start(gate, product, cells[:, : block.shape[2]], self.inner)
            for rows, now in zip(read[:, np.newaxis] + parts, block, strict=True):
                # `rows` are (gates, directions, texts).
                projected.take(rows, axis=0, out=gate, mode="clip")
                np.matmul(before, self.w_state, out=product)
                step(before, now)
                before = now
        return states


# Each of the following returns a function that fills in the state after a step, `now`, from that
# `before`, (directions, texts, hidden) each, the projected inputs of the gates and the products
# with the state, (gates, directions, texts, hidden) each.


def _rnn(gates: _Floats, products: _Floats, cells: _Floats, inner: _Floats) -> _Step:
    del cells, inner

    def step(before: _Floats, now: _Floats) -> None:
        del before
        np.add(gates[0], products[0], now)
        np.tanh(now, now)

    return step


def _gru(gates: _Floats, products: _Floats, cells: _Floats, inner: _Floats) -> _Step:
    del cells
    (reset, update, new), product = gates, products[2]
    sigmoids, sigmoid_products = gates[:2], products[:2]

    def step(before: _Floats, now: _Floats) -> None:
        np.add(sigmoids, sigmoid_products, sigmoids)
        _sigmoid(sigmoids)
        np.add(product, inner, product)
        np.multiply(product, reset, product)
        np.add(new, product, new)
        np.tanh(new, new)
        np.subtract(before, new, now)  # h' = (1 - z) n + z h = n + z (h - n)
        np.multiply(now, update, now)
        np.add(now, new, now)

    return step


def _lstm(gates: _Floats, products: _Floats, cells: _Floats, inner: _Floats) -> _Step:
    del inner
    (into, forget, out, new), sigmoids = gates, gates[:3]

    def step(before: _Floats, now: _Floats) -> None:
        del before
        np.add(gates, products, gates)
        _sigmoid(sigmoids)
        np.tanh(new, new)
        np.multiply(new, into, new)
        np.multiply(cells, forget, cells)
        np.add(cells, new, cells)
        np.tanh(cells, now)
        np.multiply(now, out, now)

    return step


def _sigmoid(halves: _Floats) -> None:
    """Replace halves of values by the sigmoids of the values."""
    np.tanh(halves, halves)
    np.multiply(halves, _HALF, halves)
    np.add(halves, _HALF, halves)


# The function of each cell, and the order of its gates here among those of PyTorch.
_CELLS = {"rnn": (_rnn, [0]), "gru": (_gru, [0, 1, 2]), "lstm": (_lstm, [0, 1, 3, 2])}
