"""From the states of a text to one vector.

Only real tokens count. What stands at padding must be finite, but never reaches the result.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    check_choice,
    check_int,
    expected,
)
from textrnn.nn.padding import check_lengths, token_mask
from textrnn.nn.recurrence import is_traced

__all__ = ["AttentionPooling", "Pooling", "last_pool", "max_pool", "mean_pool"]

_NAMES = ("max", "mean", "last", "attention")


def max_pool(states: Tensor, lengths: Tensor) -> Tensor:
    """Take the largest value of each feature over the real tokens.

    Args:
        states: Floating-point tensor, `(batch, time, features)`.
        lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.

    Returns:
        A tensor `(batch, features)`.

    Raises:
        InvalidTypeError: If `lengths` is not an integer tensor.
        InvalidValueError: If the shapes don't fit, or a length is out of range.

    Example:
        >>> import torch
        >>> states = torch.tensor([[[1.0], [3.0], [9.0]]])
        >>> max_pool(states, torch.tensor([2]))
        tensor([[3.]])
    """
    lengths = _check(states, lengths)
    return _max(states, token_mask(lengths, states.shape[1], states.device))


def mean_pool(states: Tensor, lengths: Tensor) -> Tensor:
    """Average each feature over the real tokens.

    Args:
        states: Floating-point tensor, `(batch, time, features)`.
        lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.

    Returns:
        A tensor `(batch, features)`.

    Raises:
        InvalidTypeError: If `lengths` is not an integer tensor.
        InvalidValueError: If the shapes don't fit, or a length is out of range.

    Example:
        >>> import torch
        >>> states = torch.tensor([[[1.0], [3.0], [9.0]]])
        >>> mean_pool(states, torch.tensor([2]))
        tensor([[2.]])
    """
    lengths = _check(states, lengths)
    return _mean(states, lengths, token_mask(lengths, states.shape[1], states.device))


def last_pool(states: Tensor, lengths: Tensor, *, bidirectional: bool = False) -> Tensor:
    """Take the state that has read the entire text.

    That is the state at the last real token. With two directions the second half of the features
    comes from the backward direction, which has read everything at the first token.

    Args:
        states: Floating-point tensor, `(batch, time, features)`.
        lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.
        bidirectional: Whether the second half of the features runs backward.

    Returns:
        A tensor `(batch, features)`.

    Raises:
        InvalidTypeError: If `lengths` is not an integer tensor.
        InvalidValueError: If the shapes don't fit, or a length is out of range.

    Example:
        >>> import torch
        >>> states = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]]])
        >>> last_pool(states, torch.tensor([2]))
        tensor([[3., 4.]])
        >>> last_pool(states, torch.tensor([2]), bidirectional=True)
        tensor([[3., 2.]])
    """
    lengths = _check(states, lengths)
    return _last(states, lengths, bidirectional=bidirectional)


class AttentionPooling(nn.Module):
    """Average the states of each text with weights that are learned.

    A state's weight is the softmax, over the real tokens, of how well a query fits it:
    `query(tanh(hidden(state)))`, both of them linear. At first the weights are nearly alike.

    Source: Yang et al., "Hierarchical Attention Networks for Document Classification", 2016,
    https://aclanthology.org/N16-1174, the attention over words.

    Args:
        features: Number of features of a state.

    Attributes:
        hidden: `torch.nn.Linear` from a state to what the query is held against.
        query: `torch.nn.Linear` from there to a number, without a bias.

    Raises:
        InvalidTypeError: If `features` is not an integer.
        InvalidValueError: If `features` is not positive.

    Example:
        >>> import torch
        >>> pooling = AttentionPooling(4)
        >>> states, lengths = torch.randn(2, 5, 4), torch.tensor([5, 3])
        >>> pooling(states, lengths).shape
        torch.Size([2, 4])
        >>> bool((pooling.weights(states, lengths)[1, 3:] == 0).all())
        True
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = check_int("features", features)
        self.hidden = nn.Linear(self.features, self.features)
        self.query = nn.Linear(self.features, 1, bias=False)

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Average the states of each text.

        Args:
            states: Floating-point tensor, `(batch, time, features)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.

        Returns:
            A tensor `(batch, features)`.

        Raises:
            InvalidTypeError: If `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, or a length is out of range.
        """
        weights = self.weights(states, lengths).unsqueeze(2)  # (batch, time, 1)
        return (states * weights).sum(1)  # (batch, features)

    def weights(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Return how much each token counts in the average.

        Args:
            states: Floating-point tensor, `(batch, time, features)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.

        Returns:
            Weights `(batch, time)` whose sum is 1 in each text; zeros at padding.

        Raises:
            InvalidTypeError: If `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, or a length is out of range.
        """
        lengths = _check(states, lengths)
        if states.shape[2] != self.features:
            raise InvalidValueError(
                f"Expected `states` to have {self.features} features, but got {states.shape[2]}."
            )
        scores: Tensor = self.query(self.hidden(states).tanh()).squeeze(2)  # (batch, time)
        mask = token_mask(lengths, states.shape[1], states.device)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(1).to(states.dtype)


class Pooling(nn.Module):
    """Pool the states of each text in one way, or in several ways side by side.

    Args:
        pooling: `"max"`, `"mean"`, `"last"` or `"attention"`, or several of them, whose results
            are concatenated in that order.
        bidirectional: Whether the second half of the features runs backward; `"last"` then takes
            it from the first token.
        features: Number of features of a state; only `"attention"` needs it.

    Attributes:
        attention: `AttentionPooling`, or None where it is not asked for.

    Raises:
        InvalidTypeError: If `pooling` is neither a string nor strings, or the features are needed
            and no integer.
        InvalidValueError: If a name is unknown or comes twice, or if there is none.

    Example:
        >>> import torch
        >>> pooling = Pooling(("max", "last"))
        >>> pooling(torch.zeros(2, 5, 3), torch.tensor([5, 4])).shape
        torch.Size([2, 6])
        >>> pooling.output_size(3)
        6
    """

    def __init__(
        self,
        pooling: str | Iterable[str] = "mean",
        *,
        bidirectional: bool = False,
        features: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(pooling, str | Iterable):
            raise InvalidTypeError(expected("pooling", "a name or several names", pooling))
        self.names = (pooling,) if isinstance(pooling, str) else tuple(pooling)
        for name in self.names:
            check_choice("pooling", name, _NAMES)
        if not self.names or len(set(self.names)) < len(self.names):
            raise InvalidValueError(
                expected("pooling", "different names, at least one", self.names)
            )
        self.bidirectional = bidirectional
        self.attention: AttentionPooling | None = None
        if "attention" in self.names:
            if features is None:
                rule = 'a positive integer beside "attention", which has weights'
                raise InvalidTypeError(expected("features", rule, features))
            self.attention = AttentionPooling(features)

    def output_size(self, features: int) -> int:
        """Return the number of pooled features from that many features of a state."""
        return len(self.names) * features

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Pool the states of each text.

        Args:
            states: Floating-point tensor, `(batch, time, features)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.

        Returns:
            A tensor `(batch, output_size(features))`.

        Raises:
            InvalidTypeError: If `lengths` is not an integer tensor.
            InvalidValueError: If the shapes don't fit, or a length is out of range.
        """
        lengths = _check(states, lengths)
        mask: Tensor | None = None
        if not {"max", "mean"}.isdisjoint(self.names):
            mask = token_mask(lengths, states.shape[1], states.device)
        pooled: list[Tensor] = []
        for name in self.names:
            if name == "max":
                pooled.append(_max(states, mask))
            elif name == "mean":
                pooled.append(_mean(states, lengths, mask))
            elif name == "last":
                pooled.append(_last(states, lengths, bidirectional=self.bidirectional))
            elif self.attention is not None:
                pooled.append(self.attention(states, lengths))
        return pooled[0] if len(pooled) == 1 else torch.cat(pooled, 1)  # (batch, output)

    def extra_repr(self) -> str:
        """Show the names and the directions."""
        directions = ", bidirectional=True" if self.bidirectional else ""
        return ", ".join(map(repr, self.names)) + directions


def _check(states: Tensor, lengths: Tensor) -> Tensor:
    """Return the lengths on the CPU if they fit the states."""
    if states.dim() != 3:
        raise InvalidValueError(
            "Expected `states` to be of shape (batch, time, features), "
            f"but got the shape {tuple(states.shape)}."
        )
    return check_lengths(lengths, states.shape[0], states.shape[1])


def _max(states: Tensor, mask: Tensor | None) -> Tensor:
    if mask is not None:
        # Adding minus infinity costs less than `masked_fill`, and nothing in the backward pass.
        shut = torch.zeros_like(mask, dtype=states.dtype).masked_fill_(~mask, -torch.inf)
        states = states + shut.unsqueeze(2)  # (batch, time, features)
    return states.amax(1) if len(states) else states.sum(1)  # (batch, features)


def _mean(states: Tensor, lengths: Tensor, mask: Tensor | None) -> Tensor:
    counts = lengths.to(states.device, non_blocking=True).unsqueeze(1)  # (batch, 1)
    if mask is None or not len(states):
        return states.sum(1) / counts  # (batch, features)
    # Texts of like length have little padding, and what is before it needs no mask.
    start = 0 if is_traced() else int(lengths.min())
    padded = states[:, start:] * mask[:, start:].to(states.dtype).unsqueeze(2)
    return (states[:, :start].sum(1) + padded.sum(1)) / counts  # (batch, features)


def _last(states: Tensor, lengths: Tensor, *, bidirectional: bool) -> Tensor:
    last = (lengths - 1).to(states.device, non_blocking=True)  # (batch,)
    texts = torch.arange(len(lengths), device=states.device)  # (batch,)
    if not bidirectional:
        return states[texts, last]  # (batch, features)
    if states.shape[2] % 2:
        raise InvalidValueError(
            "Expected `states` to have an even number of features for two directions, "
            f"but got {states.shape[2]}."
        )
    forward, backward = states.chunk(2, 2)  # (batch, time, features / 2) each
    first = torch.zeros_like(last)  # (batch,)
    return torch.cat((forward[texts, last], backward[texts, first]), 1)  # (batch, features)
