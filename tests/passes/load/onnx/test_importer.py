from __future__ import annotations

from pathlib import Path

import pytest
import torch

from idsnn_convert.runtime.errors import UserError

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import onnx

from idsnn_convert.passes.load.onnx import importer
from idsnn_convert.passes.load.onnx.file import read_onnx
from tests.passes.load.onnx.made import agree, computed, floats, model, node, ran, read, whole

HEAD = [node("Flatten", "x", "f"), node("Gemm", "f w", "l")]
WEIGHT = {"w": floats(50, 3)}


def test_every_node_without_a_canonical_form_is_told_at_once(tmp_path: Path) -> None:
    nodes = [
        node("Erf", "x", "a", name="/gelu/Erf"),
        node("Relu", "a", "b"),
        node("Erf", "x", "c"),
        node("FusedConv", "c", "d", name="conv_7", domain="com.microsoft"),
        node("QLinearConv", "d", "e"),
        node("Add", "b e"),
    ]
    with pytest.raises(UserError) as told:
        read(model(nodes), tmp_path)
    assert told.value.problem.splitlines() == [
        "it has 4 calls without a canonical form",
        "  Erf has no canonical form: /gelu/Erf (Erf), c (Erf)",
        "  com.microsoft.FusedConv is no operator of ONNX's own: conv_7 (FusedConv)",
        "  QLinearConv has no canonical form: e (QLinearConv)",
    ]
    assert told.value.hint is not None
    assert "before it was optimised or quantised for one runtime" in told.value.hint


@pytest.mark.parametrize(
    ("nodes", "opset", "message"),
    [
        ([node("Relu", "x")], 1, r"version 1 of Relu is not covered, only 6, 13, 14: y \(Relu\)\nExport with opset"),
        ([node("HardSwish", "x")], 13, "opset 13 has no HardSwish"),
        ([node("Gather", "x zero")], 13, "Gather is not covered on maps"),
        ([node("Relu", "c", "z"), node("Add", "x z")], 13, "Relu is not covered"),
        ([node("Slice", "x", starts=[0], ends=[1], axes=["a"])], 9, "Slice is not covered with these arguments"),
        ([node("Concat", "c x", axis=1)], 13, "it joins the constant 'c'"),
        ([node("Relu", "x", "a"), node("Relu", "b"), node("Relu", "x", "b")], 13, "reads 'b', which nothing before it gives"),
        ([node("Relu", "x", "y"), node("Sigmoid", "x", "y")], 13, "'y' is given twice"),
        ([node("Relu", "x", "x"), node("Relu", "x", "y")], 13, "'x' is given twice"),
        ([node("Identity", "c")], 13, "its result 'y' does not depend on the images"),
        ([node("Relu", "x", "a")], 13, "its result 'y' does not depend on the images"),
        ([node("Constant", "", "k", value_string="s"), node("Add", "x k")], 13, "its constant is neither numbers nor a tensor"),
    ],
)
def test_a_graph_that_is_no_network_is_refused(nodes: list[onnx.NodeProto], opset: int, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read(model(nodes, constants={"c": floats(1, 2, 5, 5), "zero": whole(0)}, opset=opset), tmp_path)


def test_control_flow_is_refused(tmp_path: Path) -> None:
    branch = onnx.helper.make_graph([node("Relu", "x", "b")], "branch", [], [])
    nodes = [
        node("If", "c", then_branch=branch, else_branch=branch),
        node("Relu", "x", "z", body=branch),
        node("Add", "y z", "r"),
    ]
    with pytest.raises(UserError, match=r"If has no canonical form: y \(If\)\n  it has a graph of its own: z \(Relu\)"):
        read(model(nodes, constants={"c": whole(1)}, output="r"), tmp_path)


def test_what_the_result_does_not_need_may_be_anything(tmp_path: Path) -> None:
    made = model([node("Erf", "x", "e"), *HEAD[:1], node("Gemm", "f w"), node("Erf", "e", "v")], constants=WEIGHT)
    assert len(agree(made, tmp_path, torch.randn(2, 2, 5, 5)).graph) == 4


@pytest.mark.parametrize("last", ["Softmax", "LogSoftmax"])
def test_a_softmax_at_the_end_is_left_out(last: str, tmp_path: Path) -> None:
    made = model([*HEAD, node(last, "l", axis=1)], constants=WEIGHT)
    (tmp_path / "a").write_bytes(made.SerializeToString())
    found = importer.imported(read_onnx(tmp_path / "a"))
    assert found.notes == (f"It ends in a {last}; what that reads is taken as the logits.",)
    images = torch.randn(2, 2, 5, 5)
    logits = computed(found.canonical, images)
    torch.testing.assert_close(
        getattr(torch, {"Softmax": "softmax", "LogSoftmax": "log_softmax"}[last])(logits, 1), ran(made, images)
    )


def test_more_than_one_result_is_refused(tmp_path: Path) -> None:
    made = model(HEAD, constants=WEIGHT, output="l")
    made.graph.output.append(onnx.helper.make_tensor_value_info("f", onnx.TensorProto.FLOAT, None))
    with pytest.raises(UserError, match=r"it gives 2 results \(l, f\)"):
        read(made, tmp_path)


def test_the_number_of_nodes_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "MOST_NODES", 1)
    with pytest.raises(UserError, match="it has 2 nodes; 1 are the most that are read"):
        read(model(HEAD, constants=WEIGHT, output="l"), tmp_path)


@pytest.mark.parametrize(
    "attribute", [{"value_ints": [0, -1]}, {"value": onnx.helper.make_tensor("k", onnx.TensorProto.INT64, [2], [0, -1])}]
)
def test_constants_may_be_nodes(attribute: dict[str, object], tmp_path: Path) -> None:
    made = model([node("Constant", "", "s", **attribute), node("Reshape", "x s")])
    assert agree(made, tmp_path, torch.randn(2, 2, 5, 5)).graph.output_shape == (50,)


def test_a_tensor_that_two_layers_share_keeps_its_name(tmp_path: Path) -> None:
    nodes = [node("Identity", "c.weight", "v"), node("Conv", "x c.weight", "a"), node("Conv", "a v")]
    found = agree(model(nodes, constants={"c.weight": floats(2, 2, 1, 1)}), tmp_path, torch.randn(1, 2, 5, 5))
    assert found.origin == {"c.weight": "c.weight", "conv2d.weight": "c.weight"}


def test_the_newest_versions_are_those_of_the_library(tmp_path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    read(model([node("Relu", "x")], opset=newest), tmp_path)
    with pytest.raises(UserError, match=rf"it uses ONNX opset {newest + 1}; onnx .* knows opsets up to {newest}\nUpgrade"):
        read(model([node("Relu", "x")], opset=newest + 1), tmp_path)
