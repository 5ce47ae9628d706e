"""The loss of a batch: whom it asks, what it gives, and in which precision."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.losses import cross_entropy, total_loss
from idsnn_convert.runtime.network import SpikingNetwork, build
from idsnn_convert.runtime.objective import Objective
from idsnn_convert.runtime.readout import Readout
from idsnn_convert.runtime.recipe import Loss
from idsnn_convert.runtime.taps import TAP_LOSSES, gradient
from idsnn_convert.runtime.tutors import SpikingTutor
from tests import graphs
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
    terms = Objective(student, None, Loss(alpha=0))(IMAGES, LABELS)
    assert terms.total == total_loss(student(IMAGES), LABELS, None, Loss(alpha=0)).total
    terms.total.backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_a_network_without_time_has_one_step() -> None:
    student = Linear()
    terms = Objective(student, None, Loss(alpha=0))(IMAGES, LABELS)
    assert terms.total == total_loss(student(IMAGES)[None], LABELS, None, Loss(alpha=0)).total


def test_the_teacher_is_asked_and_does_not_learn() -> None:
    teacher, settings = Linear(), Loss(alpha=0.5)
    student = toy.network()
    terms = Objective(student, teacher, settings)(IMAGES, LABELS)
    assert terms.kl == total_loss(student(IMAGES), LABELS, teacher(IMAGES), settings).kl > 0
    terms.total.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_teacher_of_other_classes_is_told() -> None:
    with pytest.raises(UserError, match="the teacher tells 7 classes apart, the network 4"):
        Objective(Linear(), Linear(7), Loss())(IMAGES, LABELS)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_precision_reaches_both_and_stops_at_the_loss(precision: str, dtype: torch.dtype) -> None:
    student, teacher = Linear(), Linear()
    terms = Objective(student, teacher, Loss(), precision)(IMAGES, LABELS)
    assert student.types == teacher.types == {dtype}
    assert {terms.total.dtype, terms.ce.dtype, terms.kl.dtype} == {torch.float32}


@pytest.mark.parametrize(("student", "teacher"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_the_teacher_may_have_a_precision_of_its_own(student: str, teacher: str) -> None:
    network, tutor = Linear(), Linear()
    Objective(network, tutor, Loss(), student, teacher_precision=teacher)(IMAGES, LABELS)
    assert (network.types, tutor.types) == ({getattr(torch, student)}, {getattr(torch, teacher)})


TAPS = ("layer1.0.act2", "layer2.0.act2")
PLACES = [(4, 8, 8), (8, 4, 4)]


def tapped(compiled: bool = False) -> tuple[SpikingNetwork, nn.Module]:
    """A student and a teacher that give the maps at the ends of both their blocks."""
    student = SpikingNetwork(toy.GRAPH, fresh_tensors(toy.GRAPH, 0), toy.STEPS, compiled=compiled, taps=TAPS)
    ann = graphs.ann(classes=toy.CLASSES)
    return student, build(ann, graphs.random_tensors(ann), taps=TAPS).eval()


def test_taps_give_maps_and_leave_the_answer_alone() -> None:
    student, teacher = tapped()
    logits, maps = student(IMAGES, maps=True)
    assert [tuple(value.shape) for value in maps] == [(6, *place) for place in PLACES]
    assert torch.equal(logits, toy.network()(IMAGES))
    assert torch.equal(logits, student(IMAGES))
    for value in maps:
        assert torch.equal((value * toy.STEPS).round(), value * toy.STEPS)  # spikes, counted
    assert [tuple(value.shape) for value in teacher(IMAGES)[1:]] == [(6, *place) for place in PLACES]


@pytest.mark.parametrize("kind", ["attention", "mse", "cosine"])
def test_feature_maps_are_compared_where_the_recipe_asks(kind: Literal["attention", "mse", "cosine"]) -> None:
    student, teacher = tapped()
    settings = Loss(alpha=0.3, tap_weight=2.0, tap=kind)
    terms = Objective(student, teacher, settings)(IMAGES, LABELS)
    logits, maps = student(IMAGES, maps=True)
    taught, *theirs = teacher(IMAGES)
    wanted = sum(TAP_LOSSES[kind](ours, other) for ours, other in zip(maps, theirs, strict=True))
    torch.testing.assert_close(terms.tap, wanted.detach())
    plain = total_loss(logits, LABELS, taught, Loss(alpha=0.3))
    torch.testing.assert_close(terms.total, plain.total + 2 * wanted)
    terms.total.backward()
    assert student.body.get_parameter("conv1.weight").grad is not None


def test_gradient_attention_holds_spike_maps_against_the_teachers_gradient() -> None:
    student = SpikingNetwork(toy.GRAPH, fresh_tensors(toy.GRAPH, 0), toy.STEPS, taps=TAPS, gamma=0.5)
    _, teacher = tapped()
    settings = Loss(alpha=0.3, tap_weight=2.0, tap="gradient")
    terms = Objective(student, teacher.requires_grad_(False), settings)(IMAGES, LABELS)
    logits, maps = student(IMAGES, maps=True)
    taught, *theirs = teacher(IMAGES.clone().requires_grad_())
    gradients = torch.autograd.grad(cross_entropy(taught, LABELS), theirs)
    wanted = sum(gradient(ours, other) for ours, other in zip(maps, gradients, strict=True))
    torch.testing.assert_close(terms.tap, wanted.detach())
    torch.testing.assert_close(terms.total, total_loss(logits, LABELS, taught.detach(), Loss(alpha=0.3)).total + 2 * wanted)
    assert terms.tap > 0
    terms.total.backward()
    assert student.body.get_parameter("conv1.weight").grad is not None
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize("kl", ["mean", "steps", "windows"])
def test_a_spiking_teacher_is_asked_for_its_answer_or_each_step(kl: Literal["mean", "steps", "windows"]) -> None:
    student, teacher = toy.network(), SpikingTutor(toy.network("poisson"))
    teacher.network.readout = teacher.readout = Readout("membrane", 0.3)
    settings = Loss(alpha=0.5, kl=kl, window=2)
    torch.manual_seed(0)
    terms = Objective(student, teacher, settings)(IMAGES, LABELS)
    torch.manual_seed(0)
    taught = teacher(IMAGES)[0]
    wanted = total_loss(student(IMAGES), LABELS, teacher.readout(taught) if kl == "mean" else taught, settings)
    assert terms.kl == wanted.kl > 0


def test_a_node_that_is_tapped_is_not_fused_away() -> None:
    student = SpikingNetwork(toy.GRAPH, fresh_tensors(toy.GRAPH, 0), toy.STEPS, compiled=True, taps=["layer1.0.add"])
    names = {name for name, _ in student.body.named_modules()}
    assert "layer1.0.act1__fused" in names
    assert "layer1.0.act2__fused" not in names


def test_the_networks_readout_is_what_is_judged() -> None:
    student, leaky = toy.network(), Readout("membrane", 0.3)
    terms = Objective(student, None, Loss(alpha=0), readout=leaky)(IMAGES, LABELS)
    assert terms.ce == total_loss(student(IMAGES), LABELS, None, Loss(alpha=0), leaky).ce
