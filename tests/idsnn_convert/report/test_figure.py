from __future__ import annotations

from xml.etree import ElementTree

from idsnn_convert.report.figure import figure, links
from idsnn_convert.report.record import Record


def test_a_link_wherever_a_tensor_came_from(record: Record) -> None:
    found = links(record)
    assert found["teacher stem", "student stem"] == "exact"
    assert found["teacher stage2.block0", "student stage2.block0"] == "exact"
    assert not [ends for ends in found if "head" in ends[1]]
    looped = [
        row.model_copy(update={"status": "looped"}) if row.target == "layer2.0.bn1.bias" else row for row in record.tensors
    ]
    assert links(record.model_copy(update={"tensors": looped}))["teacher stage2.block0", "student stage2.block0"] == "looped"


def test_every_block_is_a_box_that_says_what_it_is(record: Record) -> None:
    drawn = ElementTree.fromstring(figure(record))
    boxes = {box.get("data-key"): box for box in drawn.iter("g") if box.get("data-key")}
    wanted = {f"student {place}" for place in {row.place for row in record.tensors}}
    wanted |= {f"teacher {block.name}" for stage in record.stages.teacher for block in stage.blocks}
    assert boxes.keys() == wanted | {"teacher stem", "teacher head"}
    assert all(box.get("role") == "button" and box.get("tabindex") == "0" for box in boxes.values())
    assert boxes["student head"].get("aria-label") == "head fresh"
    assert boxes["teacher stage1.block1"].get("class") == "box unused"
    assert boxes["teacher stage1.block1"].get("aria-label") == "block 1 unused"
    ends = [line.get("data-ends") for line in drawn.iter("path")]
    assert ends == ["|".join(pair) for pair in links(record)]


def test_a_boxs_bar_is_its_whole_width(record: Record) -> None:
    for box in ElementTree.fromstring(figure(record)).iter("g"):
        if box.get("data-key"):
            shares = [bar for bar in box.iter("rect") if str(bar.get("class")).startswith("share")]
            assert abs(sum(float(str(bar.get("width")).rstrip("%")) for bar in shares) - 100) < 0.1
