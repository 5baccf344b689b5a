"""One direction of one recurrent layer on a CPU, as one operation with a backward pass of its own.

Torch makes a graph of a dozen small operations for every step and multiplies the inputs of every
token. Here a layer's steps work in place in a few large tensors. And inputs that come again and
again, as the words of texts do, are multiplied once: a batch of 256 texts has some 10,000 words,
but only 2,000 different ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["is_traced", "is_untouched", "run_layer"]

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


def run_layer(
    cell: str,
    inputs: Tensor,
    weights: Sequence[Tensor],
    *,
    positions: Tensor | None = None,
    mask: Tensor | None = None,
    backward: bool = False,
) -> Tensor:
    """Run one direction of one layer.

    Under autocast, matrices are multiplied in its type, while states and gates stay in that of the
    weights. Gradients can be taken, but not gradients of gradients.

    Args:
        cell: `"rnn"`, `"gru"` or `"lstm"`.
        inputs: The inputs, `(time, batch, input)`; with `positions` the different ones alone,
            `(distinct, input)`.
        weights: As torch's modules have them: of the inputs `(gates * hidden, input)`, of the
            states `(gates * hidden, hidden)`, and the biases of both, `(gates * hidden,)`.
        positions: Which of the different inputs stands where, int64 `(time, batch)`.
        mask: Where the real tokens are, boolean `(time, batch)`; None if they are everywhere.
        backward: Whether texts are read from their ends to their beginnings.

    Returns:
        The states, `(time, batch, hidden)`; zeros at padding.

    Example:
        >>> import torch
        >>> gru = torch.nn.GRU(3, 5)
        >>> words, positions = torch.randn(2, 3), torch.tensor([[0, 1], [1, 1], [0, 0]])
        >>> states = run_layer("gru", words, gru.all_weights[0], positions=positions)
        >>> torch.allclose(states, gru(words[positions])[0], atol=1e-6)
        True
    """
    w_input, w_state, b_input, b_state = weights
    hidden = w_state.shape[1]
    # The states' bias acts within a GRU's candidate, everywhere else as the inputs' does.
    shared, inner = b_state, b_state[:0]
    if cell == "gru":
        shared, inner = functional.pad(b_state[: 2 * hidden], (0, hidden)), b_state[2 * hidden :]
    shares = functional.linear(inputs, w_input, b_input + shared).to(w_state.dtype)
    dtype = w_state.dtype
    if torch.is_autocast_enabled("cpu") and dtype != torch.double:  # which autocast leaves alone
        dtype = torch.get_autocast_dtype("cpu")
    shape = (inputs if positions is None else positions).shape[:2]  # (time, batch)
    real = [None] * shape[0] if mask is None else _real_steps(mask, w_state)
    plan = _Plan(cell, real, backward, dtype)
    with torch.autocast("cpu", enabled=False):
        if torch.is_grad_enabled() and any(t.requires_grad for t in (inputs, *weights)):
            if positions is not None:
                shares = functional.embedding(positions, shares)  # (time, batch, gates * hidden)
            states: Tensor = _Steps.apply(  # type: ignore[no-untyped-call] # torch gives no types
                plan, shares, w_state, inner
            )
            return states
        run = _Forward(plan, w_state, inner, shape)
        run(shares, positions)
        return run.states


@dataclass(frozen=True)
class _Plan:
    """How a layer is run.

    Args:
        cell: The cell.
        real: For each step 1 at real tokens and 0 at padding, `(batch, 1)`, or None where there is
            no padding. Read backward, a text's last token must find nothing before it.
        backward: Whether texts are read from their ends to their beginnings.
        dtype: The type that matrices are multiplied in.
    """

    cell: str
    real: Sequence[Tensor | None]
    backward: bool
    dtype: torch.dtype

    @property
    def places(self) -> tuple[int, int]:
        """Where the states before and after step 0 stand among all states."""
        return (1, 0) if self.backward else (0, 1)

    def steps(self, time: int, *, back: bool = False) -> range:
        """Return the steps in the order of reading, or in the opposite one."""
        return range(time - 1, -1, -1) if self.backward != back else range(time)


def _real_steps(mask: Tensor, like: Tensor) -> list[Tensor | None]:
    """Return the columns of a mask `(time, batch)` as numbers, None for those without padding."""
    real = mask.to(like.dtype).unsqueeze(2).unbind()  # (batch, 1) each
    full = mask.all(1).tolist()
    return [None if whole else each for whole, each in zip(full, real, strict=True)]


class _Forward:
    """The steps of a layer.

    Args:
        plan: How it is run.
        w_state: Weights of the states, `(gates * hidden, hidden)`.
        inner: Bias within a GRU's candidate, `(hidden,)`.
        shape: Number of steps and of texts.

    Attributes:
        all: All states, with those before the first step, `(time + 1, batch, hidden)`.
        kept: What a backward pass wants besides: what a GRU's reset gate scales, or an LSTM's
            cells, `(time + 1, batch, hidden)`.
        states: The states after each step, `(time, batch, hidden)`.
    """

    def __init__(self, plan: _Plan, w_state: Tensor, inner: Tensor, shape: Sequence[int]) -> None:
        self.plan, self.inner = plan, inner
        # Copied once, since every step multiplies by it, and a small batch faster so.
        self.across = w_state.to(plan.dtype).t().contiguous()  # (hidden, gates * hidden)
        time, batch = shape
        self.all = w_state.new_empty(time + 1, batch, w_state.shape[1])
        self.kept = torch.empty_like(self.all) if plan.cell != "rnn" else self.all[:0]
        self.states = self.all[plan.places[1] :][:time]

    def __call__(self, shares: Tensor, positions: Tensor | None = None) -> None:
        """Run all steps.

        Args:
            shares: The inputs' share in the gates, `(time, batch, gates * hidden)`; the gates take
                its place. With `positions` that of the different inputs, `(distinct, gates *
                hidden)`, which stays as it is.
            positions: Which of the different inputs stands where, `(time, batch)`, or None.
        """
        time, cell = len(self.states), self.plan.cell
        old, new = self.plan.places
        start = time if self.plan.backward else 0
        self.all[start].zero_()
        if cell == "lstm":
            self.kept[start].zero_()
        product = self.across.new_empty(self.all.shape[1], self.across.shape[1])
        products = self._cut(product)
        states, kept = self.all.unbind(), self.kept.unbind()
        # Cut beforehand: of a small batch, cutting at every step would take most of the time.
        if positions is None:
            gates = self._cut(shares)
        else:
            # Looked up step by step into one place, which stays in the cache.
            gates = self._cut(shares.new_empty(1, *product.shape).expand(time, -1, -1))
        parts = list(zip(*(gate.unbind() for gate in gates), strict=True))
        for step in self.plan.steps(time):
            part = parts[step]
            if positions is not None:
                torch.index_select(shares, 0, positions[step], out=part[0])
            before, now = states[step + old], states[step + new]  # (batch, hidden)
            torch.mm(before.to(self.across.dtype), self.across, out=product)
            if cell == "rnn":
                torch.add(part[0], product, out=now).tanh_()
            elif cell == "gru":
                self._gru(part, products, before, now, kept[step])
            else:
                self._lstm(part, product, kept[step + old], kept[step + new], now)
            if (real := self.plan.real[step]) is not None:
                now.mul_(real)
                if cell == "lstm":
                    kept[step + new].mul_(real)

    def _cut(self, gates: Tensor) -> tuple[Tensor, ...]:
        """Return all gates, those that a sigmoid comes first for, and each of them."""
        size = self.all.shape[2]
        count = gates.shape[-1] // size
        first = gates.narrow(-1, 0, min(2, count) * size)
        return gates, first, *gates.chunk(count, -1)

    def _gru(
        self,
        gates: Sequence[Tensor],
        products: Sequence[Tensor],
        before: Tensor,
        now: Tensor,
        scaled: Tensor,
    ) -> None:
        """Fill `now` with `(1 - z) n + z h`, where `n = tanh(input + r (product + bias))`."""
        _, first, reset, update, candidate = gates  # (batch, hidden) each of the last three
        first.add_(products[1]).sigmoid_()
        torch.add(products[-1], self.inner, out=scaled)
        torch.lerp(candidate.addcmul_(reset, scaled).tanh_(), before, update, out=now)

    @staticmethod
    def _lstm(
        gates: Sequence[Tensor], product: Tensor, before: Tensor, cells: Tensor, now: Tensor
    ) -> None:
        """Fill `cells` with `f c + i g`, and `now` with `o tanh(cells)`."""
        every, first, into, forget, new, out = gates  # (batch, hidden) each of the last four
        every.add_(product)
        first.sigmoid_()
        new.tanh_()
        torch.mul(forget, before, out=cells).addcmul_(into, new)
        torch.tanh(cells, out=now).mul_(out.sigmoid_())


class _Steps(torch.autograd.Function):
    """The steps of a layer, with a backward pass; takes the memory of the inputs' shares over."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, shares: Tensor, w_state: Tensor, inner: Tensor) -> Tensor:
        run = _Forward(plan, w_state, inner, shares.shape[:2])
        run(shares)
        ctx.save_for_backward(shares, w_state, run.all, run.kept)
        ctx.plan = plan
        return run.states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradients[0]
        if torch.is_grad_enabled() and not gradient.requires_grad:
            # Else a graph made here would be refused only where this gradient has one of its own.
            gradient = gradient.detach().requires_grad_()
        return _Steps._once(ctx, gradient)

    @staticmethod
    @once_differentiable
    def _once(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):
            learns = ctx.needs_input_grad[2]
            return None, *_Backward(ctx.plan, *ctx.saved_tensors)(gradient, learns=learns)


class _Backward:
    """The steps of a layer in the opposite order.

    Args:
        plan: How it was run.
        gates: The gates, `(time, batch, gates * hidden)`.
        w_state: Weights of the states, `(gates * hidden, hidden)`.
        states: All states, `(time + 1, batch, hidden)`.
        kept: What was kept besides.
    """

    def __init__(
        self, plan: _Plan, gates: Tensor, w_state: Tensor, states: Tensor, kept: Tensor
    ) -> None:
        self.plan, self.w_state, self.all = plan, w_state.to(plan.dtype), states
        self.states, self.kept = states.unbind(), kept.unbind()
        parts = gates.shape[2] // w_state.shape[1]
        self.gates = [gate.unbind() for gate in gates.chunk(parts, 2)]
        self.grad_gates = torch.empty_like(gates)
        self.grads = [grad.unbind() for grad in self.grad_gates.chunk(parts, 2)]
        # Of a GRU's candidates, the gradient as the states see it, through the reset gate.
        self.scaled = torch.empty_like(states[1:]) if plan.cell == "gru" else states[:0]
        # The gradients of a state, and of an LSTM's cells, that go on from step to step.
        self.grad, self.cells = torch.zeros_like(states[0]), torch.zeros_like(states[0])
        self.one, self.two = torch.empty_like(states[0]), torch.empty_like(states[0])

    def __call__(self, outputs: Tensor, *, learns: bool) -> tuple[Tensor | None, ...]:
        """Return the gradients of the inputs' shares, the states' weights and the inner bias.

        Args:
            outputs: The gradient of the states, `(time, batch, hidden)`.
            learns: Whether that of the weights is wanted.
        """
        time, size = len(outputs), outputs.shape[2]
        old, new = self.plan.places
        retreat = {"rnn": self._rnn, "gru": self._gru, "lstm": self._lstm}[self.plan.cell]
        for step in self.plan.steps(time, back=True):
            self.grad.add_(outputs[step])
            if (real := self.plan.real[step]) is not None:
                self.grad.mul_(real)
                self.cells.mul_(real)
            retreat(step, step + old, step + new)
        before = self.all[old : old + time].flatten(0, 1)  # (time * batch, hidden)
        shares = self.grad_gates.flatten(0, 1)  # (time * batch, gates * hidden)
        inner = self.scaled.flatten(0, 1)  # (time * batch, hidden) of a GRU, else empty
        parts = (shares[:, : 2 * size], inner) if self.plan.cell == "gru" else (shares,)
        weights = torch.cat([self._weights(part, before) for part in parts]) if learns else None
        return self.grad_gates, weights, inner.sum(0) if self.plan.cell == "gru" else None

    def _weights(self, gates: Tensor, before: Tensor) -> Tensor:
        dtype = self.w_state.dtype
        return (gates.t().to(dtype) @ before.to(dtype)).to(before.dtype)

    def _add_product(self, gates: Tensor, weights: Tensor) -> None:
        """Add to the gradient of the states before what reaches them through the weights."""
        if gates.dtype == weights.dtype:
            self.grad.addmm_(gates, weights)
        else:
            self.grad.add_(gates.to(weights.dtype) @ weights)

    def _rnn(self, step: int, old: int, new: int) -> None:
        del old
        gates = self.grad_gates[step]
        _tanh_backward(self.grad, self.states[new], grad_input=gates)
        self.grad.zero_()
        self._add_product(gates, self.w_state)

    def _gru(self, step: int, old: int, new: int) -> None:
        del new
        reset, update, candidate = (gate[step] for gate in self.gates)
        to_reset, to_update, to_candidate = (grad[step] for grad in self.grads)
        one, two, scaled, size = self.one, self.two, self.scaled[step], self.one.shape[1]
        torch.sub(self.states[old], candidate, out=one).mul_(self.grad)
        _sigmoid_backward(one, update, grad_input=to_update)
        torch.mul(self.grad, update, out=two)  # what reaches the state before directly
        torch.sub(self.grad, two, out=one)
        _tanh_backward(one, candidate, grad_input=to_candidate)
        torch.mul(to_candidate, reset, out=scaled)
        torch.mul(to_candidate, self.kept[step], out=one)
        _sigmoid_backward(one, reset, grad_input=to_reset)
        self.grad, self.two = two, self.grad
        self._add_product(self.grad_gates[step, :, : 2 * size], self.w_state[: 2 * size])
        self._add_product(scaled, self.w_state[2 * size :])

    def _lstm(self, step: int, old: int, new: int) -> None:
        into, forget, candidate, out = (gate[step] for gate in self.gates)
        to_into, to_forget, to_candidate, to_out = (grad[step] for grad in self.grads)
        one, two = self.one, self.two
        bent = torch.tanh(self.kept[new], out=one)
        _sigmoid_backward(torch.mul(self.grad, bent, out=two), out, grad_input=to_out)
        _tanh_backward(self.grad.mul_(out), bent, grad_input=two)
        self.cells.add_(two)
        _sigmoid_backward(torch.mul(self.cells, candidate, out=one), into, grad_input=to_into)
        torch.mul(self.cells, self.kept[old], out=one)
        _sigmoid_backward(one, forget, grad_input=to_forget)
        _tanh_backward(torch.mul(self.cells, into, out=one), candidate, grad_input=to_candidate)
        self.cells.mul_(forget)
        self.grad.zero_()
        self._add_product(self.grad_gates[step], self.w_state)


_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


def is_untouched(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Tell whether a module is of that very class, and nobody watches or changes what it does.

    Someone who has put another module in its place, such as a quantized one, or who has hooks on
    it, as pruning and attributions do, wants it to be called.

    Args:
        module: The module.
        kind: The class.

    Example:
        >>> is_untouched(nn.GRU(2, 3), nn.GRU), is_untouched(nn.Identity(), nn.GRU)
        (True, False)
    """
    # Torch has no public way to ask for hooks.
    return type(module) is kind and not any(getattr(module, name) for name in _HOOKS)


def is_traced() -> bool:
    """Tell whether operations are recorded now, to be run again with other texts.

    What follows from the values of this batch, such as its lengths, would be the same for them.

    Example:
        >>> is_traced()
        False
    """
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call] # no types
    return tracing or torch.compiler.is_compiling()
