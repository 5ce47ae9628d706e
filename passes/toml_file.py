"""Reads a small TOML file that a user wrote."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from idsnn_convert.runtime.errors import UserError

LARGEST = 1 << 20


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
        return tomllib.loads(text.decode())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{path} is no valid TOML: {error}") from error
