from __future__ import annotations

from pathlib import Path

import pytest
import torch

from idsnn_convert.runtime.data.types import Dataset, Split
from idsnn_convert.runtime.errors import UserError


def numbered(count: int) -> Split:
    """Image k is all k, and so is its label."""
    labels = torch.arange(count)
    return Split(labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2), labels, classes=count)


def test_first_keeps_the_order() -> None:
    kept = numbered(6).first(4)
    assert kept.labels.tolist() == [0, 1, 2, 3]
    assert kept.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert kept.classes == 6


@pytest.mark.parametrize("n", [None, 6, 7])
def test_all_of_a_split_is_the_split(n: int | None) -> None:
    split = numbered(6)
    assert split.first(n) is split
    assert split.sample(n, seed=0) is split


def test_a_sample_draws_pairs_without_repeats_by_its_seed() -> None:
    drawn = numbered(50).sample(20, seed=3)
    assert len(set(drawn.labels.tolist())) == 20
    assert drawn.images[:, 0, 1, 1].tolist() == drawn.labels.tolist()
    assert drawn.labels.tolist() == numbered(50).sample(20, seed=3).labels.tolist()
    assert drawn.labels.tolist() != numbered(50).sample(20, seed=4).labels.tolist()


@pytest.mark.parametrize("n", [0, -1])
def test_taking_no_image_is_refused(n: int) -> None:
    with pytest.raises(UserError, match=f"at least 1, not {n}"):
        numbered(3).first(n)
    with pytest.raises(UserError, match=f"at least 1, not {n}"):
        numbered(3).sample(n, seed=0)


def test_tensors_of_another_form_are_refused() -> None:
    images, labels = torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="uint8"):
        Split(images.float(), labels)
    with pytest.raises(ValueError, match="int64"):
        Split(images, labels[:1])
    assert Split(images, labels).image_shape == (1, 2, 2)


def test_a_data_set_reads_each_split_when_asked_and_once() -> None:
    asked: list[str] = []

    def read(part: str) -> Split:
        asked.append(part)
        return numbered(3)

    dataset = Dataset("numbers", 3, (), Path("here"), read)
    assert asked == []
    assert dataset.test is dataset.test
    assert asked == ["test"]
    assert len(dataset.train) == 3
    assert asked == ["test", "train"]


def test_the_first_test_images_of_a_data_set_stand_for_all() -> None:
    dataset = Dataset("numbers", 3, (), Path("here"), lambda part: numbered(5))
    fewer = dataset.with_test(2)
    assert (len(fewer.test), len(fewer.train), fewer.name) == (2, 5, "numbers")
    assert torch.equal(fewer.test.images, dataset.test.images[:2])
    assert dataset.with_test(None) is dataset
    with pytest.raises(UserError, match="at least 1, not 0"):
        dataset.with_test(0).test  # noqa: B018
