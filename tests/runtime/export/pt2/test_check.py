from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.export.pt2.check import stages
from idsnn_convert.runtime.export.pt2.write import to_pt2
from tests import graphs

GRAPH = graphs.spiking()
STUDENT = Checkpoint(GRAPH, graphs.random_tensors(GRAPH), 2)
IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
REAL = [(IMAGES, torch.tensor([0, 1, 2, 3]))]


@pytest.mark.parametrize("folded", [True, False])
def test_a_true_program_passes_every_stage(folded: bool) -> None:
    found = list(stages(to_pt2(STUDENT, folded=folded), STUDENT, folded, IMAGES, REAL))
    whole = ["End to end"] if folded else []
    assert [stage.name for stage in found] == ["Loaded again", "Beside the runtime", *whole, "Real images"]
    assert all(stage.passed for stage in found)
    assert found[1].measured["logits_moved"] == 0


def test_a_teacher_has_no_spikes_to_flip() -> None:
    ann = Checkpoint(graphs.ann(), graphs.random_tensors(graphs.ann()), 1)
    found = list(stages(to_pt2(ann), ann, True, IMAGES, REAL))
    assert [stage.name for stage in found] == ["Loaded again", "Beside the runtime", "Real images"]
    assert all(stage.passed for stage in found)


def test_a_program_of_another_network_fails_and_nothing_follows() -> None:
    tensors = {**STUDENT.tensors, "fc.weight": -STUDENT.tensors["fc.weight"]}
    found = list(stages(to_pt2(replace(STUDENT, tensors=tensors)), STUDENT, True, IMAGES, REAL))
    assert [stage.passed for stage in found] == [True, False]
