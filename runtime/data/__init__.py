"""Data sets on disk -> images and labels. A data set is one row of :data:`DATASETS` and one file beside this one."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from idsnn_convert.runtime.data.cifar import CIFAR10, CIFAR100
from idsnn_convert.runtime.data.fashion_mnist import FASHION_MNIST
from idsnn_convert.runtime.data.files import Kind, opened
from idsnn_convert.runtime.data.folder import open_folder
from idsnn_convert.runtime.data.parquet import open_parquet
from idsnn_convert.runtime.data.publishers import ensure
from idsnn_convert.runtime.data.types import Dataset, Reading, Split
from idsnn_convert.runtime.errors import UserError

__all__ = ["DATASETS", "SOURCES", "Dataset", "Reading", "Split", "open_dataset"]

DATASETS: dict[str, Kind] = {"cifar10": CIFAR10, "cifar100": CIFAR100, "fashion-mnist": FASHION_MNIST}


SOURCES: dict[str, Callable[[Path, Reading], Dataset]] = {
    "folder": open_folder,
    "tiny-imagenet": lambda root, reading: open_folder(root, reading, "tiny-imagenet"),
    "parquet": open_parquet,
}
"""Data sets in image files, which say themselves what classes there are."""


def open_dataset(spec: str | Dataset, reading: Reading | None = None) -> Dataset:
    """The data set that ``spec``, ``NAME:FOLDER``, names: ``cifar10:data/cifar-10-batches-bin``; one that is open stays.

    FOLDER holds the files as published, or the folder of them. Nothing is read before its ``train`` or ``test``
    is asked for, and one does not need the other's files.

    Raises:
        UserError: on an unknown name, a missing folder, or a folder without the files.
    """
    if isinstance(spec, Dataset):
        return spec
    name, colon, folder = spec.partition(":")
    if name not in (*DATASETS, *SOURCES):
        near = get_close_matches(name, (*DATASETS, *SOURCES), n=1)
        known = f"Known: {', '.join((*DATASETS, *SOURCES))}."
        raise UserError(f"unknown data set {name!r}", hint=f"Did you mean {near[0]!r}? {known}" if near else known)
    if not colon or not folder:
        raise UserError(f"the data set {spec!r} names no folder", hint=f"Write NAME:FOLDER, such as {name}:path/to/files.")
    root, reading = Path(folder).expanduser(), reading or Reading()
    if reading.download:
        ensure(name, root, reading.watch, reading.told)
    if name in SOURCES:
        return SOURCES[name](root, reading)
    if reading.image_size or reading.channels:
        raise UserError(f"the images of {name} are read as they are", hint="Leave out --image-size and --channels.")
    return opened(name, DATASETS[name], root)
