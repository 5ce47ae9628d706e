"""Traces a plain module to the canonical graph in milliseconds: torch.fx over layers that are known beforehand.

For modules whose forward is made of known ``torch.nn`` layers and functions, such as the ones this project builds
itself. No value is computed, so parameters may live on the meta device. Each call is spelled as the ATen call it
would become and handed to :data:`idsnn_convert.passes.aten.ATEN`; so the graph equals that of
:func:`idsnn_convert.passes.trace.trace`, which reads any module, in seconds. Only source lines may differ: here they are
those of the very call, there those of the ``forward`` that it belongs to.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from idsnn_convert.passes.aten import ATEN, call
from idsnn_convert.passes.builder import Builder, Site, layer_class
from idsnn_convert.passes.types import Canonical
from idsnn_convert.passes.values import Map, Param, UnsupportedError
from idsnn_convert.runtime import batch_norm, modules
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Shape

Call = tuple[Any, ...]
"""An ATen call: its name, then its arguments."""


class Own(str):
    """The name of a parameter of the layer that makes the call."""


WEIGHT, BIAS = Own("weight"), Own("bias")


def _conv(m: Any, x: Map) -> Call:
    return ("conv2d", x, WEIGHT, BIAS, m.stride, m.padding, m.dilation, m.groups)


def _batch_norm(m: Any, x: Map) -> Call:
    return ("batch_norm", x, WEIGHT, BIAS, Own("running_mean"), Own("running_var"), False, m.momentum, m.eps)


def _max_pool(m: Any, x: Map) -> Call:
    return ("max_pool2d", x, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices)


def _avg_pool(m: Any, x: Map) -> Call:
    return ("avg_pool2d", x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override)


LAYERS: dict[type[nn.Module], Callable[..., Call]] = {
    nn.Conv2d: _conv,
    nn.BatchNorm2d: _batch_norm,
    batch_norm.BatchNorm2d: _batch_norm,
    nn.GroupNorm: lambda m, x: ("group_norm", x, m.num_groups, WEIGHT, BIAS, m.eps),
    nn.Linear: lambda m, x: ("linear", x, WEIGHT, BIAS),
    nn.ReLU: lambda m, x: ("relu", x),
    nn.ReLU6: lambda m, x: ("relu6", x),
    nn.SiLU: lambda m, x: ("silu", x),
    nn.Hardswish: lambda m, x: ("hardswish", x),
    nn.Hardtanh: lambda m, x: ("hardtanh", x, m.min_val, m.max_val),
    nn.LeakyReLU: lambda m, x: ("leaky_relu", x, m.negative_slope),
    nn.ELU: lambda m, x: ("elu", x, m.alpha),
    nn.GELU: lambda m, x: ("gelu", x, m.approximate),
    nn.Sigmoid: lambda m, x: ("sigmoid", x),
    nn.Hardsigmoid: lambda m, x: ("hardsigmoid", x),
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool2d: lambda m, x: ("adaptive_avg_pool2d", x, m.output_size),
    nn.Flatten: lambda m, x: ("flatten", x, m.start_dim, m.end_dim),
    nn.Dropout: lambda m, x: ("dropout", x, m.p),
    modules.Dropout: lambda m, x: ("dropout", x, m.p),
    nn.Dropout2d: lambda m, x: ("feature_dropout", x),
    nn.ZeroPad2d: lambda m, x: ("pad", x, m.padding),
    nn.Identity: lambda m, x: ("alias", x),
    modules.GlobalAvgPool: lambda m, x: ("mean", x, (2, 3), True),
    modules.Add: lambda m, x, y: ("add", x, y),
    modules.Mul: lambda m, x, y: ("mul", x, y),
    modules.Scale: lambda m, x: ("mul", x, m.factor),
    modules.Complement: lambda m, x: ("rsub", x, 1),
    modules.Concat: lambda m, *maps: ("cat", maps, 1),
    modules.Pad: lambda m, x: ("pad", x, m.pads, m.mode, m.value),
    modules.Slice: lambda m, x: ("slice", x, m.dim, m.cut.start, m.cut.stop, m.cut.step),
}
"""A layer -> the ATen call that it makes of its inputs."""

SAME_NAME = (
    "relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "hardswish", "hardtanh", "sigmoid", "hardsigmoid",
    "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "mean", "dropout", "add", "mul", "cat", "split", "chunk", "pad",
    "flatten", "view", "reshape", "contiguous",
)  # fmt: skip
"""Functions of torch and torch.nn.functional, and methods of tensors, that are ATen calls of the same arguments."""

FUNCTIONS: dict[Any, str] = {
    **{getattr(home, name): name for home in (torch, F) for name in SAME_NAME if hasattr(home, name)},
    operator.add: "add",
    operator.iadd: "add",
    operator.mul: "mul",
    operator.imul: "mul",
}
"""A function -> the ATen call of the same arguments."""

METHODS = {**{name: name for name in SAME_NAME}, "size": "sym_size"}
"""A tensor method -> the ATen call of the same arguments; in-place forms too."""


class _Tracer(fx.Tracer):
    """Stops at the known layers and notes, on each node, where the call was written."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return bool(layer_class(f"{type(m).__module__}.{type(m).__qualname__}"))

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["site"] = Site(self.scope.module_path, source=_source())
        return node


def _source() -> str:
    """File and line of the innermost frame that is neither torch's nor this module's."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        name = frame.f_globals.get("__name__", "")
        if name != __name__ and not name.startswith("torch."):
            return f"{PurePath(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def trace_known(module: nn.Module, input_shape: Shape) -> Canonical:
    """The canonical graph of ``module`` in eval mode, for inputs of ``input_shape`` (C, H, W).

    Raises:
        UserError: if a call is not among those known here, naming it and its place, or the module's control flow
            depends on values; :func:`idsnn_convert.passes.trace.trace` may know more.
    """
    modes = {part: part.training for part in module.modules()}
    try:
        graph = _Tracer().trace(module.eval())
    except (fx.proxy.TraceError, TypeError) as error:
        raise UserError(f"{type(module).__name__} cannot be traced: {error}") from error
    finally:
        for part, mode in modes.items():
            part.training = mode
    return _canonical(graph, module, input_shape)


def _canonical(graph: fx.Graph, module: nn.Module, input_shape: Shape) -> Canonical:
    builder = Builder(input_shape)
    layers = dict(module.named_modules())
    values: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            values[node] = builder.input
        elif node.op == "output":
            break
        else:
            try:
                values[node] = _value(node, values, builder, layers)
            except UnsupportedError as error:
                site = node.meta["site"]
                where = f"{site.path or 'the network'} ({site.source})"
                raise UserError(f"{where}: {error.reason}", hint=error.advice) from error
    result: Any = fx.node.map_arg(graph.output_node().args[0], lambda node: values[node])
    if not isinstance(result, Map):
        raise UserError(f"{type(module).__name__} gives a {type(result).__name__}, not one tensor")
    return builder.canonical(result)


def _value(node: fx.Node, values: dict[fx.Node, Any], builder: Builder, layers: Mapping[str, nn.Module]) -> Any:
    """The value of one fx node, its canonical nodes made."""
    site: Site = node.meta["site"]
    args: Any = fx.node.map_arg(node.args, lambda n: values[n])
    kwargs: Any = dict(fx.node.map_arg(node.kwargs, lambda n: values[n]))
    in_place = bool(kwargs.pop("inplace", False)) or node.target in (operator.iadd, operator.imul)
    if node.op == "call_module":
        path = str(node.target)
        layer = layers[path]
        result = _layer(layer, path, Site(path, type(layer).__name__, site.source), builder, *args)
        in_place = getattr(layer, "inplace", False) is True
    elif node.target is getattr:
        result = _attribute(builder, site, *args)
    elif node.target is operator.getitem:
        result = _item(builder, site, *args)
    elif node.op == "call_function" and node.target in FUNCTIONS:
        kwargs.pop("training", None)
        result = call(builder, site, FUNCTIONS[node.target], args, kwargs)
    elif node.op == "call_method" and str(node.target).rstrip("_") in METHODS:
        in_place = str(node.target).endswith("_")
        result = call(builder, site, METHODS[str(node.target).rstrip("_")], args, kwargs)
    else:
        raise UnsupportedError(
            f"{getattr(node.target, '__name__', node.target)} is not known", "The general tracer may know it."
        )
    if in_place and result is not args[0]:
        builder.overwrite(values, args[0], result)
    return result


def _layer(layer: nn.Module, path: str, site: Site, builder: Builder, *inputs: Any) -> Any:
    if type(layer) not in LAYERS:
        raise UnsupportedError(f"{type(layer).__name__} is not known", "The general tracer may know it.")
    op, *args = LAYERS[type(layer)](layer, *inputs)
    args = [_param(layer, path, arg) if isinstance(arg, Own) else arg for arg in args]
    if isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros":
        args[0] = ATEN["pad"](builder, site, args[0], layer._reversed_padding_repeated_twice, layer.padding_mode)
        args[4] = 0  # the padding
    return call(builder, site, op, args, {})


def _param(layer: nn.Module, path: str, name: str) -> Param | None:
    tensor = getattr(layer, name)
    return None if tensor is None else Param(f"{path}.{name}" if path else name, tensor)


def _attribute(builder: Builder, site: Site, x: Map, name: str) -> Any:
    if name != "shape":
        raise UnsupportedError(f"the attribute {name!r} is not known", "The general tracer may know it.")
    return ATEN["sym_size"](builder, site, x)


def _item(builder: Builder, site: Site, values: Any, index: Any) -> Any:
    """``values[index]``: one of several values, or a slice of a map along each axis."""
    if not isinstance(values, Map):
        return values[index]
    result = values
    for dim, part in enumerate(index if isinstance(index, tuple) else (index,)):
        if not isinstance(part, slice):
            raise UnsupportedError(f"the index {part!r} is not known", "The general tracer may know it.")
        result = ATEN["slice"](builder, site, result, dim, part.start, part.stop, part.step or 1)
    return result
