"""Pool the states of a text into one vector.

Only real tokens count. States at padding must be finite, but never affect the result.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from textrnn.errors import InvalidTypeError, InvalidValueError, check_choice, check_int, expected
from textrnn.nn.layers import check_generator, first_weights_from
from textrnn.nn.padding import check_lengths, check_type, token_mask

__all__ = ["AttentionPooling", "Pooling", "last_pool", "max_pool", "mean_pool"]

_NAMES = ("max", "mean", "last", "attention")


def max_pool(states: Tensor, lengths: Tensor) -> Tensor:
    """Return the maximum of each feature over the real tokens.

    Args:
        states: Floating-point tensor, `(batch, time, features)`.
        lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.

    Returns:
        The pooled states, `(batch, features)`.

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
    """Return the mean of each feature over the real tokens.

    Args:
        states: Floating-point tensor, `(batch, time, features)`.
        lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.

    Returns:
        The pooled states, `(batch, features)`.

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
    """Return the state that has read the whole text.

    That is the state at the last real token. The backward direction, whose states are the second
    half of the features, has read the whole text at the first token.

    Args:
        states: Floating-point tensor, `(batch, time, features)`.
        lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.
        bidirectional: Whether the second half of the features comes from the backward direction.
            Default: False.

    Returns:
        The pooled states, `(batch, features)`.

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
    """Return a weighted mean of the states of each text, with learned weights.

    The weights are the softmax of `query(tanh(hidden(state)))` over the real tokens. Before
    training they are nearly equal.

    Source: Yang et al., "Hierarchical Attention Networks for Document Classification", 2016,
    https://aclanthology.org/N16-1174 (word attention).

    Args:
        features: Number of features of a state.
        generator: Generator of the first weights; None means PyTorch's global one. Default: None.

    Attributes:
        hidden: `torch.nn.Linear` from a state to a hidden representation of the same size.
        query: `torch.nn.Linear` from there to a score, without bias.

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

    def __init__(self, features: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.features = check_int("features", features)
        with first_weights_from(check_generator(generator)):
            self.hidden = nn.Linear(self.features, self.features, dtype=torch.float32)
            self.query = nn.Linear(self.features, 1, bias=False, dtype=torch.float32)

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Return the weighted mean of the states of each text.

        Args:
            states: Floating-point tensor, `(batch, time, features)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.

        Returns:
            The pooled states, `(batch, features)`.

        Raises:
            InvalidTypeError: If `lengths` is not an integer tensor, or `states` have another type
                than the weights (float32 unless they were converted).
            InvalidValueError: If the shapes don't fit, or a length is out of range.
        """
        weights = self.weights(states, lengths).unsqueeze(2)  # (batch, time, 1)
        return (states * weights).sum(1)  # (batch, features)

    def weights(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Return the weight of each token.

        Args:
            states: Floating-point tensor, `(batch, time, features)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.

        Returns:
            The weights, `(batch, time)`, which sum to 1 in each text; zeros at padding.

        Raises:
            InvalidTypeError: If `lengths` is not an integer tensor, or `states` have another type
                than the weights (float32 unless they were converted).
            InvalidValueError: If the shapes don't fit, or a length is out of range.
        """
        lengths = _check(states, lengths)
        if states.shape[2] != self.features:
            raise InvalidValueError(
                f"Expected `states` to have {self.features} features, but got {states.shape[2]}."
            )
        check_type("states", states, self.query.weight)
        scores: Tensor = self.query(self.hidden(states).tanh()).squeeze(2)  # (batch, time)
        mask = token_mask(lengths, states.shape[1], states.device)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(1).to(states.dtype)


class Pooling(nn.Module):
    """Pool the states of each text in one or several ways.

    Args:
        pooling: `"max"`, `"mean"`, `"last"` or `"attention"`, or several of them, whose results
            are concatenated in that order. Default: "mean".
        bidirectional: Whether the second half of the features comes from the backward direction,
            which matters to `"last"`. Default: False.
        features: Number of features of a state, which only `"attention"` needs. Default: None.
        generator: Generator of the first weights of `"attention"`; None means PyTorch's global
            one. Default: None.

    Attributes:
        attention: The `AttentionPooling`, or None without `"attention"`.

    Raises:
        InvalidTypeError: If `pooling` is neither a string nor strings, or `features` is needed
            but not an integer.
        InvalidValueError: If there is no name, or one is unknown or repeated.

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
        generator: torch.Generator | None = None,
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
            self.attention = AttentionPooling(features, generator=generator)

    def output_size(self, features: int) -> int:
        """Return the number of pooled features for a number of features of a state."""
        return len(self.names) * features

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Pool the states of each text.

        Args:
            states: Floating-point tensor, `(batch, time, features)`.
            lengths: Number of real tokens of each text, integers `(batch,)`, from 1 to `time`.

        Returns:
            The pooled states, `(batch, output_size(features))`.

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
        """Return the names and the directions."""
        directions = ", bidirectional=True" if self.bidirectional else ""
        return ", ".join(map(repr, self.names)) + directions


def _check(states: Tensor, lengths: Tensor) -> Tensor:
    """Check states and lengths, and return the lengths on the CPU."""
    if states.dim() != 3:
        raise InvalidValueError(
            "Expected `states` to be of shape (batch, time, features), "
            f"but got the shape {tuple(states.shape)}."
        )
    return check_lengths(lengths, states.shape[0], states.shape[1])


def _max(states: Tensor, mask: Tensor | None) -> Tensor:
    if mask is not None:
        # Adding minus infinity is faster than `masked_fill`, and free in the backward pass.
        penalty = torch.zeros_like(mask, dtype=states.dtype).masked_fill_(~mask, -torch.inf)
        states = states + penalty.unsqueeze(2)  # (batch, time, features)
    return states.amax(1) if states.shape[0] else states.sum(1)  # (batch, features)


def _mean(states: Tensor, lengths: Tensor, mask: Tensor | None) -> Tensor:
    counts = lengths.to(states.device, non_blocking=True).unsqueeze(1)  # (batch, 1)
    if mask is None or not states.shape[0]:
        return states.sum(1) / counts  # (batch, features)
    # Only steps from the shortest text on need a mask: few, as lengths of a batch are similar.
    start = 0 if torch.compiler.is_compiling() else int(lengths.min())
    padded = states[:, start:] * mask[:, start:].to(states.dtype).unsqueeze(2)
    return (states[:, :start].sum(1) + padded.sum(1)) / counts  # (batch, features)


def _last(states: Tensor, lengths: Tensor, *, bidirectional: bool) -> Tensor:
    last = (lengths - 1).to(states.device, non_blocking=True)  # (batch,)
    texts = torch.arange(lengths.shape[0], device=states.device)  # (batch,)
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
