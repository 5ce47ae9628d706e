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
from idsnn_convert.runtime.fixed_point import PAIR, decoded, encoded
from idsnn_convert.runtime.kernels import Kernels, Norm
from idsnn_convert.runtime.neurons import SpikingNeuron


class _NormNeuron(torch.autograd.Function):
    """Spikes of ``neuron(batch_norm(x) + residual)``; closed-form backward through all three."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, mean: Tensor, invstd: Tensor,
        training: bool, functions: Kernels, world: World = ALONE,
    ) -> Tensor:  # fmt: skip
        scale = weight * invstd
        added = None if residual is None else residual.detach()  # the compiler must not meet autograd's history
        spikes, code, slopes = functions.forward(x.detach(), scale, bias - mean * scale, added)
        ctx.save_for_backward(x, weight, mean, invstd, code, slopes)
        ctx.training, ctx.functions, ctx.residual, ctx.world = training, functions, residual is not None, world
        return spikes

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved: list[Any] = [None if tensor is None else tensor.detach() for tensor in ctx.saved_tensors]
        x, weight, mean, invstd, code, slopes = saved
        norm = Norm(weight, mean, invstd, ctx.training, ctx.world)
        dx, dresidual, dweight, dbias = ctx.functions.norm(grad.contiguous(), code, slopes, x, norm, ctx.residual)
        return dx, dresidual, dweight, dbias, *[None] * 5


class _Neuron(torch.autograd.Function):
    """Spikes of ``neuron(x + residual)``, without a norm."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor | None, functions: Kernels) -> Tensor:
        added = None if residual is None else residual.detach()
        spikes, code, slopes = functions.forward(x.detach(), None, None, added)
        ctx.save_for_backward(code, slopes)
        ctx.functions, ctx.residual, ctx.once = functions, residual is not None, x.shape[0] == 1
        return spikes

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        code, slopes = (None if tensor is None else tensor.detach() for tensor in ctx.saved_tensors)
        dx = ctx.functions.currents(grad.contiguous(), code, slopes)
        return dx.sum(0, keepdim=True) if ctx.once else dx, dx if ctx.residual else None, None


class FusedNeuron(nn.Module):
    """``neuron([norm](x) [+ residual])`` in one pass: (T*B, C, H, W) -> spikes of the same shape, channels-last.

    If the neuron repeats its input, x is (B, C, H, W), the same at every step. Maps of features (T*B, F) pass as maps
    of one pixel. With ``code`` spikes leave as bytes of that type, without gradient, and the residual may come as such, see
    :mod:`idsnn_convert.runtime.fixed_point`. Borrows the layers, which stay where the network has them (its state dict does
    not change); equal to running them one after the other up to the rounding of the norm's scale and shift.
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
        if neuron.carries:  # its potentials are asked for, which no fused layer gives out
            current = x if norm is None else norm(x)
            carried: Tensor = neuron(current if residual is None else current + decoded(residual, current.shape[1]))
            return carried if self.code is None else encoded(carried, self.code)
        steps = neuron.time_steps
        functions = chosen(neuron.neuron, steps, x, self.compiled, self.code)
        rows = _rows(x, 1 if neuron.repeats else steps)
        added = None if residual is None else _rows(residual, steps)
        coded = added is not None and added.dtype == torch.uint8
        if added is not None and added.shape[2] != rows.shape[2]:
            added = added.view(PAIR)
        given = (functions, rows, added, {"code": self.code, "coded": coded} if coded or self.code else {})
        spikes = _spikes(*given) if norm is None else _norm_spikes(norm, x, *given)
        if x.dim() == 2:
            return spikes.flatten(0, 1)
        if self.code:
            spikes = spikes.view(torch.uint8)
        return spikes.view(-1, *x.shape[2:], spikes.shape[2]).permute(0, 3, 1, 2)


def _rows(x: Tensor, steps: int) -> Tensor:
    """(T*B, C, H, W) or (T*B, C) -> (T, R, C), a view where the memory is channels-last."""
    last = x.permute(0, 2, 3, 1) if x.dim() == 4 else x
    return last.reshape(steps, last.shape[:-1].numel() // steps, x.shape[1])


def _spikes(functions: Kernels, rows: Tensor, residual: Tensor | None, codes: dict[str, Any]) -> Tensor:
    if not torch.is_grad_enabled():
        return functions.infer(rows, None, None, residual, **codes)
    spikes: Tensor = _Neuron.apply(rows, residual, functions)  # type: ignore[no-untyped-call]
    return spikes


def _norm_spikes(
    norm: nn.BatchNorm2d, x: Tensor, functions: Kernels, rows: Tensor, residual: Tensor | None, codes: dict[str, Any]
) -> Tensor:
    mean, invstd = _statistics(norm, x)
    if not torch.is_grad_enabled():
        scale = norm.weight * invstd
        return functions.infer(rows, scale, norm.bias - mean * scale, residual, **codes)
    values = (rows, residual, norm.weight, norm.bias, mean, invstd, norm.training, functions, world_of(norm))
    spikes: Tensor = _NormNeuron.apply(*values)  # type: ignore[no-untyped-call]
    return spikes


def _statistics(norm: nn.BatchNorm2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and 1 / deviation of each channel: the batch's in training (the running ones updated), else the running ones."""
    running_mean, running_var = norm.running_mean, norm.running_var
    if running_mean is None or running_var is None:
        raise ValueError("a batch norm without running statistics cannot be fused")
    if not norm.training:
        return running_mean, (running_var + norm.eps).rsqrt()
    mean, variance = batch_statistics(norm, x)
    return mean, (variance + norm.eps).rsqrt()
