"""Turns a tensor as stored into one the passes can use: float32, dense, finite."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from idsnn_convert.runtime.errors import UserError

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def usable(key: str, slot: str, tensor: Tensor) -> Tensor:
    """``tensor`` in float32.

    Args:
        key: its name in the file, for messages.
        slot: what it is to its layer: ``weight``, ``running_var``, ...

    Raises:
        UserError: if it is sparse, quantised, not of floats, larger than its bytes, not finite, or a negative variance.
    """
    if tensor.layout != torch.strided or tensor.dtype not in FLOATS:
        kind = "sparse" if tensor.layout != torch.strided else f"of {dtype_name(tensor)} numbers"
        raise UserError(
            f"tensor {key!r} is {kind}; dense float weights are needed",
            hint="Give the network as it was before it was compressed.",
        )
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise UserError(f"tensor {key!r} of shape {tuple(tensor.shape)} is larger than the bytes stored for it")
    found = tensor.detach().to(torch.float32).contiguous()
    # A finite sum has finite terms; only a sum that is not (it may just be too large) is worth the look at each term.
    if not math.isfinite(found.sum()) and (count := int((~torch.isfinite(found)).sum())):
        raise UserError(
            f"tensor {key!r} holds {count:,} values that are NaN or infinite, of {found.numel():,}",
            hint="Its training diverged, or the file is damaged. Give an earlier checkpoint.",
        )
    if slot == "running_var" and (found < 0).any():
        raise UserError(f"tensor {key!r} holds a negative variance: {found.min().item():g}", hint="The file is damaged.")
    return found


def dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
