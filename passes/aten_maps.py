"""ATen calls that join, cut and rearrange maps, or read their size.

Each function takes the :class:`Builder`, the :class:`Site` of the call, and the call's arguments as ATen names them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from idsnn_convert.passes.builder import Builder, Site
from idsnn_convert.passes.values import BATCH, Map, UnsupportedError, Zeros
from idsnn_convert.runtime.graph import Shape

OPEN_END = 2**63 - 1
"""The ``stop`` of a slice that runs to the end, whatever the size."""


def add(b: Builder, site: Site, x: Any, y: Any, alpha: float = 1) -> Any:
    return _joined(b, site, "add", x, y, neutral=0, alpha=alpha)


def mul(b: Builder, site: Site, x: Any, y: Any) -> Any:
    if isinstance(y, Map) and not isinstance(x, Map):
        x, y = y, x
    if isinstance(x, Map) and isinstance(y, int | float) and y not in (0, 1) and math.isfinite(y):
        return b.add(site, "scale", (x,), {"factor": float(y)})
    return _joined(b, site, "mul", x, y, neutral=1)


def matmul(b: Builder, site: Site, x: Any, y: Any) -> Map:
    """A matrix times one column: the sum of its columns, weighed. Global context pools so, under a softmax."""
    if not isinstance(x, Map) or not isinstance(y, Map) or y.shape[1:] != (x.shape[-1], 1) or len(x.shape) != len(y.shape):
        raise UnsupportedError("a product of two matrices (attention) is not covered", "Use a ResNet without attention.")
    row = transpose(b, site, y, -1, -2)
    return sum_(b, site, b.add(site, "mul", (x, row)), -1, keepdim=True)


def rsub(b: Builder, site: Site, x: Map, y: Any, alpha: float = 1) -> Map:
    """``y - alpha x``; 1 - x alone has a canonical form."""
    if isinstance(y, Map) or (y, alpha) != (1, 1):
        raise UnsupportedError(f"{y} - x is not covered", "Fold the constant into a layer.")
    return b.add(site, "complement", (x,))


def _joined(b: Builder, site: Site, op: str, x: Any, y: Any, neutral: float, alpha: float = 1) -> Any:
    if isinstance(y, Map) and not isinstance(x, Map):
        x, y = y, x
    if isinstance(x, Map) and isinstance(y, int | float) and y == neutral:
        return x
    if isinstance(x, Map) and op == "mul" and isinstance(y, int | float) and y == 0:
        return Zeros(x.shape)
    if not isinstance(x, Map) or not isinstance(y, Map):
        raise UnsupportedError(f"{op} with {y} is not covered", "Only two maps can be joined; fold the constant into a layer.")
    if alpha != 1:
        raise UnsupportedError(f"an addition with alpha {alpha:g} is not covered", "Add with alpha=1.")
    return b.add(site, op, (x, y))


def cat(b: Builder, site: Site, tensors: Sequence[Any], dim: int = 0) -> Map:
    """Joins over channels; channels of zeros at either end, an option A shortcut's, become padding."""
    if any(isinstance(value, Map) and dim % (len(value.shape) + 1) != 1 for value in tensors):
        raise UnsupportedError(f"joining over axis {dim} is not covered", "Join over channels: torch.cat(maps, 1).")
    kept = list(tensors)
    zeros = [0, 0]
    for side, end in enumerate((0, -1)):
        while kept and isinstance(kept[end], Zeros):
            zeros[side] += kept.pop(end).shape[0]
    if not kept:
        raise UnsupportedError("it joins nothing but zeros", "Leave it out.")
    joined = kept[0] if len(kept) == 1 else b.add(site, "concat", tuple(kept))
    return pad(b, site, joined, [0, 0] * (len(joined.shape) - 1) + zeros)


def zeros_like(b: Builder, site: Site, x: Map, **_: object) -> Zeros:
    return Zeros(x.shape)


def zeros(b: Builder, site: Site, *sizes: Any, **_: object) -> Zeros:
    """``zeros(sizes)``, and ``x.new_zeros(sizes)`` whose first argument is a map."""
    batch, *rest = sizes[-1]
    if batch is not BATCH or not all(isinstance(size, int) for size in rest):
        raise UnsupportedError("it makes zeros for no batch of maps", "Pad instead: F.pad(x, (0, 0, 0, 0, front, back)).")
    return Zeros(tuple(rest))


def pad(b: Builder, site: Site, x: Map, pads: Sequence[int], mode: str = "constant", value: float | None = None) -> Map:
    kept = list(pads)
    while kept and kept[-2:] == [0, 0]:  # axes that gain nothing
        del kept[-2:]
    return b.add(site, "pad", (x,), {"pads": tuple(kept), "mode": mode, "value": float(value or 0)}) if kept else x


def constant_pad_nd(b: Builder, site: Site, x: Map, pads: Sequence[int], value: float = 0) -> Map:
    return pad(b, site, x, pads, "constant", value)


def slice_(b: Builder, site: Site, x: Map, dim: int = 0, start: int | None = None, stop: Any = None, step: int = 1) -> Map:
    dim %= len(x.shape) + 1
    if dim == 0:
        if start in (None, 0) and step == 1 and (stop is None or stop is BATCH or stop >= 1 << 60):
            return x
        raise UnsupportedError("it takes only part of the batch", "Slice channels, rows or columns.")
    size = x.shape[dim - 1]
    begin, end, step = slice(start, stop, step).indices(size)
    if (begin, end, step) == (0, size, 1):
        return x
    attrs = {"dim": dim, "start": begin, "stop": OPEN_END if end == size else end, "step": step}
    return b.add(site, "slice", (x,), attrs)


def split(b: Builder, site: Site, x: Map, sizes: Any, dim: int = 0) -> tuple[Map, ...]:
    whole = x.shape[dim % (len(x.shape) + 1) - 1]
    if isinstance(sizes, int):
        sizes = [min(sizes, whole - at) for at in range(0, whole, sizes)]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return tuple(slice_(b, site, x, dim, end - size, end) for size, end in zip(sizes, ends, strict=True))


def chunk(b: Builder, site: Site, x: Map, chunks: int, dim: int = 0) -> tuple[Map, ...]:
    whole = x.shape[dim % (len(x.shape) + 1) - 1]
    return split(b, site, x, -(-whole // chunks), dim)


def flatten(b: Builder, site: Site, x: Map, start_dim: int = 0, end_dim: int = -1) -> Map:
    rank = len(x.shape) + 1
    start, end = start_dim % rank, end_dim % rank
    if start == 0:
        raise UnsupportedError("it flattens the batch too", "Flatten from axis 1: torch.flatten(x, 1).")
    return reshaped(b, site, x, (*x.shape[: start - 1], math.prod(x.shape[start - 1 : end]), *x.shape[end:]))


def view(b: Builder, site: Site, x: Map, *sizes: Any) -> Map:
    first, *rest = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], Sequence) else sizes
    if not all(isinstance(size, int) for size in rest):
        raise UnsupportedError(
            "its sizes are not known before the network runs", "Keep the batch first: x.view(x.size(0), -1)."
        )
    known = math.prod(size for size in rest if size != -1)
    shape = tuple(math.prod(x.shape) // max(known, 1) if size == -1 else size for size in rest)
    if math.prod(shape) != math.prod(x.shape) or not (first is BATCH or -1 not in rest):
        raise UnsupportedError("it mixes the batch with other axes", "Keep the batch first: x.view(x.size(0), -1).")
    return reshaped(b, site, x, shape)


def reshaped(b: Builder, site: Site, x: Map, shape: Shape) -> Map:
    """``x`` in another shape; without a node if it has that already."""
    if shape == x.shape:
        return x
    if len(shape) == 1:
        return b.add(site, "flatten", (x,))
    return b.add(site, "reshape", (x,), {"shape": shape})


def squeeze(b: Builder, site: Site, x: Map, dims: Any = None) -> Map:
    rank = len(x.shape) + 1
    gone = {d % rank for d in ((dims,) if isinstance(dims, int) else range(1, rank) if dims is None else dims)}
    return reshaped(b, site, x, tuple(size for axis, size in enumerate(x.shape, 1) if axis not in gone or size != 1))


def unsqueeze(b: Builder, site: Site, x: Map, dim: int) -> Map:
    axis = _axis(x, dim, ranks=len(x.shape) + 2)
    return reshaped(b, site, x, (*x.shape[: axis - 1], 1, *x.shape[axis - 1 :]))


def expand(b: Builder, site: Site, x: Map, *sizes: Any, **_: object) -> Map:
    """The same node under a wider shape: joining two maps broadcasts them anyway."""
    first, *rest = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], Sequence) else sizes
    if len(rest) != len(x.shape) or not (first is BATCH or first == -1):
        raise UnsupportedError("it expands to new axes", "Add the axes first: x[:, :, None, None].")
    return Map(x.node, tuple(have if size == -1 else size for size, have in zip(rest, x.shape, strict=True)))


def permute(b: Builder, site: Site, x: Map, dims: Sequence[int]) -> Map:
    order = tuple(dim % (len(x.shape) + 1) for dim in dims)
    if order[0] != 0:
        raise UnsupportedError("it moves the batch axis", "Keep the batch first.")
    if order == tuple(range(len(order))):
        return x
    return b.add(site, "permute", (x,), {"dims": order[1:]})


def transpose(b: Builder, site: Site, x: Map, dim0: int, dim1: int) -> Map:
    order = list(range(len(x.shape) + 1))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return permute(b, site, x, order)


def sum_(b: Builder, site: Site, x: Map, dim: Any = None, keepdim: bool = False, **_: object) -> Map:
    axes = sorted({_axis(x, d) for d in ((dim,) if isinstance(dim, int) else dim or range(len(x.shape) + 1))}, reverse=True)
    summed = x
    for axis in axes:
        summed = b.add(site, "sum", (summed,), {"dim": axis})
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape, 1))
    return reshaped(b, site, summed, shape) if keepdim else summed


def stack(b: Builder, site: Site, tensors: Sequence[Map], dim: int = 0) -> Map:
    if _axis(tensors[0], dim, ranks=len(tensors[0].shape) + 2) != 1:
        raise UnsupportedError(f"stacking along axis {dim} is not covered", "Stack along axis 1.")
    return cat(b, site, [unsqueeze(b, site, x, 1) for x in tensors], 1)


def unbind(b: Builder, site: Site, x: Map, dim: int = 0) -> tuple[Map, ...]:
    axis = _axis(x, dim)
    return tuple(select(b, site, x, axis, index) for index in range(x.shape[axis - 1]))


def select(b: Builder, site: Site, x: Map, dim: int, index: int) -> Map:
    axis = _axis(x, dim)
    index %= x.shape[axis - 1]
    part = slice_(b, site, x, axis, index, index + 1)
    return reshaped(b, site, part, (*x.shape[: axis - 1], *x.shape[axis:]))


def _axis(x: Map, dim: int, ranks: int | None = None) -> int:
    """``dim`` counted from the batch, 0, which it may not be."""
    axis = dim % (len(x.shape) + 1 if ranks is None else ranks)
    if axis == 0:
        raise UnsupportedError("it works along the batch axis", "Keep the batch first and whole.")
    return axis


def same(b: Builder, site: Site, x: Map, *_: object, **__: object) -> Map:
    return x


def fresh(b: Builder, site: Site, x: Map, *_: object, **__: object) -> Map:
    """A copy: the same value, but not changed when the original is changed in place."""
    return Map(x.node, x.shape)


def size(b: Builder, site: Site, x: Map, dim: int | None = None) -> Any:
    sizes = (BATCH, *x.shape)
    return sizes if dim is None else sizes[dim]


def getitem(b: Builder, site: Site, values: Sequence[Any], index: int) -> Any:
    return values[index]
