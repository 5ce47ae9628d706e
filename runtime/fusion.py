"""Finds what runs as one layer with a neuron: the batch norm before it, the add before it, or both. Exact up to rounding.

Contract: nothing else reads the norm or the sum, so not computing them on their own is not seen by anyone. Every neuron
whose numbers are fixed has a row, if only for itself: the fused layers take all time steps at once and save less.
"""

from __future__ import annotations

from dataclasses import dataclass

from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.neurons import parameter_shapes


@dataclass(frozen=True)
class Fusion:
    """One neuron with what runs inside it; names of nodes.

    Attributes:
        source: the node that feeds the norm; without one, the add or the neuron.
        norm: None without one.
        residual: what is added before the neuron; None without an add.
        absorbed: the nodes that are no longer computed on their own.
    """

    neuron: str
    source: str
    norm: str | None = None
    residual: str | None = None
    absorbed: tuple[str, ...] = ()


def fusions(graph: Graph, time_free: frozenset[str]) -> dict[str, Fusion]:
    """Neuron's name -> its fusion, for each neuron that has one.

    A neuron that learns its decay or threshold runs on its own. A sum in ``time_free`` (its value is the same at every
    step), or of a norm in there, is computed before the neuron.
    """
    return {
        neuron.name: _fusion(graph, neuron, time_free)
        for neuron in graph.of("neuron")
        if not parameter_shapes(neuron.attrs) and len(neuron.shape) in (1, 3)
    }


def _fusion(graph: Graph, neuron: Node, time_free: frozenset[str]) -> Fusion:
    fed = graph[neuron.inputs[0]]
    if _fits(graph, fed):
        return Fusion(neuron.name, fed.inputs[0], fed.name, absorbed=(fed.name,))
    if not _sums(graph, fed) or fed.name in time_free:
        return Fusion(neuron.name, fed.name)
    for norm, other in (fed.inputs, fed.inputs[::-1]):
        if norm != other and norm not in time_free and _fits(graph, graph[norm]):
            return Fusion(neuron.name, graph[norm].inputs[0], norm, other, (norm, fed.name))
    source, other = fed.inputs if graph[fed.inputs[0]].op != "neuron" else fed.inputs[::-1]  # spikes are the residual
    return Fusion(neuron.name, source, None, other, (fed.name,))


def _sums(graph: Graph, add: Node) -> bool:
    """Whether ``add`` adds two maps of one shape, for one reader."""
    shapes = {graph[name].shape for name in add.inputs}
    return add.op == "add" and len(add.inputs) == 2 and len(shapes) == 1 and len(graph.users[add.name]) == 1


def _fits(graph: Graph, norm: Node) -> bool:
    return norm.op == "batch_norm" and len(graph.users[norm.name]) == 1 and bool(norm.attr("affine"))
