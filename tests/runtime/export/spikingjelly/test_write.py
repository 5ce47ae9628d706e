from __future__ import annotations

import ast
import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.compare import plain
from idsnn_convert.runtime.export.spikingjelly.check import loaded
from idsnn_convert.runtime.export.spikingjelly.write import CALLS, LAYERS, SURROGATES, to_spikingjelly
from idsnn_convert.runtime.graph import Attr, Graph, Node, Shape
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.ops import OPS, inferred
from idsnn_convert.runtime.surrogates import SURROGATES as OURS
from tests import graphs

STEPS = 5
WINDOW: dict[str, Attr] = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "ceil_mode": False}


def student(**neuron: Any) -> Checkpoint:
    graph = graphs.spiking(neuron=Neuron(**neuron))
    return Checkpoint(graph, graphs.random_tensors(graph), STEPS)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "neuron",
    [{}, {"reset": "soft"}, {"kind": "if", "decay": 1.0}, {"decay": 0.9, "v_threshold": 1.0}, {"learn_decay": True}],
)
def test_the_network_gives_every_steps_logits(neuron: dict[str, Any]) -> None:
    checkpoint = student(**neuron)
    x = images(2, 3, 8, 8)
    with torch.no_grad():
        want = plain(checkpoint)(x)
        found = loaded(to_spikingjelly(checkpoint)).eval()(x.expand(STEPS, *x.shape))
    assert want.any()
    assert torch.allclose(found, want, atol=1e-4)


def two_ways(op: str, attrs: dict[str, Attr], shape: Shape, inputs: int) -> Checkpoint:
    """A convolution and one operation on its map, which it reads ``inputs`` times."""
    rest: dict[str, Attr] = {"dilation": (1, 1), "groups": 1, "bias": True}
    conv: dict[str, Attr] = {"in_channels": 3, "out_channels": shape[0], "kernel": (1, 1), "stride": (1, 1), "padding": (0, 0)}
    nodes = [Node("x", "input", shape=(3, *shape[1:])), Node("a.b", "conv2d", ("x",), {**conv, **rest}, shape)]
    node = Node("layer", op, ("a.b",) * inputs, attrs)
    nodes.append(replace(node, shape=inferred(node, (shape,) * inputs)))
    graph = Graph((*nodes, Node("out", "output", ("layer",), {}, nodes[-1].shape)))
    return Checkpoint(graph, graphs.random_tensors(graph), 2)


@pytest.mark.parametrize(
    ("op", "attrs", "inputs"),
    [
        ("add", {}, 2),
        ("mul", {}, 2),
        ("complement", {}, 1),
        ("scale", {"factor": 0.5}, 1),
        ("concat", {}, 2),
        ("slice", {"dim": 1, "start": 1, "stop": 3, "step": 1}, 1),
        ("slice", {"dim": 3, "start": 0, "stop": 1 << 60, "step": 2}, 1),
        ("pad", {"pads": (1, 0, 0, 2, 0, 1), "mode": "constant", "value": 0.5}, 1),
        ("group_norm", {"groups": 2, "channels": 4, "eps": 1e-5, "affine": True}, 1),
        ("max_pool2d", {**WINDOW, "dilation": (1, 1)}, 1),
        ("avg_pool2d", {**WINDOW, "count_include_pad": True}, 1),
        ("global_avg_pool", {}, 1),
        ("dropout", {"p": 0.5}, 1),
    ],
)
def test_each_operation_computes_the_same_over_time(op: str, attrs: dict[str, Attr], inputs: int) -> None:
    checkpoint = two_ways(op, attrs, (4, 6, 6), inputs)
    x = images(2, 3, 6, 6)
    with torch.no_grad():
        want = plain(checkpoint).body(x)
        found = loaded(to_spikingjelly(checkpoint)).eval()(x.expand(2, *x.shape))
    assert torch.allclose(found, want.unflatten(0, (2, 2)) if len(want) == 4 else want, atol=1e-6)


def test_the_source_imports_torch_and_spikingjelly_alone_and_says_how_to_use_it() -> None:
    known = {"name": "n", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    source = to_spikingjelly(replace(student(), normalisation=known)).source
    tree = ast.parse(source)
    rooms = {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    rooms |= {name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert rooms == {"pathlib", "torch", "spikingjelly"}
    told = ast.get_docstring(tree) or ""
    assert "images.expand(5, *images.shape)" in told
    assert "mean [0.5, 0.5, 0.5], std [0.25, 0.25, 0.25]; the same at every step" in told
    assert "For training" not in told


def test_another_slope_encoder_and_readout_are_told() -> None:
    from idsnn_convert.runtime.readout import Readout

    other = replace(student(surrogate="linear", width=0.5, damping=0.5), encoder="poisson", readout=Readout("membrane", 0.5))
    told = ast.get_docstring(ast.parse(to_spikingjelly(other).source)) or ""
    assert "the surrogates had 0.25 times the slope" in told
    assert "encoded over time (poisson)" in told
    assert "kind='membrane', decay=0.5" in told


def test_the_state_dict_is_plain_tensors_under_flat_names() -> None:
    state = torch.load(io.BytesIO(to_spikingjelly(student()).state), weights_only=True)
    assert "layer1_0_conv1.weight" in state
    assert state["bn1.num_batches_tracked"] == 0


@pytest.mark.parametrize("name", OURS)
def test_a_surrogate_has_the_slope_of_ours(spikingjelly: str, name: str) -> None:
    if spikingjelly == "stand-in":
        assert SURROGATES[name](0.4).startswith("surrogate.")
        return
    from spikingjelly.activation_based import surrogate

    theirs = eval(SURROGATES[name](0.4), {"surrogate": surrogate})
    x = torch.linspace(-1, 1, 42, requires_grad=True)
    (slope,) = torch.autograd.grad(theirs(x).sum(), x)
    assert torch.allclose(slope * (0.4 if name == "linear" else 1), OURS[name](x.detach(), 0.4), atol=1e-6)


def test_what_has_no_form_is_refused_with_the_node() -> None:
    with pytest.raises(UserError, match=r"'layer' \(gate\) is not written for SpikingJelly"):
        to_spikingjelly(two_ways("gate", {"kind": "sigmoid"}, (4, 6, 6), 1))
    with pytest.raises(UserError, match="'layer' pads by reflect"):
        to_spikingjelly(two_ways("pad", {"pads": (1, 1), "mode": "reflect", "value": 0.0}, (4, 6, 6), 1))


def test_every_row_names_an_operation() -> None:
    assert LAYERS.keys() | CALLS.keys() <= OPS.keys()
    assert not LAYERS.keys() & CALLS.keys()
