from __future__ import annotations

from itertools import pairwise

from idsnn_convert.report.layout import BETWEEN, BOX, STEP, Band, Layout, layout
from idsnn_convert.report.record import Block, Pair, Record, Stage, Stages


def drawn(record: Record, theirs: tuple[int, ...], ours: tuple[int, ...], pairs: dict[str, str]) -> Layout:
    """The layout of two networks of so many blocks a stage."""

    def stages(depths: tuple[int, ...]) -> list[Stage]:
        block = {"join": "add", "convolutions": 2, "shortcut": "identity"}
        return [
            Stage(shape=[4, 8, 8], blocks=[Block(name=f"stage{s}.block{b}", **block) for b in range(depth)])
            for s, depth in enumerate(depths, 1)
        ]

    def stage(name: str) -> int:
        return int(name[5]) - 1

    rows = [Pair(target=t, source=s, target_stage=stage(t), source_stage=stage(s), rule="") for t, s in pairs.items()]
    return layout(record.model_copy(update={"stages": Stages(teacher=stages(theirs), target=stages(ours)), "pairs": rows}))


def boxes(bands: tuple[Band, ...]) -> dict[str, float]:
    return {box.place: box.y for band in bands for box in band.boxes}


def assert_sound(found: Layout) -> None:
    """Boxes in order, apart, inside their bands; bands in order, apart, inside the figure."""
    for bands in (found.teacher, found.student):
        tops = list(boxes(bands).values())
        assert all(after - before >= STEP - 0.01 for before, after in pairwise(tops))
        assert all(band.y <= box.y and box.y + BOX <= band.y + band.height for band in bands for box in band.boxes)
        assert all(a.y + a.height + BETWEEN <= b.y + 0.01 for a, b in pairwise(bands))
        assert bands[-1].y + bands[-1].height <= found.height


def test_partners_stand_level_where_they_can(record: Record) -> None:
    pairs = {"stage1.block0": "stage1.block0", "stage1.block1": "stage1.block2", "stage2.block0": "stage2.block0"}
    found = drawn(record, (4, 1), (2, 1), pairs)
    assert_sound(found)
    left, right = boxes(found.teacher), boxes(found.student)
    assert all(left[source] == right[target] for target, source in pairs.items())
    assert left["stem"] == right["stem"]
    assert left["head"] == right["head"]


def test_a_block_with_several_partners_stands_in_their_middle(record: Record) -> None:
    found = drawn(record, (1,), (3,), {f"stage1.block{b}": "stage1.block0" for b in range(3)})
    assert_sound(found)
    assert boxes(found.teacher)["stage1.block0"] == boxes(found.student)["stage1.block1"]


def test_partners_out_of_order_keep_their_own(record: Record) -> None:
    assert_sound(drawn(record, (4,), (2,), {"stage1.block0": "stage1.block3", "stage1.block1": "stage1.block0"}))
    assert_sound(drawn(record, (2, 2), (3,), {f"stage1.block{b}": "stage2.block1" for b in range(3)}))


def test_stages_share_a_piece_where_pairs_cross(record: Record) -> None:
    names = {"stage1.block0": "stage1.block0", "stage2.block0": "stage2.block0", "stage3.block0": "stage2.block0"}
    found = drawn(record, (1, 1, 1), (1, 1, 1), names)
    assert_sound(found)
    left, right = found.teacher, found.student
    assert (left[1].y, left[1].height) == (right[1].y, right[1].height)  # first stages alone
    assert left[-1].y == right[-1].y
    crossed = {"stage1.block0": "stage2.block0", "stage2.block0": "stage1.block0"}
    assert_sound(drawn(record, (1, 1), (1, 1), crossed))


def test_no_stages_one_box(record: Record) -> None:
    found = drawn(record, (), (), {})
    assert [list(boxes(bands)) for bands in (found.teacher, found.student)] == [["network"], ["network"]]
    assert_sound(found)
