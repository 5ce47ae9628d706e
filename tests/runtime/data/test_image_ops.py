"""Each operation against Pillow's on the same image and strength, and against a case worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime.data import image_ops as ops

STRENGTHS = (-0.97, -0.41, 0.0, 0.31, 0.93)


def pictures(channels: int = 3, height: int = 24, width: int = 32) -> Tensor:
    """Smooth waves with noise, so that values repeat and neighbours are alike, one image a strength."""
    draw = np.random.default_rng(5)
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([np.sin(rows / (3 + k)) + np.cos(columns / (4 + k)) for k in range(5 * channels)])
    noisy = 110 + 40 * waves + draw.normal(0, 6, waves.shape)
    return torch.from_numpy(noisy.clip(0, 255).astype(np.uint8)).view(5, channels, height, width)


def in_pillow(images: Tensor, change: Callable[[Any, float], Any]) -> Tensor:
    """``change(image, strength)`` of each."""
    image = pytest.importorskip("PIL.Image")
    made = []
    for pixels, strength in zip(images, STRENGTHS, strict=True):
        changed = change(image.fromarray(pixels.permute(1, 2, 0).squeeze(2).numpy()), strength)
        made.append(torch.from_numpy(np.array(changed)).view(*pixels.shape[1:], -1).permute(2, 0, 1))
    return torch.stack(made)


def _transform(coefficients: Callable[[float], tuple[float, ...]]) -> Callable[[Any, float], Any]:
    def change(picture: Any, strength: float) -> Any:
        from PIL import Image

        return picture.transform(picture.size, Image.Transform.AFFINE, coefficients(strength), Image.Resampling.NEAREST)

    return change


def _enhance(kind: str) -> Callable[[Any, float], Any]:
    def change(picture: Any, strength: float) -> Any:
        from PIL import ImageEnhance

        return getattr(ImageEnhance, kind)(picture).enhance(1 + 0.9 * strength)

    return change


def _ops(kind: str, *argument: Callable[[float], float]) -> Callable[[Any, float], Any]:
    def change(picture: Any, strength: float) -> Any:
        from PIL import ImageOps

        return getattr(ImageOps, kind)(picture, *(make(strength) for make in argument))

    return change


MOVED = {
    ops.shear_x: _transform(lambda s: (1, 0.3 * s, 0, 0, 1, 0)),
    ops.shear_y: _transform(lambda s: (1, 0, 0, 0.3 * s, 1, 0)),
    ops.translate_x: _transform(lambda s: (1, 0, int(s * 32 * 150 / 331), 0, 1, 0)),
    ops.translate_y: _transform(lambda s: (1, 0, 0, 0, 1, int(s * 24 * 150 / 331))),
    ops.rotate: lambda picture, s: picture.rotate(30 * s),
}
COLOURED = {
    ops.brightness: _enhance("Brightness"),
    ops.color: _enhance("Color"),
    ops.contrast: _enhance("Contrast"),
    ops.sharpness: _enhance("Sharpness"),
    ops.posterize: _ops("posterize", lambda s: 8 - round(4 * abs(s))),
    ops.solarize: _ops("solarize", lambda s: 255 * (1 - abs(s))),
    ops.autocontrast: _ops("autocontrast"),
    ops.equalize: _ops("equalize"),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", COLOURED)
def test_colours_are_changed_as_pillow_changes_them(operation: ops.Operation, channels: int) -> None:
    images = pictures(channels)
    found = operation(images, torch.tensor(STRENGTHS))
    assert found.dtype == torch.uint8
    assert torch.equal(found, in_pillow(images, COLOURED[operation]))
    if channels == 3:
        assert not torch.equal(found, images)


@pytest.mark.parametrize("operation", MOVED)
def test_pixels_are_moved_as_pillow_moves_them(operation: ops.Operation) -> None:
    """Pillow's coordinates have 16 bits after the point, so a pixel on a border between two may differ."""
    images = pictures()
    found = operation(images, torch.tensor(STRENGTHS))
    assert (found != in_pillow(images, MOVED[operation])).float().mean() < 0.005
    assert torch.equal(found[2], images[2])  # strength 0
    assert not torch.equal(found[4], images[4])


def test_by_hand() -> None:
    def row(operation: ops.Operation, strength: float, *values: int) -> list[int]:
        images = torch.tensor(values, dtype=torch.uint8).view(1, 1, 1, -1)
        return operation(images, torch.tensor([strength])).flatten().tolist()

    assert row(ops.identity, 1, 1, 2, 3) == [1, 2, 3]
    assert row(ops.translate_x, 0.5, 1, 2, 3, 4, 5) == [2, 3, 4, 5, 0]  # 0.5 * 5 * 150 / 331 = 1.13, cut to 1
    assert row(ops.solarize, 0.2, 0, 203, 204, 255) == [0, 203, 51, 0]  # threshold 204
    assert row(ops.posterize, 1, 7, 31, 240) == [0, 16, 240]
    assert row(ops.autocontrast, 1, 50, 100, 150) == [0, 127, 255]
    assert row(ops.brightness, -1, 10, 200, 255) == [1, 20, 25]
    assert row(ops.contrast, 1, 0, 200) == [0, 255]  # mean 100: 100 + 1.9 * 100 is cut


def test_an_image_of_one_colour_stays_where_there_is_nothing_to_stretch() -> None:
    flat = torch.full((1, 3, 4, 4), 77, dtype=torch.uint8)
    for operation in (ops.autocontrast, ops.equalize, ops.contrast, ops.sharpness, ops.color):
        assert torch.equal(operation(flat, torch.ones(1)), flat)


def test_an_image_too_small_to_have_an_inside_is_not_sharpened() -> None:
    tiny = torch.tensor([[1, 200]], dtype=torch.uint8).view(1, 1, 1, 2)
    assert torch.equal(ops.sharpness(tiny, torch.ones(1)), tiny)


def test_the_table_is_the_papers() -> None:
    assert len(ops.OPERATIONS) == 14
    assert {*MOVED, *COLOURED, ops.identity} == set(ops.OPERATIONS)
