from __future__ import annotations

import pytest
import torch
from torch import nn

from idsnn_convert.passes.chain.archs import CHAINS, Chain
from idsnn_convert.passes.chain.module import ChainNet, ResidualBlock
from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.spike import spike
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.neurons import Neuron

torch.set_num_threads(1)


def net(chain: Chain, size: int = 16) -> ChainNet:
    return ChainNet(chain, (3, size, size), 5, lambda channels: max(1, channels // 16)).eval()


@pytest.mark.parametrize("name", CHAINS)
def test_the_canonical_graph_computes_what_the_module_does(name: str) -> None:
    network = net(CHAINS[name], 32)
    images = torch.rand(2, 3, 32, 32)
    traced = trace_known(network, (3, 32, 32))
    assert torch.equal(build(traced.graph, traced.tensors).eval()(images), network(images))


def test_a_chain_by_hand() -> None:
    """The pool follows its convolution's activation; what is before the classifier has a neuron and a dropout of its own."""
    network = net(Chain("32 D 32k5 A", hidden=(16,), dropout=(0.1, 0.4)))
    names = ["conv1", "relu1", "drop1", "conv2", "relu2", "pool1", "flatten", "fc1", "relu_fc1", "drop_fc1", "fc"]
    assert [name for name, _ in network.named_children()] == names
    assert (network.drop1.p, network.drop_fc1.p) == (0.1, 0.4)
    assert network.fc1.in_features == 2 * 8 * 8
    assert [key for key in network.state_dict() if "bias" in key] == []
    x = torch.rand(1, 3, 16, 16)
    by_hand = nn.functional.avg_pool2d(network.conv2(network.conv1(x).relu()).relu(), 2).flatten(1)
    assert torch.equal(network(x), network.fc(network.fc1(by_hand).relu()))


def test_one_neuron_for_each_activation() -> None:
    network = net(CHAINS["resnet12"], 32)
    spiking = spike(trace_known(network, (3, 32, 32)).graph, Neuron())
    assert [node.name for node in spiking.of("neuron")][:5] == ["lif1", "lif2", "lif3", "block1.lif1", "block1.lif2"]


def test_a_block_projects_exactly_where_its_shape_changes() -> None:
    assert ResidualBlock(4, 4, 1, 0.2).downsample is None
    for entry, stride in ((3, 1), (4, 2)):
        block = ResidualBlock(entry, 4, stride, 0.2).eval()
        x = torch.rand(1, entry, 8, 8)
        assert isinstance(block.downsample, nn.Conv2d)
        by_hand = (block.conv2(block.conv1(x).relu()) + block.downsample(x)).relu()
        assert torch.equal(block(x), by_hand)


def test_norms_bring_biases() -> None:
    network = net(CHAINS["vgg16_bn"], 32)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 13
    assert all(module.bias is not None for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear))


def test_images_too_small_for_the_pools_are_refused() -> None:
    with pytest.raises(UserError, match=r"4x4 are too small for its pools[\s\S]*larger images"):
        net(Chain("32 A 32 A 32 A"), 4)
