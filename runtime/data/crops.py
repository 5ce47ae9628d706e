"""Cutting images out of images: shifted crops, and crops of random size and shape.

Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

WIDEST = 4 / 3
"""Width over height of a resized crop lies between its reciprocal and this, before it is cut to the image."""


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


def draw_frames(count: int, smallest: float, generator: torch.Generator) -> Tensor:
    """Random crops of images of any size: (``count``, 4), to be made boxes of by :func:`boxes`.

    Szegedy et al. 2015 (GoogLeNet, section 6): the share of the area is uniform from ``smallest`` to 1, the logarithm
    of width over height uniform too, the place as well.
    """
    drawn = torch.rand(count, 4, generator=generator, dtype=torch.float64)
    drawn[:, 0] = smallest + (1 - smallest) * drawn[:, 0]
    drawn[:, 1] = (2 * drawn[:, 1] - 1) * math.log(WIDEST)
    return drawn


def boxes(frames: Tensor, height: int, width: int) -> Tensor:
    """Left, top, width and height in pixels, (B, 4), of ``frames`` in images of this size.

    Where a side would pass the image's it is cut to it; others draw again, which takes no fixed number of draws.
    """
    area, log_ratio, across, down = frames.unbind(1)
    wide = (area * height * width * log_ratio.exp()).sqrt().clamp(1, width)
    high = (area * height * width / log_ratio.exp()).sqrt().clamp(1, height)
    return torch.stack((across * (width - wide), down * (height - high), wide, high), 1)


def resized(images: Tensor, frames: Tensor) -> Tensor:
    """uint8 (B, C, H, W): what lies in each frame, enlarged to the old size; bilinear between pixels' centres."""
    height, width = images.shape[2:]
    left, top, wide, high = boxes(frames.to(images.device), height, width).unbind(1)
    zero = torch.zeros_like(left)
    across = torch.stack((wide / width, zero, (2 * left + wide) / width - 1), 1)  # from -1 to 1, the borders' edges
    down = torch.stack((zero, high / height, (2 * top + high) / height - 1), 1)
    grid = F.affine_grid(torch.stack((across, down), 1).float(), list(images.shape), align_corners=False)
    pixels = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return pixels.round_().to(torch.uint8)
