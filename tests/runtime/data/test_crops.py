from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from idsnn_convert.runtime.data.crops import boxes, cropped, draw_frames, resized


def pictures(count: int = 4, height: int = 6, width: int = 5) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(1, 256, (count, 3, height, width), dtype=torch.uint8, generator=draw)


def whole(count: int) -> Tensor:
    """Frames that hold all of an image that is as wide as high."""
    return torch.tensor([[1.0, 0.0, 0.5, 0.5]], dtype=torch.float64).expand(count, 4)


def test_a_crop_is_a_cut_from_the_padded_image_mirrored_or_not() -> None:
    images = pictures(4)
    offsets = torch.tensor([[0, 0], [4, 1], [2, 2], [3, 4]])
    flipped = torch.tensor([False, True, False, True])
    found = cropped(images, offsets, flipped, padding=2)
    padded = F.pad(images, (2, 2, 2, 2))
    for k, (top, left) in enumerate(offsets.tolist()):
        cut = padded[k, :, top : top + 6, left : left + 5]
        assert torch.equal(found[k], cut.flip(2) if flipped[k] else cut)
    assert torch.equal(found[2], images[2])
    assert found.is_contiguous()


def test_a_frame_is_its_share_of_the_area_in_its_shape_and_place() -> None:
    frames = torch.tensor([[0.25, 0.0, 0.0, 1.0], [0.25, 0.0, 1.0, 0.5], [1.0, 0.0, 0.3, 0.3]], dtype=torch.float64)
    found = boxes(frames, 8, 8).tolist()
    assert found == [[0, 4, 4, 4], [4, 2, 4, 4], [0, 0, 8, 8]]
    left, top, wide, high = boxes(torch.tensor([[0.5, 0.2, 0.1, 0.9]], dtype=torch.float64), 30, 40)[0].tolist()
    assert wide * high == pytest.approx(600)
    assert wide / high == pytest.approx(1.2214, abs=1e-3)  # exp(0.2)
    assert (left, top) == (pytest.approx(0.1 * (40 - wide)), pytest.approx(0.9 * (30 - high)))


def test_frames_are_drawn_over_the_whole_range_and_stay_inside() -> None:
    frames = draw_frames(2000, 0.08, torch.Generator().manual_seed(0))
    left, top, wide, high = boxes(frames, 20, 30).unbind(1)
    assert frames[:, 0].min() > 0.08
    assert frames[:, 0].min() < 0.1
    assert frames[:, 0].max() > 0.98
    assert (wide / high)[high < 20].max() <= 4 / 3 + 1e-9
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (left + wide).max() <= 30 + 1e-9
    assert (top + high).max() <= 20 + 1e-9
    assert (wide == 30).sum() == 0
    assert (high == 20).sum() > 10


def test_the_whole_frame_is_the_image() -> None:
    images = pictures(4, 6, 6)
    assert torch.equal(resized(images, whole(4)), images)


def test_a_quarter_is_enlarged_by_bilinear_interpolation() -> None:
    images = torch.tensor([[0, 100, 9, 9], [0, 100, 9, 9], [9] * 4, [9] * 4], dtype=torch.uint8).view(1, 1, 4, 4)
    corner = torch.tensor([[0.25, 0.0, 0.0, 0.0]], dtype=torch.float64)
    assert resized(images, corner)[0, 0, 0].tolist() == [0, 25, 75, 77]  # at columns 0.25, 0.75, 1.25, 1.75 of the edges


def test_it_is_pillows_resize_of_a_box() -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = F.interpolate(pictures(1, 6, 6).float(), 24, mode="bilinear").to(torch.uint8)
    frames = draw_frames(1, 0.1, torch.Generator().manual_seed(3))
    left, top, wide, high = boxes(frames, 24, 24)[0].tolist()
    picture = image.fromarray(pixels[0].permute(1, 2, 0).numpy())
    pillows = picture.resize((24, 24), image.Resampling.BILINEAR, box=(left, top, left + wide, top + high))
    theirs = torch.tensor(list(pillows.tobytes())).view(24, 24, 3).permute(2, 0, 1)
    inside = (slice(None), slice(2, -2), slice(2, -2))  # Pillow never looks beyond the box
    assert (resized(pixels, frames)[0].int() - theirs)[inside].abs().max() <= 1
