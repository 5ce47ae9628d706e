from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.resnet.archs import ARCHS
from idsnn_convert.passes.resnet.module import ResNet
from idsnn_convert.passes.resnet.spec import ResNetSpec, Stem
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.spike import spike
from idsnn_convert.passes.targets import build_target
from idsnn_convert.passes.types import BlockMap
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.neurons import Neuron
from tests.passes.replicas import Calls, GroupNormed, Pyramid, Res2, Residual, conv_bn, network


def traced(module: nn.Module, size: int = 16) -> Graph:
    return trace_known(module, (3, size, size)).graph


def resnet(**changes: Any) -> Graph:
    settings = {
        "depths": (2, 2), "widths": (8, 16), "outputs": (8, 16), "strides": (1, 2), "stem": Stem(8), "classes": 5,
        "input_size": 16,
    }  # fmt: skip
    with torch.device("meta"):
        return traced(ResNet(ResNetSpec("tiny", **{**settings, **changes})))


def depths(cut: BlockMap) -> list[int]:
    return [len(stage.blocks) for stage in cut.stages]


def assert_every_node_once(graph: Graph, cut: BlockMap) -> None:
    held = [*cut.stem, *cut.head]
    for block in cut.blocks:
        held += [*block.branch, *block.shortcut, block.join, *block.after]
    assert sorted(held) == sorted(node.name for node in graph)


@pytest.mark.parametrize("name", ARCHS)
def test_every_target_is_cut_into_its_stages(name: str) -> None:
    graph = build_target(name, input_shape=(3, 32, 32), classes=10).graph
    cut = segment(graph)
    assert depths(cut) == list(ARCHS[name].depths)
    assert [stage.shape[0] for stage in cut.stages] == list(ARCHS[name].outputs)
    assert_every_node_once(graph, cut)


def test_a_post_activation_network_by_hand() -> None:
    cut = segment(resnet())
    assert cut.stem == ("input", "conv1", "bn1", "relu")
    assert cut.head == ("avgpool", "flatten", "fc", "output")
    first, entry = cut.blocks[0], cut.blocks[2]
    assert (first.name, first.fork, first.join, first.shape) == ("stage1.block0", "relu", "layer1.0.add", (8, 16, 16))
    assert first.branch == tuple(f"layer1.0.{name}" for name in ("conv1", "bn1", "relu1", "conv2", "bn2"))
    assert (first.shortcut, first.after) == ((), ("layer1.0.relu2",))
    assert entry.name == "stage2.block0"
    assert entry.shortcut == ("layer2.0.downsample.0", "layer2.0.downsample.1")
    assert cut.blocks[-1].after == ("layer2.1.relu2",)


def test_a_preactivated_network_by_hand() -> None:
    graph = resnet(block="preact-basic", after_add="none", final_norm=True)
    cut = segment(graph)
    assert cut.stem == ("input", "conv1")
    assert cut.head == ("bn_last", "relu_last", "avgpool", "flatten", "fc", "output")
    entry = cut.blocks[2]
    assert entry.fork == "layer1.1.add"
    assert entry.branch == tuple(f"layer2.0.{name}" for name in ("bn1", "relu1", "conv1", "bn2", "relu2", "conv2"))
    assert entry.shortcut == ("layer2.0.downsample.0", "layer2.0.downsample.1")
    assert {block.after for block in cut.blocks} == {()}
    assert_every_node_once(graph, cut)


def test_a_shared_preactivation_in_front_of_the_first_block_is_not_the_stem() -> None:
    cut = segment(resnet(block="preact-bottleneck", outputs=(32, 64), after_add="none", projected_entry=True))
    assert cut.stem == ("input", "conv1")
    assert cut.blocks[0].branch[:2] == ("layer1.0.bn1", "layer1.0.relu1")


def test_a_shared_preactivation_with_group_norm_belongs_to_its_block() -> None:
    cut = segment(trace_known(network(GroupNormed(8, 12)), (3, 16, 16)).graph)
    (block,) = cut.blocks
    assert block.branch[:2] == ("1.norm1", "1.relu")
    assert (block.shortcut, block.fork) == (("1.project",), "0.2")


def test_a_batch_norm_behind_the_add_is_not_pre_activation() -> None:
    """He et al. 2016, fig. 4b: add, BN, ReLU, and the next identity starts from the ReLU."""

    def forward(self: Any, x: torch.Tensor) -> Any:
        x = self.stem(x)
        x = F.relu(self.bn1(self.b1(x) + x))
        x = F.relu(self.bn2(self.b2(x) + x))
        return self.head(x)

    def branch() -> nn.Module:
        return nn.Sequential(*conv_bn(8, 8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))

    layers = {"stem": conv_bn(3, 8), "b1": branch(), "b2": branch(), "head": nn.Flatten()}
    cut = segment(traced(Calls(forward, **layers, bn1=nn.BatchNorm2d(8), bn2=nn.BatchNorm2d(8))))
    assert [block.after for block in cut.blocks] == [("bn1", "relu"), ()]
    assert cut.head[:2] == ("bn2", "relu_1")


@pytest.mark.parametrize(
    "changes",
    [
        {"shortcut": "pad"},
        {"after_add": "stage"},
        {"after_add": "none"},
        {"block": "bottleneck", "outputs": (32, 64), "groups": 2},
        {"stem": Stem(8, 7, 2, 3, pool=True), "input_size": 32},
    ],
)
def test_variants(changes: dict[str, Any]) -> None:
    graph = resnet(**changes)
    cut = segment(graph)
    assert depths(cut) == [2, 2]
    assert_every_node_once(graph, cut)
    assert not cut.notes


@pytest.mark.parametrize("residual", ["sew-add", "sew-and", "sew-iand", "ms"])
def test_blocks_that_fire_elsewhere(residual: str) -> None:
    graph = resnet(residual=residual, after_add="none")
    cut = segment(graph)
    assert depths(cut) == [2, 2]
    assert_every_node_once(graph, cut)
    entry, last = cut.blocks[2], cut.blocks[3]
    assert (entry.fork, last.fork) == (cut.blocks[1].join, entry.join)
    assert [graph[name].op for name in entry.shortcut][:2] == ["conv2d", "batch_norm"]
    assert last.after == (("relu_last",) if residual == "ms" else ())
    assert depths(segment(spike(graph, Neuron()))) == [2, 2]


def test_a_product_with_a_gate_is_no_block() -> None:
    """A map scaled by an attention map of its own size, between two blocks."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(self.conv(x)) * torch.sigmoid(x)

    cut = segment(traced(network(Residual(8, 8), Attention(), Residual(8, 8))))
    assert depths(cut) == [2]
    plain = Calls(lambda self, x: F.relu(self.conv(x)) * self.other(x), conv=nn.Conv2d(3, 3, 1), other=nn.Conv2d(3, 3, 1))
    assert depths(segment(traced(plain))) == [1]


def test_the_padded_shortcut_holds_its_slices() -> None:
    block = segment(resnet(shortcut="pad")).blocks[2]
    assert block.shortcut == tuple(f"layer2.0.downsample.{name}" for name in ("rows", "columns", "pad"))


def test_a_spiking_graph_is_cut_like_its_ann() -> None:
    graph = resnet(block="preact-basic", after_add="none")
    assert depths(segment(spike(graph, Neuron()))) == depths(segment(graph))


def test_what_lies_inside_a_block_stays_inside() -> None:
    graph = traced(network(Res2(8), Res2(8), Residual(8, 8)))
    cut = segment(graph)
    assert depths(cut) == [3]
    assert [sum(graph[name].op == "conv2d" for name in block.branch) for block in cut.blocks] == [4, 4, 2]
    assert_every_node_once(graph, cut)


def test_a_sum_of_three_is_one_block() -> None:
    layers = {"a": conv_bn(8, 8), "b": conv_bn(8, 8), "stem": conv_bn(3, 8)}
    cut = segment(traced(Calls(lambda self, x: self.a(y := self.stem(x)) + self.b(y) + y, **layers)))
    assert depths(cut) == [1]
    assert cut.blocks[0].shortcut == ()


def test_growing_channels_are_grouped_by_size() -> None:
    grown = [Pyramid(8, 10), Pyramid(10, 12), Pyramid(12, 14), Pyramid(14, 16, 2), Pyramid(16, 18), Pyramid(18, 20)]
    graph = traced(network(*grown))
    cut = segment(graph)
    assert depths(cut) == [3, 3]
    assert [stage.shape for stage in cut.stages] == [(14, 16, 16), (20, 8, 8)]
    assert_every_node_once(graph, cut)


def test_stages_of_one_block_are_not_mistaken_for_growing_channels() -> None:
    assert depths(segment(traced(network(Residual(8, 8), Residual(8, 16), Residual(16, 32, 2))))) == [1, 1, 1]


def test_a_transition_between_blocks_counts_to_the_block_before() -> None:
    graph = traced(network(Residual(8, 8), nn.Sequential(*conv_bn(8, 16, 3, 2), nn.ReLU()), Residual(16, 16)))
    cut = segment(graph)
    assert depths(cut) == [1, 1]
    assert cut.blocks[0].after == ("1.relu_1", "2.0", "2.1", "2.2")
    assert_every_node_once(graph, cut)


def test_parallel_paths_between_blocks_are_noted() -> None:
    class Reduction(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv_bn(8, 8, 3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.conv(x), F.max_pool2d(x, 2)], 1)

    graph = traced(network(Residual(8, 8), Reduction(), Residual(16, 16)))
    cut = segment(graph)
    assert cut.notes == ("the paths that the concat '2.concat' joins are no residual block; they count to the block before",)
    assert_every_node_once(graph, cut)


def test_a_plain_network_has_no_stages() -> None:
    graph = traced(network(conv_bn(8, 8), conv_bn(8, 8)))
    cut = segment(graph)
    assert cut.stages == ()
    assert cut.head == tuple(node.name for node in graph)


def test_adds_without_convolutions_are_no_blocks() -> None:
    graph = traced(Calls(lambda self, x: self.conv(F.relu(x) + x), conv=nn.Conv2d(3, 4, 1)))
    assert segment(graph).stages == ()


def test_a_densely_connected_network_is_refused_by_name() -> None:
    layers = {"stem": conv_bn(3, 8), "grow": conv_bn(8, 4)}
    with pytest.raises(UserError, match=r"no residual block found: the concat 'concat' \(test_segment.py:\d+\)"):
        segment(traced(Calls(lambda self, x: torch.cat([y := self.stem(x), self.grow(y)], 1), **layers)))


def test_a_cross_stage_network_is_refused_by_name() -> None:
    def forward(self: Any, x: torch.Tensor) -> Any:
        x = self.stem(x)
        return torch.cat([x[:, :4], self.block(x[:, 4:])], 1)

    with pytest.raises(UserError, match=r"'block.add' \(replicas.py:\d+\) is not in the main path.*concat 'concat'"):
        segment(traced(Calls(forward, stem=conv_bn(3, 8), block=Residual(4, 4))))
