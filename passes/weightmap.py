"""Tensor level of the match: for every target tensor its source, or the reason why it stays fresh.

Inside a pair of regions (stem with stem, branch with branch, shortcut with shortcut) convolutions are aligned by
kernel size and relative place; a batch norm follows the convolution it stands behind (or before).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from idsnn_convert.passes.match import UNPAIRED, StagePlan
from idsnn_convert.passes.rules import prefix, relative
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Node, Shape
from idsnn_convert.runtime.ops import NORMS, OPS

SHORTCUTS = ("init", "fresh")
HEADS = ("fresh", "copy")
ASKED_SHORTCUTS = "shortcuts were asked to stay fresh"
NOTHING_CORRESPONDS = "the target is a chain of layers and the teacher is none, so nothing corresponds"


@dataclass(frozen=True)
class TensorMap:
    """Where one target tensor comes from.

    Attributes:
        place: ``stem``, the target block's name, or ``head``.
        source: name of the teacher's tensor (``node.slot`` of its graph); None if the target stays fresh.
        rule: ``copy`` (shapes agree), ``loop`` (loop interpolation) or ``fresh``.
        reason: why it is fresh; empty otherwise.
    """

    target: str
    target_shape: Shape
    place: str
    rule: str
    source: str | None = None
    source_shape: Shape | None = None
    reason: str = ""

    @property
    def status(self) -> str:
        """``exact``: the teacher's values; ``looped``: some repeated or left out; ``fresh``."""
        if self.source is None:
            return "fresh"
        return "exact" if self.source_shape == self.target_shape else "looped"

    @property
    def repeats(self) -> tuple[int, int] | None:
        """How often the teacher's output channels and input channels occur, at most; None for a fresh tensor."""
        if self.source_shape is None:
            return None
        times = [-(-ours // theirs) for ours, theirs in zip(self.target_shape, self.source_shape, strict=True)]
        return (times[0], times[1] if len(times) > 1 else 1)


@dataclass(frozen=True)
class WeightMap:
    """One entry for every tensor of the target, in graph order, and what of the source none of them uses."""

    tensors: tuple[TensorMap, ...]
    unused: Mapping[str, str]  # source tensor -> reason


@dataclass(frozen=True)
class _Link:
    """A target node and the source node its tensors come from; None with a reason."""

    source: Node | None
    reason: str
    place: str


def map_weights(plan: StagePlan, target: Graph, source: Graph, *, shortcuts: str = "init", head: str = "fresh") -> WeightMap:
    """One :class:`TensorMap` for every tensor the target graph declares.

    Args:
        shortcuts: ``init`` from the teacher's, or ``fresh`` as in the IDSNN authors' code.
        head: ``fresh`` as published, or ``copy`` where classes and features agree.

    Raises:
        UserError: on an unknown choice; on ``head="copy"`` where the shapes forbid it, naming both.
    """
    _check_choices(shortcuts, head)
    if plan.rule == UNPAIRED:
        places = plan.target.places
        links = {node.name: _Link(None, NOTHING_CORRESPONDS, places[node.name]) for node in target}
        return _entries(plan, target, source, links, head)
    links = dict(_region(target, plan.target.stem, source, plan.source.stem, "stem", prefix))
    for pair in plan.pairs:
        place, theirs = pair.target.name, pair.source
        mine, other = (*pair.target.branch, *pair.target.after), (*theirs.branch, *theirs.after)
        links.update(_region(target, mine, source, other, place, relative))
        if shortcuts == "fresh":
            links.update(_fresh(target, pair.target.shortcut, place, ASKED_SHORTCUTS))
        elif not any(OPS[source[name].op].tensors(source[name]) for name in theirs.shortcut):
            reason = f"the shortcut of the teacher's {theirs.name} has no weights"
            links.update(_fresh(target, pair.target.shortcut, place, reason))
        else:
            links.update(_region(target, pair.target.shortcut, source, theirs.shortcut, place, relative))
    behind = "head" if plan.target.stages else "network"
    links.update(_head(target, plan.target.head, source, plan.source.head, head, behind))
    return _entries(plan, target, source, links, head)


def map_same(plan: StagePlan, graph: Graph, *, shortcuts: str = "init", head: str = "copy") -> WeightMap:
    """The map of a teacher's own graph onto itself: every tensor a copy but those that are asked to stay fresh.

    ``head="fresh"`` leaves out the linear layers behind the last block, or the last one where there is no block.

    Raises:
        UserError: on an unknown choice.
    """
    _check_choices(shortcuts, head)
    places = plan.target.places
    links = {node.name: _Link(node, "", places[node.name]) for node in graph}
    if shortcuts == "fresh":
        for block in plan.target.blocks:
            links.update(_fresh(graph, block.shortcut, block.name, ASKED_SHORTCUTS))
    if head == "fresh":
        linear = [name for name in plan.target.head if graph[name].op == "linear"]
        links.update(_fresh(graph, linear if plan.target.stages else linear[-1:], "head", "the head was asked to stay fresh"))
    return _entries(plan, graph, graph, links, head)


def _check_choices(shortcuts: str, head: str) -> None:
    for what, value, known in (("shortcuts", shortcuts, SHORTCUTS), ("head", head, HEADS)):
        if value not in known:
            raise UserError(f"unknown choice {value!r} for {what}", hint=f"Known: {', '.join(known)}.")


def _region(
    target: Graph, mine: Sequence[str], source: Graph, theirs: Sequence[str], place: str, rule: object
) -> Iterator[tuple[str, _Link]]:
    """Links every node with tensors among ``mine`` to one among ``theirs``."""
    pick = prefix if rule is prefix else relative
    convs = [source[name] for name in _ungated(source, theirs) if source[name].op == "conv2d"]
    aligned: dict[str, Node] = {}
    for kernel in dict.fromkeys(target[name].attr("kernel") for name in mine if target[name].op == "conv2d"):
        wanting = [name for name in mine if target[name].op == "conv2d" and target[name].attr("kernel") == kernel]
        offered = [node for node in convs if node.attr("kernel") == kernel]
        if offered:
            aligned.update((name, offered[i]) for name, i in zip(wanting, pick(len(wanting), len(offered)), strict=True))
    for name in mine:
        node = target[name]
        if node.op == "conv2d":
            kernel = "x".join(map(str, node.attr("kernel")))
            yield name, _Link(aligned.get(name), f"the teacher has no {kernel} convolution at this place", place)
        elif node.op == "batch_norm":
            yield name, _norm_link(target, node, mine, source, aligned, place)


def _ungated(graph: Graph, names: Sequence[str]) -> list[str]:
    """Those of ``names``, a region's nodes, that give maps; what only computes a gate (squeeze and excitation) does not."""
    inside, found = set(names), set[str]()
    for name in reversed(names):  # readers come before what they read
        readers = graph.users[name]
        if not readers or any(user not in inside or (user in found and graph[user].op != "gate") for user in readers):
            found.add(name)
    return [name for name in names if name in found]


def _norm_link(target: Graph, norm: Node, mine: Sequence[str], source: Graph, aligned: Mapping[str, Node], place: str) -> _Link:
    """The source norm that stands to the aligned convolution as ``norm`` stands to its own."""
    before = target[norm.inputs[0]]
    if before.op == "conv2d" and before.name in mine:  # a pre-activated block's first norm may stand right behind the stem
        if before.name not in aligned:
            return _Link(None, "its convolution has no source", place)
        conv = aligned[before.name]
        found = [source[name] for name in source.users[conv.name] if source[name].op in NORMS]
        return _Link(found[0] if found else None, _why_no_norm(conv), place)
    convs = _next_convs(target, norm)
    theirs = [_previous_norm(source, aligned[conv.name]) for conv in convs if conv.name in aligned]
    return _Link(next((node for node in theirs if node), None), "no batch norm precedes the teacher's convolution", place)


def _why_no_norm(conv: Node) -> str:
    """A folded norm's bias is beta - gamma mean / deviation. As the bias of a norm that learns it would be right only
    under that mean, and training takes the batch's own: so it is not mapped."""
    folded = "; if it was folded into the bias, that cannot be undone without data" if conv.attr("bias") else ""
    return f"no batch norm follows the teacher's {conv.name}{folded}"


def _next_convs(graph: Graph, norm: Node) -> list[Node]:
    """The convolutions that read ``norm`` directly or behind its activation or neuron."""
    ahead = [graph[name] for name in graph.users[norm.name]]
    ahead += [graph[name] for node in ahead if node.op in ("activation", "neuron") for name in graph.users[node.name]]
    return [node for node in ahead if node.op == "conv2d"]


def _previous_norm(graph: Graph, conv: Node) -> Node | None:
    """The norm right before ``conv``, activations aside."""
    node = graph[conv.inputs[0]]
    while node.op in ("activation", "neuron", "dropout"):
        node = graph[node.inputs[0]]
    return node if node.op in NORMS else None


def _fresh(target: Graph, names: Sequence[str], place: str, reason: str) -> Iterator[tuple[str, _Link]]:
    return ((name, _Link(None, reason, place)) for name in names if OPS[target[name].op].tensors(target[name]))


def _head(
    target: Graph, mine: Sequence[str], source: Graph, theirs: Sequence[str], head: str, place: str
) -> Iterator[tuple[str, _Link]]:
    """The linear layers (never interpolated), and whatever convolutions stand behind the last block: in a chain all."""
    yield from _region(target, mine, source, theirs, place, relative)
    linear = [source[name] for name in theirs if source[name].op == "linear"]
    for name in mine:
        node = target[name]
        if node.op != "linear":
            continue
        if head == "fresh":
            yield name, _Link(None, "the head stays fresh, as published", place)
            continue
        sizes = (node.attr("out_features"), node.attr("in_features"))
        fitting = [other for other in linear if (other.attr("out_features"), other.attr("in_features")) == sizes]
        if not fitting:
            found = ", ".join(f"{other.attr('in_features')} -> {other.attr('out_features')}" for other in linear)
            wanted = f"{sizes[1]} -> {sizes[0]}"
            problem = f"the head cannot be copied: the target's maps {wanted} (features -> classes), the teacher's {found}"
            raise UserError(problem, hint="Leave the head fresh, or choose a target as wide as the teacher.")
        yield name, _Link(fitting[-1], "", place)


def _entries(plan: StagePlan, target: Graph, source: Graph, links: Mapping[str, _Link], head: str) -> WeightMap:
    entries = []
    for node in target:
        for slot, shape in OPS[node.op].tensors(node).items():
            link = links.get(node.name, _Link(None, "no rule covers this kind of layer", plan.target.places[node.name]))
            theirs = OPS[link.source.op].tensors(link.source).get(slot) if link.source else None
            name = f"{node.name}.{slot}"
            if link.source is None or theirs is None:
                reason = link.reason if link.source is None else f"the teacher's {link.source.name} has no {slot}"
                entries.append(TensorMap(name, shape, link.place, "fresh", reason=reason))
            else:
                rule = "copy" if theirs == shape else "loop"
                entries.append(TensorMap(name, shape, link.place, rule, f"{link.source.name}.{slot}", theirs))
    used = {entry.source for entry in entries}
    untaken = _untaken(plan)
    unused = {}
    for node in source:
        for slot in OPS[node.op].tensors(node):
            if (name := f"{node.name}.{slot}") not in used:
                in_head = node.name in plan.source.head and (plan.source.stages or node.op == "linear")
                unused[name] = _why_unused(node, slot, used, untaken, head if in_head else "")
    return WeightMap(tuple(entries), unused)


def _untaken(plan: StagePlan) -> dict[str, str]:
    """Name of each node in a source block that no target block takes -> why not; of every node, where nothing corresponds."""
    if plan.rule == UNPAIRED:
        return dict.fromkeys(plan.source.places, NOTHING_CORRESPONDS)
    taken = {pair.source.name for pair in plan.pairs}
    left = [block for block in plan.source.blocks if block.name not in taken]
    reasons = {block.name: f"no target block takes {block.name} under the {plan.rule} rule" for block in left}
    return {name: reasons[block.name] for block in left for name in (*block.branch, *block.shortcut, *block.after)}


def _why_unused(node: Node, slot: str, used: Collection[str | None], untaken: Mapping[str, str], head: str) -> str:
    """``head``: what became of the head, if ``node`` is in it."""
    if slot == "bias" and f"{node.name}.weight" in used:
        return "the target's layer has no bias"
    if node.name in untaken:
        return untaken[node.name]
    if head:
        return "the head stays fresh" if head == "fresh" else "the target's head has no such layer"
    return "the target has no layer for it"
