from __future__ import annotations

import pytest
import torch

from idsnn_convert.runtime.firing import DEAD, SATURATED, LayerFiring, rated, watched
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.neurons import Neuron
from tests.graphs import random_tensors


def neuron_alone() -> SpikingNetwork:
    """One neuron layer of four features behind the image, decay 1/4, threshold 1/2."""
    nodes = (Node("x", "input", shape=(4,)), Node("lif", "neuron", ("x",), Neuron().attrs(), (4,)))
    return SpikingNetwork(Graph((*nodes, Node("out", "output", ("lif",), shape=(4,)))), {}, 2)


def test_rates_by_hand() -> None:
    # Feature 0 never fires, 1 always; 2 at step 2 alone (.45, .5625); 3 always for the second image.
    network = neuron_alone()
    with watched(network) as firing:
        network(torch.tensor([[0.1, 0.9, 0.45, 0.1]]))
        network(torch.tensor([[0.1, 0.9, 0.45, 0.9]]))
    (row,) = firing.found()
    assert (row.name, row.shape) == ("lif", (4,))
    assert row.rate == pytest.approx((0 + 4 + 2 + 2) / 16)
    assert (row.silent, row.constant) == (0.25, 0.25)


def test_nothing_is_counted_afterwards() -> None:
    network = neuron_alone()
    with watched(network) as firing:
        network(torch.ones(1, 4))
    before = firing.found()
    network(torch.zeros(3, 4))
    assert firing.found() == before


@pytest.mark.parametrize(("rate", "flag"), [(0.0, "dead"), (DEAD, ""), (0.2, ""), (SATURATED, ""), (1.0, "saturated")])
def test_flags(rate: float, flag: str) -> None:
    assert LayerFiring("lif", (4,), rate, 0, 0).flag == flag


def test_fused_layers_are_counted_too(tiny_spiking_graph: Graph) -> None:
    tensors, images = random_tensors(tiny_spiking_graph), torch.randn(6, 3, 8, 8)
    found = []
    for fused in (False, True):
        network = SpikingNetwork(tiny_spiking_graph, tensors, 4, fused=fused).eval()
        with watched(network) as firing, torch.no_grad():
            network(images)
        found.append(firing.found())
    assert [row.name for row in found[0]] == [node.name for node in tiny_spiking_graph.of("neuron")]
    assert found[0] == found[1]


def test_rates_alone_are_those_of_the_whole_count(tiny_spiking_graph: Graph) -> None:
    network = SpikingNetwork(tiny_spiking_graph, random_tensors(tiny_spiking_graph), 3)
    images = torch.randn(5, *tiny_spiking_graph.input_shape, generator=torch.Generator().manual_seed(0))
    with watched(network) as firing, rated(network) as rates:
        for some in images.split(2):
            network(some)
    assert rates.found() == pytest.approx({row.name: row.rate for row in firing.found()})
    assert list(rates.found()) == [node.name for node in tiny_spiking_graph.of("neuron")]


def test_a_network_without_neurons_has_no_rates() -> None:
    with rated(torch.nn.Linear(2, 2)) as rates:
        pass
    assert rates.found() == {}
