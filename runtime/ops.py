"""The closed set of operations a canonical graph may hold: one table row an operation.

A row says which attributes the operation has, which tensors it owns, which shape it gives and which module
computes it. Shapes leave out the batch axis: ``(C, H, W)`` for maps, ``(F,)`` for features.
To add an operation, add its row here; :mod:`idsnn_convert.passes.aten` says what maps to it.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from torch import fx, nn

from idsnn_convert.runtime import modules
from idsnn_convert.runtime.batch_norm import BatchNorm2d
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Node, Shape
from idsnn_convert.runtime.neurons import neuron_from_attrs, parameter_shapes

Shapes = tuple[Shape, ...]
NAME_PART = re.compile(r"[A-Za-z0-9_]+")
LONGEST_NAME = 300
LARGEST_ELEMENTS = 1 << 31
"""Most elements a declared tensor or map may have; more is refused before anything is allocated."""


@dataclass(frozen=True)
class Op:
    """One row of the table: what an operation is."""

    arity: int | None  # None: two or more inputs
    attrs: Mapping[str, type]
    shape: Callable[[Node, Shapes], Shape]
    module: Callable[[Node], nn.Module] | None = None  # None: input and output, which compute nothing
    tensors: Callable[[Node], dict[str, Shape]] = lambda node: {}


def _first(node: Node, shapes: Shapes) -> Shape:
    return shapes[0]


def _conv_shape(node: Node, shapes: Shapes) -> Shape:
    channels, *size = _map(shapes[0])
    if channels != node.attr("in_channels"):
        raise ValueError(f"its input has {channels} channels, its weight expects {node.attr('in_channels')}")
    groups = node.attr("groups")
    if groups < 1 or channels % groups or node.attr("out_channels") % groups:
        raise ValueError(f"{groups} groups do not divide {channels} -> {node.attr('out_channels')}")
    return (node.attr("out_channels"), *_slide(node, size, node.attr("dilation"), ceil=False))


def _conv_tensors(node: Node) -> dict[str, Shape]:
    tensors = {"weight": (node.attr("out_channels"), node.attr("in_channels") // node.attr("groups"), *node.attr("kernel"))}
    if node.attr("bias"):
        tensors["bias"] = (node.attr("out_channels"),)
    return tensors


def _conv(node: Node) -> nn.Module:
    sizes = {"kernel_size": node.attr("kernel"), "stride": node.attr("stride"), "padding": node.attr("padding")}
    rest = {"dilation": node.attr("dilation"), "groups": node.attr("groups"), "bias": node.attr("bias")}
    return nn.Conv2d(node.attr("in_channels"), node.attr("out_channels"), **sizes, **rest)


def _pool_shape(node: Node, shapes: Shapes) -> Shape:
    channels, *size = _map(shapes[0])
    return (channels, *_slide(node, size, node.attrs.get("dilation", (1, 1)), ceil=node.attr("ceil_mode")))


def _slide(node: Node, size: list[int], dilation: object, ceil: bool) -> Shape:
    """Size after a window slid over it: floor((n + 2p - d(k-1) - 1) / s) + 1, or its ceiling."""
    if not isinstance(dilation, tuple):
        raise ValueError("dilation must be a pair")
    found = []
    pairs = zip(size, node.attr("kernel"), node.attr("stride"), node.attr("padding"), dilation, strict=True)
    for n, k, s, p, d in pairs:
        if min(k, s, d) < 1 or p < 0:
            raise ValueError(f"kernel {k}, stride {s}, padding {p}, dilation {d} is no window")
        span = n + 2 * p - d * (k - 1) - 1
        steps = math.ceil(span / s) if ceil else span // s
        if ceil and steps * s >= n + p:  # a window must start inside the map or its left padding
            steps -= 1
        found.append(steps + 1)
    if min(found) < 1:
        raise ValueError(f"a {size[0]}x{size[1]} map is too small for its window")
    return tuple(found)


def _map(shape: Shape) -> Shape:
    if len(shape) != 3:
        raise ValueError(f"it needs a (C, H, W) map, not shape {shape}")
    return shape


def _bn_shape(node: Node, shapes: Shapes) -> Shape:
    if _map(shapes[0])[0] != node.attr("channels"):
        raise ValueError(f"its input has {shapes[0][0]} channels, its statistics {node.attr('channels')}")
    return shapes[0]


def _bn_tensors(node: Node) -> dict[str, Shape]:
    slots = ("weight", "bias", "running_mean", "running_var") if node.attr("affine") else ("running_mean", "running_var")
    return {slot: (node.attr("channels"),) for slot in slots}


def _bn(node: Node) -> nn.Module:
    return BatchNorm2d(node.attr("channels"), node.attr("eps"), node.attr("momentum"), node.attr("affine"))


def _group_norm_shape(node: Node, shapes: Shapes) -> Shape:
    channels, groups = node.attr("channels"), node.attr("groups")
    if shapes[0][0] != channels:
        raise ValueError(f"its input has {shapes[0][0]} channels, its scale {channels}")
    if groups < 1 or channels % groups:
        raise ValueError(f"{groups} groups do not divide {channels} channels")
    return shapes[0]


def _group_norm_tensors(node: Node) -> dict[str, Shape]:
    return {slot: (node.attr("channels"),) for slot in (("weight", "bias") if node.attr("affine") else ())}


def _group_norm(node: Node) -> nn.Module:
    return nn.GroupNorm(node.attr("groups"), node.attr("channels"), node.attr("eps"), node.attr("affine"))


def _linear_shape(node: Node, shapes: Shapes) -> Shape:
    if shapes[0][-1] != node.attr("in_features"):
        raise ValueError(f"its input has {shapes[0][-1]} features, its weight expects {node.attr('in_features')}")
    return (*shapes[0][:-1], node.attr("out_features"))


def _linear_tensors(node: Node) -> dict[str, Shape]:
    tensors: dict[str, Shape] = {"weight": (node.attr("out_features"), node.attr("in_features"))}
    if node.attr("bias"):
        tensors["bias"] = (node.attr("out_features"),)
    return tensors


def _broadcast(node: Node, shapes: Shapes) -> Shape:
    if len({len(shape) for shape in shapes}) > 1:
        raise ValueError(f"shapes {' and '.join(map(str, shapes))} do not broadcast")
    found = []
    for sizes in zip(*shapes, strict=True):
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            raise ValueError(f"shapes {' and '.join(map(str, shapes))} do not broadcast")
        found.append(max(sizes))
    return tuple(found)


def _concat_shape(node: Node, shapes: Shapes) -> Shape:
    if len({shape[1:] for shape in shapes}) > 1:
        raise ValueError(f"shapes {' and '.join(map(str, shapes))} cannot be joined over channels")
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


def _slice_shape(node: Node, shapes: Shapes) -> Shape:
    dim = node.attr("dim")
    if not 1 <= dim <= len(shapes[0]):
        raise ValueError(f"there is no axis {dim} to slice in shape {shapes[0]}")
    kept = len(range(shapes[0][dim - 1])[node.attr("start") : node.attr("stop") : node.attr("step")])
    return (*shapes[0][: dim - 1], kept, *shapes[0][dim:])


def _pad_shape(node: Node, shapes: Shapes) -> Shape:
    pads = node.attr("pads")
    if len(pads) % 2 or len(pads) > 2 * len(shapes[0]):
        raise ValueError(f"pads {pads} do not fit shape {shapes[0]}")
    shape = list(shapes[0])
    for axis in range(len(pads) // 2):
        shape[-1 - axis] += pads[2 * axis] + pads[2 * axis + 1]
    return tuple(shape)


def _gate_shape(node: Node, shapes: Shapes) -> Shape:
    dim = node.attrs.get("dim", 1)
    if not isinstance(dim, int) or not 1 <= dim <= len(shapes[0]):
        raise ValueError(f"there is no axis {dim} in shape {shapes[0]}")
    return shapes[0]


def _reshape_shape(node: Node, shapes: Shapes) -> Shape:
    shape: Shape = node.attr("shape")
    if math.prod(shape) != math.prod(shapes[0]):
        raise ValueError(f"shape {shapes[0]} cannot be reshaped to {shape}")
    return shape


def _permute_shape(node: Node, shapes: Shapes) -> Shape:
    dims = node.attr("dims")
    if sorted(dims) != list(range(1, len(shapes[0]) + 1)):
        raise ValueError(f"{dims} is no order of the {len(shapes[0])} axes of shape {shapes[0]}")
    return tuple(shapes[0][dim - 1] for dim in dims)


def _sum_shape(node: Node, shapes: Shapes) -> Shape:
    dim = node.attr("dim")
    if not 1 <= dim <= len(shapes[0]) or len(shapes[0]) == 1:
        raise ValueError(f"axis {dim} of shape {shapes[0]} cannot be summed away")
    return (*shapes[0][: dim - 1], *shapes[0][dim:])


NORMS = ("batch_norm", "group_norm")
"""Operations that normalise a map and then scale and shift its channels, by ``weight`` and ``bias``."""

WINDOW = {"kernel": tuple, "stride": tuple, "padding": tuple}

OPS: dict[str, Op] = {
    "input": Op(0, {}, lambda node, shapes: node.shape),
    "output": Op(1, {}, _first),
    "conv2d": Op(
        1,
        {"in_channels": int, "out_channels": int, **WINDOW, "dilation": tuple, "groups": int, "bias": bool},
        _conv_shape,
        _conv,
        _conv_tensors,
    ),
    "batch_norm": Op(1, {"channels": int, "eps": float, "momentum": float, "affine": bool}, _bn_shape, _bn, _bn_tensors),
    # Normalises each sample, at each time step, by its own statistics; so it cannot be folded into weights.
    "group_norm": Op(
        1,
        {"groups": int, "channels": int, "eps": float, "affine": bool},
        _group_norm_shape,
        _group_norm,
        _group_norm_tensors,
    ),
    "linear": Op(
        1,
        {"in_features": int, "out_features": int, "bias": bool},
        _linear_shape,
        lambda node: nn.Linear(node.attr("in_features"), node.attr("out_features"), node.attr("bias")),
        _linear_tensors,
    ),
    # An activation site: what conversion rewrites into a neuron. kind: see modules.ACTIVATIONS.
    "activation": Op(1, {"kind": str}, _first, lambda node: modules.activation(node.attrs)),
    # A gate scales a map by (0, 1); it is no neuron. kind: see modules.GATES.
    "gate": Op(1, {"kind": str}, _gate_shape, lambda node: modules.gate(node.attrs)),
    "neuron": Op(
        1, {"kind": str}, _first, lambda node: neuron_from_attrs(node.attrs), lambda node: parameter_shapes(node.attrs)
    ),
    "max_pool2d": Op(
        1, {**WINDOW, "dilation": tuple, "ceil_mode": bool}, _pool_shape, lambda node: modules.max_pool(node.attrs)
    ),
    "avg_pool2d": Op(
        1, {**WINDOW, "ceil_mode": bool, "count_include_pad": bool}, _pool_shape, lambda node: modules.avg_pool(node.attrs)
    ),
    "global_avg_pool": Op(1, {}, lambda node, shapes: (_map(shapes[0])[0], 1, 1), lambda node: modules.GlobalAvgPool()),
    "flatten": Op(1, {}, lambda node, shapes: (math.prod(shapes[0]),), lambda node: nn.Flatten(1)),
    "add": Op(None, {}, _broadcast, lambda node: modules.Add()),
    "mul": Op(None, {}, _broadcast, lambda node: modules.Mul()),
    # A constant factor; it could be folded into the weights of the layers that read it.
    "scale": Op(1, {"factor": float}, _first, lambda node: modules.Scale(node.attr("factor"))),
    # 1 - x: what an IAND of spikes multiplies by (Fang et al. 2021).
    "complement": Op(1, {}, _first, lambda node: modules.Complement()),
    "concat": Op(None, {}, _concat_shape, lambda node: modules.Concat()),
    "pad": Op(
        1,
        {"pads": tuple, "mode": str, "value": float},
        _pad_shape,
        lambda node: modules.Pad(node.attr("pads"), node.attr("mode"), node.attr("value")),
    ),
    "slice": Op(
        1,
        {"dim": int, "start": int, "stop": int, "step": int},
        _slice_shape,
        lambda node: modules.Slice(node.attr("dim"), node.attr("start"), node.attr("stop"), node.attr("step")),
    ),
    # How split-attention and selective-kernel blocks weigh their paths, and space-to-depth stems.
    "reshape": Op(1, {"shape": tuple}, _reshape_shape, lambda node: modules.Reshape(node.attr("shape"))),
    "permute": Op(1, {"dims": tuple}, _permute_shape, lambda node: modules.Permute(node.attr("dims"))),
    "sum": Op(1, {"dim": int}, _sum_shape, lambda node: modules.Sum(node.attr("dim"))),
    "dropout": Op(1, {"p": float}, _first, lambda node: modules.Dropout(node.attr("p"))),
}


def tensor_shapes(graph: Graph) -> dict[str, Shape]:
    """Name of every tensor the graph owns -> its shape, in graph order."""
    return {f"{node.name}.{slot}": shape for node in graph for slot, shape in OPS[node.op].tensors(node).items()}


def inferred(node: Node, inputs: Shapes) -> Shape:
    """Shape of ``node``'s result for inputs of these shapes (no batch axis).

    Raises:
        UserError: naming the node, if its attributes or its inputs' shapes do not allow any.
    """
    try:
        shape = OPS[node.op].shape(node, inputs)
    except (ValueError, TypeError, KeyError, ArithmeticError, IndexError) as error:
        raise UserError(f"graph node {node.name!r} ({node.op}): {error}") from error
    if any(size < 1 for size in shape) or math.prod(shape) > LARGEST_ELEMENTS:
        raise UserError(f"graph node {node.name!r} ({node.op}): its result has the impossible shape {shape}")
    return shape


def check(graph: Graph) -> None:
    """Holds a graph against the table: known operations, attributes, arities, order, names, shapes.

    Raises:
        UserError: naming the first node at fault and why.
    """
    if len(graph) < 2 or graph.nodes[0].op != "input" or graph.nodes[-1].op != "output":
        raise UserError("the graph must begin with its input and end with its output")
    _check_folders(graph)
    shapes: dict[str, Shape] = {}
    for position, node in enumerate(graph):
        _check_form(node, position, len(graph), shapes)
        shape = inferred(node, tuple(shapes[name] for name in node.inputs))
        if shape != node.shape:
            raise UserError(f"graph node {node.name!r} ({node.op}) declares shape {node.shape}, its inputs give {shape}")
        for slot, sizes in _tensors(node).items():
            if any(size < 1 for size in sizes) or math.prod(sizes) > LARGEST_ELEMENTS:
                raise UserError(f"graph node {node.name!r}: its tensor {slot!r} has the impossible shape {sizes}")
        shapes[node.name] = shape


def _tensors(node: Node) -> dict[str, Shape]:
    try:
        return OPS[node.op].tensors(node)
    except (ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise UserError(f"graph node {node.name!r} ({node.op}): {error}") from error


@cache
def _taken() -> frozenset[str]:
    """What a torch.fx module has, or its code calls itself: no layer can be called so."""
    return frozenset(dir(fx.GraphModule(nn.Module(), fx.Graph()))) | {"self"}


def _check_name(name: str) -> None:
    """Names become paths of submodules in Python code that torch.fx writes and runs: nothing else may pass."""
    parts = name.split(".")
    if len(name) > LONGEST_NAME or not all(NAME_PART.fullmatch(part) for part in parts):
        raise UserError(f"graph node {name!r:.200}: a name is letters, digits and _ in parts joined by dots")
    if taken := [part for part in parts if keyword.iskeyword(part) or part in _taken()]:
        raise UserError(f"graph node {name!r}: {taken[0]!r} cannot be the name of a submodule")


def _check_folders(graph: Graph) -> None:
    """A node may not lie inside another: ``a`` and ``a.b`` cannot both be layers."""
    for node in graph:
        folder = node.name.rpartition(".")[0]
        while folder:
            if folder in graph.by_name:
                raise UserError(f"graph node {node.name!r} lies inside the node {folder!r}")
            folder = folder.rpartition(".")[0]


def _check_form(node: Node, position: int, count: int, seen: Mapping[str, Shape]) -> None:
    where = f"graph node {node.name!r}"
    op = OPS.get(node.op)
    if op is None:
        raise UserError(f"{where}: unknown operation {node.op!r}", hint=f"Known: {', '.join(OPS)}.")
    if node.name in seen:
        raise UserError(f"{where}: its name is used twice")
    _check_name(node.name)
    if (node.op == "input") != (position == 0) or (node.op == "output") != (position == count - 1):
        raise UserError(f"{where}: {node.op!r} stands in the wrong place")
    if missing := [name for name in node.inputs if name not in seen]:
        raise UserError(f"{where} reads {missing[0]!r}, which no node before it gives")
    if len(node.inputs) != op.arity if op.arity is not None else len(node.inputs) < 2:
        raise UserError(f"{where} ({node.op}) has {len(node.inputs)} inputs")
    for key, kind in op.attrs.items():
        value = node.attrs.get(key)
        fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        if not fits:
            raise UserError(f"{where} ({node.op}): attribute {key!r} must be {kind.__name__}, not {value!r}")
