from __future__ import annotations

import pytest
import torch

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.firing import watched
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.probe import evenly, probe
from tests.graphs import random_tensors


def test_potentials_and_spikes_by_hand() -> None:
    # decay 1/4, threshold 1/2, hard reset: .45 .5625 .45; .9 .9 .9; .1 .125 .13125
    nodes = (Node("x", "input", shape=(3,)), Node("lif", "neuron", ("x",), Neuron().attrs(), (3,)))
    alone = Graph((*nodes, Node("out", "output", ("lif",), shape=(3,))))
    found = probe(Checkpoint(alone, {}, 3), torch.tensor([0.45, 0.9, 0.1]))
    (layer,) = found.layers
    assert (layer.name, layer.shape, layer.v_threshold, layer.neurons) == ("lif", (3,), 0.5, (0, 1, 2))
    for row, wanted in zip(layer.potentials, [(0.45, 0.5625, 0.45), (0.9, 0.9, 0.9), (0.1, 0.125, 0.13125)], strict=True):
        assert row == pytest.approx(wanted)
    assert layer.spikes == ((False, True, False), (True, True, True), (False, False, False))
    assert layer.rate == pytest.approx(4 / 9)
    assert found.answers.shape == (3, 3)


def test_it_follows_what_the_network_does(tiny_spiking_graph: Graph) -> None:
    checkpoint = Checkpoint(tiny_spiking_graph, random_tensors(tiny_spiking_graph), 4)
    image = torch.randn(tiny_spiking_graph.input_shape, generator=torch.Generator().manual_seed(1))
    network = SpikingNetwork(tiny_spiking_graph, checkpoint.tensors, 4).eval()
    with watched(network) as firing, torch.inference_mode():
        logits = network(image[None])
    found = probe(checkpoint, image, neurons=10**6)
    assert [layer.name for layer in found.layers] == [row.name for row in firing.found()]
    torch.testing.assert_close(found.answers[-1], logits.mean(0)[0])
    for layer, row in zip(found.layers, firing.found(), strict=True):
        assert layer.rate == pytest.approx(row.rate)
        spikes = torch.tensor(layer.spikes)
        assert spikes.double().mean().item() == pytest.approx(row.rate, abs=1e-3)  # all neurons were drawn
        assert torch.equal(spikes, torch.tensor(layer.potentials) > layer.v_threshold)


def test_the_same_seed_draws_the_same_neurons(tiny_spiking_graph: Graph) -> None:
    checkpoint = Checkpoint(tiny_spiking_graph, random_tensors(tiny_spiking_graph), 2)
    image = torch.ones(tiny_spiking_graph.input_shape)
    first, again, other = (probe(checkpoint, image, seed=seed, layers=2, neurons=3).layers for seed in (0, 0, 1))
    assert first == again
    assert [len(layer.neurons) for layer in first] == [3, 3]
    assert [layer.neurons for layer in first] != [layer.neurons for layer in other]


@pytest.mark.parametrize(
    ("there", "wanted", "found"), [(3, 5, [0, 1, 2]), (5, 3, [0, 2, 4]), (9, 1, [0]), (0, 4, []), (150, 4, [0, 50, 99, 149])]
)
def test_layers_are_taken_evenly(there: int, wanted: int, found: list[int]) -> None:
    assert list(evenly(there, wanted)) == found
