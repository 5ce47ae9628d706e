"""What the nodes of an ONNX graph are called: after the layer that owns their weights, or after their own name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from idsnn_convert.passes.builder import Site, layer_class

_WEIGHT = re.compile(r"(\w+(?:\.\w+)*)\.(?:weight|bias|running_mean|running_var)", re.ASCII)
_QUOTED = re.compile(r"'([^']*)'")
_SCOPES, _CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"
_LONGEST = 120


def path_of(name: str) -> str:
    """A dotted path of plain words out of any ``name``; empty if nothing is left or it is absurdly long."""
    parts = [re.sub(r"\W", "_", part, flags=re.ASCII) for part in re.split(r"[./]", name) if part]
    path = ".".join(parts)
    return path if len(path) <= _LONGEST else ""


def scope_of(name: str, op: str) -> tuple[str, ...]:
    """The modules a node stands in, by its name.

    ``/layer1/layer1.0/conv1/Conv``, as PyTorch's TorchScript exporter writes it, is ``("layer1.0", "conv1")``.
    """
    scope: list[str] = []
    for part in name.split("/"):
        if scope and part.startswith(f"{scope[-1]}."):
            scope.pop()
        if part:
            scope.append(part)
    if scope and re.fullmatch(rf"{re.escape(op)}(_\d+)?", scope[-1]):
        scope.pop()
    return tuple(scope)


class Namer:
    """Names the nodes of one graph. A scope with no scope within is a layer: its nodes bear its name."""

    def __init__(self, nodes: Iterable[tuple[str, str]]) -> None:
        """``nodes``: name and operator of each."""
        scopes = {scope_of(name, op) for name, op in nodes}
        self._containers = {scope[:end] for scope in scopes for end in range(len(scope))}

    def site(self, name: str, op: str, weights: Sequence[str], notes: Mapping[str, str]) -> Site:
        """Where a node stands.

        Args:
            weights: names of its inputs that the file stores; ``layer1.0.conv1.weight`` names its layer.
            notes: what its exporter noted; PyTorch notes the modules and their classes.
        """
        for weight in weights:
            if found := _WEIGHT.fullmatch(weight):
                return Site(path_of(found[1]), op)
        modules, classes = (_QUOTED.findall(notes.get(key, "")) for key in (_SCOPES, _CLASSES))
        if len(modules) > 1 and len(modules) == len(classes):  # the last is the call itself
            return Site(path_of(modules[-2]), layer_class(classes[-2]))
        scope = scope_of(name, op)
        return Site(path_of(".".join(scope)), op if scope and scope not in self._containers else "")
