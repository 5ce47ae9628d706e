"""Canonical operations as ONNX operators: one row an operation.

Neurons have time and are written in :mod:`idsnn_convert.runtime.export.onnx.forms`.

To cover one more operation of :data:`idsnn_convert.runtime.ops.OPS`, add its row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.onnx.emitter import Emitter
from idsnn_convert.runtime.graph import Node

Emit = Callable[[Emitter, Node, list[str], Mapping[str, str]], str]
"""``(emitter, node, names of its inputs, slot -> name of its tensor) -> name of its result``."""

PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
END = (1 << 31) - 1
"""A slice's stop that means the end of the axis, whatever its size."""


def emit(emitter: Emitter, node: Node, inputs: list[str], tensors: Mapping[str, Tensor]) -> str:
    """Writes a node that has no time of its own; its constants once per network, however often it is written.

    Raises:
        UserError: if the operation, or this use of it, has no ONNX form in the emitter's opset.
    """
    if node.op not in OPERATORS:
        raise UserError(f"{node.name!r} ({node.op}) has no ONNX form here")
    owned = {name.rpartition(".")[2]: tensor for name, tensor in tensors.items() if name.rpartition(".")[0] == node.name}
    names = {slot: emitter.tensor(f"{node.name}.{slot}", tensor) for slot, tensor in owned.items()}
    return OPERATORS[node.op](emitter, node, inputs, names)


def _conv(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
    window = _window(node)
    weights = [names[slot] for slot in ("weight", "bias") if slot in names]
    return emitter.call("Conv", inputs + weights, node.name, group=node.attr("groups"), **window)


def _window(node: Node) -> dict[str, Any]:
    padding = list(node.attr("padding"))
    window = {"kernel_shape": list(node.attr("kernel")), "strides": list(node.attr("stride")), "pads": padding + padding}
    return window | ({"dilations": list(node.attr("dilation"))} if "dilation" in node.attrs else {})


def _batch_norm(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
    channels = node.attr("channels")
    plain = {"weight": np.ones(channels, np.float32), "bias": np.zeros(channels, np.float32)}
    slots = ("weight", "bias", "running_mean", "running_var")
    given = [names[slot] if slot in names else emitter.array(f"{node.name}.{slot}", plain[slot]) for slot in slots]
    return emitter.call("BatchNormalization", inputs + given, node.name, epsilon=node.attr("eps"))


def _group_norm(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
    """Each group as one long channel, normalised on its own: ONNX's GroupNormalization needs opset 21."""
    groups, shape = node.attr("groups"), emitter.call("Shape", inputs, f"{node.name}.shape")
    long = emitter.call("Reshape", [*inputs, emitter.integers((0, groups, -1))], f"{node.name}.groups")
    plain = [
        emitter.array(f"{node.name}.{name}", np.full(groups, value, np.float32)) for name, value in (("ones", 1), ("zeros", 0))
    ]
    normal = emitter.call("InstanceNormalization", [long, *plain], f"{node.name}.normal", epsilon=node.attr("eps"))
    found = emitter.call("Reshape", [normal, shape], f"{node.name}.back")
    if not node.attr("affine"):
        return found
    ends = emitter.integers((-1, 1, 1))
    weight, bias = (emitter.call("Reshape", [names[slot], ends], f"{names[slot]}.map") for slot in ("weight", "bias"))
    return emitter.call("Add", [emitter.call("Mul", [found, weight], f"{node.name}.scaled"), bias], node.name)


def _scale(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
    return emitter.call("Mul", [*inputs, emitter.number(node.attr("factor"))], node.name)


def _linear(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
    weights = [names[slot] for slot in ("weight", "bias") if slot in names]
    if len(node.shape) == 1:
        return emitter.call("Gemm", inputs + weights, node.name, transB=1)
    turned = emitter.call("Transpose", weights[:1], f"{node.name}.turned", perm=[1, 0])
    product = emitter.call("MatMul", [*inputs, turned], f"{node.name}.product")
    return emitter.call("Add", [product, weights[1]], node.name) if len(weights) > 1 else product


def _activation(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
    kind, x = str(node.attr("kind")), inputs[0]
    if kind == "relu6":
        return emitter.call("Clip", [x, emitter.number(0), emitter.number(6)], node.name)
    if kind == "leaky_relu":
        return emitter.call("LeakyRelu", [x], node.name, alpha=float(node.attrs.get("slope", 0.01)))  # type: ignore[arg-type]
    if kind == "silu":
        return emitter.call("Mul", [x, emitter.call("Sigmoid", [x], f"{node.name}.gate")], node.name)
    if kind == "gelu":
        part = emitter.call("Div", [x, emitter.number(math.sqrt(2))], f"{node.name}.scaled")
        part = emitter.call("Erf", [part], f"{node.name}.erf")
        part = emitter.call("Add", [part, emitter.number(1)], f"{node.name}.raised")
        part = emitter.call("Mul", [part, emitter.number(0.5)], f"{node.name}.share")
        return emitter.call("Mul", [x, part], node.name)
    plain = {"relu": "Relu", "elu": "Elu", "hardswish": "HardSwish"}
    if kind not in plain:
        raise UserError(f"{node.name!r}: activation {kind!r} has no ONNX form here")
    return emitter.call(plain[kind], [x], node.name)


def _gate(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
    kind = node.attr("kind")
    if kind == "hard_sigmoid":
        return emitter.call("HardSigmoid", inputs, node.name, alpha=1 / 6, beta=0.5)
    if kind == "softmax":
        return emitter.call("Softmax", inputs, node.name, axis=node.attrs.get("dim", 1))
    return emitter.call("Sigmoid", inputs, node.name)


def _max_pool(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
    return emitter.call("MaxPool", inputs, node.name, ceil_mode=int(node.attr("ceil_mode")), **_window(node))


def _avg_pool(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
    settings = {"ceil_mode": int(node.attr("ceil_mode")), "count_include_pad": int(node.attr("count_include_pad"))}
    return emitter.call("AveragePool", inputs, node.name, **settings, **_window(node))


def _chain(operator: str) -> Emit:
    """A sum or product of two or more, as a chain of twos."""

    def chained(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
        result = inputs[0]
        for place, other in enumerate(inputs[1:], 2):
            wanted = node.name if place == len(inputs) else f"{node.name}.part"
            result = emitter.call(operator, [result, other], wanted)
        return result

    return chained


def _complement(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
    return emitter.call("Sub", [emitter.number(1), *inputs], node.name)


def _pad(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
    pads, mode = node.attr("pads"), PAD_MODES.get(node.attr("mode"))
    if mode is None or (mode == "wrap" and emitter.opset < 19):
        raise UserError(f"{node.name!r}: padding {node.attr('mode')!r} has no form in opset {emitter.opset}")
    axes = len(node.shape) + 1
    before, after = [0] * axes, [0] * axes
    for place in range(len(pads) // 2):
        before[-1 - place], after[-1 - place] = pads[2 * place], pads[2 * place + 1]
    filler = [emitter.number(node.attr("value"))] if mode == "constant" else []
    return emitter.call("Pad", [*inputs, emitter.integers(before + after), *filler], node.name, mode=mode)


def _slice(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
    cut = (node.attr("start"), min(node.attr("stop"), END), node.attr("dim"), node.attr("step"))
    return emitter.call("Slice", inputs + [emitter.integers([value]) for value in cut], node.name)


def _reshape(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
    return emitter.call("Reshape", [*inputs, emitter.integers((-1, *node.attr("shape")))], node.name)


def _permute(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
    return emitter.call("Transpose", inputs, node.name, perm=[0, *node.attr("dims")])


def _sum(emitter: Emitter, node: Node, inputs: list[str], names: Mapping[str, str]) -> str:
    return emitter.call("ReduceSum", [*inputs, emitter.integers([node.attr("dim")])], node.name, keepdims=0)


def _plain(operator: str, **attributes: Any) -> Emit:
    return lambda emitter, node, inputs, names: emitter.call(operator, inputs, node.name, **attributes)


OPERATORS: dict[str, Emit] = {
    "conv2d": _conv,
    "batch_norm": _batch_norm,
    "group_norm": _group_norm,
    "linear": _linear,
    "activation": _activation,
    "gate": _gate,
    "max_pool2d": _max_pool,
    "avg_pool2d": _avg_pool,
    "global_avg_pool": _plain("GlobalAveragePool"),
    "flatten": _plain("Flatten", axis=1),
    "add": _chain("Add"),
    "mul": _chain("Mul"),
    "scale": _scale,
    "complement": _complement,
    "concat": _plain("Concat", axis=1),
    "pad": _pad,
    "slice": _slice,
    "reshape": _reshape,
    "permute": _permute,
    "sum": _sum,
    "dropout": _plain("Identity"),
}
"""Operation -> how it is written; input, output and neuron are not here."""
