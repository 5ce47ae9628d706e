from __future__ import annotations

import json
from dataclasses import replace

import pytest

pytest.importorskip("onnx")

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.onnx import model as module
from idsnn_convert.runtime.export.onnx.model import to_onnx
from tests import graphs

GRAPH = graphs.spiking()
STUDENT = Checkpoint(GRAPH, graphs.random_tensors(GRAPH), 3)


def test_the_model_says_what_it_is() -> None:
    written = to_onnx(STUDENT, opset=19, time_steps=2)
    assert [(domain.domain, domain.version) for domain in written.opset_import] == [("", 19)]
    assert written.producer_name == "idsnn-convert"
    (about,) = written.metadata_props
    told = json.loads(about.value)
    assert about.key == "idsnn"
    assert (told["form"], told["time_steps"], told["encoder"]) == ("unrolled", 2, "direct")
    assert told["neurons"][0]["v_threshold"] == 0.5


def test_norms_are_folded_unless_they_are_to_stay() -> None:
    assert "BatchNormalization" not in {node.op_type for node in to_onnx(STUDENT).graph.node}
    assert "BatchNormalization" in {node.op_type for node in to_onnx(STUDENT, folded=False).graph.node}


def test_a_form_must_suit_the_network() -> None:
    with pytest.raises(UserError, match="form 'ann' does not exist for a spiking network"):
        to_onnx(STUDENT, form="ann")
    with pytest.raises(UserError, match="form 'scan' does not exist for a network without neurons"):
        to_onnx(Checkpoint(graphs.ann(), graphs.random_tensors(graphs.ann()), 1), form="scan")


@pytest.mark.parametrize("opset", [16, 99])
def test_an_opset_out_of_range_is_refused(opset: int) -> None:
    with pytest.raises(UserError, match=f"opset {opset} cannot be written") as told:
        to_onnx(STUDENT, opset=opset)
    assert "From 17" in str(told.value.hint)


def test_random_numbers_are_left_to_the_caller() -> None:
    drawn = replace(STUDENT, encoder="poisson")
    assert to_onnx(drawn, form="step").graph.node
    with pytest.raises(UserError, match="the poisson encoder draws random numbers"):
        to_onnx(drawn)


def test_what_one_file_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_BYTES", 100)
    with pytest.raises(UserError, match="one ONNX file holds 100"):
        to_onnx(STUDENT)
