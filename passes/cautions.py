"""What converts, but not to the letter; told with every conversion."""

from __future__ import annotations

from dataclasses import dataclass, replace

from idsnn_convert.passes.match import UNPAIRED, StagePlan
from idsnn_convert.passes.types import Block, BlockMap, Teacher
from idsnn_convert.passes.weightmap import WeightMap
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.ops import NORMS

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
    """That code from the teacher's file may have run; where images were asked, that its batch norms do not agree with them."""
    return (*_trusted(teacher), *_disagreeing(teacher))


def _trusted(teacher: Teacher) -> tuple[Caution, ...]:
    if not teacher.trusted:
        return ()
    told = f"code that its file names was run when it was read, as allowed by {', '.join(teacher.trusted)}"
    return (Caution(told, advice="Trust the student as far as that file."),)


def _disagreeing(teacher: Teacher) -> tuple[Caution, ...]:
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


def differences(plan: StagePlan, weights: WeightMap, teacher: Graph, target: Graph) -> tuple[Caution, ...]:
    """Where ``target`` computes otherwise than ``teacher`` with the tensors it takes: in groups, without its norms, and behind
    the add; or that it takes none."""
    if plan.rule == UNPAIRED:
        told = "nothing was taken from the teacher: the target is a chain of layers, which the teacher's do not correspond to"
        advice = (
            "Train the target's network without spikes (idsnn teach) and convert that with --target same; this one distils."
        )
        return (Caution(told, advice=advice),)
    return (
        *_regrouped(weights, teacher, target),
        *_without_norms(weights, teacher, target),
        *_firing_behind_the_add(plan, teacher, target),
    )


def _without_norms(weights: WeightMap, teacher: Graph, target: Graph) -> list[Caution]:
    """A convolution's scale is free where a norm follows, so its weights alone say little of the size of what they gave."""
    if target.of(*NORMS) or not teacher.of(*NORMS):
        return []
    taken = [
        target[name]
        for entry in weights.tensors
        if entry.source and target[name := entry.target.rpartition(".")[0]].op == "conv2d"
    ]
    if not taken:
        return []
    told = f"{len(taken)} convolutions come without the teacher's norms, which the target has none of; their scale is arbitrary"
    return [Caution(told, taken[0].name, advice="Expect to train it as from fresh weights.")]


def _regrouped(weights: WeightMap, teacher: Graph, target: Graph) -> list[Caution]:
    taken = [
        (entry.target.rpartition(".")[0], str(entry.source).rpartition(".")[0]) for entry in weights.tensors if entry.source
    ]
    pairs = [(target[ours], teacher[theirs]) for ours, theirs in dict.fromkeys(taken) if target[ours].op == "conv2d"]
    found: dict[tuple[int, int], list[Node]] = {}
    for ours, theirs in pairs:
        groups = (ours.attr("groups"), theirs.attr("groups"))
        if groups[0] != groups[1]:
            found.setdefault(groups, []).append(replace(ours, source=""))  # a line of our own code tells nobody anything
    return [
        Caution(
            f"{len(nodes)} convolutions have {ours} groups and their source {theirs}: {_places(nodes)}. Input channels are "
            "looped by their place inside the group, so every group takes those of the teacher's first channels",
            nodes[0].name,
            advice="For weights that keep their channels choose a target with the teacher's groups.",
        )
        for (ours, theirs), nodes in found.items()
    ]


def _firing_behind_the_add(plan: StagePlan, teacher: Graph, target: Graph) -> list[Caution]:
    """A pre-activated block fires inside, ahead of its convolutions, and has none behind the add by design."""
    silent = [
        pair.source
        for pair in plan.pairs
        if _fires(target, pair.target) and not _fires(teacher, pair.source) and teacher[pair.source.branch[0]].op == "conv2d"
    ]
    blocks = list(dict.fromkeys(block.name for block in silent))
    if not blocks:
        return []
    more = f" and {len(blocks) - SHOWN} more" if len(blocks) > SHOWN else ""
    told = f"{len(blocks)} of the teacher's blocks have no activation behind the add, where the target's have a neuron: "
    return [Caution(told + ", ".join(blocks[:SHOWN]) + more, silent[0].join, teacher[silent[0].join].source)]


def _fires(graph: Graph, block: Block) -> bool:
    return any(graph[name].op in ("activation", "neuron") for name in block.after)


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
    return Caution(
        f"{len(found)} of {of} activations are {kind}, but a neuron stands for a ReLU: {_places(found)}",
        found[0].name,
        found[0].source,
        "The weights are taken as they are; they may need more training than a ReLU network's.",
    )


def _places(nodes: list[Node]) -> str:
    places = [f"{node.name} ({node.source})" if node.source else node.name for node in nodes[:SHOWN]]
    return ", ".join(places) + (f" and {len(nodes) - SHOWN} more" if len(nodes) > SHOWN else "")
