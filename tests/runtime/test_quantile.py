from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime.quantile import BINS, Quantile

VALUES = torch.randn(4, 5000, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.01, 1.0, 0.1, 30.0])[:, None]


def quantile(values: Tensor, percentile: float) -> Quantile:
    found = Quantile(percentile)
    for some in values:
        found.add(some)
    return found


@pytest.mark.parametrize("percentile", [60.0, 90.0, 99.0, 99.99])
def test_the_nearest_rank_to_within_a_bin(percentile: float) -> None:
    exact = np.percentile(VALUES.numpy(), percentile, method="inverted_cdf")
    found = quantile(VALUES, percentile).value
    assert exact <= found <= exact + 2 * VALUES.max().item() / BINS
    assert (found >= VALUES).double().mean() >= percentile / 100


def test_a_hundred_is_the_largest_itself() -> None:
    assert quantile(VALUES, 100).value == VALUES.max().item()


def test_the_order_does_not_matter() -> None:
    assert quantile(VALUES, 99).value == quantile(VALUES.flip(0), 99).value == quantile(VALUES.T.contiguous(), 99).value


def test_what_is_not_above_zero_counts_but_is_not_told_apart() -> None:
    values = torch.tensor([[-3.0, 0.0, 0.0, 1.0, 2.0]])
    assert [quantile(values, p).value for p in (50, 60)] == [0.0, 0.0]
    assert quantile(values, 80).value == pytest.approx(1.0, abs=4 / BINS)
    assert quantile(values, 99).value == 2.0
    assert quantile(-values.abs() - 1, 99).value == -1.0
