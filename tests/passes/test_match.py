from __future__ import annotations

import pytest

from idsnn_convert.passes.match import RULES, match, prefix, relative
from idsnn_convert.passes.types import Block, BlockMap, Stage
from idsnn_convert.runtime.errors import UserError


def blocks(*depths: int) -> BlockMap:
    stages = []
    for s, depth in enumerate(depths):
        names = [f"stage{s}.block{b}" for b in range(depth)]
        stages.append(Stage(tuple(Block(name, "fork", "join", (), (), (), (s + 1, 1, 1)) for name in names)))
    return BlockMap((), tuple(stages), ())


def sources(target: BlockMap, source: BlockMap, rule: str) -> list[str]:
    return [pair.source.name for pair in match(target, source, rule).pairs]


def test_relative_by_hand() -> None:
    assert relative(2, 4) == (1, 3)
    assert relative(4, 2) == (0, 0, 1, 1)
    assert relative(4, 3) == (0, 1, 1, 2)
    assert relative(1, 3) == (1,)


def test_prefix_by_hand() -> None:
    assert prefix(2, 4) == (0, 1)
    assert prefix(4, 2) == (0, 1, 1, 1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n_source", range(1, 9))
@pytest.mark.parametrize("n_target", range(1, 9))
def test_every_rule_gives_every_target_a_source_in_order(rule: str, n_target: int, n_source: int) -> None:
    found = RULES[rule](n_target, n_source)
    assert len(found) == n_target
    assert list(found) == sorted(found)
    assert 0 <= found[0] <= found[-1] < n_source
    if n_target == n_source:
        assert found == tuple(range(n_source))


def test_relative_uses_each_source_equally_often_when_it_repeats() -> None:
    found = relative(12, 4)
    assert [found.count(i) for i in range(4)] == [3, 3, 3, 3]


def test_entry_blocks_take_entry_blocks_and_the_rest_keep_their_place() -> None:
    # resnet32 -> resnet20: of five blocks a stage, the entry and then the third and the fifth
    assert sources(blocks(3), blocks(5), "relative") == ["stage0.block0", "stage0.block2", "stage0.block4"]
    assert sources(blocks(3), blocks(5), "prefix") == ["stage0.block0", "stage0.block1", "stage0.block2"]
    assert sources(blocks(5), blocks(3), "relative")[0] == "stage0.block0"
    assert "stage0.block0" not in sources(blocks(5), blocks(3), "relative")[1:]


def test_single_blocks_on_either_side() -> None:
    assert sources(blocks(1), blocks(5), "relative") == ["stage0.block0"]
    assert sources(blocks(3), blocks(1), "relative") == ["stage0.block0"] * 3


def test_stages_are_paired_by_the_same_rule_either_way_round() -> None:
    assert [p.source_stage for p in match(blocks(1, 1, 1, 1), blocks(1, 1, 1)).pairs] == [0, 1, 1, 2]
    assert [p.source_stage for p in match(blocks(1, 1, 1), blocks(1, 1, 1, 1)).pairs] == [0, 2, 3]
    assert [p.source_stage for p in match(blocks(1, 1, 1, 1), blocks(1, 1, 1), "prefix").pairs] == [0, 1, 2, 2]


def test_unknown_rule_and_networks_without_blocks_are_refused() -> None:
    with pytest.raises(UserError, match=r"unknown match rule 'best'[\s\S]*relative"):
        match(blocks(1), blocks(1), "best")
    with pytest.raises(UserError, match="the teacher has no residual block"):
        match(blocks(1), blocks())
    with pytest.raises(UserError, match="the target has no residual block"):
        match(blocks(), blocks(1))
