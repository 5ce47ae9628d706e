from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from idsnn_convert.passes.convert import Conversion, Settings, convert
from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.passes.resnet.module import ResNet
from idsnn_convert.passes.resnet.spec import ResNetSpec, Stem
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.types import Canonical, Target, Teacher
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Node
from tests.passes.families.renamed import lively
from tests.passes.made import spec

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from tests.passes.load.onnx.made import computed, export, floats, model, node, ran, whole

PREACT: dict[str, Any] = {"block": "preact-basic", "after_add": "none", "final_norm": True}
SPECS: dict[str, ResNetSpec] = {
    "basic": spec((1, 2)),
    "bottleneck": spec((1, 1), block="bottleneck", groups=2, outputs=(16, 32)),
    "pad": spec((1, 1), shortcut="pad"),
    "preact": spec((1, 1), **PREACT),
    "large": spec((1, 1), stem=Stem(4, 7, 2, 3, pool=True), window=2, hidden=6, input_size=32, outputs=(4, 8)),
}
# Opset 9 has no slice with steps, which a padding shortcut is made of.
CASES = [(name, opset) for name in SPECS for opset in (9, 13, 17, 20) if (name, opset) != ("pad", 9)]


def nodes(graph: Any) -> list[Node]:
    return [replace(found, source="") for found in graph]


@pytest.fixture(scope="module")
def networks() -> dict[str, ResNet]:
    return {name: lively(described) for name, described in SPECS.items()}


@pytest.mark.parametrize(("name", "opset"), CASES)
def test_an_exported_network_is_the_one_it_was(name: str, opset: int, networks: dict[str, ResNet], tmp_path: Path) -> None:
    network, shape = networks[name], SPECS[name].input_shape
    data = export(network, shape, opset)
    (tmp_path / "a").write_bytes(data)
    teacher = load_teacher(tmp_path / "a")
    assert (teacher.form, teacher.unread, teacher.assumptions) == ("ONNX", {}, ())
    assert nodes(teacher.graph) == nodes(trace_known(network, shape).graph)
    state = network.state_dict()
    assert teacher.keys == {key: key for key in teacher.tensors}
    assert all(tensor.equal(state[key]) for key, tensor in teacher.tensors.items())
    images = torch.randn(3, *shape)
    torch.testing.assert_close(computed(teacher, images), ran(data, images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "opset"), [case for case in CASES if case[1] in (9, 20)])
def test_a_batch_norm_that_was_folded_stays_so(name: str, opset: int, networks: dict[str, ResNet], tmp_path: Path) -> None:
    network, shape = networks[name], SPECS[name].input_shape
    data = export(network, shape, opset, folded=True)
    (tmp_path / "a").write_bytes(data)
    teacher = load_teacher(tmp_path / "a")
    plain = trace_known(network, shape).graph
    assert len(teacher.graph.of("batch_norm")) < len(plain.of("batch_norm"))
    assert [found.name for found in teacher.graph.of("conv2d")] == [found.name for found in plain.of("conv2d")]
    assert all(found.attr("bias") for found in teacher.graph.of("conv2d")[:1]) or name == "preact"
    images = torch.randn(3, *shape)
    torch.testing.assert_close(computed(teacher, images), ran(data, images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("folded", [True, False])
def test_a_model_and_a_state_dict_of_one_network_make_one_student(folded: bool, tmp_path: Path) -> None:
    described = ResNetSpec("resnet(1-2 basic)", (1, 2), (4, 8), (4, 8), (1, 2), Stem(4), classes=3)
    network = lively(described)
    torch.save(network.state_dict(), tmp_path / "state")
    (tmp_path / "model").write_bytes(export(network, described.input_shape, folded=folded))
    state, found = load_teacher(tmp_path / "state"), load_teacher(tmp_path / "model")
    blocks = [segment(teacher.graph) for teacher in (state, found)]
    first, second = ([(b.name, b.fork, b.join, b.shape) for b in cut.blocks] for cut in blocks)
    assert first == second
    assert (blocks[0] == blocks[1]) is not folded
    target = trace_known(ResNet(replace(described, depths=(2, 2), name="t")), described.input_shape)
    students = [converted(teacher, target).checkpoint.tensors for teacher in (state, found)]
    same = [key for key in students[0] if students[0][key].equal(students[1][key])]
    if folded:  # convolutions took up the norms
        assert 0 < len(same) < len(students[0])
    else:
        assert same == list(students[0])


def converted(teacher: Teacher, target: Canonical) -> Conversion:
    return convert(teacher, Target("t", target.graph), Settings(), {})


def test_the_architecture_can_be_demanded(tmp_path: Path) -> None:
    described = ResNetSpec("resnet8", (1, 1, 1), (16, 32, 64), (16, 32, 64), (1, 2, 2), Stem(16), classes=3)
    (tmp_path / "a").write_bytes(export(lively(described), described.input_shape, folded=True))
    assert load_teacher(tmp_path / "a", arch="resnet8").arch == "resnet8"
    with pytest.raises(UserError, match="a: its blocks are those of resnet8, not of resnet18"):
        load_teacher(tmp_path / "a", arch="resnet18")


def test_half_precision_is_converted_and_it_is_said(tmp_path: Path) -> None:
    made = model(
        [node("Flatten", "x", "f"), node("Gemm", "f w", "y")],
        (1, 2, 2, 2),
        {"w": floats(8, 3).astype("float16"), "spare.weight": floats(1)},
    )
    (tmp_path / "a").write_bytes(made.SerializeToString())
    teacher = load_teacher(tmp_path / "a")
    assert teacher.assumptions == ("Weights stored as float16 were converted to float32.",)
    assert [tensor.dtype for tensor in teacher.tensors.values()] == [torch.float32]
    assert teacher.unread == {"spare.weight": "the network computes without it"}


def test_settings_kept_as_tensors_are_not_told_as_unread(tmp_path: Path) -> None:
    made = model([node("Reshape", "x s", "f"), node("Gemm", "f w", "y")], (1, 2, 2, 2), {"s": whole(1, 8), "w": floats(8, 3)})
    (tmp_path / "a").write_bytes(made.SerializeToString())
    assert load_teacher(tmp_path / "a").unread == {}


def test_what_gives_no_logits_is_told_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(model([node("Relu", "x")]).SerializeToString())
    with pytest.raises(UserError, match="a: it gives 2 x 5 x 5 values for an image") as told:
        load_teacher(tmp_path / "a")
    assert str(told.value).startswith(str(tmp_path))


def test_without_onnx_it_is_said_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(export(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), (3, 2, 2)))
    for name in [name for name in sys.modules if name.startswith("idsnn_convert.passes.load.onnx.")]:
        if name.rpartition(".")[2] in ("file", "images", "importer"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r'a is an ONNX model.*\nonnx is not installed: pip install "idsnn-convert\[cpu\]"'):
        load_teacher(tmp_path / "a")
