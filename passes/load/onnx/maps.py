"""ONNX operators that join, cut and rearrange maps, or read their size.

Each function takes the :class:`Call` of a node and gives its value.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from idsnn_convert.passes import aten_maps as aten
from idsnn_convert.passes.load.onnx.folds import Array
from idsnn_convert.passes.load.onnx.values import Call, Known, Unbiased, as_param
from idsnn_convert.passes.values import BATCH, Map, UnsupportedError, Zeros

FLOATS = (1, 10, 11, 16)
"""TensorProto's FLOAT, FLOAT16, DOUBLE and BFLOAT16."""

PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
"""ONNX's name for what a map is padded with -> PyTorch's."""


def same(c: Call) -> Map:
    return c.map()


def cast(c: Call) -> Map:
    """The whole network runs in float32, so one kind of float to another is nothing."""
    if c.attrs["to"] not in FLOATS:
        raise UnsupportedError("it makes whole numbers of a map", "Give the network unquantised.")
    return c.map()


def add(c: Call) -> Any:
    """A sum; of a layer without bias and a constant, the layer with that bias."""
    x, y = c.args
    if isinstance(y, Unbiased):
        x, y = y, x
    if isinstance(x, Unbiased):
        assert isinstance(y, Known)  # by what makes it so
        shape = (x.channels, *([1] * x.trailing))
        if y.array.shape[-len(shape) :] == shape and y.array.size == x.channels:
            bias = as_param(y)
            return x.make(type(bias)(bias.origin, bias.tensor.reshape(-1)))
        x = x.make(None)
    return aten.add(c.b, c.site, _scalar(x), _scalar(y))


def mul(c: Call) -> Any:
    return aten.mul(c.b, c.site, *(_scalar(value) for value in c.args))


def sub(c: Call) -> Map:
    x, y = (_scalar(value) for value in c.args)
    if isinstance(x, Map) and y == 0:
        return x
    if isinstance(x, Map):
        raise UnsupportedError(f"it subtracts {c.args[1]}", "Fold constants into a layer.")
    return aten.rsub(c.b, c.site, c.map(1), x)


def sum_(c: Call) -> Any:
    return reduce(lambda x, y: aten.add(c.b, c.site, x, y), c.args)


def _scalar(value: Any) -> Any:
    """A constant of one number as that number."""
    if isinstance(value, Known) and value.array.size == 1 and value.array.dtype.kind in "fiu":
        return value.array.item()
    return value


def concat(c: Call) -> Map:
    """Joins over channels; a constant of zeros, as a shortcut without weights joins, becomes padding."""
    tensors = [_zeros(c, value) if isinstance(value, Known) else value for value in c.args]
    return aten.cat(c.b, c.site, tensors, c.attrs.get("axis", 1))


def _zeros(c: Call, value: Known) -> Zeros:
    if not value.array.ndim or len(value.array) != (c.batch or 1) or value.array.any():
        raise UnsupportedError(f"it joins {value}", "Only maps and zeros can be joined.")
    return Zeros(value.array.shape[1:])


def pad(c: Call) -> Map:
    x = c.map()
    rank = len(x.shape) + 1
    pads, axes = c.ints("pads", 1) or [], c.ints("axes", 3) or list(range(rank))
    mode = c.attrs.get("mode", "constant")
    if mode not in PAD_MODES or len(pads) != 2 * len(axes):
        raise UnsupportedError(f"padding {pads} in mode {mode!r} is not covered", f"Use one of {', '.join(PAD_MODES)}.")
    around = [[0, 0] for _ in range(rank)]
    for place, axis in enumerate(axes):
        around[axis % rank] = [pads[place], pads[place + len(axes)]]
    if any(around[0]):
        raise UnsupportedError("it pads the batch", "Pad channels, rows or columns.")
    flat = [size for pair in reversed(around[1:]) for size in pair]
    return aten.pad(c.b, c.site, x, flat, PAD_MODES[mode], c.number("value", 2, 0.0))


def slice_(c: Call) -> Map:
    x, starts, stops = c.map(), c.ints("starts", 1) or [], c.ints("ends", 2) or []
    axes = c.ints("axes", 3) or list(range(len(starts)))
    steps = c.ints("steps", 4) or [1] * len(starts)
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        if step < 1:
            raise UnsupportedError("it turns an axis round", "Slice with a positive step.")
        x = aten.slice_(c.b, c.site, x, axis, start, stop, step)
    return x


def split(c: Call) -> tuple[Map, ...]:
    x, axis = c.map(), c.attrs.get("axis", 0)
    sizes, parts = c.ints("split", 1), c.attrs.get("num_outputs", c.outputs)
    whole = x.shape[axis % (len(x.shape) + 1) - 1]
    return aten.split(c.b, c.site, x, sizes or -(-whole // parts), axis)


def flatten(c: Call) -> Map:
    x = c.map()
    axis = c.attrs.get("axis", 1) % (len(x.shape) + 1)
    if axis != 1:
        raise UnsupportedError(f"it flattens before and behind axis {axis}", "Flatten from axis 1: torch.flatten(x, 1).")
    return aten.flatten(c.b, c.site, x, 1)


def reshape(c: Call) -> Map:
    x, sizes = c.map(), c.ints("shape", 1) or []
    if not sizes:
        raise UnsupportedError("it makes one number of a map", "Keep the batch first: x.flatten(1).")
    if not c.attrs.get("allowzero", 0):
        have = (BATCH, *x.shape)
        sizes = [have[i] if size == 0 and i < len(have) else size for i, size in enumerate(sizes)]
    if c.batch is not None and sizes[0] == c.batch:
        sizes[0] = BATCH
    return aten.view(c.b, c.site, x, sizes)


def squeeze(c: Call) -> Map:
    x = c.map()
    return aten.squeeze(c.b, c.site, x, _kept(c.ints("axes", 1)))


def unsqueeze(c: Call) -> Map:
    x, axes = c.map(), c.ints("axes", 1) or []
    rank = len(x.shape) + 1 + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = aten.unsqueeze(c.b, c.site, x, axis)
    return x


def _kept(axes: list[Any] | None) -> tuple[int, ...] | None:
    return None if axes is None else tuple(axes)


def transpose(c: Call) -> Map:
    """Two in a row are one; one that undoes the other, as where channels go last and come back, is none."""
    x = c.map()
    axes = list(range(len(x.shape) + 1))
    source, before = c.turned.get(x.node, (x, axes))
    order = [before[axis] for axis in c.ints("perm") or axes[::-1]]
    result = aten.permute(c.b, c.site, source, order)
    if order != axes:
        c.turned[result.node] = (source, order)
    return result


def reduce_sum(c: Call) -> Map:
    axes = c.ints("axes", 1)
    if axes is None and c.attrs.get("noop_with_empty_axes", 0):
        return c.map()
    return aten.sum_(c.b, c.site, c.map(), axes, bool(c.attrs.get("keepdims", 1)))


def expand(c: Call) -> Map:
    """The same map under a wider shape: joining two maps broadcasts them anyway."""
    x, sizes = c.map(), c.ints("shape", 1) or []
    wide = [have if size == 1 else size for have, size in zip(x.shape, sizes[1:], strict=True)]
    first = sizes[0]
    return aten.expand(c.b, c.site, x, [BATCH if first is BATCH or first in (1, c.batch) else first, *wide])


def shape(c: Call) -> Array:
    """Its sizes, the first being that of the batch."""
    sizes = np.array([BATCH, *c.map().shape], dtype=object)
    return sizes[c.attrs.get("start", 0) : c.attrs.get("end", len(sizes))]
