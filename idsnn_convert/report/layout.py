"""Teacher and student side by side: where each block's box and each stage's band lies.

The two columns are cut where no pair crosses the cut (stem from stages, stage from stage, stages from head) and each
piece is as high on the left as on the right, so that lines run level wherever the pairs allow. Heights are pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from idsnn_convert.report.record import Record, Stage
from idsnn_convert.report.summary import TIMES, dims

BOX, STEP, LABEL, MARGIN, BETWEEN = 26, 33, 22, 7, 10
"""Height of a box, of a row of the fuller column, of a band's label; of the space in a band without one, and below each."""


@dataclass(frozen=True)
class Box:
    """One block; ``y`` is its upper edge."""

    place: str
    label: str
    y: float


@dataclass(frozen=True)
class Band:
    """Stem, stage or head."""

    label: str
    y: float
    height: float
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Layout:
    teacher: tuple[Band, ...]
    student: tuple[Band, ...]
    height: float


def layout(record: Record) -> Layout:
    """Where everything lies; a single box each where the record tells of no stages."""
    theirs, ours = _bands(record.stages.teacher), _bands(record.stages.target)
    left, right, y = list[Band](), list[Band](), 0.0
    for (t0, s0), (t1, s1) in pairwise(_cuts(record, len(theirs), len(ours))):
        height = max(sum(_height(band) + BETWEEN for band in piece) for piece in (theirs[t0:t1], ours[s0:s1]))
        teacher, student = (list(_placed(piece, y, height)) for piece in (theirs[t0:t1], ours[s0:s1]))
        if len(teacher) == len(student) == 1:
            teacher[0], student[0] = _levelled(record, teacher[0], student[0])
        left, right, y = left + teacher, right + student, y + height
    return Layout(tuple(left), tuple(right), y)


_Names = tuple[str, tuple[str, ...]]  # a band's label, and the places in it


def _bands(stages: Sequence[Stage]) -> list[_Names]:
    if not stages:
        return [("", ("network",))]
    rows = [
        (f"stage {index} · {dims(stage.shape, TIMES)}", tuple(block.name for block in stage.blocks))
        for index, stage in enumerate(stages, 1)
    ]
    return [("", ("stem",)), *rows, ("", ("head",))]


def _cuts(record: Record, theirs: int, ours: int) -> list[tuple[int, int]]:
    """Indices (teacher's band, student's band) before which both columns can be cut; from the first to the end."""
    if theirs == 1 or ours == 1:
        return [(0, 0), (theirs, ours)]
    pairs = [(pair.source_stage + 1, pair.target_stage + 1) for pair in record.pairs]
    cuts = [(0, 0), (1, 1)]
    for band in range(2, ours - 1):
        before = [source for source, target in pairs if target < band]
        after = [source for source, target in pairs if target >= band]
        if before and after and max(before) < min(after):
            cuts.append((min(after), band))
    return [*cuts, (theirs - 1, ours - 1), (theirs, ours)]


def _height(band: _Names) -> float:
    return (LABEL if band[0] else MARGIN) + len(band[1]) * STEP


def _placed(bands: Sequence[_Names], y: float, height: float) -> Iterator[Band]:
    """The bands from ``y`` down, spread over ``height``: what is over goes to each by its number of boxes."""
    spare = height - sum(_height(band) + BETWEEN for band in bands)
    count = sum(len(names) for _, names in bands)
    for label, names in bands:
        tall = _height((label, names)) + spare * len(names) / count
        top, step = y + (LABEL if label else MARGIN), (tall - (LABEL if label else MARGIN)) / len(names)
        boxes = tuple(Box(name, _short(name), top + step * i + (step - MARGIN - BOX) / 2) for i, name in enumerate(names))
        yield Band(label, y, tall, boxes)
        y += tall + BETWEEN


def _levelled(record: Record, teacher: Band, student: Band) -> tuple[Band, Band]:
    """The boxes of the emptier band moved to where their partners lie, as far as order and room allow."""
    pairs = [(pair.source, pair.target) for pair in record.pairs]
    if len(teacher.boxes) > len(student.boxes):
        return teacher, _moved(student, teacher, [(target, source) for source, target in pairs])
    if len(teacher.boxes) < len(student.boxes):
        return _moved(teacher, student, pairs), student
    return teacher, student


def _moved(band: Band, fixed: Band, pairs: Sequence[tuple[str, str]]) -> Band:
    """``pairs``: names of a box in ``band`` and of one in ``fixed``; a box with several partners goes to their middle."""
    tops = {box.place: box.y for box in fixed.boxes}
    wanted = []
    for box in band.boxes:
        partners = [tops[other] for name, other in pairs if name == box.place and other in tops]
        wanted.append(sum(partners) / len(partners) if partners else box.y)
    last = max(box.y for box in fixed.boxes)
    for i in range(1, len(wanted)):
        wanted[i] = max(wanted[i], wanted[i - 1] + STEP)
    for i in reversed(range(len(wanted))):
        wanted[i] = min(wanted[i], last - STEP * (len(wanted) - 1 - i))
    return replace(band, boxes=tuple(replace(box, y=y) for box, y in zip(band.boxes, wanted, strict=True)))


def _short(place: str) -> str:
    """``stage2.block1`` -> ``block 1``: the band tells the stage."""
    return place.rpartition(".")[2].replace("block", "block ")
