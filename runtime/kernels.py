"""The neuron over all time steps as plain functions, fused with the scale and shift of a batch norm and a residual.

Letters: T time steps, R rows (batch x height x width), C channels; maps are views ``(T, R, C)`` of channels-last
memory, so no copy is made. Each function is elementwise over (R, C) with the time loop unrolled: compiled by
torch.compile it becomes one pass over memory (C++ on the CPU, Triton on CUDA); uncompiled it is still right.

Forward, with ``X[t] = x[t] scale + shift + residual[t]``: see :func:`idsnn_convert.runtime.neurons.step`.
Backward: see :class:`idsnn_convert.runtime.neurons._MultiStep`. What it needs of the rectangle surrogate, fired and
inside the window, is 2 bits a step, four steps a byte: ``code`` is uint8 (ceil(T/4), R, C). Other surrogates keep
their slopes (T, R, C) besides.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.surrogates import SURROGATES

STEPS_PER_BYTE = 4

Forward = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor | None]]
Infer = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
Backward = Callable[[Tensor, Tensor, Tensor | None, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
NormBackward = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Kernels:
    """The functions of one kind of neuron.

    ``forward(x, scale, shift, residual) -> (spikes, code, slopes | None)``;
    ``infer(x, scale, shift, residual) -> spikes``;
    ``backward(grad, code, slopes, x, mean, invstd) -> (dX, sum dX, sum dX xhat)``, the sums over T and R: ``(C,)``;
    ``norm_backward(dX, x, a, b, c) -> a dX + b x + c``, a batch norm's gradient (a, b, c hold the sums).
    """

    forward: Forward
    infer: Infer
    backward: Backward
    norm_backward: NormBackward


@cache
def kernels(neuron: Neuron, time_steps: int, compiled: bool) -> Kernels:
    """The functions for ``neuron`` over T steps; compiled once per process where asked, then shared by every layer."""
    forward, infer = _forward(neuron)
    plain = (forward, infer, _backward(neuron), _norm_backward)
    # Sizes are dynamic, so layers of all shapes share one kernel; T and dtype each make their own.
    return Kernels(*(map(_compiled, plain) if compiled else plain))


def _compiled(function: Any) -> Any:
    """torch.compile counts recompilations by code object, so each neuron and T gets one of its own."""
    own = FunctionType(function.__code__.replace(), globals(), function.__name__, None, function.__closure__)
    return torch.compile(own, dynamic=True)


def _wide(x: Tensor) -> Tensor:
    """Half-precision values as float32: potentials and sums are never kept in less."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _forward(neuron: Neuron) -> tuple[Forward, Infer]:
    v, decay, hard = neuron.v_threshold, neuron.decay, neuron.reset == "hard"
    packed, slope = neuron.surrogate == "rectangle", SURROGATES[neuron.surrogate]

    def potentials(x: Tensor, scale: Tensor, shift: Tensor, residual: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """(U[t], fired[t]) of every step, each (R, C)."""
        found: list[tuple[Tensor, Tensor]] = []
        for t in range(x.shape[0]):
            u = _wide(x[t]) * scale + shift
            if residual is not None:
                u = u + _wide(residual[t])
            if found:
                before, fired = found[-1]
                u = u + decay * (torch.where(fired, 0.0, before) if hard else before - v * fired.to(before.dtype))
            found.append((u, u > v))
        return found

    def infer(x: Tensor, scale: Tensor, shift: Tensor, residual: Tensor | None) -> Tensor:
        return torch.stack([fired.to(x.dtype) for _, fired in potentials(x, scale, shift, residual)])

    def forward(x: Tensor, scale: Tensor, shift: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        found = potentials(x, scale, shift, residual)
        spikes = torch.stack([fired.to(x.dtype) for _, fired in found])
        codes = []
        for first in range(0, len(found), STEPS_PER_BYTE):
            code = torch.zeros_like(found[0][1], dtype=torch.int32)
            for place, (u, fired) in enumerate(found[first : first + STEPS_PER_BYTE]):
                inside = (u - v).abs() < neuron.width
                code = code | (fired.to(torch.int32) + 2 * inside.to(torch.int32)) << (2 * place)
            codes.append(code.to(torch.uint8))
        slopes = None if packed else torch.stack([slope(u - v, neuron.width).to(x.dtype) for u, _ in found])
        return spikes, torch.stack(codes), slopes

    return forward, infer


def _backward(neuron: Neuron) -> Backward:
    decay, hard, height = neuron.decay, neuron.reset == "hard", 1 / (2 * neuron.width)

    def backward(
        grad: Tensor, code: Tensor, slopes: Tensor | None, x: Tensor, mean: Tensor, invstd: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        found: list[Tensor] = []
        for t in reversed(range(grad.shape[0])):
            bits = code[t // STEPS_PER_BYTE].to(torch.int32) >> (2 * (t % STEPS_PER_BYTE))
            du = _wide(grad[t])
            du = torch.where((bits & 2) > 0, du * height, 0.0) if slopes is None else du * _wide(slopes[t])
            if found:
                du = du + decay * (torch.where((bits & 1) > 0, 0.0, found[-1]) if hard else found[-1])
            found.append(du)
        dx = torch.stack(found[::-1])
        return dx.to(x.dtype), dx.sum((0, 1)), (dx * ((_wide(x) - mean) * invstd)).sum((0, 1))

    return backward


def _norm_backward(grad: Tensor, x: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return (_wide(grad) * a + _wide(x) * b + c).to(x.dtype)


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile has what it needs here: a C++ compiler for the CPU, Triton for CUDA."""
    if device.type == "cuda":
        return find_spec("triton") is not None
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))
