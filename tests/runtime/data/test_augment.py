from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from idsnn_convert.runtime.data import image_ops
from idsnn_convert.runtime.data.augment import Mix, cutout, draw_mixes, draw_operations, mixed, rand_augment
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.recipe import Augment
from tests import graphs
from tests.runtime import toy

KIND = {operation: index for index, operation in enumerate(image_ops.OPERATIONS)}


def pictures(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_each_image_gets_its_own_operations_one_after_the_other() -> None:
    images = pictures(3)
    bright, turned, stays = (KIND[name] for name in (image_ops.brightness, image_ops.rotate, image_ops.identity))
    kinds = torch.tensor([[bright, turned], [stays, stays], [turned, bright]])
    strengths = torch.tensor([[0.5, -1.0], [1.0, 1.0], [0.3, -0.2]])
    before = images.clone()
    found = rand_augment(images, kinds, strengths)
    assert torch.equal(images, before)
    first = image_ops.rotate(image_ops.brightness(images[:1], strengths[:1, 0]), strengths[:1, 1])
    last = image_ops.brightness(image_ops.rotate(images[2:], strengths[2:, 0]), strengths[2:, 1])
    assert torch.equal(found, torch.cat([first, images[1:2], last]))


def test_operations_are_drawn_alike_and_in_both_directions() -> None:
    settings = Augment(randaugment=2, randaugment_magnitude=15)
    kinds, strengths = draw_operations(7000, settings, torch.Generator().manual_seed(0))
    assert kinds.shape == strengths.shape == (7000, 2)
    counts = torch.bincount(kinds.flatten(), minlength=14)
    assert counts.min() > 850
    assert counts.max() < 1150
    assert strengths.unique().tolist() == [-0.5, 0.5]
    assert strengths.mean().abs() < 0.02


def test_cutout_sets_a_square_to_the_mean_and_is_cut_at_the_border() -> None:
    images = torch.ones(2, 2, 5, 6)
    found = cutout(images, torch.tensor([[0.5, 0.5], [0.0, 0.99]]), 2)
    assert images.min() == 1
    assert found[0, 1].tolist() == [[1] * 6, [1, 1, 0, 0, 1, 1], [1, 1, 0, 0, 1, 1], [1] * 6, [1] * 6]
    assert (found[1, 0] == 0).nonzero().tolist() == [[0, 4], [0, 5]]


def test_mixup_adds_each_image_to_the_one_before_it() -> None:
    images = torch.tensor([1.0, 10.0, 100.0]).view(3, 1, 1, 1)
    found, labels = mixed(images, torch.tensor([0, 2, 2]), Mix(0.75), 3)
    assert found.flatten().tolist() == [25.75, 7.75, 77.5]
    assert labels.tolist() == [[0.75, 0, 0.25], [0.25, 0, 0.75], [0, 0, 1]]


def test_cutmix_weighs_labels_by_the_area_that_was_cut() -> None:
    images = torch.stack([torch.full((1, 8, 8), float(value)) for value in (1, 2)])
    found, labels = mixed(images, torch.tensor([0, 1]), Mix(0.75, (0.5, 0.5)), 2)
    assert (found[0] == 2).sum() == 16  # half of each side
    assert (found[0, 0, 2:6, 2:6] == 2).all()
    assert labels.tolist() == [[0.75, 0.25], [0.25, 0.75]]
    _, labels = mixed(images, torch.tensor([0, 1]), Mix(0.75, (0.0, 0.5)), 2)
    assert labels.tolist() == [[0.875, 0.125], [0.125, 0.875]]  # half of the box lies outside
    assert images[0].unique().tolist() == [1]


def test_a_batch_of_one_is_mixed_with_itself() -> None:
    images = torch.randn(1, 1, 4, 4)
    found, labels = mixed(images, torch.tensor([1]), Mix(0.3), 2)
    assert torch.allclose(found, images)
    assert labels.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("settings", "cuts"), [({"mixup": 1.0}, 0), ({"cutmix": 1.0}, 1), ({"mixup": 1.0, "cutmix": 1.0}, 0.5)]
)
def test_batches_are_blended_or_cut_as_asked(settings: dict[str, float], cuts: float) -> None:
    mixes = draw_mixes(400, Augment(**settings), np.random.SeedSequence(0))
    assert np.mean([mix.box is not None for mix in mixes]) == pytest.approx(cuts, abs=0.08)
    shares = [mix.share for mix in mixes]
    assert min(shares) >= 0
    assert max(shares) <= 1
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)  # Beta(1, 1) is uniform


def test_a_small_alpha_mixes_little() -> None:
    shares = [mix.share for mix in draw_mixes(400, Augment(mixup=0.1), np.random.SeedSequence(0))]
    assert np.mean([0.1 < share < 0.9 for share in shares]) < 0.3


AUGMENTED = [
    "augment.randaugment=1",
    "augment.cutout=2",
    "augment.mixup=0.5",
    "augment.cutmix=1.0",
    "run.epochs=2",
    "run.save_minutes=1e-9",
]


def test_a_run_on_augmented_images_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    toy.run(tmp_path / "whole", AUGMENTED)
    with pytest.raises(toy.Killed):
        toy.run(tmp_path / "killed", AUGMENTED, watcher=toy.At(2, 3, toy.killed))
    toy.run(tmp_path / "killed", AUGMENTED, resume=True)
    toy.assert_same_run(tmp_path / "whole", tmp_path / "killed")
    with pytest.raises(UserError, match=r"began with augment\.mixup = 0\.5, not 0\.0"):
        toy.run(tmp_path / "killed", [*AUGMENTED, "augment.mixup=0"], resume=True)


class Seen(nn.Module):
    """Remembers what it was given."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.images = inner, list[torch.Tensor]()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.images.append(images.clone())
        logits: torch.Tensor = self.inner(images)
        return logits


def test_teacher_and_student_see_the_same_augmented_images(tmp_path: Path) -> None:
    graph = graphs.ann(classes=toy.CLASSES)
    teacher, student = Seen(build(graph, fresh_tensors(graph, seed=1))), Seen(toy.network())
    settings = [*AUGMENTED, "run.epochs=1", "loss.alpha=0.3"]
    toy.run(tmp_path, settings, trained=student, teacher=teacher, save=lambda network, path, training: path.touch())
    assert len(teacher.images) == toy.BATCHES
    for taught, learnt in zip(teacher.images, student.images, strict=False):
        assert torch.equal(taught, learnt)
