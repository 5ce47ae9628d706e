from __future__ import annotations

import pytest

from idsnn_convert.passes.spike import spike
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.ops import check, tensor_shapes
from tests.passes.made import network, spec


def test_every_site_becomes_its_own_neuron_and_nothing_else_changes() -> None:
    ann = network(spec()).graph
    spiking = spike(ann, Neuron(v_threshold=0.7))
    check(spiking)
    assert len(spiking.of("neuron")) == len(ann.of("activation")) == 13
    assert not spiking.of("activation")
    assert all(node.attr("v_threshold") == 0.7 for node in spiking.of("neuron"))
    assert tensor_shapes(spiking) == tensor_shapes(ann)
    assert [node.op for node in spiking] == ["neuron" if node.op == "activation" else node.op for node in ann]
    assert [node.shape for node in spiking] == [node.shape for node in ann]


def relus(*names: str) -> Graph:
    chain = ["x", *names]
    nodes = [
        Node(name, "activation", (before,), {"kind": "relu"}, (2, 2, 2)) for before, name in zip(chain, names, strict=False)
    ]
    return Graph((Node("x", "input", shape=(2, 2, 2)), *nodes, Node("out", "output", (chain[-1],), {}, (2, 2, 2))))


def test_neurons_are_named_after_what_they_are() -> None:
    spiking = spike(relus("relu", "layer1.0.relu_1", "layer1.0.act2", "layer1.0.lif", "head.nonlinearity"), Neuron())
    assert [node.name for node in spiking.of("neuron")] == [
        "lif",
        "layer1.0.lif_1",
        "layer1.0.lif2",
        "layer1.0.lif",
        "head.nonlinearity_lif",
    ]
    check(spiking)


def test_names_stay_unique() -> None:
    spiking = spike(relus("relu", "ReLU", "lif"), Neuron())
    names = [node.name for node in spiking]
    assert len(set(names)) == len(names)
    check(spiking)


def test_a_network_without_activations_is_refused() -> None:
    with pytest.raises(UserError, match="no activation"):
        spike(relus(), Neuron())
