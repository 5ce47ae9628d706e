"""The SVG of teacher and student side by side, blocks linked by lines.

Widths are percent of the figure, so that it fits any screen without its letters shrinking.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from idsnn_convert.report.layout import BOX, LABEL, Band, Box, layout
from idsnn_convert.report.markup import Markup, tag
from idsnn_convert.report.record import Record
from idsnn_convert.report.summary import STATUSES, places

COLUMN = 39
"""Width of a column."""


def figure(record: Record) -> Markup:
    """Bands, boxes that a script makes selectable (``data-key``), and the lines between them (``data-ends``)."""
    found = layout(record)
    height = f"{found.height:g}"
    tops = {
        _key(side, box.place): box.y for side in ("teacher", "student") for band in getattr(found, side) for box in band.boxes
    }
    lines = [_line(*ends, status, tops) for ends, status in links(record).items() if tops.keys() >= set(ends)]
    between = {"x": f"{COLUMN}%", "width": f"{100 - 2 * COLUMN}%", "height": height}
    return tag(
        "svg",
        tag("svg", lines, **between, viewBox=f"0 0 100 {height}", preserveAspectRatio="none", aria_hidden="true"),
        _column("teacher", 0, found.teacher, _teachers(record)),
        _column("student", 100 - COLUMN, found.student, _students(record)),
        width="100%",
        height=height,
        class_="network",
        role="group",
        aria_label="The blocks of teacher and student",
    )


def links(record: Record) -> dict[tuple[str, str], str]:
    """Keys of a teacher's and a student's box -> ``looped`` if any tensor between them is, else ``exact``."""
    found: dict[tuple[str, str], str] = {}
    for tensor in record.tensors:
        if tensor.source_place is not None:
            ends = _key("teacher", tensor.source_place), _key("student", tensor.place)
            found[ends] = "looped" if "looped" in (tensor.status, found.get(ends)) else "exact"
    return found


def _key(side: str, place: str) -> str:
    return f"{side} {place}"


def _line(source: str, target: str, status: str, tops: Mapping[str, float]) -> Markup:
    start, end = tops[source] + BOX / 2, tops[target] + BOX / 2
    curve = f"M0 {start:g}C50 {start:g} 50 {end:g} 100 {end:g}"
    return tag("path", d=curve, class_=f"link {status}", data_ends=f"{source}|{target}", vector_effect="non-scaling-stroke")


_Shares = Mapping[str, Mapping[str, float]]  # place -> kind of tensor -> how many values


def _students(record: Record) -> _Shares:
    return {place.name: {status: place.values(status) for status in STATUSES} for place in places(record)}


def _teachers(record: Record) -> _Shares:
    """Values of the teacher's tensors, each once, that are used and that are not."""
    used = {tensor.source: tensor for tensor in record.tensors if tensor.source_place is not None}
    rows = [(str(tensor.source_place), "used", math.prod(tensor.source_shape or ())) for tensor in used.values()]
    rows += [(str(row.place), "unused", math.prod(row.shape or ())) for row in record.unused]
    found: dict[str, dict[str, float]] = {}
    for place, kind, values in rows:
        shares = found.setdefault(place, {})
        shares[kind] = shares.get(kind, 0) + values
    return found


def _column(side: str, x: float, bands: Sequence[Band], shares: _Shares) -> Markup:
    return tag("g", [_band(side, x, band, shares) for band in bands], class_="column", data_side=side)


def _band(side: str, x: float, band: Band, shares: _Shares) -> Markup:
    at = {"x": f"{x}%", "y": f"{band.y:g}", "width": f"{COLUMN}%"}
    label = tag("svg", tag("text", band.label, x=8, y=15), **at, height=LABEL, class_="label") if band.label else None
    boxes = [_box(side, x, box, shares.get(box.place, {})) for box in band.boxes]
    name = f"{side}, {band.label}" if band.label else side
    shade = tag("rect", **at, height=f"{band.height:g}", rx=8, class_="band")
    return tag("g", shade, label, boxes, role="group", aria_label=name)


def _box(side: str, x: float, box: Box, shares: Mapping[str, float]) -> Markup:
    kinds = [kind for kind, values in shares.items() if values]
    at = {"x": f"{x + 1}%", "y": f"{box.y:g}", "width": f"{COLUMN - 2}%", "height": BOX}
    note = _note(kinds)
    return tag(
        "g",
        tag("rect", **at, rx=5),
        tag(
            "svg",
            tag("text", box.label, x=9, y=16),
            " ",
            tag("text", note, x="100%", dx=-9, y=16, text_anchor="end", class_="note"),
            _bar(shares),
            **at,
        ),
        class_=" ".join(["box", *kinds]),
        role="button",
        tabindex=0,
        aria_pressed="false",
        aria_label=f"{box.label} {note}".strip(),
        data_key=_key(side, box.place),
    )


def _note(kinds: Sequence[str]) -> str:
    words = {"exact": "copied", "looped": "looped", "fresh": "fresh", "used": "", "unused": "unused"}
    told = [words[kind] for kind in kinds if words[kind]]
    return ("partly " if "unused" in told and len(kinds) > 1 else "") + "+".join(told)


def _bar(shares: Mapping[str, float]) -> list[Markup]:
    """Shares of the box's values, along its lower edge."""
    whole, x, bars = sum(shares.values()), 0.0, []
    for kind, values in shares.items():
        if values:
            width = 100 * values / whole
            bars.append(tag("rect", x=f"{x:.2f}%", y=BOX - 4, width=f"{width:.2f}%", height=4, class_=f"share {kind}"))
            x += width
    return bars
