"""The bytes of an ONNX file, counted before they become a protobuf: two bytes may stand for a message of a hundred."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx

from idsnn_convert.runtime.errors import UserError

MOST_MESSAGES = 500_000
"""Nodes, attributes, tensors and all else that is a part of its own. A ResNet-152 of PyTorch's has some 10,000."""

MOST_NUMBERS = 8 << 20
"""Whole numbers stored one by one, a byte each or more; eight bytes each when read. Weights are stored in one piece."""

DEEPEST = 64
"""Parts within parts."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_wire(data: bytes) -> None:
    """Holds the bytes of a model against the bounds.

    Raises:
        UserError: if it has too many parts or numbers, or parts nested too deeply.
        ValueError: if they are no protobuf.
    """
    messages = numbers = 0
    pending = [(0, len(data), _parts(onnx.ModelProto.DESCRIPTOR), 0)]
    while pending:
        at, end, parts, depth = pending.pop()
        messages += 1
        while at < end:
            key, at = _varint(data, at, end)
            kind = key & 7
            if kind == _BYTES:
                length, at = _varint(data, at, end)
                field = parts.get(key >> 3)
                if isinstance(field, dict):
                    pending.append((at, at + length, field, depth + 1))
                elif field == "numbers":
                    numbers += length
                at += length
            elif kind == _VARINT:
                _, at = _varint(data, at, end)
                numbers += 1
            else:
                at += {_FIXED64: 8, _FIXED32: 4}[kind]
                numbers += 1
            if messages + len(pending) > MOST_MESSAGES or numbers > MOST_NUMBERS or depth > DEEPEST:
                raise _too_much(messages + len(pending), numbers, depth)
        if at != end:
            raise ValueError("a part of it is longer than the whole")


def _too_much(messages: int, numbers: int, depth: int) -> UserError:
    if depth > DEEPEST:
        return UserError(f"its parts lie more than {DEEPEST} deep one in another")
    if messages > MOST_MESSAGES:
        return UserError(f"it has more than {MOST_MESSAGES:,} parts")
    return UserError(f"it stores more than {MOST_NUMBERS:,} numbers one by one", hint="Store tensors as raw data.")


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number in it is cut short")


_SEEN: dict[str, dict[int, Any]] = {}


def _parts(kind: Any) -> Mapping[int, Any]:
    """Number of a field -> the parts of the message in it, or ``numbers`` where they may be packed."""
    if kind.full_name not in _SEEN:
        found = _SEEN[kind.full_name] = {}
        for field in kind.fields:
            if field.message_type is not None:
                found[field.number] = _parts(field.message_type)
            elif field.type not in (field.TYPE_BYTES, field.TYPE_STRING, field.TYPE_FLOAT, field.TYPE_DOUBLE):
                found[field.number] = "numbers"
    return _SEEN[kind.full_name]
