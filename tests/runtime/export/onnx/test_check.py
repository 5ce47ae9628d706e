from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import ModelProto, numpy_helper

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.export.onnx import operators
from idsnn_convert.runtime.export.onnx.check import Exported, on_images, stages
from idsnn_convert.runtime.export.onnx.forms import SPIKING_FORMS
from idsnn_convert.runtime.export.onnx.model import to_onnx
from idsnn_convert.runtime.readout import Readout
from tests import graphs

GRAPH = graphs.spiking()
STUDENT = Checkpoint(GRAPH, graphs.random_tensors(GRAPH), 3)
IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def exported(form: str = "unrolled", checkpoint: Checkpoint = STUDENT, **changed: ModelProto) -> Exported:
    model = to_onnx(checkpoint, form=form)
    return replace(Exported(model, checkpoint, form, checkpoint.time_steps, 18, folded=True), **changed)  # type: ignore[arg-type]


def real() -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(IMAGES, torch.tensor([0, 1, 2, 3])), (IMAGES[:2], torch.tensor([4, 0]))]


@pytest.mark.parametrize("form", SPIKING_FORMS)
def test_a_true_model_passes_every_stage(form: str) -> None:
    found = list(stages(exported(form), IMAGES, real()))
    assert [stage.name for stage in found] == ["ONNX's own checker", "Layer by layer", "End to end", "Real images"]
    assert all(stage.passed for stage in found)
    layers, whole, images = (dict(stage.measured) for stage in found[1:])
    assert layers["layers"] == len(GRAPH) - 2 - len(GRAPH.of("batch_norm"))
    assert whole["sites"] == 3 * 4 * sum(torch.Size(n.shape).numel() for n in GRAPH.of("neuron"))
    assert whole["same_answer"] == whole["images"] == 4
    assert images["images"] == 6
    assert images["same_answer_percent"] == 100


def test_a_network_without_neurons_passes_too() -> None:
    ann = Checkpoint(graphs.ann(), graphs.random_tensors(graphs.ann()), 1)
    found = list(stages(exported("ann", ann), IMAGES, real()))
    assert [stage.passed for stage in found] == [True] * 4
    assert "spikes" not in found[2].found


@pytest.mark.parametrize("form", SPIKING_FORMS)
def test_a_readout_with_leak_passes_in_every_form(form: str) -> None:
    leaky = replace(STUDENT, readout=Readout("membrane", 0.5))
    assert [stage.passed for stage in stages(exported(form, leaky), IMAGES, real())] == [True] * 4


def test_encoded_images_stand_for_themselves() -> None:
    drawn = replace(STUDENT, encoder="poisson")
    found = list(stages(exported("step", drawn), IMAGES, real()))
    assert [stage.name for stage in found] == ["ONNX's own checker", "Layer by layer", "End to end"]
    assert all(stage.passed for stage in found)


def test_a_file_that_is_not_well_formed_is_told() -> None:
    broken = to_onnx(STUDENT)
    broken.graph.node[3].op_type = "Convv"
    (stage,) = stages(exported(model=broken), IMAGES)
    assert not stage.passed
    assert "Convv" in stage.found


def test_a_layer_that_computes_something_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    true = exported()
    monkeypatch.setitem(operators.OPERATORS, "global_avg_pool", operators._plain("GlobalMaxPool"))
    *_, stage = stages(true, IMAGES)
    assert (stage.name, stage.passed, stage.measured["node"]) == ("Layer by layer", False, "avgpool")


def test_a_model_with_other_weights_fails_as_a_whole() -> None:
    changed = to_onnx(STUDENT)
    weight = next(constant for constant in changed.graph.initializer if constant.name == "conv1.weight")
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), "conv1.weight"))
    *_, stage = stages(exported(model=changed), IMAGES)
    assert (stage.name, stage.passed) == ("End to end", False)


def test_other_answers_for_real_images_fail() -> None:
    changed = to_onnx(STUDENT)
    weight = next(constant for constant in changed.graph.initializer if constant.name == "fc.weight")
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), "fc.weight"))
    stage = on_images(exported(model=changed), real())
    assert not stage.passed
    assert stage.measured["same_answer_percent"] < 99
