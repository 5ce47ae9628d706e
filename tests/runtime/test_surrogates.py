from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime.surrogates import SURROGATES, Slope, arctan, linear, rectangle, sigmoid, triangle


@pytest.mark.parametrize("width", [0.25, 0.5, 2.0])
@pytest.mark.parametrize("name", SURROGATES.keys() - {"linear"})
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


def test_linear_by_hand() -> None:
    # LaSNN eq. 14 at threshold 2: 1 at the threshold, a half one away, 0 two away and beyond.
    assert linear(torch.tensor([0.0, -1.0, 1.0, 2.0, -3.0]), 2.0).tolist() == [1, 0.5, 0.5, 0, 0]


def test_arctan_by_hand() -> None:
    # Half its height, 1 / (2 width), where pi x / (2 width) is 1; a fifth where it is 2.
    x = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64) * 2 * 0.25 / math.pi
    assert arctan(x, 0.25).tolist() == pytest.approx([2.0, 1.0, 0.4])


def test_sigmoid_by_hand() -> None:
    # s (1 - s) / width with s = 1/2, 3/4.
    x = torch.tensor([0.0, math.log(3)], dtype=torch.float64) * 0.5
    assert sigmoid(x, 0.5).tolist() == pytest.approx([0.5, 0.375])


@pytest.mark.parametrize(
    ("slope", "step"),
    [(arctan, lambda x: torch.atan(math.pi / 1.4 * x) / math.pi + 0.5), (sigmoid, lambda x: torch.sigmoid(x / 0.7))],
    ids=["arctan", "sigmoid"],
)
def test_smooth_slopes_are_the_derivatives_they_name(slope: Slope, step: Callable[[Tensor], Tensor]) -> None:
    x = torch.linspace(-3, 3, 61, dtype=torch.float64, requires_grad=True)
    (wanted,) = torch.autograd.grad(step(x).sum(), x)
    torch.testing.assert_close(slope(x.detach(), 0.7), wanted, rtol=1e-12, atol=1e-15)
