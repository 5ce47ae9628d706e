from __future__ import annotations

from dataclasses import replace

import torch

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.export.spikingjelly.check import stages
from idsnn_convert.runtime.export.spikingjelly.write import to_spikingjelly
from tests import graphs

GRAPH = graphs.spiking()
STUDENT = Checkpoint(GRAPH, graphs.random_tensors(GRAPH), 3)
IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
REAL = [(IMAGES, torch.tensor([0, 1, 2, 3])), (IMAGES[:2], torch.tensor([4, 0]))]


def test_a_true_network_passes_every_stage() -> None:
    found = list(stages(to_spikingjelly(STUDENT), STUDENT, IMAGES, REAL))
    assert [stage.name for stage in found] == ["Loaded", "End to end", "Real images"]
    assert all(stage.passed for stage in found)
    assert found[1].measured["sites"] == 3 * 4 * sum(torch.Size(n.shape).numel() for n in GRAPH.of("neuron"))
    assert found[2].measured["same_answer_percent"] == 100


def test_encoded_images_stand_for_themselves() -> None:
    drawn = replace(STUDENT, encoder="poisson")
    found = list(stages(to_spikingjelly(drawn), drawn, IMAGES, REAL))
    assert [stage.name for stage in found] == ["Loaded", "End to end"]
    assert all(stage.passed for stage in found)


def test_a_network_of_other_weights_fails_and_nothing_follows() -> None:
    tensors = {**STUDENT.tensors, "conv1.weight": -STUDENT.tensors["conv1.weight"]}
    *_, last = stages(to_spikingjelly(replace(STUDENT, tensors=tensors)), STUDENT, IMAGES, REAL)
    assert (last.name, last.passed) == ("End to end", False)
