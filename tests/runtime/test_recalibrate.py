from __future__ import annotations

import pytest
import torch
from torch import nn

from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.kernels import can_compile
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.recalibrate import recalibrate
from tests.graphs import random_tensors


def test_statistics_are_the_averages_over_the_batches() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3)).eval()
    batches = [torch.randn(4, 3, 5, 5) * scale + scale for scale in (1, 2, 5)]
    recalibrate(network, batches)
    norm = network[0]
    torch.testing.assert_close(norm.running_mean, torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([batch.var((0, 2, 3)) for batch in batches]).mean(0))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_spiking_network_keeps_weights_momenta_and_flags(tiny_spiking_graph: Graph, compiled: bool) -> None:
    if compiled and not can_compile(torch.device("cpu")):
        pytest.skip("no C++ compiler here")
    tensors = random_tensors(tiny_spiking_graph)
    network = SpikingNetwork(tiny_spiking_graph, tensors, 2, compiled=compiled).eval()
    recalibrate(network, [torch.randn(4, 3, 8, 8) for _ in range(3)])
    after = network.tensors()
    changed = {name for name in tensors if not torch.equal(tensors[name], after[name])}
    assert changed == {name for name in tensors if "running" in name}
    assert not any(module.training for module in network.modules())
    assert {m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_in_the_end_training_and_evaluation_agree(tiny_spiking_graph: Graph) -> None:
    """With statistics of the very batch, evaluation gives the logits of training."""
    network = SpikingNetwork(tiny_spiking_graph, random_tensors(tiny_spiking_graph), 2)
    images = torch.randn(256, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def apart() -> float:
        """Share of images on which evaluation and training answer differently; the variances' n and n - 1 flip a few."""
        with torch.no_grad():
            evaluated, trained = network.eval()(images).mean(0), network.train()(images).mean(0)
        return float((evaluated.argmax(1) != trained.argmax(1)).float().mean())

    before = apart()
    recalibrate(network, [images])
    assert apart() < 0.05 < before


def test_no_batches_change_nothing(tiny_spiking_graph: Graph) -> None:
    tensors = random_tensors(tiny_spiking_graph)
    network = SpikingNetwork(tiny_spiking_graph, tensors, 2)
    recalibrate(network, [])
    assert all(torch.equal(tensors[name], value) for name, value in network.tensors().items())
