"""A NIR graph as a canonical one, the way back from :mod:`idsnn_convert.runtime.export.nir.write`.

Other writers' graphs of the same kinds of nodes are read too.

A neuron is taken for ours where Euler's method with the graph's ``dt`` gives ours: no leak to another potential than 0,
a reset to 0, and one number for the whole layer. A potential whose currents NIR scales by ``dt r / tau`` other than 1 is ours
in other units: the threshold is divided by that. What has no canonical form is refused; nothing is approximated.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.about import KEY
from idsnn_convert.runtime.export.nir.tree import check_tree
from idsnn_convert.runtime.export.nir.write import DT, RESET
from idsnn_convert.runtime.graph import Attr, Graph, Node, Shape
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.ops import check, inferred

MAGIC = b"\x89HDF\r\n\x1a\n"
"""How an HDF5 file, which a NIR file is, begins."""
CLOSE = 1e-4
"""Relative; NIR files hold float32."""

Array = NDArray[Any]
Tensors = dict[str, Array]
Read = Callable[[Any, str, Shape], tuple[str, dict[str, Attr], Tensors]]
"""``(NIR's node, its name, shape of its input) -> (operation, attributes, slot -> array)``."""


def is_nir(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def from_nir(path: Path) -> tuple[Graph, dict[str, Tensor], Mapping[str, Any]]:
    """The network in a NIR file, and our own record of it, empty where another wrote it.

    Raises:
        UserError: if the file is damaged, or a node has no canonical form, naming it.
    """
    try:
        check_tree(path)
        found = nir.read(path)
    except UserError as error:
        raise UserError(f"{path}: {error.problem}", hint=error.hint) from error
    except Exception as error:  # damaged bytes can raise nearly anything
        raise UserError(f"{path} is no readable NIR file: {error}", hint="Is the file complete?") from error
    if not isinstance(found, nir.NIRGraph):
        raise UserError(f"{path} holds a single {type(found).__name__}, no graph")
    try:
        return _graph(found)
    except UserError as error:
        raise UserError(f"{path}: {error.problem}", hint=error.hint) from error
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:  # a value of another kind
        raise UserError(
            f"{path}: a value in it is not such as NIR has ({error!r:.200})", hint="Is the file complete?"
        ) from error


def _graph(found: nir.NIRGraph) -> tuple[Graph, dict[str, Tensor], Mapping[str, Any]]:
    own = _own(found)
    names = _names(found, own)
    into: dict[str, list[str]] = {name: [] for name in found.nodes}
    for source, sink in found.edges:
        into[sink].append(source)
    try:
        order = [name for name in TopologicalSorter(into).static_order() if name in found.nodes]
    except CycleError as error:
        raise UserError("it has a cycle; only networks that feed forward have a canonical form") from error
    dt = float(found.metadata.get("dt", DT))
    nodes: list[Node] = []
    shapes: dict[str, Shape] = {}
    tensors: dict[str, Tensor] = {}
    ends = [name for name in order if isinstance(found.nodes[name], nir.Output)]
    starts = [name for name in order if isinstance(found.nodes[name], nir.Input)]
    if len(ends) != 1 or len(starts) != 1:
        raise UserError(f"it has {len(starts)} inputs and {len(ends)} outputs; a network here has one of each")
    for name in [*starts, *(name for name in order if name not in starts + ends), *ends]:
        sources = tuple(names[source] for source in into[name])
        if len(sources) > 1:
            joined = Node(f"{names[name]}_sum", "add", sources)
            joined = replace(joined, shape=inferred(joined, tuple(shapes[source] for source in sources)))
            nodes.append(joined)
            shapes[joined.name] = joined.shape
            sources = (joined.name,)
        node, arrays = _node(found.nodes[name], names[name], sources, shapes, dt)
        nodes.append(node)
        shapes[node.name] = node.shape
        tensors |= {f"{node.name}.{slot}": torch.from_numpy(np.array(value, np.float32)) for slot, value in arrays.items()}
    graph = Graph(tuple(nodes))
    check(graph)
    return graph, tensors, own


def _names(found: nir.NIRGraph, own: Mapping[str, Any]) -> dict[str, str]:
    """NIR's name of each node -> ours: the one we gave it, or NIR's as far as a submodule can be called so."""
    given = own.get("names")
    kept = {name: given[name] for name in found.nodes if name in given} if isinstance(given, dict) else {}
    if kept.keys() == found.nodes.keys() and len(set(map(str, kept.values()))) == len(kept):
        return {name: str(kept[name]) for name in found.nodes}
    names: dict[str, str] = {}
    for name in found.nodes:
        wanted = "_".join(re.findall(r"[A-Za-z0-9_]+", name))
        wanted = f"{wanted}_" if not wanted or keyword.iskeyword(wanted) or hasattr(nn.Module, wanted) else wanted
        while wanted in names.values():
            wanted += "_"
        names[name] = wanted
    return names


def _own(found: nir.NIRGraph) -> Mapping[str, Any]:
    text = found.metadata.get(KEY)
    try:
        own = json.loads(text) if text is not None else {}
    except (ValueError, TypeError, RecursionError):
        own = {}
    return own if isinstance(own, dict) else {}


def _node(given: Any, name: str, sources: tuple[str, ...], shapes: Mapping[str, Shape], dt: float) -> tuple[Node, Tensors]:
    kind = type(given).__name__
    if kind == "Input":
        return Node(name, "input", shape=_ints(given.input_type["input"])), {}
    if kind not in READERS:
        raise UserError(f"its node {name!r} is a {kind}, which has no canonical form", hint=f"Known: {', '.join(READERS)}.")
    if not sources:
        raise UserError(f"its node {name!r} ({kind}) has no edge that leads to it")
    if kind == "Output":
        return Node(name, "output", sources, {}, shapes[sources[0]]), {}
    op, attrs, arrays = READERS[kind](given, name, shapes[sources[0]])
    if op == "neuron":
        attrs = _neuron(given, name, dt).attrs()
    node = Node(name, op, sources, attrs)
    return replace(node, shape=inferred(node, tuple(shapes[source] for source in sources))), arrays


def _neuron(given: Any, name: str, dt: float) -> Neuron:
    def one(field: str, wanted: float | None = None) -> float:
        values = np.unique(getattr(given, field))
        if len(values) != 1:
            raise UserError(f"its neuron {name!r} has {len(values)} values of {field}; a layer has one here")
        value = float(values[0])
        if wanted is not None and not np.isclose(value, wanted, rtol=CLOSE, atol=1e-9):
            raise UserError(f"its neuron {name!r} has {field} {value:g}; only {wanted:g} has a canonical form")
        return value

    one("v_reset", 0.0)
    reset = "soft" if _text(given.metadata.get(RESET)) == "soft" else "hard"
    threshold, r = one("v_threshold"), one("r")
    kind, decay, gain = "if", 1.0, dt * r
    if isinstance(given, nir.LIF):
        one("v_leak", 0.0)
        tau = one("tau")
        if not tau > dt:
            raise UserError(f"its neuron {name!r} has tau {tau:g}, not above a step of {dt:g} seconds: it would keep nothing")
        kind, decay, gain = "lif", round(1 - dt / tau, 6), gain / tau
    if not gain > 0:
        raise UserError(f"its neuron {name!r} has r {r:g}; a current must raise the potential")
    if not np.isclose(gain, 1, rtol=CLOSE):
        threshold = float(f"{threshold / gain:.7g}")
    return Neuron(kind, threshold, decay, reset)


def _conv(given: Any, name: str, shape: Shape) -> tuple[str, dict[str, Attr], Tensors]:
    weight = np.asarray(given.weight)
    if isinstance(given.padding, str | bytes):
        raise UserError(f"its node {name!r} has padding {_text(given.padding)!r}; only numbers have a canonical form")
    window = {key: _pair(getattr(given, key)) for key in ("stride", "padding", "dilation")}
    groups, bias = int(given.groups), np.asarray(given.bias)
    attrs: dict[str, Attr] = {
        "in_channels": weight.shape[1] * groups,
        "out_channels": weight.shape[0],
        "kernel": _ints(weight.shape[2:]),
        **window,
        "groups": groups,
        "bias": bool(bias.any()),
    }
    return "conv2d", attrs, {"weight": weight, **({"bias": bias} if bias.any() else {})}


def _linear(given: Any, name: str, shape: Shape) -> tuple[str, dict[str, Attr], Tensors]:
    weight, bias = np.asarray(given.weight), getattr(given, "bias", None)
    attrs: dict[str, Attr] = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": bias is not None}
    return "linear", attrs, {"weight": weight, **({} if bias is None else {"bias": np.asarray(bias)})}


def _avg_pool(given: Any, name: str, shape: Shape) -> tuple[str, dict[str, Attr], Tensors]:
    window = {"kernel": _pair(given.kernel_size), "stride": _pair(given.stride), "padding": _pair(given.padding)}
    if window["kernel"] == shape[1:] and window["padding"] == (0, 0):
        return "global_avg_pool", {}, {}
    return "avg_pool2d", {**window, "ceil_mode": False, "count_include_pad": True}, {}


def _flatten(given: Any, name: str, shape: Shape) -> tuple[str, dict[str, Attr], Tensors]:
    """All of a map; the batch is not among NIR's axes."""
    start, end = int(given.start_dim), int(given.end_dim)
    if start not in (0, -len(shape)) or end not in (-1, len(shape) - 1):
        raise UserError(f"its node {name!r} flattens axes {start} to {end} of {shape}; only all have a canonical form")
    return "flatten", {}, {}


READERS: dict[str, Read] = {
    "Conv2d": _conv,
    "Affine": _linear,
    "Linear": _linear,
    "AvgPool2d": _avg_pool,
    "Flatten": _flatten,
    "LIF": lambda given, name, shape: ("neuron", {}, {}),
    "IF": lambda given, name, shape: ("neuron", {}, {}),
    "Output": lambda given, name, shape: ("output", {}, {}),
}
"""NIR's node -> how it is read."""


def _ints(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _pair(value: Any) -> tuple[int, ...]:
    found = _ints(np.ravel(value))
    return found if len(found) == 2 else found * 2


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
