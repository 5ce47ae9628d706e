"""Finding a data set's files under the folder the user named, and joining what they hold into one split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from idsnn_convert.runtime.data.types import Dataset, Split
from idsnn_convert.runtime.errors import UserError

Arrays = tuple[np.ndarray, np.ndarray]
"""Images uint8 (N, C, H, W) and labels (N,) of one file."""


@dataclass(frozen=True)
class Layout:
    """One way a data set lies on disk.

    Attributes:
        folder: the name its publisher gave the folder; the user may name that folder or its parent.
        train, test: the files that must be there to read the split.
        read: one of these files -> its images and labels; raises UserError if it is damaged.
    """

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    read: Callable[[Path], Arrays]

    def files(self, part: str) -> tuple[str, ...]:
        return {"train": self.train, "test": self.test}[part]


@dataclass(frozen=True)
class Kind:
    """One row of the table of data sets: its classes, and the layouts it is published in."""

    classes: int
    class_names: tuple[str, ...]
    layouts: tuple[Layout, ...]


def opened(name: str, kind: Kind, root: Path) -> Dataset:
    """The data set ``kind`` under ``root``. One split's files are enough.

    Raises:
        UserError: if ``root`` is no folder, or holds no file of any layout.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise UserError(f"the {name} folder {root} {problem}", hint=f"Name the folder that holds {_wanted(kind)}.")
    layouts = [(layout, folder) for layout in kind.layouts for folder in (root, root / layout.folder)]
    if not any((folder / file).is_file() for layout, folder in layouts for file in (*layout.train, *layout.test)):
        raise UserError(f"no {name} files in {root}", hint=f"Looked for {_wanted(kind)}.")
    return Dataset(name, kind.classes, kind.class_names, root, lambda part: _read(name, kind, root, part))


def _wanted(kind: Kind) -> str:
    return " or ".join(f"{layout.folder}/{{{', '.join((*layout.train, *layout.test))}}}" for layout in kind.layouts)


def _read(name: str, kind: Kind, root: Path, part: str) -> Split:
    missing: list[Path] = []
    for layout in kind.layouts:
        for folder in (root, root / layout.folder):
            paths = [folder / file for file in layout.files(part)]
            absent = [path for path in paths if not path.is_file()]
            if not absent:
                return _joined([(path, layout.read(path)) for path in paths], kind.classes)
            if len(absent) < len(paths):
                missing += absent
    hint = f"Missing: {', '.join(map(str, missing))}." if missing else f"Looked for {_wanted(kind)}."
    raise UserError(f"the {part} images of {name} are not all in {root}", hint=hint)


def _joined(parts: list[tuple[Path, Arrays]], classes: int) -> Split:
    for path, (_, labels) in parts:
        if not len(labels):
            raise UserError(f"{path} holds no image")
        outside = np.flatnonzero((labels < 0) | (labels >= classes))
        if len(outside):
            first = int(outside[0])
            raise UserError(
                f"{path}: image {first} has label {int(labels[first])}, outside 0 to {classes - 1}",
                hint="The file is damaged, or belongs to another data set.",
            )
    images = np.concatenate([images for _, (images, _) in parts])
    labels = np.concatenate([labels.astype(np.int64) for _, (_, labels) in parts])
    return Split(torch.from_numpy(images), torch.from_numpy(labels), classes)


def contents(path: Path) -> bytes:
    """The bytes of ``path``. Raises UserError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
