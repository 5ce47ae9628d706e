"""Makes a canonical graph call by call: names nodes, infers shapes, keeps tensors and their origins.

Names. A call made by a layer (of ``torch.nn`` or of :mod:`idsnn_convert.runtime.modules`) is named after the
layer's path: ``layer1.0.conv1``. Any other call is named after the path of the module that makes it and what it
computes: ``layer1.0.add``, ``relu``. A name already taken gets ``_1``, ``_2``, ...: the second call of
``layer1.0.relu`` is ``layer1.0.relu_1``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from idsnn_convert.passes.types import Canonical
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Attr, Graph, Node, Shape
from idsnn_convert.runtime.ops import check, inferred

VIEWS = frozenset({"slice", "flatten", "dropout"})
"""Operations whose result may share memory with their input."""
_NOT_A_CHILD = frozenset(dir(nn.Module)) | {"training"}


@dataclass(frozen=True, eq=False)
class Map:
    """A value on its way through the network: which node gives it, and its shape without the batch axis."""

    node: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class Param:
    """A parameter or buffer of the traced module and its name there."""

    origin: str
    tensor: Tensor


@dataclass(frozen=True)
class Site:
    """Where a call was written.

    Attributes:
        path: the path of the module that makes the call; empty for the root.
        layer: that module's class name if it is a layer, of ``torch.nn`` or of this project's runtime; otherwise empty.
        source: file and line, ``resnet.py:93``; empty if unknown.
    """

    path: str
    layer: str = ""
    source: str = ""


class UnsupportedError(Exception):
    """A call that has no canonical form: why, and what its author can do."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason, self.advice = reason, advice


class Builder:
    """The graph so far. ``input`` is the value of its first node."""

    def __init__(self, input_shape: Shape) -> None:
        self._nodes = [Node("input", "input", shape=input_shape)]
        self._taken = {"input"}
        self._folders: set[str] = set()
        self._params: dict[str, dict[str, Param]] = {}
        self._base: dict[str, str] = {}
        self._stale: set[str] = set()
        self.input = Map("input", input_shape)

    def add(
        self,
        site: Site,
        op: str,
        inputs: Sequence[Map],
        attrs: Mapping[str, Attr] | None = None,
        params: Mapping[str, Param] | None = None,
    ) -> Map:
        """Appends a node and gives its value.

        Raises:
            UnsupportedError: if the shapes do not fit, or an input was changed in place through a view.
        """
        attrs = attrs or {}
        for value in inputs:
            if value.node in self._stale:
                raise UnsupportedError(
                    f"it reads {value.node!r} after part of it was changed in place",
                    "Use the out-of-place form of that operation.",
                )
        name = self._unique(_base_name(site, op, attrs))
        node = Node(name, op, tuple(value.node for value in inputs), attrs, source=site.source)
        try:
            shape = inferred(node, tuple(value.shape for value in inputs))
        except UserError as error:
            raise UnsupportedError(error.problem, "Check the input size the network is traced with.") from error
        self._nodes.append(replace(node, shape=shape))
        self._taken.add(name)
        self._folders.update(name[:i] for i, letter in enumerate(name) if letter == ".")
        if params:
            self._params[name] = dict(params)
        if op in VIEWS:
            self._base[name] = inputs[0].node
        return Map(name, shape)

    def changed_in_place(self, value: Map) -> None:
        """Notes that an in-place call overwrote ``value``: what shares its memory may not be read any more."""
        base = value.node
        while base in self._base:
            base = self._base[base]
            self._stale.add(base)
        views = {value.node}
        for name, base in self._base.items():  # in graph order, so views of views are reached
            if base in views:
                views.add(name)
        self._stale |= views - {value.node}

    def canonical(self, result: Map) -> Canonical:
        """The finished graph that gives ``result``: gated activations recognised, dead nodes dropped, checked.

        Its tensors are the module's own; one that two nodes own is copied for the second.

        Raises:
            UserError: if the graph breaks the rules of :func:`idsnn_convert.runtime.ops.check`.
        """
        nodes = [*_gated_activations(self._nodes), Node(self._unique("output"), "output", (result.node,), shape=result.shape)]
        graph = Graph(_live(nodes))
        check(graph)
        owned = {f"{node.name}.{slot}": param for node in graph for slot, param in self._params.get(node.name, {}).items()}
        tensors: dict[str, Tensor] = {}
        seen: set[str] = set()
        for name, param in owned.items():
            tensor = param.tensor.detach()
            tensors[name] = tensor.clone() if param.origin in seen else tensor
            seen.add(param.origin)
        origin = {name: param.origin for name, param in owned.items()}
        return Canonical(graph, tensors, origin)

    def _unique(self, base: str) -> str:
        """``base``, changed as little as needed to be a new name that neither contains nor lies in another's path."""
        parts = [f"{part}_" if part in _NOT_A_CHILD else part for part in base.split(".")]
        for i in range(1, len(parts)):
            while ".".join(parts[:i]) in self._taken:
                parts[i - 1] += "_"
        base = name = ".".join(parts)
        count = 0
        while name in self._taken or name in self._folders:
            count += 1
            name = f"{base}_{count}"
        return name


def _base_name(site: Site, op: str, attrs: Mapping[str, Attr]) -> str:
    word = str(attrs["kind"]) if op in ("activation", "gate") else op
    if not site.layer:
        return f"{site.path}.{word}" if site.path else word
    # A convolution may pad first; the layer's name belongs to the convolution itself.
    return f"{site.path}_pad" if op == "pad" and "Pad" not in site.layer else site.path


def _gated_activations(nodes: Sequence[Node]) -> list[Node]:
    """``x * sigmoid(x)`` is SiLU and ``x * hard_sigmoid(x)`` is hard swish: activations, not gates."""
    by_name = {node.name: node for node in nodes}
    kinds = {"sigmoid": "silu", "hard_sigmoid": "hardswish"}
    found = []
    for node in nodes:
        if node.op == "mul" and len(node.inputs) == 2:
            for x, gate in (node.inputs, node.inputs[::-1]):
                if by_name[gate].op == "gate" and by_name[gate].inputs == (x,):
                    node = replace(node, op="activation", inputs=(x,), attrs={"kind": kinds[str(by_name[gate].attr("kind"))]})
                    break
        found.append(node)
    return found


def _live(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes the last one needs, in order; the input always stays."""
    needed = {"input", nodes[-1].name}
    for node in reversed(nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return tuple(node for node in nodes if node.name in needed)
