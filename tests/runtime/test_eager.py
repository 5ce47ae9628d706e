"""Blocks of rows through PyTorch's operators against the plain functions, which are the compiled kernels' source."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime import eager, spread
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
    own: Kernels, steps: int, rows: int, once: bool, dtype: torch.dtype, training: bool = True, carries: bool = False
) -> list[Tensor | None]:
    """All that the functions give for drawn maps of 3 channels, in a list; carrying ones from a potential and from none."""
    draw = torch.Generator().manual_seed(rows + steps)
    x, grad, added = (
        torch.randn(n, rows, 3, generator=draw, dtype=torch.float64).to(dtype) for n in (1 if once else steps, steps, steps)
    )
    wide = torch.promote_types(dtype, torch.float32)
    weight, mean, invstd = (torch.rand(3, generator=draw, dtype=torch.float64).to(wide) + 0.5 for _ in range(3))
    scale = weight * invstd
    start, dend = (torch.randn(rows, 3, generator=draw).to(wide) if carries else None for _ in range(2))
    kept = own.forward(x, scale, -mean * scale, added, start)
    code, slopes = kept[1:3]
    plain = own.forward(x, None, None, None, None)
    norm = own.norm(grad, code, slopes, dend, x, Norm(weight, mean, invstd, training), True)
    inferred = own.infer(x, scale, -mean * scale, added, start)
    return [*kept, *plain, *norm, *own.currents(grad, code, slopes, dend), *inferred]


@pytest.mark.parametrize("neuron", NEURONS, ids=lambda n: f"{n.reset}-{n.surrogate}-{n.damping}")
@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("carries", [False, True])
def test_equal_to_the_plain_functions(neuron: Neuron, once: bool, training: bool, carries: bool) -> None:
    given = (5, 12, once, torch.float64, training, carries)
    found = everything(eager_kernels(neuron, 5, carries), *given)
    torch.testing.assert_close(found, everything(kernels(neuron, 5, False, carries=carries), *given))


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_any_number_of_threads_gives_the_same_bits(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = (5, 42, False, torch.float32)
    alone = everything(eager_kernels(Neuron(), 5), *given)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)  # batch norm's own sums stay as they are
    monkeypatch.setattr(spread, "_pool", spread._pool.__wrapped__)
    for one, other in zip(alone, everything(eager_kernels(Neuron(), 5), *given), strict=True):
        assert (one is None and other is None) or torch.equal(one, other)  # type: ignore[arg-type]


@pytest.mark.parametrize(("steps", "rows"), [(1, 1), (1, 12), (9, 5), (4, 1)])
@pytest.mark.parametrize("carries", [False, True])
def test_one_step_one_row_and_codes_of_several_bytes(steps: int, rows: int, carries: bool) -> None:
    given = (steps, rows, False, torch.float64, True, carries)
    found = everything(eager_kernels(Neuron(), steps, carries), *given)
    torch.testing.assert_close(found, everything(kernels(Neuron(), steps, False, carries=carries), *given))


@pytest.mark.parametrize("carries", [False, True])
def test_half_precision_fires_alike_and_keeps_its_type(carries: bool) -> None:
    given = (4, 12, False, torch.bfloat16, True, carries)
    found = everything(eager_kernels(Neuron(), 4, carries), *given)
    wanted = everything(kernels(Neuron(), 4, False, carries=carries), *given)
    torch.testing.assert_close(found[:2], wanted[:2], rtol=0, atol=0)
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("carries", [False, True])
def test_no_rows_give_no_spikes(carries: bool) -> None:
    own, start = eager_kernels(Neuron(), 4, carries), torch.zeros(0, 3) if carries else None
    spikes, code, _, end = own.forward(torch.zeros(4, 0, 3), torch.ones(3), torch.zeros(3), None, start)
    assert (spikes.shape, code.shape) == ((4, 0, 3), (1, 0, 3))
    dx, dstart = own.currents(torch.zeros(4, 0, 3), code, None, end)
    assert dx.shape == (4, 0, 3)
    assert [None if each is None else each.shape for each in (end, dstart)] == [None if start is None else start.shape] * 2
