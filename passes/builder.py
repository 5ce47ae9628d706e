"""Makes a canonical graph call by call: names nodes, infers shapes, keeps tensors and their origins.

Names. A call made by a layer (of ``torch.nn`` or of :mod:`idsnn_convert.runtime.modules`) is named after the
layer's path: ``layer1.0.conv1``. Any other call is named after the path of the module that makes it and what it
computes: ``layer1.0.add``, ``relu``. A name already taken gets ``_1``, ``_2``, ...: the second call of
``layer1.0.relu`` is ``layer1.0.relu_1``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, fx, nn

from idsnn_convert.passes.types import Canonical
from idsnn_convert.passes.values import Map, Param, UnsupportedError
from idsnn_convert.runtime import batch_norm, modules
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.graph import Attr, Graph, Node, Shape
from idsnn_convert.runtime.ops import check, inferred

VIEWS = frozenset({"slice", "flatten", "reshape", "permute", "dropout"})
"""Operations whose result may share memory with their input."""
_NOT_A_CHILD = frozenset(dir(nn.Module)) | {"training"}


@dataclass(frozen=True)
class Site:
    """Where a call was written.

    Attributes:
        path: the path of the module that makes the call; empty for the root.
        layer: that module's class name if it is a layer (see :func:`layer_class`), otherwise empty.
        source: file and line, ``resnet.py:93``; empty if unknown.
    """

    path: str
    layer: str = ""
    source: str = ""

    def name(self, word: str) -> str:
        """What a call here that computes ``word`` is named, while the name is free."""
        if not self.layer:
            return f"{self.path}.{word}" if self.path else word
        # A convolution may pad or reshape first; the layer's name belongs to the convolution itself.
        aside = word in ("pad", "reshape") and word.capitalize() not in self.layer
        return f"{self.path}_{word}" if aside else self.path


@dataclass(frozen=True)
class Refusal:
    """A call that has no canonical form.

    Attributes:
        node: what its node would be named.
        source: file and line, ``resnet.py:93``; empty if unknown.
        reason: why it has none.
        advice: what the network's author can do.
    """

    node: str
    source: str
    reason: str
    advice: str


class RefusedError(UserError):
    """Calls of a network have no canonical form: all of them in one message, and each as a record."""

    def __init__(self, problem: str, hint: str, refusals: Sequence[Refusal]) -> None:
        super().__init__(problem, hint=hint)
        self.refusals = tuple(refusals)


class Builder:
    """The graph so far. ``input`` is the value of its first node."""

    def __init__(self, input_shape: Shape) -> None:
        self._nodes = [Node("input", "input", shape=input_shape)]
        self._shapes = {"input": input_shape}
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
            if not isinstance(value, Map):
                raise UnsupportedError(f"it reads {value} as a map", "Fold constants into a layer.")
            if value.node in self._stale:
                raise UnsupportedError(
                    f"it reads {value.node!r} after part of it was changed in place",
                    "Use the out-of-place form of that operation.",
                )
        name = self._unique(site.name(str(attrs["kind"]) if op in ("activation", "gate") else op))
        node = Node(name, op, tuple(value.node for value in inputs), attrs, source=site.source)
        try:
            shape = inferred(node, tuple(self._shapes[value.node] for value in inputs))
        except UserError as error:
            raise UnsupportedError(error.problem, "Check the input size the network is traced with.") from error
        self._nodes.append(replace(node, shape=shape))
        self._shapes[name] = shape
        self._folders.update(name[:i] for i, letter in enumerate(name) if letter == ".")
        if params:
            self._params[name] = dict(params)
        if op in VIEWS:
            self._base[name] = inputs[0].node
        return Map(name, shape)

    def overwrite(self, values: dict[fx.Node, Any], old: Map, new: Map) -> None:
        """After an in-place call: whoever holds ``old`` holds ``new``; what shares its memory may not be read any more."""
        for key, value in values.items():
            values[key] = _replaced(value, old, new)
        base = old.node
        while base in self._base:
            base = self._base[base]
            self._stale.add(base)
        views = {old.node}
        for name, base in self._base.items():  # in graph order, so views of views are reached
            if base in views and name != new.node:
                views.add(name)
        self._stale |= views - {old.node}

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
        computed = {name: param.computed for name, param in owned.items() if param.computed}
        return Canonical(graph, tensors, origin, computed)

    def _unique(self, base: str) -> str:
        """``base``, changed as little as needed to be a new name that neither contains nor lies in another's path."""
        parts = [f"{part}_" if part in _NOT_A_CHILD else part for part in base.split(".")]
        for i in range(1, len(parts)):
            while ".".join(parts[:i]) in self._shapes:
                parts[i - 1] += "_"
        base = name = ".".join(parts)
        count = 0
        while name in self._shapes or name in self._folders:
            count += 1
            name = f"{base}_{count}"
        return name


def layer_class(name: str) -> str:
    """The bare class name of the full ``name`` if it is a layer of torch.nn or of the runtime; otherwise empty."""
    home, _, bare = name.rpartition(".")
    of_torch = home.startswith("torch.nn.modules.") and home != "torch.nn.modules.container"
    return bare if of_torch or home in (modules.__name__, batch_norm.__name__) else ""


def _replaced(value: Any, old: Map, new: Map) -> Any:
    if isinstance(value, tuple):
        return tuple(_replaced(item, old, new) for item in value)
    return new if value is old else value


def _gated_activations(nodes: Sequence[Node]) -> list[Node]:
    """``x * sigmoid(x)`` is SiLU and ``x * hard_sigmoid(x)`` is hard swish: activations, not gates."""
    by_name = {node.name: node for node in nodes}
    kinds = {"sigmoid": "silu", "hard_sigmoid": "hardswish"}

    def seen(node: Node) -> Node:
        if node.op == "mul" and len(node.inputs) == 2:
            for x, name in (node.inputs, node.inputs[::-1]):
                gate = by_name[name]
                if gate.op == "gate" and gate.inputs == (x,) and gate.attr("kind") in kinds:
                    return replace(node, op="activation", inputs=(x,), attrs={"kind": kinds[gate.attr("kind")]})
        return node

    return [seen(node) for node in nodes]


def _live(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes the last one needs, in order; the input always stays."""
    needed = {"input", nodes[-1].name}
    for node in reversed(nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return tuple(node for node in nodes if node.name in needed)
