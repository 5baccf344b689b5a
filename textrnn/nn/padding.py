"""Which steps of a padded batch are real."""

import torch
from torch import Tensor

from textrnn.errors import InvalidTypeError, InvalidValueError, expected

__all__ = ["check_lengths", "resolve_lengths", "token_mask"]

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_lengths(lengths: Tensor, batch: int, time: int) -> Tensor:
    """Return `lengths` on the CPU if they fit a batch of that shape.

    Args:
        lengths: True length of each text, an integer tensor `(batch,)` on any device. One that is
            not on the CPU is copied there, which waits for its device.
        batch: Number of texts.
        time: Number of steps that the texts are padded to.

    Returns:
        The lengths, int64 `(batch,)`, on the CPU.

    Raises:
        InvalidTypeError: If `lengths` is not an integer tensor.
        InvalidValueError: If its shape is not `(batch,)`, or a length is below 1 or above `time`.

    Example:
        >>> import torch
        >>> check_lengths(torch.tensor([3, 1], dtype=torch.int32), 2, 4)
        tensor([3, 1])
    """
    if not isinstance(lengths, Tensor):
        raise InvalidTypeError(expected("lengths", "an integer tensor", lengths))
    if lengths.dtype not in _INTEGERS:
        raise InvalidTypeError(expected("lengths", "an integer tensor", lengths.dtype))
    if lengths.shape != (batch,):
        raise InvalidValueError(
            expected("lengths", f"of shape {(batch,)}, one for each text", tuple(lengths.shape))
        )
    lengths = lengths.to("cpu", torch.int64)
    if batch:
        shortest, longest = torch.aminmax(lengths)
        if int(shortest) < 1 or int(longest) > time:
            position = int(((lengths < 1) | (lengths > time)).nonzero()[0])
            raise InvalidValueError(
                f"Expected `lengths` to be from 1 to {time}, the number of steps, "
                f"but got {int(lengths[position])} at position {position}."
            )
    return lengths


def token_mask(lengths: Tensor, time: int, device: torch.device) -> Tensor | None:
    """Return where the real tokens of a batch are, or None if they are everywhere.

    Args:
        lengths: Checked lengths on the CPU, `(batch,)`.
        time: Number of steps that the texts are padded to.
        device: Where the mask is needed.

    Returns:
        A boolean tensor `(batch, time)`, false at padding, or None if every text fills its row.

    Example:
        >>> import torch
        >>> token_mask(torch.tensor([3, 1]), 3, torch.device("cpu"))
        tensor([[ True,  True,  True],
                [ True, False, False]])
    """
    if not len(lengths) or int(lengths.min()) == time:
        return None
    ends = lengths.to(device, non_blocking=True).unsqueeze(1)  # (batch, 1)
    return torch.arange(time, device=device) < ends  # (batch, time)


def resolve_lengths(input_ids: Tensor, padding_id: int) -> Tensor:
    """Find the length of each text: the position of its last real token, plus one.

    Args:
        input_ids: Token ids, `(batch, time)`.
        padding_id: The id that fills texts up.

    Returns:
        The lengths, int64 `(batch,)`, on the CPU.

    Raises:
        InvalidValueError: If a text is padding throughout.

    Example:
        >>> import torch
        >>> resolve_lengths(torch.tensor([[5, 0, 7, 0], [5, 6, 0, 0]]), padding_id=0)
        tensor([3, 2])
    """
    steps = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device)
    reached = steps * (input_ids != padding_id)  # (batch, time)
    lengths = reached.amax(1) if input_ids.shape[1] else steps.new_zeros(len(input_ids))
    lengths = lengths.cpu()  # (batch,)
    if not lengths.all():
        position = int((lengths == 0).nonzero()[0])
        raise InvalidValueError(
            "Expected `input_ids` to have a token in each text, "
            f"but got only padding (id {padding_id}) at position {position}."
        )
    return lengths
