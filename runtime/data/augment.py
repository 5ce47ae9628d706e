"""What a recipe's ``[augment]`` does beyond crop and flip, on whole batches and on the device that learns.

Letters: N images, B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from idsnn_convert.runtime.data.image_ops import OPERATIONS
from idsnn_convert.runtime.recipe import Augment

MAGNITUDES = 30
"""The largest magnitude of RandAugment."""


@dataclass(frozen=True)
class Mix:
    """How a batch is mixed with itself shifted by one: ``share`` of each image stays.

    ``box``: row and column of the centre of the cut, as fractions of the sides; None blends whole images.
    """

    share: float
    box: tuple[float, float] | None = None


def draw_operations(count: int, settings: Augment, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """For N images: which operations, int64 (N, ``settings.randaugment``), and how strong, the same shape, -1 to 1."""
    size = (count, settings.randaugment)
    kinds = torch.randint(len(OPERATIONS), size, generator=generator)
    signs = 2 * torch.randint(2, size, generator=generator) - 1
    return kinds, signs * (settings.randaugment_magnitude / MAGNITUDES)


def rand_augment(images: Tensor, kinds: Tensor, strengths: Tensor) -> Tensor:
    """RandAugment (Cubuk et al. 2020): to each image its operations, one after the other.

    Args:
        images: uint8 (B, C, H, W), C 1 or 3.
        kinds, strengths: on the CPU, (B, operations an image), see :func:`draw_operations`.
    """
    for kind, strength in zip(kinds.unbind(1), strengths.unbind(1), strict=True):
        images = images.clone()
        for which in kind.unique().tolist():
            rows = (kind == which).nonzero().flatten()
            place = rows.to(images.device)
            images[place] = OPERATIONS[which](images[place], strength[rows].to(images.device))
    return images


def cutout(images: Tensor, centres: Tensor, side: int) -> Tensor:
    """A square of ``side`` pixels of each image set to 0, what the mean pixel is after normalisation; cut at the borders.

    DeVries & Taylor 2017. ``centres``: (B, 2), row and column from 0 to 1 of the image's sides.
    """
    height, width = images.shape[2:]
    top = (centres[:, :1] * height).floor() - side // 2
    left = (centres[:, 1:] * width).floor() - side // 2
    rows, columns = (torch.arange(size, device=images.device) for size in (height, width))
    inside = ((rows >= top) & (rows < top + side))[:, :, None] & ((columns >= left) & (columns < left + side))[:, None]
    return images.masked_fill(inside[:, None], 0)


def draw_mixes(count: int, settings: Augment, seed: np.random.SeedSequence) -> list[Mix]:
    """One for each of ``count`` batches. Where both mixup and cutmix are asked for, each has half of the batches."""
    draw, mixes = np.random.default_rng(seed), []
    for _ in range(count):
        cut, *box = draw.random(3).tolist()
        cuts = bool(settings.cutmix) and (not settings.mixup or cut < 0.5)
        alpha = settings.cutmix if cuts else settings.mixup
        mixes.append(Mix(float(draw.beta(alpha, alpha)), (box[0], box[1]) if cuts else None))
    return mixes


def mixed(images: Tensor, labels: Tensor, mix: Mix, classes: int) -> tuple[Tensor, Tensor]:
    """Each image with the one before it in the batch, and the labels in the same shares: float (B, K).

    mixup (Zhang et al. 2018) adds them; cutmix (Yun et al. 2019) puts a box of the one into the other, whose area gives
    the shares.
    """
    share, others = mix.share, images.roll(1, 0)
    if mix.box is None:
        images = share * images + (1 - share) * others
    else:
        rows, columns = (_cut(size, share, centre) for size, centre in zip(images.shape[2:], mix.box, strict=True))
        images = images.clone()
        images[:, :, rows, columns] = others[:, :, rows, columns]
        share = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / math.prod(images.shape[2:])
    hot = F.one_hot(labels, classes).float()
    return images, share * hot + (1 - share) * hot.roll(1, 0)


def _cut(size: int, share: float, centre: float) -> slice:
    """The box's extent along one side of the image, cut at the borders."""
    half, middle = int(size * math.sqrt(1 - share)) // 2, int(size * centre)
    return slice(max(0, middle - half), min(size, middle + half))
