from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from onnx import numpy_helper

from idsnn_convert.passes.equal import compare
from idsnn_convert.passes.load.onnx import oracle
from idsnn_convert.passes.load.teacher import load_teacher
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.export.onnx.model import to_onnx
from tests import graphs

GRAPH = graphs.ann()
TENSORS = graphs.random_tensors(GRAPH)


def written(folder: Path) -> Path:
    place = folder / "net.onnx"
    onnx.save(to_onnx(Checkpoint(GRAPH, TENSORS, 1), form="ann"), place)
    return place


def test_the_graph_is_held_against_onnxruntime(tmp_path: Path) -> None:
    teacher = load_teacher(written(tmp_path), input_size=8)
    assert teacher.reference is not None
    found = compare(teacher.graph, teacher.tensors, teacher.reference)
    assert found.against == "onnxruntime"
    assert not found.first_different
    assert found.sqnr_db > 80
    wrong = {**teacher.tensors, "conv1.weight": -teacher.tensors["conv1.weight"]}
    assert compare(teacher.graph, wrong, teacher.reference).first_different == "output"


@pytest.mark.parametrize(
    "declared", [["batch", 3, 6, 4], [2, 3, 6, 4], ["batch", 6, 4, 3], ["batch", "h", "w", 3], ["b", 3, "h", "w"]]
)
def test_an_image_is_given_as_the_model_takes_it(declared: list[object]) -> None:
    image = torch.arange(72.0).view(1, 3, 6, 4)
    given = torch.from_numpy(oracle._arranged(image, declared))
    assert len(given) == (2 if declared[0] == 2 else 1)
    assert torch.equal(given[0] if declared[-1] != 3 else given[0].permute(2, 0, 1), image[0])


def test_what_cannot_be_compared_has_no_reference(tmp_path: Path) -> None:
    model = onnx.load(written(tmp_path))
    assert oracle.runtime_reference(tmp_path, model.graph, (3, 8, 8)) is not None
    model.graph.node[-1].op_type = "Softmax"
    assert oracle.runtime_reference(tmp_path, model.graph, (3, 8, 8)) is None
    model.graph.node[-1].op_type = "Identity"
    half = numpy_helper.to_array(model.graph.initializer[0]).astype("float16")
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(half, model.graph.initializer[0].name))
    assert oracle.runtime_reference(tmp_path, model.graph, (3, 8, 8)) is None
