"""The table that turns ATen calls into canonical nodes: one function an operation, with ATen's own arguments.

A function takes the :class:`Builder`, the :class:`Site` of the call and the call's arguments, in which every value
is a ``Map``, every parameter a ``Param``, and the batch size is ``BATCH``, all of :mod:`idsnn_convert.passes.values`.
It gives the call's value.
An in-place form (``relu_``) uses the row of the plain one (``relu``). To trace one more operation, add its row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from idsnn_convert.passes import aten_layers as layers
from idsnn_convert.passes import aten_maps as maps
from idsnn_convert.passes.builder import Builder, Site
from idsnn_convert.passes.values import UnsupportedError

ATEN: dict[str, Callable[..., Any]] = {
    "conv1d": layers.conv1d,
    "conv2d": layers.conv2d,
    "batch_norm": layers.batch_norm,
    "convolution": layers.convolution,
    "_native_batch_norm_legit_no_training": layers.native_batch_norm,
    "group_norm": layers.group_norm,
    "native_group_norm": layers.native_group_norm,
    "layer_norm": layers.layer_norm,
    "linear": layers.linear,
    "addmm": layers.addmm,
    "relu": layers.activation("relu"),
    "relu6": layers.activation("relu6"),
    "silu": layers.activation("silu"),
    "hardswish": layers.activation("hardswish"),
    "hardtanh": layers.hardtanh,
    "clamp": layers.clamp,
    "clamp_min": layers.clamp,
    "leaky_relu": layers.leaky_relu,
    "elu": layers.elu,
    "gelu": layers.gelu,
    "sigmoid": layers.gate("sigmoid"),
    "hardsigmoid": layers.gate("hard_sigmoid"),
    "softmax": layers.softmax,
    "_softmax": layers.softmax,
    "max_pool2d": layers.max_pool2d,
    "avg_pool2d": layers.avg_pool2d,
    "max_pool2d_with_indices": lambda b, site, *args: (layers.max_pool2d(b, site, *args), None),
    "adaptive_avg_pool2d": layers.adaptive_avg_pool2d,
    "_adaptive_avg_pool2d": layers.adaptive_avg_pool2d,
    "mean": layers.mean,
    "flatten": maps.flatten,
    "view": maps.view,
    "reshape": maps.view,
    "_unsafe_view": maps.view,
    "squeeze": maps.squeeze,
    "unsqueeze": maps.unsqueeze,
    "expand": maps.expand,
    "expand_as": lambda b, site, x, other: maps.expand(b, site, x, maps.size(b, site, other)),
    "permute": maps.permute,
    "transpose": maps.transpose,
    "sum": maps.sum_,
    "add": maps.add,
    "mul": maps.mul,
    "matmul": maps.matmul,
    "rsub": maps.rsub,
    "cat": maps.cat,
    "stack": maps.stack,
    "zeros": maps.zeros,
    "new_zeros": maps.zeros,
    "zeros_like": maps.zeros_like,
    "pad": maps.pad,
    "constant_pad_nd": maps.constant_pad_nd,
    "slice": maps.slice_,
    "split": maps.split,
    "split_with_sizes": maps.split,
    "chunk": maps.chunk,
    "unbind": maps.unbind,
    "select": maps.select,
    "dropout": layers.dropout,
    "feature_dropout": maps.same,  # whole channels: it does nothing in eval mode and has no canonical form
    "alias": maps.same,
    "detach": maps.same,
    "contiguous": maps.same,
    "to": maps.same,  # what changes the data type is refused by the tracer
    "_to_copy": maps.fresh,
    "clone": maps.fresh,
    "sym_size": maps.size,
    "getitem": maps.getitem,
}
"""Name of an ATen operation, without its in-place underscore -> what makes its nodes."""


def call(b: Builder, site: Site, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The value of one ATen call.

    Raises:
        UnsupportedError: if it has no row, or its arguments do not fit it.
    """
    if name not in ATEN:
        raise UnsupportedError(f"{name} has no canonical form", "Write it with the layers of a ResNet, or leave it out.")
    try:
        return ATEN[name](b, site, *args, **kwargs)
    except (TypeError, AttributeError, ValueError, IndexError) as error:
        raise UnsupportedError(f"{name} is not covered with these arguments: {error}", "Use the layer of torch.nn.") from error
