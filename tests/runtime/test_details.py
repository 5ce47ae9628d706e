from __future__ import annotations

import torch

from idsnn_convert.runtime.data import Split
from idsnn_convert.runtime.details import evaluate_in_detail
from idsnn_convert.runtime.evaluate import evaluate
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.network import SpikingNetwork, build
from idsnn_convert.runtime.normalisation import KNOWN
from tests import graphs

DRAW = torch.Generator().manual_seed(5)
LABELS = torch.randint(graphs.CLASSES, (30,), generator=DRAW)
SPLIT = Split(torch.randint(0, 256, (30, 3, 8, 8), dtype=torch.uint8, generator=DRAW), LABELS, graphs.CLASSES)


def test_a_spiking_network_in_one_pass(tiny_spiking_graph: Graph) -> None:
    network = SpikingNetwork(tiny_spiking_graph, graphs.random_tensors(tiny_spiking_graph), 3)
    plain = evaluate(network, SPLIT, KNOWN["none"])
    found = evaluate_in_detail(network, SPLIT, KNOWN["none"], thresholds=(1e-6, 0.5, 1.0), class_names="abcde")
    assert (found.top1, found.loss, found.top1_per_step) == (plain.top1, plain.loss, plain.top1_per_step)
    assert (found.exits[0].top1, found.exits[0].steps) == (plain.top1_per_step[0], (30, 0, 0))
    assert (found.exits[-1].top1, found.exits[-1].steps) == (plain.top1, (0, 0, 30))
    assert [row.name for row in found.firing] == [node.name for node in tiny_spiking_graph.of("neuron")]
    assert sum(map(sum, found.confusion.counts)) == 30
    assert sum(found.confusion.counts[k][k] for k in range(5)) == round(0.3 * plain.top1)
    assert found.name(1) == "b"


def test_a_teacher_has_neither_exits_nor_spikes(tiny_graph: Graph) -> None:
    network = build(tiny_graph, graphs.random_tensors(tiny_graph))
    found = evaluate_in_detail(network, SPLIT, KNOWN["none"], thresholds=(0.5,), graph=tiny_graph)
    assert (found.exits, found.firing, found.class_names) == ((), (), ())
    assert len(found.confusion.counts) == graphs.CLASSES
    assert found.name(1) == "1"
