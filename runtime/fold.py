"""Batch norm into the convolution before it, for inference.

With ``s = weight / sqrt(running_var + eps)`` (1 / sqrt(...) where it is not affine), each output channel c of the
convolution takes ``W'[c] = s[c] W[c]`` and ``b'[c] = s[c] (b[c] - running_mean[c]) + bias[c]``.

Contract: computes the same function in evaluation mode, up to rounding: a potential at its threshold may fall to the
other side. A norm that does not directly follow a convolution which nobody else reads stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from idsnn_convert.runtime.graph import Graph, Node


def fold(graph: Graph, tensors: Mapping[str, Tensor]) -> tuple[Graph, dict[str, Tensor]]:
    """The graph without the batch norms that could be folded, and its tensors; both arguments are left alone."""
    norms = {norm.inputs[0]: norm for norm in graph.of("batch_norm") if _foldable(graph, norm)}
    became = {norm.name: conv for conv, norm in norms.items()}
    nodes: list[Node] = []
    found: dict[str, Tensor] = {}
    for node in graph:
        if node.name in became:
            continue
        inputs = tuple(became.get(name, name) for name in node.inputs)
        if node.name in norms:
            node = replace(node, attrs={**node.attrs, "bias": True})
            found |= _folded(node, norms[node.name], tensors)
        else:
            found |= {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[0] == node.name}
        nodes.append(replace(node, inputs=inputs))
    return Graph(tuple(nodes)), found


def _foldable(graph: Graph, norm: Node) -> bool:
    before = graph[norm.inputs[0]]
    return before.op == "conv2d" and len(graph.users[before.name]) == 1


def _folded(conv: Node, norm: Node, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The convolution's tensors, computed in float64 so that only the result is rounded."""
    kept = {slot: tensors[f"{norm.name}.{slot}"].double() for slot in ("running_mean", "running_var")}
    weight = tensors[f"{conv.name}.weight"]
    scale = (kept["running_var"] + norm.attr("eps")).rsqrt()
    shift = torch.zeros_like(scale)
    if norm.attr("affine"):
        scale = scale * tensors[f"{norm.name}.weight"].double()
        shift = tensors[f"{norm.name}.bias"].double()
    bias = tensors.get(f"{conv.name}.bias", torch.zeros(1)).double()
    folded = weight.double() * scale.view(-1, 1, 1, 1)
    return {
        f"{conv.name}.weight": folded.to(weight.dtype),
        f"{conv.name}.bias": (scale * (bias - kept["running_mean"]) + shift).to(weight.dtype),
    }
