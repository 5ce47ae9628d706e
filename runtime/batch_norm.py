"""Batch norm whose batch may lie in several processes: statistics and gradients are those of the whole batch.

torch.nn.SyncBatchNorm does the same, on GPUs alone.

Letters: B batch (times time steps), C channels, H height, W width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idsnn_convert.runtime.distributed import ALONE, World


class BatchNorm2d(nn.BatchNorm2d):
    """torch's; ``world``: the processes that hold parts of its batch in training."""

    def __init__(self, channels: int, eps: float, momentum: float, affine: bool) -> None:
        super().__init__(channels, eps, momentum, affine)
        del self.num_batches_tracked  # momentum is fixed, so the count would never be read
        self.num_batches_tracked = None
        self.world = ALONE

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.world.size == 1:
            return super().forward(x)
        values = (x, self.weight, self.bias, *batch_statistics(self, x))
        normalised: Tensor = _Normalise.apply(*values, self.eps, self.world)  # type: ignore[no-untyped-call]
        return normalised


def synchronise(network: nn.Module, world: World) -> None:
    """From now on the batch norms of ``network`` share their batch with ``world``.

    Raises:
        ValueError: if one is another class's, whose statistics would be each process's own.
    """
    for name, module in network.named_modules():
        if isinstance(module, BatchNorm2d):
            module.world = world
        elif world.size > 1 and isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise ValueError(f"{name} is a {type(module).__qualname__}, which cannot share its batch among processes")


def world_of(norm: nn.BatchNorm2d) -> World:
    """The processes that share the batch of ``norm``."""
    return norm.world if isinstance(norm, BatchNorm2d) else ALONE


def everyones(world: World, count: int, *sums: Tensor) -> tuple[Tensor, ...]:
    """``count``, as a tensor (1,), and ``sums``, each (C,), added up over the processes in one go."""
    own = (sums[0].new_full((1,), count), *sums)
    return own if world.size == 1 else world.total(torch.cat(own)).split([len(part) for part in own])


@torch.no_grad()
def batch_statistics(norm: nn.BatchNorm2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (C,) of the batch ``x`` (B, C, H, W) of all processes; the running ones follow."""
    world, momentum = world_of(norm), norm.momentum or 0.0
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without running statistics cannot follow its batch")
    if world.size == 1:
        mean, variance = torch.batch_norm_update_stats(x, norm.running_mean, norm.running_var, momentum)
        return mean, variance
    variance, mean = (part.double() for part in torch.var_mean(x.float(), (0, 2, 3), correction=0))
    own = x.numel() // x.shape[1]
    count, sums, squares = everyones(world, own, own * mean, own * (variance + mean * mean))
    mean, variance = sums / count, (squares / count - (sums / count) ** 2).clamp_min(0)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_((variance * count / (count - 1)).to(norm.running_var.dtype), momentum)
    return mean.float(), variance.float()


class _Normalise(torch.autograd.Function):
    """``y = weight xhat + bias``, ``xhat = (x - mean) invstd``, whose mean and variance are functions of every process's x.

    With N the pixels of all processes and sums over all of them:
    ``dx = weight invstd (dy - sum dy / N - xhat sum(dy xhat) / N)``. dweight and dbias are of the own pixels, as other
    gradients are, and added up with those.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor,
        eps: float, world: World,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        ctx.world = world
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, invstd = ctx.saved_tensors
        column = (1, -1, 1, 1)
        xhat = (x.float() - mean.view(column)) * invstd.view(column)
        dbias, dweight = dy.float().sum((0, 2, 3)), (dy * xhat).sum((0, 2, 3))
        n, every_dy, every_dy_xhat = everyones(ctx.world, x.numel() // x.shape[1], dbias, dweight)
        scale = invstd if weight is None else weight * invstd
        dx = scale.view(column) * (dy - (every_dy / n).view(column) - xhat * (every_dy_xhat / n).view(column))
        learns = weight is not None
        return dx.to(x.dtype), dweight if learns else None, dbias if learns else None, *[None] * 4
