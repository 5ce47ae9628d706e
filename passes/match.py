"""Which source block each target block is initialised from: stage by stage, block by block.

One of the rules of :mod:`idsnn_convert.passes.rules` pairs the stages and, inside each pair of stages, the blocks. A stage's
entry block changes resolution and width, so it takes the entry block of the source stage, and no other block does while the
source stage has others. A user's own pairs: :mod:`idsnn_convert.passes.match_file`.
"""

from __future__ import annotations

from dataclasses import dataclass

from idsnn_convert.passes.rules import RULES, relative
from idsnn_convert.passes.segment import segment
from idsnn_convert.passes.types import Block, BlockMap
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph

CHAIN = "chain"
"""Two networks without residual blocks: their layers are aligned along the whole chain."""
UNPAIRED = "none"
"""A target that is a chain of layers and a teacher that is none: nothing corresponds."""


@dataclass(frozen=True)
class Pair:
    """One target block and the source block it is initialised from."""

    target: Block
    source: Block
    target_stage: int
    source_stage: int


@dataclass(frozen=True)
class StagePlan:
    """Every target block with its source, in the target's order.

    Attributes:
        rule: name of the rule that paired them.
    """

    target: BlockMap
    source: BlockMap
    pairs: tuple[Pair, ...]
    rule: str


def match(target: BlockMap, source: BlockMap, rule: str = "relative") -> StagePlan:
    """Pairs the target's blocks with the source's; the two may have any numbers of stages and blocks.

    Raises:
        UserError: on an unknown rule, or a network without residual blocks.
    """
    if rule not in RULES:
        hint = f"Known: {', '.join(RULES)}, or a file of your own pairs, FILE.toml."
        raise UserError(f"unknown match rule {rule!r}", hint=hint)
    for what, blocks in (("target", target), ("teacher", source)):
        if not blocks.stages:
            raise UserError(f"the {what} has no residual block, so there is nothing to match")
    pairs = []
    stages = RULES[rule](len(target.stages), len(source.stages))
    for t, s in enumerate(stages):
        theirs = source.stages[s].blocks
        for block, index in zip(target.stages[t].blocks, _blocks(rule, len(target.stages[t].blocks), len(theirs)), strict=True):
            pairs.append(Pair(block, theirs[index], t, s))
    return StagePlan(target, source, tuple(pairs), rule)


def blocks_if_any(graph: Graph) -> BlockMap:
    """The blocks of a network; no stage of one that is not made of residual blocks."""
    try:
        return segment(graph)
    except UserError:
        return BlockMap((), (), tuple(node.name for node in graph))


def along(target: BlockMap, source: Graph) -> StagePlan:
    """For a target that is a chain of layers without residual blocks: beside another such chain, or beside what is none."""
    theirs = blocks_if_any(source)
    chain = not theirs.stages and not source.of("add", "mul", "concat")
    return StagePlan(target, theirs, (), CHAIN if chain else UNPAIRED)


def onto_itself(graph: Graph) -> StagePlan:
    """Each block of a network with itself; no pairs in a network that is no chain of residual blocks."""
    blocks = blocks_if_any(graph)
    pairs = [Pair(block, block, index, index) for index, stage in enumerate(blocks.stages) for block in stage.blocks]
    return StagePlan(blocks, blocks, tuple(pairs), "same")


def _blocks(rule: str, n_target: int, n_source: int) -> tuple[int, ...]:
    """Source index of each block of a stage: entry to entry, the others by the rule."""
    if n_target == 1 or n_source == 1:
        return (0,) * n_target
    if rule == "relative":  # it centres, so it would not begin at the entry: the others among the others
        return (0, *(1 + index for index in relative(n_target - 1, n_source - 1)))
    return (0, *(max(1, index) for index in RULES[rule](n_target, n_source)[1:]))
