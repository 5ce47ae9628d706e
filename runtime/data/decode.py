"""Image files -> pixels of one size, through Pillow, which is imported when the first file is read."""

from __future__ import annotations

import io
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from idsnn_convert.runtime.data.crops import boxes
from idsnn_convert.runtime.errors import UserError

CROP_SHARE = 0.875
"""Of the shorter side, that the centre crop keeps: 224 of 256, as on ImageNet since Krizhevsky et al. 2012."""

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
"""What files may be, whatever they are called. Pillow knows more; for some (EPS) it starts another program."""

MOST_PIXELS = 64_000_000
"""Pixels that an image may have before it is resized.

ImageNet's largest has 61 million; a small file may declare any number."""

GRAY, COLOUR = ("1", "L", "LA"), ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV", "La", "RGBa")
"""Pillow's modes of 8 bits a channel or less. An indexed image (P) is taken for a coloured one."""


@dataclass(frozen=True)
class Form:
    """What images become.

    Attributes:
        channels: 1 or 3.
        size: height and width.
        resize: images of another size are resized; else they are refused.
        convert: coloured images become gray where ``channels`` is 1; else they are refused.
    """

    channels: int
    size: int
    resize: bool = True
    convert: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.size, self.size


def pillow() -> ModuleType:
    """``PIL.Image``. Raises UserError if Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError as error:
        raise UserError("image files are read through Pillow", hint='pip install "idsnn-convert[data]"') from error
    return Image


def measure(raw: bytes, name: str) -> tuple[bool, int, int]:
    """Whether the image is coloured, its height and its width; only its header is read.

    Raises:
        UserError: if it is no image, naming it.
    """
    picture = _opened(raw, name)
    return picture.mode not in GRAY, picture.height, picture.width


def decode(raw: bytes, name: str, form: Form, frame: Tensor | None = None) -> np.ndarray:
    """The image as uint8 (C, H, W).

    One of the right size stays as it is. Another is resized so that its shorter side is ``form.size / CROP_SHARE``, then
    cut to the middle; or, where ``frame`` (4,) is given (:func:`idsnn_convert.runtime.data.crops.draw_frames`), the frame
    is resized. Bilinear; pixels are averaged where images shrink.

    Args:
        name: of the file, for messages.

    Raises:
        UserError: if it is damaged or not of the form, naming it.
    """
    picture = _opened(raw, name)
    if form.channels == 1 and picture.mode not in GRAY and not form.convert:
        raise UserError(
            f"{name} is coloured, the images looked at first are gray", hint="Say what all are to be: --channels 3."
        )
    if not form.resize and picture.size != (form.size, form.size):
        told = f"{name} has {picture.width}x{picture.height} pixels, the images looked at first {form.size}x{form.size}"
        raise UserError(told, hint=f"Say to what size all are to be resized: --image-size {form.size}.")
    try:
        picture = _sized(picture.convert("L" if form.channels == 1 else "RGB"), form.size, frame, name)
        pixels = np.asarray(picture, np.uint8)
    except UserError:
        raise
    except Exception as error:  # a damaged image can fail in a dozen ways
        raise _damaged(name, error) from error
    return pixels[None] if form.channels == 1 else pixels.transpose(2, 0, 1)


def _opened(raw: bytes, name: str) -> Any:
    try:
        picture = pillow().open(io.BytesIO(raw), formats=FORMATS)
    except UserError:
        raise
    except Exception as error:
        raise _damaged(name, error) from error
    _check_pixels(name, picture.width, picture.height)
    if picture.mode not in (*GRAY, *COLOUR):
        raise UserError(f"{name} stores its pixels as {picture.mode}; 8 bits a channel are read", hint="Convert it to 8 bits.")
    return picture


def _check_pixels(name: str, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise UserError(f"{name} has {width}x{height} pixels; at most {MOST_PIXELS:,} are read", hint="Make it smaller.")


def _damaged(name: str, error: Exception) -> UserError:
    reason = f"it is none of {', '.join(FORMATS)}" if type(error).__name__ == "UnidentifiedImageError" else str(error)
    return UserError(f"cannot read the image {name}: {reason}", hint="Is the file whole? Fetch it again, or remove it.")


def _sized(picture: Any, size: int, frame: Tensor | None, name: str) -> Any:
    width, height = picture.size
    bilinear = pillow().Resampling.BILINEAR
    if frame is not None:
        left, top, wide, high = boxes(frame[None], height, width)[0].tolist()
        return picture.resize((size, size), bilinear, box=(left, top, left + wide, top + high))
    if (width, height) == (size, size):
        return picture
    scale = round(size / CROP_SHARE) / min(width, height)
    width, height = max(size, round(width * scale)), max(size, round(height * scale))
    _check_pixels(f"{name}, its shorter side resized to {round(size / CROP_SHARE)},", width, height)
    left, top = (width - size) // 2, (height - size) // 2
    return picture.resize((width, height), bilinear).crop((left, top, left + size, top + size))
