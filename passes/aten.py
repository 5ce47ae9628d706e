"""The table that turns ATen calls into canonical nodes: one function an operation, with ATen's own arguments.

A function takes the :class:`Builder`, the :class:`Site` of the call and the call's arguments, in which every value
is a :class:`Map`, every parameter a :class:`Param`, and the batch size is :data:`BATCH`. It gives the call's value.
An in-place form (``relu_``) uses the row of the plain one (``relu``). To trace one more operation, add its row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from idsnn_convert.passes.builder import Builder, Map, Param, Site, UnsupportedError
from idsnn_convert.runtime.graph import Attr, Shape

Emit = Callable[..., Any]


class Batch:
    """The batch size, which no canonical graph fixes."""

    def __repr__(self) -> str:
        return "batch"


BATCH = Batch()
OPEN_END = 2**63 - 1
"""The ``stop`` of a slice that runs to the end, whatever the size."""


def pair(value: int | Sequence[int]) -> tuple[int, ...]:
    """``2`` or ``[2]`` -> ``(2, 2)``."""
    sizes = (value,) if isinstance(value, int) else tuple(value)
    return (sizes[0], sizes[0]) if len(sizes) == 1 else sizes


def conv2d(
    b: Builder, site: Site, x: Map, weight: Param, bias: Param | None = None,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Map:  # fmt: skip
    out_channels, per_group, *kernel = weight.tensor.shape
    stride, dilation = pair(stride), pair(dilation)
    if padding == "valid":
        padding = 0
    elif padding == "same":  # PyTorch puts the odd pixel at the end
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        if odd := [t % 2 for t in total] if any(t % 2 for t in total) else []:
            x = pad(b, site, x, [0, odd[1], 0, odd[0]])
        padding = [t // 2 for t in total]
    attrs: dict[str, Attr] = {
        "in_channels": per_group * groups, "out_channels": out_channels, "kernel": tuple(kernel), "stride": stride,
        "padding": pair(padding), "dilation": dilation, "groups": groups, "bias": bias is not None,
    }  # fmt: skip
    return b.add(site, "conv2d", (x,), attrs, {"weight": weight} | ({} if bias is None else {"bias": bias}))


def batch_norm(
    b: Builder, site: Site, x: Map, weight: Param | None, bias: Param | None, mean: Param | None, var: Param | None,
    training: bool = False, momentum: float | None = 0.1, eps: float = 1e-5, *_: object,
) -> Map:  # fmt: skip
    if mean is None or var is None:
        raise UnsupportedError("this batch norm keeps no running statistics", "Build it with track_running_stats=True.")
    if training:
        raise UnsupportedError("this batch norm uses batch statistics even in eval mode", "Pass training=self.training.")
    if (weight is None) != (bias is None):
        raise UnsupportedError("this batch norm has a weight or a bias, but not both", "Give it both, or neither.")
    affine = {} if weight is None or bias is None else {"weight": weight, "bias": bias}
    # A cumulative average (momentum None, which ATen sees as 0) cannot be kept; 0.1 is PyTorch's default.
    attrs: dict[str, Attr] = {
        "channels": len(mean.tensor),
        "eps": float(eps),
        "momentum": float(momentum or 0.1),
        "affine": bool(affine),
    }
    return b.add(site, "batch_norm", (x,), attrs, {**affine, "running_mean": mean, "running_var": var})


def linear(b: Builder, site: Site, x: Map, weight: Param, bias: Param | None = None) -> Map:
    out_features, in_features = weight.tensor.shape
    attrs: dict[str, Attr] = {"in_features": in_features, "out_features": out_features, "bias": bias is not None}
    return b.add(site, "linear", (x,), attrs, {"weight": weight} | ({} if bias is None else {"bias": bias}))


def activation(kind: str) -> Emit:
    return lambda b, site, x: b.add(site, "activation", (x,), {"kind": kind})


def gate(kind: str) -> Emit:
    return lambda b, site, x: b.add(site, "gate", (x,), {"kind": kind})


def hardtanh(b: Builder, site: Site, x: Map, low: float | None = -1, high: float | None = 1) -> Map:
    known: dict[tuple[float | None, float | None], str] = {(0, 6): "relu6", (0, None): "relu"}
    kind = known.get((low, high))
    if kind is None:
        raise UnsupportedError(f"a clamp to [{low}, {high}] is no known activation", "Use ReLU or ReLU6.")
    return b.add(site, "activation", (x,), {"kind": kind})


def leaky_relu(b: Builder, site: Site, x: Map, negative_slope: float = 0.01) -> Map:
    return b.add(site, "activation", (x,), {"kind": "leaky_relu", "slope": float(negative_slope)})


def elu(b: Builder, site: Site, x: Map, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Map:
    if (alpha, scale, input_scale) != (1, 1, 1):
        raise UnsupportedError(f"an ELU with alpha {alpha:g} is not covered", "Use alpha=1, or ReLU.")
    return b.add(site, "activation", (x,), {"kind": "elu"})


def gelu(b: Builder, site: Site, x: Map, approximate: str = "none") -> Map:
    if approximate != "none":
        raise UnsupportedError(f"GELU's {approximate!r} approximation is not covered", "Use the exact GELU, or ReLU.")
    return b.add(site, "activation", (x,), {"kind": "gelu"})


def max_pool2d(
    b: Builder, site: Site, x: Map, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Map:  # fmt: skip
    if return_indices:
        raise UnsupportedError("max pooling that returns indices is not covered", "Use the pooled map alone.")
    window = _window(kernel_size, stride, padding)
    return b.add(site, "max_pool2d", (x,), {**window, "dilation": pair(dilation), "ceil_mode": bool(ceil_mode)})


def avg_pool2d(
    b: Builder, site: Site, x: Map, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Map:  # fmt: skip
    if divisor_override is not None:
        raise UnsupportedError("an average pool with divisor_override is not covered", "Leave divisor_override at None.")
    window = _window(kernel_size, stride, padding)
    if window["padding"] == (0, 0) and window["kernel"] == x.shape[1:]:
        return b.add(site, "global_avg_pool", (x,))
    if window["kernel"] == window["stride"] == (1, 1):
        return x
    return b.add(
        site, "avg_pool2d", (x,), {**window, "ceil_mode": bool(ceil_mode), "count_include_pad": bool(count_include_pad)}
    )


def _window(kernel: Any, stride: Any, padding: Any) -> dict[str, Attr]:
    kernel = pair(kernel)
    return {"kernel": kernel, "stride": kernel if stride in (None, [], ()) else pair(stride), "padding": pair(padding)}


def adaptive_avg_pool2d(b: Builder, site: Site, x: Map, output_size: Any) -> Map:
    """Pools to that size: over everything for 1, otherwise with windows, which is exact where they divide the map."""
    asked: tuple[int | None, ...] = pair(output_size)
    wanted = tuple(have if n is None else n for n, have in zip(asked, x.shape[1:], strict=True))
    if wanted == (1, 1):
        return b.add(site, "global_avg_pool", (x,))
    if any(have % n for n, have in zip(wanted, x.shape[1:], strict=True)):
        raise UnsupportedError(
            f"pooling a {x.shape[1]}x{x.shape[2]} map to {wanted[0]}x{wanted[1]} needs windows of unequal size",
            "Trace at an input size whose last map is a multiple of it, or pool to 1x1.",
        )
    return avg_pool2d(b, site, x, tuple(have // n for n, have in zip(wanted, x.shape[1:], strict=True)))


def mean(b: Builder, site: Site, x: Map, dim: Any = None, keepdim: bool = False, **_: object) -> Map:
    if dim is None or {d % 4 for d in ((dim,) if isinstance(dim, int) else dim)} != {2, 3} or len(x.shape) != 3:
        raise UnsupportedError(f"a mean over axes {dim} is no global pooling", "Average over H and W: x.mean((2, 3)).")
    pooled = b.add(site, "global_avg_pool", (x,))
    return pooled if keepdim else b.add(site, "flatten", (pooled,))


def flatten(b: Builder, site: Site, x: Map, start_dim: int = 0, end_dim: int = -1) -> Map:
    rank = len(x.shape) + 1
    start, end = start_dim % rank, end_dim % rank
    if start == 0:
        raise UnsupportedError("it flattens the batch too", "Flatten from axis 1: torch.flatten(x, 1).")
    return _reshape(b, site, x, (*x.shape[: start - 1], math.prod(x.shape[start - 1 : end]), *x.shape[end:]))


def view(b: Builder, site: Site, x: Map, *sizes: Any) -> Map:
    first, *rest = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], Sequence) else sizes
    if not all(isinstance(size, int) for size in rest) or not (isinstance(first, Batch) or (first == -1 and -1 not in rest)):
        raise UnsupportedError(
            "its sizes are not known before the network runs", "Keep the batch first: x.view(x.size(0), -1)."
        )
    known = math.prod(size for size in rest if size != -1)
    return _reshape(b, site, x, tuple(math.prod(x.shape) // known if size == -1 else size for size in rest))


def _reshape(b: Builder, site: Site, x: Map, shape: Shape) -> Map:
    if shape == x.shape:
        return x
    if len(shape) == 1:
        return b.add(site, "flatten", (x,))
    raise UnsupportedError(f"it reshapes {x.shape} to {shape}", "Only flattening to features is covered.")


def squeeze(b: Builder, site: Site, x: Map, dims: Any = None) -> Map:
    rank = len(x.shape) + 1
    gone = {d % rank for d in ((dims,) if isinstance(dims, int) else range(1, rank) if dims is None else dims)}
    return _reshape(b, site, x, tuple(size for axis, size in enumerate(x.shape, 1) if axis not in gone or size != 1))


def add(b: Builder, site: Site, x: Any, y: Any, alpha: float = 1) -> Map:
    return _joined(b, site, "add", x, y, neutral=0, alpha=alpha)


def mul(b: Builder, site: Site, x: Any, y: Any) -> Map:
    return _joined(b, site, "mul", x, y, neutral=1)


def _joined(b: Builder, site: Site, op: str, x: Any, y: Any, neutral: float, alpha: float = 1) -> Map:
    if isinstance(y, Map) and not isinstance(x, Map):
        x, y = y, x
    if isinstance(x, Map) and isinstance(y, int | float) and y == neutral:
        return x
    if not isinstance(x, Map) or not isinstance(y, Map):
        raise UnsupportedError(
            f"{op} with {_spelled(y)} is not covered", "Only two maps can be joined; fold the constant into a layer."
        )
    if alpha != 1:
        raise UnsupportedError(f"an addition with alpha {alpha:g} is not covered", "Add with alpha=1.")
    return b.add(site, op, (x, y))


def _spelled(value: object) -> str:
    return f"the parameter {value.origin!r}" if isinstance(value, Param) else f"the constant {value}"


def cat(b: Builder, site: Site, tensors: Sequence[Map], dim: int = 0) -> Map:
    if dim % (len(tensors[0].shape) + 1) != 1:
        raise UnsupportedError(f"joining over axis {dim} is not covered", "Join over channels: torch.cat(maps, 1).")
    return tensors[0] if len(tensors) == 1 else b.add(site, "concat", tuple(tensors))


def pad(b: Builder, site: Site, x: Map, pads: Sequence[int], mode: str = "constant", value: float | None = None) -> Map:
    kept = list(pads)
    while kept and kept[-2:] == [0, 0]:  # axes that gain nothing
        del kept[-2:]
    return b.add(site, "pad", (x,), {"pads": tuple(kept), "mode": mode, "value": float(value or 0)}) if kept else x


def constant_pad_nd(b: Builder, site: Site, x: Map, pads: Sequence[int], value: float = 0) -> Map:
    return pad(b, site, x, pads, "constant", value)


def slice_(
    b: Builder, site: Site, x: Map, dim: int = 0, start: int | None = None, stop: int | None = None, step: int = 1
) -> Map:
    dim %= len(x.shape) + 1
    if dim == 0:
        if start in (None, 0) and step == 1 and (stop is None or isinstance(stop, Batch) or stop >= 1 << 60):
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


def dropout(b: Builder, site: Site, x: Map, p: float = 0.5, *_: object) -> Map:
    return b.add(site, "dropout", (x,), {"p": float(p)}) if p > 0 else x


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


ATEN: dict[str, Emit] = {
    "conv2d": conv2d,
    "batch_norm": batch_norm,
    "linear": linear,
    "relu": activation("relu"),
    "relu6": activation("relu6"),
    "silu": activation("silu"),
    "hardswish": activation("hardswish"),
    "hardtanh": hardtanh,
    "clamp": hardtanh,
    "clamp_min": hardtanh,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "gelu": gelu,
    "sigmoid": gate("sigmoid"),
    "hardsigmoid": gate("hard_sigmoid"),
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "mean": mean,
    "flatten": flatten,
    "view": view,
    "reshape": view,
    "_unsafe_view": view,
    "squeeze": squeeze,
    "add": add,
    "mul": mul,
    "cat": cat,
    "pad": pad,
    "constant_pad_nd": constant_pad_nd,
    "slice": slice_,
    "split": split,
    "split_with_sizes": split,
    "chunk": chunk,
    "dropout": dropout,
    "feature_dropout": same,  # whole channels: it does nothing in eval mode and has no canonical form
    "alias": same,
    "detach": same,
    "contiguous": same,
    "clone": fresh,
    "sym_size": size,
    "getitem": getitem,
}
"""Name of an ATen operation, without its in-place underscore -> what makes its nodes."""
