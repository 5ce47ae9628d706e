from __future__ import annotations

import pytest
import torch

pytest.importorskip("nir")

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.export.nir.check import stages
from idsnn_convert.runtime.export.nir.write import to_nir
from tests import graphs

GRAPH = graphs.spiking()
STUDENT = Checkpoint(GRAPH, graphs.random_tensors(GRAPH), 3)
IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_true_graph_passes() -> None:
    read, run, whole, real = stages(to_nir(STUDENT), STUDENT, IMAGES, [(IMAGES, torch.arange(4))])
    assert [read.passed, whole.passed, real.passed] == [True] * 3
    assert real.measured["same_answer_percent"] == 100
    assert "7 Conv2d" in read.found or "6 Conv2d" in read.found
    assert run.passed
    assert run.measured["same_answer"] == 4


def test_a_graph_of_other_weights_fails() -> None:
    written = to_nir(STUDENT)
    written.nodes["conv1"].weight = -written.nodes["conv1"].weight
    *_, run = stages(written, STUDENT, IMAGES)
    assert not run.passed
