"""Which activation of the teacher each neuron stands in the place of: inside a pair of regions, by relative place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from idsnn_convert.passes.match import StagePlan
from idsnn_convert.passes.rules import relative
from idsnn_convert.runtime.graph import Graph, Node


@dataclass(frozen=True)
class Site:
    """One activation site of the target, and so one neuron.

    Attributes:
        neuron: name of the spiking graph's node.
        activation: what the target's node was before: ``relu``, ...
        place: ``stem``, the target block's name, ``head`` or ``network``.
        teacher: name of the teacher's activation at the same place; None where it has none there.
        teacher_activation: what that is.
        source: that node's file and line, ``resnet.py:93``; empty if unknown.
    """

    neuron: str
    activation: str
    place: str
    teacher: str | None = None
    teacher_activation: str = ""
    source: str = ""


def sites(plan: StagePlan, target: Graph, spiking: Graph, teacher: Graph) -> tuple[Site, ...]:
    """One :class:`Site` for every neuron of ``spiking``, in graph order; ``target`` is that graph before it spiked.

    Branch and what follows the add are one region, as in :func:`idsnn_convert.passes.weightmap.map_weights`; the
    shortcut is another.
    """
    place = plan.target.places
    theirs = dict(_aligned(plan, target, teacher))
    rows = []
    for site, neuron in zip(target.of("activation"), spiking.of("neuron"), strict=True):
        found = theirs.get(site.name)
        more = () if found is None else (found.name, str(found.attr("kind")), found.source)
        rows.append(Site(neuron.name, str(site.attr("kind")), place[site.name], *more))
    return tuple(rows)


def _aligned(plan: StagePlan, target: Graph, teacher: Graph) -> Iterator[tuple[str, Node]]:
    yield from _region(target, plan.target.stem, teacher, plan.source.stem)
    yield from _region(target, plan.target.head, teacher, plan.source.head)
    for pair in plan.pairs:
        mine, other = pair.target, pair.source
        yield from _region(target, (*mine.branch, *mine.after), teacher, (*other.branch, *other.after))
        yield from _region(target, mine.shortcut, teacher, other.shortcut)


def _region(target: Graph, mine: Sequence[str], teacher: Graph, theirs: Sequence[str]) -> Iterator[tuple[str, Node]]:
    wanting = [name for name in mine if target[name].op == "activation"]
    offered = [teacher[name] for name in theirs if teacher[name].op == "activation"]
    if offered:
        yield from ((name, offered[i]) for name, i in zip(wanting, relative(len(wanting), len(offered)), strict=True))
