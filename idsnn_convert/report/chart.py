"""Line charts as SVG, without a plotting library. Positions are percent, so that letters keep their size on any screen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from idsnn_convert.report.markup import Markup, tag

LEFT, RIGHT, HEIGHT, TOP, BOTTOM = 13, 3, 240, 12, 34
"""Margins beside the plot in percent, the figure's height and the margins above and below in pixels."""

Scale = Callable[[float], float]

MANY = 40
"""From so many points on their dots are small."""

LOOKS = 6
"""So many lines look different: in colour and in dashes."""


@dataclass(frozen=True)
class Line:
    """A named line through points (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Level:
    """A named height that lines are held against."""

    name: str
    y: float


def chart(
    title: str, lines: Sequence[Line], across: str, levels: Sequence[Level] = (), keys: bool = False, powers: bool = False
) -> Markup:
    """A figure with its title; ``across`` names the horizontal axis.

    Args:
        levels: drawn across the whole width.
        keys: tell what each line is; else their looks are those of a :func:`legend` elsewhere.
        powers: each x is a power of 10, and told as the number it stands for.
    """
    xs = [x for line in lines for x, _ in line.points]
    ys = [*(y for line in lines for _, y in line.points), *(level.y for level in levels)]
    rows = ticks(min(ys), max(ys))
    low, high = rows[0], rows[-1]
    first, last = min(xs), max(max(xs), min(xs) + 1)

    def right(x: float) -> float:
        return LEFT + (100 - LEFT - RIGHT) * (x - first) / (last - first)

    def down(y: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - y) / (high - low)

    told = [f"{line.name} from {line.points[0][1]:.4g} to {line.points[-1][1]:.4g}" for line in lines]
    told += [f"{level.name} {level.y:.4g}" for level in levels]
    return tag(
        "figure",
        tag("figcaption", title),
        legend([line.name for line in lines]) if keys else None,
        tag(
            "svg",
            [_row(value, down(value)) for value in rows],
            [
                tag("text", f"{_meant(x, powers):g}", x=f"{right(x):.2f}%", y=HEIGHT - 16, text_anchor="middle")
                for x in ticks(first, last)
                if first <= x <= last and float(x).is_integer()
            ],
            tag("text", across, x="50%", y=HEIGHT - 1, text_anchor="middle"),
            [_level(level, index, down(level.y)) for index, level in enumerate(levels)],
            [_line(line, index, right, down, powers) for index, line in enumerate(lines)],
            width="100%",
            height=HEIGHT,
            role="img",
            aria_label=f"{title}: {'; '.join(told)}",
        ),
        class_="card",
    )


def _row(value: float, y: float) -> Markup:
    line = tag("line", x1=f"{LEFT}%", x2=f"{100 - RIGHT}%", y1=f"{y:.1f}", y2=f"{y:.1f}", class_="axis")
    return tag("g", line, tag("text", f"{value:g}", x=f"{LEFT - 1}%", y=f"{y + 4:.1f}", text_anchor="end"))


def _level(level: Level, index: int, y: float) -> Markup:
    """Its name stands above it: of the first at the right, of the second at the left, where they do not meet."""
    across = tag("line", x1=f"{LEFT}%", x2=f"{100 - RIGHT}%", y1=f"{y:.1f}", y2=f"{y:.1f}", class_="level")
    x, anchor = (LEFT + 1, "start") if index % 2 else (100 - RIGHT, "end")
    return tag("g", across, tag("text", f"{level.name} {level.y:.4g}", x=f"{x}%", y=f"{y - 4:.1f}", text_anchor=anchor))


def _meant(x: float, powers: bool) -> float:
    return round(10**x, 6) if powers else x


def _line(line: Line, index: int, right: Scale, down: Scale, powers: bool = False) -> Markup:
    path = "L".join(f"{right(x):.2f} {down(y):.1f}" for x, y in line.points)
    drawn = tag("path", d=f"M{path}", class_=look(index), vector_effect="non-scaling-stroke")
    plot = tag("svg", drawn, width="100%", height=HEIGHT, viewBox=f"0 0 100 {HEIGHT}", preserveAspectRatio="none")
    dots = [
        tag(
            "circle",
            tag("title", f"{line.name}, {_meant(x, powers):g}: {y:.4g}"),
            cx=f"{right(x):.2f}%",
            cy=f"{down(y):.1f}",
            r=1.5 if len(line.points) > MANY else 3,
        )
        for x, y in line.points
    ]
    return tag("g", plot, dots, class_=look(index))


def legend(names: Sequence[str]) -> Markup:
    """What each look stands for."""
    keys = []
    for index, name in enumerate(names):
        stroke = tag("line", x1=0, x2=28, y1=6, y2=6, class_=look(index))
        keys.append(tag("span", tag("svg", stroke, width=28, height=12, aria_hidden="true"), f" {name}", class_="key"))
    return tag("p", keys, class_="legend")


def look(index: int) -> str:
    return f"line look{index % LOOKS}"


def ticks(low: float, high: float) -> list[float]:
    """Round numbers, four to eight of them, from at most ``low`` to at least ``high``."""
    span = high - low or abs(high) or 1.0
    unit = 10.0 ** math.floor(math.log10(span))
    step = next(unit * factor for factor in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if span / (unit * factor) <= 6)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{step * i:.10g}") for i in range(first, max(last, first + 1) + 1)]
