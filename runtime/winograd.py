"""3x3 convolutions of stride 1 in a quarter of the multiplications, on the CPU in float32.

Winograd's minimal filtering F(4x4, 3x3) (Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks"): forward and
both gradients, in C++ that is compiled for this machine at first use (winograd.cpp beside this file). The transforms' constants
are no powers of two, so results are rounded a few times more than those of a direct convolution: about 2e-6 of their size
instead of 5e-7. GPUs do the same by themselves: cuDNN chooses among such algorithms.

Letters: B batch (times time steps), I input channels, O output channels, H height, W width.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.native import NativeError, build_library

CPU_CONVOLUTIONS = "IDSNN_CPU_CONVOLUTIONS"
"""Environment variable: who computes such convolutions where kernels are compiled, one of :data:`MAKERS`; winograd if it is not
set."""

MAKERS = ("winograd", "direct")

SOURCE = Path(__file__).with_name("winograd.cpp")
BLOCK, TILE, TAPS = 16, 4, 36

FEWEST_TILES = 8
CHANNELS_OF_A_TILE = 32
"""A tile makes up for the transform of the weights of so many channels, input and output together."""

SAVES = 2
"""How many times fewer products there must be: part of a tile may lie outside the map, where a direct convolution has none."""


def suits(conv: nn.Conv2d) -> bool:
    """Whether the algorithm has such a layer at all."""
    window = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
    channels = (conv.in_channels, conv.out_channels)
    return window == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros") and not any(count % BLOCK for count in channels)


def pays(count: int, height: int, width: int, channels: int) -> bool:
    """Whether so many maps of that size, with so many channels before and after together, are faster this way."""
    own = tiles(height, width)
    enough = count * own >= max(FEWEST_TILES, channels / CHANNELS_OF_A_TILE)
    return enough and (3 * height - 2) * (3 * width - 2) >= SAVES * TAPS * own


def takes(x: Tensor, weight: Tensor) -> bool:
    """Whether ``x`` (B, I, H, W), the input of a layer that :func:`suits`, is to be convolved here, and can be.

    Raises:
        UserError: if IDSNN_CPU_CONVOLUTIONS names none of :data:`MAKERS`.
    """
    if not (x.device.type == weight.device.type == "cpu" and x.dtype == weight.dtype == torch.float32):
        return False
    count, _, height, width = x.shape
    if torch.is_autocast_enabled("cpu") or not pays(count, height, width, sum(weight.shape[:2])):
        return False
    return available()


def available() -> bool:
    """Whether the environment leaves such convolutions to this module and this machine can compile them, which is done then.

    Raises:
        UserError: as :func:`takes`.
    """
    maker = os.environ.get(CPU_CONVOLUTIONS, MAKERS[0])
    if maker not in MAKERS:
        raise UserError(f"{CPU_CONVOLUTIONS} is {maker!r}", hint=f"Known: {', '.join(MAKERS)}.")
    return maker == MAKERS[0] and _functions() is not None


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (B, I, H, W), weight (O, I, 3, 3), bias (O,) -> (B, O, H, W), channels-last; without gradients."""
    return _convolve(x, weight, bias, turned=False)


def input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """Of that input, (B, I, H, W) channels-last, from that of the output (B, O, H, W)."""
    return _convolve(grad, weight, None, turned=True)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *, turned: bool) -> Tensor:
    x = x.detach().contiguous(memory_format=torch.channels_last)
    count, channels, height, width = x.shape
    others, threads = weight.shape[1] if turned else weight.shape[0], torch.get_num_threads()
    y = torch.empty((count, others, height, width), memory_format=torch.channels_last)
    sizes = (count, height, width, channels, others, int(turned), threads)
    given = (None if bias is None else bias.detach().contiguous(), y, _room(x.shape, others, threads))
    _call("convolve", x, weight, weight.stride(), *given, *sizes)
    return y


def weight_gradient(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """Of that weight, laid out as it is, from that input and the gradient of the output."""
    x, grad = (each.detach().contiguous(memory_format=torch.channels_last) for each in (x, grad))
    count, channels, height, width = x.shape
    others, threads, found = grad.shape[1], torch.get_num_threads(), torch.empty_like(weight)
    sizes = (count, height, width, channels, others, threads)
    _call("weight_gradient", x, grad, found, found.stride(), _room(x.shape, others, threads), *sizes)
    return found


def _room(shape: torch.Size, others: int, threads: int) -> Tensor:
    """What is between the transforms."""
    count, channels, *size = shape
    return torch.empty(_made().idsnn_winograd_room(count * tiles(*size), channels, others, threads))


def tiles(height: int, width: int) -> int:
    """Of one map."""
    return -(-height // TILE) * -(-width // TILE)


def _call(function: str, *values: Tensor | tuple[int, ...] | int | None) -> None:
    """Tensors as where their values are, strides as an array."""
    given: list[Any] = []
    for value in values:
        if isinstance(value, Tensor):
            given.append(value.data_ptr())
        else:
            given.append((ctypes.c_int64 * len(value))(*value) if isinstance(value, tuple) else value)
    getattr(_made(), f"idsnn_winograd_{function}")(*given)


@cache
def _functions() -> ctypes.CDLL | None:
    """None, with a warning, where they cannot be compiled."""
    try:
        return functions()
    except NativeError as error:
        warnings.warn(f"3x3 convolutions run directly, at half the speed: {error}", RuntimeWarning, stacklevel=2)
        return None


def _made() -> ctypes.CDLL:
    made = _functions()
    assert made is not None, "takes() was not asked"
    return made


def functions(*flags: str) -> ctypes.CDLL:
    """The C++ functions, compiled with ``flags`` besides the usual.

    Raises:
        NativeError: as :func:`idsnn_convert.runtime.native.build_library`.
    """
    made = build_library(SOURCE, *flags)
    place, size = ctypes.c_void_p, ctypes.c_int64
    made.idsnn_winograd_room.argtypes, made.idsnn_winograd_room.restype = [size] * 4, size
    made.idsnn_winograd_convolve.argtypes = [place] * 6 + [size] * 7
    made.idsnn_winograd_weight_gradient.argtypes = [place] * 5 + [size] * 6
    return made
