from __future__ import annotations

from dataclasses import replace

from idsnn_convert.runtime.fusion import fusions
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.network import time_free_nodes


def test_norms_and_adds_ahead_of_neurons_are_found(tiny_spiking_graph: Graph) -> None:
    found = fusions(tiny_spiking_graph, time_free_nodes(tiny_spiking_graph, "direct"))
    assert set(found) == {"act1", "layer1.0.act1", "layer1.0.act2", "layer2.0.act1", "layer2.0.act2"}
    assert (found["act1"].source, found["act1"].absorbed) == ("conv1", ("bn1",))
    assert found["layer1.0.act1"].residual is None
    assert found["layer1.0.act2"].residual == "act1"
    assert found["layer1.0.act2"].absorbed == ("layer1.0.bn2", "layer1.0.add")
    assert found["layer2.0.act2"].residual == "layer2.0.downsample.1"


def test_a_norm_that_has_no_time_axis_is_not_taken_into_a_sum(tiny_spiking_graph: Graph) -> None:
    found = fusions(tiny_spiking_graph, frozenset({"layer1.0.bn2"}))["layer1.0.act2"]
    assert (found.source, found.norm, found.residual) == ("layer1.0.bn2", None, "act1")


def test_a_sum_that_has_no_time_axis_is_computed_before_the_neuron(tiny_spiking_graph: Graph) -> None:
    found = fusions(tiny_spiking_graph, frozenset({"layer1.0.add"}))["layer1.0.act2"]
    assert (found.source, found.absorbed) == ("layer1.0.add", ())


def test_what_others_read_is_left_alone(tiny_spiking_graph: Graph) -> None:
    nodes = list(tiny_spiking_graph.nodes)
    place = nodes.index(tiny_spiking_graph["layer2.0.conv1"])
    for read, neuron in (("layer1.0.bn1", "layer1.0.act1"), ("layer1.0.add", "layer1.0.act2")):
        tap = Node("tap", "add", (read, "layer1.0.act2"), {}, (4, 8, 8))
        found = fusions(Graph((*nodes[:place], tap, *nodes[place:])), frozenset())[neuron]
        assert (found.source, found.absorbed) == (read, ())


def test_a_norm_without_weights_is_left_alone(tiny_spiking_graph: Graph) -> None:
    norm = tiny_spiking_graph["layer1.0.bn1"]
    plain = tiny_spiking_graph.with_nodes({norm.name: replace(norm, attrs={**norm.attrs, "affine": False})})
    assert fusions(plain, frozenset())["layer1.0.act1"].absorbed == ()


def test_a_norm_added_to_itself_is_left_alone(tiny_spiking_graph: Graph) -> None:
    add = tiny_spiking_graph["layer1.0.add"]
    doubled = tiny_spiking_graph.with_nodes({add.name: replace(add, inputs=("layer1.0.bn2", "layer1.0.bn2"))})
    found = fusions(doubled, frozenset())["layer1.0.act2"]
    assert (found.norm, found.source, found.residual) == (None, "layer1.0.bn2", "layer1.0.bn2")


def test_without_a_norm_the_sum_is_taken_in(tiny_spiking_graph: Graph) -> None:
    add = tiny_spiking_graph["layer1.0.add"]
    sums = tiny_spiking_graph.with_nodes({add.name: replace(add, inputs=("layer1.0.conv2", "act1"))})
    found = fusions(sums, frozenset())["layer1.0.act2"]
    assert (found.source, found.norm, found.residual, found.absorbed) == ("layer1.0.conv2", None, "act1", ("layer1.0.add",))


def test_a_neuron_that_learns_is_left_alone(tiny_spiking_graph: Graph) -> None:
    node = tiny_spiking_graph["layer1.0.act1"]
    graph = tiny_spiking_graph.with_nodes({node.name: replace(node, attrs={**node.attrs, "learn_threshold": True})})
    assert node.name in fusions(tiny_spiking_graph, frozenset())
    assert node.name not in fusions(graph, frozenset())
