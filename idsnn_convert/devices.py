"""Devices by name."""

from __future__ import annotations

import torch

from idsnn_convert.runtime.errors import UserError


def device_named(name: str) -> torch.device:
    """The device of this name; ``auto``: a GPU if there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"device {name!r} cannot be used: {reason}", hint="Leave --device out to take what is there."
        ) from error
    return device
