"""Counts by hand, and early exit against stopping each image for real."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime.measures import Confusions, EarlyExits, telling_steps
from idsnn_convert.runtime.readout import Readout


def one_by_one(answers: Tensor, labels: Tensor, threshold: float) -> tuple[float, list[int]]:
    """Each image on its own, step after step, until it is confident enough."""
    right, steps = 0, [0] * len(answers)
    for b, label in enumerate(labels.tolist()):
        for t in range(len(answers)):
            chances = answers[t, b].softmax(0)
            if chances.max() >= threshold or t == len(answers) - 1:
                right += int(chances.argmax()) == label
                steps[t] += 1
                break
    return 100 * right / len(labels), steps


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_exits_equal_stopping_each_image(batch_size: int) -> None:
    draw = torch.Generator().manual_seed(0)
    answers = Readout().after_each_step(4 * torch.randn(5, 50, 3, generator=draw))
    labels = torch.randint(3, (50,), generator=draw)
    thresholds = (0.4, 0.7, 0.9, 1.0)
    exits = EarlyExits(thresholds)
    for some, theirs in zip(answers.split(batch_size, 1), labels.split(batch_size), strict=True):
        exits(some, theirs)
    assert [row.threshold for row in exits.found()] == list(thresholds)
    for row in exits.found():
        top1, steps = one_by_one(answers, labels, row.threshold)
        assert row.top1 == pytest.approx(top1)
        assert list(row.steps) == steps
        assert row.mean_steps == pytest.approx(sum(t * n for t, n in enumerate(steps, 1)) / 50)


def test_exits_by_hand() -> None:
    # Image 0 is sure (ln 9: 0.9) and wrong at once, right in the end; image 1 is sure at step 2.
    nine, three = torch.tensor(9.0).log().item(), torch.tensor(3.0).log().item()
    answers = torch.tensor([[[nine, 0], [0, three]], [[0, nine], [0, nine]]])
    exits = EarlyExits((0.7, 0.8, 0.95))
    exits(answers, torch.tensor([1, 1]))
    assert [(row.top1, row.steps, row.mean_steps) for row in exits.found()] == [
        (50, (2, 0), 1),
        (50, (1, 1), 1.5),
        (100, (0, 2), 2),
    ]


def test_confusion_counts_labels_by_row_and_answers_by_column() -> None:
    confusions = Confusions()
    answers = torch.nn.functional.one_hot(torch.tensor([[0, 1, 1, 0, 2]]), 4).float()
    for _ in range(2):
        confusions(torch.cat((torch.zeros_like(answers), answers)), torch.tensor([0, 0, 1, 1, 1]))
    found = confusions.found()
    assert found.counts == ((2, 2, 0, 0), (2, 2, 2, 0), (0, 0, 0, 0), (0, 0, 0, 0))
    assert found.top1_per_class[0] == 50
    assert found.top1_per_class[1] == pytest.approx(100 / 3)
    assert found.top1_per_class[2:] == (None, None)
    assert found.worst(2) == [(0, 1, 2), (1, 0, 2)]


def test_steps_worth_telling_are_all_the_first_then_ever_fewer_and_the_last() -> None:
    assert telling_steps(4) == (1, 2, 3, 4)
    assert telling_steps(14) == (*range(1, 11), 13, 14)
    long = telling_steps(2500)
    assert long[:10] == tuple(range(1, 11))
    assert {100, 1000, 2500} <= set(long)
    assert long[-1] == 2500
    assert len(long) == 34
