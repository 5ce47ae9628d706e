"""Cuts a canonical graph into stem, stages of residual blocks, and head: from its topology alone, never from names.

The trunk is the chain of nodes that every path from input to output passes: the dominators of the output. A residual
block is an ``add`` on the trunk that joins maps of one shape, with a convolution on the paths that lead to it from the
trunk node before it, its immediate dominator: the fork. So is a ``mul`` whose branch ends in an activation, or in one
minus it, and that holds no gate: the AND and IAND of spikes (SEW ResNet). What lies inside such a region (the adds of
Res2Net, the two paths of a selective kernel, a gate) belongs to its block.

What stands between two blocks goes to the one before, as its ``after``: the activation that follows the add, say.
Two exceptions. In a pre-activated block with a shortcut that reads what its first batch norm and activation give,
those two are the branch's first nodes and the fork is what they read; its mark is a branch that ends in a convolution
without a batch norm. And behind the last block only activations are its ``after``, the rest is the head. The stem
runs from the input to the first fork.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from idsnn_convert.passes.types import Block, BlockMap, Stage
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Node, Shape
from idsnn_convert.runtime.ops import NORMS

_FIRES = ("activation", "neuron")


@dataclass(frozen=True)
class _Region:
    """A residual region: paths from ``fork`` to ``join``; ``shared`` are the pre-activation nodes both paths read."""

    fork: str
    join: str
    branch: frozenset[str]
    shortcut: frozenset[str]
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Trunk:
    """The dominators of the output, in order, and where the other nodes lie along them.

    Attributes:
        place: name of any node -> index in ``names`` of itself, or of the trunk node that its paths run to.
        above: name of any node but the input -> its immediate dominator.
    """

    names: tuple[str, ...]
    place: dict[str, int]
    above: dict[str, str]


def segment(graph: Graph) -> BlockMap:
    """The blocks of ``graph``; every node is in exactly one of stem, a block, and head. No stages: no residual block.

    Consecutive blocks that give maps of one shape (C, H, W) are a stage; where channels grow with nearly every block
    (PyramidNet), those that give maps of one size (H, W).

    Raises:
        UserError: if residual adds lie on paths that others go around (CSP), or convolutions are joined by
            concatenation alone (DenseNet, Inception), naming the node.
    """
    trunk = _trunk(graph)
    regions = [region for fork, join in pairwise(trunk.names) if (region := _region(graph, fork, join))]
    _refuse_bypassed(graph, trunk, regions)
    if not regions:
        _refuse_concatenated(graph, trunk)
        return BlockMap((), (), tuple(node.name for node in graph))
    regions = [_with_shared(graph, region) for region in regions]
    inside = frozenset[str]().union(*(r.branch | r.shortcut | {r.join, *r.shared} for r in regions))

    def stretch(first: int, last: int) -> tuple[str, ...]:
        """The nodes from trunk index ``first`` (excluded) to ``last`` that no block holds."""
        return tuple(n.name for n in graph if first < trunk.place[n.name] <= last and n.name not in inside)

    starts = [trunk.place[region.fork] for region in regions]
    ends = [*starts[1:], _end_of_last(graph, trunk, regions[-1])]
    after = [stretch(trunk.place[region.join], end) for region, end in zip(regions, ends, strict=True)]
    blocks = [_block(graph, region, nodes) for region, nodes in zip(regions, after, strict=True)]
    notes = _notes(graph, trunk, regions)
    return BlockMap(stretch(-1, starts[0]), _stages(blocks), stretch(ends[-1], len(trunk.names)), notes)


def _trunk(graph: Graph) -> _Trunk:
    import networkx  # in a twentieth of the time that torch takes, for those who come here

    edges = networkx.DiGraph((name, node.name) for node in graph for name in node.inputs)
    first, last = graph.nodes[0].name, graph.nodes[-1].name
    above: dict[str, str] = networkx.immediate_dominators(edges, first)
    names = [last]
    while names[-1] != first:
        names.append(above[names[-1]])
    names.reverse()
    place = {name: index for index, name in enumerate(names)}
    leaves = dict(place)  # index of the last trunk node before a node, or of itself
    for node in graph:
        if node.name not in place:
            leaves[node.name] = leaves[above[node.name]]
    return _Trunk(tuple(names), {name: place.get(name, index + 1) for name, index in leaves.items()}, above)


def _behind(graph: Graph, name: str, stop: str) -> frozenset[str]:
    """``name`` and all it is computed from, up to ``stop``, which is left out and which every path meets."""
    found, todo = set[str](), [name]
    while todo:
        name = todo.pop()
        if name != stop and name not in found:
            found.add(name)
            todo.extend(graph[name].inputs)
    return frozenset(found)


def _convs(graph: Graph, names: frozenset[str]) -> int:
    return sum(graph[name].op == "conv2d" for name in names)


def _joins_maps(graph: Graph, node: Node, *ops: str) -> bool:
    """Whether ``node`` is one of ``ops`` over maps (C, H, W) of one shape."""
    return node.op in ops and len(node.shape) == 3 and all(graph[name].shape == node.shape for name in node.inputs)


def _multiplies_spikes(graph: Graph, join: Node, branch: frozenset[str], region: frozenset[str]) -> bool:
    """Whether the branch ends in an activation, or in one minus it, and nothing in the region is a gate."""
    end = next(graph[name] for name in join.inputs if name in branch)
    if end.op == "complement":
        end = graph[end.inputs[0]]
    return end.op in _FIRES and not any(graph[name].op == "gate" for name in region)


def _region(graph: Graph, fork: str, join: str) -> _Region | None:
    """The residual region that ends in ``join``, if any: its branch is the path with more convolutions, or the longer."""
    if not _joins_maps(graph, graph[join], "add", "mul"):
        return None
    paths = [_behind(graph, name, fork) for name in graph[join].inputs]
    branch = max(paths, key=lambda path: (_convs(graph, path), len(path)))
    if not _convs(graph, branch):
        return None
    if graph[join].op == "mul" and not _multiplies_spikes(graph, graph[join], branch, branch.union(*paths)):
        return None
    paths.remove(branch)
    return _Region(fork, join, branch, frozenset[str]().union(*paths) - branch)


def _refuse_bypassed(graph: Graph, trunk: _Trunk, regions: list[_Region]) -> None:
    """Refuses residual adds that neither stand on the trunk nor inside a block."""
    joins = {region.join for region in regions}
    for node in graph:
        around = trunk.names[trunk.place[node.name]]
        if node.name == around or around in joins or not _joins_maps(graph, node, "add"):
            continue
        if _convs(graph, _behind(graph, node.name, trunk.above[node.name])):
            raise UserError(
                f"the residual add {node.name!r} ({node.source or 'source unknown'}) is not in the main path: "
                f"another path goes around it, up to the {graph[around].op} {around!r}",
                hint="Cross-stage networks (CSP, dual path) have no chain of residual blocks to convert block by block.",
            )


def _refuse_concatenated(graph: Graph, trunk: _Trunk) -> None:
    for fork, join in pairwise(trunk.names):
        node = graph[join]
        if node.op == "concat" and _convs(graph, _behind(graph, join, fork)):
            raise UserError(
                f"no residual block found: the concat {join!r} ({node.source or 'source unknown'}) joins its paths instead",
                hint="Densely connected and Inception networks add nothing up; a ResNet is needed.",
            )


def _with_shared(graph: Graph, region: _Region) -> _Region:
    """The region with the batch norm and activation ahead of its fork, if it is pre-activated and both paths read them."""
    fires = graph[region.fork]
    if fires.op not in _FIRES or not region.shortcut or not _ends_in_convolution(graph, region):
        return region
    norm = graph[fires.inputs[0]]
    if norm.op not in NORMS or len(graph.users[norm.name]) > 1:
        return region
    return replace(region, fork=norm.inputs[0], shared=(norm.name, fires.name))


def _ends_in_convolution(graph: Graph, region: _Region) -> bool:
    """Whether the last convolution of the branch reaches the join without a batch norm; gates count for nothing."""
    node = next(graph[name] for name in graph[region.join].inputs if name in region.branch)
    while node.name in region.branch and node.op not in ("conv2d", *NORMS):
        before = [graph[name] for name in node.inputs]  # of a map and what scales it, the map
        node = next((value for value in before if value.shape == node.shape and value.op != "gate"), before[0])
    return node.op == "conv2d" and node.name in region.branch


def _end_of_last(graph: Graph, trunk: _Trunk, region: _Region) -> int:
    """Index of the last activation right behind the last block, or of its join."""
    index = trunk.place[region.join]
    while graph[trunk.names[index + 1]].op in _FIRES:
        index += 1
    return index


def _block(graph: Graph, region: _Region, after: tuple[str, ...]) -> Block:
    branch = tuple(node.name for node in graph if node.name in region.branch)
    shortcut = tuple(node.name for node in graph if node.name in region.shortcut)
    return Block("", region.fork, region.join, (*region.shared, *branch), shortcut, after, graph[region.join].shape)


def _stages(blocks: list[Block]) -> tuple[Stage, ...]:
    """Consecutive blocks of one shape, named ``stage1.block0``; of one size where almost each shape is new."""
    by_shape, by_size = _runs(blocks, lambda shape: shape), _runs(blocks, lambda shape: shape[1:])
    growing = 4 * len(by_shape) > 3 * len(blocks) and 2 * len(by_size) <= len(by_shape)
    return tuple(
        Stage(tuple(replace(block, name=f"stage{s}.block{b}") for b, block in enumerate(run)))
        for s, run in enumerate(by_size if growing else by_shape, start=1)
    )


def _runs(blocks: list[Block], key: Callable[[Shape], Hashable]) -> list[list[Block]]:
    return [list(run) for _, run in groupby(blocks, key=lambda block: key(block.shape))]


def _notes(graph: Graph, trunk: _Trunk, regions: list[_Region]) -> tuple[str, ...]:
    """What parallel paths between the blocks were not recognised."""
    first, last = trunk.place[regions[0].join], trunk.place[regions[-1].join]
    joins = {region.join for region in regions}
    return tuple(
        f"the paths that the {graph[join].op} {join!r} joins are no residual block; they count to the block before"
        for fork, join in pairwise(trunk.names[first : last + 1])
        if join not in joins and len(graph[join].inputs) > 1 and _convs(graph, _behind(graph, join, fork))
    )
