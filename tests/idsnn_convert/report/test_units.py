from __future__ import annotations

import pytest

from idsnn_convert.report.units import MICRO, joules


@pytest.mark.parametrize(
    ("value", "told"),
    [(None, "-"), (0.0, "0 J"), (1.5e-6, "1.5 uJ"), (9.44e-10, "944 pJ"), (2.0, "2 J"), (1e-16, "0.0001 pJ"), (3e-3, "3 mJ")],
)
def test_the_prefix_fits_the_value(value: float | None, told: str) -> None:
    assert joules(value) == told


def test_a_page_has_the_letter_itself() -> None:
    assert joules(1.5e-6, MICRO) == "1.5 \u00b5J"
