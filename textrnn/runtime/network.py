"""The logits of a recurrent classifier, in NumPy.

Each step computes both directions at once; the backward one starts at the last token of each text.
The texts of a batch are sorted by length, so that those with a token left are always the first
ones, and no step computes padding.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from textrnn.runtime.batches import batches_by_length, consecutive

__all__ = ["RecurrentNetwork"]

_Floats: TypeAlias = NDArray[np.float32]
_Integers: TypeAlias = NDArray[np.int64]
_Step: TypeAlias = Callable[[], None]

_MAX_SHARED_IDS = 32_768  # in texts whose different words are multiplied once
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
        logits = np.empty((len(lengths), self._num_classes), np.float32)
        for texts, tokens in consecutive(lengths, max_ids=_MAX_SHARED_IDS):
            logits[texts] = self._shared(ids[tokens], lengths[texts])
        return logits

    def _shared(self, ids: NDArray[np.int32], lengths: _Integers) -> _Floats:
        """Return the logits of texts whose different words are multiplied once."""
        words, places = ids, np.arange(len(ids))  # (words,) and (total,)
        if len(lengths) > 1:
            words, places = np.unique(ids, return_inverse=True)
        projected = self._layers[0].project(self._weights["embedding.weight"][words])
        starts = lengths.cumsum() - lengths  # (texts,)
        logits = np.empty((len(lengths), self._num_classes), np.float32)
        for rows in batches_by_length(lengths, max_ids=_MAX_IDS, max_texts=_MAX_TEXTS):
            steps = _Steps(lengths[rows], len(self._layers[0].inner))
            tokens = starts[rows][steps.texts] + steps.times  # (tokens,)
            logits[rows] = self._forward(projected, places[tokens], steps)
        return logits

    def _forward(self, projected: _Floats, places: _Integers, steps: "_Steps") -> _Floats:
        """Return the logits of a batch, `(texts, classes)`."""
        for layer, above in pairwise(self._layers):
            states = layer.run(projected, places, steps, ["states"])["states"]  # (rows, hidden)
            projected, places = above.project(steps.by_token(states)), np.arange(len(places))
        kinds = ["states" if name == "attention" else name for name in self._pooling]
        found = self._layers[-1].run(projected, places, steps, kinds)
        if "states" in kinds:
            found["states"] = self._attend(steps.by_token(found["states"]), steps)
        features = np.tanh(np.concatenate([found[kind] for kind in kinds], axis=1))
        return self._linear("head.4", np.tanh(self._linear("head.1", features)))

    def _linear(self, name: str, inputs: _Floats) -> _Floats:
        outputs: _Floats = inputs @ self._weights[f"{name}.weight"].T
        outputs += self._weights[f"{name}.bias"]
        return outputs

    def _attend(self, states: _Floats, steps: "_Steps") -> _Floats:
        """Return the mean of states `(tokens, features)` by attention, `(texts, features)`."""
        hidden = np.tanh(self._linear("pooling.attention.hidden", states))
        query = self._weights["pooling.attention.query.weight"]  # (1, features)
        scores: _Floats = hidden @ query.T  # (tokens, 1)
        scores -= steps.reduce(np.maximum, scores)[steps.texts].astype(np.float32)
        shares = np.exp(scores)
        sums = steps.reduce(np.add, shares)  # (texts, 1)
        pooled: _Floats = (steps.reduce(np.add, states * shares) / sums).astype(np.float32)
        return pooled


class _Steps:
    """The order of computation of a batch whose lengths descend.

    Tokens are sorted by time, then by text. States are computed in rows, which are sorted by step,
    then by direction, then by text.
    """

    def __init__(self, lengths: _Integers, directions: int) -> None:
        time = np.arange(lengths[0])
        self.lengths = lengths  # (texts,)
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

    def by_token(self, states: _Floats) -> _Floats:
        """Return the states of all directions at each token, `(tokens, features)`."""
        rows = np.take_along_axis(self.rows, self.reads, axis=1)  # (directions, tokens)
        found: _Floats = states[rows.T]  # (tokens, directions, hidden)
        return found.reshape(len(found), -1)

    def blocks(self, values: NDArray[Any], directions: int) -> Iterator[NDArray[Any]]:
        """Yield views of steps with the same texts, at most 64, `(steps, directions, texts, ...)`.

        The values are `(rows, ...)`; with one direction rows are tokens.
        """
        changes = (np.flatnonzero(np.diff(self.counts)) + 1).tolist()
        for begin, end in pairwise([0, *changes, len(self.counts)]):
            texts = int(self.counts[begin])
            for first in range(begin, end, _MAX_STEPS):
                steps = min(_MAX_STEPS, end - first)
                start = int(self.starts[first]) * directions
                block = values[start : start + steps * directions * texts]
                yield block.reshape(steps, directions, texts, *values.shape[1:])

    def reduce(self, ufunc: np.ufunc, values: _Floats) -> NDArray[np.float64]:
        """Return sum or maximum of each text's values `(tokens, features)`, `(texts, features)`."""
        shape = (len(self.lengths), values.shape[1])
        result = np.full(shape, 0.0 if ufunc is np.add else -np.inf)
        for block in self.blocks(values, 1):
            part = result[: block.shape[2]]
            ufunc(part, ufunc.reduce(block[:, 0]), out=part)
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

    def project(self, inputs: _Floats) -> _Floats:
        """Return the products of inputs, `(inputs * gates * directions, hidden)`."""
        projected = inputs @ self.w_input  # (inputs, gates * directions * hidden)
        projected += self.bias
        return projected.reshape(-1, self.w_state.shape[-1])

    def run(
        self, projected: _Floats, places: _Integers, steps: _Steps, kinds: list[str]
    ) -> dict[str, _Floats]:
        """Return pooled states by kind, `(texts, features)`, and all `"states"`, `(rows, hidden)`.

        Only those of the given kinds are complete. The places are the inputs of tokens.
        """
        gates, directions, hidden = self.w_state.shape[:3]
        texts = len(steps.lengths)
        reads = np.empty(steps.rows.size, np.int64)  # (rows,)
        reads[steps.rows] = places[steps.reads]
        reads *= gates * directions
        parts = np.arange(gates * directions).reshape(gates, directions, 1)
        # All steps overwrite the same memory, which stays in the processor's cache.
        shape = (directions, texts, hidden)
        states, cells, sums = np.zeros((3, *shape), np.float32)
        largest, totals = np.full(shape, -np.inf, np.float32), np.zeros(shape)
        every = np.empty((len(reads) if "states" in kinds else 0, hidden), np.float32)
        scratch = np.empty((2, gates * states.size), np.float32)
        row = 0
        for block in steps.blocks(reads, directions):
            now, most, sums_now = (each[:, : block.shape[2]] for each in (states, largest, sums))
            used = scratch[:, : gates * now.size]
            gate, product = used.reshape(2, gates, *now.shape)
            step = self.start(now, cells[:, : block.shape[2]], gate, product, self.inner)
            for rows in block[:, np.newaxis] + parts:  # (gates, directions, texts)
                projected.take(rows, axis=0, out=gate, mode="clip")
                np.matmul(now, self.w_state, out=product)
                step()
                if "states" in kinds:
                    every[row : row + len(now[0]) * directions].reshape(now.shape)[:] = now
                    row += len(now[0]) * directions
                if "max" in kinds:
                    np.maximum(most, now, out=most)
                if "mean" in kinds:
                    np.add(sums_now, now, sums_now)
            totals[:, : block.shape[2]] += sums_now  # in double precision
            sums_now[:] = 0.0
        means = (totals / steps.lengths[:, np.newaxis]).astype(np.float32)
        found = {"max": largest, "mean": means, "last": states}  # (directions, texts, hidden)
        found = {kind: each.swapaxes(0, 1).reshape(texts, -1) for kind, each in found.items()}
        return found | {"states": every}


# Each of the following returns a function that computes the states after a step in place of those
# before it, (directions, texts, hidden), from the projected inputs of the gates and the products
# with the states, (gates, directions, texts, hidden) each.


def _rnn(
    states: _Floats, cells: _Floats, gates: _Floats, products: _Floats, inner: _Floats
) -> _Step:
    del cells, inner

    def step() -> None:
        np.add(gates[0], products[0], states)
        np.tanh(states, states)

    return step


def _gru(
    states: _Floats, cells: _Floats, gates: _Floats, products: _Floats, inner: _Floats
) -> _Step:
    del cells
    (reset, update, new), product = gates, products[2]
    sigmoids, sigmoid_products = gates[:2], products[:2]

    def step() -> None:
        np.add(sigmoids, sigmoid_products, sigmoids)
        _sigmoid(sigmoids)
        np.add(product, inner, product)
        np.multiply(product, reset, product)
        np.add(new, product, new)
        np.tanh(new, new)
        np.subtract(states, new, states)  # h' = (1 - z) n + z h = n + z (h - n)
        np.multiply(states, update, states)
        np.add(states, new, states)

    return step


def _lstm(
    states: _Floats, cells: _Floats, gates: _Floats, products: _Floats, inner: _Floats
) -> _Step:
    del inner
    (into, forget, out, new), sigmoids = gates, gates[:3]

    def step() -> None:
        np.add(gates, products, gates)
        _sigmoid(sigmoids)
        np.tanh(new, new)
        np.multiply(new, into, new)
        np.multiply(cells, forget, cells)
        np.add(cells, new, cells)
        np.tanh(cells, states)
        np.multiply(states, out, states)

    return step


def _sigmoid(halves: _Floats) -> None:
    """Replace halves of values by the sigmoids of the values."""
    np.tanh(halves, halves)
    np.multiply(halves, _HALF, halves)
    np.add(halves, _HALF, halves)


# The function of each cell, and the order of its gates here among those of PyTorch.
_CELLS = {"rnn": (_rnn, [0]), "gru": (_gru, [0, 1, 2]), "lstm": (_lstm, [0, 1, 3, 2])}
