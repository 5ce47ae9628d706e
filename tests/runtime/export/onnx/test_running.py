from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.onnx.forms import SPIKING_FORMS
from idsnn_convert.runtime.export.onnx.model import to_onnx
from idsnn_convert.runtime.export.onnx.running import Running
from tests import graphs

GRAPH = graphs.spiking()
STUDENT = Checkpoint(GRAPH, graphs.random_tensors(GRAPH), 3)
NEURONS = tuple(node.name for node in GRAPH.of("neuron"))
IMAGES = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("form", SPIKING_FORMS)
def test_all_forms_give_the_same_logits_and_spikes(form: str) -> None:
    want = Running(to_onnx(STUDENT, exposed=NEURONS), "unrolled", GRAPH, exposed=NEURONS)(IMAGES, 3)
    running = Running(to_onnx(STUDENT, form=form, exposed=NEURONS), form, GRAPH, exposed=NEURONS)
    logits, spikes = running(IMAGES, 3)
    assert "CPUExecutionProvider" in running.providers
    assert np.allclose(logits, want[0], atol=1e-6)
    assert list(spikes) == list(NEURONS)
    for name in NEURONS:
        assert spikes[name].shape == (6, *GRAPH[name].shape)
        assert set(np.unique(spikes[name])) == {0.0, 1.0}
        assert np.array_equal(spikes[name], want[1][name])


def test_a_single_step_is_run_on_the_size_its_potentials_have() -> None:
    running = Running(to_onnx(STUDENT, form="step"), "step", GRAPH)
    with pytest.raises(UserError, match=r"images of \(3, 8, 8\) alone, not of \(3, 9, 9\)"):
        running(np.zeros((1, 3, 9, 9), np.float32), 1)
