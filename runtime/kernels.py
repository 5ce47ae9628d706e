"""The neuron over all time steps as plain functions, fused with the scale and shift of a batch norm and a residual.

Letters: T time steps, R rows (batch x height x width), C channels; maps are views ``(T, R, C)`` of channels-last
memory, so no copy is made. ``x`` may be ``(1, R, C)``: the same at every step. Each leaf is elementwise over (R, C)
with the time loop unrolled: compiled by torch.compile it becomes one pass over memory (C++ on the CPU, Triton on
CUDA). Uncompiled it is still right, and slow: see :mod:`idsnn_convert.runtime.eager`.

Forward, with ``X[t] = x[t] scale + shift + residual[t]``: see :func:`idsnn_convert.runtime.neurons.step`.
Backward: see :class:`idsnn_convert.runtime.neurons._MultiStep`. What it needs of the rectangle surrogate, fired and
inside the window, is 2 bits a step, four steps a byte: ``code`` is uint8 (ceil(T/4), R, C). Other surrogates keep
their slopes (T, R, C) besides.

Functions that carry go on from a potential and hand one on, both (R, C), after the reset and before the decay, and never
in less than float32: ``U[0] = X[0] + decay start``, ``end = K[T-1] U[T-1]`` (soft: ``U[T-1] - v_threshold F[T-1]``). Backward,
the reset detached: ``dU[T-1] += K[T-1] dend``, ``dstart = decay dU[0]``. T steps in parts give the bits of T steps at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from idsnn_convert.runtime.batch_norm import everyones
from idsnn_convert.runtime.distributed import ALONE, World
from idsnn_convert.runtime.fixed_point import ONE
from idsnn_convert.runtime.native import compiler
from idsnn_convert.runtime.neurons import Neuron

STEPS_PER_BYTE = 4
ROWS_PER_SUM = 64
"""At most so many rows are summed one by one, then their sums: what is read a second time is still in the cache."""

MOST_IN_ONE_GO = 4
IN_ONE_GO = {"realize_opcount_threshold": 1 << 20, "realize_reads_threshold": 1 << 20}
"""Inductor's settings for so few time steps: without them it stores what several results share, a pass over memory each, which
makes sums over rows half as fast. For each step more it would write out twice as much, so of many steps some are stored."""


class Norm(NamedTuple):
    """A batch norm at work: its weight and the statistics in force (C,), whether those are this batch's own, and the
    processes that share the batch."""

    weight: Tensor
    mean: Tensor
    invstd: Tensor
    training: bool
    world: World = ALONE


Maybe = Tensor | None
Forward = Callable[[Tensor, Maybe, Maybe, Maybe, Maybe], tuple[Tensor, Tensor, Maybe, Maybe]]
Infer = Callable[..., tuple[Tensor, Maybe]]
Currents = Callable[[Tensor, Tensor, Maybe, Maybe], tuple[Tensor, Maybe]]
Sums = Callable[[Tensor, Tensor, Maybe, Maybe, Tensor, Tensor], tuple[Tensor, Tensor]]
Gradients = Callable[[Tensor, Tensor, Maybe, Maybe, Tensor, Tensor, Tensor, Tensor, bool], tuple[Tensor, Maybe, Maybe]]
NormGradients = tuple[Tensor, Maybe, Maybe, Tensor, Tensor]
NormBackward = Callable[[Tensor, Tensor, Maybe, Maybe, Tensor, Norm, bool], NormGradients]


@dataclass(frozen=True)
class Kernels:
    """The functions of one kind of neuron over T steps.

    ``forward(x, scale, shift, residual, start) -> (spikes, code, slopes | None, end)``; without a norm scale and shift are
    None;
    ``infer(x, scale, shift, residual, start) -> (spikes, end)``, and on the CPU with ``code`` their codes of that type, which
    ``residual`` is as well if ``coded``, see :mod:`idsnn_convert.runtime.fixed_point`;
    ``currents(grad, code, slopes, dend) -> (dX, dstart)``, dX in the type of ``grad``;
    ``norm(grad, code, slopes, dend, x, norm, residual) -> (dx, dX if residual, dstart, dweight, dbias)``, dx of the shape
    of x.

    Where they do not carry, start, end and their gradients are None. Where they do, a start of None is zero, and what they
    give and dend are not None.
    """

    forward: Forward
    infer: Infer
    currents: Currents
    norm: NormBackward


@cache
def kernels(
    neuron: Neuron,
    time_steps: int,
    compiled: bool,
    dtype: torch.dtype = torch.float32,
    code: torch.dtype | None = None,
    carries: bool = False,
) -> Kernels:
    """The functions for ``neuron`` over T steps; compiled once per process where asked, then shared by every layer.

    Sizes are dynamic, so layers of all shapes share one compilation; each ``dtype`` of maps and ``code`` of spikes has its own,
    and so have those that carry.
    """
    plain = (*_forward(neuron, time_steps, carries), *_backward(neuron, time_steps, carries))
    options = IN_ONE_GO if time_steps <= MOST_IN_ONE_GO else None
    forward, infer, currents, sums, gradients = (_compiled(each, options) for each in plain) if compiled else plain
    if compiled and carries:
        forward, infer = _from_zeros(forward), _from_zeros(infer)
    return Kernels(forward, infer, currents, _norm_backward(sums, gradients))


def _from_zeros(function: Any) -> Any:
    """``function`` given zeros where there is no start: what begins and what goes on share one compilation."""

    def started(x: Tensor, scale: Maybe, shift: Maybe, residual: Maybe, start: Maybe, **codes: Any) -> Any:
        begun = wide(x[:0]).new_zeros(x.shape[1:]) if start is None else start
        return function(x, scale, shift, residual, begun, **codes)

    return started


def _compiled(function: Any, options: dict[str, Any] | None = None) -> Any:
    """torch.compile counts recompilations by code object, so each neuron, T, dtype, code and carrying gets one of its own."""
    own = FunctionType(function.__code__.replace(), globals(), function.__name__, function.__defaults__, function.__closure__)
    return torch.compile(own, dynamic=True, options=options)


def wide(x: Tensor) -> Tensor:
    """Half-precision values as float32: potentials and sums are never kept in less."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def step_of(x: Tensor, t: int) -> Tensor:
    """``x[t]`` of (T, ...), or the one step that (1, ...) has."""
    return x[0] if x.shape[0] == 1 else x[t]


def _forward(neuron: Neuron, time_steps: int, carries: bool) -> tuple[Forward, Infer]:
    v, decay, hard = neuron.v_threshold, neuron.decay, neuron.reset == "hard"
    packed = neuron.surrogate == "rectangle"

    def potentials(
        x: Tensor, scale: Maybe, shift: Maybe, residual: Maybe, start: Maybe, coded: bool = False
    ) -> tuple[list[tuple[Tensor, Tensor]], Maybe]:
        """(U[t], F[t]) of every step, each (R, C), and what the last reset leaves where that is asked for. Products with 0
        and 1 compile to less than choices do."""
        found: list[tuple[Tensor, Tensor]] = []
        left = start
        for t in range(time_steps):
            u = wide(step_of(x, t))
            if scale is not None and shift is not None:
                u = u * scale + shift
            if residual is not None:
                u = u + ((residual[t].to(u.dtype) > 0).to(u.dtype) if coded else wide(residual[t]))
            if left is not None:
                u = u + decay * left
            fired = (u > v).to(u.dtype)
            found.append((u, fired))
            left = u - u * fired if hard else u - v * fired
        return found, left if carries else None

    def infer(
        x: Tensor, scale: Maybe, shift: Maybe, residual: Maybe, start: Maybe,
        code: torch.dtype | None = None, coded: bool = False,
    ) -> tuple[Tensor, Maybe]:  # fmt: skip
        found, end = potentials(x, scale, shift, residual, start, coded)
        return torch.stack([fired.to(x.dtype) if code is None else (fired * ONE[code]).to(code) for _, fired in found]), end

    def forward(x: Tensor, scale: Maybe, shift: Maybe, residual: Maybe, start: Maybe) -> tuple[Tensor, Tensor, Maybe, Maybe]:
        found, end = potentials(x, scale, shift, residual, start)
        spikes = torch.stack([fired.to(x.dtype) for _, fired in found])
        codes = []
        for first in range(0, time_steps, STEPS_PER_BYTE):
            code = torch.zeros_like(found[0][0])
            for place, (u, fired) in enumerate(found[first : first + STEPS_PER_BYTE]):
                inside = ((u - v).abs() < neuron.width).to(u.dtype)
                code = code + (fired + 2 * inside) * 4**place
            codes.append(code.to(torch.uint8))
        slopes = None if packed else torch.stack([neuron.slope(u - v).to(x.dtype) for u, _ in found])
        return spikes, torch.stack(codes), slopes, end

    return forward, infer


def _backward(neuron: Neuron, time_steps: int, carries: bool) -> tuple[Currents, Sums, Gradients]:
    decay, hard, height = neuron.decay, neuron.reset == "hard", neuron.height

    def steps(grad: Tensor, code: Tensor, slopes: Maybe, dend: Maybe) -> list[Tensor]:
        """dX[t], from the last step to the first. Codes are taken apart as numbers: integers compile to slow C++."""
        found: list[Tensor] = []
        rest = [wide_code(byte, grad) for byte in code]
        for t in reversed(range(time_steps)):
            byte, place = divmod(t, STEPS_PER_BYTE)
            bits = torch.floor(rest[byte] * 4.0**-place)
            rest[byte] = rest[byte] - bits * 4**place
            inside = torch.floor(bits * 0.5)
            du = wide(grad[t]) * (inside * height if slopes is None else wide(slopes[t]))
            if found:
                du = du + decay * (found[-1] - found[-1] * (bits - 2 * inside) if hard else found[-1])
            elif dend is not None:
                du = du + (dend - dend * (bits - 2 * inside) if hard else dend)
            found.append(du)
        return found

    def currents(grad: Tensor, code: Tensor, slopes: Maybe, dend: Maybe) -> tuple[Tensor, Maybe]:
        found = steps(grad, code, slopes, dend)[::-1]
        return torch.stack([du.to(grad.dtype) for du in found]), decay * found[0] if carries else None

    def sums(grad: Tensor, code: Tensor, slopes: Maybe, dend: Maybe, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        found = steps(grad, code, slopes, dend)
        total, dotted = found[-1], found[-1] * (wide(x[0]) - mean)
        for t, du in enumerate(found[-2::-1], start=1):
            total, dotted = total + du, dotted + du * (wide(step_of(x, t)) - mean)
        return total.sum(1).sum(0), dotted.sum(1).sum(0)

    def gradients(
        grad: Tensor, code: Tensor, slopes: Maybe, dend: Maybe, x: Tensor, a: Tensor, b: Tensor, c: Tensor, residual: bool
    ) -> tuple[Tensor, Maybe, Maybe]:
        found = steps(grad, code, slopes, dend)[::-1]
        kept = torch.stack([du.to(grad.dtype) for du in found]) if residual else None
        dstart = decay * found[0] if carries else None
        if x.shape[0] == 1:
            total = found[0]
            for du in found[1:]:
                total = total + du
            found = [total]
        return torch.stack([(du * a + wide(x[t]) * b + c).to(x.dtype) for t, du in enumerate(found)]), kept, dstart

    return currents, sums, gradients


def wide_code(byte: Tensor, grad: Tensor) -> Tensor:
    return byte.to(torch.float64 if grad.dtype == torch.float64 else torch.float32)


def _norm_backward(sums: Sums, gradients: Gradients) -> NormBackward:
    """With dX the gradient after the norm, N = R or T R the values it saw a channel, xhat = (x - mean) invstd and
    g = weight invstd: dx = g (dX - sum dX / N - xhat sum(dX xhat) / N) in training, g dX in evaluation;
    dweight = sum(dX xhat), dbias = sum dX; where several processes share the batch, N and the sums in dx are over all of
    them. The neuron's steps back are taken twice, which is cheaper than keeping dX.
    """

    def norm_backward(
        grad: Tensor, code: Tensor, slopes: Maybe, dend: Maybe, x: Tensor, norm: Norm, residual: bool
    ) -> NormGradients:
        rows = rows_per_sum(x.shape[1])
        blocks = [None if each is None else each.unflatten(-2, (-1, rows)) for each in (grad, code, slopes, dend, x)]
        sum_dx, dotted = sums(*blocks, norm.mean)  # type: ignore[arg-type,call-arg]
        sum_dx_xhat = dotted * norm.invstd
        factors = input_factors(norm, x, sum_dx, sum_dx_xhat)
        dx, kept, dstart = gradients(grad, code, slopes, dend, x, *factors, residual)
        return dx, kept, dstart, sum_dx_xhat, sum_dx

    return norm_backward


def input_factors(norm: Norm, x: Tensor, sum_dx: Tensor, sum_dx_xhat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """a, b and c (C,) of a batch norm's gradient ``dx = a dX + b x + c``; x is (T, R, C) or (1, R, C)."""
    a = norm.weight * norm.invstd
    if not norm.training:
        return a, torch.zeros_like(a), torch.zeros_like(a)
    n, every_dx, every_dx_xhat = everyones(norm.world, x.shape[0] * x.shape[1], sum_dx, sum_dx_xhat)
    b = -a * norm.invstd * every_dx_xhat / n
    return a, b, -a * every_dx / n - b * norm.mean


def rows_per_sum(rows: int) -> int:
    """The largest divisor of ``rows`` up to ROWS_PER_SUM."""
    return next((size for size in range(ROWS_PER_SUM, 1, -1) if rows % size == 0), 1)


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile has what it needs here: a C++ compiler for the CPU, Triton for CUDA."""
    if device.type == "cuda":
        return find_spec("triton") is not None
    return compiler() is not None
