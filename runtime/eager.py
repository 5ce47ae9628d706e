"""The functions of :mod:`idsnn_convert.runtime.kernels` in PyTorch's own operators, for where no compiler is at hand.

One operator after the other over whole maps would fetch each map some twenty times. So a CPU takes a block of rows
through all of them while it lies in the cache, in buffers made once; batch norm's backward is PyTorch's own.

Letters: T time steps, R rows (batch x height x width), M rows of a block, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor

from idsnn_convert.runtime.fixed_point import ONE
from idsnn_convert.runtime.kernels import STEPS_PER_BYTE, Kernels, Norm, NormGradients, input_factors, wide
from idsnn_convert.runtime.neurons import Neuron

BLOCK = 1 << 16
"""Values of one time step in a block, for each thread: PyTorch divides nothing smaller among threads."""


@cache
def eager_kernels(neuron: Neuron, time_steps: int) -> Kernels:
    """The functions for ``neuron`` over T steps."""
    layer = _Layer(neuron, time_steps)
    return Kernels(layer.forward, layer.infer, layer.currents, layer.norm)


class _Layer:
    def __init__(self, neuron: Neuron, time_steps: int) -> None:
        self.neuron, self.time_steps, self.hard = neuron, time_steps, neuron.reset == "hard"
        self.packed = neuron.surrogate == "rectangle"

    def infer(
        self, x: Tensor, scale: Tensor | None, shift: Tensor | None, residual: Tensor | None,
        code: torch.dtype | None = None, coded: bool = False,
    ) -> Tensor:  # fmt: skip
        spikes = x.new_empty(self.time_steps, *x.shape[1:], dtype=code)
        for rows, _, fired in self._fired(x, scale, shift, residual, coded):
            spikes[:, rows] = fired if code is None else fired.mul_(ONE[code])
        return spikes

    def forward(
        self, x: Tensor, scale: Tensor | None, shift: Tensor | None, residual: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        spikes = x.new_empty(self.time_steps, *x.shape[1:])
        code = x.new_empty(-(-self.time_steps // STEPS_PER_BYTE), *x.shape[1:], dtype=torch.uint8)
        slopes = None if self.packed else torch.empty_like(spikes)
        for rows, u, fired in self._fired(x, scale, shift, residual):
            spikes[:, rows] = fired
            u.sub_(self.neuron.v_threshold)
            if slopes is not None:
                slopes[:, rows] = self.neuron.slope(u)
            bits = fired.add_(u.abs_().lt_(self.neuron.width), alpha=2)
            for byte, steps in enumerate(bits.split(STEPS_PER_BYTE)):
                packed = steps[-1]
                for earlier in reversed(steps[:-1].unbind()):
                    packed = earlier.add_(packed, alpha=4)
                code[byte, rows] = packed
        return spikes, code, slopes

    def _fired(
        self, x: Tensor, scale: Tensor | None, shift: Tensor | None, residual: Tensor | None, coded: bool = False
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Blocks of rows with their potentials and spikes (T, M, C), which are the caller's until the next block."""
        v, decay = self.neuron.v_threshold, self.neuron.decay
        blocks = _blocks(x)
        size = blocks[0].stop if blocks else 0
        potentials, fires = (wide(x[:0]).new_empty(self.time_steps, size, x.shape[2]) for _ in range(2))
        # Laid out like a block they pass as fast as it does, however few the channels.
        factors = [] if scale is None or shift is None else [f.expand(size, -1).contiguous() for f in (shift, scale)]
        for rows in blocks:
            m = rows.stop - rows.start
            u, fired = potentials[:, :m], fires[:, :m]
            if factors and x.dtype == u.dtype:
                torch.addcmul(factors[0][:m], x[:, rows].expand_as(u), factors[1][:m], out=u)
            else:
                u.copy_(x[:, rows])
                if factors:
                    torch.addcmul(factors[0][:m], u, factors[1][:m], out=u)
            if residual is not None:
                u.add_(residual[:, rows] > 0 if coded else residual[:, rows])
            for t in range(1, self.time_steps):
                if self.hard:
                    torch.le(u[t - 1], v, out=fired[t])
                    u[t].addcmul_(u[t - 1], fired[t], value=decay)
                else:
                    torch.gt(u[t - 1], v, out=fired[t])
                    u[t].add_(torch.sub(u[t - 1], fired[t], alpha=v, out=fired[t]), alpha=decay)
            yield rows, u, torch.gt(u, v, out=fired)

    def currents(self, grad: Tensor, code: Tensor, slopes: Tensor | None) -> Tensor:
        dx = torch.empty_like(grad)
        height, decay = self.neuron.height, self.neuron.decay
        places = torch.arange(0, 2 * STEPS_PER_BYTE, 2, dtype=torch.uint8, device=grad.device).view(-1, 1, 1)
        blocks = _blocks(grad)
        size = blocks[0].stop if blocks else 0
        found, masks = (wide(grad[:0]).new_empty(self.time_steps, size, grad.shape[2]) for _ in range(2))
        for rows in blocks:
            m = rows.stop - rows.start
            du, mask = found[:, :m], masks[:, :m]
            bits = code[:, None, rows].bitwise_right_shift(places).flatten(0, 1)[: self.time_steps]
            du.copy_(grad[:, rows])
            if slopes is None:
                du.mul_(mask.copy_(bits.bitwise_right_shift(1).bitwise_and_(1)))
                if height != 1:
                    du.mul_(height)
            else:
                du.mul_(slopes[:, rows])
            if self.hard:
                mask.copy_(bits.bitwise_not_().bitwise_and_(1))
            for t in reversed(range(self.time_steps - 1)):
                du[t].addcmul_(du[t + 1], mask[t], value=decay) if self.hard else du[t].add_(du[t + 1], alpha=decay)
            dx[:, rows] = du
        return dx

    def norm(self, grad: Tensor, code: Tensor, slopes: Tensor | None, x: Tensor, norm: Norm, residual: bool) -> NormGradients:
        kept = self.currents(grad, code, slopes)
        reached = kept if len(x) == self.time_steps else kept.sum(0, keepdim=True)
        if norm.world.size > 1:
            dx, dweight, dbias = _shared_norm(reached, x, norm)
        else:
            statistics = (norm.mean, norm.invstd.pow(-2), norm.mean, norm.invstd)
            found, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
                _map(reached), _map(x), norm.weight, *statistics, norm.training, 0.0, [True] * 3
            )
            dx = found.permute(0, 2, 3, 1).reshape(x.shape)
        return dx, kept if residual else None, dweight, dbias


def _shared_norm(reached: Tensor, x: Tensor, norm: Norm) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of a batch norm of which other processes hold parts, ``reached`` having come back to its result."""
    xhat = (wide(x) - norm.mean) * norm.invstd
    dbias, dweight = wide(reached).sum((0, 1)), (reached * xhat).sum((0, 1))
    a, b, c = input_factors(norm, x, dbias, dweight)
    return (reached * a + x * b + c).to(x.dtype), dweight, dbias


def _blocks(x: Tensor) -> list[slice]:
    """Slices over the rows of ``x`` (T, R, C), all of one size but the last."""
    _, rows, channels = x.shape
    whole = max(rows, 1)
    size = min(whole, max(1, BLOCK * torch.get_num_threads() // max(channels, 1))) if x.device.type == "cpu" else whole
    return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]


def _map(x: Tensor) -> Tensor:
    """(T, R, C) -> (1, C, T R, 1), a channels-last view."""
    return x.reshape(1, -1, 1, x.shape[2]).permute(0, 3, 1, 2)
