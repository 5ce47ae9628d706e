from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("nir")

import nir

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.nir import write
from idsnn_convert.runtime.export.nir.write import DT, to_nir
from idsnn_convert.runtime.graph import Attr, Graph, Node, Shape
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.ops import inferred
from idsnn_convert.runtime.readout import Readout
from tests import graphs

GRAPH = graphs.spiking()
STUDENT = Checkpoint(GRAPH, graphs.random_tensors(GRAPH), 3)
WINDOW: dict[str, Attr] = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "ceil_mode": False}


def alone(op: str, attrs: dict[str, Attr], shape: Shape) -> Graph:
    """A network of one node."""
    node = Node("node", op, ("x",), attrs)
    node = replace(node, shape=inferred(node, (shape,)))
    return Graph((Node("x", "input", shape=shape), node, Node("out", "output", ("node",), {}, node.shape)))


def test_one_step_of_euler_with_dt_is_our_step() -> None:
    lif = to_nir(STUDENT).nodes["act1"]
    assert isinstance(lif, nir.LIF)
    assert lif.tau.shape == GRAPH["act1"].shape
    v, current = 0.3, 0.9
    ours = Neuron().decay * v + current
    for tau, r in zip(np.unique(lif.tau), np.unique(lif.r), strict=True):
        assert v + DT / tau * (-v + r * current) == pytest.approx(ours)
    assert np.unique(lif.v_threshold) == Neuron().v_threshold
    assert not lif.v_reset.any()
    assert not lif.v_leak.any()


def test_a_neuron_without_leak_and_a_soft_reset() -> None:
    graph = graphs.spiking(neuron=Neuron("if", decay=1.0, reset="soft"))
    node = to_nir(replace(STUDENT, graph=graph)).nodes["act1"]
    assert isinstance(node, nir.IF)
    assert np.unique(node.r) * DT == pytest.approx(1)
    assert node.metadata == {"reset": "soft"}


def test_an_add_is_edges_that_meet_and_norms_are_folded() -> None:
    written = to_nir(STUDENT)
    assert sorted(source for source, sink in written.edges if sink == "layer2_0_act2") == [
        "layer2_0_conv2",
        "layer2_0_downsample_0",
    ]
    assert {type(node).__name__ for node in written.nodes.values()} == {
        *("Input", "Conv2d", "LIF", "AvgPool2d", "Flatten", "Affine", "Output")
    }
    assert not any("." in name for name in written.nodes)


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("slice", {"dim": 2, "start": 0, "stop": 1 << 40, "step": 2}),
        ("slice", {"dim": 3, "start": 0, "stop": 6, "step": 3}),
        ("pad", {"pads": (0, 0, 0, 0, 2, 3), "mode": "constant", "value": 0.0}),
        (
            "conv2d",
            {
                "in_channels": 4,
                "out_channels": 6,
                "kernel": (3, 3),
                "stride": (1, 1),
                "padding": (1, 1),
                "dilation": (1, 1),
                "groups": 2,
                "bias": False,
            },
        ),
    ],
)
def test_what_nir_says_otherwise_computes_the_same(op: str, attrs: dict[str, Attr]) -> None:
    graph = alone(op, attrs, (4, 5, 6))
    tensors = graphs.random_tensors(graph)
    node = to_nir(Checkpoint(graph, tensors, 1)).nodes["node"]
    assert isinstance(node, nir.Conv2d)
    x = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    settings = (node.stride, node.padding, node.dilation, node.groups)
    found = torch.nn.functional.conv2d(x, torch.from_numpy(node.weight), torch.from_numpy(node.bias), *settings)
    with torch.no_grad():
        assert torch.allclose(found, build(graph, tensors)(x), atol=1e-6)


@pytest.mark.parametrize(
    ("op", "attrs", "problem"),
    [
        ("max_pool2d", {**WINDOW, "dilation": (1, 1)}, "NIR has average and sum pooling alone"),
        ("activation", {"kind": "relu"}, "NIR has no activations"),
        ("slice", {"dim": 1, "start": 0, "stop": 2, "step": 1}, "a part of axis 1"),
        ("slice", {"dim": 2, "start": 1, "stop": 4, "step": 1}, "a part of axis 2"),
        ("pad", {"pads": (1, 1), "mode": "constant", "value": 0.0}, "pads a map at its border"),
        ("avg_pool2d", {**WINDOW, "padding": (1, 1), "count_include_pad": False}, "leaves its padding out"),
        ("avg_pool2d", {**WINDOW, "ceil_mode": True, "count_include_pad": True}, "windows that are cut off"),
        ("linear", {"in_features": 6, "out_features": 2, "bias": True}, "a linear layer on a map"),
        ("gate", {"kind": "sigmoid"}, "NIR has no such node"),
    ],
)
def test_what_nir_lacks_is_refused_with_the_node(op: str, attrs: dict[str, Attr], problem: str) -> None:
    graph = alone(op, attrs, (4, 5, 6))
    with pytest.raises(UserError, match=f"'node'.*{problem}"):
        to_nir(Checkpoint(graph, graphs.random_tensors(graph), 1))


def test_axes_are_counted_from_behind_for_all_readers_to_agree() -> None:
    flat = to_nir(STUDENT).nodes["flatten"]
    assert (flat.start_dim, flat.end_dim, list(flat.output_type["output"])) == (-3, -1, [8])


def test_names_that_dots_alone_told_apart_stay_apart() -> None:
    nodes = [Node("x", "input", shape=(4, 4, 4)), Node("a.b", "flatten", ("x",), {}, (64,))]
    nodes += [Node("a_b", "flatten", ("a.b",), {}, (64,)), Node("out", "output", ("a_b",), {}, (64,))]
    written = to_nir(Checkpoint(Graph(tuple(nodes)), {}, 1))
    assert written.edges == [("x", "a_b"), ("a_b", "a_b_"), ("a_b_", "out")]


def test_random_inputs_and_leaky_readouts_are_refused() -> None:
    with pytest.raises(UserError, match="the poisson encoder draws random numbers"):
        to_nir(replace(STUDENT, encoder="poisson"))
    with pytest.raises(UserError, match="a leaky readout"):
        to_nir(replace(STUDENT, readout=Readout("membrane", 0.5)))


def test_a_value_added_to_itself_is_refused() -> None:
    shape = (4, 5, 6)
    nodes = (Node("x", "input", shape=shape), Node("twice", "add", ("x", "x"), {}, shape))
    with pytest.raises(UserError, match="to itself"):
        to_nir(Checkpoint(Graph((*nodes, Node("out", "output", ("twice",), {}, shape))), {}, 1))


def test_every_row_names_an_operation() -> None:
    from idsnn_convert.runtime.ops import OPS

    assert write.NODES.keys() | write.LACKS.keys() <= OPS.keys()
