"""Where student and teacher can be compared on the way: the end of each stage of the target and of its source block."""

from __future__ import annotations

from dataclasses import dataclass

from idsnn_convert.passes.match import StagePlan
from idsnn_convert.passes.types import Block
from idsnn_convert.runtime.graph import Graph


@dataclass(frozen=True)
class Tap:
    """Two nodes whose maps (C, H, W) stand for each other; ``place`` is the target's block: ``stage2.block1``."""

    place: str
    student: str
    teacher: str


def taps(plan: StagePlan, target: Graph, spiking: Graph, teacher: Graph) -> tuple[Tap, ...]:
    """One for the last block of each stage of the target.

    Args:
        target: before its activations became neurons; node by node in the order of ``spiking``.
    """
    became = {node.name: neuron.name for node, neuron in zip(target, spiking, strict=True)}
    last = {pair.target_stage: pair for pair in plan.pairs}
    return tuple(Tap(pair.target.name, became[_end(pair.target, target)], _end(pair.source, teacher)) for pair in last.values())


def _end(block: Block, graph: Graph) -> str:
    """The block's activation after its join, or the join where there is none of its shape."""
    fires = [name for name in block.after if graph[name].op == "activation" and graph[name].shape == block.shape]
    return fires[-1] if fires else block.join
