"""The kernels of :mod:`idsnn_convert.runtime.kernels` written by hand in Triton, for CUDA.

The letters, the bits and the formulas are those of that module. Each kernel passes once over memory, in the order of the
memory; potentials stay in registers. Sums over rows go tile by tile, and the tiles' sums are added in a fixed order, so that
two runs give the same bits.

``TRITON_INTERPRET=1``, set before this module is imported, runs them on the CPU: slow, but without a GPU.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from idsnn_convert.runtime.kernels import STEPS_PER_BYTE, Kernels, Maybe, Norm, NormGradients, input_factors, wide
from idsnn_convert.runtime.neurons import Neuron

BLOCK = 1024
"""Values a program takes of each time step."""
TILE = (32, 64)
"""Rows and channels of a program that sums."""
SURROGATES = ("rectangle", "triangle", "arctan", "sigmoid")
"""Those of :data:`idsnn_convert.runtime.surrogates.SURROGATES` whose slope is written out here."""


def triton_kernels(neuron: Neuron, time_steps: int, carries: bool = False) -> Kernels:
    """The functions for ``neuron`` over T steps.

    Raises:
        ValueError: if the neuron's surrogate is none of :data:`SURROGATES`.
    """
    if neuron.surrogate not in SURROGATES:
        raise ValueError(f"no Triton kernel has the surrogate {neuron.surrogate!r}, only {', '.join(SURROGATES)}")
    return _made(neuron, time_steps, carries)


@cache
def _made(neuron: Neuron, time_steps: int, carries: bool) -> Kernels:
    shared = {"DECAY": neuron.decay, "HARD": neuron.reset == "hard", "STEPS": time_steps, "CARRIES": carries}
    told = {**shared, "V": neuron.v_threshold, "WIDTH": neuron.width, "DAMPING": neuron.damping}
    packed = neuron.surrogate == "rectangle"

    def run(x: Tensor, scale: Maybe, shift: Maybe, residual: Maybe, start: Maybe, *, kept: bool) -> Any:
        x, scale, shift, residual, start = _contiguous(x, scale, shift, residual, start)
        rows, channels = x.shape[1:]
        shape = (time_steps, rows, channels)
        spikes = x.new_empty(shape)
        code = x.new_empty((_bytes(time_steps) if kept else 0, rows, channels), dtype=torch.uint8)
        slopes = x.new_empty(shape) if kept and not packed else None
        end = _potential_of(x) if carries else None
        _launch(
            _forward_kernel, x[0].numel(), x, scale, shift, residual, start, spikes, code, slopes, end,
            **told, CHANNELS=channels, ONCE=x.shape[0] == 1, NORM=scale is not None, RESIDUAL=residual is not None,
            STARTED=start is not None, KEPT=kept, SURROGATE=neuron.surrogate, WIDE=_wide(x),
        )  # fmt: skip
        return spikes, code, slopes, end

    def forward(x: Tensor, scale: Maybe, shift: Maybe, residual: Maybe, start: Maybe) -> tuple[Tensor, Tensor, Maybe, Maybe]:
        found: tuple[Tensor, Tensor, Maybe, Maybe] = run(x, scale, shift, residual, start, kept=True)
        return found

    def infer(x: Tensor, scale: Maybe, shift: Maybe, residual: Maybe, start: Maybe) -> tuple[Tensor, Maybe]:
        spikes, _, _, end = run(x, scale, shift, residual, start, kept=False)
        return spikes, end

    back = {**shared, "HEIGHT": neuron.height}

    def gradients(
        grad: Tensor, code: Tensor, slopes: Maybe, dend: Maybe, x: Maybe, factors: tuple[Tensor, ...], residual: bool
    ) -> tuple[Tensor, Maybe, Maybe]:
        """dx of a norm's input x, or of the current itself where there is no x; dX if ``residual``; and dstart."""
        kept = torch.empty_like(grad) if residual else None
        dx = torch.empty_like(grad if x is None else x)
        dstart = _potential_of(grad) if carries else None
        a, b, c = factors or (None, None, None)
        _launch(
            _gradients_kernel, grad[0].numel(), grad, code, slopes, dend, x, a, b, c, dx, kept, dstart,
            **back, CHANNELS=grad.shape[2], ONCE=x is not None and x.shape[0] == 1, NORM=x is not None,
            RESIDUAL=residual, SLOPES=slopes is not None, WIDE=_wide(grad),
        )  # fmt: skip
        return dx, kept, dstart

    def currents(grad: Tensor, code: Tensor, slopes: Maybe, dend: Maybe) -> tuple[Tensor, Maybe]:
        grad, dend = _contiguous(grad, dend)
        dx, _, dstart = gradients(grad, code, slopes, dend, None, (), False)
        return dx, dstart

    def norm_backward(
        grad: Tensor, code: Tensor, slopes: Maybe, dend: Maybe, x: Tensor, norm: Norm, residual: bool
    ) -> NormGradients:
        grad, dend, x = _contiguous(grad, dend, x)
        sum_dx, dotted = _sums(grad, code, slopes, dend, x, norm.mean.contiguous(), back)
        sum_dx_xhat = dotted * norm.invstd
        factors = input_factors(norm, x, sum_dx, sum_dx_xhat)
        dx, kept, dstart = gradients(grad, code, slopes, dend, x, factors, residual)
        return dx, kept, dstart, sum_dx_xhat, sum_dx

    return Kernels(forward, infer, currents, norm_backward)


def _sums(
    grad: Tensor, code: Tensor, slopes: Maybe, dend: Maybe, x: Tensor, mean: Tensor, back: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Of dX and of dX (x - mean), over time and rows: (C,) each."""
    rows, channels = grad.shape[1:]
    tiles = triton.cdiv(rows, TILE[0])
    partial = mean.new_empty((2, tiles, channels))
    if grad.numel():
        _sums_kernel[(tiles, triton.cdiv(channels, TILE[1]))](
            grad, code, slopes, dend, x, mean, partial, rows, tiles, **back, CHANNELS=channels, ONCE=x.shape[0] == 1,
            SLOPES=slopes is not None, WIDE=_wide(grad), ROWS=TILE[0], COLUMNS=TILE[1],
        )  # fmt: skip
    total, dotted = partial.sum(1)
    return total, dotted


def _launch(kernel: Any, count: int, *values: Any, **constants: Any) -> None:
    """``kernel`` over ``count`` values of each step; an empty map has none, and CUDA takes no empty grid."""
    if count:
        kernel[(triton.cdiv(count, BLOCK),)](*values, count, **constants, BLOCK=BLOCK)


def _contiguous(*values: Maybe) -> list[Any]:
    return [None if value is None else value.contiguous() for value in values]


def _potential_of(x: Tensor) -> Tensor:
    """Room for a potential (R, C) of ``x`` or its gradient."""
    return wide(x[:0]).new_empty(x.shape[1:])


def _bytes(time_steps: int) -> int:
    return -(-time_steps // STEPS_PER_BYTE)


def _wide(x: Tensor) -> Any:
    """What potentials and sums are kept in."""
    return tl.float64 if x.dtype == torch.float64 else tl.float32


@triton.jit
def _slope(x, SURROGATE: tl.constexpr, WIDTH: tl.constexpr):
    if SURROGATE == "triangle":
        found = tl.maximum(1 - tl.abs(x) / WIDTH, 0.0) / WIDTH
    elif SURROGATE == "arctan":
        scaled = 1.5707963267948966 / WIDTH * x
        found = 1 / (2 * WIDTH * (1 + scaled * scaled))
    else:
        s = 1 / (1 + tl.exp(-x / WIDTH))
        found = s * (1 - s) / WIDTH
    return found


@triton.jit
def _forward_kernel(
    x, scale, shift, residual, start, spikes, code, slopes, end, count,
    V: tl.constexpr, DECAY: tl.constexpr, HARD: tl.constexpr, WIDTH: tl.constexpr, DAMPING: tl.constexpr,
    CHANNELS: tl.constexpr, STEPS: tl.constexpr, ONCE: tl.constexpr, NORM: tl.constexpr, RESIDUAL: tl.constexpr,
    STARTED: tl.constexpr, CARRIES: tl.constexpr, KEPT: tl.constexpr, SURROGATE: tl.constexpr, WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at < count
    if NORM:
        a = tl.load(scale + at % CHANNELS).to(WIDE)
        b = tl.load(shift + at % CHANNELS).to(WIDE)
    carried = tl.load(start + at, mask=there, other=0.0).to(WIDE) if STARTED else tl.zeros((BLOCK,), WIDE)
    place = at  # of the step at hand; 64 bits, since all steps together pass 32
    byte_place = at
    for first in range(0, STEPS, 4):
        bits = tl.zeros((BLOCK,), tl.int32)
        for step in tl.static_range(4):
            now = there & (first + step < STEPS)
            u = tl.load(x + (at if ONCE else place), mask=now, other=0.0).to(WIDE)
            if NORM:
                u = u * a + b
            if RESIDUAL:
                u += tl.load(residual + place, mask=now, other=0.0).to(WIDE)
            u += DECAY * carried
            fired = u > V
            tl.store(spikes + place, fired.to(spikes.dtype.element_ty), mask=now)
            carried = tl.where(fired, 0.0, u) if HARD else u - V * fired.to(WIDE)
            if CARRIES:
                tl.store(end + at, carried, mask=there & (first + step == STEPS - 1))
            if KEPT:
                inside = tl.abs(u - V) < WIDTH
                own = fired.to(tl.int32) + 2 * inside.to(tl.int32)
                bits += tl.where(now, own, 0) << (2 * step)
                if SURROGATE != "rectangle":
                    slope = DAMPING * _slope(u - V, SURROGATE, WIDTH)
                    tl.store(slopes + place, slope.to(slopes.dtype.element_ty), mask=now)
            place += count
        if KEPT:
            tl.store(code + byte_place, bits.to(tl.uint8), mask=there)
            byte_place += count


@triton.jit
def _step_back(
    grad, slopes, place, now, bits, carried, handed, last, step: tl.constexpr,
    DECAY: tl.constexpr, HARD: tl.constexpr, HEIGHT: tl.constexpr, SLOPES: tl.constexpr, CARRIES: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """dX of one step from that of the step after it, ``carried``, or in the ``last`` from the gradient of what it hands on;
    0 where the step is none."""
    fired = ((bits >> (2 * step)) & 1).to(WIDE)
    inside = ((bits >> (2 * step + 1)) & 1).to(WIDE)
    slope = tl.load(slopes + place, mask=now, other=0.0).to(WIDE) if SLOPES else inside * HEIGHT
    du = tl.load(grad + place, mask=now, other=0.0).to(WIDE) * slope
    left = DECAY * (carried - carried * fired if HARD else carried)
    if CARRIES:
        left = tl.where(last, handed - handed * fired if HARD else handed, left)
    return du + left


@triton.jit
def _gradients_kernel(
    grad, code, slopes, dend, x, a, b, c, dx, kept, dstart, count,
    DECAY: tl.constexpr, HARD: tl.constexpr, HEIGHT: tl.constexpr, STEPS: tl.constexpr, CHANNELS: tl.constexpr,
    ONCE: tl.constexpr, NORM: tl.constexpr, RESIDUAL: tl.constexpr, SLOPES: tl.constexpr, CARRIES: tl.constexpr,
    WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    there = at < count
    if NORM:
        a_here = tl.load(a + at % CHANNELS).to(WIDE)
        b_here = tl.load(b + at % CHANNELS).to(WIDE)
        c_here = tl.load(c + at % CHANNELS).to(WIDE)
    carried = tl.zeros((BLOCK,), WIDE)
    handed = tl.load(dend + at, mask=there, other=0.0).to(WIDE) if CARRIES else carried
    total = tl.zeros((BLOCK,), WIDE)
    BYTES: tl.constexpr = (STEPS + 3) // 4
    byte_place = at
    place = at
    for _ in range(BYTES - 1):
        byte_place += count
    for _ in range(4 * BYTES - 1):
        place += count
    for back in range(BYTES):
        bits = tl.load(code + byte_place, mask=there, other=0).to(tl.int32)
        for step in tl.static_range(3, -1, -1):
            now = there & (4 * (BYTES - 1 - back) + step < STEPS)
            last = 4 * (BYTES - 1 - back) + step == STEPS - 1
            carried = _step_back(
                grad, slopes, place, now, bits, carried, handed, last, step, DECAY, HARD, HEIGHT, SLOPES, CARRIES, WIDE
            )
            if RESIDUAL:
                tl.store(kept + place, carried.to(kept.dtype.element_ty), mask=now)
            if ONCE:
                total += carried
            elif NORM:
                seen = tl.load(x + place, mask=now, other=0.0).to(WIDE)
                tl.store(dx + place, (carried * a_here + seen * b_here + c_here).to(dx.dtype.element_ty), mask=now)
            else:
                tl.store(dx + place, carried.to(dx.dtype.element_ty), mask=now)
            place -= count
        byte_place -= count
    if CARRIES:
        tl.store(dstart + at, DECAY * carried, mask=there)
    if ONCE:
        seen = tl.load(x + at, mask=there, other=0.0).to(WIDE)
        tl.store(dx + at, (total * a_here + seen * b_here + c_here).to(dx.dtype.element_ty), mask=there)


@triton.jit
def _sums_kernel(
    grad, code, slopes, dend, x, mean, partial, rows, tiles,
    DECAY: tl.constexpr, HARD: tl.constexpr, HEIGHT: tl.constexpr, STEPS: tl.constexpr, CHANNELS: tl.constexpr,
    ONCE: tl.constexpr, SLOPES: tl.constexpr, CARRIES: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    there = (row < rows)[:, None] & (column < CHANNELS)[None, :]
    at = row.to(tl.int64)[:, None] * CHANNELS + column[None, :]
    count = tl.zeros((ROWS, COLUMNS), tl.int64) + rows * CHANNELS
    middle = tl.load(mean + column, mask=column < CHANNELS, other=0.0).to(WIDE)[None, :]
    carried = tl.zeros((ROWS, COLUMNS), WIDE)
    handed = tl.load(dend + at, mask=there, other=0.0).to(WIDE) if CARRIES else carried
    total = tl.zeros((ROWS, COLUMNS), WIDE)
    dotted = tl.zeros((ROWS, COLUMNS), WIDE)
    BYTES: tl.constexpr = (STEPS + 3) // 4
    for back in range(BYTES):
        byte = BYTES - 1 - back
        bits = tl.load(code + at + count * byte, mask=there, other=0).to(tl.int32)
        for step in tl.static_range(3, -1, -1):
            place = at + count * (4 * byte + step)
            now = there & (4 * byte + step < STEPS)
            last = 4 * byte + step == STEPS - 1
            carried = _step_back(
                grad, slopes, place, now, bits, carried, handed, last, step, DECAY, HARD, HEIGHT, SLOPES, CARRIES, WIDE
            )
            seen = tl.load(x + (at if ONCE else place), mask=now, other=0.0).to(WIDE)
            total += carried
            dotted += carried * (seen - middle)
    tile = partial + tl.program_id(0) * CHANNELS + column
    tl.store(tile, tl.sum(total, 0).to(partial.dtype.element_ty), mask=column < CHANNELS)
    tl.store(tile + tiles * CHANNELS, tl.sum(dotted, 0).to(partial.dtype.element_ty), mask=column < CHANNELS)
