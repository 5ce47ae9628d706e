"""The functions of :mod:`idsnn_convert.runtime.kernels` in PyTorch's own operators, for where no compiler is at hand.

One operator after the other over whole maps would fetch each map some twenty times. So a CPU takes a block of rows
through all of them while it lies in the cache, each thread its own blocks, in buffers of its own; batch norm's backward is
PyTorch's own.

Letters: T time steps, R rows (batch x height x width), M rows of a block, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import torch
from torch import Tensor

from idsnn_convert.runtime.fixed_point import ONE
from idsnn_convert.runtime.kernels import STEPS_PER_BYTE, Kernels, Maybe, Norm, NormGradients, input_factors, wide
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.spread import spread

BLOCK = 1 << 17
"""Values of one time step in a block."""


@cache
def eager_kernels(neuron: Neuron, time_steps: int, carries: bool = False) -> Kernels:
    """The functions for ``neuron`` over T steps."""
    layer = _Layer(neuron, time_steps, carries)
    return Kernels(layer.forward, layer.infer, layer.currents, layer.norm)


class _Layer:
    def __init__(self, neuron: Neuron, time_steps: int, carries: bool) -> None:
        self.neuron, self.time_steps, self.carries = neuron, time_steps, carries
        self.hard, self.packed = neuron.reset == "hard", neuron.surrogate == "rectangle"

    def infer(
        self, x: Tensor, scale: Maybe, shift: Maybe, residual: Maybe, start: Maybe,
        code: torch.dtype | None = None, coded: bool = False,
    ) -> tuple[Tensor, Maybe]:  # fmt: skip
        if self.time_steps == 1:
            return self._one_step(x, scale, shift, residual, start, code, coded)
        spikes, end = x.new_empty(self.time_steps, *x.shape[1:], dtype=code), self._potential_of(x)

        def work(blocks: Sequence[slice]) -> None:
            for rows, _, fired in self._fired(blocks, x, scale, shift, residual, start, end, coded):
                spikes[:, rows] = fired if code is None else fired.mul_(ONE[code])

        spread(work, _blocks(x))
        return spikes, end

    def _one_step(
        self, x: Tensor, scale: Maybe, shift: Maybe, residual: Maybe, start: Maybe, code: torch.dtype | None, coded: bool
    ) -> tuple[Tensor, Maybe]:
        """As :meth:`infer`, of one step, too short for blocks to win back what they cost."""
        u, v = wide(x), self.neuron.v_threshold
        if scale is not None and shift is not None:
            u = torch.addcmul(shift, u, scale)
        if residual is not None:
            u = u + (residual > 0 if coded else residual)
        if start is not None:
            u = self._later(u, start, u.new_ones(()))
        fired = (u > v).to(u.dtype)
        end = self._left(u[0], fired[0]) if self.carries else None
        return fired.to(x.dtype) if code is None else fired.mul_(ONE[code]).to(code), end

    def _later(self, u: Tensor, left: Tensor, ones: Tensor) -> Tensor:
        """The current ``u`` and what was ``left`` of the potential before, by the operator that later steps go through: others
        round in another way."""
        decay = self.neuron.decay
        return torch.addcmul(u, left, ones, value=decay) if self.hard else torch.add(u, left, alpha=decay)

    def _left(self, u: Tensor, fired: Tensor) -> Tensor:
        """What the reset leaves of the potential ``u``."""
        return torch.addcmul(u, u, fired, value=-1) if self.hard else torch.sub(u, fired, alpha=self.neuron.v_threshold)

    def forward(
        self, x: Tensor, scale: Maybe, shift: Maybe, residual: Maybe, start: Maybe
    ) -> tuple[Tensor, Tensor, Maybe, Maybe]:
        spikes, end = x.new_empty(self.time_steps, *x.shape[1:]), self._potential_of(x)
        code = x.new_empty(-(-self.time_steps // STEPS_PER_BYTE), *x.shape[1:], dtype=torch.uint8)
        slopes = None if self.packed else torch.empty_like(spikes)

        def work(blocks: Sequence[slice]) -> None:
            for rows, u, fired in self._fired(blocks, x, scale, shift, residual, start, end):
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

        spread(work, _blocks(x))
        return spikes, code, slopes, end

    def _potential_of(self, x: Tensor) -> Maybe:
        """Room for a potential (R, C) of ``x`` or its gradient, if it is to be carried."""
        return wide(x[:0]).new_empty(x.shape[1:]) if self.carries else None

    def _fired(
        self, blocks: Sequence[slice], x: Tensor, scale: Maybe, shift: Maybe, residual: Maybe, start: Maybe, end: Maybe,
        coded: bool = False,
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:  # fmt: skip
        """The blocks of rows with their potentials and spikes (T, M, C), which are the caller's until the next.
        Fills ``end`` on the way."""
        v, decay = self.neuron.v_threshold, self.neuron.decay
        size = _size(blocks)
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
            if start is not None:
                u[0] = self._later(u[0], start[rows], fired[0].fill_(1))
            for t in range(1, self.time_steps):
                if self.hard:
                    torch.le(u[t - 1], v, out=fired[t])
                    u[t].addcmul_(u[t - 1], fired[t], value=decay)
                else:
                    torch.gt(u[t - 1], v, out=fired[t])
                    u[t].add_(torch.sub(u[t - 1], fired[t], alpha=v, out=fired[t]), alpha=decay)
            torch.gt(u, v, out=fired)
            if end is not None:
                end[rows] = self._left(u[-1], fired[-1])
            yield rows, u, fired

    def currents(self, grad: Tensor, code: Tensor, slopes: Maybe, dend: Maybe) -> tuple[Tensor, Maybe]:
        dx, dstart = torch.empty_like(grad), self._potential_of(grad)
        spread(lambda blocks: self._back(blocks, grad, code, slopes, dend, dx, dstart), _blocks(grad))
        return dx, dstart

    def _back(
        self, blocks: Sequence[slice], grad: Tensor, code: Tensor, slopes: Maybe, dend: Maybe, dx: Tensor, dstart: Maybe
    ) -> None:
        """Fills these rows of ``dx`` and ``dstart``."""
        height, decay = self.neuron.height, self.neuron.decay
        places = torch.arange(0, 2 * STEPS_PER_BYTE, 2, dtype=torch.uint8, device=grad.device).view(-1, 1, 1)
        size = _size(blocks)
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
            if dend is not None:
                du[-1].addcmul_(dend[rows], mask[-1]) if self.hard else du[-1].add_(dend[rows])
            for t in reversed(range(self.time_steps - 1)):
                du[t].addcmul_(du[t + 1], mask[t], value=decay) if self.hard else du[t].add_(du[t + 1], alpha=decay)
            dx[:, rows] = du
            if dstart is not None:
                torch.mul(du[0], decay, out=dstart[rows])

    def norm(
        self, grad: Tensor, code: Tensor, slopes: Maybe, dend: Maybe, x: Tensor, norm: Norm, residual: bool
    ) -> NormGradients:
        kept, dstart = self.currents(grad, code, slopes, dend)
        reached = kept if len(x) == self.time_steps else kept.sum(0, keepdim=True)
        if norm.world.size > 1:
            dx, dweight, dbias = _shared_norm(reached, x, norm)
        else:
            statistics = (norm.mean, norm.invstd.pow(-2), norm.mean, norm.invstd)
            found, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
                _map(reached), _map(x), norm.weight, *statistics, norm.training, 0.0, [True] * 3
            )
            dx = found.permute(0, 2, 3, 1).reshape(x.shape)
        return dx, kept if residual else None, dstart, dweight, dbias


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
    size = min(whole, max(1, BLOCK // max(channels, 1))) if x.device.type == "cpu" else whole
    return [slice(first, min(first + size, rows)) for first in range(0, rows, size)]


def _size(blocks: Sequence[slice]) -> int:
    """The most rows that one of them has."""
    return max((block.stop - block.start for block in blocks), default=0)


def _map(x: Tensor) -> Tensor:
    """(T, R, C) -> (1, C, T R, 1), a channels-last view."""
    return x.reshape(1, -1, 1, x.shape[2]).permute(0, 3, 1, 2)
