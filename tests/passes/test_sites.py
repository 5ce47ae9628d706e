from __future__ import annotations

from idsnn_convert.passes.match import match, onto_itself
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.sites import Site, sites
from idsnn_convert.passes.spike import spike
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.neurons import Neuron
from tests.passes.made import network, spec


def found(target: Graph, teacher: Graph) -> dict[str, Site]:
    plan = match(segment(target), segment(teacher))
    return {site.neuron: site for site in sites(plan, target, spike(target, Neuron()), teacher)}


def test_every_neuron_has_its_activation_in_the_teachers_block() -> None:
    deep, shallow = network(spec(depths=(3, 3))).graph, network(spec(depths=(2, 1))).graph
    rows = found(shallow, deep)
    assert list(rows) == [node.name for node in spike(shallow, Neuron()).of("neuron")]
    assert (rows["lif"].teacher, rows["lif"].place, rows["lif"].source) == ("relu", "stem", deep["relu"].source)
    assert (rows["layer1.1.lif1"].teacher, rows["layer1.1.lif1"].place) == ("layer1.2.relu1", "stage1.block1")
    assert (rows["layer1.1.lif2"].teacher, rows["layer1.1.lif2"].activation) == ("layer1.2.relu2", "relu")
    assert rows["layer2.0.lif1"].teacher_activation == "relu"


def test_a_neuron_without_a_counterpart_says_so() -> None:
    bottlenecks = network(spec(block="bottleneck", depths=(1, 1))).graph
    silent = network(spec(depths=(1, 1), after_add="none")).graph
    rows = found(bottlenecks, silent)  # three neurons a block for one activation
    assert [site.teacher for site in rows.values() if site.place == "stage1.block0"] == ["layer1.0.relu1"] * 3
    rows = found(network(spec(depths=(1, 1), hidden=6)).graph, silent)
    assert [(site.teacher, site.teacher_activation, site.source) for site in rows.values() if site.place == "head"] == [
        (None, "", "")
    ]


def test_its_own_graph_has_each_site_where_it_was() -> None:
    graph = network(spec()).graph
    rows = sites(onto_itself(graph), graph, spike(graph, Neuron()), graph)
    assert [site.teacher for site in rows] == [node.name for node in graph.of("activation")]
