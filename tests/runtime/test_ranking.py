from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from idsnn_convert.runtime import ranking
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fingerprint import LayerFit, layer_fit
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.network import build, computed
from idsnn_convert.runtime.normalisation import KNOWN
from idsnn_convert.runtime.ranking import Reading, ReadingFit, _ordered, rank_readings
from tests import graphs
from tests.runtime.trained import photographs, trained

IMAGES = KNOWN["cifar10"](photographs().images)
LINEAR = {"kind": "leaky_relu", "slope": 1.0}


@pytest.fixture
def tensors(tiny_graph: Graph) -> dict[str, Tensor]:
    return trained(tiny_graph, IMAGES)


def without(graph: Graph, *sites: str) -> Graph:
    """``graph`` without the activations at these places."""
    return graph.with_nodes({site: replace(graph[site], op="activation", attrs=LINEAR) for site in sites})


def test_the_network_that_was_trained_agrees_in_every_layer(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    (fit,) = rank_readings([Reading(tiny_graph, IMAGES)], tensors)
    assert [layer.node for layer in fit.layers] == [node.name for node in tiny_graph.of("batch_norm")]
    assert fit.off_by < 0.01
    assert (fit.followed, fit.first_wrong, fit.told_by, fit.loss) == (True, None, "", None)


def test_the_layers_seen_are_those_of_the_network_run_whole(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    module, seen = build(tiny_graph, tensors).eval(), {}
    for node in tiny_graph.of("batch_norm"):
        hook = lambda _, args, node=node: seen.update({node.name: layer_fit(node, args[0], tensors)})  # noqa: E731
        module.get_submodule(node.name).register_forward_pre_hook(hook)
    module(IMAGES)
    (fit,) = rank_readings([Reading(tiny_graph, IMAGES)], tensors)
    assert fit.layers == tuple(seen.values())


def test_a_lost_activation_is_found_at_the_first_batch_norm_behind_it(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    wrong = [without(tiny_graph, "act1"), without(tiny_graph, "layer1.0.act1"), without(tiny_graph, "layer1.0.act2")]
    readings = [Reading(graph, IMAGES) for graph in (*wrong, tiny_graph)]
    best, *others = rank_readings(readings, tensors)
    assert (best.index, best.first_wrong) == (3, None)
    assert [fit.index for fit in others] == [2, 1, 0], "the one that went further first"
    firsts = [fit.first_wrong.node for fit in others if fit.first_wrong is not None]
    assert firsts == ["layer2.0.bn1", "layer1.0.bn2", "layer1.0.bn1"]
    assert [fit.followed for fit in others] == [False] * 3
    assert [len(fit.layers) for fit in others] == [4, 3, 2]


def test_alone_a_wrong_network_names_its_first_wrong_layer(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    (fit,) = rank_readings([Reading(without(tiny_graph, "layer1.0.act1"), IMAGES)], tensors)
    assert fit.followed
    assert fit.first_wrong is not None
    assert fit.first_wrong.node == "layer1.0.bn2"
    assert fit.first_wrong.seen > fit.first_wrong.stored


def test_other_images_depart_at_once(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    others = KNOWN["imagenet"](photographs().images)
    fits = rank_readings([Reading(tiny_graph, others), Reading(tiny_graph, IMAGES)], tensors)
    assert [fit.index for fit in fits] == [1, 0]
    assert fits[1].first_wrong is not None
    assert fits[1].first_wrong.node == "bn1"


def test_what_comes_after_the_last_batch_norm_shows_in_answers_to_unseen_images(
    tiny_graph: Graph, tensors: dict[str, Tensor]
) -> None:
    unseen = IMAGES[:200].flip(3)
    lost = without(tiny_graph, "layer2.0.act2")
    logits = build(tiny_graph, tensors).eval()(unseen).detach()
    tensors["fc.weight"] *= 3 / logits.std()  # as sure of its answers as a trained network
    tensors["fc.weight"] -= tensors["fc.weight"].mean(0)
    tensors["fc.bias"].zero_()
    module = build(tiny_graph, tensors).eval()
    labels = module(unseen).argmax(1)
    readings = [Reading(lost, IMAGES, unseen), Reading(tiny_graph, IMAGES, unseen)]
    best, other = rank_readings(readings, tensors, labels)
    assert (best.index, best.told_by, best.top1) == (1, "", 100.0)
    assert (other.index, other.first_wrong, other.told_by) == (0, None, "loss")
    assert best.loss == pytest.approx(F.cross_entropy(module(unseen), labels).item(), rel=1e-5)
    meaningless = (labels + 1) % graphs.CLASSES
    assert [fit.told_by for fit in rank_readings(readings, tensors, meaningless)] == ["", ""]
    assert [fit.told_by for fit in rank_readings(readings, tensors)] == ["", ""], "nobody asked"


def test_what_readings_share_is_computed_once(
    tiny_graph: Graph, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def counted(node: Node, *rest: object) -> Tensor:
        names.append(node.name)
        return computed(node, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ranking, "computed", counted)
    late = without(tiny_graph, "layer2.0.act2")
    rank_readings([Reading(tiny_graph, IMAGES), Reading(late, IMAGES)], tensors)
    behind = ["layer2.0.add", "layer2.0.act2", "avgpool", "flatten", "fc"]
    before = [node.name for node in tiny_graph.nodes[1:-1] if node.name not in behind]
    assert [name for name in names if name not in behind] == before[: len(names)]


def fit(index: int, *off: float, followed: bool = True) -> ReadingFit:
    return ReadingFit(index, tuple(LayerFit(f"bn{i}", value, 0.0) for i, value in enumerate(off)), followed)


LABELS = torch.arange(100) % 2
SURE = F.one_hot(LABELS).float() * 4 - 2
"""Right logits, as training with cross-entropy leaves them: zero on average over the classes."""
NOISE = torch.rand(100, 1, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, -1.0])


@pytest.mark.parametrize(
    ("fits", "logits", "labels", "order", "told_by"),
    [
        ([fit(0, 0.1, 0.3), fit(1, 0.1, 0.1)], [], LABELS, [1, 0], ["", "batch norm"]),
        ([fit(0, 0.01, followed=False), fit(1, 0.1, 0.1)], [], LABELS, [1, 0], ["", "batch norm"]),
        ([fit(0, 0.1), fit(1, 0.1)], [SURE / 4, SURE], LABELS, [1, 0], ["", "loss"]),
        ([fit(0, 0.1), fit(1, 0.1)], [SURE + 3, SURE], LABELS, [1, 0], ["", "logits"]),
        ([fit(0, 0.1), fit(1, 0.1)], [SURE, SURE + 3], LABELS, [0, 1], ["", "logits"]),
        ([fit(0, 0.1), fit(1, 0.1)], [SURE + 3, SURE / 4], LABELS, [0, 1], ["", "loss"]),  # the loss goes before the mean
        ([fit(0, 0.1), fit(1, 0.1)], [SURE, SURE], LABELS, [0, 1], ["", ""]),
        ([fit(0, 0.1), fit(1, 0.09)], [-SURE / 4 + NOISE, -SURE + NOISE], LABELS, [0, 1], ["", ""]),  # other classes' labels
        ([fit(0, 0.1), fit(1, 0.1)], [], None, [0, 1], ["", ""]),
    ],
)
def test_the_order_and_what_tells(
    fits: list[ReadingFit], logits: list[Tensor], labels: Tensor | None, order: list[int], told_by: list[str]
) -> None:
    found = _ordered(fits, lambda tied: logits, labels)
    assert [each.index for each in found] == order
    assert [each.told_by for each in found] == told_by


def test_many_small_departures_end_a_reading(
    tiny_graph: Graph, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "WRONG", 100.0)
    readings = [Reading(tiny_graph, IMAGES), Reading(without(tiny_graph, "layer1.0.act1"), IMAGES)]
    _, other = rank_readings(readings, tensors)
    assert not other.followed
    assert len(other.layers) == 2 + ranking.MOST_DEPARTURES


def test_the_tensors_handed_in_are_untouched(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    rank_readings([Reading(tiny_graph, IMAGES)], tensors)
    assert all(torch.equal(tensors[name], before[name]) for name in before)


def test_other_channels_are_refused(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match="the network takes 3 channels, the images have 1"):
        rank_readings([Reading(tiny_graph, IMAGES[:, :1])], tensors)


def test_readings_of_different_networks_are_our_own_mistake(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    shorter = Graph((*tiny_graph.nodes[:3], Node("out", "output", ("bn1",), shape=(4, 8, 8))))
    with pytest.raises(ValueError, match="2 orders"):
        rank_readings([Reading(tiny_graph, IMAGES), Reading(shorter, IMAGES)], tensors)
