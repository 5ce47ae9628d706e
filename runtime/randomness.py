"""Chance of one's own: a stretch of work that draws the same whatever was drawn before, and disturbs nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_randomness(device: torch.device, seed: int) -> Iterator[None]:
    """Within, torch's global generators start from ``seed``; afterwards they are as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
