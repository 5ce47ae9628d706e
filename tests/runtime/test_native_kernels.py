"""In C++ against the plain functions: to the bit, but for sums over rows and slopes."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from idsnn_convert.runtime import native_kernels as module
from idsnn_convert.runtime.fixed_point import CODES, PAIR
from idsnn_convert.runtime.kernels import Kernels, Norm, kernels
from idsnn_convert.runtime.native import NativeError, compiler
from idsnn_convert.runtime.native_kernels import SURROGATES, available, has, native_kernels
from idsnn_convert.runtime.neurons import Neuron

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here")

SHAPES = [(6, 3), (130, 16), (67, 40), (10, 28), (12, 4), (7, 8), (64, 1), (1, 600), (0, 16), (5, 0)]
NEURONS = [Neuron(decay=0.9, reset=reset, surrogate=name, damping=0.3) for reset in ("hard", "soft") for name in SURROGATES]


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(dtype)


def same(found: Any, wanted: Any, exact: bool = True, dtype: torch.dtype = torch.float32) -> None:
    """None where None is, else of one shape, type and value."""
    assert len(found) == len(wanted)
    near = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 0.03, "atol": 0.06}
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, **({"rtol": 0, "atol": 0} if exact else near))


def compare(neuron: Neuron, steps: int, shape: tuple[int, int], dtype: torch.dtype, carries: bool, once: bool) -> None:
    torch.manual_seed(0)
    ours, plain = native_kernels(neuron, steps, carries), kernels(neuron, steps, False, dtype, None, carries)
    x, residual, grad = drawn(1 if once else steps, *shape, dtype=dtype), *(drawn(steps, *shape, dtype=dtype) for _ in range(2))
    start, dend = (drawn(*shape), drawn(*shape)) if carries else (None, None)
    scale, shift = torch.rand(shape[1]) + 0.5, drawn(shape[1])
    for a, b, added in ((scale, shift, residual), (None, None, residual), (scale, shift, None), (None, None, None)):
        own, theirs = ours.forward(x, a, b, added, start), plain.forward(x, a, b, added, start)
        same((*own[:2], own[3]), (*theirs[:2], theirs[3]))
        same(own[2:3], theirs[2:3], exact=False, dtype=dtype)
        same(ours.infer(x, a, b, added, start), plain.infer(x, a, b, added, start))
    code, slopes = theirs[1:3]
    same(ours.currents(grad, code, slopes, dend), plain.currents(grad, code, slopes, dend))
    if 0 not in shape:
        norm = Norm(torch.rand(shape[1]) + 0.5, drawn(shape[1]), torch.rand(shape[1]) + 0.5, training=not once)
        for kept in (False, True):
            given = (grad, code, slopes, dend, x, norm, kept)
            same(ours.norm(*given), plain.norm(*given), exact=False, dtype=dtype)


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@needs_compiler
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("carries", [False, True])
@pytest.mark.parametrize("steps", [1, 3, 4, 9])
def test_every_shape_and_number_of_steps(steps: int, carries: bool, dtype: torch.dtype) -> None:
    for shape in SHAPES:
        for once in (False, True):
            compare(Neuron(decay=0.9), steps, shape, dtype, carries, once)


@needs_compiler
@pytest.mark.parametrize("neuron", NEURONS, ids=lambda n: f"{n.reset}-{n.surrogate}")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_neuron(neuron: Neuron, dtype: torch.dtype) -> None:
    for carries in (False, True):
        compare(neuron, 5, (67, 40), dtype, carries, once=False)


@needs_compiler
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors have one width")
@pytest.mark.parametrize("flags", ["-mno-avx512f", "-mno-avx512f -mno-avx2 -mno-avx -mno-fma"], ids=["avx", "sse"])
def test_older_processors_get_the_same(flags: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = module.functions(*flags.split())
    monkeypatch.setattr(module, "functions", lambda: made)
    for dtype in (torch.float32, torch.bfloat16):
        compare(Neuron(decay=0.9), 5, (67, 40), dtype, carries=True, once=False)


@needs_compiler
@pytest.mark.parametrize("bits", CODES)
def test_spikes_as_bytes_go_out_and_come_in(bits: int) -> None:
    torch.manual_seed(0)
    ours, plain = native_kernels(Neuron(), 5), kernels(Neuron(), 5, False, code=CODES[bits])
    x, scale, shift = drawn(5, 21, 40), torch.rand(40), drawn(40)
    own, theirs = (each.infer(x, scale, shift, None, None, code=CODES[bits])[0] for each in (ours, plain))
    assert own.dtype == CODES[bits]
    assert torch.equal(own.view(torch.uint8), theirs.view(torch.uint8))
    assert own.view(torch.uint8).unique().tolist() == ([0, 1, 255] if CODES[bits] == PAIR else [0, 1])
    added = [each.infer(x, None, None, theirs, None, code=CODES[bits], coded=True)[0] for each in (ours, plain)]
    assert torch.equal(*(each.view(torch.uint8) for each in added))


@needs_compiler
def test_what_is_not_contiguous_is_taken() -> None:
    own, x, residual = native_kernels(Neuron(), 4), drawn(4, 16, 9).transpose(1, 2), drawn(4, 16, 9).transpose(1, 2)
    scale, shift = torch.rand(32)[::2], drawn(32)[::2]
    wanted = own.forward(x.contiguous(), scale.contiguous(), shift.contiguous(), residual.contiguous(), None)
    same(own.forward(x, scale, shift, residual, None), wanted)
    grad, norm = drawn(4, 16, 9).transpose(1, 2), Norm(torch.rand(32)[::2], shift, scale, True)
    wanted_back = own.norm(grad.contiguous(), wanted[1], None, None, x.contiguous(), norm, True)
    same(own.norm(grad, wanted[1], None, None, x, norm, True), wanted_back)


@needs_compiler
def test_a_norm_in_half_precision_is_read_as_numbers() -> None:
    own, x, grad = native_kernels(Neuron(), 4, carries=True), *(drawn(4, 6, 40, dtype=torch.bfloat16) for _ in range(2))
    halves = [drawn(40, dtype=torch.bfloat16), drawn(40, dtype=torch.bfloat16), drawn(6, 40, dtype=torch.bfloat16)]
    floats = [each.float() for each in halves]
    found = [own.forward(x, scale, shift, None, start) for scale, shift, start in (halves, floats)]
    same(found[0], found[1])
    norms = [Norm(scale, shift, scale, True) for scale, shift, _ in (halves, floats)]
    back = [
        own.norm(grad, found[0][1], None, each[2], x, norm, True) for each, norm in zip((halves, floats), norms, strict=True)
    ]
    same(back[0], back[1], exact=False, dtype=torch.bfloat16)


@needs_compiler
def test_sums_over_many_rows_keep_their_digits() -> None:
    """Of float32 alone a sum of this length would keep three."""
    rows = 200_000
    x, grad = torch.full((1, rows, 16), 3.0), torch.full((1, rows, 16), 0.1)
    code = torch.full((1, rows, 16), 2, dtype=torch.uint8)
    norm = Norm(torch.ones(16), torch.full((16,), 1.0), torch.ones(16), True)
    *_, dweight, dbias = native_kernels(Neuron(), 1).norm(grad, code, None, None, x, norm, False)
    assert dbias.tolist() == pytest.approx([rows * 0.1] * 16, rel=1e-6)
    assert dweight.tolist() == pytest.approx([rows * 0.2] * 16, rel=1e-6)


@needs_compiler
def test_nothing_that_is_no_number_is_lost() -> None:
    x = torch.zeros(2, 3, 16)
    x[0, 1, 2] = torch.nan
    own = native_kernels(Neuron(), 2, carries=True)
    spikes, code, _, end = own.forward(x, None, None, None, None)
    assert end is not None
    assert end.isnan().nonzero().tolist() == [[1, 2]]
    assert not spikes.any()
    dx, _ = own.currents(x.flip(0), torch.full_like(code, 0b1010), None, torch.zeros(3, 16))
    assert dx[:, 1, 2].isnan().all()


def test_what_it_has() -> None:
    assert has(Neuron(), torch.float32)
    assert has(Neuron(surrogate="arctan"), torch.bfloat16)
    assert not has(Neuron(), torch.float64)
    assert not has(Neuron(), torch.float16)
    assert not has(Neuron(surrogate="sigmoid"), torch.float32)
    with pytest.raises(ValueError, match="no kernel in C\\+\\+ has the surrogate 'sigmoid'"):
        native_kernels(Neuron(surrogate="sigmoid"), 4)


def test_where_it_cannot_be_compiled_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Kernels:
        raise NativeError("there is no compiler")

    monkeypatch.setattr(module, "functions", none)
    available.cache_clear()
    assert not available()
    available.cache_clear()
