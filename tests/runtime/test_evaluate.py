from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idsnn_convert.runtime.data import Split
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import Evaluation, check_fits, evaluate
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.network import SpikingNetwork, build
from idsnn_convert.runtime.normalisation import KNOWN
from idsnn_convert.runtime.readout import Readout
from tests import graphs

NONE = KNOWN["none"]


def pixels(values: list[int], labels: list[int], classes: int = 0) -> Split:
    """Images of one pixel."""
    return Split(torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1), torch.tensor(labels), classes)


class Table(nn.Module):
    """Logits by the pixel's value: row (K,) or (T, K) of ``rows``."""

    def __init__(self, rows: list[Any]) -> None:
        super().__init__()
        self.register_buffer("rows", torch.tensor(rows))

    def forward(self, images: Tensor) -> Tensor:
        found = self.get_buffer("rows")[(images.flatten() * 255).round().long()]
        return found if found.ndim == 2 else found.transpose(0, 1)


def noise(count: int, shape: tuple[int, int, int] = (3, 8, 8), classes: int = graphs.CLASSES) -> Split:
    draw = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=draw)
    return Split(images, torch.randint(0, classes, (count,), generator=draw), classes)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_accuracy_and_loss_by_hand(batch_size: int) -> None:
    network = Table([[0.0, 0.0, 0.0], [0.0, math.log(2), 0.0]])
    found = evaluate(network, pixels([0, 1, 1], [0, 1, 2]), NONE, batch_size=batch_size)
    assert found.top1 == pytest.approx(100 * 2 / 3)
    assert found.loss == pytest.approx((math.log(3) + math.log(4 / 2) + math.log(4)) / 3)
    assert found.images == 3
    assert found.top1_per_step == ()


def test_each_prefix_of_the_steps_is_scored_by_its_mean() -> None:
    network = Table([[[0.0, 1.0], [3.0, 0.0], [0.0, 9.0]], [[2.0, 0.0], [0.0, 1.0], [0.0, 1.5]]])
    found = evaluate(network, pixels([0, 1], [1, 0]), NONE)
    # Sums over time of image 0: (0, 1), (3, 1), (3, 10); of image 1: (2, 0), (2, 1), (2, 2.5).
    assert found.top1_per_step == (100, 50, 50)
    assert found.top1 == 50
    assert found.loss == pytest.approx((math.log1p(math.exp(-7 / 3)) + math.log1p(math.exp(0.5 / 3))) / 2)


def test_the_first_five_by_hand() -> None:
    # Of six classes the label is the highest, the fifth and the sixth; at step 1 all are alike but class 5 of image 2.
    rows = [[[0.0] * 6, [6.0, 5, 4, 3, 2, 1]], [[0.0] * 6, [6.0, 5, 4, 3, 2, 1]], [[0.0] * 5 + [1], [6.0, 5, 4, 3, 2, 0]]]
    found = evaluate(Table(rows), pixels([0, 1, 2], [0, 4, 5]), NONE)
    assert found.top5_per_step[-1] == found.top5 == pytest.approx(100 * 2 / 3)
    assert found.top1 == pytest.approx(100 / 3)


def test_five_classes_have_no_top5() -> None:
    found = evaluate(Table([[0.0, 1.0]]), pixels([0], [1]), NONE)
    assert found.top5 is None
    assert found.top5_per_step == ()


def test_the_networks_own_readout_counts(tiny_spiking_graph: Graph) -> None:
    tensors, leaky = graphs.random_tensors(tiny_spiking_graph), Readout("membrane", 0.3)
    network = SpikingNetwork(tiny_spiking_graph, tensors, 4, readout=leaky)
    seen: list[Tensor] = []
    evaluate(network, noise(60), NONE, measures=[lambda answers, labels: seen.append(answers)])
    with torch.no_grad():
        logits = network.eval()(NONE(noise(60).images))
    torch.testing.assert_close(seen[0], leaky.after_each_step(logits))


def test_poisson_spikes_come_from_the_seed(tiny_spiking_graph: Graph) -> None:
    network = SpikingNetwork(tiny_spiking_graph, graphs.random_tensors(tiny_spiking_graph), 2, "poisson")
    losses = [evaluate(network, noise(20), NONE, seed=seed).loss for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_a_prefix_is_what_fewer_steps_give(tiny_spiking_graph: Graph) -> None:
    network = SpikingNetwork(tiny_spiking_graph, graphs.random_tensors(tiny_spiking_graph), time_steps=4)
    whole = evaluate(network, noise(60), NONE)
    assert len(whole.top1_per_step) == 4
    assert whole.top1_per_step[-1] == whole.top1
    assert len(set(whole.top1_per_step)) > 1
    for steps, top1 in enumerate(whole.top1_per_step, 1):
        network.time_steps = steps
        assert evaluate(network, noise(60), NONE).top1 == pytest.approx(top1)


def test_the_networks_modes_come_back_even_after_a_failure(tiny_graph: Graph) -> None:
    network = build(tiny_graph, graphs.random_tensors(tiny_graph))
    network.train()
    network.get_submodule("bn1").eval()
    before = {name: module.training for name, module in network.named_modules()}
    mean = network.state_dict()["layer1.0.bn1.running_mean"].clone()
    evaluate(network, noise(4), NONE)
    with pytest.raises(UserError):
        evaluate(network, noise(4, classes=9), NONE)
    assert {name: module.training for name, module in network.named_modules()} == before
    assert torch.equal(network.state_dict()["layer1.0.bn1.running_mean"], mean)


def test_progress_is_told_after_each_batch() -> None:
    told: list[tuple[int, int]] = []
    evaluate(Table([[0.0, 1.0]]), pixels([0] * 5, [1] * 5), NONE, batch_size=2, progress=lambda *counts: told.append(counts))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_images_a_second() -> None:
    assert Evaluation(50.0, 1.0, images=30, seconds=1.5).images_per_second == 20


def test_no_images_are_refused() -> None:
    empty = Split(torch.zeros(0, 1, 1, 1, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(UserError, match="no images"):
        evaluate(Table([[0.0, 1.0]]), empty, NONE)


@pytest.mark.parametrize(
    ("split", "told"),
    [
        (noise(2, shape=(1, 8, 8)), "takes images of 3x8x8, these are 1x8x8: the channels differ"),
        (noise(2, classes=10), "tells 5 classes apart, the data has 10"),
        (noise(2, classes=4), "tells 5 classes apart, the data has 4"),
        (Split(noise(2).images, torch.tensor([0, 5])), "tells 5 classes apart, the data has 6"),
    ],
)
def test_data_of_another_kind_are_refused(tiny_graph: Graph, split: Split, told: str) -> None:
    with pytest.raises(UserError, match=told):
        evaluate(build(tiny_graph, graphs.random_tensors(tiny_graph)), split, NONE, graph=tiny_graph)


def test_a_spiking_network_brings_its_own_graph(tiny_spiking_graph: Graph) -> None:
    network = SpikingNetwork(tiny_spiking_graph, graphs.random_tensors(tiny_spiking_graph), time_steps=1)
    with pytest.raises(UserError, match="channels differ"):
        evaluate(network, noise(2, shape=(1, 8, 8)), NONE)


def test_classes_are_compared_without_a_graph_too() -> None:
    with pytest.raises(UserError, match="tells 2 classes apart, the data has 3"):
        evaluate(Table([[0.0, 1.0]]), pixels([0], [0], classes=3), NONE)


def test_labels_may_lack_the_last_classes_when_their_number_is_not_known(tiny_graph: Graph) -> None:
    check_fits(tiny_graph, Split(noise(1).images, torch.tensor([2])))


def test_a_network_that_pools_takes_other_sizes(tiny_graph: Graph) -> None:
    check_fits(tiny_graph, noise(2, shape=(3, 12, 9)))
    assert (
        evaluate(build(tiny_graph, graphs.random_tensors(tiny_graph)), noise(2, (3, 12, 9)), NONE, graph=tiny_graph).images == 2
    )


def test_a_network_that_flattens_a_map_takes_its_own_size_alone() -> None:
    linear = Node("fc", "linear", ("flat",), {"in_features": 48, "out_features": 5, "bias": True}, (5,))
    flat = Node("flat", "flatten", ("x",), shape=(48,))
    graph = Graph((Node("x", "input", shape=(3, 4, 4)), flat, linear, Node("out", "output", ("fc",), shape=(5,))))
    check_fits(graph, noise(1, shape=(3, 4, 4)))
    check_fits(graph, noise(1, shape=(3, 2, 8)))
    with pytest.raises(UserError, match=r"takes images of 3x4x4, not of 3x8x8\n.*'fc' \(linear\): its input has 192"):
        check_fits(graph, noise(1, shape=(3, 8, 8)))
