"""Folders of image files: one folder a class, as torchvision's ImageFolder reads them, and Tiny-ImageNet's own layout::

    DIR/train/cat/1.jpg    DIR/val/cat/7.jpg      the folder's name is the class; val may be called test or valid
    DIR/train/n01443537/images/1.JPEG             Tiny-ImageNet: DIR/val/images/1.JPEG and DIR/val/val_annotations.txt

Classes are numbered by their names in order.
"""

from __future__ import annotations

from pathlib import Path

import torch

from idsnn_convert.runtime.data.encoded import Encoded, read_split
from idsnn_convert.runtime.data.types import Dataset, Reading
from idsnn_convert.runtime.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
PARTS = {"train": ("train",), "test": ("val", "test", "valid", "validation")}
"""A split -> what its folder may be called; the first that is there is taken."""

ANNOTATIONS = "val_annotations.txt"
LAYOUT = "DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg"

Found = list[tuple[Path, int]]
"""Image files, each with its label."""


def open_folder(root: Path, reading: Reading, name: str = "folder") -> Dataset:
    """The images under ``root``; one split's folder is enough to read that split. Nothing is decoded before it is asked for.

    Raises:
        UserError: if ``root`` is no folder, or there is neither split in it.
    """
    inner = root / "tiny-imagenet-200"  # as its archive unpacks
    root = inner if name == "tiny-imagenet" and inner.is_dir() else root
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise UserError(f"{root} {problem}", hint=f"Name the folder DIR of {LAYOUT}.")
    parts = {part: _part(root, part) for part in PARTS}
    if not any(parts.values()):
        inside = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "nothing"
        raise UserError(f"there is no train or val folder in {root}, but {inside}", hint=f"Name the folder DIR of {LAYOUT}.")
    classes = _classes(parts["train"] or parts["test"] or root)

    def read(part: str) -> Encoded:
        folder = parts[part]
        if folder is None:
            raise UserError(f"there is no {' or '.join(PARTS[part])} folder in {root}", hint=f"The layout is {LAYOUT}.")
        annotated = (folder / ANNOTATIONS).is_file()
        return _encoded(_annotated(folder, classes) if annotated else _sorted_by_class(folder, classes), len(classes))

    return Dataset(name, len(classes), classes, root, lambda part: read_split(read(part), reading))


def _part(root: Path, part: str) -> Path | None:
    return next((root / name for name in PARTS[part] if (root / name).is_dir()), None)


def _classes(folder: Path) -> tuple[str, ...]:
    """The names of its classes: of its folders, or those its annotations list."""
    if (folder / ANNOTATIONS).is_file():
        return tuple(sorted({label for _, label in _annotations(folder)}))
    found = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if not found:
        raise UserError(f"there is no class folder in {folder}", hint=f"The layout is {LAYOUT}.")
    return found


def _sorted_by_class(folder: Path, classes: tuple[str, ...]) -> Found:
    """Raises UserError if a class folder is empty, or is of no class of the training images."""
    found: Found = []
    for name in _classes(folder):
        if name not in classes:
            hint = f"There are {', '.join(classes[:6])}{', ...' if len(classes) > 6 else ''}."
            raise UserError(f"{folder / name} is of a class that the training images do not have", hint=hint)
        images = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if not images:
            raise UserError(f"the class folder {folder / name} holds no image", hint=f"Images end in {', '.join(SUFFIXES)}.")
        found += [(path, classes.index(name)) for path in images]
    return found


def _annotations(folder: Path) -> list[tuple[str, str]]:
    """File and class of each line of Tiny-ImageNet's list."""
    lines = (folder / ANNOTATIONS).read_text(encoding="utf-8", errors="replace").splitlines()
    rows = [line.split("\t") for line in lines if line.strip()]
    if wrong := [number for number, row in enumerate(rows, 1) if len(row) < 2 or Path(row[0]).name != row[0]]:
        raise UserError(f"{folder / ANNOTATIONS}, line {wrong[0]}: there must be a file's name, a tab and its class")
    return [(row[0], row[1]) for row in rows]


def _annotated(folder: Path, classes: tuple[str, ...]) -> Found:
    number = {name: label for label, name in enumerate(classes)}
    found = []
    for file, label in _annotations(folder):
        if label not in number:
            raise UserError(f"{folder / ANNOTATIONS}: {file} is of class {label!r}, which the training images do not have")
        found.append((folder / "images" / file, number[label]))
    if not found:
        raise UserError(f"{folder / ANNOTATIONS} lists no image")
    return found


def _encoded(found: Found, classes: int) -> Encoded:
    paths = [path for path, _ in found]
    return Encoded(
        [str(path) for path in paths], lambda row: _contents(paths[row]), torch.tensor([k for _, k in found]), classes
    )


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # the annotations may list what no file is called
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot read the image {path}: {reason}") from error
