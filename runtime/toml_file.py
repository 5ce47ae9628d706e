"""Reads a small TOML file that a user wrote, or had from somebody."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from idsnn_convert.runtime.errors import UserError

LARGEST = 1 << 18
"""Bytes that a file may have."""

MOST_PARTS = 32
"""Parts that a dotted key may have; the time and memory that Python's reader takes grow with their square."""

_PART = r"""(?:"[^"\n]*+"|'[^'\n]*+'|[^\s.,=#"'\[\]{}]++)"""
_LONG_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*+{_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MOST_PARTS}}}", re.MULTILINE)


def read_toml(path: Path) -> dict[str, Any]:
    """What the file says.

    Raises:
        UserError: if it is missing, not readable, larger than a description can be, or no TOML, with the line at fault.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise UserError(f"{path} is larger than {LARGEST:,} bytes; that is no description")
        return parsed_toml(text.decode())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no valid TOML: {error}") from error


def parsed_toml(text: str) -> dict[str, Any]:
    """What the text says.

    Raises:
        ValueError: if it is no TOML, or has a key of too many parts.
        RecursionError: if it is nested too deeply.
    """
    if found := _LONG_KEY.search(text):
        line = text.count("\n", 0, found.end()) + 1
        raise ValueError(f"a key of more than {MOST_PARTS} parts (at line {line})")
    return tomllib.loads(text)
