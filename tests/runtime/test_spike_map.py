"""The spike activation map by hand, against loops over spike times in float64, and in pieces."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.spike_map import SpikeMap, spike_map
from tests import graphs


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return (torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) < 0.4).double()


def by_spike_times(spikes: Tensor, gamma: float) -> Tensor:
    """Eq. 11 as it is written: for every neuron a list of the times it fired at."""
    steps, images, channels, height, width = spikes.shape
    found = torch.zeros(steps, images, 1, height, width, dtype=torch.float64)
    for b in range(images):
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    times = [t for t in range(steps) if spikes[t, b, c, i, j]]
                    for t in times:
                        found[t, b, 0, i, j] += sum(math.exp(-gamma * (t - before)) for before in times if before < t)
    return found


def test_a_case_by_hand() -> None:
    # gamma = ln 2, so a spike is worth 1/2, 1/4, 1/8 after 1, 2, 3 steps. One place, two channels:
    # the first fires at 0, 1, 3: nothing before; 1/2; 1/8 + 1/4. The second at 0, 3: nothing; 1/8.
    spikes = torch.tensor([[1, 1], [1, 0], [0, 0], [1, 1]], dtype=torch.float64).view(4, 1, 2, 1, 1)
    maps, trace = spike_map(spikes, math.log(2))
    assert maps.flatten().tolist() == pytest.approx([0, 1 / 2, 0, 3 / 8 + 1 / 8])
    assert trace.flatten().tolist() == pytest.approx([1 / 16 + 1 / 8 + 1 / 2, 1 / 16 + 1 / 2])


def test_equal_to_sums_over_spike_times() -> None:
    spikes = drawn(7, 2, 3, 2, 2)
    torch.testing.assert_close(spike_map(spikes, 0.5)[0], by_spike_times(spikes, 0.5), rtol=1e-12, atol=1e-14)


def test_the_gradient_reaches_spikes_and_trace() -> None:
    given = (drawn(4, 2, 3, 2, 1).requires_grad_(), drawn(2, 3, 2, 1, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(lambda spikes, trace: spike_map(spikes, 0.7, trace), given)


def test_the_layer_in_pieces_is_the_layer_at_once() -> None:
    spikes, layer = drawn(5, 2, 3, 2, 2), SpikeMap(0.5, time_steps=5)
    whole = layer(spikes.flatten(0, 1))
    layer.carries, parts = True, []
    for part in spikes.split([2, 3]):
        layer.time_steps = len(part)
        parts.append(layer(part.flatten(0, 1)))
        layer.start = layer.end
    torch.testing.assert_close(torch.cat(parts), whole)
    assert whole.shape == (10, 1, 2, 2)


TAPS = ("layer1.0.act2", "layer2.0.act2")


def mapped(chunk: int | None) -> tuple[Tensor, ...]:
    """The mean maps of a network at both ends of its blocks, and the gradient of its first weight."""
    graph, tensors = fold(graphs.spiking(), graphs.random_tensors(graphs.spiking()))
    network = SpikingNetwork(graph, tensors, 5, taps=TAPS, gamma=0.5)
    network.time_chunk = chunk
    _, maps = network(torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)), maps=True)
    sum(value.square().sum() for value in maps).backward()
    (name, weight), *_ = network.body.named_parameters()
    assert weight.grad is not None, name
    return (*maps, weight.grad)


def test_a_network_gives_the_mean_map_of_its_taps() -> None:
    graph, tensors = graphs.spiking(), graphs.random_tensors(graphs.spiking())
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    network = SpikingNetwork(graph, tensors, 5, taps=TAPS, gamma=0.5).eval()
    seen: list[Tensor] = []
    network.layer(TAPS[0]).register_forward_hook(lambda module, inputs, spikes: seen.append(spikes))
    _, maps = network(images, maps=True)
    torch.testing.assert_close(maps[0], spike_map(seen[0].unflatten(0, (5, 3)), 0.5)[0].mean(0))
    assert [tuple(value.shape) for value in maps] == [(3, 1, 8, 8), (3, 1, 4, 4)]
    assert network.tensors().keys() == tensors.keys()


def test_chunks_of_time_give_the_same_maps_and_gradients() -> None:
    for whole, parts in zip(mapped(None), mapped(2), strict=True):
        assert whole.abs().max() > 0
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)
