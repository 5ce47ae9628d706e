"""What a file may declare before anything is made of it: JSON, and the headers of safetensors files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

LARGEST_JSON = 64 << 20
"""Bytes of a JSON text that are read."""

MOST_VALUES = 2 << 20
"""Values that a JSON text may have; Python takes some hundred bytes for each."""

LARGEST_HEADER = 65 << 20
"""Bytes of a safetensors header: a description of 64 MiB, and the tensors."""

MOST_TENSORS = 100_000
"""Tensors that a safetensors file may have."""


def parsed_json(text: str | bytes) -> Any:
    """What the text says.

    Raises:
        ValueError: if it is no JSON (NaN and infinities are none), too long, of too many values, or nested too deeply.
    """
    if len(text) > LARGEST_JSON:
        raise ValueError(f"it is {len(text):,} characters long; at most {LARGEST_JSON:,} are read")
    count: Callable[[Any], int] = text.count
    if (values := sum(map(count, (b",", b"[", b"{") if isinstance(text, bytes) else (",", "[", "{")))) > MOST_VALUES:
        raise ValueError(f"it has {values:,} values; at most {MOST_VALUES:,} are read")
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def check_header(path: Path) -> None:
    """Looks at what a safetensors file's header declares of itself, before the library makes a table of it.

    Raises:
        ValueError: if it is longer than the file or than headers are, or lists too many tensors.
        OSError: if the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > max(0, size - 8):
            raise ValueError(f"its header is to be {length:,} bytes long, more than the file has")
        if length > LARGEST_HEADER:
            raise ValueError(f"its header is {length:,} bytes long; at most {LARGEST_HEADER:,} are read")
        tensors = file.read(length).count(b'"data_offsets"')
    if tensors > MOST_TENSORS:
        raise ValueError(f"its header lists {tensors:,} tensors; at most {MOST_TENSORS:,} are read")
