"""The seal of a description: a digest of it and of the tensors it describes, by which damage shows.

safetensors has no checksums: a bit that a disk or a copy turned makes another weight, and nothing tells. The seal stands in
the description itself, under ``sha256``, as safetensors keeps no order among several keys and equal content must give equal
bytes. It is taken over the description with a blank in its place. It finds damage; it proves nothing about who wrote it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

KEY = "sha256"
BLANK = "-" * 64


def _field(seal: object) -> str:
    """As it stands in canonical JSON; a string's own quotes are escaped there, so that none holds this."""
    return f'"{KEY}":"{seal}"'


def digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """SHA-256 of ``text`` and of the tensors' names, shapes and bytes, in the order of their names."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tuple(tensor.shape)} ".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def sealed(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """``facts`` as canonical JSON (sorted keys, no spaces, ASCII), with the seal of itself and ``tensors``.

    Raises:
        ValueError: if a number is not finite.
    """
    text = json.dumps({**facts, KEY: BLANK}, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace(_field(BLANK), _field(digest(tensors, text)), 1)


def broken(text: str, seal: object, tensors: Mapping[str, Tensor]) -> bool:
    """Whether ``text``, in which ``seal`` stands, or ``tensors`` are not those that were sealed."""
    return digest(tensors, text.replace(_field(seal), _field(BLANK), 1)) != seal
