"""A user's own pairs of blocks, from a TOML file: for ``--match FILE.toml``::

    default = "relative"                # for the target blocks not named; without it, every one must be
    "stage1.block0" = "stage1.block0"   # target block = source block
    "stage1.block1" = "stage1.block4"

Blocks go by the names that ``idsnn inspect`` shows: stages count from 1, blocks from 0.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from idsnn_convert.passes.match import Pair, StagePlan, match
from idsnn_convert.passes.rules import RULES
from idsnn_convert.passes.types import Block, BlockMap
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.toml_file import read_toml


@dataclass(frozen=True)
class Pairs:
    """Name of a target block -> name of its source block; ``default`` is the rule for the rest, if any."""

    file: str
    named: Mapping[str, str]
    default: str | None


def read_pairs(path: Path) -> Pairs:
    """The pairs in a file.

    Raises:
        UserError: if it cannot be read, is no TOML, pairs something else than names, or names an unknown rule.
    """
    content = read_toml(path)
    default = content.pop("default", None)
    if default is not None and not (isinstance(default, str) and default in RULES):
        raise UserError(f"{path}: unknown match rule {default!r}", hint=f"Known: {', '.join(RULES)}.")
    return Pairs(path.name, dict(_named(path, content)), default)


def _named(path: Path, content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """TOML reads an unquoted ``stage1.block0 = "..."`` as a table in a table; that is fine too."""
    for key, value in content.items():
        name = f"{above}{key}"
        if isinstance(value, dict):
            yield from _named(path, value, f"{name}.")
        elif isinstance(value, str):
            yield name, value
        else:
            raise UserError(f"{path}: {name} = {value!r:.40} names no block", hint='Write: "stage1.block0" = "stage1.block2".')


def match_named(target: BlockMap, source: BlockMap, pairs: Pairs) -> StagePlan:
    """Pairs the blocks that ``pairs`` names as it says, the rest by its default rule.

    Raises:
        UserError: if it names a block that is not there, or leaves target blocks out and has no default; or as
            :func:`idsnn_convert.passes.match.match`.
    """
    by_rule = match(target, source, pairs.default or "relative")
    theirs = {block.name: (index, block) for index, stage in enumerate(source.stages) for block in stage.blocks}
    ours = [pair.target.name for pair in by_rule.pairs]
    for name, other in pairs.named.items():
        _demand(pairs.file, name, ours, "target")
        _demand(pairs.file, other, list(theirs), "teacher")
    if pairs.default is None and (left := [name for name in ours if name not in pairs.named]):
        problem = f"{pairs.file} names no source for the target's {', '.join(left)}"
        raise UserError(problem, hint='Name them, or add the line: default = "relative".')
    found = tuple(_paired(pair, theirs, pairs.named.get(pair.target.name)) for pair in by_rule.pairs)
    return StagePlan(target, source, found, pairs.file)


def _paired(pair: Pair, theirs: Mapping[str, tuple[int, Block]], name: str | None) -> Pair:
    if name is None:
        return pair
    stage, block = theirs[name]
    return replace(pair, source=block, source_stage=stage)


def _demand(file: str, name: str, known: list[str], whose: str) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        meant = f"Did you mean {close[0]}? " if close else ""
        raise UserError(f"{file}: the {whose} has no block {name!r}", hint=f"{meant}It has: {', '.join(known)}.")
