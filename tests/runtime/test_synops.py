from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.synops import Work, count, fan_out
from tests import graphs

STEPS = 3
GRAPH = graphs.spiking(shape=(3, 7, 9))
IMAGES = torch.randn(4, 3, 7, 9, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3])


def network(encoder: str = "direct", steps: int = STEPS) -> SpikingNetwork:
    return SpikingNetwork(GRAPH, graphs.random_tensors(GRAPH), steps, encoder).eval()


def counted(encoder: str = "direct") -> Work:
    return count(network(encoder), [(IMAGES[:3], LABELS[:3]), (IMAGES[3:], LABELS[3:])])


def by_hand(x: torch.Tensor, conv: nn.Conv2d) -> int:
    """One by one: every output, every weight of its window, every input under it."""
    total = 0
    weight, groups = conv.weight, conv.groups
    out, per = conv(x).shape, conv.in_channels // conv.groups
    for b, o, i, j in itertools.product(*map(range, out)):
        for c, m, n in itertools.product(*map(range, weight.shape[1:])):
            row = i * conv.stride[0] - int(conv.padding[0]) + m * conv.dilation[0]
            column = j * conv.stride[1] - int(conv.padding[1]) + n * conv.dilation[1]
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3] and weight[o, c, m, n] != 0:
                total += int(x[b, (o // (conv.out_channels // groups)) * per + c, row, column] != 0)
    return total


def forward_count(x: torch.Tensor, conv: nn.Conv2d) -> int:
    """The same, seen from the outputs."""
    nonzero = nn.Conv2d.__new__(nn.Conv2d)
    nonzero.__dict__.update(conv.__dict__)
    nonzero._parameters = {"weight": nn.Parameter((conv.weight != 0).double()), "bias": None}
    return int(nonzero((x != 0).double()).sum())


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 6, 3, padding=1),
        nn.Conv2d(4, 6, (3, 2), stride=(2, 3), padding=(1, 0), groups=2),
        nn.Conv2d(4, 4, 3, stride=2, padding=2, dilation=2, groups=4, bias=False),
        nn.Conv2d(4, 2, 1, stride=2),
    ],
)
def test_a_convolutions_operations_are_counted_to_the_unit(conv: nn.Conv2d) -> None:
    with torch.no_grad():
        conv.weight[0, 0] = 0
    x = (torch.rand(2, 4, 6, 7, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    assert int(((x != 0).double() * fan_out(conv, (4, 6, 7))).sum()) == by_hand(x, conv) == forward_count(x, conv)
    with torch.no_grad():
        conv.weight.fill_(1)
    assert int(2 * fan_out(conv, (4, 6, 7), dense=True).sum()) == by_hand(torch.ones_like(x), conv)


def test_a_linear_layers_operations_are_counted_to_the_unit() -> None:
    linear = nn.Linear(3, 4)
    with torch.no_grad():
        linear.weight[:, 1] = 0
        linear.weight[0, 0] = 0
    assert fan_out(linear, (3,)).tolist() == [3, 0, 4]
    assert fan_out(linear, (3,), dense=True).tolist() == [4, 4, 4]


def test_a_whole_network_equals_a_count_of_every_layer_and_step() -> None:
    net, seen = network(), {}
    for node in GRAPH.of("conv2d"):
        net.layer(node.name).register_forward_hook(
            lambda module, inputs, output, name=node.name: seen.update({name: (module, inputs[0])})
        )
    with torch.no_grad():
        net(IMAGES)
    work = counted()
    for layer in work.layers:
        if layer.op == "linear":
            continue
        module, x = seen[layer.name]
        steps = [x] * STEPS if layer.name == "conv1" else x.unflatten(0, (STEPS, 4))
        assert [4 * value for value in layer.operations] == [forward_count(part, module) for part in steps]


def test_layers_that_see_spikes_accumulate_and_the_others_multiply() -> None:
    work = counted()
    multiply = {layer.name for layer in work.layers if not layer.spiking}
    assert multiply == {"conv1", "fc"}  # analog images; spikes averaged over a map
    assert work.acs() == sum(layer.total for layer in work.layers if layer.spiking)
    assert work.macs() == sum(layer.total for layer in work.layers if not layer.spiking)
    assert work.acs() > work.acs(1) > 0
    assert work.dense_macs == sum(layer.dense for layer in work.layers)


def test_what_is_the_same_at_every_step_says_so_and_counts_at_each() -> None:
    stem = counted().layers[0]
    assert (stem.name, stem.once) == ("conv1", True)
    assert len(set(stem.operations)) == 1
    assert stem.density == 1
    assert not any(layer.once for layer in counted().layers[1:])
    drawn = counted("poisson").layers[0]
    assert (drawn.spiking, drawn.once) == (True, False)
    assert drawn.density < 1


def test_spikes_are_counted_for_every_neuron() -> None:
    net, spikes = network(), {}
    for node in GRAPH.of("neuron"):
        net.layer(node.name).register_forward_hook(lambda module, inputs, output, name=node.name: spikes.update({name: output}))
    with torch.no_grad():
        net(IMAGES)
    for neuron in counted().neurons:
        fired = spikes[neuron.name].unflatten(0, (STEPS, 4)).flatten(1)
        assert [4 * value for value in neuron.spikes] == fired.sum(1).tolist()
        assert neuron.rate == pytest.approx(fired.mean().item())


def test_the_accuracy_of_every_number_of_steps_comes_with_it() -> None:
    with torch.no_grad():
        logits = network()(IMAGES)
    right = [100 * (logits[: t + 1].mean(0).argmax(1) == LABELS).float().mean().item() for t in range(STEPS)]
    assert list(counted().top1_per_step) == right


def test_no_hook_stays_and_no_images_are_refused() -> None:
    net = network()
    count(net, [(IMAGES, LABELS)])
    assert not any(module._forward_hooks for module in net.modules())
    with pytest.raises(ValueError, match="no images"):
        count(net, [])


def test_a_silent_network_does_nothing_after_its_stem() -> None:
    graph = graphs.spiking(shape=(3, 7, 9), neuron=Neuron(v_threshold=1e9))
    work = count(SpikingNetwork(graph, graphs.random_tensors(graph), 2), [(IMAGES, LABELS)])
    assert work.acs() == 0
    assert work.macs() == work.layers[0].total


@pytest.mark.parametrize(
    ("neuron", "macs", "acs"),
    [(Neuron(), 18093.0, 36129.6), (Neuron("if", decay=1.0, reset="soft"), 18098.0, 44556.0)],
)
def test_the_counts_are_those_of_neurobench(neuron: Neuron, macs: float, acs: float) -> None:
    """What neurobench 2.3.0 gave for this network and these images, by ``benchmarks/neurobench_equal.py``."""
    graph = graphs.spiking(neuron=neuron)
    tensors = graphs.random_tensors(graph)
    tensors["layer1.0.conv1.weight"][:, 0] = 0
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images[:, :, :2] = 0
    work = count(SpikingNetwork(graph, tensors, 4, fused=False), [(images, torch.zeros(5))])
    assert [work.macs(), work.acs(), work.dense_macs * 4] == pytest.approx([macs, acs, 128480])
