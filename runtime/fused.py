"""Batch norm, residual add and spiking neuron as one layer.

Letters: T time steps, B batch, C channels, H height, W width, R = B H W rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.batch_norm import batch_statistics, everyones, world_of
from idsnn_convert.runtime.distributed import ALONE, World
from idsnn_convert.runtime.kernels import Kernels, kernels
from idsnn_convert.runtime.neurons import SpikingNeuron


class _NormNeuron(torch.autograd.Function):
    """Spikes of ``neuron(batch_norm(x) + residual)``; closed-form backward through all three.

    With dY the gradient after norm and add, N = T R, xhat = (x - mean) invstd, g = weight invstd:
    dx = g (dY - sum dY / N - xhat sum(dY xhat) / N) in training, g dY in evaluation;
    dweight = sum(dY xhat), dbias = sum dY, dresidual = dY. Where several processes share the batch, N and the sums in dx
    are over all of them.
    """

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
        dy, sum_dy, sum_dy_xhat = ctx.functions.backward(grad.contiguous(), code, slopes, x, mean, invstd)
        scale = weight * invstd
        if ctx.training:
            n, every_dy, every_dy_xhat = everyones(ctx.world, x.shape[0] * x.shape[1], sum_dy, sum_dy_xhat)
            b = -scale * invstd * every_dy_xhat / n
            c = -scale * every_dy / n - b * mean
        else:
            b = c = torch.zeros_like(scale)
        dx = ctx.functions.norm_backward(dy, x, scale, b, c)
        return dx, dy if ctx.residual else None, sum_dy_xhat, sum_dy, *[None] * 5


class NormNeuron(nn.Module):
    """``neuron(norm(x) [+ residual])`` in one pass: (T*B, C, H, W) -> spikes of the same shape, channels-last.

    If the neuron repeats its input, x is (B, C, H, W), the same at every step; the closed form holds for it too, as
    the sum over T of a gradient that counts each element T times is the gradient of the one that is there.
    Borrows the two layers, which stay where the network has them (its state dict does not change); equal to running
    them one after the other up to the rounding of the norm's scale and shift.
    """

    def __init__(self, norm: nn.BatchNorm2d, neuron: SpikingNeuron, compiled: bool = True) -> None:
        super().__init__()
        self._borrowed = (norm, neuron)  # a tuple, so that torch does not register them twice
        self.compiled = compiled

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        norm, neuron = self._borrowed
        functions = kernels(neuron.neuron, neuron.time_steps, self.compiled)
        rows = _rows(x, 1).expand(neuron.time_steps, -1, -1) if neuron.repeats else _rows(x, neuron.time_steps)
        added = None if residual is None else _rows(residual, neuron.time_steps)
        mean, invstd = _statistics(norm, x)
        if torch.is_grad_enabled():
            values = (rows, added, norm.weight, norm.bias, mean, invstd)
            spikes = _NormNeuron.apply(*values, norm.training, functions, world_of(norm))  # type: ignore[no-untyped-call]
        else:
            scale = norm.weight * invstd
            spikes = functions.infer(rows, scale, norm.bias - mean * scale, added)
        _, channels, height, width = x.shape
        images: Tensor = spikes.view(-1, height, width, channels).permute(0, 3, 1, 2)
        return images


def _rows(x: Tensor, time_steps: int) -> Tensor:
    """(T*B, C, H, W) -> (T, R, C), a view where the memory is channels-last."""
    return x.permute(0, 2, 3, 1).reshape(time_steps, -1, x.shape[1])


def _statistics(norm: nn.BatchNorm2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and 1 / deviation of each channel: the batch's in training (the running ones updated), else the running ones."""
    running_mean, running_var = norm.running_mean, norm.running_var
    if running_mean is None or running_var is None:
        raise ValueError("a batch norm without running statistics cannot be fused")
    if not norm.training:
        return running_mean, (running_var + norm.eps).rsqrt()
    mean, variance = batch_statistics(norm, x)
    return mean, (variance + norm.eps).rsqrt()
