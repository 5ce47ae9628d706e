"""Tables whose cells are shaded by their values: matrices that a screen reader, a printer and the eye can read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from idsnn_convert.report.markup import Markup, tag

SHADES = 9


def heat(
    corner: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[float | None]]],
    told: Callable[[float], str],
    top: float | None = None,
) -> Markup:
    """A table with a column of names and a cell for each value; of None nothing is shown.

    Args:
        corner: what rows and columns are.
        told: what stands in a cell.
        top: the value of the darkest shade; the greatest there is by default. The lightest is nothing at all.
    """
    values = [value for _, row in rows for value in row if value is not None]
    highest = (max(values, default=0.0) if top is None else top) or 1.0

    def cell(value: float | None) -> Markup:
        if value is None:
            return tag("td")
        shade = min(SHADES, math.ceil(SHADES * value / highest)) if value > 0 else 0
        return tag("td", told(value), class_=f"heat{shade}" if shade else None)

    head = tag("tr", tag("th", corner, scope="col"), [tag("th", name, scope="col") for name in columns])
    body = [tag("tr", tag("th", name, scope="row"), [cell(value) for value in row]) for name, row in rows]
    return tag("table", tag("thead", head), tag("tbody", body), class_="heat")
