"""Neurons that learn their leak and threshold: one number each a layer, Fang et al. 2021 (PLIF) and its successors.

The layer's parameters are free real numbers, so that no step of an optimiser can leave the range:
``decay = sigmoid(decay_logit)`` (Fang et al. learn 1 - decay the same way) and ``v_threshold = exp(log_threshold)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Slope = Callable[[Tensor], Tensor]
"""Of the surrogate, at U - v."""

DECAY, THRESHOLD = "decay_logit", "log_threshold"


def decay_logit(decay: float) -> float:
    """The parameter that stands for ``decay``, between 0 and 1 exclusive."""
    return math.log(decay / (1 - decay))


class _LearnedMultiStep(torch.autograd.Function):
    """All steps at once; gradients of currents, decay a and threshold v in closed form, the spikes in the reset detached:

    ``dU[t] = dF[t] slope(U[t] - v) + a K[t] dU[t+1]``, ``dX[t] = dU[t]`` as for fixed neurons, and
    ``da = sum_t dU[t+1] R[t]`` with R[t] what the reset leaves of U[t],
    ``dv = -sum_t dF[t] slope(U[t] - v)``, less ``a sum_t dU[t+1] F[t]`` for the soft reset, which subtracts v.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, decay: Tensor, v_threshold: Tensor, hard: bool, slope: Slope) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        potentials, spikes = torch.empty_like(x), torch.empty_like(x)
        for t, current in enumerate(x):
            left = None if t == 0 else _left(potentials[t - 1], spikes[t - 1], v_threshold, hard)
            potentials[t] = current if left is None else current + decay * left
            spikes[t] = potentials[t] > v_threshold
        ctx.save_for_backward(potentials, spikes, decay, v_threshold)
        ctx.hard, ctx.slope = hard, slope
        return spikes, potentials[-1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor, last: Tensor | None) -> tuple[Tensor | None, ...]:
        potentials, spikes, decay, v_threshold = ctx.saved_tensors
        du, d_decay, d_threshold = torch.empty_like(grad), torch.zeros_like(decay), torch.zeros_like(v_threshold)
        for t in reversed(range(len(grad))):
            fired = grad[t] * ctx.slope(potentials[t] - v_threshold)
            d_threshold -= fired.sum()
            if t + 1 < len(grad):
                d_decay += (du[t + 1] * _left(potentials[t], spikes[t], v_threshold, ctx.hard)).sum()
                if not ctx.hard:
                    d_threshold -= decay * (du[t + 1] * spikes[t]).sum()
                fired = fired + decay * (du[t + 1] * (1 - spikes[t]) if ctx.hard else du[t + 1])
            elif last is not None:
                fired = fired + last
            du[t] = fired
        return du, d_decay, d_threshold, None, None


def _left(u: Tensor, fired: Tensor, v_threshold: Tensor, hard: bool) -> Tensor:
    """What the reset leaves of the potential ``u``."""
    return u * (1 - fired) if hard else u - v_threshold * fired


def learned_multi_step(x: Tensor, decay: Tensor, v_threshold: Tensor, *, hard: bool, slope: Slope) -> Tensor:
    """Spikes (T, ...) for the currents ``x`` (T, ...), from zero potential; half-precision currents add up in float32.

    Args:
        decay, v_threshold: scalars; gradients reach them.
        hard: whether a spike takes all the potential, or ``v_threshold`` of it.
        slope: the surrogate's.
    """
    return learned_spikes_and_last(x, decay, v_threshold, hard=hard, slope=slope)[0]


def learned_spikes_and_last(
    x: Tensor, decay: Tensor, v_threshold: Tensor, *, hard: bool, slope: Slope
) -> tuple[Tensor, Tensor]:
    """As :func:`learned_multi_step`, and the last potential (...), before its reset."""
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    spikes, last = _LearnedMultiStep.apply(wide, decay, v_threshold, hard, slope)  # type: ignore[no-untyped-call]
    return spikes.to(x.dtype), last
