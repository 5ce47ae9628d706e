from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.export.compare import Ran, end_to_end, folded, largest, on_images, plain, ran
from tests import graphs

GRAPH = graphs.spiking()
STUDENT = Checkpoint(GRAPH, graphs.random_tensors(GRAPH), 3)
IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def answers(images: Tensor) -> Tensor:
    with torch.no_grad():
        return STUDENT.readout(plain(STUDENT)(images))


def real(count: int) -> list[tuple[Tensor, Tensor]]:
    images = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return [(images, answers(images).argmax(1))]


def test_a_run_has_every_steps_logits_and_every_neurons_spikes() -> None:
    found = ran(STUDENT, IMAGES, steps=2)
    assert found.logits.shape == (2, 4, graphs.CLASSES)
    assert {name: spikes.shape for name, spikes in found.spikes.items()} == {
        node.name: (2 * 4, *node.shape) for node in GRAPH.of("neuron")
    }
    assert set(torch.cat([spikes.flatten() for spikes in found.spikes.values()]).tolist()) == {0.0, 1.0}


def test_folding_leaves_no_norms_and_nearly_the_same_run() -> None:
    other = folded(STUDENT)
    assert not other.graph.of("batch_norm")
    assert end_to_end(STUDENT, ran(other, IMAGES), ran(STUDENT, IMAGES)).passed


def test_flipped_spikes_are_counted_and_the_first_layer_is_named() -> None:
    want = ran(STUDENT, IMAGES)
    flipped = {name: spikes.clone() for name, spikes in want.spikes.items()}
    flipped["layer1.0.act2"].view(-1)[:3] = 1 - flipped["layer1.0.act2"].view(-1)[:3]
    stage = end_to_end(STUDENT, Ran(want.logits + 0.25, flipped), want)
    assert stage.passed
    assert (stage.measured["flipped"], stage.measured["first"]) == (3, "layer1.0.act2")
    assert stage.measured["logits_moved"] == pytest.approx(0.25)
    assert "same answer for 4 of 4 images" in stage.found


@pytest.mark.parametrize("same", [True, False])
def test_too_many_flips_fail_and_so_does_what_else_must_hold(same: bool) -> None:
    want = ran(STUDENT, IMAGES)
    other = Ran(want.logits, {name: 1 - spikes for name, spikes in want.spikes.items()}) if same else want
    assert not end_to_end(STUDENT, other, want, same=same).passed


@pytest.mark.parametrize(("wrong", "passed"), [(0, True), (2, True), (3, False)])
def test_top1_may_differ_by_two_images_of_few(wrong: int, passed: bool) -> None:
    def other(images: Tensor) -> Tensor:
        found = answers(images)
        found[:wrong] = -found[:wrong]
        return found

    stage = on_images("elsewhere", other, STUDENT, 3, real(400))
    assert stage.passed is passed
    assert stage.measured["top1_percent"] == 100
    assert stage.measured["top1_percent_exported"] == 100 * (400 - wrong) / 400
    assert f"top-1 {100 * (400 - wrong) / 400:.2f} % in elsewhere" in stage.found


def test_other_answers_fail_although_as_many_are_right() -> None:
    batches = [(images, torch.full_like(labels, -1)) for images, labels in real(100)]
    stage = on_images("elsewhere", lambda images: -answers(images), STUDENT, 3, batches)
    assert stage.measured["top1_percent"] == stage.measured["top1_percent_exported"] == 0
    assert not stage.passed


def test_the_readout_is_the_checkpoints() -> None:
    from idsnn_convert.runtime.readout import Readout

    leaky = replace(STUDENT, readout=Readout("membrane", 0.5))
    assert plain(leaky).readout == leaky.readout
    assert largest(torch.tensor([1.0, -3.0])) == 3
