from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from idsnn_convert.runtime.data import Split, open_dataset
from idsnn_convert.runtime.errors import UserError

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)


def idx(*sizes: int, data: bytes) -> bytes:
    return struct.pack(f">{1 + len(sizes)}I", 0x0800 + len(sizes), *sizes) + data


IMAGES = idx(3, 28, 28, data=PICTURES.tobytes())
LABELS = idx(3, data=bytes([9, 0, 4]))


def read(folder: Path, images: bytes = IMAGES, labels: bytes = LABELS, suffix: str = "") -> Split:
    for kind, raw in (("images-idx3", images), ("labels-idx1", labels)):
        (folder / f"t10k-{kind}-ubyte{suffix}").write_bytes(gzip.compress(raw) if suffix else raw)
    return open_dataset(f"fashion-mnist:{folder}").test


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_pair_of_files_gzipped_or_not(tmp_path: Path, suffix: str) -> None:
    split = read(tmp_path, suffix=suffix)
    assert split.labels.tolist() == [9, 0, 4]
    assert split.images.shape == (3, 1, 28, 28)
    assert torch.equal(split.images[:, 0], torch.tensor(PICTURES))


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        (IMAGES[:-1], LABELS, "declares 2,352 bytes of data, the file holds only 2,351"),
        (IMAGES + b"x", LABELS, "declares 2,352 bytes of data, the file holds more"),
        (IMAGES[:10], LABELS, "truncated: 10 bytes found, its header alone is 16"),
        (LABELS + bytes(8), LABELS, "begins with 0x00000801, an idx file of images begins with 0x00000803"),
        (IMAGES, IMAGES, "begins with 0x00000803, an idx file of labels begins with 0x00000801"),
        (idx(1, 32, 32, data=bytes(1024)), LABELS, "images of 32x32 pixels, Fashion-MNIST's are 28x28"),
        (idx(60_001, 28, 28, data=b""), LABELS, "declares 60,001 items, Fashion-MNIST has at most 60,000"),
        (IMAGES, idx(2, data=b"\0\0"), "holds 3 images, .* 2 labels"),
        (IMAGES, idx(3, data=b"\0\x0a\0"), "image 1 has label 10, outside 0 to 9"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_damaged_file_is_refused(tmp_path: Path, images: bytes, labels: bytes, told: str, suffix: str) -> None:
    with pytest.raises(UserError, match=told):
        read(tmp_path, images, labels, suffix)


def test_a_cut_or_falsely_named_gzip_file_is_refused(tmp_path: Path) -> None:
    read(tmp_path, suffix=".gz")
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    for raw in (path.read_bytes()[:-200], IMAGES):
        path.write_bytes(raw)
        with pytest.raises(UserError, match=r"cannot read .*images-idx3-ubyte\.gz: "):
            _ = open_dataset(f"fashion-mnist:{tmp_path}").test


def test_images_without_their_labels_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(IMAGES)
    with pytest.raises(UserError, match=r"cannot read .*train-labels-idx1-ubyte: .*No such file"):
        _ = open_dataset(f"fashion-mnist:{tmp_path}").train
