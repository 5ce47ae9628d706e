"""Where a layer's spikes follow each other closely: the spike activation map (Kim & Panda 2021, "Visual explanations from
spiking neural networks using inter-spike intervals"), LaSNN's stand-in for the student's gradient (eq. 11).

A neuron's earlier spikes count the less the longer ago they were: N[t] is the sum over its spikes t' < t of
exp(-gamma (t - t')). A location's map is the sum over channels of what fires there now, times that:
``M[t] = sum_c S[c, t] N[c, t]``. A first spike has none before it and counts nothing.

Letters: T time steps, B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class _SpikeMap(torch.autograd.Function):
    """M (T, B, 1, H, W) of spikes S (T, B, C, H, W) and the trace ``N[0]`` (B, C, H, W) that earlier steps left; and
    ``N[T]``, the trace they leave, by ``N[t + 1] = k (N[t] + S[t])``, k = exp(-gamma).

    Backward, with ``A[t] = dN[t]``: ``dS[t] = dM[t] N[t] + k A[t + 1]``, ``A[t] = dM[t] S[t] + k A[t + 1]``. The traces are
    computed again: kept are the spikes alone, which the layers behind keep anyway.
    """

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, trace: Tensor, kept: float) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(spikes, trace)
        ctx.kept = kept
        maps = []
        for fired in spikes:
            maps.append((fired * trace).sum(1, keepdim=True))
            trace = kept * (trace + fired)
        return torch.stack(maps), trace

    @staticmethod
    def backward(ctx: Any, grad: Tensor, last: Tensor) -> tuple[Tensor, Tensor, None]:
        spikes, trace = ctx.saved_tensors
        found, kept = torch.empty_like(spikes), ctx.kept
        for t, fired in enumerate(spikes):
            torch.mul(grad[t], trace, out=found[t])
            trace = kept * (trace + fired)
        for t in reversed(range(len(spikes))):
            last = kept * last
            found[t] += last
            last = last + grad[t] * spikes[t]
        return found, last, None


def spike_map(spikes: Tensor, gamma: float, trace: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The map of every step, (T, B, C, H, W) -> (T, B, 1, H, W), and the trace (B, C, H, W) for the step after the last.

    Args:
        gamma: how fast a spike is forgotten, per time step; above 0.
        trace: what this function left after the steps before; none by default.
    """
    start = torch.zeros_like(spikes[0]) if trace is None else trace
    found: tuple[Tensor, Tensor] = _SpikeMap.apply(spikes, start, math.exp(-gamma))  # type: ignore[no-untyped-call]
    return found


class SpikeMap(nn.Module):
    """:func:`spike_map` as a layer: spikes (T*B, C, H, W) -> maps (T*B, 1, H, W), time-major.

    Attributes:
        carries: whether to go on from the trace ``start``, none if None, and to leave one in ``end``; see
            :mod:`idsnn_convert.runtime.chunks`.
    """

    start: Tensor | None = None
    end: Tensor | None = None
    carries = False

    def __init__(self, gamma: float, time_steps: int = 1) -> None:
        super().__init__()
        self.gamma, self.time_steps = gamma, time_steps

    def forward(self, spikes: Tensor) -> Tensor:
        maps, trace = spike_map(spikes.unflatten(0, (self.time_steps, -1)), self.gamma, self.start)
        if self.carries:
            self.end = trace
        return maps.flatten(0, 1)
