"""Reads the tensors of a safetensors file."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from idsnn_convert.runtime.bounds import check_header
from idsnn_convert.runtime.checkpoint import is_checkpoint
from idsnn_convert.runtime.errors import UserError


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Name -> tensor, as stored.

    Raises:
        UserError: if the file is damaged, or a spiking checkpoint instead of a teacher.
    """
    if is_checkpoint(path):
        raise UserError(
            f"{path} is a spiking checkpoint already, not a teacher",
            hint="idsnn inspect shows what it holds; idsnn train goes on.",
        )
    try:
        check_header(path)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path} is no sound safetensors file: {error}",
            hint="Download or copy it again, and compare its size with the original's.",
        ) from error
