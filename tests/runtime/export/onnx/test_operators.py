from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnxruntime

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.onnx.emitter import Emitter
from idsnn_convert.runtime.export.onnx.forms import Subject, alone
from idsnn_convert.runtime.export.onnx.model import model_of
from idsnn_convert.runtime.export.onnx.operators import OPERATORS, emit
from idsnn_convert.runtime.graph import Attr, Graph, Node, Shape
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.ops import OPS, inferred
from tests import graphs

WINDOW: dict[str, Attr] = {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 0)}
CONV: dict[str, Attr] = {"in_channels": 4, "out_channels": 6, "dilation": (1, 2), **WINDOW}
MAP: Shape = (4, 7, 6)

Case = tuple[str, dict[str, Attr], tuple[Shape, ...]]
RELATIVES = ("relu", "relu6", "elu", "silu", "gelu", "hardswish")
ACTIVATIONS: list[Case] = [("activation", {"kind": kind}, (MAP,)) for kind in RELATIVES]
CASES: list[Case] = [
    ("conv2d", {**CONV, "groups": 1, "bias": False}, (MAP,)),
    ("conv2d", {**CONV, "groups": 2, "bias": True}, (MAP,)),
    ("batch_norm", {"channels": 4, "eps": 1e-3, "momentum": 0.1, "affine": True}, (MAP,)),
    ("batch_norm", {"channels": 4, "eps": 1e-5, "momentum": 0.1, "affine": False}, (MAP,)),
    ("group_norm", {"groups": 2, "channels": 4, "eps": 1e-3, "affine": True}, (MAP,)),
    ("group_norm", {"groups": 4, "channels": 4, "eps": 1e-5, "affine": False}, (MAP,)),
    ("scale", {"factor": -1.7}, (MAP,)),
    ("linear", {"in_features": 5, "out_features": 3, "bias": True}, ((5,),)),
    ("linear", {"in_features": 5, "out_features": 3, "bias": False}, ((5,),)),
    ("linear", {"in_features": 6, "out_features": 3, "bias": True}, (MAP,)),
    *ACTIVATIONS,
    ("activation", {"kind": "leaky_relu", "slope": 0.2}, (MAP,)),
    ("gate", {"kind": "sigmoid"}, (MAP,)),
    ("gate", {"kind": "hard_sigmoid"}, (MAP,)),
    ("gate", {"kind": "softmax", "dim": 2}, (MAP,)),
    ("max_pool2d", {**WINDOW, "dilation": (1, 1), "ceil_mode": False}, (MAP,)),
    ("max_pool2d", {**WINDOW, "dilation": (1, 2), "ceil_mode": True}, (MAP,)),
    ("avg_pool2d", {**WINDOW, "ceil_mode": False, "count_include_pad": True}, (MAP,)),
    ("avg_pool2d", {**WINDOW, "ceil_mode": False, "count_include_pad": False}, (MAP,)),
    ("global_avg_pool", {}, (MAP,)),
    ("flatten", {}, (MAP,)),
    ("add", {}, (MAP, MAP, MAP)),
    ("mul", {}, (MAP, (4, 1, 1))),
    ("complement", {}, (MAP,)),
    ("concat", {}, (MAP, (2, 7, 6))),
    ("pad", {"pads": (1, 2, 0, 3, 2, 2), "mode": "constant", "value": 0.5}, (MAP,)),
    ("pad", {"pads": (1, 2, 2, 3), "mode": "reflect", "value": 0.0}, (MAP,)),
    ("pad", {"pads": (1, 2, 2, 3), "mode": "replicate", "value": 0.0}, (MAP,)),
    ("slice", {"dim": 2, "start": 1, "stop": 1 << 62, "step": 2}, (MAP,)),
    ("slice", {"dim": 1, "start": 0, "stop": 3, "step": 1}, (MAP,)),
    ("reshape", {"shape": (2, 2, 42)}, (MAP,)),
    ("permute", {"dims": (3, 1, 2)}, (MAP,)),
    ("sum", {"dim": 1}, (MAP,)),
    ("dropout", {"p": 0.5}, (MAP,)),
]


def network(op: str, attrs: dict[str, Attr], shapes: tuple[Shape, ...]) -> Graph:
    """The node on the input, and on slices of it for further arguments."""
    first = Node("x", "input", shape=shapes[0])
    more = [cut(shapes[0], shape, place) for place, shape in enumerate(shapes[1:])]
    node = Node("node", op, ("x", *(n.name for n in more)), attrs)
    node = Node("node", op, node.inputs, attrs, inferred(node, shapes))
    return Graph((first, *more, node, Node("out", "output", ("node",), {}, node.shape)))


def cut(full: Shape, shape: Shape, place: int) -> Node:
    if shape[1:] == (1, 1):
        return Node(f"more{place}", "global_avg_pool", ("x",), {}, shape)
    attrs: dict[str, Attr] = {"dim": 1, "start": full[0] - shape[0], "stop": full[0], "step": 1}
    return Node(f"more{place}", "slice", ("x",), attrs, shape)


@pytest.mark.parametrize(("op", "attrs", "shapes"), CASES)
def test_onnxruntime_computes_what_torch_computes(op: str, attrs: dict[str, Attr], shapes: tuple[Shape, ...]) -> None:
    graph = network(op, attrs, shapes)
    tensors = graphs.random_tensors(graph)
    module = build(graph, tensors).eval()
    draw = torch.Generator().manual_seed(3)
    given = [torch.randn(2, *shape, generator=draw) for shape in shapes]
    with torch.no_grad():
        want = module.get_submodule("node")(*given).numpy()
    model = model_of(alone(Subject(graph, tensors, 1, "direct", 18), graph["node"]), 18)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [taken.name for taken in session.get_inputs()]
    (found,) = session.run(None, {name: value.numpy() for name, value in zip(names, given, strict=True)})
    assert found.shape == want.shape
    assert np.allclose(found, want, rtol=1e-5, atol=1e-5)


def test_every_operation_of_the_closed_set_has_a_row() -> None:
    assert OPERATORS.keys() | {"input", "output", "neuron"} == OPS.keys()
    assert {op for op, _, _ in CASES} == OPERATORS.keys()


def test_padding_in_circles_needs_a_newer_opset() -> None:
    node = Node("node", "pad", ("x",), {"pads": (1, 1), "mode": "circular", "value": 0.0}, (4, 7, 8))
    assert emit(Emitter(19), node, ["x"], {}) == "node"
    with pytest.raises(UserError, match="'node': padding 'circular' has no form in opset 18"):
        emit(Emitter(18), node, ["x"], {})


def test_an_unknown_operation_or_activation_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"'node' \(neuron\) has no ONNX form"):
        emit(Emitter(18), Node("node", "neuron", ("x",), {}, MAP), ["x"], {})
    with pytest.raises(UserError, match="'node': activation 'mish' has no ONNX form"):
        emit(Emitter(18), Node("node", "activation", ("x",), {"kind": "mish"}, MAP), ["x"], {})
