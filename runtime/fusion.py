"""Finds what runs as one layer: batch norm -> neuron, and batch norm -> add -> neuron. Exact up to rounding.

Contract: nothing else reads the norm or the sum, so not computing them on their own is not seen by anyone.
"""

from __future__ import annotations

from dataclasses import dataclass

from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.neurons import parameter_shapes


@dataclass(frozen=True)
class Fusion:
    """One neuron with what runs inside it; names of nodes.

    Attributes:
        source: the node that feeds the norm.
        residual: what is added to the norm's result before the neuron; None without an add.
        absorbed: the nodes that are no longer computed on their own.
    """

    neuron: str
    norm: str
    source: str
    residual: str | None
    absorbed: tuple[str, ...]


def fusions(graph: Graph, time_free: frozenset[str]) -> dict[str, Fusion]:
    """Neuron's name -> its fusion, for each neuron that has one.

    A neuron that learns its decay or threshold runs on its own. A norm in ``time_free`` (its value is the same at every
    step) is fused with a neuron, not with an add and a neuron.
    """
    found = {}
    for neuron in graph.of("neuron"):
        fed = graph[neuron.inputs[0]]
        if parameter_shapes(neuron.attrs):
            continue
        if fed.op == "batch_norm" and _fits(graph, fed):
            found[neuron.name] = Fusion(neuron.name, fed.name, fed.inputs[0], None, (fed.name,))
        elif fed.op == "add" and len(fed.inputs) == 2 and len(graph.users[fed.name]) == 1 and fed.name not in time_free:
            for norm, other in (fed.inputs, fed.inputs[::-1]):
                node = graph[norm]
                same_shape = norm != other and node.shape == graph[other].shape
                if node.op == "batch_norm" and same_shape and norm not in time_free and _fits(graph, node):
                    found[neuron.name] = Fusion(neuron.name, norm, node.inputs[0], other, (norm, fed.name))
                    break
    return found


def _fits(graph: Graph, norm: Node) -> bool:
    return len(graph.users[norm.name]) == 1 and bool(norm.attr("affine"))
