from __future__ import annotations

import pytest
import torch

from idsnn_convert.runtime import fixed_point
from idsnn_convert.runtime.eight_bit import in_eight_bits
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fixed_point import supported
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.normalisation import KNOWN
from idsnn_convert.runtime.tutors import Renormalised, SpikingTutor, tutor_of
from tests import graphs
from tests.runtime import toy

needs_bytes = pytest.mark.skipif(not supported(), reason="this processor does not multiply bytes (AVX-512 VNNI)")

CPU = torch.device("cpu")
PIXELS = torch.randint(256, (5, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_network_sees_images_as_it_was_trained_on_them() -> None:
    half, usual = KNOWN["half"], KNOWN["cifar10"]
    seen = Renormalised(torch.nn.Identity(), half, usual)(half(PIXELS))
    torch.testing.assert_close(seen, usual(PIXELS))


def test_one_number_stands_for_every_channel() -> None:
    gray, usual = type(KNOWN["half"])("gray", (0.5,), (0.25,)), KNOWN["cifar10"]
    torch.testing.assert_close(Renormalised(torch.nn.Identity(), gray, usual)(gray(PIXELS)), usual(PIXELS))


def test_a_spiking_teacher_gives_each_step_and_its_maps() -> None:
    student = toy.network()
    network = SpikingNetwork(toy.GRAPH, student.tensors(), toy.STEPS, taps=["layer1.0.act2"])
    images = KNOWN["half"](PIXELS)
    logits, *maps = SpikingTutor(network).eval()(images)
    assert torch.equal(logits, student.eval()(images))
    assert [tuple(value.shape) for value in maps] == [(5, 4, 8, 8)]
    assert SpikingTutor(network).readout is network.readout


def test_a_teacher_is_frozen_where_the_recipe_distills() -> None:
    teacher = toy.ann().train()
    assert tutor_of(toy.recipe("loss.alpha=0"), teacher, CPU) is None
    assert teacher.training
    assert tutor_of(toy.recipe("loss.alpha=0", "loss.tap_weight=1"), teacher, CPU) is teacher
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    with pytest.raises(UserError, match=r"the recipe distills \(loss\.alpha = 0\.3\), but there is no teacher"):
        tutor_of(toy.recipe("loss.alpha=0.3"), None, CPU)


@needs_bytes
def test_a_teacher_in_8_bits_is_made_so() -> None:
    asked = toy.recipe("loss.alpha=0.3", "run.teacher_precision=int8")
    with pytest.raises(UserError, match=r"run\.teacher_precision=int8, but the teacher is a GraphModule that is not in 8 bits"):
        tutor_of(asked, toy.ann(), CPU)
    graph = graphs.ann(classes=4)
    made = Renormalised(in_eight_bits(graph, graphs.random_tensors(graph), PIXELS.float()), KNOWN["half"], KNOWN["cifar10"])
    assert tutor_of(asked, made, CPU) is made
    spiking = SpikingTutor(SpikingNetwork(toy.GRAPH, toy.network().tensors(), toy.STEPS, weight_bits=8))
    assert tutor_of(asked, spiking, CPU) is spiking
    gradients = toy.recipe("loss.tap_weight=1", "loss.tap=gradient", "run.teacher_precision=int8")
    with pytest.raises(UserError, match=r"asks the teacher for gradients[\s\S]*run\.teacher_precision=same"):
        tutor_of(gradients, made, CPU)


def test_where_bytes_are_not_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = toy.recipe("loss.alpha=0.3", "run.teacher_precision=int8")
    with pytest.raises(UserError, match=r"int8: [\s\S]*which cuda:1 does not\n.*teacher_precision=same"):
        tutor_of(asked, toy.ann(), torch.device("cuda:1"))
    monkeypatch.setattr(fixed_point, "supported", lambda: False)
    with pytest.raises(UserError, match=r"which this processor does not\n.*teacher_precision=same"):
        tutor_of(asked, toy.ann(), CPU)
