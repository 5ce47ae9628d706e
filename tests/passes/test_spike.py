from __future__ import annotations

import pytest
import torch

from idsnn_convert.passes.spike import spike
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fused import FusedNeuron
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.ops import check, tensor_shapes
from tests import graphs
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


AFTER = {"plain": "block"}


def scalar(residual: str, branch: tuple[float, float]) -> list[float]:
    """Logits over four steps of a network of one block on one pixel, whose every layer multiplies by a number.

    The image is 0.6, the stem and the head multiply by 1, the block's two convolutions by ``branch``.
    """
    graph = network(
        spec((1,), (1,), in_channels=1, input_size=1, classes=1, residual=residual, after_add=AFTER.get(residual, "none"))
    ).graph
    tensors = {}
    for name, shape in tensor_shapes(graph).items():
        layer, _, slot = name.rpartition(".")
        fill = {"bias": 0.0, "running_mean": 0.0, "running_var": 1 - 1e-5}.get(slot, 1.0)
        tensors[name] = torch.full(shape, fill)
        if layer.endswith(("0.conv1", "0.conv2")):
            tensors[name] *= branch[layer.endswith("2")]
    snn = SpikingNetwork(spike(graph, Neuron(decay=0.25, v_threshold=0.5)), tensors, 4).eval()
    return snn(torch.full((1, 1, 1, 1), 0.6)).flatten().tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("residual", "branch", "expected"),
    [
        # The stem fires at every step: b = 1, 1, 1, 1. The first neuron gets 0.45: U = 0.45, 0.5625 -> 0, 1, 0, 1.
        # Behind a weight of 1 the branch's last one fires with it: a = 0, 1, 0, 1.
        ("sew-add", (0.45, 1.0), [1, 2, 1, 2]),
        ("sew-and", (0.45, 1.0), [0, 1, 0, 1]),
        ("sew-iand", (0.45, 1.0), [1, 0, 1, 0]),
        # The same branch, unfired, added to the spikes of the stem: currents 1, 0.4, 1, 0.4 -> U = 1, 0.4, 1.1, 0.4.
        ("plain", (0.45, -0.6), [1, 0, 1, 0]),
        # Currents of the stem, 0.6, fire at every step; the branch takes 0, 0.2, 0, 0.2 from them: 0.6, 0.4, 0.6, 0.4
        # -> U = 0.6, 0.4, 0.7, 0.4. Were the shortcut spikes, 1 - 0.2 would fire too.
        ("ms", (0.45, -0.2), [1, 0, 1, 0]),
    ],
)
def test_each_kind_of_block_by_hand(residual: str, branch: tuple[float, float], expected: list[float]) -> None:
    assert scalar(residual, branch) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("residual", "count"), [("plain", 13), ("sew-add", 14), ("sew-and", 14), ("sew-iand", 14), ("ms", 13)])
def test_fused_kernels_leave_every_kind_of_block_as_it_is(residual: str, count: int) -> None:
    """The stem's, two of each of six blocks, SEW's projection's; ``ms``: behind a norm or on its own."""
    made = network(spec(residual=residual, after_add=AFTER.get(residual, "none")))
    graph = spike(made.graph, Neuron())
    plain, fused = (SpikingNetwork(graph, made.tensors, 3, fused=fuse) for fuse in (False, True))
    layers = [layer for layer in fused.modules() if isinstance(layer, FusedNeuron)]
    assert len(layers) == count
    images = torch.randn(2, 3, 8, 8)
    for mode in (True, False):
        torch.testing.assert_close(fused.train(mode)(images), plain.train(mode)(images))


def test_neurons_without_leak_get_names_that_submodules_can_have() -> None:
    traced = network(spec())
    spiking = spike(traced.graph, Neuron(kind="if", decay=1.0))
    assert spiking.of("neuron")[0].name == "if_"
    assert spiking.of("neuron")[1].name == "layer1.0.if_1"
    check(spiking)


def test_a_site_that_brings_its_neuron_keeps_it_and_its_name() -> None:
    own = Neuron("if", 2.0, 1.0, "soft")
    spiking = spike(graphs.ann(), Neuron(), {"act1": own})
    assert spiking["act1"].attrs == own.attrs()
    others = [node for node in spiking.of("neuron") if node.name != "act1"]
    assert len(others) == len(graphs.ann().of("activation")) - 1
    assert all(node.attrs == Neuron().attrs() for node in others)
