from __future__ import annotations

import pytest
import torch

from idsnn_convert.passes.builder import Builder, Site, layer_class
from idsnn_convert.passes.values import Map, Param, UnsupportedError

RELU = {"kind": "relu"}


def relu(b: Builder, x: Map, path: str = "", layer: str = "") -> Map:
    return b.add(Site(path, layer), "activation", (x,), RELU)


def names(b: Builder, result: Map) -> list[str]:
    return [node.name for node in b.canonical(result).graph][1:-1]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["", "", ""], ["relu", "relu_1", "relu_2"]),
        (["layer1.0", "layer1.0"], ["layer1.0.relu", "layer1.0.relu_1"]),
        (["", "relu"], ["relu", "relu_.relu"]),  # no node may lie in another's path
        (["relu", ""], ["relu.relu", "relu_1"]),  # nor be a folder of one
        (["apply", "training.0"], ["apply_.relu", "training_.0.relu"]),  # attributes every module has
    ],
)
def test_names_are_unique_paths(paths: list[str], expected: list[str]) -> None:
    b = Builder((3, 4, 4))
    x = b.input
    for path in paths:
        x = relu(b, x, path)
    assert names(b, x) == expected


def test_a_layer_is_named_after_its_path_and_what_it_does_aside_is_not() -> None:
    b = Builder((3, 4, 4))
    x = b.add(Site("conv", "Conv2d"), "pad", (b.input,), {"pads": (1, 1), "mode": "reflect", "value": 0.0})
    x = b.add(Site("padding", "ZeroPad2d"), "pad", (x,), {"pads": (1, 1), "mode": "constant", "value": 0.0})
    x = relu(b, relu(b, x, "act", "ReLU"), "act", "ReLU")
    assert names(b, x) == ["conv_pad", "padding", "act", "act_1"]


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("torch.nn.modules.conv.Conv2d", "Conv2d"),
        ("torch.nn.modules.container.Sequential", ""),
        ("idsnn_convert.runtime.modules.Add", "Add"),
        ("timm.layers.norm_act.BatchNormAct2d", ""),
        ("", ""),
    ],
)
def test_layers_are_those_of_torch_and_of_the_runtime(name: str, bare: str) -> None:
    assert layer_class(name) == bare


def test_an_input_and_an_output_in_the_network_keep_clear_of_the_graphs_own() -> None:
    b = Builder((3, 4, 4))
    x = relu(b, relu(b, b.input, "input", "ReLU"), "output", "ReLU")
    assert [node.name for node in b.canonical(x).graph] == ["input", "input_1", "output", "output_1"]


def test_dead_nodes_and_their_tensors_are_dropped_and_shared_tensors_copied() -> None:
    b = Builder((3, 4, 4))
    weight = Param("fc.weight", torch.randn(48, 48))
    attrs = {"in_features": 48, "out_features": 48, "bias": False}
    flat = b.add(Site(""), "flatten", (b.input,))
    first = b.add(Site("a"), "linear", (flat,), attrs, {"weight": weight})
    dead = b.add(Site("dead"), "linear", (flat,), attrs, {"weight": Param("dead.weight", torch.randn(48, 48))})
    second = b.add(Site("b"), "linear", (first,), attrs, {"weight": weight})
    assert dead.shape == (48,)
    made = b.canonical(second)
    assert dict(made.origin) == {"a.linear.weight": "fc.weight", "b.linear.weight": "fc.weight"}
    assert made.tensors["a.linear.weight"].data_ptr() == weight.tensor.data_ptr() != made.tensors["b.linear.weight"].data_ptr()


@pytest.mark.parametrize(("gate", "kind"), [("sigmoid", "silu"), ("hard_sigmoid", "hardswish"), ("softmax", None)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_map_times_its_own_gate_is_an_activation(gate: str, kind: str | None, turned: bool) -> None:
    b = Builder((3, 4, 4))
    pair = (b.input, b.add(Site(""), "gate", (b.input,), {"kind": gate}))
    made = b.canonical(b.add(Site(""), "mul", pair[::-1] if turned else pair)).graph
    assert [node.attr("kind") for node in made.of("activation")] == ([kind] if kind else [])
    assert len(made.of("gate")) == (kind is None)


def test_what_shares_memory_with_an_overwritten_value_is_not_read_again() -> None:
    b = Builder((4, 4, 4))
    whole = relu(b, b.input)
    cut = {"dim": 1, "start": 0, "stop": 2, "step": 1}
    part = b.add(Site(""), "slice", (whole,), cut)
    other = b.add(Site(""), "slice", (whole,), {**cut, "start": 2, "stop": 4})
    new = relu(b, part)
    b.overwrite({}, part, new)
    for value, readable in ((whole, False), (other, True), (new, True), (b.input, True)):
        if readable:
            relu(b, value)
        else:
            with pytest.raises(UnsupportedError, match="after part of it was changed in place"):
                relu(b, value)


def test_an_in_place_call_whose_result_is_a_view_stays_readable() -> None:
    b = Builder((4, 4, 4))
    new = b.add(Site(""), "dropout", (b.input,), {"p": 0.5})
    b.overwrite({}, b.input, new)
    assert names(b, relu(b, new)) == ["dropout", "relu"]


def test_holders_of_an_overwritten_value_hold_the_new_one_inside_tuples_too() -> None:
    graph = torch.fx.Graph()
    keys = [graph.placeholder(name) for name in "abc"]
    b = Builder((4, 4, 4))
    copy = Map("input", (4, 4, 4))
    values = {keys[0]: b.input, keys[1]: (copy, b.input), keys[2]: copy}
    new = relu(b, b.input)
    b.overwrite(values, b.input, new)
    assert values == {keys[0]: new, keys[1]: (copy, new), keys[2]: copy}
