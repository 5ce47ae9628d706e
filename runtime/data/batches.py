"""Splits -> normalised batches, on the device that learns, without a Python loop over images.

Letters: N images, B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from idsnn_convert.runtime.data.augment import Mix, cutout, draw_mixes, draw_operations, mixed, rand_augment
from idsnn_convert.runtime.data.crops import cropped, draw_frames
from idsnn_convert.runtime.data.types import Split, Wanted
from idsnn_convert.runtime.normalisation import Normalisation
from idsnn_convert.runtime.recipe import Augment

Batch = tuple[Tensor, Tensor]
"""Images float32 (B, C, H, W) and labels, int64 (B,) or, of mixed images, float32 (B, K)."""


def batch_count(images: int, batch_size: int) -> int:
    """How many batches ``images`` make, a smaller last one included."""
    return -(-images // batch_size)


def train_batches(
    split: Split,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    normalisation: Normalisation,
    augment: Augment | None = None,
    device: torch.device | str = "cpu",
    skip: int = 0,
    rank: int = 0,
    ranks: int = 1,
) -> Iterator[Batch]:
    """One epoch of ``split`` in random order, augmented and normalised; labels float (B, K) if images are mixed.

    In this order: resized or shifted crop, flip, RandAugment, normalisation, cutout, mixing. An image is padded by black
    pixels before it is cropped to its own size, as torchvision's ``RandomCrop(size, padding)`` does before ``Normalize``.
    All chance comes from generators seeded with (``seed``, ``epoch``) and is drawn before the first batch: the same
    arguments give the same images, and ``skip`` leaves out the first batches without changing the rest.

    Args:
        augment: random crops and flips if not given.
        rank, ranks: of each batch only every ``ranks``-th image, from ``rank`` on; these are what they are in the whole
            batch, but for mixing, whose partners are of the same part.
    """
    settings = augment or Augment()
    split, draws = split.to(device), _Draws.of(len(split), batch_size, seed, epoch, settings)
    classes = split.classes or int(split.labels.max()) + 1
    parts = [rows[rank::ranks] for rows in torch.arange(len(split)).split(batch_size)]
    wanted = [(draws.order[rows], None if draws.frames is None else draws.frames[rows]) for rows in parts[skip:]]
    for batch, images in enumerate(split.gather(wanted), skip):
        labels = split.labels[draws.order[parts[batch]].to(device)]
        yield _augmented(images, labels, draws, parts[batch], batch, normalisation, settings, classes)


@dataclass(frozen=True)
class _Draws:
    """An epoch's chance, image by image in the order of training: ``order`` (N,), ``offsets`` (N, 2), and so on."""

    order: Tensor
    offsets: Tensor
    flipped: Tensor
    frames: Tensor | None
    kinds: Tensor
    strengths: Tensor
    centres: Tensor | None
    mixes: list[Mix]

    @classmethod
    def of(cls, count: int, batch_size: int, seed: int, epoch: int, settings: Augment) -> _Draws:
        draw = _generator(seed, epoch)
        order = torch.randperm(count, generator=draw)
        offsets = torch.randint(2 * settings.crop_padding + 1, (count, 2), generator=draw)
        flipped = torch.rand(count, generator=draw) < 0.5 if settings.flip else torch.zeros(count, dtype=torch.bool)
        framing, operations, cutting = (_generator(seed, epoch, purpose) for purpose in (1, 2, 3))
        mixing = np.random.SeedSequence((seed, epoch, 4))
        return cls(
            order,
            torch.zeros_like(offsets) if settings.resized_crop else offsets,
            flipped,
            draw_frames(count, settings.resized_crop, framing) if settings.resized_crop else None,
            *draw_operations(count, settings, operations),
            torch.rand(count, 2, generator=cutting) if settings.cutout else None,
            draw_mixes(batch_count(count, batch_size), settings, mixing) if settings.mixup or settings.cutmix else [],
        )


def _generator(seed: int, epoch: int, *purpose: int) -> torch.Generator:
    """Seeded so that (1, 0) and (0, 1) share nothing, nor two purposes."""
    mixed = np.random.SeedSequence((seed, epoch, *purpose)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed))


def _augmented(
    images: Tensor,
    labels: Tensor,
    draws: _Draws,
    rows: Tensor,
    batch: int,
    normalisation: Normalisation,
    settings: Augment,
    classes: int,
) -> Batch:
    """``images`` uint8 (B, C, H, W), the ``rows`` of the epoch."""
    padding = 0 if settings.resized_crop else settings.crop_padding
    if padding or settings.flip:
        images = cropped(images, draws.offsets[rows].to(images.device), draws.flipped[rows].to(images.device), padding)
    if settings.randaugment:
        images = rand_augment(images, draws.kinds[rows], draws.strengths[rows])
    normalised = normalisation(images)
    if draws.centres is not None:
        normalised = cutout(normalised, draws.centres[rows].to(images.device), settings.cutout)
    return mixed(normalised, labels, draws.mixes[batch], classes) if draws.mixes else (normalised, labels)


def test_batches(
    split: Split,
    batch_size: int,
    *,
    normalisation: Normalisation,
    device: torch.device | str = "cpu",  # noqa: PT028 - no test, batches of a test split
) -> Iterator[Batch]:
    """``split`` in stored order, normalised."""
    for labels, images in zip(split.labels.split(batch_size), split.gather(in_order(split, batch_size)), strict=True):
        yield normalisation(images.to(device)), labels.to(device)


def in_order(split: Split, batch_size: int = 500) -> Iterator[Wanted]:
    """All images of ``split`` in stored order, whole, to be gathered."""
    return ((rows, None) for rows in torch.arange(len(split)).split(batch_size))
