"""One direction of one recurrent layer on a CPU, with a backward pass of its own.

PyTorch records a dozen small operations for each step and multiplies the input of every token.
Here all steps of a layer are one autograd operation, which works in place in a few large tensors.
Repeated inputs, such as the words of texts, are multiplied once: a batch of 256 texts has about
10,000 words, but only 2,000 different ones. An LSTM is left to PyTorch, whose kernel is fused too.

A step combines its input `x` with the state `h` before it, and activates the sums:

    RNN     h' = tanh(W x + b + U h)
    GRU     r, z = sigmoid(W x + b + U h)       n = tanh(W x + b + r (U h + c))
            h' = (1 - z) n + z h

1. `W x + b` does not depend on the steps before, so one product gives it for all steps.
2. `_Forward` goes through the steps. It adds `U h` and overwrites the sums by the activated gates.
   It keeps what the backward pass needs: the gates, all states, and the candidate product of a GRU
   (`U h + c`, which the reset gate scales).
3. `_Backward` goes through the steps in the opposite order (backpropagation through time). The
   gradient of `h'` is the sum of that of the output and that which the next step sends back. The
   chain rule gives the gradient of each gate before its activation, which a sigmoid `s` scales by
   `s (1 - s)` and a tanh `t` by `1 - t ** 2`. Times `U` it is the gradient that goes back to `h`.
4. These gradients are kept for all steps, so that one product gives the gradient of `U`. They are
   also the gradient of `W x + b`, from which autograd computes those of `W`, `b` and `x`.

At padding, `h'` is multiplied by 0, and its gradient as well. So a text that is read backward
meets a zero state at its last token, wherever the padding ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["is_unmodified", "product_type", "project", "rounded", "run_layer"]

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")

# Given the gradient and the activated value, the gradient before the activation.
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
    """Return the states `(time, batch, hidden)` of one direction of one layer, zero at padding."""
    # inputs: (time, batch, input), or with positions the different ones alone, (distinct, input)
    # positions and mask: (time, batch), which inputs stand where and which tokens are real
    # weights: W (gates * hidden, input), U (gates * hidden, hidden), their biases (gates * hidden,)
    w_state = weights[1]
    projected, inner = project(cell, inputs, weights)
    if positions is not None:
        projected = functional.embedding(positions, projected)  # (time, batch, gates)
    factors = [None] * len(projected) if mask is None else _mask_factors(mask, w_state)
    plan = _Plan(cell, factors, backward, product_type(w_state))
    with torch.autocast("cpu", enabled=False):
        states: Tensor = _Steps.apply(  # type: ignore[no-untyped-call] # torch gives no types
            plan, projected, w_state, inner
        )
    return states


def project(cell: str, inputs: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return `W x + b` for each input, and the inner bias of a GRU, which is empty otherwise.

    Inputs `(inputs, features)` in half precision give some rows more, of zeros.
    """
    w_input, w_state, b_input, b_state = weights
    if inputs.dim() == 2 and product_type(w_state) != w_state.dtype:
        inputs = functional.pad(inputs, (0, 0, 0, rounded(len(inputs)) - len(inputs)))
    hidden = w_state.shape[1]
    # The bias of the states stands beside that of the inputs, except in a GRU's candidate.
    outer, inner = b_state, b_state[:0]
    if cell == "gru":
        outer, inner = functional.pad(b_state[: 2 * hidden], (0, hidden)), b_state[2 * hidden :]
    projected = functional.linear(inputs, w_input, b_input + outer)
    return projected.to(w_state.dtype), inner


def product_type(w_state: Tensor) -> torch.dtype:
    """Return the type of products with the states: that of autocast, which leaves double alone."""
    if torch.is_autocast_enabled("cpu") and w_state.dtype != torch.double:
        return torch.get_autocast_dtype("cpu")
    return w_state.dtype


def rounded(rows: int) -> int:
    """Return the number of rows to multiply in half precision, at most an eighth more."""
    # oneDNN, which multiplies half precision, keeps 1 to 2 MB for each of 1,024 shapes, but the
    # number of different words differs in nearly every batch.
    grain = 1 << max(rows.bit_length() - 4, 0)
    return rows + -rows % grain


def is_unmodified(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Tell whether a module is exactly of a class and has no hooks, so that it may be bypassed."""
    # PyTorch has no public way to ask for hooks. Some tools replace a module's `forward` instead.
    hooks = any(getattr(module, name) for name in _HOOKS)
    return type(module) is kind and not hooks and "forward" not in vars(module)


@dataclass(frozen=True)
class _Plan:
    """Settings of a layer: cell, factors at padding, direction, and type of matrix products."""

    cell: str
    factors: Sequence[Tensor | None]  # for each step 1 at tokens and 0 at padding, (batch, 1)
    backward: bool
    dtype: torch.dtype

    @property
    def offsets(self) -> tuple[int, int]:
        """Index of the states before and after step 0 among `time + 1` states."""
        return (1, 0) if self.backward else (0, 1)

    def steps(self, time: int, *, back: bool = False) -> range:
        """Return the steps in reading order, or with `back` in the opposite one."""
        return range(time - 1, -1, -1) if self.backward != back else range(time)


def _mask_factors(mask: Tensor, like: Tensor) -> list[Tensor | None]:
    """Return each step of a mask `(time, batch)` as numbers, or None where it has no padding."""
    factors = mask.to(like.dtype).unsqueeze(2).unbind()  # (batch, 1) each
    full = mask.all(1).tolist()
    return [None if whole else each for whole, each in zip(full, factors, strict=True)]


class _Forward:
    """Forward pass of a layer."""

    def __init__(self, plan: _Plan, w_state: Tensor, inner: Tensor, shape: Sequence[int]) -> None:
        self.plan, self.inner = plan, inner
        # Transposed once, since every step multiplies by it, which is faster for small batches.
        self.w_state_t = w_state.to(plan.dtype).t().contiguous()  # (hidden, gates * hidden)
        time, batch = shape
        # All states, with those before the first step.
        self.states = w_state.new_empty(time + 1, batch, w_state.shape[1])
        # The candidate products of a GRU, one for each step.
        self.kept = torch.empty_like(self.states[1:]) if plan.cell == "gru" else self.states[:0]
        self.outputs = self.states[plan.offsets[1] :][:time]  # (time, batch, hidden)

    def run(self, projected: Tensor) -> None:
        """Run all steps; the gates overwrite the projected inputs."""
        time, cell = len(self.outputs), self.plan.cell
        old, new = self.plan.offsets
        start = time if self.plan.backward else 0
        self.states[start].zero_()
        product = self.w_state_t.new_empty(self.states.shape[1], self.w_state_t.shape[1])
        products = self._split(product)
        states, kept = self.states.unbind(), self.kept.unbind()
        # Split beforehand, since splitting at each step would take most of a small batch's time.
        parts = list(zip(*(gate.unbind() for gate in self._split(projected)), strict=True))
        for step in self.plan.steps(time):
            part = parts[step]
            before, now = states[step + old], states[step + new]  # (batch, hidden)
            torch.mm(before.to(self.w_state_t.dtype), self.w_state_t, out=product)
            if cell == "rnn":
                torch.add(part[0], product, out=now).tanh_()
            else:
                self._gru(part, products, before, now, kept[step])
            if (factor := self.plan.factors[step]) is not None:
                now.mul_(factor)

    def _split(self, gates: Tensor) -> tuple[Tensor, ...]:
        """Return views of all gates, of those that begin with a sigmoid, and of each gate."""
        size = self.states.shape[2]
        count = gates.shape[-1] // size
        first = gates.narrow(-1, 0, min(2, count) * size)
        return gates, first, *gates.chunk(count, -1)

    def _gru(
        self,
        gates: Sequence[Tensor],
        products: Sequence[Tensor],
        before: Tensor,
        now: Tensor,
        inner_product: Tensor,
    ) -> None:
        """Fill `now` with `(1 - z) n + z h`."""
        _, first, reset, update, candidate = gates  # (batch, hidden) each of the last three
        first.add_(products[1]).sigmoid_()  # reset and update gates at once
        torch.add(products[-1], self.inner, out=inner_product)  # U h + c
        torch.lerp(candidate.addcmul_(reset, inner_product).tanh_(), before, update, out=now)


class _Steps(torch.autograd.Function):
    """All steps as one operation, which overwrites the projected inputs by the gates."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, projected: Tensor, w_state: Tensor, inner: Tensor) -> Tensor:
        forward = _Forward(plan, w_state, inner, projected.shape[:2])
        forward.run(projected)
        ctx.save_for_backward(projected, w_state, forward.states, forward.kept)
        ctx.plan = plan
        return forward.outputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradients[0]
        if torch.is_grad_enabled() and not gradient.requires_grad:
            # Otherwise PyTorch refuses gradients of gradients only if this one has a graph.
            gradient = gradient.detach().requires_grad_()
        return _Steps._once(ctx, gradient)

    @staticmethod
    @once_differentiable
    def _once(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):
            backward = _Backward(ctx.plan, *ctx.saved_tensors)
            return None, *backward.run(gradient, weights_learn=ctx.needs_input_grad[2])


class _Backward:
    """Backward pass of a layer."""

    def __init__(
        self, plan: _Plan, gates: Tensor, w_state: Tensor, states: Tensor, kept: Tensor
    ) -> None:
        self.plan, self.w_state, self.all_states = plan, w_state.to(plan.dtype), states
        self.states, self.kept = states.unbind(), kept.unbind()  # (batch, hidden) each
        count = gates.shape[2] // w_state.shape[1]
        self.gates = [gate.unbind() for gate in gates.chunk(count, 2)]
        # The gradient of all gates before activation, (time, batch, gates * hidden), and its parts.
        self.grad_gates = torch.empty_like(gates)
        self.grads = [grad.unbind() for grad in self.grad_gates.chunk(count, 2)]
        # That of a GRU's candidate product, (time, batch, hidden), which the reset gate scales.
        self.grad_inner = torch.empty_like(states[1:]) if plan.cell == "gru" else states[:0]
        self.grad = torch.zeros_like(states[0])  # that of the state, which goes from step to step
        self.one, self.two = torch.empty_like(states[0]), torch.empty_like(states[0])  # scratch

    def run(self, outputs: Tensor, *, weights_learn: bool) -> tuple[Tensor | None, ...]:
        """Return the gradients of the projected inputs, of U and of the inner bias."""
        time, _, size = outputs.shape  # (time, batch, hidden), the gradient of the states
        old, new = self.plan.offsets
        step_back = self._gru if self.plan.cell == "gru" else self._rnn
        for step in self.plan.steps(time, back=True):
            self.grad.add_(outputs[step])
            if (factor := self.plan.factors[step]) is not None:
                self.grad.mul_(factor)
            step_back(step, step + old, step + new)
        before = self.all_states[old : old + time].flatten(0, 1)  # (time * batch, hidden)
        grads = self.grad_gates.flatten(0, 1)  # (time * batch, gates * hidden)
        inner = self.grad_inner.flatten(0, 1)  # (time * batch, hidden) of a GRU, else empty
        parts = (grads[:, : 2 * size], inner) if self.plan.cell == "gru" else (grads,)
        weights = torch.cat([self._weights(g, before) for g in parts]) if weights_learn else None
        return self.grad_gates, weights, inner.sum(0) if self.plan.cell == "gru" else None

    def _weights(self, grads: Tensor, before: Tensor) -> Tensor:
        """Return the gradient of U: the sum over all steps of gradient times state before."""
        dtype = self.w_state.dtype
        if dtype != before.dtype:
            extra = (0, 0, 0, rounded(len(before)) - len(before))
            grads, half = (functional.pad(each.to(dtype), extra) for each in (grads, before))
            return (grads.t() @ half).to(before.dtype)
        return grads.t() @ before

    def _send_back(self, grads: Tensor, weights: Tensor) -> None:
        """Add the gradient that reaches the state before through U."""
        if grads.dtype == weights.dtype:
            self.grad.addmm_(grads, weights)
        else:
            self.grad.add_(grads.to(weights.dtype) @ weights)

    # Each of the following turns `self.grad` from the gradient of h' into that of h, and fills in
    # the step's gradients of the gates. `old` and `new` are the indices of h and h'.

    def _rnn(self, step: int, old: int, new: int) -> None:
        del old
        grads = self.grad_gates[step]
        _tanh_backward(self.grad, self.states[new], grad_input=grads)
        self.grad.zero_()
        self._send_back(grads, self.w_state)

    def _gru(self, step: int, old: int, new: int) -> None:
        del new
        reset, update, candidate = (gate[step] for gate in self.gates)
        to_reset, to_update, to_candidate = (grad[step] for grad in self.grads)
        one, two, to_inner, size = self.one, self.two, self.grad_inner[step], self.one.shape[1]
        # h' = (1 - z) n + z h: the gradient of z is that of h' times (h - n), ...
        torch.sub(self.states[old], candidate, out=one).mul_(self.grad)
        _sigmoid_backward(one, update, grad_input=to_update)
        # ... h gets z of it directly, and n the rest.
        torch.mul(self.grad, update, out=two)
        torch.sub(self.grad, two, out=one)
        _tanh_backward(one, candidate, grad_input=to_candidate)
        # n = tanh(W x + b + r (U h + c)), by the product rule.
        torch.mul(to_candidate, reset, out=to_inner)
        torch.mul(to_candidate, self.kept[step], out=one)
        _sigmoid_backward(one, reset, grad_input=to_reset)
        self.grad, self.two = two, self.grad
        self._send_back(self.grad_gates[step, :, : 2 * size], self.w_state[: 2 * size])
        self._send_back(to_inner, self.w_state[2 * size :])
