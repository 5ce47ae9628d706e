"""Three levels of any network at which two networks can be compared, whatever their architectures (LaSNN section III-C)."""

from __future__ import annotations

from itertools import pairwise

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph

SIDE = 4
"""A map of fewer pixels a side hardly says where something is."""


def levels(graph: Graph) -> tuple[str, str, str]:
    """The activations or neurons that end the low, the middle and the high level of ``graph``, in its order.

    Counted are those with maps of :data:`SIDE` x :data:`SIDE` pixels and more, in order. Of a network that halves its maps
    twice or more a level ends where a resolution is left for good: the first, the last, and the one half way between them, the
    deeper of two. Of another network they are the last of each third.

    Raises:
        UserError: if there are fewer than three.
    """
    sites = [node for node in graph.of("activation", "neuron") if len(node.shape) == 3 and min(node.shape[1:]) >= SIDE]
    if len(sites) < 3:
        problem = f"the network fires at {len(sites)} maps of {SIDE}x{SIDE} pixels or more; three levels need three"
        raise UserError(problem, hint="Name pairs of nodes in loss.taps, or set loss.tap_weight=0.")
    ends = [one.name for one, after in pairwise(sites) if after.shape[1:] != one.shape[1:]] + [sites[-1].name]
    if len(ends) >= 3:
        return ends[0], ends[len(ends) // 2], ends[-1]
    first, second = (-(-len(sites) * part // 3) - 1 for part in (1, 2))
    return sites[first].name, sites[second].name, sites[-1].name


def level_pairs(student: Graph, teacher: Graph) -> list[dict[str, str]]:
    """Level with level, as rows that :func:`idsnn_convert.runtime.taps.read_taps` reads.

    Raises:
        UserError: as :func:`levels`, saying which network.
    """
    found = []
    for who, graph in (("student", student), ("teacher", teacher)):
        try:
            found.append(levels(graph))
        except UserError as error:
            raise UserError(f"{who}: {error.problem}", hint=error.hint) from error
    names = zip(("low", "middle", "high"), *found, strict=True)
    return [{"place": place, "student": ours, "teacher": theirs} for place, ours, theirs in names]
