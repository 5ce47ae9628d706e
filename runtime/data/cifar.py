"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in both official layouts: binary records and pickled arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from idsnn_convert.runtime.data import pickles
from idsnn_convert.runtime.data.files import Arrays, Kind, Layout, contents
from idsnn_convert.runtime.errors import UserError

PIXELS = 3 * 32 * 32
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
    "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster",
    "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter",
    "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon",
    "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip


def read_records(path: Path, label_bytes: int) -> Arrays:
    """A binary batch: records of ``label_bytes`` labels (the last is the one to learn) and 3,072 pixels, channels first.

    Raises:
        UserError: if the file is not a whole number of records.
    """
    record = label_bytes + PIXELS
    raw = contents(path)
    if len(raw) % record:
        whole = -(-len(raw) // record) * record
        problem = f"{path} is truncated: {len(raw):,} bytes found, {whole:,} expected"
        raise UserError(f"{problem} for {whole // record:,} records of {record:,}", hint="Fetch or unpack the file again.")
    rows = np.frombuffer(raw, np.uint8).reshape(-1, record)
    return rows[:, label_bytes:].reshape(-1, 3, 32, 32), rows[:, label_bytes - 1]


def read_pickle(path: Path, label_key: str) -> Arrays:
    """A pickled batch: a dictionary with ``data`` (N, 3072) uint8 and a list of labels. Runs nothing in the file.

    Raises:
        UserError: if the file holds anything but plain values and arrays, or not these.
    """
    batch = pickles.load(path)
    data, labels = (batch.get(key) for key in ("data", label_key)) if isinstance(batch, dict) else (None, None)
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != PIXELS:
        found = f"shape {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise UserError(f"{path}: 'data' must be an array of shape (N, {PIXELS}), not {found}", hint="Is it this set's file?")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels) or len(labels) != len(data):
        found = f"{len(labels)} values" if isinstance(labels, list) else type(labels).__name__
        raise UserError(f"{path}: {label_key!r} must list {len(data)} integers, not {found}", hint="Is it this set's file?")
    return data.reshape(-1, 3, 32, 32), np.array(labels, dtype=object)


_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))

CIFAR10 = Kind(
    10,
    CIFAR10_CLASSES,
    (
        Layout(
            "cifar-10-batches-bin",
            tuple(f"{name}.bin" for name in _BATCHES),
            ("test_batch.bin",),
            lambda path: read_records(path, label_bytes=1),
        ),
        Layout("cifar-10-batches-py", _BATCHES, ("test_batch",), lambda path: read_pickle(path, "labels")),
    ),
)

CIFAR100 = Kind(
    100,
    CIFAR100_CLASSES,
    (
        Layout("cifar-100-binary", ("train.bin",), ("test.bin",), lambda path: read_records(path, label_bytes=2)),
        Layout("cifar-100-python", ("train",), ("test",), lambda path: read_pickle(path, "fine_labels")),
    ),
)
