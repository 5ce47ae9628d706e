from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from idsnn_convert.runtime import winograd
from idsnn_convert.runtime.convolution import Convolution
from idsnn_convert.runtime.native import compiler

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C++ compiler here")


def spikes_of(*shape: int) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) > 0.7).float()


def results(layer: nn.Module, x: Tensor, conv: nn.Conv2d, half: bool = False) -> list[Tensor]:
    """Output, and gradients of input and parameters."""
    spikes = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        out = layer(spikes)
    return [out.detach(), *torch.autograd.grad(out.float().square().sum(), [spikes, *conv.parameters()])]


@pytest.mark.parametrize("settings", [{"padding": 1, "bias": False}, {"stride": 2, "groups": 2}, {"dilation": 2}])
@pytest.mark.parametrize("half", [False, True])
def test_packed_spikes_give_the_gradients_of_the_convolution(settings: dict[str, Any], half: bool) -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv2d(4, 6, 3, **settings), spikes_of(3, 4, 7, 5)
    wanted, found = (results(layer, x, conv, half) for layer in (conv, Convolution(conv, pack=True)))
    assert wanted[0].dtype == found[0].dtype
    torch.testing.assert_close(found, wanted, rtol=1e-6 if not half else 1e-2, atol=1e-5 if not half else 1e-2)


@needs_compiler
@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_quick_ones_equal_the_layer_up_to_rounding(pack: bool, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv2d(32, 48, 3, padding=1, bias=bias), spikes_of(4, 32, 12, 9)
    layer = Convolution(conv, quick=True, pack=pack)
    found, wanted = results(layer, x, conv), results(conv, x, conv)
    for ours, theirs in zip(found, wanted, strict=True):
        assert not torch.equal(ours, theirs)  # the sums of another order, so it was taken
        assert float((ours - theirs).norm() / theirs.norm()) < 1e-5
    with torch.no_grad():
        assert torch.equal(layer(x), found[0])
    monkeypatch.setenv(winograd.CPU_CONVOLUTIONS, "direct")
    exact = {} if pack else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(results(layer, x, conv), wanted, **exact)


@needs_compiler
def test_quick_ones_take_no_gradient_that_nobody_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, x = nn.Conv2d(32, 32, 3, padding=1, bias=False).requires_grad_(False), spikes_of(4, 32, 12, 9).requires_grad_()
    monkeypatch.setattr(winograd, "weight_gradient", lambda *given: pytest.fail("of a frozen weight"))
    Convolution(conv, quick=True)(x).sum().backward()
    assert x.grad is not None
    conv.requires_grad_(True)
    monkeypatch.undo()
    monkeypatch.setattr(winograd, "input_gradient", lambda *given: pytest.fail("of an input without"))
    Convolution(conv, quick=True)(x.detach()).sum().backward()
    assert conv.weight.grad is not None


@needs_compiler
@pytest.mark.parametrize("half", [False, True])
def test_maps_that_do_not_pay_go_through_the_layer_itself(half: bool) -> None:
    conv = nn.Conv2d(32, 32, 3, padding=1)
    layer = Convolution(conv, quick=True)
    for x in (spikes_of(0, 32, 8, 8), spikes_of(1, 32, 3, 3), spikes_of(2, 32, 5, 5)):
        torch.testing.assert_close(results(layer, x, conv, half), results(conv, x, conv, half), rtol=0, atol=0)
