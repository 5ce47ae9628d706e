from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.packing import PackedConv2d, packed, spiking, unpacked
from tests.graphs import random_tensors


def spikes_of(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) > 0.7).to(dtype)


@pytest.mark.parametrize("shape", [(4, 5, 3, 3), (2, 8, 4, 4), (1, 1, 1, 1), (3, 7, 5, 1), (0, 3, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_spikes_come_back_from_an_eighth_of_a_byte_each(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    spikes = spikes_of(*shape, dtype=dtype)
    code = packed(spikes)
    assert (code.dtype, code.numel()) == (torch.uint8, -(-spikes.numel() // 8))
    assert torch.equal(unpacked(code, spikes.shape, dtype), spikes)


@pytest.mark.parametrize("settings", [{"padding": 1, "bias": False}, {"stride": 2, "groups": 2}, {"dilation": 2}])
@pytest.mark.parametrize("half", [False, True])
def test_gradients_are_those_of_the_convolution(settings: dict[str, Any], half: bool) -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv2d(4, 6, 3, **settings), spikes_of(3, 4, 7, 5)
    found = []
    for layer in (conv, PackedConv2d(conv)):
        spikes = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = layer(spikes)
        found.append([out, *torch.autograd.grad(out.float().square().sum(), [spikes, *conv.parameters()])])
    assert found[0][0].dtype == found[1][0].dtype
    torch.testing.assert_close(found[1], found[0], rtol=1e-6 if not half else 1e-2, atol=1e-5 if not half else 1e-2)


def test_a_network_keeps_less_and_learns_the_same(tiny_spiking_graph: Graph) -> None:
    assert spiking(tiny_spiking_graph) == {
        "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "layer2.0.conv2", "layer2.0.downsample.0"
    }  # fmt: skip
    tensors, images = random_tensors(tiny_spiking_graph), torch.randn(6, 3, 8, 8)
    gradients, kept = [], []
    for pack in (False, True):
        network = SpikingNetwork(tiny_spiking_graph, tensors, 4, pack_spikes=pack)
        saved: dict[int, int] = {}

        def note(tensor: torch.Tensor, saved: dict[int, int] = saved) -> torch.Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor.view_as(tensor)

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = network(images).square().sum()
        loss.backward()
        kept.append(sum(saved.values()))
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters()})
        assert list(network.tensors()) == list(tensors)
    torch.testing.assert_close(gradients[1], gradients[0])
    assert kept[1] < 0.75 * kept[0]
