from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from idsnn_convert.passes.resnet.module import ResNet, initialise, outline
from idsnn_convert.passes.resnet.spec import RESIDUALS, ResNetSpec, Stem

torch.set_num_threads(1)

CIFAR = Stem(64)
IMAGENET = Stem(64, 7, 2, 3, pool=True)
FOUR = (64, 128, 256, 512)
RESNET18 = ResNetSpec("resnet18", (2, 2, 2, 2), FOUR, FOUR, (1, 2, 2, 2), CIFAR, classes=10)
RESNET50 = replace(
    RESNET18,
    block="bottleneck",
    depths=(3, 4, 6, 3),
    outputs=(256, 512, 1024, 2048),
    stem=IMAGENET,
    classes=1000,
    input_size=224,
)
TINY = ResNetSpec("tiny", (1, 2), (4, 8), (4, 8), (1, 2), Stem(4), classes=3, input_size=8)

KINDS = [replace(TINY, residual=kind, after_add="none") for kind in RESIDUALS if kind != "plain"]


def parameters(spec: ResNetSpec) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in ResNet(spec).parameters())


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        (RESNET18, 11_173_962),
        (replace(RESNET18, stem=IMAGENET, classes=1000, input_size=224), 11_689_512),
        (RESNET50, 25_557_032),
        (replace(RESNET50, widths=(128, 256, 512, 1024), groups=32), 25_028_904),
        (replace(RESNET50, widths=(128, 256, 512, 1024)), 68_883_240),
        (
            ResNetSpec("resnet20", (3, 3, 3), (16, 32, 64), (16, 32, 64), (1, 2, 2), Stem(16), classes=10, shortcut="pad"),
            269_722,
        ),
        (replace(RESNET18, block="preact-basic", after_add="none", shortcut="conv"), 11_171_146),
    ],
    ids=["cifar-18", "imagenet-18", "50", "resnext50-32x4d", "wide-50-2", "cifar-20-pad", "preact-18"],
)
def test_parameter_counts_are_the_published_ones(spec: ResNetSpec, count: int) -> None:
    assert parameters(spec) == count


def test_parameter_names_are_torchvisions() -> None:
    with torch.device("meta"):
        names = ResNet(RESNET50).state_dict().keys()
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.downsample.0.weight", "layer1.0.downsample.1.bias"} <= names
    assert {"layer4.2.conv3.weight", "layer4.2.bn3.weight", "fc.weight", "fc.bias"} <= names


def test_every_relu_is_called_once() -> None:
    for spec in (TINY, replace(TINY, block="bottleneck", outputs=(16, 32)), replace(TINY, hidden=5, after_add="stage"), *KINDS):
        network = ResNet(spec)
        called = [node.target for node in fx.symbolic_trace(network).graph.nodes if node.op == "call_module"]
        relus = [name for name, module in network.named_modules() if isinstance(module, nn.ReLU)]
        assert sorted(relus) == sorted(name for name in called if name in relus)
        assert len(called) == len(set(called))


@pytest.mark.parametrize(("after_add", "sites"), [("block", 7), ("stage", 6), ("none", 4)])
def test_relu_after_the_add(after_add: str, sites: int) -> None:
    network = ResNet(replace(TINY, after_add=after_add))
    assert sum(isinstance(module, nn.ReLU) for module in network.modules()) == sites


def test_a_basic_block_computes_what_its_paper_says() -> None:
    network = ResNet(TINY).eval()
    x = torch.randn(2, 4, 8, 8)
    block = network.get_submodule("layer2.0")
    y = F.relu(block.bn1(F.conv2d(x, block.conv1.weight, stride=2, padding=1)))
    y = block.bn2(F.conv2d(y, block.conv2.weight, padding=1)) + block.downsample[1](
        F.conv2d(x, block.downsample[0].weight, stride=2)
    )
    torch.testing.assert_close(block(x), F.relu(y))


def test_a_preact_block_computes_what_its_paper_says() -> None:
    network = ResNet(replace(TINY, block="preact-basic", after_add="none", shortcut="conv")).eval()
    x = torch.randn(2, 4, 8, 8)
    block = network.get_submodule("layer2.0")
    first = F.relu(block.bn1(x))
    y = F.conv2d(F.relu(block.bn2(block.conv1(first))), block.conv2.weight, padding=1)
    torch.testing.assert_close(block(x), y + F.conv2d(first, block.downsample[0].weight, stride=2))


@pytest.mark.parametrize(
    ("residual", "join"),
    [("sew-add", lambda a, b: a + b), ("sew-and", lambda a, b: a * b), ("sew-iand", lambda a, b: (1 - a) * b)],
)
@pytest.mark.parametrize("name", ["layer2.0", "layer2.1"])
def test_a_sew_block_computes_what_its_paper_says(
    residual: str, join: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], name: str
) -> None:
    network = ResNet(replace(TINY, residual=residual, after_add="none")).eval()
    block = network.get_submodule(name)
    x = torch.randn(2, 4 if name == "layer2.0" else 8, 8, 8)
    a = F.relu(block.bn1(block.conv1(x)))
    a = F.relu(block.bn2(block.conv2(a)))
    b = F.relu(block.downsample[1](block.downsample[0](x))) if name == "layer2.0" else x
    torch.testing.assert_close(block(x), join(a, b))


@pytest.mark.parametrize("name", ["layer2.0", "layer2.1"])
def test_a_membrane_block_computes_what_its_paper_says(name: str) -> None:
    network = ResNet(replace(TINY, residual="ms", after_add="none")).eval()
    block = network.get_submodule(name)
    x = torch.randn(2, 4 if name == "layer2.0" else 8, 8, 8)
    a = block.bn1(block.conv1(F.relu(x)))
    a = block.bn2(block.conv2(F.relu(a)))
    b = block.downsample[1](block.downsample[0](x)) if name == "layer2.0" else x
    torch.testing.assert_close(block(x), a + b)


def test_a_membrane_network_fires_before_its_head_and_not_in_its_stem() -> None:
    network = ResNet(replace(TINY, residual="ms", after_add="none", block="bottleneck"))
    called = [str(node.target) for node in fx.symbolic_trace(network).graph.nodes if node.op == "call_module"]
    assert called[:3] == ["conv1", "bn1", "layer1.0.relu1"]
    assert called[-3:] == ["relu_last", "flatten", "fc"]  # the mean over the map is no layer of torch's


def test_a_padded_sew_shortcut_fires_nothing() -> None:
    network = ResNet(replace(TINY, residual="sew-add", after_add="none", shortcut="pad"))
    assert not [name for name, _ in network.named_modules() if name.endswith("downsample.relu")]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("pad", lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))),
        ("pad-end", lambda x: torch.cat([x[:, :, ::2, ::2], torch.zeros(2, 4, 4, 4)], 1)),
        ("pool-pad", lambda x: F.pad(F.avg_pool2d(x, 2, ceil_mode=True), (0, 0, 0, 0, 2, 2))),
    ],
)
def test_shortcuts_without_weights_are_kinds_of_option_a(kind: str, wanted: Callable[[torch.Tensor], torch.Tensor]) -> None:
    network = ResNet(replace(TINY, shortcut=kind))
    x = torch.randn(2, 4, 7, 7)
    shortcut = network.get_submodule("layer2.0.downsample")
    torch.testing.assert_close(shortcut(x), wanted(x))
    assert not list(shortcut.parameters())


@pytest.mark.parametrize(("stride_at", "strides"), [("3x3", [1, 2, 1]), ("1x1", [2, 1, 1]), ("last", [1, 1, 2])])
def test_where_a_bottleneck_strides(stride_at: str, strides: list[int]) -> None:
    block = ResNet(replace(TINY, block="bottleneck", outputs=(16, 32), stride_at=stride_at)).get_submodule("layer2.0")
    assert [block.get_submodule(f"conv{i}").stride[0] for i in (1, 2, 3)] == strides


def test_where_a_basic_block_strides() -> None:
    block = ResNet(replace(TINY, stride_at="last")).get_submodule("layer2.0")
    assert [block.get_submodule(f"conv{i}").stride[0] for i in (1, 2)] == [1, 2]


def test_head_features_of_windows_keep_their_places() -> None:
    network = ResNet(replace(TINY, window=2)).eval()
    seen: list[torch.Tensor] = []
    network.fc.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    network.layer2.register_forward_hook(lambda module, args, out: seen.append(out))
    network(torch.randn(2, 3, 8, 8))
    maps, features = seen
    torch.testing.assert_close(features[:, :4], F.avg_pool2d(maps, 2)[:, 0].flatten(1))


def test_final_norm_hidden_layer_and_missing_bias() -> None:
    spec = replace(TINY, block="preact-basic", after_add="none", final_norm=True, hidden=5, bias=False)
    network = ResNet(spec).eval()
    assert network.fc.bias is None
    assert network.fc_hidden.weight.shape == (5, 8)
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 3)
    assert "bn_last.weight" in network.state_dict()


def test_an_outline_has_names_and_shapes_and_no_values() -> None:
    wanted = {name: tensor.shape for name, tensor in ResNet(RESNET18).state_dict().items()}
    found = outline(RESNET18)
    assert {name: tensor.shape for name, tensor in found.state_dict().items()} == wanted
    assert all(tensor.is_meta for tensor in found.state_dict().values())
    assert outline(RESNET18) is found


def test_initialise_is_seeded_and_has_the_stated_variance() -> None:
    network, again, other = ResNet(RESNET18), ResNet(RESNET18), ResNet(RESNET18)
    initialise(network, 0)
    initialise(again, 0)
    initialise(other, 1)
    assert torch.equal(network.fc.weight, again.fc.weight)
    assert not torch.equal(network.conv1.weight, other.conv1.weight)
    weight = network.get_submodule("layer4.1.conv2").weight
    assert weight.var().item() == pytest.approx(2 / (9 * 512), rel=0.01)
    assert network.fc.weight.abs().max().item() <= 512**-0.5
