"""Batch norm, residual add and spiking neuron as one layer.

Letters: T time steps, B batch, C channels, H height, W width, R = B H W rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.backends import chosen
from idsnn_convert.runtime.batch_norm import batch_statistics, world_of
from idsnn_convert.runtime.distributed import ALONE, World
from idsnn_convert.runtime.fixed_point import PAIR
from idsnn_convert.runtime.kernels import Kernels, Norm
from idsnn_convert.runtime.neurons import SpikingNeuron


class _NormNeuron(torch.autograd.Function):
    """Spikes of ``neuron(batch_norm(x) + residual)`` that goes on from ``start``, and the potential it hands on;
    closed-form backward through all three."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor | None, start: Tensor | None, weight: Tensor, bias: Tensor, mean: Tensor,
        invstd: Tensor, training: bool, functions: Kernels, world: World = ALONE,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        scale = weight * invstd
        given = (x.detach(), scale, bias - mean * scale, _bare(residual), _bare(start))
        spikes, code, slopes, end = functions.forward(*given)
        ctx.save_for_backward(x, weight, mean, invstd, code, slopes)
        ctx.training, ctx.functions, ctx.residual, ctx.world = training, functions, residual is not None, world
        return spikes, end

    @staticmethod
    def backward(ctx: Any, grad: Tensor, dend: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, mean, invstd, code, slopes = (_bare(tensor) for tensor in ctx.saved_tensors)
        norm = Norm(weight, mean, invstd, ctx.training, ctx.world)  # type: ignore[arg-type]
        last = None if dend is None else dend.contiguous()
        given = (grad.contiguous(), code, slopes, last, x, norm, ctx.residual)
        dx, dresidual, dstart, dweight, dbias = ctx.functions.norm(*given)
        return dx, dresidual, dstart if ctx.needs_input_grad[2] else None, dweight, dbias, *[None] * 5


class _Neuron(torch.autograd.Function):
    """As :class:`_NormNeuron`, without a norm."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor | None, start: Tensor | None, functions: Kernels
    ) -> tuple[Tensor, Tensor | None]:
        spikes, code, slopes, end = functions.forward(x.detach(), None, None, _bare(residual), _bare(start))
        ctx.save_for_backward(code, slopes)
        ctx.functions, ctx.residual, ctx.once = functions, residual is not None, x.shape[0] == 1
        return spikes, end

    @staticmethod
    def backward(ctx: Any, grad: Tensor, dend: Tensor | None) -> tuple[Tensor | None, ...]:
        code, slopes = (_bare(tensor) for tensor in ctx.saved_tensors)
        last = None if dend is None else dend.contiguous()
        dx, dstart = ctx.functions.currents(grad.contiguous(), code, slopes, last)
        given = dx.sum(0, keepdim=True) if ctx.once else dx
        return given, dx if ctx.residual else None, dstart if ctx.needs_input_grad[2] else None, None


def _bare(tensor: Tensor | None) -> Tensor | None:
    """Without autograd's history, which the compiler must not meet."""
    return None if tensor is None else tensor.detach()


class FusedNeuron(nn.Module):
    """``neuron([norm](x) [+ residual])`` in one pass: (T*B, C, H, W) -> spikes of the same shape, channels-last.

    If the neuron repeats its input, x is (B, C, H, W), the same at every step. Maps of features (T*B, F) pass as maps
    of one pixel. If it carries its potential, that is taken and left as :class:`SpikingNeuron` says, in float32 where maps
    are in half precision. With ``code`` spikes leave as bytes of that type, without gradient, and the residual may come as
    such, see :mod:`idsnn_convert.runtime.fixed_point`. Borrows the layers, which stay where the network has them (its state
    dict does not change); equal to running them one after the other up to the rounding of the norm's scale and shift.
    """

    def __init__(
        self,
        neuron: SpikingNeuron,
        norm: nn.BatchNorm2d | None = None,
        compiled: bool = True,
        code: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.code = code
        self._borrowed = (neuron, norm)  # a tuple, so that torch does not register them twice
        self.compiled = compiled

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        neuron, norm = self._borrowed
        steps = neuron.time_steps
        functions = chosen(neuron.neuron, steps, x, self.compiled, self.code, neuron.carries)
        rows = _rows(x, 1 if neuron.repeats else steps)
        added = None if residual is None else _rows(residual, steps)
        start = None if neuron.start is None else _rows(neuron.start, 1)[0]
        coded = added is not None and added.dtype == torch.uint8
        if added is not None and added.shape[2] != rows.shape[2]:
            added = added.view(PAIR)
        given = (functions, rows, added, start, {"code": self.code, "coded": coded} if coded or self.code else {})
        spikes, end = _run(*given) if norm is None else _norm_run(norm, x, *given)
        if end is not None:
            neuron.end = _maps(end, x)
        return _maps((spikes.view(torch.uint8) if self.code else spikes).flatten(0, 1), x)


def _rows(x: Tensor, steps: int) -> Tensor:
    """(T*B, C, H, W) or (T*B, C) -> (T, R, C), a view where the memory is channels-last."""
    last = x.permute(0, 2, 3, 1) if x.dim() == 4 else x
    return last.reshape(steps, last.shape[:-1].numel() // steps, x.shape[1])


def _maps(rows: Tensor, x: Tensor) -> Tensor:
    """(N*H*W, C) -> (N, C, H, W), channels-last, of the height and width of ``x``; or (N, C) as it is if that has none."""
    return rows if x.dim() == 2 else rows.view(-1, *x.shape[2:], rows.shape[1]).permute(0, 3, 1, 2)


def _run(
    functions: Kernels, rows: Tensor, residual: Tensor | None, start: Tensor | None, codes: dict[str, Any]
) -> tuple[Tensor, Tensor | None]:
    if not torch.is_grad_enabled():
        return functions.infer(rows, None, None, residual, start, **codes)
    found: tuple[Tensor, Tensor | None] = _Neuron.apply(rows, residual, start, functions)  # type: ignore[no-untyped-call]
    return found


def _norm_run(
    norm: nn.BatchNorm2d, x: Tensor, functions: Kernels, rows: Tensor, residual: Tensor | None, start: Tensor | None,
    codes: dict[str, Any],
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    mean, invstd = _statistics(norm, x)
    if not torch.is_grad_enabled():
        scale = norm.weight * invstd
        return functions.infer(rows, scale, norm.bias - mean * scale, residual, start, **codes)
    values = (rows, residual, start, norm.weight, norm.bias, mean, invstd, norm.training, functions, world_of(norm))
    found: tuple[Tensor, Tensor | None] = _NormNeuron.apply(*values)  # type: ignore[no-untyped-call]
    return found


def _statistics(norm: nn.BatchNorm2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and 1 / deviation of each channel: the batch's in training (the running ones updated), else the running ones."""
    running_mean, running_var = norm.running_mean, norm.running_var
    if running_mean is None or running_var is None:
        raise ValueError("a batch norm without running statistics cannot be fused")
    if not norm.training:
        return running_mean, (running_var + norm.eps).rsqrt()
    mean, variance = batch_statistics(norm, x)
    return mean, (variance + norm.eps).rsqrt()
