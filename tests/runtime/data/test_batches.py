from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime.data import Split, batches
from idsnn_convert.runtime.data.batches import batch_count, train_batches
from idsnn_convert.runtime.normalisation import KNOWN, Normalisation
from idsnn_convert.runtime.recipe import Augment

NONE = KNOWN["none"]


def split(count: int = 10, shape: tuple[int, int, int] = (3, 6, 5)) -> Split:
    draw = torch.Generator().manual_seed(1)
    return Split(torch.randint(1, 256, (count, *shape), dtype=torch.uint8, generator=draw), torch.arange(count))


def epoch(data: Split, batch_size: int = 4, **settings: Any) -> list[tuple[Tensor, Tensor]]:
    return list(train_batches(data, batch_size, **{"seed": 0, "epoch": 0, "normalisation": NONE, **settings}))


def test_every_image_comes_once_and_the_last_batch_is_smaller() -> None:
    found = epoch(split())
    assert [len(labels) for _, labels in found] == [4, 4, 2]
    assert len(found) == batch_count(10, 4)
    labels = torch.cat([labels for _, labels in found])
    assert sorted(labels.tolist()) == list(range(10))
    assert labels.tolist() != list(range(10))


@pytest.mark.parametrize(("images", "size", "count"), [(10, 4, 3), (8, 4, 2), (1, 4, 1), (0, 4, 0)])
def test_the_number_of_batches(images: int, size: int, count: int) -> None:
    assert batch_count(images, size) == count


EVERYTHING = Augment(randaugment=2, cutout=2, mixup=0.5, cutmix=1.0)
FRAMED = Augment(resized_crop=0.2, randaugment=1)


@pytest.mark.parametrize("augment", [None, EVERYTHING, FRAMED])
def test_an_epoch_can_be_replayed_bit_for_bit_and_resumed(augment: Augment | None) -> None:
    whole, again = (epoch(split(), epoch=3, augment=augment, skip=skip) for skip in (0, 1))
    assert len(again) == 2
    for (images, labels), (same_images, same_labels) in zip(whole[1:], again, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(labels, same_labels)
    assert epoch(split(), skip=3) == []


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}])
def test_seed_and_epoch_each_change_order_crops_and_flips(other: dict[str, int]) -> None:
    one, two = epoch(split(), 10), epoch(split(), 10, **other)
    (images, labels), (other_images, other_labels) = one[0], two[0]
    assert labels.tolist() != other_labels.tolist()
    assert not torch.equal(images[labels.argsort()], other_images[other_labels.argsort()])


@pytest.mark.parametrize(
    "added",
    [{"resized_crop": 0.3}, {"randaugment": 3}, {"cutout": 3}, {"mixup": 1.0}, {"cutmix": 1.0}],
    ids=lambda added: next(iter(added)),
)
def test_each_augmentation_changes_the_images_and_not_their_order(added: dict[str, float]) -> None:
    plain, changed = epoch(split(), 10)[0], epoch(split(), 10, augment=Augment(**added))[0]
    assert not torch.equal(plain[0], changed[0])
    labels = changed[1] if changed[1].dim() == 1 else changed[1].argmax(1)
    assert changed[1].dim() == (2 if "mix" in next(iter(added)) else 1)
    assert len(labels) == len(plain[1])
    if changed[1].dim() == 1:
        assert torch.equal(labels, plain[1])


def test_cutout_comes_after_normalisation_and_mixing_after_cutout() -> None:
    data = Split(torch.full((8, 1, 4, 4), 255, dtype=torch.uint8), torch.arange(8), classes=8)
    settings = Augment(crop_padding=0, flip=False, cutout=2)
    ((images, _),) = epoch(data, 8, normalisation=Normalisation("test", (0.5,), (0.25,)), augment=settings)
    assert images.unique().tolist() == [0, 2]
    ((images, labels),) = epoch(data, 8, augment=Augment(crop_padding=0, flip=False, cutout=2, mixup=1.0))
    assert images.min() + images.max() > 0
    assert len(images.unique()) > 2
    assert labels.sum(1).tolist() == pytest.approx([1] * 8)


def test_seed_and_epoch_are_not_added() -> None:
    assert epoch(split(), 10, seed=1)[0][1].tolist() != epoch(split(), 10, epoch=1)[0][1].tolist()


def test_without_crop_and_flip_the_images_are_as_stored() -> None:
    data = split()
    for images, labels in epoch(data, augment=Augment(crop_padding=0, flip=False)):
        assert torch.equal(images, data.images[labels].float() / 255)


def test_borders_are_black_before_they_are_normalised() -> None:
    data = Split(torch.full((200, 1, 4, 4), 255, dtype=torch.uint8), torch.zeros(200, dtype=torch.int64))
    ((images, _),) = epoch(data, 200, normalisation=Normalisation("test", (0.5,), (0.25,)))
    assert images.unique().tolist() == [-2, 2]  # (0 - 0.5) / 0.25 and (1 - 0.5) / 0.25
    assert images.shape == data.images.shape


def test_crops_reach_every_offset_alike_and_half_the_images_are_flipped() -> None:
    spot = torch.zeros(4000, 1, 9, 9, dtype=torch.uint8)
    spot[:, 0, 4, 4] = 255
    ((images, _),) = epoch(Split(spot, torch.zeros(4000, dtype=torch.int64)), 4000, augment=Augment(crop_padding=1, flip=False))
    hits = images.sum((0, 1))[3:6, 3:6]
    assert hits.sum() == 4000
    assert hits.min() > 4000 / 9 * 0.8

    left = torch.zeros(4000, 1, 1, 2, dtype=torch.uint8)
    left[..., 0] = 255
    ((images, _),) = epoch(Split(left, torch.zeros(4000, dtype=torch.int64)), 4000, augment=Augment(crop_padding=0))
    assert images[..., 0].mean().item() == pytest.approx(0.5, abs=0.04)


def test_test_images_keep_their_order() -> None:
    data = split()
    found = list(batches.test_batches(data, 4, normalisation=NONE))
    assert [len(labels) for _, labels in found] == [4, 4, 2]
    assert torch.equal(torch.cat([images for images, _ in found]), data.images.float() / 255)
    assert torch.cat([labels for _, labels in found]).tolist() == list(range(10))
