"""The moving average of weights: its rule, its first steps, its buffers."""

from __future__ import annotations

import torch
from torch import nn

from idsnn_convert.runtime.ema import Average
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.network import SpikingNetwork
from tests.runtime import toy


def fill(module: nn.Module, value: float) -> None:
    for tensor in module.state_dict().values():
        tensor.fill_(value)


def test_the_rule_worked_out_by_hand() -> None:
    network = nn.Linear(1, 1)
    fill(network, 0.0)
    average = Average(network, decay=0.5)
    found = []
    for step, value in enumerate((1.0, 1.0, 0.0)):
        fill(network, value)
        average.follow(network, step)
        found.append(average.network.weight.item())
    # decays 1/10, 2/11, 3/12: all below 0.5 yet
    expected = [0.9, 2 / 11 * 0.9 + 9 / 11, 0.25 * (2 / 11 * 0.9 + 9 / 11)]
    assert torch.allclose(torch.tensor(found), torch.tensor(expected))
    fill(network, 1.0)
    before = average.network.weight.item()
    average.follow(network, 1000)
    assert average.network.weight.item() == torch.tensor(before).lerp(torch.tensor(1.0), 0.5).item()


def test_statistics_are_averaged_and_counters_copied() -> None:
    norm = nn.BatchNorm2d(2)
    average = Average(norm, decay=0.5)
    norm.running_mean.fill_(1.0)
    norm.num_batches_tracked.fill_(7)
    average.follow(norm, 1000)
    assert average.network.running_mean.tolist() == [0.5, 0.5]
    assert average.network.num_batches_tracked == 7


def test_the_copy_is_a_network_of_its_own() -> None:
    network = toy.network()
    average = Average(network, 0.9)
    before = {name: tensor.clone() for name, tensor in average.network.state_dict().items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert toy.same_tensors(before, average.network.state_dict())
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert isinstance(average.network, SpikingNetwork)


def test_fused_layers_of_the_copy_use_its_own_weights() -> None:
    network = SpikingNetwork(toy.GRAPH, fresh_tensors(toy.GRAPH, 0), toy.STEPS, compiled=True)
    copy = Average(network, 0.9).network
    for layer in copy.modules():
        if borrowed := getattr(layer, "_borrowed", None):
            assert any(borrowed[0] is module for module in copy.modules())
