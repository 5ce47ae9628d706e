from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime import ranking
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fingerprint import LayerFit, layer_fit
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.normalisation import KNOWN
from idsnn_convert.runtime.ranking import Reading, ReadingFit, _ordered, rank_readings
from tests import graphs
from tests.runtime.trained import photographs, trained

IMAGES = KNOWN["cifar10"](photographs().images)
LINEAR = {"kind": "leaky_relu", "slope": 1.0}


@pytest.fixture
def tensors(tiny_graph: Graph) -> dict[str, Tensor]:
    return trained(tiny_graph, IMAGES)


def answers(graph: Graph, tensors: dict[str, Tensor]) -> Tensor:
    """Labels the network gets right."""
    found: Tensor = build(graph, tensors).eval()(IMAGES).argmax(1)
    return found.detach()


def without(graph: Graph, *sites: str) -> Graph:
    """``graph`` without the activations at these places."""
    return graph.with_nodes({site: replace(graph[site], op="activation", attrs=LINEAR) for site in sites})


def test_the_network_that_was_trained_agrees_in_every_layer(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    labels = answers(tiny_graph, tensors)
    (fit,) = rank_readings([Reading(tiny_graph, IMAGES)], tensors, labels)
    assert [layer.node for layer in fit.layers] == [node.name for node in tiny_graph.of("batch_norm")]
    assert fit.off_by < 0.01
    assert (fit.followed, fit.first_wrong, fit.top1) == (True, None, 100.0)


def test_the_layers_seen_are_those_of_the_network_run_whole(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    module, seen = build(tiny_graph, tensors).eval(), {}
    for node in tiny_graph.of("batch_norm"):
        hook = lambda _, args, node=node: seen.update({node.name: layer_fit(node, args[0], tensors)})  # noqa: E731
        module.get_submodule(node.name).register_forward_pre_hook(hook)
    logits = module(IMAGES)
    labels = torch.zeros(len(IMAGES), dtype=torch.int64)
    (fit,) = rank_readings([Reading(tiny_graph, IMAGES)], tensors, labels)
    assert fit.layers == tuple(seen.values())
    assert fit.loss == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-6)


def test_a_lost_activation_is_found_at_the_first_batch_norm_behind_it(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    wrong = [without(tiny_graph, "act1"), without(tiny_graph, "layer1.0.act1"), without(tiny_graph, "layer1.0.act2")]
    readings = [Reading(graph, IMAGES) for graph in (*wrong, tiny_graph)]
    best, *others = rank_readings(readings, tensors, answers(tiny_graph, tensors))
    assert (best.index, best.first_wrong) == (3, None)
    assert [fit.index for fit in others] == [2, 1, 0], "the one that went further first"
    firsts = [fit.first_wrong.node for fit in others if fit.first_wrong is not None]
    assert firsts == ["layer2.0.bn1", "layer1.0.bn2", "layer1.0.bn1"]
    assert [fit.followed for fit in others] == [False] * 3
    assert [len(fit.layers) for fit in others] == [4, 3, 2]


def test_alone_a_wrong_network_names_its_first_wrong_layer(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    labels = answers(tiny_graph, tensors)
    (fit,) = rank_readings([Reading(without(tiny_graph, "layer1.0.act1"), IMAGES)], tensors, labels)
    assert fit.followed
    assert fit.first_wrong is not None
    assert fit.first_wrong.node == "layer1.0.bn2"
    assert fit.first_wrong.seen > fit.first_wrong.stored


def test_other_images_depart_at_once(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    others = KNOWN["imagenet"](photographs().images)
    fits = rank_readings([Reading(tiny_graph, others), Reading(tiny_graph, IMAGES)], tensors, answers(tiny_graph, tensors))
    assert [fit.index for fit in fits] == [1, 0]
    assert fits[1].first_wrong is not None
    assert fits[1].first_wrong.node == "bn1"


def test_what_comes_after_the_last_batch_norm_is_told_by_the_labels(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    """Two readings without a difference in statistics; the one with the ReLU lost answers worse, or else comes second."""
    labels = answers(tiny_graph, tensors)
    readings = [Reading(without(tiny_graph, "layer2.0.act2"), IMAGES), Reading(tiny_graph, IMAGES)]
    told, other = rank_readings(readings, tensors, labels)
    assert (told.index, other.index) == (1, 0)
    assert other.first_wrong is None
    assert ranking.better(told.loss, other.loss)
    meaningless = (labels + 1) % graphs.CLASSES
    assert [fit.index for fit in rank_readings(readings, tensors, meaningless)] == [0, 1], "as given"


def test_what_readings_share_is_computed_once(
    tiny_graph: Graph, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []
    real = ranking._computed

    def counted(node: Node, *rest: object) -> Tensor:
        computed.append(node.name)
        return real(node, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ranking, "_computed", counted)
    labels = answers(tiny_graph, tensors)
    late = without(tiny_graph, "layer2.0.act2")
    rank_readings([Reading(tiny_graph, IMAGES), Reading(late, IMAGES)], tensors, labels)
    behind = ("layer2.0.act2", "avgpool", "flatten", "fc")
    assert sorted(computed) == sorted([*(node.name for node in tiny_graph.nodes[1:-1]), *behind])


def fit(index: int, *off: float, followed: bool = True, loss: float = 1.0, top1: float = 50.0) -> ReadingFit:
    layers = tuple(LayerFit(f"bn{i}", value, 0.0) for i, value in enumerate(off))
    return ReadingFit(index, layers, followed, loss=loss if followed else None, top1=top1 if followed else None)


@pytest.mark.parametrize(
    ("fits", "order"),
    [
        ([fit(0, 0.1, 0.3), fit(1, 0.1, 0.1)], [1, 0]),  # nearer
        ([fit(0, 0.01, followed=False), fit(1, 0.1, 0.1)], [1, 0]),  # followed further
        ([fit(0, 0.1, 0.1, loss=2.0), fit(1, 0.1, 0.1, loss=1.0)], [1, 0]),  # alike, but answers better
        ([fit(0, 0.1, 0.1, loss=1.01), fit(1, 0.1, 0.1, loss=1.0)], [0, 1]),  # alike in all: as given
        ([fit(0, 0.1, 0.1, loss=2.0, top1=20.0), fit(1, 0.1, 0.1, loss=1.0, top1=10.0)], [0, 1]),  # labels of other classes
    ],
)
def test_the_order(fits: list[ReadingFit], order: list[int]) -> None:
    assert [found.index for found in _ordered(fits)] == order


def test_many_small_departures_end_a_reading(
    tiny_graph: Graph, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "WRONG", 100.0)
    readings = [Reading(tiny_graph, IMAGES), Reading(without(tiny_graph, "layer1.0.act1"), IMAGES)]
    _, other = rank_readings(readings, tensors, answers(tiny_graph, tensors))
    assert not other.followed
    assert len(other.layers) == 2 + ranking.MOST_DEPARTURES


def test_the_tensors_handed_in_are_untouched(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    rank_readings([Reading(tiny_graph, IMAGES)], tensors, torch.zeros(len(IMAGES), dtype=torch.int64))
    assert all(torch.equal(tensors[name], before[name]) for name in before)


def test_other_channels_are_refused(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    with pytest.raises(UserError, match="the network takes 3 channels, the images have 1"):
        rank_readings([Reading(tiny_graph, IMAGES[:, :1])], tensors, torch.zeros(len(IMAGES), dtype=torch.int64))


def test_readings_of_different_networks_are_our_own_mistake(tiny_graph: Graph, tensors: dict[str, Tensor]) -> None:
    shorter = Graph((*tiny_graph.nodes[:3], Node("out", "output", ("bn1",), shape=(4, 8, 8))))
    with pytest.raises(ValueError, match="2 orders"):
        rank_readings([Reading(tiny_graph, IMAGES), Reading(shorter, IMAGES)], tensors, torch.zeros(len(IMAGES)))
