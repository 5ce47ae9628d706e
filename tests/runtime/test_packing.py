from __future__ import annotations

import pytest
import torch

from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.packing import packed, spiking, unpacked
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
