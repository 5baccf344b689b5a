"""Check padded batches, and tell real tokens from padding."""

import torch
from torch import Tensor
from torch.compiler import is_exporting

from textrnn.errors import InvalidTypeError, InvalidValueError, expected

__all__ = [
    "check_batch",
    "check_lengths",
    "check_type",
    "refuse_tracing",
    "resolve_lengths",
    "token_mask",
]

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_batch(
    input_ids: Tensor, lengths: Tensor | None, *, vocab_size: int, padding_id: int
) -> tuple[Tensor, Tensor]:
    """Check a batch, and return its ids, cut to the longest text, and its lengths, on the CPU."""
    refuse_tracing()
    _check_ids(input_ids, vocab_size)
    if lengths is None:
        lengths = resolve_lengths(input_ids, padding_id)
    lengths = check_lengths(lengths, *input_ids.shape)
    if not is_exporting() and len(lengths):  # while exporting, tensors have no values to look at
        input_ids = input_ids[:, : int(lengths.max())]
    return input_ids, lengths  # (batch, time) and (batch,)


def refuse_tracing() -> None:
    """Raise an error while operations are recorded, as they are chosen by the lengths."""
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call] # no types
        raise InvalidValueError(
            "Expected the model to be called, but got a call that `torch.jit.trace` or "
            "`torch.onnx.export(dynamo=False)` records: it would give wrong answers for texts of "
            "other lengths. `torch.export.export` can record it, with dynamic shapes."
        )


def check_lengths(lengths: Tensor, batch: int, time: int) -> Tensor:
    """Check lengths `(batch,)`, from 1 to `time`, and return them as int64 on the CPU."""
    refuse_tracing()
    if not isinstance(lengths, Tensor):
        raise InvalidTypeError(expected("lengths", "an integer tensor", lengths))
    if lengths.dtype not in _INTEGERS:
        raise InvalidTypeError(expected("lengths", "an integer tensor", lengths.dtype))
    if lengths.shape != (batch,):
        raise InvalidValueError(
            expected("lengths", f"of shape {(batch,)}, one for each text", tuple(lengths.shape))
        )
    lengths = lengths.to("cpu", torch.int64)  # waits for another device
    if is_exporting():
        rule = "Expected `lengths` to be from 1 to `time`, the number of steps."
        torch.ops.aten._assert_async.msg(  # noqa: SLF001 # no public name
            ((lengths >= 1) & (lengths <= time)).all(), rule
        )
    elif batch:
        shortest, longest = torch.aminmax(lengths)
        if int(shortest) < 1 or int(longest) > time:
            position = int(((lengths < 1) | (lengths > time)).nonzero()[0])
            raise InvalidValueError(
                f"Expected `lengths` to be from 1 to {time}, the number of steps, "
                f"but got {int(lengths[position])} at position {position}."
            )
    return lengths


def check_type(name: str, inputs: Tensor, weights: Tensor) -> None:
    """Check that inputs have the type of the weights, to which only autocast converts them."""
    if inputs.dtype != weights.dtype and not torch.is_autocast_enabled(inputs.device.type):
        raise InvalidTypeError(expected(name, f"{weights.dtype}, as the weights", inputs.dtype))


def resolve_lengths(input_ids: Tensor, padding_id: int) -> Tensor:
    """Return the position of each text's last token that is not padding, plus one, on the CPU."""
    refuse_tracing()
    steps = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device)
    reached = steps * (input_ids != padding_id)  # (batch, time)
    lengths = reached.amax(1) if input_ids.shape[1] else steps.new_zeros(input_ids.shape[0])
    lengths = lengths.cpu()  # (batch,)
    if not is_exporting() and not lengths.all():
        position = int((lengths == 0).nonzero()[0])
        raise InvalidValueError(
            "Expected `input_ids` to have a token in each text, "
            f"but got only padding (id {padding_id}) at position {position}."
        )
    return lengths


def token_mask(lengths: Tensor, time: int, device: torch.device) -> Tensor | None:
    """Return a mask `(batch, time)` that is false at padding, or None if there is no padding."""
    if not is_exporting() and (not len(lengths) or int(lengths.min()) == time):
        return None
    ends = lengths.to(device, non_blocking=True).unsqueeze(1)  # (batch, 1)
    return torch.arange(time, device=device) < ends  # (batch, time)


def _check_ids(input_ids: Tensor, vocab_size: int) -> None:
    """Check that token ids are integers `(batch, time)` within the vocabulary."""
    rule = "an int64 or int32 tensor"
    if not isinstance(input_ids, Tensor):
        raise InvalidTypeError(expected("input_ids", rule, input_ids))
    if input_ids.dtype not in {torch.int64, torch.int32}:
        raise InvalidTypeError(expected("input_ids", rule, input_ids.dtype))
    if input_ids.dim() != 2:
        raise InvalidValueError(
            "Expected `input_ids` to be of shape (batch, time), "
            f"but got the shape {tuple(input_ids.shape)}."
        )
    # On other devices the check would have to wait for the device.
    if input_ids.device.type == "cpu" and not is_exporting() and input_ids.numel():
        smallest, largest = map(int, torch.aminmax(input_ids))
        if smallest < 0 or largest >= vocab_size:
            wrong = (input_ids < 0) | (input_ids >= vocab_size)  # (batch, time)
            text, step = wrong.nonzero()[0].tolist()
            raise InvalidValueError(
                f"Expected `input_ids` to be from 0 to {vocab_size - 1}, the ids of the "
                f"vocabulary, but got {int(input_ids[text, step])} at position {text, step}."
            )
