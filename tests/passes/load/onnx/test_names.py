from __future__ import annotations

import pytest

from idsnn_convert.passes.builder import Site
from idsnn_convert.passes.load.onnx.names import Namer, path_of, scope_of

NODES = [
    ("/layer1/layer1.0/relu/Relu", "Relu"),
    ("/layer1/layer1.0/Add", "Add"),
    ("/layer1/layer1.0/pool/Pad", "Pad"),
    ("Relu_7", "Relu"),
    ("resnet/conv1", "Conv"),
    ("", "Add"),
]
NAMER = Namer(NODES)


@pytest.mark.parametrize(
    ("name", "op", "scope"),
    [
        ("/layer2/layer2.0/downsample/downsample.0/Conv", "Conv", ("layer2.0", "downsample.0")),
        ("/layer1/layer1.0/Relu_1", "Relu", ("layer1.0",)),
        ("Conv_12", "Conv", ()),
        ("/Add", "Add", ()),
        ("resnet50/conv1_conv/Conv2D", "Conv", ("resnet50", "conv1_conv", "Conv2D")),
        ("stage1_unit1_relu1", "Relu", ("stage1_unit1_relu1",)),
        ("", "Add", ()),
    ],
)
def test_the_modules_are_read_off_the_name(name: str, op: str, scope: tuple[str, ...]) -> None:
    assert scope_of(name, op) == scope


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("layer1.0.conv1", "layer1.0.conv1"),
        ("resnet50/conv1_conv/Conv2D", "resnet50.conv1_conv.Conv2D"),
        ("a..b/", "a.b"),
        ("a:0", "a_0"),
        ('x") or evil("', "x___or_evil__"),
        ("größe", "gr__e"),
        ("a/" * 100, ""),
    ],
)
def test_a_path_has_plain_words_only(name: str, path: str) -> None:
    assert path_of(name) == path


@pytest.mark.parametrize(
    ("name", "op", "weights", "site"),
    [
        # Nodes of a scope without scopes inside are the layer; others stand in it.
        ("/layer1/layer1.0/relu/Relu", "Relu", (), Site("layer1.0.relu", "Relu")),
        ("/layer1/layer1.0/Add", "Add", (), Site("layer1.0")),
        ("Relu_7", "Relu", (), Site("")),
        ("resnet/conv1", "Conv", (), Site("resnet.conv1", "Conv")),
        ("", "Add", (), Site("")),
        # Weights say more.
        ("Conv_3", "Conv", ("onnx::1", "layer1.0.conv1.weight"), Site("layer1.0.conv1", "Conv")),
        ("Conv_3", "Conv", ("onnx::Conv_12",), Site("")),
    ],
)
def test_a_node_is_named_after_its_layer(name: str, op: str, weights: tuple[str, ...], site: Site) -> None:
    assert NAMER.site(name, op, weights, {}) == site


def test_what_pytorch_notes_of_a_node_names_it() -> None:
    notes = {
        "pkg.torch.onnx.name_scopes": "['', 'layer1', 'layer1.0', 'layer1.0.relu1', 'relu_1']",
        "pkg.torch.onnx.class_hierarchy": "['m.ResNet', 'torch.nn.modules.container.Sequential', 'm.Block', "
        "'torch.nn.modules.activation.ReLU', 'aten.relu.default']",
    }
    assert NAMER.site("node_relu_1", "Relu", (), notes) == Site("layer1.0.relu1", "ReLU")
    cut = {
        key: value.replace(", 'layer1.0.relu1'", "").replace(", 'torch.nn.modules.activation.ReLU'", "")
        for key, value in notes.items()
    }
    assert NAMER.site("node_relu_1", "Relu", (), cut) == Site("layer1.0")
    only = {"pkg.torch.onnx.name_scopes": notes["pkg.torch.onnx.name_scopes"]}
    assert NAMER.site("node_relu_1", "Relu", (), only) == Site("node_relu_1", "Relu")
