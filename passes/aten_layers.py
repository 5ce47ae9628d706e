"""ATen calls that compute: convolutions, norms, linear layers, activations, gates, pools.

Each function takes the :class:`Builder`, the :class:`Site` of the call, and the call's arguments as ATen names them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from idsnn_convert.passes.aten_maps import pad, reshaped
from idsnn_convert.passes.builder import Builder, Site
from idsnn_convert.passes.values import Map, Param, UnsupportedError
from idsnn_convert.runtime.graph import Attr


def pair(value: int | Sequence[int]) -> tuple[int, ...]:
    """``2`` or ``[2]`` -> ``(2, 2)``."""
    sizes = (value,) if isinstance(value, int) else tuple(value)
    return (sizes[0], sizes[0]) if len(sizes) == 1 else sizes


def conv2d(
    b: Builder, site: Site, x: Map, weight: Param, bias: Param | None = None,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Map:  # fmt: skip
    out_channels, per_group, *kernel = _own(weight).tensor.shape
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


def conv1d(
    b: Builder, site: Site, x: Map, weight: Param, bias: Param | None = None,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Map:  # fmt: skip
    """A conv2d over a map of height 1: ECA's gate convolves over channels."""
    flat = [(1, *sizes) if isinstance(sizes, list | tuple) else (1, sizes) for sizes in (stride, dilation)]
    rows = padding if isinstance(padding, str) else (0, *((padding,) if isinstance(padding, int) else padding))
    high = replace(_own(weight), tensor=weight.tensor.unsqueeze(2))
    out = conv2d(b, site, reshaped(b, site, x, (x.shape[0], 1, x.shape[1])), high, bias, flat[0], rows, flat[1], groups)
    return reshaped(b, site, out, (out.shape[0], out.shape[2]))


def convolution(
    b: Builder, site: Site, x: Map, weight: Param, bias: Param | None, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int,
) -> Map:  # fmt: skip
    """The decomposed form of conv2d."""
    if transposed:
        raise UnsupportedError(
            "a transposed convolution is not covered", "Upsampling networks are no classifiers; use a ResNet."
        )
    return conv2d(b, site, x, weight, bias, stride, padding, dilation, groups)


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


def native_batch_norm(b: Builder, site: Site, x: Map, *args: Any) -> tuple[Any, ...]:
    """The decomposed form: (x, weight, bias, mean, var, momentum, eps) -> the map, and statistics nobody reads."""
    *params, momentum, eps = args
    return batch_norm(b, site, x, *params, False, momentum, eps), None, None


def group_norm(
    b: Builder, site: Site, x: Map, groups: int, weight: Param | None = None, bias: Param | None = None,
    eps: float = 1e-5, *_: object,
) -> Map:  # fmt: skip
    if (weight is None) != (bias is None):
        raise UnsupportedError("this norm has a weight or a bias, but not both", "Give it both, or neither.")
    affine = {} if weight is None or bias is None else {"weight": weight, "bias": bias}
    attrs: dict[str, Attr] = {"groups": groups, "channels": x.shape[0], "eps": float(eps), "affine": bool(affine)}
    return b.add(site, "group_norm", (x,), attrs, affine)


def native_group_norm(
    b: Builder, site: Site, x: Map, weight: Param | None, bias: Param | None, n: Any, c: int, pixels: int, groups: int,
    eps: float,
) -> tuple[Any, ...]:  # fmt: skip
    """The decomposed form; besides the map it gives statistics nobody reads."""
    return group_norm(b, site, x, groups, weight, bias, eps), None, None


def layer_norm(
    b: Builder, site: Site, x: Map, shape: Sequence[int], weight: Param | None = None, bias: Param | None = None,
    eps: float = 1e-5, *_: object,
) -> Map:  # fmt: skip
    """Over all that a sample has, on one axis (a pooled map's channels): a group norm of one group."""
    features = math.prod(x.shape)
    if tuple(shape) != (features,):
        raise UnsupportedError(
            f"a layer norm over {tuple(shape)} of a {x.shape} map is not covered", "Use batch norm or group norm."
        )
    return reshaped(b, site, group_norm(b, site, reshaped(b, site, x, (features,)), 1, weight, bias, eps), x.shape)


def linear(b: Builder, site: Site, x: Map, weight: Param, bias: Param | None = None) -> Map:
    out_features, in_features = _own(weight).tensor.shape
    attrs: dict[str, Attr] = {"in_features": in_features, "out_features": out_features, "bias": bias is not None}
    return b.add(site, "linear", (x,), attrs, {"weight": weight} | ({} if bias is None else {"bias": bias}))


def addmm(b: Builder, site: Site, bias: Param, x: Map, weight: Param) -> Map:
    """The decomposed form of linear: its weight is transposed."""
    return linear(b, site, x, replace(_own(weight), tensor=weight.tensor.t()), bias)


def _own(weight: Any) -> Param:
    """The parameter it has to be."""
    if not isinstance(weight, Param):
        raise UnsupportedError("its weight is computed from the input", "Only layers with weights of their own are covered.")
    return weight


def activation(kind: str) -> Callable[..., Map]:
    return lambda b, site, x: b.add(site, "activation", (x,), {"kind": kind})


def gate(kind: str) -> Callable[..., Map]:
    return lambda b, site, x: b.add(site, "gate", (x,), {"kind": kind})


def softmax(b: Builder, site: Site, x: Map, dim: int, *_: object, **__: object) -> Map:
    axis = dim % (len(x.shape) + 1)
    if axis == 0:
        raise UnsupportedError("it is a softmax over the batch", "Take the softmax over an axis of the maps.")
    return b.add(site, "gate", (x,), {"kind": "softmax", "dim": axis})


def clamp(b: Builder, site: Site, x: Map, min: float | None = None, max: float | None = None) -> Map:
    known: dict[tuple[float | None, float | None], str] = {(0, 6): "relu6", (0, None): "relu"}
    kind = known.get((min, max))
    if kind is None:
        raise UnsupportedError(f"a clamp to [{min}, {max}] is no known activation", "Use ReLU or ReLU6.")
    return b.add(site, "activation", (x,), {"kind": kind})


def hardtanh(b: Builder, site: Site, x: Map, min_val: float = -1, max_val: float = 1) -> Map:
    return clamp(b, site, x, min_val, max_val)


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


def dropout(b: Builder, site: Site, x: Map, p: float = 0.5, *_: object) -> Map:
    return b.add(site, "dropout", (x,), {"p": float(p)}) if p > 0 else x
