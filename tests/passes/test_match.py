from __future__ import annotations

import pytest
import torch
from torch import nn

from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.match import along, blocks_if_any, match, onto_itself
from idsnn_convert.passes.rules import RULES
from idsnn_convert.passes.types import Block, BlockMap, Stage
from idsnn_convert.runtime.errors import UserError
from tests.passes.made import network, spec
from tests.passes.replicas import Calls


def blocks(*depths: int) -> BlockMap:
    stages = []
    for s, depth in enumerate(depths):
        names = [f"stage{s}.block{b}" for b in range(depth)]
        stages.append(Stage(tuple(Block(name, "fork", "join", (), (), (), (s + 1, 1, 1)) for name in names)))
    return BlockMap((), tuple(stages), ())


def sources(target: BlockMap, source: BlockMap, rule: str) -> list[str]:
    return [pair.source.name for pair in match(target, source, rule).pairs]


def test_entry_blocks_take_entry_blocks_and_the_rest_keep_their_place() -> None:
    # resnet32 -> resnet20: of five blocks a stage, the entry and then the third and the fifth
    assert sources(blocks(3), blocks(5), "relative") == ["stage0.block0", "stage0.block2", "stage0.block4"]
    assert sources(blocks(3), blocks(5), "prefix") == ["stage0.block0", "stage0.block1", "stage0.block2"]
    assert sources(blocks(5), blocks(3), "relative")[0] == "stage0.block0"
    assert "stage0.block0" not in sources(blocks(5), blocks(3), "relative")[1:]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n_source", range(1, 7))
@pytest.mark.parametrize("n_target", range(1, 7))
def test_no_other_block_takes_an_entry_block_where_there_are_others(rule: str, n_target: int, n_source: int) -> None:
    first, *rest = sources(blocks(n_target), blocks(n_source), rule)
    assert first == "stage0.block0"
    assert n_source == 1 or "stage0.block0" not in rest


def test_spread_blocks() -> None:
    assert sources(blocks(3), blocks(5), "spread") == ["stage0.block0", "stage0.block2", "stage0.block4"]
    assert sources(blocks(5), blocks(3), "spread") == [f"stage0.block{b}" for b in (0, 1, 1, 2, 2)]


def test_onto_itself_pairs_each_block_with_itself() -> None:
    plan = onto_itself(network(spec()).graph)
    assert [pair.target.name for pair in plan.pairs] == [f"stage{s}.block{b}" for s in (1, 2) for b in range(3)]
    assert all(pair.target is pair.source for pair in plan.pairs)
    assert [pair.target_stage for pair in plan.pairs] == [pair.source_stage for pair in plan.pairs] == [0, 0, 0, 1, 1, 1]


def test_a_network_that_is_no_chain_of_blocks_is_a_whole_onto_itself() -> None:
    dense = Calls(lambda self, x: torch.cat([y := self.a(x), self.b(y)], 1), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 4, 1))
    plan = onto_itself(trace_known(dense, (3, 4, 4)).graph)
    assert plan.pairs == ()
    assert plan.target.head == ("input", "a", "b", "concat", "output")


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


def test_what_has_no_blocks_is_paired_with_nothing_and_told_apart_by_what_it_joins() -> None:
    chain = trace_known(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)), (3, 4, 4)).graph
    dense = trace_known(Calls(lambda self, x: torch.cat([x, self.a(x)], 1), a=nn.Conv2d(3, 4, 1)), (3, 4, 4)).graph
    assert blocks_if_any(dense).stages == ()
    found = [along(blocks_if_any(chain), source) for source in (chain, dense)]
    assert [(plan.rule, plan.pairs) for plan in found] == [("chain", ()), ("none", ())]
