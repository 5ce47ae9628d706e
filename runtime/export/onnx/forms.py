"""The three ways time can be written in ONNX, which knows no neurons.

``unrolled``: T is fixed; time lies in the batch for all layers, and each neuron is written out step by step.
``scan``: one step is written once, as the body of a loop over T; T is an input.
``step``: one step alone; each neuron's potential goes in and comes out, and the caller loops: for streams and hardware.

Letters: T time steps, B batch, C channels, H height, W width, K classes. A potential goes from step to step after its
reset; ``U = decay V + X`` with X the current, a spike where ``U > v_threshold``; see
:func:`idsnn_convert.runtime.neurons.step`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, TensorProto, ValueInfoProto, helper
from torch import Tensor

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.onnx.emitter import Array, Emitter, typed
from idsnn_convert.runtime.export.onnx.operators import emit
from idsnn_convert.runtime.graph import Graph, Node, Shape
from idsnn_convert.runtime.network import time_free_nodes
from idsnn_convert.runtime.neurons import checked, learnt
from idsnn_convert.runtime.ops import inferred

IMAGES, LOGITS, PER_STEP, TIME_STEPS = "images", "logits", "logits_per_step", "time_steps"
NEXT = "_next"
"""Behind the name of a potential that comes out."""


@dataclass(frozen=True)
class Subject:
    """What is written: a network, its time, and which neurons' spikes are given out besides the logits (for checks).

    Attributes:
        decay: of the readout, 1 for the mean over time; see :class:`idsnn_convert.runtime.readout.Readout`.
    """

    graph: Graph
    tensors: Mapping[str, Tensor]
    time_steps: int
    encoder: str
    opset: int
    exposed: tuple[str, ...] = ()
    decay: float = 1.0


def without_time(subject: Subject) -> GraphProto:
    """A network without neurons: images (B, C, H, W) -> logits (B, K)."""
    writer = _Writer(subject, Emitter(subject.opset))
    for node in subject.graph:
        writer.write(node)
    logits = writer.emitter.call("Identity", [writer.result], LOGITS)
    return _graph(writer.emitter, [_images(subject.graph)], [typed(logits, ["batch", *subject.graph.output_shape])])


def unrolled(subject: Subject) -> GraphProto:
    """images (B, C, H, W) -> logits (B, K) and those of each step (T, B, K); exposed spikes are (T*B, C, H, W)."""
    steps, out = subject.time_steps, Emitter(subject.opset)
    writer = _Unrolled(subject, out)
    for node in subject.graph:
        writer.write(node)
    classes = subject.graph.output_shape[-1]
    per_step = out.call("Reshape", [writer.result, out.integers([steps, -1, classes])], PER_STEP)
    weights = "" if subject.decay == 1 else out.array("readout", _weights(subject.decay, steps))
    given = [typed(_answer(out, per_step, weights), ["batch", classes]), typed(per_step, [steps, "batch", classes])]
    shown = [typed(writer.values[name], None) for name in subject.exposed]
    return _graph(out, [_images(subject.graph)], given + shown)


def scan(subject: Subject) -> GraphProto:
    """images (B, C, H, W), T -> logits (B, K) and those of each step (T, B, K); exposed spikes are (T, B, C, H, W)."""
    graph, outer = subject.graph, Emitter(subject.opset)
    taken = [typed(outer.name(TIME_STEPS), [], TensorProto.INT64)]
    before = _Writer(subject, outer)
    free = time_free_nodes(graph, subject.encoder)
    for node in graph:
        if node.name in free:
            before.write(node)
    body = _Stepper(subject, Emitter(subject.opset, outer))
    body.values.update(before.values)
    for node in graph:
        if node.name not in free:
            body.write(node)
    turn, going = body.emitter.name("turn"), body.emitter.name("going")
    still = body.emitter.call("Identity", [going], "still")
    states = list(body.potentials.values())
    results = [still, *(left for _, left in states), body.result, *(body.values[name] for name in subject.exposed)]
    scalars = [typed(turn, [], TensorProto.INT64), typed(going, [], TensorProto.BOOL)]
    inner = helper.make_graph(
        body.emitter.nodes,
        "one_step",
        scalars + [typed(state, None) for state, _ in states],
        [typed(still, [], TensorProto.BOOL), *(typed(name, None) for name in results[1:])],
    )
    # A potential of one zero broadcasts to every shape, so no shape needs to be known before the loop.
    zero = {rank: outer.array(f"zeros_{rank}", np.zeros((1,) * rank, np.float32)) for rank in _ranks(graph)}
    starts = [zero[len(graph[name].shape) + 1] for name in body.potentials]
    wanted = [f"{state}_end" for state, _ in states] + [PER_STEP, *(f"{name}.spikes" for name in subject.exposed)]
    found = outer.calls("Loop", [TIME_STEPS, "", *starts], wanted, body=inner)[len(states) :]
    classes = graph.output_shape[-1]
    weights = "" if subject.decay == 1 else _weights_of_any(outer, subject.decay)
    given = [typed(_answer(outer, found[0], weights), ["batch", classes]), typed(found[0], [TIME_STEPS, "batch", classes])]
    return _graph(outer, [_images(graph), *taken], given + [typed(name, None) for name in found[1:]])


def step(subject: Subject) -> GraphProto:
    """images (B, C, H, W) and every neuron's potential -> this step's logits (B, K) and the potentials for the next."""
    writer = _Stepper(subject, Emitter(subject.opset))
    for node in subject.graph:
        writer.write(node)
    logits = writer.emitter.call("Identity", [writer.result], LOGITS)
    sizes = _sizes(subject.graph)
    taken, given = [_images(subject.graph)], [typed(logits, ["batch", *subject.graph.output_shape])]
    for name, (state, left) in writer.potentials.items():
        channels, *size = subject.graph[name].shape
        shape = ["batch", channels, *(size if sizes else [f"{name}.{side}" for side in ("height", "width")][: len(size)])]
        taken.append(typed(state, shape))
        given.append(typed(left, shape))
    return _graph(writer.emitter, taken, given + [typed(writer.values[name], None) for name in subject.exposed])


def alone(subject: Subject, node: Node) -> GraphProto:
    """One node as a model of its own: its inputs, as the runtime hands them to it, -> its result."""
    writer = _Alone(subject, Emitter(subject.opset))
    for name in node.inputs:
        writer.values[name] = writer.emitter.name(f"{name}.given")
    taken = [writer.values[name] for name in node.inputs]
    writer.write(node)
    return _graph(writer.emitter, [typed(name, None) for name in taken], [typed(writer.values[node.name], None)])


FORMS = {"ann": without_time, "unrolled": unrolled, "scan": scan, "step": step}
"""Name -> how it is written; ``ann`` is for networks without neurons, the others for those with."""
SPIKING_FORMS = tuple(FORMS)[1:]


class _Writer:
    """Writes nodes in order; knows the value of each by name."""

    def __init__(self, subject: Subject, emitter: Emitter) -> None:
        self.subject, self.emitter = subject, emitter
        self.values: dict[str, str] = {}
        self.result = ""

    def write(self, node: Node) -> None:
        if node.op == "input":
            self.values[node.name] = self.emitter.name(IMAGES)
        elif node.op == "output":
            self.result = self.read(node.inputs[0], node)
        elif node.op == "neuron":
            self.values[node.name] = self.neuron(node)
        else:
            inputs = [self.read(name, node) for name in node.inputs]
            self.values[node.name] = emit(self.emitter, node, inputs, self.subject.tensors)

    def read(self, name: str, reader: Node) -> str:
        return self.values[name]

    def neuron(self, node: Node) -> str:
        raise UserError(f"{node.name!r} is a neuron, and this form has no time")

    def fire(self, node: Node, current: str, potential: str | None) -> tuple[str, str]:
        """One step of a neuron: its spikes, and its potential after the reset."""
        out, neuron = self.emitter, learnt(checked(node.attrs), node.name, self.subject.tensors)
        u = current
        if potential is not None:
            kept = out.call("Mul", [potential, out.number(neuron.decay)], f"{node.name}.kept")
            u = out.call("Add", [kept, current], f"{node.name}.u")
        fired = out.call("Greater", [u, out.number(neuron.v_threshold)], f"{node.name}.fired")
        spikes = out.call("Cast", [fired], f"{node.name}.spikes", to=TensorProto.FLOAT)
        if neuron.reset == "hard":
            return spikes, out.call("Where", [fired, out.number(0), u], f"{node.name}.left")
        taken = out.call("Mul", [spikes, out.number(neuron.v_threshold)], f"{node.name}.taken")
        return spikes, out.call("Sub", [u, taken], f"{node.name}.left")


class _Unrolled(_Writer):
    """Time in the batch, as :class:`~idsnn_convert.runtime.network.SpikingNetwork` has it; what has no time is written once."""

    def __init__(self, subject: Subject, emitter: Emitter) -> None:
        super().__init__(subject, emitter)
        self.free = time_free_nodes(subject.graph, subject.encoder)
        self._repeated: dict[str, str] = {}
        self._parts = ""

    def read(self, name: str, reader: Node) -> str:
        """(T*B, ...) for what has time, although the value has none."""
        if name not in self.free or reader.name in self.free or reader.op == "neuron":
            return self.values[name]
        if name not in self._repeated:
            copies = [self.values[name]] * self.subject.time_steps
            self._repeated[name] = self.emitter.call("Concat", copies, f"{name}.repeated", axis=0)
        return self._repeated[name]

    def neuron(self, node: Node) -> str:
        source, steps = node.inputs[0], self.subject.time_steps
        value = self.read(source, node)
        currents = (value,) * steps if source in self.free or steps == 1 else self._split(node, value)
        potential, spikes = None, []
        for current in currents:
            fired, potential = self.fire(node, current, potential)
            spikes.append(fired)
        del self.emitter.nodes[-1 if checked(node.attrs).reset == "hard" else -2 :]  # nobody reads the last potential
        return spikes[0] if steps == 1 else self.emitter.call("Concat", spikes, node.name, axis=0)

    def _split(self, node: Node, value: str) -> tuple[str, ...]:
        steps, out = self.subject.time_steps, self.emitter
        wanted = [f"{node.name}.x"] * steps
        if out.opset >= 18:
            return out.calls("Split", [value], wanted, axis=0, num_outputs=steps)
        if not self._parts:
            rows = out.call("Shape", [value], "rows", start=0, end=1)
            part = out.call("Div", [rows, out.integers([steps])], "batch_size")
            self._parts = out.call("Expand", [part, out.integers([steps])], "batch_sizes")
        return out.calls("Split", [value, self._parts], wanted, axis=0)


class _Alone(_Unrolled):
    """Values are given as the node reads them."""

    def read(self, name: str, reader: Node) -> str:
        return self.values[name]


class _Stepper(_Writer):
    """One step; each neuron's potential is a value from outside.

    Attributes:
        potentials: neuron -> names of its potential before and after the step.
    """

    def __init__(self, subject: Subject, emitter: Emitter) -> None:
        super().__init__(subject, emitter)
        self.potentials: dict[str, tuple[str, str]] = {}

    def neuron(self, node: Node) -> str:
        before = self.emitter.name(f"{node.name}.v")
        spikes, left = self.fire(node, self.read(node.inputs[0], node), before)
        after = self.emitter.call("Identity", [left], f"{before}{NEXT}")
        self.potentials[node.name] = (before, after)
        return spikes


def _answer(emitter: Emitter, per_step: str, weights: str) -> str:
    """The mean over time of (T, B, K), or the sum with ``weights`` (T, 1, 1)."""
    if weights:
        weighted = emitter.call("Mul", [per_step, weights], "weighted")
        return emitter.call("ReduceSum", [weighted, emitter.integers([0])], LOGITS, keepdims=0)
    if emitter.opset >= 18:
        return emitter.call("ReduceMean", [per_step, emitter.integers([0])], LOGITS, keepdims=0)
    return emitter.call("ReduceMean", [per_step], LOGITS, axes=[0], keepdims=0)


def _weights(decay: float, steps: int) -> Array:
    """What each step counts for: decay^(T - t) for t from 1 to T, their sum 1; (T, 1, 1)."""
    powers = decay ** np.arange(steps - 1, -1, -1, dtype=np.float64)
    shares: Array = (powers / powers.sum()).astype(np.float32)
    return shares.reshape(-1, 1, 1)


def _weights_of_any(out: Emitter, decay: float) -> str:
    """The same where T is an input."""
    zero, one = (out.array(name, np.asarray(value, np.int64)) for name, value in (("zero", 0), ("one", 1)))
    last = out.call("Sub", [TIME_STEPS, one], "last_step")
    ages = out.call("Sub", [last, out.call("Range", [zero, TIME_STEPS, one], "steps")], "ages")
    powers = out.call("Pow", [out.number(decay), out.call("Cast", [ages], "ages_float", to=TensorProto.FLOAT)], "powers")
    total = out.call("ReduceSum", [powers], "powers_sum", keepdims=0)
    shares = out.call("Div", [powers, total], "shares")
    return out.call("Reshape", [shares, out.integers([-1, 1, 1])], "readout")


def _images(graph: Graph) -> ValueInfoProto:
    """Batch, and where the network takes any, height and width are open."""
    channels = graph.input_shape[0]
    sizes: Sequence[int | str] = _sizes(graph) or ("height", "width")
    return typed(IMAGES, ["batch", channels, *sizes])


def _sizes(graph: Graph) -> list[int]:
    """Height and width, if the network takes no others; empty if it takes any that its windows fit into."""
    channels, height, width = graph.input_shape
    shapes: dict[str, Shape] = {graph.nodes[0].name: (channels, 2 * height, 2 * width)}
    try:
        for node in graph.nodes[1:]:
            shapes[node.name] = inferred(node, tuple(shapes[name] for name in node.inputs))
    except UserError:
        return [height, width]
    return []


def _ranks(graph: Graph) -> set[int]:
    return {len(node.shape) + 1 for node in graph.of("neuron")}


def _graph(emitter: Emitter, taken: Sequence[ValueInfoProto], given: Sequence[ValueInfoProto]) -> GraphProto:
    return helper.make_graph(emitter.nodes, "network", list(taken), list(given), initializer=list(emitter.constants.values()))
