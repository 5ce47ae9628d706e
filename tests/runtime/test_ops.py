from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.ops import OPS, check, inferred, tensor_shapes
from tests.graphs import random_tensors

WINDOW: dict[str, Any] = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)}
CONV: dict[str, Any] = {"in_channels": 4, "out_channels": 6, **WINDOW, "dilation": (1, 1), "groups": 2, "bias": True}
CASES: list[tuple[str, dict[str, Any], int]] = [
    ("conv2d", CONV, 1),
    ("conv2d", {**CONV, "dilation": (2, 2), "padding": (2, 1), "stride": (1, 3), "groups": 1, "bias": False}, 1),
    ("batch_norm", {"channels": 4, "eps": 1e-5, "momentum": 0.1, "affine": True}, 1),
    ("batch_norm", {"channels": 4, "eps": 1e-3, "momentum": 0.1, "affine": False}, 1),
    *(("group_norm", {"groups": 2, "channels": 4, "eps": 1e-3, "affine": affine}, 1) for affine in (True, False)),
    ("scale", {"factor": -0.25}, 1),
    *(("activation", {"kind": kind}, 1) for kind in ("relu", "relu6", "leaky_relu", "elu", "silu", "gelu", "hardswish")),
    ("gate", {"kind": "sigmoid"}, 1),
    ("gate", {"kind": "hard_sigmoid"}, 1),
    *(("max_pool2d", {**WINDOW, "dilation": (1, 1), "ceil_mode": ceil}, 1) for ceil in (False, True)),
    *(("avg_pool2d", {**WINDOW, "ceil_mode": ceil, "count_include_pad": False}, 1) for ceil in (False, True)),
    ("avg_pool2d", {"kernel": (2, 2), "stride": (3, 3), "padding": (1, 1), "ceil_mode": True, "count_include_pad": True}, 1),
    ("global_avg_pool", {}, 1),
    ("flatten", {}, 1),
    ("add", {}, 2),
    ("mul", {}, 2),
    ("complement", {}, 1),
    ("concat", {}, 3),
    ("pad", {"pads": (1, 0, 2, 1, 1, 3), "mode": "constant", "value": 0.5}, 1),
    ("pad", {"pads": (1, 1, 2, 2), "mode": "reflect", "value": 0.0}, 1),
    ("slice", {"dim": 2, "start": 0, "stop": 9, "step": 2}, 1),
    ("slice", {"dim": 1, "start": 1, "stop": 3, "step": 1}, 1),
    ("gate", {"kind": "softmax", "dim": 1}, 1),
    ("reshape", {"shape": (2, 2, 63)}, 1),
    ("permute", {"dims": (3, 1, 2)}, 1),
    ("sum", {"dim": 2}, 1),
    ("dropout", {"p": 0.5}, 1),
]


def one_op(op: str, attrs: dict[str, Any], inputs: int, shape: tuple[int, ...] = (4, 7, 9)) -> Graph:
    node = Node("it", op, ("x",) * inputs, attrs)
    node = replace(node, shape=inferred(node, (shape,) * inputs))
    return Graph((Node("x", "input", shape=shape), node, Node("out", "output", ("it",), {}, node.shape)))


@pytest.mark.parametrize(("op", "attrs", "inputs"), CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)])
def test_inferred_shapes_and_tensors_are_those_the_module_has(op: str, attrs: dict[str, Any], inputs: int) -> None:
    graph = one_op(op, attrs, inputs)
    module = build(graph, random_tensors(graph)).eval()
    assert tuple(module(torch.randn(2, 4, 7, 9)).shape[1:]) == graph["it"].shape
    assert {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()} == tensor_shapes(graph)


def test_every_operation_is_covered_above() -> None:
    assert {case[0] for case in CASES} | {"input", "output", "neuron", "linear"} == set(OPS)


@pytest.mark.parametrize(
    ("op", "attrs", "told"),
    [
        ("conv2d", {**CONV, "in_channels": 5}, "its input has 4 channels"),
        ("conv2d", {**CONV, "groups": 3}, "3 groups do not divide"),
        ("conv2d", {**CONV, "stride": (0, 1)}, "is no window"),
        ("conv2d", {**CONV, "kernel": (20, 20)}, "too small for its window"),
        ("conv2d", {**CONV, "kernel": (3,)}, "conv2d"),
        ("conv2d", {key: value for key, value in CONV.items() if key != "bias"}, "'bias' must be bool, not None"),
        ("conv2d", {**CONV, "out_channels": 1 << 40}, "impossible shape"),
        ("batch_norm", {"channels": 3, "eps": 1e-5, "momentum": 0.1, "affine": True}, "4 channels, its statistics 3"),
        ("group_norm", {"groups": 1, "channels": 3, "eps": 1e-5, "affine": True}, "4 channels, its scale 3"),
        ("group_norm", {"groups": 3, "channels": 4, "eps": 1e-5, "affine": True}, "3 groups do not divide 4 channels"),
        ("group_norm", {"groups": 0, "channels": 4, "eps": 1e-5, "affine": True}, "0 groups do not divide"),
        ("scale", {"factor": 2}, "'factor' must be float"),
        ("slice", {"dim": 7, "start": 0, "stop": 1, "step": 1}, "no axis 7"),
        ("slice", {"dim": 1, "start": 0, "stop": 0, "step": 1}, "impossible shape"),
        ("slice", {"dim": 1, "start": 0, "stop": 1, "step": 0}, "slice"),
        ("pad", {"pads": (1, 1, 1), "mode": "constant", "value": 0.0}, "do not fit"),
        ("gate", {"kind": "softmax", "dim": 4}, "no axis 4"),
        ("reshape", {"shape": (4, 7)}, r"\(4, 7, 9\) cannot be reshaped to \(4, 7\)"),
        ("reshape", {"shape": (-4, -63)}, "impossible shape"),
        ("permute", {"dims": (1, 2, 2)}, "no order of the 3 axes"),
        ("permute", {"dims": (0, 1, 2)}, "no order of the 3 axes"),
        ("sum", {"dim": 0}, "axis 0"),
        ("dropout", {"p": "half"}, "'p' must be float"),
        ("linear", {"in_features": 4, "out_features": 2, "bias": True}, "its input has 9 features"),
    ],
)
def test_impossible_nodes_are_refused_by_name(op: str, attrs: dict[str, Any], told: str) -> None:
    node = Node("it", op, ("x",), attrs, (1, 1, 1))
    with pytest.raises(UserError, match=told) as caught:
        check(Graph((Node("x", "input", shape=(4, 7, 9)), node, Node("out", "output", ("it",), {}, (1, 1, 1)))))
    assert "'it'" in caught.value.problem


def broken(graph: Graph, node: str, **changes: Any) -> Graph:
    return graph.with_nodes({node: replace(graph[node], **changes)})


def test_broken_graphs_are_refused(tiny_graph: Graph) -> None:
    check(tiny_graph)
    cases = [
        (broken(tiny_graph, "bn1", op="warp"), "unknown operation 'warp'"),
        (broken(tiny_graph, "bn1", name="conv1"), "used twice"),
        (broken(tiny_graph, "bn1", name="conv1.bn"), "lies inside the node 'conv1'"),
        (broken(tiny_graph, "bn1", inputs=("fc",)), "reads 'fc', which no node before it gives"),
        (broken(tiny_graph, "bn1", inputs=()), "has 0 inputs"),
        (broken(tiny_graph, "layer1.0.add", inputs=("x",)), "has 1 inputs"),
        (broken(tiny_graph, "layer1.0.add", inputs=("x", "act1")), "do not broadcast"),
        (broken(tiny_graph, "bn1", shape=(4, 8, 9)), "declares shape"),
        (broken(tiny_graph, "bn1", op="output", attrs={}), "stands in the wrong place"),
        (Graph(tiny_graph.nodes[1:]), "must begin with its input"),
        (Graph(tiny_graph.nodes[:-1]), "must begin with its input"),
        (Graph(()), "must begin with its input"),
    ]
    for graph, told in cases:
        with pytest.raises(UserError, match=told):
            check(graph)


INJECTED = 'training") or print("INJECTED") or getattr(self, "training'


SPOKEN_FOR = ("a.class", "forward", "training", "self", "graph", "meta", "_modules", "_graph", "_wrapped_call")


@pytest.mark.parametrize(
    "name",
    ["", "a..b", ".a", "a.", "a b", "a-b", "ä", "a\n", "../x", INJECTED, "x" * 301, *SPOKEN_FOR],
)
def test_names_that_are_no_path_of_a_submodule_are_refused(tiny_graph: Graph, name: str) -> None:
    """torch.fx writes them into Python code."""
    with pytest.raises(UserError, match="graph node"):
        check(broken(tiny_graph, "bn1", name=name))


def test_unknown_kinds_of_activation_and_gate() -> None:
    for op, known in (("activation", "relu"), ("gate", "sigmoid")):
        with pytest.raises(UserError, match=rf"unknown {op} 'swoosh'[\s\S]*{known}"):
            build(one_op(op, {"kind": "swoosh"}, 1), {})
