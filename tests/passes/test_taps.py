from __future__ import annotations

import pytest

from idsnn_convert.passes.convert import Settings, convert
from idsnn_convert.passes.targets import target_for
from idsnn_convert.runtime.taps import read_taps
from tests.passes.made import spec, teacher


@pytest.mark.parametrize(
    ("block", "ops"),
    [("spiking", ["neuron"] * 3), ("sew-add", ["add"] * 3), ("ms", ["add", "add", "neuron"])],  # the last before the head
)
def test_one_at_the_end_of_each_stage(block: str, ops: list[str]) -> None:
    made = teacher(spec())
    checkpoint = convert(made, target_for(made, "resnet8", block=block), Settings(), {}).checkpoint
    rows, stages = checkpoint.mapping["taps"], checkpoint.mapping["stages"]["target"]
    assert [row["place"] for row in rows] == [f"stage{s}.block{len(stage['blocks']) - 1}" for s, stage in enumerate(stages, 1)]
    assert [list(checkpoint.graph[row["student"]].shape) for row in rows] == [stage["shape"] for stage in stages]
    assert [checkpoint.graph[row["student"]].op for row in rows] == ops
    assert {made.graph[row["teacher"]].op for row in rows} == {"activation"}
    assert len(read_taps(checkpoint.mapping, checkpoint.graph, made.graph, "attention")) == len(rows)


def test_a_teacher_onto_itself_is_tapped_at_its_own_activations() -> None:
    made = teacher(spec())
    checkpoint = convert(made, target_for(made, "same"), Settings(), {}).checkpoint
    for row in checkpoint.mapping["taps"]:
        assert made.graph[row["teacher"]].op == "activation"
        assert checkpoint.graph[row["student"]].shape == made.graph[row["teacher"]].shape
