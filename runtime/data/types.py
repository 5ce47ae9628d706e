"""What a data set is once read: images and labels in memory, as stored, without any normalisation.

Letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from idsnn_convert.runtime.data.crops import resized
from idsnn_convert.runtime.errors import UserError

Wanted = tuple[Tensor, Tensor | None]
"""Rows of a split (B,), and the frames to cut their images to, (B, 4), see :mod:`idsnn_convert.runtime.data.crops`."""


@dataclass(frozen=True)
class Reading:
    """How image files are read; sets that have one form of their own take none of it but ``download``.

    Attributes:
        image_size: height and width to resize images to; None if they are of one size.
        channels: 1 or 3; None for what the images have.
        memory: bytes that decoded images may take; more are decoded when they are wanted.
        workers: threads that decode; 0 for one a core.
        download: fetch what is missing from its publisher; ``watch`` is then told of bytes, ``told`` given lines.
    """

    image_size: int | None = None
    channels: int | None = None
    memory: int = 4 << 30
    workers: int = 0
    download: bool = False
    watch: Callable[[int, int], None] = field(default=lambda done, of: None, repr=False, compare=False)
    told: Callable[[str], None] = field(default=lambda line: None, repr=False, compare=False)


class Split:
    """Labelled images in memory.

    Attributes:
        labels: int64 (N,), from 0.
        classes: how many classes the set has; 0 if not known.
    """

    def __init__(self, images: Tensor, labels: Tensor, classes: int = 0) -> None:
        if images.ndim != 4 or images.dtype != torch.uint8:
            raise ValueError(f"images must be uint8 (N, C, H, W), not {images.dtype} {tuple(images.shape)}")
        if labels.shape != (len(images),) or labels.dtype != torch.int64:
            raise ValueError(f"labels must be int64 ({len(images)},), not {labels.dtype} {tuple(labels.shape)}")
        self._images, self.labels, self.classes = images, labels, classes

    @property
    def images(self) -> Tensor:
        """uint8 (N, C, H, W), 0 to 255."""
        return self._images

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self.images.shape[1:])

    @property
    def form_told(self) -> str:
        """What each image is, for a record: what the same rows and draws give depends on no more than this."""
        return "x".join(map(str, self.image_shape))

    def first(self, n: int | None) -> Split:
        """The first ``n`` images in stored order; all of them for None, or if there are no more.

        Raises:
            UserError: if ``n`` is below 1.
        """
        return self if _takes_all(n, len(self)) else self.chosen(torch.arange(len(self))[:n])

    def sample(self, n: int | None, seed: int) -> Split:
        """``n`` images drawn without repeats, the same ones for the same ``seed``; all for None, or if there are no more.

        Raises:
            UserError: if ``n`` is below 1.
        """
        if _takes_all(n, len(self)):
            return self
        return self.chosen(torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:n])

    def chosen(self, rows: Tensor) -> Split:
        """The images at ``rows`` (n,), in that order."""
        rows = rows.to(self.labels.device)
        return Split(self.images[rows], self.labels[rows], self.classes)

    def to(self, device: torch.device | str) -> Split:
        """The same, giving its images and labels on ``device``."""
        return Split(self.images.to(device), self.labels.to(device), self.classes)

    def gather(self, wanted: Iterable[Wanted]) -> Iterator[Tensor]:
        """The images of each batch that is wanted, uint8 (B, C, H, W)."""
        for rows, frames in wanted:
            images = self.images[rows.to(self.images.device)]
            yield images if frames is None else resized(images, frames)


def _takes_all(n: int | None, there: int) -> bool:
    if n is not None and n < 1:
        raise UserError(f"the number of images must be at least 1, not {n}")
    return n is None or n >= there


@dataclass(frozen=True)
class Dataset:
    """A data set found on disk. Nothing is read until :attr:`train` or :attr:`test` is asked for, then once.

    Attributes:
        name: ``cifar10``.
        class_names: in the order of the labels; may be empty.
        root: the folder the user named.
        read: ``"train"`` or ``"test"`` -> its images.
    """

    name: str
    classes: int
    class_names: tuple[str, ...]
    root: Path
    read: Callable[[str], Split] = field(repr=False, compare=False)

    @cached_property
    def train(self) -> Split:
        """The training images. Raises UserError if their files are missing or damaged."""
        return self.read("train")

    @cached_property
    def test(self) -> Split:
        """The test images. Raises UserError if their files are missing or damaged."""
        return self.read("test")

    def with_test(self, n: int | None) -> Dataset:
        """The same data set with the first ``n`` test images only; all of them for None.

        Raises:
            UserError: if ``n`` is below 1, once :attr:`test` is asked for.
        """
        return self if n is None else replace(self, read=lambda split: self.test.first(n) if split == "test" else self.train)
