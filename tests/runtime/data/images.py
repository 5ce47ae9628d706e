"""Image files of little patterns, and folders of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def pixels(seed: int, height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    """(H, W, C) noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def encoded(array: np.ndarray, form: str = "PNG") -> bytes:
    """An image file's bytes; PNG keeps every value."""
    image: Any = pytest.importorskip("PIL.Image")
    place = io.BytesIO()
    image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(place, form)
    return place.getvalue()


def put(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(array))
    return path


def folder(root: Path, train: int = 6, test: int = 4, classes: tuple[str, ...] = ("cat", "dog"), **shape: int) -> Path:
    """So many images of each class; image k of the training images is ``pixels(k)``."""
    for part, count, first in (("train", train, 0), ("val", test, 1000)):
        for label, name in enumerate(classes):
            for k in range(count):
                put(root / part / name / f"{k}.png", pixels(first + label * count + k, **shape))
    return root
