from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
import torch

from idsnn_convert.runtime.data.decode import Form, decode, measure
from idsnn_convert.runtime.errors import UserError
from tests.runtime.data.images import encoded, pixels

Image: Any = pytest.importorskip("PIL.Image")


def test_an_image_of_the_right_size_keeps_every_pixel() -> None:
    for channels in (1, 3):
        made = pixels(1, 6, 6, channels)
        assert measure(encoded(made), "a") == (channels == 3, 6, 6)
        assert np.array_equal(decode(encoded(made), "a", Form(channels, 6)), made.transpose(2, 0, 1))


def test_another_size_is_resized_by_its_shorter_side_and_cut_to_the_middle() -> None:
    made = pixels(1, 40, 60)
    found = decode(encoded(made), "a", Form(3, 28))
    whole = Image.fromarray(made).resize((48, 32), Image.Resampling.BILINEAR)  # 28 / 0.875 = 32
    assert np.array_equal(found, np.asarray(whole)[2:30, 10:38].transpose(2, 0, 1))
    assert decode(encoded(pixels(2, 3, 90)), "a", Form(3, 8)).shape == (3, 8, 8)


def test_a_frame_is_cut_from_the_image_as_it_is_stored() -> None:
    made = pixels(1, 40, 60)
    corner = torch.tensor([0.25, 0.0, 0.0, 1.0], dtype=torch.float64)  # a square of 600 pixels, at the bottom left
    found = decode(encoded(made), "a", Form(3, 8), corner)
    side = 600**0.5
    wanted = Image.fromarray(made).resize((8, 8), Image.Resampling.BILINEAR, box=(0, 40 - side, side, 40))
    assert np.array_equal(found, np.asarray(wanted).transpose(2, 0, 1))


def test_gray_becomes_colour_and_colour_gray_where_asked() -> None:
    gray, coloured = pixels(1, 4, 4, 1), pixels(2, 4, 4)
    assert (decode(encoded(gray), "a", Form(3, 4)) == gray.transpose(2, 0, 1)).all()
    assert decode(encoded(coloured), "a", Form(1, 4)).shape == (1, 4, 4)
    with pytest.raises(UserError, match=r"here.png is coloured, .* gray\n.*--channels 3"):
        decode(encoded(coloured), "here.png", Form(1, 4, convert=False))


def test_a_size_that_nobody_asked_to_change_is_told() -> None:
    with pytest.raises(UserError, match=r"here.png has 5x4 pixels, .* first 4x4\n.*--image-size 4"):
        decode(encoded(pixels(1, 4, 5)), "here.png", Form(3, 4, resize=False))


def test_a_damaged_image_is_named() -> None:
    whole = encoded(pixels(1, 30, 30))
    jpeg = encoded(pixels(1, 30, 30), "JPEG")
    for raw in (b"", b"text", whole[: len(whole) // 2], whole[:20], jpeg[: len(jpeg) // 2]):
        with pytest.raises(UserError, match=r"cannot read the image here.png: .*\nIs the file whole"):
            decode(raw, "here.png", Form(3, 30))


def test_sixteen_bits_are_refused() -> None:
    raw = encoded(np.zeros((4, 4, 1), np.uint16))
    with pytest.raises(UserError, match=r"here.png stores its pixels as I;16; 8 bits"):
        decode(raw, "here.png", Form(1, 4))


def test_without_pillow_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("PIL"):
            raise ImportError(name)
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r'through Pillow\npip install "idsnn-convert\[data\]"'):
        decode(b"", "a", Form(3, 4))


def test_a_file_that_another_program_would_have_to_read_is_none() -> None:
    # Pillow would start Ghostscript, which runs the program that an EPS file is.
    raw = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(UserError, match=r"cannot read the image here\.jpg: it is none of JPEG, PNG"):
        decode(raw, "here.jpg", Form(3, 8))


def test_an_image_that_declares_too_many_pixels_is_not_decoded() -> None:
    raw = b"P5 9000 9000 255 "
    with pytest.raises(UserError, match=r"here\.png has 9000x9000 pixels; at most 64,000,000 are read"):
        measure(raw, "here.png")


def test_a_line_of_pixels_is_not_resized_to_a_wall() -> None:
    raw = encoded(np.zeros((1, 50_000, 1), np.uint8))
    with pytest.raises(UserError, match=r"here\.png, its shorter side resized to 256, has 12800000x256 pixels"):
        decode(raw, "here.png", Form(1, 224))
