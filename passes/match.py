"""Which source block each target block is initialised from: stage by stage, block by block.

A rule is a function ``(n_target, n_source) -> one source index for each target index``. The same rule pairs the
stages and, inside each pair of stages, the blocks that follow the entry block. A stage's entry block changes
resolution and width, so it always takes the entry block of the source stage.
To add a rule, add its function and its row in :data:`RULES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from idsnn_convert.passes.types import Block, BlockMap
from idsnn_convert.runtime.errors import UserError

Rule = Callable[[int, int], tuple[int, ...]]


def relative(n_target: int, n_source: int) -> tuple[int, ...]:
    """Each target takes the source at its own relative place: index floor((j + 1/2) n_source / n_target).

    IDSNN section 3.2.2: blocks keep their relative position. Equal counts pair one to one; a shorter target
    skips sources evenly, a longer one repeats them evenly.
    """
    return tuple((2 * j + 1) * n_source // (2 * n_target) for j in range(n_target))


def prefix(n_target: int, n_source: int) -> tuple[int, ...]:
    """Target j takes source min(j, n_source - 1), as the IDSNN authors' code does."""
    return tuple(min(j, n_source - 1) for j in range(n_target))


RULES: dict[str, Rule] = {"relative": relative, "prefix": prefix}


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
        raise UserError(f"unknown match rule {rule!r}", hint=f"Known: {', '.join(RULES)}.")
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


def _blocks(rule: str, n_target: int, n_source: int) -> tuple[int, ...]:
    """Source index of each block of a stage: entry to entry, the rest by the rule among the rest."""
    if rule == "prefix" or n_target == 1 or n_source == 1:
        return RULES[rule](n_target, n_source) if n_target > 1 else (0,)
    return (0, *(1 + index for index in RULES[rule](n_target - 1, n_source - 1)))
