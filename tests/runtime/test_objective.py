"""The loss of a batch: whom it asks, what it gives, and in which precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.losses import distillation_loss
from idsnn_convert.runtime.objective import Objective
from idsnn_convert.runtime.recipe import Loss
from tests.runtime import toy

IMAGES, LABELS = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 0, 1])


class Linear(nn.Module):
    """A network without time that notes the types it computed in."""

    def __init__(self, classes: int = toy.CLASSES) -> None:
        super().__init__()
        self.head, self.types = nn.Linear(3 * 8 * 8, classes), set[torch.dtype]()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.flatten(1))
        self.types.add(logits.dtype)
        return logits


def test_a_students_loss_alone() -> None:
    student = toy.network()
    logits, terms = Objective(student, None, Loss(alpha=0))(IMAGES, LABELS)
    assert logits.shape == (toy.STEPS, 6, toy.CLASSES)
    assert terms.total == distillation_loss(logits, LABELS, None, Loss(alpha=0)).total
    terms.total.backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_a_network_without_time_has_one_step() -> None:
    logits, _ = Objective(Linear(), None, Loss(alpha=0))(IMAGES, LABELS)
    assert logits.shape == (1, 6, toy.CLASSES)


def test_the_teacher_is_asked_and_does_not_learn() -> None:
    teacher, settings = Linear(), Loss(alpha=0.5)
    logits, terms = Objective(toy.network(), teacher, settings)(IMAGES, LABELS)
    assert terms.kl == distillation_loss(logits, LABELS, teacher(IMAGES), settings).kl > 0
    terms.total.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_teacher_of_other_classes_is_told() -> None:
    with pytest.raises(UserError, match="the teacher tells 7 classes apart, the network 4"):
        Objective(Linear(), Linear(7), Loss())(IMAGES, LABELS)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_precision_reaches_both_and_stops_at_the_loss(precision: str, dtype: torch.dtype) -> None:
    student, teacher = Linear(), Linear()
    _, terms = Objective(student, teacher, Loss(), precision)(IMAGES, LABELS)
    assert student.types == teacher.types == {dtype}
    assert {terms.total.dtype, terms.ce.dtype, terms.kl.dtype} == {torch.float32}
