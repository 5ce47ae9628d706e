from __future__ import annotations

import pytest

from idsnn_convert.report import summary
from idsnn_convert.report.record import Readout, Record


def test_places_count_their_tensors_by_status(record: Record) -> None:
    found = summary.places(record)
    assert [place.name for place in found] == ["stem", "stage1.block0", "stage2.block0", "stage3.block0", "head"]
    head = found[-1]
    assert (head.source, head.count("fresh"), head.count("exact"), head.values("exact")) == ("", 2, 0, 0)
    assert head.values() == head.values("fresh") == 16 * 10 + 10
    assert sum(place.values() for place in found) == record.coverage.of_parameters
    assert sum(place.values("exact", "looped") for place in found) == record.coverage.parameters


def test_the_two_lines_of_the_head(record: Record) -> None:
    assert summary.title(record) == "resnet(2-1-2 basic) -> spiking resnet8"
    assert summary.teacher_told(record) == "tiny.th, akamaster CIFAR ResNet, state dict"
    assert summary.student_told(record) == "T = 2, direct encoding, 7 LIF layers for 7 activation sites"
    leaky = record.model_copy(update={"readout": Readout(kind="membrane", decay=0.5)})
    assert summary.student_told(leaky).startswith("T = 2, direct encoding, membrane readout of decay 0.5, 7 LIF layers")
    assert summary.settings_told(record).startswith("stem auto, downsample pad, width 0.25,")


def test_neurons_alike_are_told_once(record: Record) -> None:
    (told, rows), *others = summary.alike(record.neurons)
    assert told == "lif, v_threshold 0.5, decay 0.25, hard reset, rectangle surrogate of half-width 0.5"
    assert rows[0] == (3, "4x28x28", "lif ... layer1.0.lif2")
    assert others == []
    learning = {**record.neurons[0].settings, "learn_decay": True, "learn_threshold": True}
    assert summary.neuron_told(learning) == f"{told}, learns its decay and threshold"
    assert summary.neuron_told({**record.neurons[0].settings, "damping": 0.3}) == f"{told} damped by 0.3"


def test_reasons_that_differ_in_the_block_alone_are_one() -> None:
    named = [(f"layer{s}.{b}.conv", f"no block takes stage{s}.block{b}") for s in (1, 2) for b in (1, 2)]
    assert summary.grouped([*named, ("fc", "fresh")]) == [
        ([name for name, _ in named], "no block takes stage1.block1-2, stage2.block1-2"),
        (["fc"], "fresh"),
    ]
    assert summary.names_told(["a", "b", "c"]) == "a, b, c"
    assert summary.names_told(["a", "b", "c", "d"]) == "4 tensors (a, ...)"


@pytest.mark.parametrize(
    ("blocks", "told"),
    [
        ([], ""),
        ([(1, 0)], "stage1.block0"),
        ([(3, 0), (1, 1), (1, 0), (1, 2)], "stage1.block0-2, stage3.block0"),
        ([(2, 0), (2, 2), (2, 3), (2, 7)], "stage2.block0,2-3,7"),
    ],
)
def test_blocks_in_short(blocks: list[tuple[int, int]], told: str) -> None:
    assert summary.block_list(blocks) == told
