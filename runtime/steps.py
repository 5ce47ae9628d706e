"""A pickle's instructions, looked through before any reader follows them.

What a pickle may call is settled elsewhere; here, what it may cost. Some readers make a table as long as the largest
memo place that is named, others a buffer as long as a call asks for, and each instruction takes time.
"""

from __future__ import annotations

import io
import pickletools
from typing import BinaryIO

from idsnn_convert.runtime.errors import UserError

MOST_STEPS = 1 << 20
"""Instructions that a pickle may have; a checkpoint of a thousand tensors has some 30,000."""

LONGEST_NAME = 4096
"""Characters that a dotted name which a pickle asks for may have."""

COSTLY = {"builtins bytearray": "a buffer of any size", "__builtin__ bytearray": "a buffer of any size"}
"""Calls that torch's reader follows, no checkpoint needs, and that cost more than the bytes they are written in."""


def check_steps(where: str, data: bytes | BinaryIO) -> None:
    """Looks through one pickle; a file is read up to its end.

    Args:
        where: names the pickle in messages.

    Raises:
        UserError: if it has too many instructions, names a memo place that none of them can have filled, or calls what
            makes much of little.
        ValueError: if it is no pickle, or cut short.
    """
    instructions = pickletools.genops(io.BytesIO(data) if isinstance(data, bytes) else data)
    for steps, (code, argument, _) in enumerate(instructions, 1):
        if steps > MOST_STEPS:
            raise UserError(f"{where} has more than {MOST_STEPS:,} instructions. Nothing was executed")
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int) and argument > steps:
            raise UserError(f"{where} names place {argument:,} after {steps:,} instructions. Nothing was executed")
        if code.name in ("GLOBAL", "INST"):
            if len(str(argument)) > LONGEST_NAME:
                raise UserError(f"{where} asks Python for a name of {len(str(argument)):,} characters. Nothing was executed")
            if argument in COSTLY:
                raise UserError(f"{where} asks Python for {COSTLY[argument]}. Nothing was executed")
