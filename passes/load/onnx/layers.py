"""ONNX operators that compute: convolutions, norms, linear layers, activations, gates, pools.

Each function takes the :class:`Call` of a node and gives its value. What an operator does, its ONNX specification says;
the canonical nodes are made by the functions that make them of ATen calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from idsnn_convert.passes import aten_layers as aten
from idsnn_convert.passes import aten_maps
from idsnn_convert.passes.load.onnx.values import Call, Unbiased
from idsnn_convert.passes.values import Map, Param, UnsupportedError

LOWEST = -3.4028234663852886e38
"""Pads what a maximum is taken of: the lowest float32, since a file keeps no infinity."""

Pads = tuple[list[int], list[int]]
"""What is added before and behind each axis."""


def conv(c: Call) -> Map | Unbiased:
    x, weight = c.map(), c.param(1)
    kernel = list(weight.tensor.shape[2:])
    if len(kernel) not in (1, 2) or len(x.shape) != len(kernel) + 1:
        raise UnsupportedError(f"a convolution over {len(kernel)} axes is not covered", "Only networks of images are.")
    if c.attrs.get("kernel_shape", kernel) != kernel:
        raise UnsupportedError(
            f"its kernel_shape {c.attrs['kernel_shape']} is not its weight's, {kernel}", "The file is damaged."
        )
    stride, dilation = c.ints("strides") or [1] * len(kernel), c.ints("dilations") or [1] * len(kernel)
    x, padding = _padded(c, x, _pads(c, x, kernel, stride, dilation), 0.0)
    layer = aten.conv2d if len(kernel) == 2 else aten.conv1d

    def make(bias: Param | None) -> Map:
        return layer(c.b, c.site, x, weight, bias, stride, padding, dilation, c.attrs.get("group", 1))

    return _with_bias(c, make, c.arg(2), len(weight.tensor), trailing=len(kernel))


def batch_norm(c: Call) -> Map:
    if c.attrs.get("training_mode", 0) or (c.since < 14 and c.outputs > 1):
        raise UnsupportedError("this batch norm is in training mode", "Export in inference mode: model.eval().")
    if not c.attrs.get("spatial", 1):
        raise UnsupportedError("this batch norm has statistics for every pixel", "Use one statistic a channel.")
    # ONNX weighs the old statistic, PyTorch the new one.
    momentum = round(1 - c.attrs.get("momentum", 0.9), 6)
    eps = c.number("epsilon", len(c.args), 1e-5)
    weight, bias, mean, var = (c.param(i) for i in range(1, 5))
    return aten.batch_norm(c.b, c.site, c.map(), weight, bias, mean, var, momentum=momentum, eps=eps or 0.0)


def group_norm(c: Call) -> Map:
    """Of opset 21; the form before it scaled groups, not channels."""
    eps = c.number("epsilon", len(c.args), 1e-5)
    return aten.group_norm(c.b, c.site, c.map(), c.attrs["num_groups"], c.param(1), c.param(2), eps or 0.0)


def gemm(c: Call) -> Map:
    """``alpha x W + beta C`` as a linear layer."""
    x, weight = c.map(), c.param(1)
    if c.attrs.get("transA", 0) or len(x.shape) != 1 or weight.tensor.dim() != 2:
        raise UnsupportedError("this matrix product is no linear layer on features", "Flatten the maps first.")
    tensor = (weight.tensor if c.attrs.get("transB", 0) else weight.tensor.t()) * c.attrs.get("alpha", 1.0)
    bias = None
    if c.arg(2) is not None and (beta := c.attrs.get("beta", 1.0)):
        bias = c.param(2)
        if bias.tensor.numel() not in (1, len(tensor)):
            raise UnsupportedError("its bias differs from image to image", "Only layers with one bias a feature are covered.")
        bias = replace(bias, tensor=(bias.tensor * beta).reshape(-1).expand(len(tensor)))
    return aten.linear(c.b, c.site, x, replace(weight, tensor=tensor), bias)


def matmul(c: Call) -> Map | Unbiased:
    """``x W`` as a linear layer; its bias is added by the node after it."""
    x, weight = c.map(), c.param(1)
    if weight.tensor.dim() != 2:
        raise UnsupportedError("this matrix product is no linear layer", "Flatten the maps first.")
    turned = replace(weight, tensor=weight.tensor.t())
    return _with_bias(c, lambda bias: aten.linear(c.b, c.site, x, turned, bias), None, len(turned.tensor), trailing=0)


def _with_bias(c: Call, make: Callable[[Param | None], Map], bias: Any, channels: int, trailing: int) -> Map | Unbiased:
    if bias is None:
        return Unbiased(make, channels, trailing) if c.biased else make(None)
    return make(c.param(2))


def activation(kind: str) -> Callable[[Call], Map]:
    return lambda c: aten.activation(kind)(c.b, c.site, c.map())


def sigmoid(c: Call) -> Map:
    return aten.gate("sigmoid")(c.b, c.site, c.map())


def hard_sigmoid(c: Call) -> Map:
    alpha, beta = c.attrs.get("alpha", 0.2), c.attrs.get("beta", 0.5)
    if not math.isclose(alpha, 1 / 6, rel_tol=1e-4) or not math.isclose(beta, 0.5, rel_tol=1e-4):
        raise UnsupportedError(f"a hard sigmoid of slope {alpha:g} and offset {beta:g} is not covered", "Use 1/6 and 0.5.")
    return aten.gate("hard_sigmoid")(c.b, c.site, c.map())


def swish(c: Call) -> Map:
    if c.attrs.get("alpha", 1.0) != 1:
        raise UnsupportedError(f"a swish with alpha {c.attrs['alpha']:g} is not covered", "Use alpha=1, or ReLU.")
    return aten.activation("silu")(c.b, c.site, c.map())


def clip(c: Call) -> Map:
    low, high = c.number("min", 1), c.number("max", 2)
    if high is not None and high >= -LOWEST * 0.999:  # no bound
        high = None
    return aten.clamp(c.b, c.site, c.map(), low, high)


def leaky_relu(c: Call) -> Map:
    return aten.leaky_relu(c.b, c.site, c.map(), c.number("alpha", 1, 0.01) or 0.0)


def elu(c: Call) -> Map:
    return aten.elu(c.b, c.site, c.map(), c.attrs.get("alpha", 1.0))


def gelu(c: Call) -> Map:
    return aten.gelu(c.b, c.site, c.map(), c.attrs.get("approximate", "none"))


def softmax(c: Call) -> Map:
    x = c.map()
    axis = c.attrs.get("axis", -1 if c.since >= 13 else 1) % (len(x.shape) + 1)
    if c.since < 13 and math.prod(x.shape[axis:]) != 1:  # it is taken over all axes from this one on
        raise UnsupportedError(f"a softmax over axis {axis} and all behind it is not covered", "Export with opset 13 or later.")
    return aten.softmax(c.b, c.site, x, axis)


def max_pool(c: Call) -> Map:
    x, kernel, stride, dilation = _window(c)
    x, padding = _padded(c, x, _pads(c, x, kernel, stride, dilation), LOWEST)
    ceil = bool(c.attrs.get("ceil_mode", 0))
    return aten.max_pool2d(c.b, c.site, x, kernel, stride, padding, dilation, ceil, c.outputs > 1)


def average_pool(c: Call) -> Map:
    x, kernel, stride, dilation = _window(c)
    if max(dilation) > 1:
        raise UnsupportedError("an average pool with dilation is not covered", "Use dilation 1.")
    pads = _pads(c, x, kernel, stride, dilation)
    counted, ceil = bool(c.attrs.get("count_include_pad", 0)), bool(c.attrs.get("ceil_mode", 0))
    counted = counted or not any((*pads[0], *pads[1]))
    if pads[0] != pads[1] and not counted:
        raise UnsupportedError(f"an average that leaves out uneven padding {pads} is not covered", "Pad evenly.")
    x, padding = _padded(c, x, pads, 0.0)
    return aten.avg_pool2d(c.b, c.site, x, kernel, stride, padding, ceil, counted)


def global_average_pool(c: Call) -> Map:
    return c.b.add(c.site, "global_avg_pool", (c.map(),))


def global_max_pool(c: Call) -> Map:
    x = c.map()
    return aten.max_pool2d(c.b, c.site, x, x.shape[1:])


def reduce_mean(c: Call) -> Map:
    axes = c.ints("axes", 1)
    if axes is None and c.attrs.get("noop_with_empty_axes", 0):
        return c.map()
    return aten.mean(c.b, c.site, c.map(), axes, bool(c.attrs.get("keepdims", 1)))


def dropout(c: Call) -> Map:
    if c.number("training_mode", 2, 0.0):
        raise UnsupportedError("this dropout is in training mode", "Export in inference mode: model.eval().")
    return aten.dropout(c.b, c.site, c.map(), c.number("ratio", 1, 0.5) or 0.0)


def _window(c: Call) -> tuple[Map, list[int], list[int], list[int]]:
    """A pool's map, kernel, stride and dilation."""
    x, kernel = c.map(), c.ints("kernel_shape") or []
    if len(kernel) != 2 or len(x.shape) != 3:
        raise UnsupportedError(f"a pool over {len(kernel)} axes is not covered", "Only networks of images are.")
    return x, kernel, c.ints("strides") or [1, 1], c.ints("dilations") or [1, 1]


def _pads(c: Call, x: Map, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Pads:
    mode = c.attrs.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = c.ints("pads") or [0] * 2 * len(kernel)
        return pads[: len(kernel)], pads[len(kernel) :]
    if mode == "VALID":
        return [0] * len(kernel), [0] * len(kernel)
    # SAME: as many windows as strides fit, the odd pixel behind (UPPER) or before (LOWER).
    spans = zip(x.shape[1:], kernel, stride, dilation, strict=True)
    totals = [max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0) for n, k, s, d in spans]
    less, more = [total // 2 for total in totals], [-(-total // 2) for total in totals]
    return (less, more) if mode == "SAME_UPPER" else (more, less)


def _padded(c: Call, x: Map, pads: Pads, value: float) -> tuple[Map, list[int]]:
    """The map and the padding its window is left with: all of it if it is even, else none, and the map has it."""
    begin, end = pads
    if begin == end:
        return x, begin
    around = [size for pair in zip(reversed(begin), reversed(end), strict=True) for size in pair]
    return aten_maps.pad(c.b, c.site, x, around, "constant", value), [0] * len(begin)
