from __future__ import annotations

import pytest
import torch

from idsnn_convert.runtime.surrogates import SURROGATES, rectangle, triangle


@pytest.mark.parametrize("width", [0.25, 0.5, 2.0])
@pytest.mark.parametrize("name", SURROGATES)
def test_area_is_one_so_each_is_the_slope_of_a_smoothed_step(name: str, width: float) -> None:
    x = torch.linspace(-4000, 4000, 8_000_001, dtype=torch.float64)
    area = torch.trapezoid(SURROGATES[name](x, width), x)
    assert float(area) == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("name", SURROGATES)
def test_symmetric_and_highest_at_the_threshold(name: str) -> None:
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)
    slope = SURROGATES[name](x, 0.5)
    torch.testing.assert_close(slope, slope.flip(0))
    assert float(slope.max()) == pytest.approx(float(slope[300]))


def test_rectangle_is_open_at_its_borders() -> None:
    assert rectangle(torch.tensor([-0.5, -0.49, 0.49, 0.5]), 0.5).tolist() == [0, 1, 1, 0]


def test_triangle_by_hand() -> None:
    assert triangle(torch.tensor([0.0, 0.25, 0.5, 1.0]), 0.5).tolist() == [2, 1, 0, 0]
