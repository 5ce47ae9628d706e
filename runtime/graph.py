"""The canonical graph: a network as plain data.

A graph is a tuple of nodes in topological order. The first node is the one ``input``, the last the one
``output``; every other node is an operation of the closed set in :mod:`idsnn_convert.runtime.ops`. A node
owns its tensors: tensor ``weight`` of node ``layer1.0.conv1`` is named ``layer1.0.conv1.weight``.
The JSON form of a graph is what a checkpoint stores; reading it runs no code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from idsnn_convert.runtime.errors import UserError

Attr = bool | int | float | str | tuple[int, ...]
Shape = tuple[int, ...]

MOST_NODES = 100_000
"""Nodes that a graph in a file may have."""

TO_THE_END = (1 << 63) - 1
"""Where a slice stops that takes all the rest, as exported programs write it."""
LARGEST = 1 << 53
"""Above every whole number in a file's graph; sizes stay exact as floats."""


@dataclass(frozen=True)
class Node:
    """One operation.

    ``shape`` is the shape of the result without the batch axis: ``(C, H, W)`` or ``(features,)``.
    ``source`` says where the author wrote it, as far as known: ``"resnet.py:93"``.
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    shape: Shape = ()
    source: str = ""

    def attr(self, key: str) -> Any:
        return self.attrs[key]


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order: ``input`` first, ``output`` last, names unique."""

    nodes: tuple[Node, ...]

    @cached_property
    def by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def users(self) -> dict[str, tuple[str, ...]]:
        """Name of a node -> names of the nodes that read it, in order."""
        found: dict[str, list[str]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found[name].append(node.name)
        return {name: tuple(users) for name, users in found.items()}

    def __getitem__(self, name: str) -> Node:
        return self.by_name[name]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def of(self, *ops: str) -> tuple[Node, ...]:
        """The nodes whose operation is one of ``ops``, in order."""
        return tuple(node for node in self.nodes if node.op in ops)

    @property
    def input_shape(self) -> Shape:
        return self.nodes[0].shape

    @property
    def output_shape(self) -> Shape:
        return self.nodes[-1].shape

    def with_nodes(self, changed: Mapping[str, Node]) -> Graph:
        """A copy in which the nodes named in ``changed`` are replaced, edges untouched."""
        return Graph(tuple(changed.get(node.name, node) for node in self.nodes))

    def without_sources(self) -> Graph:
        """A copy whose nodes do not tell where they were written: in a module that stands in for the author's."""
        return Graph(tuple(replace(node, source="") for node in self.nodes))


def to_json(graph: Graph) -> list[dict[str, Any]]:
    """The graph as JSON-native values, one object a node, in order."""
    rows = []
    for node in graph:
        row: dict[str, Any] = {"name": node.name, "op": node.op, "inputs": list(node.inputs), "shape": list(node.shape)}
        row["attrs"] = {key: list(value) if isinstance(value, tuple) else value for key, value in node.attrs.items()}
        if node.source:
            row["source"] = node.source
        rows.append(row)
    return rows


def from_json(rows: Any) -> Graph:
    """The graph that :func:`to_json` wrote.

    Only the form is checked here; :func:`idsnn_convert.runtime.ops.check` checks operations and shapes.

    Raises:
        UserError: if ``rows`` is not such a list, naming the node at fault.
    """
    if not isinstance(rows, list):
        raise UserError(f"the graph is a {type(rows).__name__}, not a list of nodes")
    if len(rows) > MOST_NODES:
        raise UserError(f"the graph has {len(rows):,} nodes; at most {MOST_NODES:,} are read")
    return Graph(tuple(_node_from_json(position, row) for position, row in enumerate(rows)))


def _node_from_json(position: int, row: Any) -> Node:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str) or not isinstance(row.get("op"), str):
        raise UserError(f"graph node {position} has no name or no operation")
    name = row["name"]
    inputs, shape, attrs = row.get("inputs", []), row.get("shape", []), row.get("attrs", {})
    if not _list_of(inputs, str):
        raise UserError(f"graph node {name!r}: inputs must be a list of node names, not {inputs!r:.80}")
    if not _list_of(shape, int):
        raise UserError(f"graph node {name!r}: shape must be a list of integers, not {shape!r:.80}")
    if not isinstance(attrs, dict):
        raise UserError(f"graph node {name!r}: attrs must be an object, not {attrs!r:.80}")
    typed: dict[str, Attr] = {}
    for key, value in attrs.items():
        if _list_of(value, int):
            typed[key] = tuple(value)
        elif isinstance(value, bool | int | float | str) and _small(value):
            typed[key] = value
        else:
            raise UserError(f"graph node {name!r}: attribute {key!r} has the unsupported value {value!r:.80}")
    source = row.get("source", "")
    return Node(name, row["op"], tuple(inputs), typed, tuple(shape), source if isinstance(source, str) else "")


def _list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, kind) and not isinstance(item, bool) and _small(item) for item in value
    )


def _small(value: Any) -> bool:
    """Whether a number, if it is one, is such as sizes are computed with."""
    return not isinstance(value, int) or abs(value) < LARGEST or value == TO_THE_END
