"""The kernels of :mod:`idsnn_convert.runtime.kernels` for CPUs, in C++ that is compiled for this machine at first use.

One library, made in seconds, has every neuron, any number of steps, float32 and bfloat16: time is a loop there, so a step costs
the same however many there are, where torch.compile writes out all of them. The letters, the bits and the formulas are those of
that module, and so is the order of roundings, but in sums over rows.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from idsnn_convert.runtime.fixed_point import PAIR
from idsnn_convert.runtime.kernels import STEPS_PER_BYTE, Kernels, Maybe, Norm, NormGradients, input_factors
from idsnn_convert.runtime.native import NativeError, build_library
from idsnn_convert.runtime.neurons import Neuron

SOURCE = Path(__file__).with_name("spiking.cpp")
FLAGS = ("-ffp-contract=off",)
"""A product and a sum are rounded one after the other, as PyTorch does."""

SURROGATES = ("rectangle", "triangle", "arctan", "linear")
"""Those of :data:`idsnn_convert.runtime.surrogates.SURROGATES` whose slope is written out there, in its order."""

TYPES = {torch.float32: 0, torch.bfloat16: 1}
BYTE, TWO_BYTES = 2, 3
SIDE_BY_SIDE = 16
PER_CHANNEL = {"scale", "shift", "mean", "a", "b", "c"}
"""Maps (C,), the same for every row."""
IN_FLOAT = PER_CHANNEL | {"start", "dend"}
"""What the library reads as float32, in whatever type a network in half precision has it."""


class _Neuron(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_float) for name in ("v_threshold", "decay", "width", "height", "damping")),
        *((name, ctypes.c_int32) for name in ("hard", "surrogate", "steps")),
    ]


def _structure(places: str, numbers: str) -> type[ctypes.Structure]:
    fields = [*((name, ctypes.c_void_p) for name in places.split()), *((name, ctypes.c_int64) for name in numbers.split())]
    return type("Maps", (ctypes.Structure,), {"_fields_": fields})


_Forward = _structure("x residual scale shift start spikes slopes code end", "once rows channels type residual_type spike_type")
_Backward = _structure("grad slopes x code dend mean a b c dx kept dstart sums", "once rows channels type")


def has(neuron: Neuron, dtype: torch.dtype) -> bool:
    """Whether the library has such a neuron for maps of that type."""
    return neuron.surrogate in SURROGATES and dtype in TYPES


@cache
def available() -> bool:
    """Whether the library can be made here; where it cannot, torch.compile makes the kernels."""
    try:
        functions()
    except NativeError:
        return False
    return True


@cache
def functions(*flags: str) -> ctypes.CDLL:
    """The C++ functions, compiled with ``flags`` besides the usual.

    Raises:
        NativeError: as :func:`idsnn_convert.runtime.native.build_library`.
    """
    made = build_library(SOURCE, *FLAGS, *flags)
    for name in ("forward", "gradients", "sums"):
        getattr(made, f"idsnn_spiking_{name}").argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    return made


@cache
def native_kernels(neuron: Neuron, time_steps: int, carries: bool = False) -> Kernels:
    """The functions for ``neuron`` over T steps, for maps in the types of :data:`TYPES`.

    Raises:
        ValueError: if the library has no such neuron.
    """
    if neuron.surrogate not in SURROGATES:
        raise ValueError(f"no kernel in C++ has the surrogate {neuron.surrogate!r}, only {', '.join(SURROGATES)}")
    numbers = (neuron.v_threshold, neuron.decay, neuron.width, neuron.height, neuron.damping)
    told = _Neuron(*numbers, neuron.reset == "hard", SURROGATES.index(neuron.surrogate), time_steps)
    packed = neuron.surrogate == "rectangle"

    def run(
        x: Tensor, scale: Maybe, shift: Maybe, residual: Maybe, start: Maybe, code: Maybe, slopes: Maybe, spikes: Tensor
    ) -> Maybe:
        end = x.new_empty(x.shape[1:], dtype=torch.float32) if carries else None
        maps = {"x": x, "residual": residual, "scale": scale, "shift": shift, "start": start, "end": end}
        types = {"residual_type": _type(residual), "spike_type": _type(spikes)}
        _call("forward", told, _Forward, x, {**maps, "code": code, "slopes": slopes, "spikes": spikes}, types)
        return end

    def forward(x: Tensor, scale: Maybe, shift: Maybe, residual: Maybe, start: Maybe) -> tuple[Tensor, Tensor, Maybe, Maybe]:
        spikes = x.new_empty((time_steps, *x.shape[1:]))
        code = x.new_empty((-(-time_steps // STEPS_PER_BYTE), *x.shape[1:]), dtype=torch.uint8)
        slopes = None if packed else torch.empty_like(spikes)
        end = run(x, scale, shift, residual, start, code, slopes, spikes)
        return spikes, code, slopes, end

    def infer(
        x: Tensor, scale: Maybe, shift: Maybe, residual: Maybe, start: Maybe,
        code: torch.dtype | None = None, coded: bool = False,
    ) -> tuple[Tensor, Maybe]:  # fmt: skip
        shape = (time_steps, *x.shape[1:])
        spikes = x.new_empty((*shape, 2), dtype=torch.uint8) if code == PAIR else x.new_empty(shape, dtype=code or x.dtype)
        if coded and residual is not None and residual.dtype == PAIR:
            residual = residual.contiguous().view(torch.uint8).unflatten(-1, (-1, 2))
        end = run(x, scale, shift, residual, start, None, None, spikes)
        return (spikes.flatten(-2).view(PAIR) if code == PAIR else spikes), end

    def gradients(maps: dict[str, Maybe], like: Tensor, residual: bool) -> tuple[Tensor, Maybe, Maybe]:
        grad = maps["grad"]
        assert grad is not None
        dx, kept = torch.empty_like(like), torch.empty_like(grad) if residual else None
        dstart = grad.new_empty(grad.shape[1:], dtype=torch.float32) if carries else None
        _call("gradients", told, _Backward, like, {**maps, "dx": dx, "kept": kept, "dstart": dstart}, {})
        return dx, kept, dstart

    def currents(grad: Tensor, code: Tensor, slopes: Maybe, dend: Maybe) -> tuple[Tensor, Maybe]:
        grad = grad.contiguous()
        dx, _, dstart = gradients({"grad": grad, "code": code, "slopes": slopes, "dend": dend}, grad, False)
        return dx, dstart

    def norm_backward(
        grad: Tensor, code: Tensor, slopes: Maybe, dend: Maybe, x: Tensor, norm: Norm, residual: bool
    ) -> NormGradients:
        grad, x = grad.contiguous(), x.contiguous()
        maps = {"grad": grad, "code": code, "slopes": slopes, "dend": dend, "x": x}
        sums = torch.zeros((2, x.shape[2]))  # of no rows too
        _call("sums", told, _Backward, x, {**maps, "mean": norm.mean, "sums": sums}, {})
        sum_dx, sum_dx_xhat = sums[0], sums[1] * norm.invstd
        factors = dict(zip("abc", input_factors(norm, x, sum_dx, sum_dx_xhat), strict=True))
        dx, kept, dstart = gradients({**maps, **factors}, x, residual)
        return dx, kept, dstart, sum_dx_xhat, sum_dx

    return Kernels(forward, infer, currents, norm_backward)


def _type(x: Maybe) -> int:
    """As the library counts them; codes of two bytes have an axis more."""
    if x is None or x.dtype in TYPES:
        return 0 if x is None else TYPES[x.dtype]
    return TWO_BYTES if x.dim() == 4 else BYTE


def _call(
    function: str, neuron: _Neuron, kind: type[ctypes.Structure], x: Tensor, maps: dict[str, Maybe], types: dict[str, int]
) -> None:
    """``x`` tells type and sizes; it has one step where the same is seen at every step."""
    if not x.shape[1:].numel():
        return
    times = _rows_as_one(*x.shape[1:])
    held = {name: value.contiguous() for name, value in maps.items() if value is not None}
    held |= {name: held[name].float() for name in IN_FLOAT & held.keys()}
    held |= {name: held[name].repeat(times) for name in PER_CHANNEL & held.keys()}
    sums = held.pop("sums", None)
    if sums is not None:
        held["sums"] = sums.repeat(1, times)
    sizes = {"rows": x.shape[1] // times, "channels": x.shape[2] * times, "type": TYPES[x.dtype], **types}
    places = {name: value.data_ptr() for name, value in held.items()}
    given = kind(**places, once=len(x) == 1 and neuron.steps > 1, **sizes)
    made = getattr(functions(), f"idsnn_spiking_{function}")
    made(ctypes.byref(neuron), ctypes.byref(given), torch.get_num_threads())
    if sums is not None:
        sums.copy_(held["sums"].view(2, times, -1).sum(1))


def _rows_as_one(rows: int, channels: int) -> int:
    """How many rows of few channels are taken for one, so that they fill what the processor computes side by side."""
    times = SIDE_BY_SIDE // channels
    return times if times > 0 and channels * times == SIDE_BY_SIDE and rows % times == 0 else 1
