"""Splits -> normalised batches, on the device that learns, without a Python loop over images.

Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from idsnn_convert.runtime.data.types import Split
from idsnn_convert.runtime.normalisation import Normalisation

Batch = tuple[Tensor, Tensor]
"""Images float32 (B, C, H, W) and labels int64 (B,)."""


def batch_count(images: int, batch_size: int) -> int:
    """How many batches ``images`` make, a smaller last one included."""
    return -(-images // batch_size)


def train_batches(
    split: Split,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    normalisation: Normalisation,
    crop_padding: int = 4,
    flip: bool = True,
    device: torch.device | str = "cpu",
    skip: int = 0,
) -> Iterator[Batch]:
    """One epoch of ``split`` in random order, randomly cropped and flipped, then normalised.

    An image is padded by ``crop_padding`` black pixels on each side before it is cropped to its own size and
    normalised, as torchvision's ``RandomCrop(size, padding)`` does before ``Normalize``. All chance comes from one
    generator seeded with (``seed``, ``epoch``) and is drawn before the first batch: the same arguments give the same
    images on any device, and ``skip`` leaves out the first batches without changing the rest.
    """
    draw = torch.Generator().manual_seed(_mixed(seed, epoch))
    count = len(split)
    order = torch.randperm(count, generator=draw)
    offsets = torch.randint(2 * crop_padding + 1, (count, 2), generator=draw)
    flipped = torch.rand(count, generator=draw) < 0.5 if flip else torch.zeros(count, dtype=torch.bool)
    images, labels = split.images.to(device), split.labels.to(device)
    order, offsets, flipped = order.to(device), offsets.to(device), flipped.to(device)
    for start in range(skip * batch_size, count, batch_size):
        rows = slice(start, start + batch_size)
        chosen = images[order[rows]]
        if crop_padding or flip:
            chosen = cropped(chosen, offsets[rows], flipped[rows], crop_padding)
        yield normalisation(chosen), labels[order[rows]]


def _mixed(seed: int, epoch: int) -> int:
    """One 64-bit seed from two numbers, so that (1, 0) and (0, 1) share nothing."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0])


def cropped(images: Tensor, offsets: Tensor, flipped: Tensor, padding: int) -> Tensor:
    """``images`` padded with zeros, each cut to its old size at its own offset, and mirrored where ``flipped``.

    Args:
        images: (B, C, H, W).
        offsets: (B, 2): row and column of the cut's corner in the padded image, 0 to 2 * ``padding``.
        flipped: (B,) booleans.

    Returns:
        (B, C, H, W), contiguous.
    """
    count, channels, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    down = torch.arange(height, device=images.device)
    right = torch.arange(width, device=images.device).expand(count, width)
    right = torch.where(flipped[:, None], width - 1 - right, right)
    rows = offsets[:, 0, None] + down  # (B, H)
    columns = offsets[:, 1, None] + right  # (B, W)
    index = rows[:, :, None] * padded.shape[3] + columns[:, None, :]  # (B, H, W) into a padded plane
    index = index.view(count, 1, -1).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, index).view(count, channels, height, width)


def test_batches(
    split: Split,
    batch_size: int,
    *,
    normalisation: Normalisation,
    device: torch.device | str = "cpu",  # noqa: PT028 - no test, batches of a test split
) -> Iterator[Batch]:
    """``split`` in stored order, normalised."""
    for images, labels in zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True):
        yield normalisation(images.to(device)), labels.to(device)
