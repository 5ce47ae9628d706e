"""What :func:`idsnn_convert.passes.load.load_teacher` hands to the loader of a form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """A file, and what its owner says of it."""

    path: Path
    sha256: str
    arch: str | None
    input_size: int | None
