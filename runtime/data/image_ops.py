"""What RandAugment does to images, on whole batches of uint8, with the arithmetic of Pillow to the last bit but for ties.

Every operation takes images uint8 (B, C, H, W), C 1 or 3, and a strength (B,) from -1 to 1, and gives new images.
At strength 1 it does the most that Cubuk et al. 2020 allow (RandAugment, arXiv:1909.13719; ranges of Cubuk et al. 2019).

Letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Operation = Callable[[Tensor, Tensor], Tensor]
"""(images, strength) -> images."""

MOST_SHEAR = 0.3
MOST_SHIFT = 150 / 331
"""Of the image's side: 150 pixels of the 331 the policies were searched on."""
MOST_DEGREES = 30.0
MOST_CHANGE = 0.9
"""How far a blend factor is from 1, which changes nothing."""
MOST_BITS = 4
"""Posterising drops so many of the 8."""


def identity(images: Tensor, strength: Tensor) -> Tensor:
    return images


def shear_x(images: Tensor, strength: Tensor) -> Tensor:
    return _affine(images, b=MOST_SHEAR * strength)


def shear_y(images: Tensor, strength: Tensor) -> Tensor:
    return _affine(images, d=MOST_SHEAR * strength)


def translate_x(images: Tensor, strength: Tensor) -> Tensor:
    """By whole pixels."""
    return _affine(images, c=(MOST_SHIFT * images.shape[3] * strength).trunc())


def translate_y(images: Tensor, strength: Tensor) -> Tensor:
    """By whole pixels."""
    return _affine(images, f=(MOST_SHIFT * images.shape[2] * strength).trunc())


def rotate(images: Tensor, strength: Tensor) -> Tensor:
    """Counterclockwise about the centre."""
    angle = torch.deg2rad(MOST_DEGREES * strength.double())
    cos, sin = angle.cos(), -angle.sin()
    x, y = images.shape[3] / 2, images.shape[2] / 2
    return _affine(images, cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y)


def _affine(
    images: Tensor,
    a: Tensor | float = 1.0,
    b: Tensor | float = 0.0,
    c: Tensor | float = 0.0,
    d: Tensor | float = 0.0,
    e: Tensor | float = 1.0,
    f: Tensor | float = 0.0,
) -> Tensor:
    """Pixel (x, y) becomes that at (a x + b y + c, d x + e y + f), nearest; black where there is none.

    Coordinates are of pixels' centres. Each coefficient is one number, or (B,).
    """
    count, channels, height, width = images.shape
    x, y = (torch.arange(size, device=images.device, dtype=torch.float64) + 0.5 for size in (width, height))
    x, y = x.view(1, 1, width), y.view(1, height, 1)
    a, b, c, d, e, f = (k.double().view(-1, 1, 1) if isinstance(k, Tensor) else k for k in (a, b, c, d, e, f))
    column = (a * x + b * y + c).floor().long().expand(count, height, width)
    row = (d * x + e * y + f).floor().long().expand(count, height, width)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = torch.where(inside, row * width + column, 0).view(count, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, index).view(images.shape) * inside[:, None]


def brightness(images: Tensor, strength: Tensor) -> Tensor:
    return _blend(torch.zeros((), device=images.device), images, strength)


def color(images: Tensor, strength: Tensor) -> Tensor:
    return _blend(_gray(images).float(), images, strength)


def contrast(images: Tensor, strength: Tensor) -> Tensor:
    gray = _gray(images)
    total, count = gray.sum((1, 2, 3), keepdim=True), gray[0].numel()
    return _blend(((2 * total + count) // (2 * count)).float(), images, strength)  # the mean, halves rounded up


def sharpness(images: Tensor, strength: Tensor) -> Tensor:
    """Away from the mean of the 3x3 pixels around, the middle one counted 5 times, or towards it; borders stay."""
    if min(images.shape[2:]) < 3:
        return images
    pixels = images.float()
    smooth = pixels.clone()
    weighted = F.avg_pool2d(pixels, 3, 1, divisor_override=1) + 4 * pixels[..., 1:-1, 1:-1]  # whole numbers, exact
    smooth[..., 1:-1, 1:-1] = ((2 * weighted + 13) / 26).floor()
    return _blend(smooth, images, strength)


def _gray(images: Tensor) -> Tensor:
    """int64 (B, 1, H, W): ITU-R 601 luma in 16 bits after the point, rounded."""
    if images.shape[1] == 1:
        return images.long()
    red, green, blue = images.long().split(1, 1)
    luma: Tensor = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
    return luma


def _blend(toward: Tensor, images: Tensor, strength: Tensor) -> Tensor:
    """``toward`` at factor 0, ``images`` at 1, and beyond; the factor is 1 + 0.9 ``strength``."""
    factor = (1 + MOST_CHANGE * strength.float()).view(-1, 1, 1, 1)
    return (toward + factor * (images.float() - toward)).clamp_(0, 255).to(torch.uint8)


def posterize(images: Tensor, strength: Tensor) -> Tensor:
    dropped = (MOST_BITS * strength.abs()).round().long().tolist()
    masks = torch.tensor([256 - (1 << bits) for bits in dropped], dtype=torch.uint8, device=images.device)
    return images & masks.view(-1, 1, 1, 1)


def solarize(images: Tensor, strength: Tensor) -> Tensor:
    """Inverts what is as bright as the threshold, ``255 (1 - |strength|)``, or brighter."""
    threshold = (255 * (1 - strength.abs())).view(-1, 1, 1, 1)
    return torch.where(images >= threshold, 255 - images, images)


def autocontrast(images: Tensor, strength: Tensor) -> Tensor:
    """Stretches each channel to 0 to 255; one of a single value stays."""
    low, high = images.flatten(2).aminmax(dim=2)  # (B, C)
    low, high = low.double()[..., None], high.double()[..., None]
    scale = torch.full_like(high, 255) / (high - low)  # 255 / x would be 255 times the rounded 1 / x
    values = torch.arange(256, device=images.device, dtype=torch.float64)
    table = torch.where(high > low, (values * scale - low * scale).clamp(0, 255), values)
    return _mapped(images, table)


def equalize(images: Tensor, strength: Tensor) -> Tensor:
    """Makes the values of each channel as evenly frequent as moving whole values can; one with too few to do so stays."""
    pixels = images.flatten(2).long()  # (B, C, H W)
    counts = torch.zeros(*pixels.shape[:2], 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, pixels, torch.ones_like(pixels))
    last = counts.gather(2, pixels.amax(2, keepdim=True))
    step = (pixels.shape[2] - last) // 255
    before = counts.cumsum(2) - counts
    values = torch.arange(256, device=images.device)
    table = torch.where(step > 0, (step // 2 + before) // step.clamp(min=1), values).clamp(max=255)
    return _mapped(images, table)


def _mapped(images: Tensor, table: Tensor) -> Tensor:
    """Each value v of image b, channel c becomes ``table[b, c, v]``, cut to a whole number."""
    return table.to(torch.uint8).gather(2, images.flatten(2).long()).view(images.shape)


OPERATIONS: tuple[Operation, ...] = (
    identity,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
    rotate,
    brightness,
    color,
    contrast,
    sharpness,
    posterize,
    solarize,
    autocontrast,
    equalize,
)
"""RandAugment's, in the order their numbers are drawn."""
