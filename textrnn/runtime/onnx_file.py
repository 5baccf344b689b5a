"""The messages of an ONNX file, encoded in the wire format of protocol buffers.

The format is fixed, and so small a part of it is needed that the package `onnx` would take more
time and memory than ONNX Runtime itself. Numbers of fields and types are those of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; the wire format is described at
https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLOAT32", "INT32", "INT64", "Message", "model", "node", "tensor", "value"]

Message: TypeAlias = list[bytes | memoryview]
"""The bytes of a message in pieces, so that weights are copied only once."""

FLOAT32, INT32, INT64 = 1, 6, 7
"""Codes of the types of elements."""

_INT, _STRING, _INTS = 2, 3, 7  # types of attributes
_Attribute: TypeAlias = int | str | Sequence[int]


def tensor(name: str, array: NDArray[np.float32] | NDArray[np.int64]) -> Message:
    """Return a `TensorProto`."""
    kind, code = (FLOAT32, "<f4") if array.dtype == np.float32 else (INT64, "<i8")
    data = np.ascontiguousarray(array, code).reshape(-1).view(np.uint8).data
    return _message(*[(1, size) for size in array.shape], (2, kind), (8, name), (9, [data]))


def node(
    operator: str, inputs: Iterable[str], outputs: Sequence[str], **attributes: _Attribute
) -> Message:
    """Return a `NodeProto` that is named after its first output."""
    return _message(
        *[(1, name) for name in inputs],
        *[(2, name) for name in outputs],
        (3, outputs[0]),
        (4, operator),
        *[(5, _attribute(name, each)) for name, each in attributes.items()],
    )


def value(name: str, kind: int, shape: Iterable[int | str]) -> Message:
    """Return the `ValueInfoProto` of an input or output; a string names an unknown size."""
    sizes = [(1, _message((1 if isinstance(size, int) else 2, size))) for size in shape]
    array = _message((1, kind), (2, _message(*sizes)))  # a `TypeProto.Tensor`
    return _message((1, name), (2, _message((1, array))))


def model(
    *,
    nodes: Iterable[Message],
    constants: Iterable[Message],
    inputs: Iterable[Message],
    outputs: Iterable[Message],
    name: str,
    producer: tuple[str, str],
    ir_version: int,
    opset: int,
    properties: Iterable[tuple[str, str]],
) -> bytes:
    """Return a `ModelProto`, which is the content of a file."""
    graph = _message(
        *[(1, each) for each in nodes],
        (2, name),
        *[(5, each) for each in constants],
        *[(11, each) for each in inputs],
        *[(12, each) for each in outputs],
    )
    return b"".join(
        _message(
            (1, ir_version),
            (2, producer[0]),
            (3, producer[1]),
            (7, graph),
            (8, _message((1, ""), (2, opset))),
            *[(14, _message((1, key), (2, text))) for key, text in properties],
        )
    )


def _attribute(name: str, content: _Attribute) -> Message:
    """Return an `AttributeProto`."""
    if isinstance(content, int):
        return _message((1, name), (3, content), (20, _INT))
    if isinstance(content, str):
        return _message((1, name), (4, content), (20, _STRING))
    return _message((1, name), *[(8, each) for each in content], (20, _INTS))


def _message(*fields: tuple[int, int | str | Message]) -> Message:
    """Encode the fields of a message: its number, and a number, a string or another message."""
    parts: Message = []
    for number, content in fields:
        if isinstance(content, int):
            parts.append(_varint(number << 3) + _varint(content))
            continue
        inner = [content.encode()] if isinstance(content, str) else content
        parts.append(_varint(number << 3 | 2) + _varint(sum(map(len, inner))))
        parts += inner
    return parts


def _varint(number: int) -> bytes:
    """Encode a non-negative number, seven bits a byte, the lowest first."""
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])
