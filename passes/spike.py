"""Every activation call site becomes its own spiking neuron. Changes meaning, so it is counted, not compared."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from dataclasses import replace

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.neurons import Neuron


def spike(graph: Graph, neuron: Neuron, given: Mapping[str, Neuron] | None = None) -> Graph:
    """``graph`` with a neuron in the place of each activation; a neuron has state, so no two sites share one.

    A site named after its function is renamed: ``layer1.0.relu1`` becomes ``layer1.0.lif1``.

    Args:
        given: name of a site -> the neuron it gets instead of ``neuron``, and under its own name.

    Raises:
        UserError: if the graph has no activation, since nothing would spike.
    """
    sites = graph.of("activation")
    if not sites:
        raise UserError("the network has no activation, so a conversion would make no neuron")
    given = given or {}
    word = f"{neuron.kind}_" if keyword.iskeyword(neuron.kind) else neuron.kind  # no submodule may be called "if"
    names = _names(graph, tuple(site for site in sites if site.name not in given), word)
    names |= {site.name: site.name for site in sites if site.name in given}
    nodes = []
    for node in graph:
        inputs = tuple(names.get(name, name) for name in node.inputs)
        if node.name in names:
            nodes.append(
                Node(names[node.name], "neuron", inputs, given.get(node.name, neuron).attrs(), node.shape, node.source)
            )
        else:
            nodes.append(replace(node, inputs=inputs))
    return Graph(tuple(nodes))


def _names(graph: Graph, sites: tuple[Node, ...], kind: str) -> dict[str, str]:
    """Activation's name -> neuron's name, unique in the graph."""
    taken = graph.by_name.keys() - {node.name for node in sites}
    names = {}
    for node in sites:
        path, _, last = node.name.rpartition(".")
        new, count = re.sub(r"relu6?|act\w*?|silu|gelu|elu|hardswish", kind, last, count=1, flags=re.IGNORECASE), 0
        new = new if kind in new else f"{last}_{kind}"
        name = base = f"{path}.{new}" if path else new
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        names[node.name] = name
    return names
