"""Fashion-MNIST (Xiao et al. 2017) as published: idx files, gzipped or not."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from idsnn_convert.runtime.data.files import Arrays, Kind, Layout
from idsnn_convert.runtime.errors import UserError

CLASS_NAMES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
SIDE = 28
LARGEST = 60_000
"""Most images a file may declare, as many as the official training set: a bound on what is decompressed."""


def read_pair(path: Path) -> Arrays:
    """The images in ``path`` and the labels in the file beside it whose name says so.

    Raises:
        UserError: if either is missing, truncated or of another kind, or their counts differ.
    """
    images = _idx(path, (SIDE, SIDE))
    labels_path = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    labels = _idx(labels_path, ())
    if len(images) != len(labels):
        raise UserError(f"{path} holds {len(images):,} images, {labels_path} {len(labels):,} labels")
    return images[:, None], labels  # (N, 1, 28, 28)


def _idx(path: Path, item: tuple[int, ...]) -> np.ndarray:
    """The idx file ``path``: a magic number 0x0800 + axes, the size of each axis (big-endian), then bytes.

    Never more is decompressed than the header declares and one byte.
    """
    axes = 1 + len(item)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4 + 4 * axes)
            if len(header) < 4 + 4 * axes:
                raise UserError(f"{path} is truncated: {len(header)} bytes found, its header alone is {4 + 4 * axes}")
            magic, count, *sizes = struct.unpack(f">{1 + axes}I", header)
            _check_header(path, magic, count, tuple(sizes), item)
            expected = count * int(np.prod(item, dtype=np.int64))
            raw = file.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        hint = "Is it there, whole, and gzipped if and only if its name ends so?"
        raise UserError(f"cannot read {path}: {error}", hint=hint) from error
    if len(raw) != expected:
        found = f"only {len(raw):,}" if len(raw) < expected else "more"
        raise UserError(f"{path}: its header declares {expected:,} bytes of data, the file holds {found}")
    return np.frombuffer(raw, np.uint8).reshape(count, *item)


def _check_header(path: Path, magic: int, count: int, sizes: tuple[int, ...], item: tuple[int, ...]) -> None:
    if magic != 0x0801 + len(item):
        what = "images" if item else "labels"
        raise UserError(f"{path} begins with {magic:#010x}, an idx file of {what} begins with {0x0801 + len(item):#010x}")
    if sizes != item:
        raise UserError(f"{path} holds images of {'x'.join(map(str, sizes))} pixels, Fashion-MNIST's are {SIDE}x{SIDE}")
    if count > LARGEST:
        raise UserError(f"{path} declares {count:,} items, Fashion-MNIST has at most {LARGEST:,} in a file")


def _layout(suffix: str) -> Layout:
    train, test = f"train-images-idx3-ubyte{suffix}", f"t10k-images-idx3-ubyte{suffix}"
    return Layout("fashion-mnist", (train,), (test,), read_pair)


FASHION_MNIST = Kind(10, CLASS_NAMES, (_layout(".gz"), _layout("")))
