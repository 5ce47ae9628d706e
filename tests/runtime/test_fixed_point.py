"""Convolutions of spikes in integers, against float64 with the weights they round to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fixed_point import (
    CODES,
    ONE,
    PAIR,
    IntegerConv2d,
    check_available,
    convolutions,
    decoded,
    digits,
    encoded,
    supported,
    writes_codes,
)
from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.fused import FusedNeuron
from idsnn_convert.runtime.fusion import fusions
from idsnn_convert.runtime.graph import Attr, Graph, Node
from idsnn_convert.runtime.inference import Inference
from idsnn_convert.runtime.kernels import can_compile
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.neurons import Neuron, SpikingNeuron
from tests import graphs

needs_bytes = pytest.mark.skipif(not supported(), reason="this processor does not multiply bytes (AVX-512 VNNI)")
needs_compiler = pytest.mark.skipif(not can_compile(torch.device("cpu")), reason="no C++ compiler here")
LIMIT = {8: 127, 16: 127 * 255 + 127}


def spikes_of(*shape: int) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) > 0.7).float()


def rounded(weight: Tensor, bits: int) -> Tensor:
    """The weights that the digits stand for, float64."""
    worth = weight.abs().amax((1, 2, 3), keepdim=True).double() / LIMIT[bits]
    return (weight.double() / worth).round() * worth


@pytest.mark.parametrize("bits", CODES)
def test_digits_stand_for_the_weights_to_half_a_unit(bits: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 3, 3, 3) * torch.tensor([1e-6, 1.0, 1e4, 0.3, 0.0]).view(-1, 1, 1, 1)
    found, worth = digits(weight, bits)
    assert worth.dtype == torch.float32
    assert all(digit.dtype == torch.int8 and digit.shape == weight.shape for digit in found)
    whole = torch.zeros(weight.shape, dtype=torch.float64)
    for digit in found:
        whole = 255 * whole + digit
    error = (whole * worth.double().view(-1, 1, 1, 1) - weight.double()).abs().amax((1, 2, 3))
    assert (error <= 0.5001 * worth.double()).all()
    assert whole.abs().amax((1, 2, 3)).tolist() == [LIMIT[bits]] * 4 + [0]


@pytest.mark.parametrize("bits", CODES)
@pytest.mark.parametrize("shape", [(4, 5, 3, 2), (1, 1, 1, 1), (0, 3, 2, 2)])
def test_spikes_come_back_from_their_bytes(bits: int, shape: tuple[int, ...]) -> None:
    spikes = spikes_of(*shape)
    found = encoded(spikes, CODES[bits])
    assert found.dtype == torch.uint8
    assert found.shape == (shape[0], shape[1] * bits // 8, *shape[2:])
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(decoded(found, shape[1]), spikes)
    assert decoded(spikes, shape[1]) is spikes


def test_a_pair_is_the_bytes_of_its_digits() -> None:
    assert torch.tensor([0.0, ONE[PAIR]], dtype=PAIR).view(torch.uint8).tolist() == [0, 0, 255, 1]


@needs_bytes
@pytest.mark.parametrize("bits", CODES)
@pytest.mark.parametrize(
    "settings",
    [{"kernel_size": 3, "padding": 1}, {"kernel_size": 1, "stride": 2, "bias": False}, {"kernel_size": 3, "dilation": 2}],
)
def test_a_convolution_rounds_its_weights_and_nothing_else(settings: dict[str, Any], bits: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(7, 6, **settings)
    layer, spikes = IntegerConv2d(conv, bits), spikes_of(3, 7, 9, 6)
    bias = None if conv.bias is None else conv.bias.double()
    wanted = F.conv2d(spikes.double(), rounded(conv.weight, bits), bias, conv.stride, conv.padding, conv.dilation)
    with torch.inference_mode():
        given = [layer(spikes), layer(encoded(spikes, CODES[bits])), layer(spikes_of(1, 7, 9, 6))]
    assert given[0].dtype == torch.float32
    assert torch.equal(given[0], given[1])
    assert torch.equal(given[2][0], layer_alone(conv, bits, spikes_of(1, 7, 9, 6))[0])
    torch.testing.assert_close(given[0].double(), wanted, rtol=1e-6, atol=1e-6)


def layer_alone(conv: nn.Conv2d, bits: int, spikes: Tensor) -> Tensor:
    with torch.inference_mode():
        found: Tensor = IntegerConv2d(conv, bits)(spikes)
    return found


@needs_bytes
def test_its_sums_do_not_depend_on_their_order() -> None:
    torch.manual_seed(0)
    conv, spikes = nn.Conv2d(64, 4, 3, bias=False), spikes_of(2, 64, 5, 5)
    order = torch.randperm(64)
    turned = nn.Conv2d(64, 4, 3, bias=False)
    turned.weight = nn.Parameter(conv.weight.detach()[:, order])
    assert torch.equal(layer_alone(conv, 16, spikes), layer_alone(turned, 16, spikes[:, order]))


@needs_bytes
def test_it_refuses_to_learn() -> None:
    layer = IntegerConv2d(nn.Conv2d(2, 2, 1), 8)
    with pytest.raises(ValueError, match="do not learn"):
        layer(spikes_of(1, 2, 3, 3))
    assert not list(layer.parameters())


def test_which_convolutions_and_which_neurons() -> None:
    graph = graphs.spiking()
    blocks = {"layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "layer2.0.conv2", "layer2.0.downsample.0"}
    assert convolutions(graph) == blocks  # not the stem, which sees images
    found = fusions(graph, frozenset())
    assert writes_codes(graph, found) == found.keys() - {"layer2.0.act2"}  # the last feeds the pool of the head


def sketch(*nodes: Node) -> Graph:
    return Graph((Node("x", "input", shape=(4, 4, 4)), *nodes, Node("out", "output", (nodes[-1].name,), shape=(4, 4, 4))))


def fire(name: str, source: str) -> Node:
    return Node(name, "neuron", (source,), Neuron().attrs(), (4, 4, 4))


def test_spikes_that_are_a_current_too_stay_floats() -> None:
    doubled = sketch(fire("a", "x"), Node("add", "add", ("a", "a"), {}, (4, 4, 4)), fire("b", "add"))
    attrs: dict[str, Attr] = {"channels": 4, "eps": 1e-5, "momentum": 0.1, "affine": True}
    normed = sketch(
        fire("a", "x"),
        Node("norm", "batch_norm", ("a",), attrs, (4, 4, 4)),
        Node("add", "add", ("norm", "a"), {}, (4, 4, 4)),
        fire("b", "add"),
    )
    for graph in (doubled, normed):
        found = fusions(graph, frozenset())
        assert found["b"].residual == "a"
        assert "a" not in writes_codes(graph, found)


@needs_bytes
def test_taps_give_spikes_and_not_their_bytes() -> None:
    graph = graphs.spiking()
    network = SpikingNetwork(graph, graphs.random_tensors(graph), 4, taps=["layer1.0.act1"], weight_bits=16).eval()
    with torch.inference_mode():
        _, (mean,) = network(torch.randn(2, 3, 8, 8), maps=True)
    assert mean.shape == (2, *graph["layer1.0.act1"].shape)
    assert set((4 * mean).unique().tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_told(wrong: float) -> None:
    weight = torch.randn(2, 2, 1, 1)
    weight[1, 0] = wrong
    with pytest.raises(UserError, match="NaN or infinite"):
        digits(weight, 8)


def test_a_convolution_whose_sums_would_not_fit_stays() -> None:
    def graph(channels: int, groups: int = 1) -> Graph:
        window: dict[str, Attr] = {
            "kernel": (3, 3),
            "stride": (1, 1),
            "padding": (1, 1),
            "dilation": (1, 1),
            "groups": groups,
            "bias": False,
        }
        return Graph(
            (
                Node("x", "input", shape=(channels, 4, 4)),
                Node("fire", "neuron", ("x",), Neuron().attrs(), (channels, 4, 4)),
                Node("conv", "conv2d", ("fire",), {"in_channels": channels, "out_channels": 8, **window}, (8, 4, 4)),
                Node("out", "output", ("conv",), shape=(8, 4, 4)),
            )
        )

    assert convolutions(graph(7000)) == {"conv"}
    assert not convolutions(graph(8000))
    assert not convolutions(graph(8, groups=2))


def pooled(graph: Graph) -> Graph:
    """``graph`` with a max pool between its stem's neuron and all that reads it."""
    nodes = []
    window: dict[str, Attr] = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "ceil_mode": False}
    for node in graph:
        inputs = tuple("pool" if name == "act1" else name for name in node.inputs)
        nodes.append(Node(node.name, node.op, inputs, node.attrs, node.shape))
        if node.name == "act1":
            nodes.append(Node("pool", "max_pool2d", ("act1",), window, node.shape))
    return Graph(tuple(nodes))


@needs_bytes
@pytest.mark.parametrize("bits", CODES)
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("time_steps", [1, 4])
def test_a_network_gives_what_its_rounded_weights_give(bits: int, pool: bool, time_steps: int) -> None:
    graph = pooled(graphs.spiking()) if pool else graphs.spiking()
    tensors = graphs.random_tensors(graph)
    integer = convolutions(graph)
    near = {
        name: rounded(tensor, bits).float() if name.removesuffix(".weight") in integer else tensor
        for name, tensor in tensors.items()
    }
    images = torch.randn(5, 3, 8, 8)
    with torch.inference_mode():
        wanted = SpikingNetwork(graph, near, time_steps).eval()(images)
        network = SpikingNetwork(graph, tensors, time_steps, weight_bits=bits).eval()
        found = network(images)
    assert isinstance(network.layer("layer1.0.conv1"), IntegerConv2d)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert network.tensors().keys() == tensors.keys()


@needs_bytes
@pytest.mark.parametrize("bits", CODES)
def test_no_images_give_no_answers(bits: int) -> None:
    graph = graphs.spiking()
    made = Checkpoint(graph, graphs.random_tensors(graph), 4)
    assert Inference(made, weight_bits=bits)(torch.empty(0, 3, 8, 8)).logits.shape == (0, graphs.CLASSES)


@needs_bytes
@needs_compiler
@pytest.mark.parametrize("bits", CODES)
def test_compiled_gives_the_same(bits: int) -> None:
    graph = graphs.spiking()
    made = Checkpoint(graph, graphs.random_tensors(graph), 4)
    images = torch.randn(5, 3, 8, 8)
    plain, compiled = (Inference(made, weight_bits=bits, compiled=each) for each in (False, True))
    assert torch.equal(plain(images).logits, compiled(images).logits)


@needs_bytes
@pytest.mark.parametrize("bits", CODES)
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.usefixtures("uncompiled")
def test_step_by_step_gives_the_same(bits: int, compiled: bool) -> None:
    graph = graphs.spiking()
    made = Checkpoint(graph, graphs.random_tensors(graph), 4)
    images = torch.randn(5, 3, 8, 8)
    found = Inference(made, weight_bits=bits, confidence=1.0, compiled=compiled)(images)
    assert torch.equal(found.logits, Inference(made, weight_bits=bits, compiled=compiled)(images).logits)


@pytest.mark.parametrize("code", ONE)
def test_codes_of_a_neuron_are_its_spikes(code: torch.dtype) -> None:
    torch.manual_seed(0)
    x, earlier = torch.randn(8, 3, 4, 5), spikes_of(8, 3, 4, 5)
    layer = SpikingNeuron(Neuron(), 4)
    with torch.no_grad():
        wanted = layer(x + earlier)
        found = FusedNeuron(layer, None, False, code)(x, encoded(earlier, code))
    assert torch.equal(decoded(found, 3), wanted)


def test_a_sum_of_a_current_and_spikes_takes_the_spikes_as_residual() -> None:
    graph, _ = fold(graphs.spiking(), graphs.random_tensors(graphs.spiking()))
    turned = Graph(tuple(Node(n.name, n.op, n.inputs[::-1] if n.op == "add" else n.inputs, n.attrs, n.shape) for n in graph))
    for each in (graph, turned):
        assert fusions(each, frozenset())["layer1.0.act2"].residual == "act1"


@pytest.mark.parametrize(("device", "bits", "problem"), [("cpu", 4, "weights of 4 bits"), ("cuda", 8, "which cuda does not")])
def test_what_cannot_be_done_is_told(device: str, bits: int, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        check_available(device, bits)


def test_a_processor_without_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu._is_vnni_supported", lambda: False)
    graph = graphs.spiking()
    with pytest.raises(UserError, match="which this processor does not"):
        Inference(Checkpoint(graph, graphs.random_tensors(graph), 4), weight_bits=8)
