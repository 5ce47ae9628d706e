from __future__ import annotations

from pathlib import Path

import pytest

from idsnn_convert.passes.match_file import Pairs, match_named, read_pairs
from idsnn_convert.runtime.errors import UserError
from tests.passes.test_match import blocks


def read(tmp_path: Path, text: str) -> Pairs:
    file = tmp_path / "pairs.toml"
    file.write_text(text)
    return read_pairs(file)


def test_pairs_are_read_quoted_or_not(tmp_path: Path) -> None:
    quoted = read(tmp_path, 'default = "spread"\n"stage1.block0" = "stage2.block3"\n')
    assert quoted == Pairs("pairs.toml", {"stage1.block0": "stage2.block3"}, "spread")
    assert read(tmp_path, 'default = "spread"\nstage1.block0 = "stage2.block3"\n') == quoted


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('default = "best"', r"unknown match rule 'best'\nKnown: relative, prefix, spread"),
        ('default = ["relative"]', "unknown match rule"),
        ('"stage1.block0" = 3', r"stage1.block0 = 3 names no block\nWrite:"),
        ("= 3", "no valid TOML"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError, match=rf"pairs.toml.*{told}"):
        read(tmp_path, text)


def test_named_blocks_go_as_told_and_the_rest_by_the_default() -> None:
    plan = match_named(blocks(3, 2), blocks(5, 4), Pairs("p.toml", {"stage0.block1": "stage1.block3"}, "prefix"))
    assert [(pair.source.name, pair.target_stage, pair.source_stage) for pair in plan.pairs] == [
        ("stage0.block0", 0, 0),
        ("stage1.block3", 0, 1),
        ("stage0.block2", 0, 0),
        ("stage1.block0", 1, 1),
        ("stage1.block1", 1, 1),
    ]
    assert plan.rule == "p.toml"


def test_without_a_default_every_target_block_must_be_named() -> None:
    with pytest.raises(
        UserError, match=r"p.toml names no source for the target's stage0.block1, stage0.block2[\s\S]*default ="
    ):
        match_named(blocks(3), blocks(3), Pairs("p.toml", {"stage0.block0": "stage0.block0"}, None))
    named = {f"stage0.block{b}": "stage0.block1" for b in range(3)}
    assert [pair.source.name for pair in match_named(blocks(3), blocks(3), Pairs("p.toml", named, None)).pairs] == [
        "stage0.block1"
    ] * 3


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"stage0.blok1": "stage0.block0"}, "the target has no block 'stage0.blok1'"),
        ({"stage0.block1": "stage0.block7"}, "the teacher has no block 'stage0.block7'"),
    ],
)
def test_unknown_blocks_are_named_with_those_there_are(named: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=rf"p.toml: {told}[\s\S]*Did you mean stage0.block[\s\S]*It has: stage0.block0, stage0"):
        match_named(blocks(2), blocks(3), Pairs("p.toml", named, "relative"))
