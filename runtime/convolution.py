"""Convolutions as a spiking network runs them: by Winograd's algorithm where that pays, and keeping spikes as bits if asked.

Contract: equal to the layer they borrow, to the bit where only spikes are packed (and are 0 or 1), else up to rounding; see
:mod:`idsnn_convert.runtime.winograd` and :mod:`idsnn_convert.runtime.packing`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from idsnn_convert.runtime import winograd
from idsnn_convert.runtime.packing import packed, unpacked


class _Way(NamedTuple):
    """How a convolution is computed: stride, padding, dilation and groups; the type of its operands; by whom; what is kept."""

    settings: tuple[Any, ...]
    dtype: torch.dtype
    quick: bool
    pack: bool


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, way: _Way) -> Tensor:
        ctx.save_for_backward(packed(x) if way.pack else x, weight, bias)
        ctx.way, ctx.shape = way, x.shape
        if way.quick:
            return winograd.convolve(x, weight, bias)
        added = None if bias is None else bias.to(way.dtype)
        return torch.convolution(x.to(way.dtype), weight.to(way.dtype), added, *way.settings)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        kept, weight, bias = ctx.saved_tensors
        way, (of_x, of_weight, of_bias, _) = ctx.way, ctx.needs_input_grad
        x = unpacked(kept, ctx.shape, way.dtype) if way.pack else kept
        if way.quick:
            dx = winograd.input_gradient(grad, weight) if of_x else None
            return (
                dx,
                winograd.weight_gradient(x, grad, weight) if of_weight else None,
                grad.sum((0, 2, 3)) if of_bias else None,
                None,
            )
        needs = [of_x, of_weight, of_bias]
        sizes = None if bias is None else list(bias.shape)
        given = (grad, x.to(way.dtype), weight.to(way.dtype), sizes, *way.settings, needs)
        dx, *others = torch.ops.aten.convolution_backward(*given)
        return dx, *(None if each is None else each.to(weight.dtype) for each in others), None


class Convolution(nn.Module):
    """``conv`` on (T*B, C, H, W). Borrows the layer, which stays where the network has it.

    Args:
        quick: by Winograd's algorithm where that pays for the maps at hand; the layer must be one that suits.
        pack: keep the input, which must be spikes, as bits for the backward.
    """

    def __init__(self, conv: nn.Conv2d, *, quick: bool = False, pack: bool = False) -> None:
        super().__init__()
        self._borrowed = (conv,)
        self.quick, self.pack = quick, pack

    def forward(self, x: Tensor) -> Tensor:
        (conv,) = self._borrowed
        quick, learns = self.quick and winograd.takes(x, conv.weight), torch.is_grad_enabled()
        found: Tensor
        if learns and (quick or self.pack):
            kind = x.device.type
            dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else conv.weight.dtype
            way = _Way((conv.stride, conv.padding, conv.dilation, False, (0, 0), conv.groups), dtype, quick, self.pack)
            found = _Convolution.apply(x, conv.weight, conv.bias, way)  # type: ignore[no-untyped-call]
        else:
            found = winograd.convolve(x, conv.weight, conv.bias) if quick else conv(x)
        return found
