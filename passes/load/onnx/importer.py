"""From an ONNX graph to the canonical one: a walk over its nodes, each by its row of the table of operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from idsnn_convert.passes.builder import Builder, Refusal
from idsnn_convert.passes.load.onnx.file import OnnxFile, array
from idsnn_convert.passes.load.onnx.images import Images, images
from idsnn_convert.passes.load.onnx.names import Namer
from idsnn_convert.passes.load.onnx.operators import OPERATORS, ROWS, Row
from idsnn_convert.passes.load.onnx.values import Call, Known, Unbiased
from idsnn_convert.passes.trace import told
from idsnn_convert.passes.types import Canonical
from idsnn_convert.passes.values import Map, UnsupportedError
from idsnn_convert.runtime.errors import UserError

MOST_NODES = 100_000
"""Nodes that a graph may have."""

_ONE_RUNTIME = "Give the model as it was exported, before it was optimised or quantised for one runtime."
_UNKNOWN = object()


@dataclass(frozen=True)
class Imported:
    """A network as imported.

    Attributes:
        stored: names of the constants in the file; those that are only settings of a node are left out.
        notes: what was assumed, one sentence each.
    """

    canonical: Canonical
    stored: tuple[str, ...]
    notes: tuple[str, ...]


def imported(file: OnnxFile, input_size: int | None = None) -> Imported:
    """The canonical graph of the one network in ``file``.

    Args:
        input_size: height and width of its images, where the file leaves them open or another is wanted.

    Raises:
        UserError: if it does not take one batch of images and give one result, or with every node that has no canonical
            form: its name, its operator, why, and what to do.
    """
    reading = _Reading(file, images(file, input_size))
    if reading.refusals:
        problem, hint = told("it", reading.refusals)
        raise UserError(problem, hint=hint)
    result = reading.values.get(reading.result)
    if not isinstance(result, Map):
        raise UserError(f"its result {reading.result!r} does not depend on the images")
    canonical = reading.builder.canonical(result)
    weights = {*canonical.origin.values()}
    stored = tuple(key for key in file.constants if key in weights or key not in reading.read)
    return Imported(canonical, stored, tuple(reading.notes))


class _Reading:
    """One walk over the nodes that the result needs: the values made, and what was refused."""

    def __init__(self, file: OnnxFile, taken: Images) -> None:
        self.opset, self.taken, self.notes = file.opset, taken, list(taken.notes)
        self.builder = Builder(taken.shape)
        self.values: dict[str, Any] = {"": None, **file.constants, taken.name: self.builder.input}
        self.values |= dict.fromkeys(taken.turned, self.builder.input)
        self.refusals: list[Refusal] = []
        self.turned: dict[str, tuple[Map, list[int]]] = {}
        self.result, nodes = self._needed(file.graph)
        self.read = {key for node in nodes for key in node.input}
        self._readers = Counter(key for node in nodes for key in node.input)
        self._adds = {key: node for node in nodes if node.op_type == "Add" for key in node.input}
        self._static = set(file.constants)
        for node in nodes:
            if node.op_type == "Constant" or (node.input and self._static.issuperset(node.input)):
                self._static.update(node.output)
        self.namer = Namer((node.name, node.op_type) for node in nodes)
        self.constants = file.constants
        for node in nodes:
            self._node(node)

    def _needed(self, graph: onnx.GraphProto) -> tuple[str, list[onnx.NodeProto]]:
        """The result, and the nodes it needs, in order. A softmax at the end is left out: its input is the logits."""
        if len(graph.output) != 1:
            names = ", ".join(value.name for value in graph.output) or "none"
            raise UserError(f"it gives {len(graph.output)} results ({names})", hint="Export the logits alone.")
        if len(graph.node) > MOST_NODES:
            raise UserError(f"it has {len(graph.node):,} nodes; {MOST_NODES:,} are the most that are read")
        maker = {key: node for node in graph.node for key in node.output}
        result = graph.output[0].name
        last = maker.get(result)
        if last is not None and last.op_type in ("Softmax", "LogSoftmax") and not last.domain:
            self.notes.append(f"It ends in a {last.op_type}; what that reads is taken as the logits.")
            result = last.input[0]
        needed: set[str] = set()
        pending = [result]
        while pending:
            key = pending.pop()
            if key not in needed:
                needed.add(key)
                pending += maker[key].input if key in maker and key not in self.values else ()
        made = set(self.taken.turned)
        return result, [node for node in graph.node if not needed.isdisjoint(node.output) and made.isdisjoint(node.output)]

    def _node(self, node: onnx.NodeProto) -> None:
        if missing := [key for key in node.input if key not in self.values]:
            raise UserError(f"node {node.name!r} reads {missing[0]!r}, which nothing before it gives")
        if twice := [key for key in node.output if key and key in self.values]:
            raise UserError(f"{twice[0]!r} is given twice, the second time by node {node.name!r}")
        try:
            found = self._value(node)
        except UnsupportedError as error:
            self.refusals.append(Refusal(node.name or node.output[0], node.op_type, error.reason, error.advice))
            found = _UNKNOWN
        results = found if isinstance(found, tuple) else (found,) * len(node.output)
        self.values.update((key, value) for key, value in zip(node.output, results, strict=False) if key)

    def _value(self, node: onnx.NodeProto) -> Any:
        if node.op_type == "Constant" and not node.domain:
            return Known(node.output[0], _constant(node))
        row, since = _row(node, self.opset)
        args = tuple(self.values[key] for key in node.input)
        if any(value is _UNKNOWN for value in args):
            return _UNKNOWN
        call = self._call(node, since, args)
        constant = all(isinstance(value, Known) for value in args if value is not None)
        make = row.fold if constant else row.make
        if make is None:
            what = "on constants alone" if constant else "on maps"
            raise UnsupportedError(f"{node.op_type} is not covered {what}", "Export with constant folding.")
        try:
            found = make(call)
        except (TypeError, AttributeError, ValueError, IndexError, KeyError, ArithmeticError) as error:
            raise UnsupportedError(
                f"{node.op_type} is not covered with these arguments: {error}", "Is the file damaged?"
            ) from error
        if isinstance(found, Map | Unbiased | tuple) or not hasattr(found, "dtype"):
            return found
        first = next((value.origin for value in args if isinstance(value, Known)), node.output[0])
        return Known(first, found)

    def _call(self, node: onnx.NodeProto, since: int, args: Sequence[Any]) -> Call:
        weights = [key for key in node.input if key in self.constants]
        notes = {entry.key: entry.value for entry in node.metadata_props}
        read = [key for key in node.output if (key and self._readers[key]) or key == self.result]
        return Call(
            self.builder,
            self.namer.site(node.name, node.op_type, weights, notes),
            node.op_type,
            since,
            tuple(args),
            _attributes(node),
            outputs=len(node.output) if node.op_type == "Split" else len(read),
            batch=self.taken.batch,
            biased=self._biased(node.output[0]),
            turned=self.turned,
        )

    def _biased(self, key: str) -> bool:
        """Whether only the addition of a constant reads that value."""
        if self._readers[key] != 1 or key == self.result or key not in self._adds:
            return False
        return any(other in self._static for other in self._adds[key].input)


def _row(node: onnx.NodeProto, opset: int) -> tuple[Row, int]:
    """The operator's row and version.

    Raises:
        UnsupportedError: if it has none.
    """
    if node.domain not in ("", "ai.onnx"):
        raise UnsupportedError(f"{node.domain}.{node.op_type} is no operator of ONNX's own", _ONE_RUNTIME)
    if node.op_type not in ROWS:
        quantised = any(word in node.op_type for word in ("Quantize", "QLinear", "Integer"))
        advice = _ONE_RUNTIME if quantised else "Write it with the layers of a ResNet, or leave it out."
        raise UnsupportedError(f"{node.op_type} has no canonical form", advice)
    if not onnx.defs.has(node.op_type, opset, ""):
        raise UnsupportedError(f"opset {opset} has no {node.op_type}", "Export with opset 13 to 20.")
    since = onnx.defs.get_schema(node.op_type, opset, "").since_version
    if ("", node.op_type, since) not in OPERATORS:
        versions = ", ".join(map(str, ROWS[node.op_type].versions))
        raise UnsupportedError(
            f"version {since} of {node.op_type} is not covered, only {versions}", "Export with opset 13 to 20."
        )
    return OPERATORS["", node.op_type, since], since


def _attributes(node: onnx.NodeProto) -> Mapping[str, Any]:
    """By name, as Python values; tensors as arrays.

    Raises:
        UnsupportedError: on one that holds a graph.
    """
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) or attribute.ref_attr_name:
            raise UnsupportedError("it has a graph of its own", "Export without control flow.")
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        found[attribute.name] = array(value, attribute.name) if isinstance(value, onnx.TensorProto) else value
    return found


def _constant(node: onnx.NodeProto) -> Any:
    attributes = _attributes(node)
    for key in ("value", "value_ints", "value_floats", "value_int", "value_float"):
        if key in attributes:
            return np.asarray(attributes[key])
    raise UnsupportedError("its constant is neither numbers nor a tensor", "Export the network anew.")
