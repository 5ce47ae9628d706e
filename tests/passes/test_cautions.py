from __future__ import annotations

from dataclasses import replace

from idsnn_convert.passes.cautions import Caution, cautions, differences, doubts
from idsnn_convert.passes.match import match
from idsnn_convert.passes.resnet.spec import ResNetSpec
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.types import BlockMap
from idsnn_convert.passes.weightmap import map_weights
from idsnn_convert.runtime.graph import Attr, Graph
from tests.passes.made import network, spec, teacher


def with_kinds(graph: Graph, *kinds: str) -> Graph:
    """``graph`` whose first activations are of these kinds."""
    sites = zip(graph.of("activation"), kinds, strict=False)
    return graph.with_nodes({site.name: replace(site, attrs={"kind": kind}, source="net.py:7") for site, kind in sites})


def test_a_network_of_relus_needs_no_caution(tiny_graph: Graph) -> None:
    assert cautions(tiny_graph, segment(tiny_graph), tiny_graph) == ()


def test_each_kind_of_other_activation_is_counted_and_placed(tiny_graph: Graph) -> None:
    graph = with_kinds(tiny_graph, "relu", "silu", "silu", "silu", "silu")
    (told,) = cautions(graph, segment(graph), tiny_graph)
    sites = [site.name for site in graph.of("activation")]
    assert told.reason.startswith("4 of 5 activations are silu")
    assert f"{sites[1]} (net.py:7)" in told.reason
    assert sites[4] not in told.reason
    assert told.reason.endswith("and 1 more")
    assert (told.node, told.source) == (sites[1], "net.py:7")
    mixed = with_kinds(graph, "gelu")
    kinds = [caution.reason.partition(", ")[0].split()[-1] for caution in cautions(mixed, segment(mixed), tiny_graph)]
    assert kinds == ["gelu", "silu"]


def test_what_is_no_residual_block_is_told(tiny_graph: Graph) -> None:
    blocks = BlockMap((), (), (), notes=("the paths that the concat 'x' joins are no residual block",))
    assert [caution.reason for caution in cautions(tiny_graph, blocks, tiny_graph)] == list(blocks.notes)


def test_gates_that_stay_are_counted(tiny_graph: Graph) -> None:
    site = tiny_graph.of("activation")[0]
    gated = tiny_graph.with_nodes({site.name: replace(site, op="gate", attrs={"kind": "sigmoid"}, source="net.py:9")})
    (told,) = cautions(tiny_graph, segment(tiny_graph), gated)
    assert told.reason.startswith("gates that stay gates: 1 (sigmoid)")
    assert (told.node, told.source) == (site.name, "net.py:9")


def test_group_norms_that_stay_are_counted(tiny_graph: Graph) -> None:
    attrs: dict[str, Attr] = {"groups": 2, "channels": tiny_graph["bn1"].shape[0], "eps": 1e-5, "affine": True}
    grouped = tiny_graph.with_nodes({"bn1": replace(tiny_graph["bn1"], op="group_norm", attrs=attrs, source="net.py:5")})
    (told,) = cautions(tiny_graph, segment(tiny_graph), grouped)
    assert told.reason.startswith("group norms that stay: 1;")
    assert (told.node, told.source) == ("bn1", "net.py:5")


def test_what_images_contradict_is_told_with_its_first_batch_norm() -> None:
    rows = [{"node": "bn1", "off_by": 0.02, "agrees": True}, {"node": "bn2", "off_by": 0.5, "agrees": False}]
    evidence = {"verdict": "other", "images": 300, "data": "cifar10", "batch_norms": rows}
    (told,) = doubts(teacher(spec(), evidence=evidence))
    assert told.node == "bn2"
    assert told.reason == "its batch norms do not agree with 300 images of cifar10, bn2 first (off by 0.50)"
    assert doubts(teacher(spec(), evidence={**evidence, "verdict": "same"})) == doubts(teacher(spec())) == ()


def told_of(target: ResNetSpec, source: ResNetSpec) -> tuple[Caution, ...]:
    ours, theirs = network(target).graph, network(source).graph
    plan = match(segment(ours), segment(theirs))
    return differences(plan, map_weights(plan, ours, theirs), theirs, ours)


def test_other_groups_than_the_teachers_are_told_with_what_becomes_of_the_channels() -> None:
    dense = spec(block="bottleneck", outputs=(8, 16))
    grouped = spec(block="bottleneck", outputs=(8, 16), groups=2)
    (told,) = told_of(grouped, dense)
    assert told.reason.startswith("6 convolutions have 2 groups and their source 1: layer1.0.conv2, layer1.1.conv2, ")
    assert " and 3 more. Input channels are looped by their place inside the group" in told.reason
    assert told.node == "layer1.0.conv2"
    assert told_of(grouped, grouped) == told_of(dense, dense) == ()


def test_blocks_without_an_activation_behind_the_add_are_told_where_the_targets_fire() -> None:
    bare = spec(after_add="stage")
    (told,) = told_of(spec(), bare)
    assert told.reason.startswith(
        "4 of the teacher's blocks have no activation behind the add, where the target's have a neuron"
    )
    assert told.reason.endswith(": stage1.block0, stage1.block1, stage2.block0 and 1 more")
    assert (told.node, told.source.partition(":")[0]) == ("layer1.0.add", "module.py")
    assert told_of(bare, bare) == told_of(bare, spec()) == ()


def test_a_pre_activated_teacher_fires_inside_its_blocks() -> None:
    assert told_of(spec(), spec(block="preact-basic", after_add="none", final_norm=True)) == ()
