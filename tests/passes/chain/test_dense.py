from __future__ import annotations

import pytest
import torch

from idsnn_convert.passes.chain.dense import DENSE, Dense, DenseLayer, DenseNet
from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.resnet.spec import Stem
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.network import build

torch.set_num_threads(1)
SMALL = Dense((2, 3), growth=4, stem=8)


def net(size: int = 16, **stem: bool) -> DenseNet:
    return DenseNet(SMALL, Stem(8, **stem), (3, size, size), 5, lambda channels: channels).eval()  # type: ignore[arg-type]


def test_a_layer_joins_what_it_gives_to_what_it_was_given() -> None:
    layer = DenseLayer(6, 4).eval()
    x = torch.rand(1, 6, 8, 8)
    joined = layer(x)
    assert torch.equal(joined[:, :6], x)
    assert torch.equal(joined[:, 6:], layer.conv2(layer.relu2(layer.bn2(layer.conv1(layer.relu1(layer.bn1(x)))))))
    assert layer.conv1.out_channels == 16


def test_the_canonical_graph_computes_what_the_module_does() -> None:
    network = net()
    images = torch.rand(2, 3, 16, 16)
    traced = trace_known(network, (3, 16, 16))
    assert len(traced.graph.of("concat")) == 5
    assert torch.equal(build(traced.graph, traced.tensors).eval()(images), network(images))


def test_transitions_halve_channels_and_size() -> None:
    shapes = {node.name: node.shape for node in trace_known(net(), (3, 16, 16)).graph}
    assert shapes["dense1.1.concat"] == (16, 16, 16)
    assert shapes["transition1.pool"] == (8, 8, 8)
    assert shapes["dense2.2.concat"] == (20, 8, 8)


def test_the_published_network_has_its_number_of_layers() -> None:
    """Two convolutions a layer, three transitions, stem and classifier."""
    assert 2 * sum(DENSE["densenet121"].depths) + 3 + 2 == 121


def test_images_too_small_for_the_pools_are_refused() -> None:
    net(2)
    with pytest.raises(UserError, match="2x2 are too small for its pools"):
        net(2, pool=True)
