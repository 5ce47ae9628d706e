"""Numbers with their units, for people."""

from __future__ import annotations

import math

MICRO = "\N{MICRO SIGN}"


def joules(value: float | None, micro: str = "u") -> str:
    """With the prefix that leaves one to three digits before the point; a dash for what is not known.

    ``micro``: its sign, an ASCII letter for terminals.
    """
    if not value:
        return "-" if value is None else "0 J"
    power = min(max(math.floor(math.log10(value) / 3), -4), 0)
    return f"{value / 1000**power:.3g} {('p', 'n', micro, 'm', '')[power + 4]}J"
