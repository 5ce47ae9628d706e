"""A spiking network as a NIR graph, exactly or not at all.

NIR's neurons live in continuous time. Discretised by Euler's method with the step ``dt``, its LIF
``tau dv/dt = (v_leak - v) + r I`` is ``v <- (1 - dt / tau) v + (dt r / tau) I``, and ours, ``U[t] = decay U[t-1] + X[t]``,
is that with ``tau = dt / (1 - decay)``, ``r = 1 / (1 - decay)``, ``v_leak = v_reset = 0``. Its IF ``dv/dt = r I`` is ours
of decay 1 with ``r = 1 / dt``. ``dt`` is 0.1 ms, which readers of NIR take unless told otherwise; only its ratio to tau
matters. Both fire where ``v > v_threshold``.

A residual add needs no node: edges that meet are summed. Batch norms are folded first. Shortcuts that take every other
pixel and pad channels are convolutions with ones in the right places. The images are fed anew at every step, and the
answer is the mean of the output over the steps: NIR has no field for either, so the graph's metadata say so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.encoders import ENCODERS
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.about import KEY
from idsnn_convert.runtime.export.names import flat_names
from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.graph import Graph, Node, Shape
from idsnn_convert.runtime.neurons import checked, learnt

DT = 1e-4
"""Seconds a time step."""
RESET = "reset"
"""In a neuron's metadata: ``soft`` where the threshold is subtracted, for which NIR has no field."""

Array = NDArray[Any]
Make = Callable[[Node, Shape, Mapping[str, Array]], nir.NIRNode]
"""``(node, shape of its input, slot -> array) -> NIR's node``."""


def to_nir(checkpoint: Checkpoint) -> nir.NIRGraph:
    """The spiking network of ``checkpoint``; T is the reader's to choose.

    Raises:
        UserError: naming the first node for which NIR has no form, and what it lacks.
    """
    if not ENCODERS[checkpoint.encoder].constant:
        problem = f"the {checkpoint.encoder} encoder draws random numbers, for which NIR has no node"
        raise UserError(problem, hint="Encode the images yourself and export a network with direct encoding.")
    if checkpoint.readout.decay != 1:
        raise UserError("a leaky readout averages over time, for which NIR has no node", hint="Train with the mean readout.")
    graph, tensors = fold(checkpoint.graph, checkpoint.tensors)
    names = flat_names(graph)
    nodes = {names[node.name]: _node(graph, node, tensors) for node in graph if not _summed(node)}
    edges = [(names[source], names[node.name]) for node in graph if not _summed(node) for source in _sources(graph, node)]
    if twice := [edge for edge in edges if edges.count(edge) > 1]:
        raise UserError(f"{twice[0][1]!r} adds {twice[0][0]!r} to itself; NIR has each edge once")
    own = {
        "time_steps": checkpoint.time_steps,
        "dt_seconds": DT,
        "input": "the same image at every step",
        "answer": "the mean of the output over the steps",
        "normalisation": checkpoint.normalisation,
        "names": {flat: name for name, flat in names.items()},
    }
    return nir.NIRGraph(nodes, edges, {KEY: json.dumps(own, sort_keys=True), "dt": DT})


def _summed(node: Node) -> bool:
    return node.op in ("add", "dropout")


def _sources(graph: Graph, node: Node) -> list[str]:
    """The nodes whose values arrive at ``node``, sums resolved."""
    found = []
    for name in node.inputs:
        found += _sources(graph, graph[name]) if _summed(graph[name]) else [name]
    return found


def _node(graph: Graph, node: Node, tensors: Mapping[str, Tensor]) -> nir.NIRNode:
    if node.op == "neuron":
        return _neuron(node, tensors)
    if node.op not in NODES:
        hint = "It runs in our runtime and as ONNX."
        raise UserError(f"{node.name!r} ({node.op}) has no NIR form: {LACKS.get(node.op, 'NIR has no such node')}", hint=hint)
    owned = {key.rpartition(".")[2]: value.numpy() for key, value in tensors.items() if key.rpartition(".")[0] == node.name}
    return NODES[node.op](node, graph[node.inputs[0]].shape if node.inputs else node.shape, owned)


def _neuron(node: Node, tensors: Mapping[str, Tensor]) -> nir.NIRNode:
    neuron = learnt(checked(node.attrs), node.name, tensors)

    def full(value: float) -> Array:
        return np.full(node.shape, value, np.float32)

    more = {RESET: "soft"} if neuron.reset == "soft" else {}
    threshold, zero = full(neuron.v_threshold), full(0)
    if neuron.decay == 1:
        return nir.IF(r=full(1 / DT), v_threshold=threshold, v_reset=zero, metadata=more)
    left = 1 - neuron.decay
    return nir.LIF(full(DT / left), full(1 / left), zero, threshold, zero, metadata=more)


def _conv(node: Node, shape: Shape, owned: Mapping[str, Array]) -> nir.NIRNode:
    bias = owned.get("bias", np.zeros(node.attr("out_channels"), np.float32))
    window = (node.attr("stride"), node.attr("padding"), node.attr("dilation"))
    return nir.Conv2d(shape[1:], _dense(owned["weight"], node.attr("groups")), *window, 1, bias)


def _dense(weight: Array, groups: int) -> Array:
    """The weight without groups, zeros between them: NIR has groups, but its own check of shapes does not know them."""
    if groups == 1:
        return weight
    out, each = weight.shape[0] // groups, weight.shape[1]
    found = np.zeros((weight.shape[0], each * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        rows = slice(group * out, (group + 1) * out)
        found[rows, group * each : (group + 1) * each] = weight[rows]
    return found


def _linear(node: Node, shape: Shape, owned: Mapping[str, Array]) -> nir.NIRNode:
    if len(shape) != 1:
        raise UserError(f"{node.name!r} is a linear layer on a map; NIR's take vectors")
    return nir.Affine(owned["weight"], owned["bias"]) if "bias" in owned else nir.Linear(owned["weight"])


def _avg_pool(node: Node, shape: Shape, owned: Mapping[str, Array]) -> nir.NIRNode:
    kernel, stride, padding = (np.array(node.attr(key)) for key in ("kernel", "stride", "padding"))
    if padding.any() and not node.attr("count_include_pad"):
        raise UserError(f"{node.name!r} leaves its padding out of the mean, for which NIR's AvgPool2d has no field")
    span = np.array(shape[1:]) + 2 * padding - kernel
    if node.attr("ceil_mode") and (span % stride).any():
        raise UserError(f"{node.name!r} pools over windows that are cut off, for which NIR's AvgPool2d has no field")
    return nir.AvgPool2d(kernel, stride, padding)


def _global_avg_pool(node: Node, shape: Shape, owned: Mapping[str, Array]) -> nir.NIRNode:
    size = np.array(shape[1:])
    return nir.AvgPool2d(size, size, np.zeros(2, int))


def _every_other(node: Node, shape: Shape, owned: Mapping[str, Array]) -> nir.NIRNode:
    """Every n-th row or column from the first: a 1x1 convolution of stride n that hands each channel on."""
    dim, start, stop, step = (node.attr(key) for key in ("dim", "start", "stop", "step"))
    if dim == 1 or start != 0 or stop < shape[dim - 1]:
        raise UserError(f"{node.name!r} takes a part of axis {dim}, for which NIR has no node")
    return _handed_on(shape, shape[0], 0, (step, 1) if dim == 2 else (1, step))


def _more_channels(node: Node, shape: Shape, owned: Mapping[str, Array]) -> nir.NIRNode:
    """Channels of zeros before and behind: a 1x1 convolution that hands each channel on."""
    pads = (*node.attr("pads"), 0, 0, 0, 0, 0, 0)[:6]
    if any(pads[:4]) or min(pads) < 0 or node.attr("mode") != "constant" or node.attr("value"):
        raise UserError(f"{node.name!r} pads a map at its border, for which NIR has no node")
    return _handed_on(shape, node.shape[0], pads[4], (1, 1))


def _handed_on(shape: Shape, channels: int, first: int, stride: tuple[int, int]) -> nir.NIRNode:
    """Channel c of ``shape`` as channel ``first + c`` of ``channels``, the others zero."""
    weight = np.zeros((channels, shape[0], 1, 1), np.float32)
    weight[first + np.arange(shape[0]), np.arange(shape[0])] = 1
    return nir.Conv2d(shape[1:], weight, stride, (0, 0), (1, 1), 1, np.zeros(channels, np.float32))


NODES: dict[str, Make] = {
    "input": lambda node, shape, owned: nir.Input({"input": np.array(shape)}),
    "output": lambda node, shape, owned: nir.Output({"output": np.array(shape)}),
    "conv2d": _conv,
    "linear": _linear,
    "avg_pool2d": _avg_pool,
    "global_avg_pool": _global_avg_pool,
    # Counted from behind: readers disagree on whether the batch is among the axes counted from the front.
    "flatten": lambda node, shape, owned: nir.Flatten({"input": np.array(shape)}, start_dim=-len(shape), end_dim=-1),
    "slice": _every_other,
    "pad": _more_channels,
}
"""Operation -> NIR's node; neurons are made by themselves, sums are edges."""

LACKS = {
    "batch_norm": "it follows no convolution into which it could be folded, and NIR has no normalisation",
    "max_pool2d": "NIR has average and sum pooling alone",
    "activation": "it is no neuron, and NIR has no activations",
    "mul": "edges that meet are summed in NIR; it has no product of two",
}
"""Why an operation has no form, where there is more to say than that."""
