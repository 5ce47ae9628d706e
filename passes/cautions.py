"""What of a teacher converts, but not to the letter; told with every conversion."""

from __future__ import annotations

from dataclasses import dataclass

from idsnn_convert.passes.types import BlockMap, Teacher
from idsnn_convert.runtime.graph import Graph, Node

SHOWN = 3
"""How many places a caution names."""


@dataclass(frozen=True)
class Caution:
    """One thing to know of a teacher.

    Attributes:
        node: the first node it is about; empty if there is none.
        source: that node's file and line, ``resnet.py:93``; empty if unknown.
        advice: what can be done; empty if nothing needs to be.
    """

    reason: str
    node: str = ""
    source: str = ""
    advice: str = ""


def doubts(teacher: Teacher) -> tuple[Caution, ...]:
    """Where images were asked: that the teacher's batch norms do not agree with them."""
    if teacher.evidence.get("verdict") != "other":
        return ()
    wrong = next(row for row in teacher.evidence["batch_norms"] if not row["agrees"])
    images = f"{teacher.evidence['images']} images of {teacher.evidence['data']}"
    told = f"its batch norms do not agree with {images}, {wrong['node']} first (off by {wrong['off_by']:.2f})"
    advice = "Either it was trained on other images, or it is not the network that was read from its names and shapes."
    return (Caution(told, wrong["node"], advice=advice),)


def cautions(teacher: Graph, blocks: BlockMap, target: Graph) -> tuple[Caution, ...]:
    """Activations that are no ReLU, a kind at a time, what between the blocks of ``teacher`` is no residual block, and the
    gates and group norms that ``target`` keeps."""
    sites = teacher.of("activation")
    kinds = [kind for kind in dict.fromkeys(str(site.attr("kind")) for site in sites) if kind != "relu"]
    odd = [_odd_activations(kind, [site for site in sites if site.attr("kind") == kind], len(sites)) for kind in kinds]
    return (*odd, *(Caution(note) for note in blocks.notes), *_kept_gates(target), *_kept_norms(target))


def _kept_norms(target: Graph) -> list[Caution]:
    norms = target.of("group_norm")
    if not norms:
        return []
    told = f"group norms that stay: {len(norms)}; each normalises by the statistics of its own image and time step"
    return [Caution(told, norms[0].name, norms[0].source, "For norms that fold into weights choose resnet18, ... as target.")]


def _kept_gates(target: Graph) -> list[Caution]:
    gates = target.of("gate")
    if not gates:
        return []
    kinds = ", ".join(dict.fromkeys(str(gate.attr("kind")) for gate in gates))
    told = f"gates that stay gates: {len(gates)} ({kinds}); they scale spikes by real numbers, which no neuron gives"
    return [Caution(told, gates[0].name, gates[0].source, "For spikes alone choose a target without gates: resnet18, ...")]


def _odd_activations(kind: str, found: list[Node], of: int) -> Caution:
    places = [f"{node.name} ({node.source})" if node.source else node.name for node in found[:SHOWN]]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return Caution(
        f"{len(found)} of {of} activations are {kind}, but a neuron stands for a ReLU: {', '.join(places)}{more}",
        found[0].name,
        found[0].source,
        "The weights are taken as they are; they may need more training than a ReLU network's.",
    )
