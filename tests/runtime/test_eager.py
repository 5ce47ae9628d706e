"""Blocks of rows through PyTorch's operators against the plain functions, which are the compiled kernels' source."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime import eager
from idsnn_convert.runtime.eager import eager_kernels
from idsnn_convert.runtime.kernels import Kernels, Norm, kernels
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.surrogates import SURROGATES

NEURONS = [Neuron(reset=reset, surrogate=name, width=0.4) for reset in ("hard", "soft") for name in SURROGATES]
NEURONS += [Neuron(surrogate=name, damping=0.3) for name in ("rectangle", "linear")]
BLOCK = 16
"""Values of a step in a block of these tests: with 3 channels 5 rows, so that 12 rows make two blocks and a rest."""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eager, "BLOCK", BLOCK)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


def everything(
    own: Kernels, steps: int, rows: int, once: bool, dtype: torch.dtype, training: bool = True
) -> list[Tensor | None]:
    """All that the functions give for drawn maps of 3 channels, in a list."""
    draw = torch.Generator().manual_seed(rows + steps)
    x, grad, added = (
        torch.randn(n, rows, 3, generator=draw, dtype=torch.float64).to(dtype) for n in (1 if once else steps, steps, steps)
    )
    wide = torch.promote_types(dtype, torch.float32)
    weight, mean, invstd = (torch.rand(3, generator=draw, dtype=torch.float64).to(wide) + 0.5 for _ in range(3))
    scale = weight * invstd
    spikes, code, slopes = own.forward(x, scale, -mean * scale, added)
    plain, plain_code, plain_slopes = own.forward(x, None, None, None)
    norm = own.norm(grad, code, slopes, x, Norm(weight, mean, invstd, training), True)
    inferred = own.infer(x, scale, -mean * scale, added)
    return [spikes, code, slopes, plain, plain_code, plain_slopes, *norm, own.currents(grad, code, slopes), inferred]


@pytest.mark.parametrize("neuron", NEURONS, ids=lambda n: f"{n.reset}-{n.surrogate}-{n.damping}")
@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_equal_to_the_plain_functions(neuron: Neuron, once: bool, training: bool) -> None:
    given = (5, 12, once, torch.float64, training)
    torch.testing.assert_close(everything(eager_kernels(neuron, 5), *given), everything(kernels(neuron, 5, False), *given))


@pytest.mark.parametrize(("steps", "rows"), [(1, 1), (1, 12), (9, 5), (4, 1)])
def test_one_step_one_row_and_codes_of_several_bytes(steps: int, rows: int) -> None:
    given = (steps, rows, False, torch.float64)
    found = everything(eager_kernels(Neuron(), steps), *given)
    torch.testing.assert_close(found, everything(kernels(Neuron(), steps, False), *given))


def test_half_precision_fires_alike_and_keeps_its_type() -> None:
    given = (4, 12, False, torch.bfloat16)
    found, wanted = everything(eager_kernels(Neuron(), 4), *given), everything(kernels(Neuron(), 4, False), *given)
    torch.testing.assert_close(found[:2], wanted[:2], rtol=0, atol=0)
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02)


def test_no_rows_give_no_spikes() -> None:
    own = eager_kernels(Neuron(), 4)
    spikes, code, _ = own.forward(torch.zeros(4, 0, 3), torch.ones(3), torch.zeros(3), None)
    assert (spikes.shape, code.shape) == ((4, 0, 3), (1, 0, 3))
    assert own.currents(torch.zeros(4, 0, 3), code, None).shape == (4, 0, 3)
