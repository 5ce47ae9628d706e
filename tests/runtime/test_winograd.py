from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idsnn_convert.runtime import winograd
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.native import NativeError, compiler
from idsnn_convert.runtime.winograd import convolve, input_gradient, pays, suits, takes, weight_gradient

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here")

SHAPES = {  # (B, I, O, H, W)
    "whole tiles": (3, 32, 48, 8, 8),
    "cut tiles": (5, 48, 32, 7, 10),
    "one pixel": (2, 32, 32, 1, 1),
    "less than a tile": (4, 64, 16, 3, 2),
    "one row": (2, 16, 32, 1, 9),
    "more channels than are summed at once": (2, 160, 32, 5, 5),
    "so many that each thread takes its own": (29, 32, 32, 32, 32),
}
TOLERANCE = 5e-6
"""Of the norm of the result; a direct convolution's own error is a fifth of it."""


def values(count: int, channels: int, others: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Spikes, weight, bias and gradient, the maps channels-last."""
    draw = torch.Generator().manual_seed(0)
    x = (torch.rand(count, channels, height, width, generator=draw) > 0.8).float()
    weight = torch.randn(others, channels, 3, 3, generator=draw) * 0.1
    grad = torch.randn(count, others, height, width, generator=draw)
    last = torch.channels_last
    return (
        x.to(memory_format=last),
        weight.to(memory_format=last),
        torch.randn(others, generator=draw),
        grad.to(memory_format=last),
    )


def expected(x: Tensor, weight: Tensor, bias: Tensor, grad: Tensor) -> list[Tensor]:
    """Output and gradients of input and weight in float64."""
    wide, theirs = x.double().requires_grad_(), weight.double().requires_grad_()
    y = torch.conv2d(wide, theirs, bias.double(), padding=1)
    return [y.detach(), *torch.autograd.grad(y, (wide, theirs), grad.double())]


def found(x: Tensor, weight: Tensor, bias: Tensor, grad: Tensor) -> list[Tensor]:
    return [convolve(x, weight, bias), input_gradient(grad, weight), weight_gradient(x, grad, weight)]


def error(result: Tensor, wanted: Tensor) -> float:
    return float((result.double() - wanted).norm() / wanted.norm())


@pytest.fixture
def threads() -> Iterator[Any]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@needs_compiler
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_output_and_gradients_are_those_of_the_convolution(shape: tuple[int, ...], count: int, threads: Any) -> None:
    threads(count)
    given = values(*shape)
    for result, wanted in zip(found(*given), expected(*given), strict=True):
        assert (result.shape, result.dtype) == (wanted.shape, torch.float32)
        assert error(result, wanted) < TOLERANCE


@needs_compiler
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors have one width")
@pytest.mark.parametrize(
    "flags", [("-mno-avx512f",), ("-mno-avx512f", "-mno-avx2", "-mno-avx", "-mno-fma")], ids=["avx", "sse"]
)
@pytest.mark.parametrize("shape", list(SHAPES.values())[:3], ids=list(SHAPES)[:3])
def test_older_processors_get_the_same(shape: tuple[int, ...], flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    made = winograd.functions(*flags)
    monkeypatch.setattr(winograd, "_functions", lambda: made)
    given = values(*shape)
    for result, wanted in zip(found(*given), expected(*given), strict=True):
        assert error(result, wanted) < TOLERANCE


@needs_compiler
@pytest.mark.parametrize("count", [1, 3])
def test_the_same_bits_come_twice(count: int, threads: Any) -> None:
    threads(count)
    given = values(29, 32, 32, 32, 32)
    assert all(map(torch.equal, found(*given), found(*given)))


@needs_compiler
def test_any_layout_is_taken_and_the_weights_own_is_given() -> None:
    x, weight, bias, grad = values(3, 32, 48, 7, 6)
    wanted = found(x, weight, bias, grad)
    others = (x.contiguous(), weight.contiguous(), bias.repeat_interleave(2)[::2], grad.expand(2, *grad.shape)[1].contiguous())
    results = found(*others)
    assert all(map(torch.equal, results, wanted))
    assert results[0].is_contiguous(memory_format=torch.channels_last)
    assert (results[2].stride(), wanted[2].stride()) == (others[1].stride(), weight.stride())


@needs_compiler
def test_no_bias_is_a_bias_of_zero() -> None:
    x, weight, bias, _ = values(3, 32, 48, 7, 6)
    assert torch.equal(convolve(x, weight), convolve(x, weight, bias * 0))


@pytest.mark.parametrize(
    "changed",
    [
        {"kernel_size": 1, "padding": 0}, {"stride": 2}, {"padding": 0}, {"padding": 2, "dilation": 2}, {"groups": 2},
        {"padding_mode": "circular"}, {"in_channels": 8}, {"out_channels": 40}, {"in_channels": 3},
    ],
)  # fmt: skip
def test_only_layers_that_it_has_suit(changed: dict[str, Any]) -> None:
    given = {"in_channels": 64, "out_channels": 32, "kernel_size": 3, "padding": 1}
    assert suits(nn.Conv2d(**given))
    assert not suits(nn.Conv2d(**{**given, **changed}))


def test_maps_that_are_few_or_badly_cut_do_not_pay() -> None:
    assert pays(8, 4, 4, 128)
    assert pays(32, 4, 4, 1024)
    assert pays(1, 32, 32, 1024)
    assert pays(2, 7, 7, 128)
    assert not pays(7, 4, 4, 32)
    assert not pays(31, 4, 4, 1024)
    assert not pays(0, 32, 32, 32)
    assert not pays(1000, 5, 5, 128)
    assert not pays(1000, 2, 2, 128)


@needs_compiler
def test_only_float32_on_the_cpu_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, _, _ = values(4, 32, 32, 16, 16)
    assert takes(x, weight)
    assert not takes(x.double(), weight.double())
    assert not takes(x.bfloat16(), weight)
    assert not takes(x.to("meta"), weight.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not takes(x, weight)
    monkeypatch.setenv(winograd.CPU_CONVOLUTIONS, "direct")
    assert not takes(x, weight)
    monkeypatch.setenv(winograd.CPU_CONVOLUTIONS, "fft")
    with pytest.raises(UserError, match="IDSNN_CPU_CONVOLUTIONS is 'fft'") as caught:
        takes(x, weight)
    assert caught.value.hint == "Known: winograd, direct."


def test_where_it_cannot_be_compiled_that_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise NativeError("there is no compiler")

    x, weight, _, _ = values(4, 32, 32, 16, 16)
    monkeypatch.setattr(winograd, "functions", none)
    winograd._functions.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="run directly, at half the speed: there is no compiler"):
            assert not takes(x, weight)
        assert not takes(x, weight)
    finally:
        winograd._functions.cache_clear()
