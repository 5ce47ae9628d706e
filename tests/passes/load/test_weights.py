from __future__ import annotations

import pytest
import torch
from torch import Tensor

from idsnn_convert.passes.load.weights import dtype_name, usable
from idsnn_convert.runtime.errors import UserError


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_become_float32(dtype: torch.dtype) -> None:
    found = usable("k", "weight", torch.tensor([0.5, -2.0], dtype=dtype))
    assert found.dtype == torch.float32
    assert found.tolist() == [0.5, -2.0]
    assert dtype_name(torch.zeros(1, dtype=dtype)) == str(dtype).split(".")[1]


def test_a_view_becomes_contiguous_and_needs_no_gradient() -> None:
    found = usable("k", "weight", torch.nn.Parameter(torch.arange(6.0).reshape(2, 3)).t())
    assert found.is_contiguous()
    assert not found.requires_grad
    assert found.tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.tensor([1.0, float("nan"), float("inf")]), "'k' holds 2 values that are NaN or infinite, of 3"),
        (torch.tensor([1e300], dtype=torch.float64), "NaN or infinite"),
        (torch.ones(2).to_sparse(), "'k' is sparse"),
        (torch.ones(2, dtype=torch.int8), "'k' is of int8 numbers"),
        (torch.ones(1).expand(10**9), r"'k' of shape \(1000000000,\) is larger than the bytes stored"),
        (torch.tensor([0.1, -0.5]), "'k' holds a negative variance: -0.5"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tensor: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        usable("k", "running_var", tensor)


def test_only_a_variance_must_not_be_negative() -> None:
    assert usable("k", "running_mean", torch.tensor([-0.5])).item() == -0.5


def test_large_values_whose_sum_overflows_are_fine() -> None:
    assert usable("k", "weight", torch.full((4,), 3e38)).sum().item() == float("inf")
