from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime.data import Reading, Split, batches, open_dataset
from idsnn_convert.runtime.data.batches import train_batches
from idsnn_convert.runtime.data.encoded import AHEAD, Encoded, StreamedSplit, read_split
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.normalisation import KNOWN
from idsnn_convert.runtime.recipe import Augment
from tests.runtime import toy
from tests.runtime.data import images
from tests.runtime.data.images import encoded, pixels

NONE = KNOWN["none"]
STREAMED = Reading(memory=0, workers=1)


def source(count: int = 12, **shape: int) -> Encoded:
    """Images ``pixels(k)``, image k of class k mod 3."""
    raws = [encoded(pixels(k, **shape)) for k in range(count)]
    return Encoded([f"{k}.png" for k in range(count)], raws.__getitem__, torch.arange(count) % 3, 3)


def stored(count: int = 12) -> Tensor:
    return torch.from_numpy(np.stack([pixels(k).transpose(2, 0, 1) for k in range(count)]))


def test_what_fits_is_decoded_once_and_the_rest_when_it_is_wanted() -> None:
    size = 12 * 3 * 8 * 8
    held, streamed = (read_split(source(), Reading(memory=memory)) for memory in (size, size - 1))
    assert type(held) is Split
    assert isinstance(streamed, StreamedSplit)
    for split in (held, streamed):
        assert torch.equal(split.images, stored())
        assert split.labels.tolist() == [0, 1, 2] * 4
        assert (split.image_shape, split.classes, len(split)) == ((3, 8, 8), 3, 12)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("augment", [Augment(), Augment(randaugment=2, cutout=3, mixup=0.4, crop_padding=2)])
def test_the_same_batches_come_from_memory_and_from_any_number_of_threads(workers: int, augment: Augment) -> None:
    held = read_split(source(), Reading())
    streamed = read_split(source(), Reading(memory=0, workers=workers))
    settings: dict[str, Any] = {"seed": 1, "epoch": 2, "normalisation": NONE, "augment": augment}
    for skip in (0, 1):
        pairs = zip(*(train_batches(split, 5, skip=skip, **settings) for split in (held, streamed)), strict=True)
        for (ours, labels), (theirs, their_labels) in pairs:
            assert torch.equal(ours, theirs)
            assert torch.equal(labels, their_labels)


def test_resized_crops_come_from_the_files_and_skip_changes_none_of_them() -> None:
    streamed = read_split(source(height=20, width=30), Reading(image_size=8, memory=0, workers=2))
    settings: dict[str, Any] = {"seed": 1, "epoch": 2, "normalisation": NONE, "augment": Augment(resized_crop=0.1)}
    whole = list(train_batches(streamed, 5, **settings))
    rest = list(train_batches(streamed, 5, skip=1, **settings))
    assert [tuple(batch.shape) for batch, _ in whole] == [(5, 3, 8, 8), (5, 3, 8, 8), (2, 3, 8, 8)]
    assert all(torch.equal(one[0], other[0]) for one, other in zip(whole[1:], rest, strict=True))


def test_subsets_and_test_batches_keep_their_order() -> None:
    streamed = read_split(source(), STREAMED)
    assert torch.equal(streamed.first(4).images, stored()[:4])
    drawn = streamed.sample(5, seed=3)
    assert isinstance(drawn, StreamedSplit)
    kept = read_split(source(), Reading()).sample(5, seed=3)
    assert torch.equal(drawn.images, kept.images)
    assert torch.equal(drawn.labels, kept.labels)
    found = torch.cat([batch for batch, _ in batches.test_batches(drawn.first(3), 2, normalisation=NONE)])
    assert torch.equal(found, kept.images[:3].float() / 255)


def test_only_some_batches_are_decoded_ahead_and_an_end_midway_leaves_no_thread() -> None:
    read, inner = list[int](), source(60)

    def counted(row: int) -> bytes:
        read.append(row)
        return inner.read(row)

    split = read_split(Encoded(inner.names, counted, inner.labels, 3), STREAMED)
    read.clear()
    found = split.gather((rows, None) for rows in torch.arange(60).split(5))
    next(found)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert 10 <= len(read) <= 5 * (2 + AHEAD)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_a_damaged_image_among_many_is_named() -> None:
    inner = source()
    raws = [inner.read(row) for row in range(12)]
    raws[7] = raws[7][:60]
    split = read_split(Encoded(inner.names, raws.__getitem__, inner.labels, 3), Reading(memory=0, image_size=8))
    with pytest.raises(UserError, match=r"cannot read the image 7\.png"):
        _ = split.images


def test_images_of_several_sizes_need_to_be_told_one() -> None:
    inner, other = source(11), encoded(pixels(0, 9, 8))
    raws = [*(inner.read(row) for row in range(11)), other]
    mixed = Encoded([f"{k}.png" for k in range(12)], raws.__getitem__, torch.zeros(12, dtype=torch.int64), 1)
    with pytest.raises(UserError, match=r"0\.png has 8x8 pixels, 11\.png 8x9\n.*--image-size"):
        read_split(mixed, Reading())
    assert read_split(mixed, Reading(image_size=8)).image_shape == (3, 8, 8)
    with pytest.raises(UserError, match=r"must be square .* 0\.png has 6x8 pixels"):
        read_split(source(2, height=8, width=6), Reading())


def test_a_set_is_gray_if_all_that_is_looked_at_is() -> None:
    assert read_split(source(channels=1), Reading()).image_shape == (1, 8, 8)
    assert read_split(source(channels=1), Reading(channels=3)).image_shape == (3, 8, 8)
    raws = [encoded(pixels(k, channels=1 if k % 2 else 3)) for k in range(4)]
    both = Encoded([f"{k}.png" for k in range(4)], raws.__getitem__, torch.zeros(4, dtype=torch.int64), 1)
    assert read_split(both, Reading()).image_shape == (3, 8, 8)


def test_a_run_on_streamed_images_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    images.folder(tmp_path / "set", train=12, test=3, classes=("a", "b", "c", "d"))

    def run(name: str, workers: int, memory: int = 0, **more: Any) -> None:
        dataset = open_dataset(f"folder:{tmp_path / 'set'}", Reading(memory=memory, workers=workers))
        settings = ["run.epochs=2", "run.batch_size=12", "run.save_minutes=1e-9", "augment.resized_crop=0.3"]
        toy.run(tmp_path / name, settings, data=dataset, **more)

    run("whole", 1)
    with pytest.raises(toy.Killed):
        run("killed", 3, watcher=toy.At(2, 3, toy.killed))
    run("killed", 2, resume=True)
    toy.assert_same_run(tmp_path / "whole", tmp_path / "killed")
    with pytest.raises(UserError, match="began with images = '3x8x8, from files', not '3x8x8'"):
        run("killed", 2, memory=10_000, resume=True)
