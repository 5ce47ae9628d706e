"""A network without time in 8 bits: a teacher of whom nothing but answers is asked.

Behind a ReLU a map is bytes, ``x = s q`` with whole numbers q from 0 to 255; ``s`` is the map's own, fixed by images that are
shown before. A convolution's weights are bytes too, one scale an output channel; of both the products are summed as whole
numbers, which processors do four times as fast as float32. Where bias, a residual and a ReLU follow, they are done before the
sums are written. All else is float32: the stem, whose images are not bytes behind a ReLU, shortcuts with weights, the head.

Contract: close to the network in float32, not equal: a value moves by up to s / 2 at each map it passes, larger ones than the
scale reaches (:func:`_scale`) are cut, weights move by up to half their unit. How often the answer stays the same is measured
on the images shown.

Source: scales chosen for the least squared error, weights by output channel: Nagel et al. 2021, A White Paper on Neural Network
Quantization (arXiv:2106.08295), sections 2.3 and 3.1.

Letters: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fixed_point import DIGIT, LARGEST_SUM, check_available, digits, sees_its_input
from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.network import build, place
from idsnn_convert.runtime.ops import OPS

BITS = 8
LARGEST = 255

HALF = torch.tensor(0.5)

AT_ONCE = 8
"""Images whose maps are looked at together."""

LOOKED_AT = 1 << 14
"""Values of a map that so many images are judged by, drawn from all of them: every so-manieth may be those of one column."""

SMALLEST = 1e-30
"""A map that does not reach it is nothing."""

CUTS = tuple(step / 20 for step in range(8, 21))
"""Shares of a map's largest value that its scale may reach to."""


@dataclass(frozen=True)
class Plan:
    """How a graph is computed; names of nodes.

    Attributes:
        coded: those whose values are bytes: activations, and pools of them.
        ends: a convolution -> the activation that it computes too.
        adds: such a convolution -> the bytes that it adds before.
    """

    coded: frozenset[str]
    ends: Mapping[str, str]
    adds: Mapping[str, str]


def plan(graph: Graph, taps: Collection[str] = ()) -> Plan:
    """What of ``graph``, its batch norms folded, runs in bytes; the nodes in ``taps`` keep values of their own."""
    coded = _coded(graph)
    ends: dict[str, str] = {}
    adds: dict[str, str] = {}

    def whole(name: str, reader: str) -> bool:
        """Whether ``name`` is a convolution of bytes for ``reader`` alone."""
        takes = _multiplies(graph, graph[name]) and graph[name].inputs[0] in coded
        return takes and graph.users[name] == (reader,) and name not in taps

    for name in coded:
        fed = graph[graph[name].inputs[0]]
        if whole(fed.name, name):
            ends[fed.name] = name
        elif _adds_two(graph, fed) and graph.users[fed.name] == (name,) and fed.name not in taps:
            for conv, other in (fed.inputs, fed.inputs[::-1]):
                if conv != other and other in coded and whole(conv, fed.name):
                    ends[conv], adds[conv] = name, other
                    break
    return Plan(coded, ends, adds)


def _coded(graph: Graph) -> frozenset[str]:
    """Activations of at least 0 that a convolution reads, itself or through pools, and those pools."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        readers = [graph[name] for name in graph.users[node.name]]
        read = any(_multiplies(graph, reader) or (reader.op == "max_pool2d" and reader.name in found) for reader in readers)
        if read and _positive(graph, node):
            found.add(node.name)
    return frozenset(found)


def _positive(graph: Graph, node: Node) -> bool:
    if node.op == "max_pool2d":
        return _positive(graph, graph[node.inputs[0]])
    return node.op == "activation" and str(node.attr("kind")) in ("relu", "relu6") and len(node.shape) == 3


def _multiplies(graph: Graph, node: Node) -> bool:
    """Whether it is a convolution of bytes that can be computed as such; their sums fit into 32 bits."""
    if node.op != "conv2d" or not sees_its_input(graph, node):
        return False
    height, width = node.attr("kernel")
    weights: int = node.attr("in_channels") // node.attr("groups") * height * width
    return weights * DIGIT * LARGEST <= LARGEST_SUM


def _adds_two(graph: Graph, node: Node) -> bool:
    return node.op == "add" and len(node.inputs) == 2 and len({graph[name].shape for name in node.inputs}) == 1


class Encode(nn.Module):
    """Real values -> bytes: ``q = round(x / scale)``, cut to 0 and 255; so it is a ReLU too."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(HALF, x.float(), alpha=1 / self.scale).clamp_(0, LARGEST).to(torch.uint8)


class Decode(nn.Module):
    """Bytes -> the values that they stand for, float32."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, q: Tensor) -> Tensor:
        return q.float().mul_(self.scale)


class Copy(nn.Module):
    """Bytes that will be written over, where others still read them."""

    def forward(self, q: Tensor) -> Tensor:
        return q.clone(memory_format=torch.preserve_format)


class ByteConv2d(nn.Module):
    """A convolution of bytes (B, C, H, W) -> float32, or with ``writes`` the bytes of a ReLU behind it.

    Args:
        node: its sizes.
        weight, bias: in any float type; the weight is kept as bytes.
        reads, writes, adds: scales of its input, of its output, and of the bytes added before the ReLU, which are written over.
    """

    weight: Tensor
    worth: Tensor
    bias: Tensor | None

    def __init__(
        self,
        node: Node,
        weight: Tensor,
        bias: Tensor | None,
        reads: float,
        writes: float | None = None,
        adds: float | None = None,
    ) -> None:
        super().__init__()
        (digit,), worth = digits(weight, BITS)
        self.register_buffer("weight", digit)
        self.register_buffer("worth", worth)
        self.register_buffer("bias", None if bias is None else bias.float())
        self.reads, self.writes, self.adds = reads, writes, adds
        self._places: tuple[Any, ...] = (
            *(list(node.attr(key)) for key in ("stride", "padding", "dilation")),
            node.attr("groups"),
        )
        self._packed: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        if self._packed is None:
            zeros = torch.zeros(len(self.worth), dtype=torch.int32)
            weight = self.weight.contiguous()
            self._packed = torch.ops.onednn.qconv_prepack(weight, self.worth, 1.0, 0, *self._places, list(x.shape)), zeros
        weight, zeros = self._packed
        given = (x, self.reads, 0, weight, self.worth, zeros)
        output: tuple[Any, ...] = (1.0, 0, torch.float32) if self.writes is None else (self.writes, 0, torch.uint8)
        end: tuple[Any, ...] = ("none" if self.writes is None else "relu", [], "")
        found: Tensor
        if added is None:
            found = torch.ops.onednn.qconv2d_pointwise(*given, self.bias, *self._places, *output, *end)
        else:
            added = added.contiguous(memory_format=torch.channels_last)
            total = (self.adds, 0, "sum", 1.0)
            found = torch.ops.onednn.qconv2d_pointwise.binary(*given, added, self.bias, *self._places, *output, *total, *end)
        return found


class EightBit(nn.Module):
    """Made by :func:`in_eight_bits`: images (B, C, H, W) -> logits (B, K), and the values of its taps after them.

    Attributes:
        scales: a map in bytes -> what one unit of it is worth.
        shown, same: how many images it was shown, and how many of them get the class that they get in float32.
    """

    def __init__(self, body: fx.GraphModule, scales: Mapping[str, float]) -> None:
        super().__init__()
        self.body, self.scales = body, dict(scales)
        self.same = self.shown = 0

    def brief(self) -> str:
        """How much of it is in 8 bits, and what that changed."""
        kinds = [isinstance(module, ByteConv2d) for module in self.modules() if isinstance(module, ByteConv2d | nn.Conv2d)]
        return f"{sum(kinds)} of {len(kinds)} convolutions in 8 bits; the same answer for {self.same} of {self.shown} images"

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        if torch.is_grad_enabled():
            raise ValueError("a network in 8 bits has no gradients: call it under torch.no_grad()")
        found: Tensor | tuple[Tensor, ...] = self.body(images)
        return found


@torch.no_grad()
def in_eight_bits(graph: Graph, tensors: Mapping[str, Tensor], images: Tensor, taps: Sequence[str] = ()) -> EightBit:
    """The network in 8 bits, in evaluation mode, on the CPU.

    Args:
        graph: with its batch norms folded (:func:`idsnn_convert.runtime.fold.fold`); others stay in float32.
        images: float (B, C, H, W), normalised, such as it will be given: some hundred.
        taps: names of nodes whose values it gives too.

    Raises:
        UserError: if this processor does not multiply bytes, or the network computes NaN or infinite values.
    """
    check_available("cpu", BITS)
    graph = _without_dropout(graph, taps)
    how = plan(graph, taps)
    scales, answers = _measured(graph, tensors, how, images)
    body = _assembled(graph, tensors, how, scales, taps).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    made = EightBit(body, scales).eval()
    found = [made(part) for part in images.split(AT_ONCE)]
    logits = torch.cat([given[0] if isinstance(given, tuple) else given for given in found])
    if not logits.isfinite().all():
        raise UserError("the teacher gives NaN or infinite answers in 8 bits", hint="Ask it in float32.")
    made.shown, made.same = len(images), int((logits.argmax(1) == answers).sum())
    return made


def _without_dropout(graph: Graph, kept: Collection[str]) -> Graph:
    """The graph whose dropouts, which do nothing in evaluation, do not stand between bytes and a convolution."""
    before: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph:
        inputs = tuple(before.get(name, name) for name in node.inputs)
        if node.op == "dropout" and node.name not in kept:
            before[node.name] = inputs[0]
        else:
            nodes.append(replace(node, inputs=inputs))
    return Graph(tuple(nodes))


def _measured(graph: Graph, tensors: Mapping[str, Tensor], how: Plan, images: Tensor) -> tuple[dict[str, float], Tensor]:
    """The scale of every map in bytes, and the class of each image."""
    names = [node.name for node in graph if node.name in how.coded and node.op == "activation"]
    network = build(graph, tensors, taps=names).eval()
    seen: dict[str, list[Tensor]] = {name: [] for name in names}
    most = dict.fromkeys(names, 0.0)
    answers = []
    for part in images.split(AT_ONCE):
        given = network(part)
        logits, *maps = given if names else (given,)
        answers.append(logits.argmax(1))
        for name, values in zip(names, maps, strict=True):
            most[name] = max(most[name], float(values.max()))
            if not values.isfinite().all():
                raise UserError(f"the teacher's map {name!r} has NaN or infinite values, which no byte stands for")
            drawn = torch.randint(values.numel(), (LOOKED_AT,), generator=torch.Generator().manual_seed(0))
            seen[name].append(values.flatten()[drawn])
    scales = {name: _scale(torch.cat(values), most[name]) for name, values in seen.items()}
    for node in graph.of("max_pool2d"):
        if node.name in how.coded:
            scales[node.name] = scales[node.inputs[0]]
    return scales, torch.cat(answers)


def _scale(values: Tensor, most: float) -> float:
    """The scale for which bytes are nearest to ``values``, of which ``most`` is the largest."""
    if most < SMALLEST:
        return 1.0
    shares, errors = values / most, {}
    for cut in CUTS:
        scale = cut / LARGEST
        errors[cut] = float((shares.div(scale).round_().clamp_(0, LARGEST).mul_(scale) - shares).square().mean())
    return most * min(errors, key=errors.__getitem__) / LARGEST


def _assembled(
    graph: Graph, tensors: Mapping[str, Tensor], how: Plan, scales: Mapping[str, float], taps: Sequence[str]
) -> fx.GraphModule:
    """Places the modules and writes the calls; bytes are decoded once where real values are asked for."""
    root, calls = nn.Module(), fx.Graph()
    values: dict[str, fx.Node] = {}  # bytes of the nodes that are coded, real ones of the others
    decoded: dict[str, fx.Node] = {}
    ending = {end: conv for conv, end in how.ends.items()}
    absorbed = how.ends.keys() | {graph[how.ends[conv]].inputs[0] for conv in how.adds}

    def call(name: str, module: nn.Module, *args: fx.Node) -> fx.Node:
        place(root, name, module)
        return calls.call_module(name, args)

    def real(name: str) -> fx.Node:
        if name not in how.coded:
            return values[name]
        if name not in decoded:
            decoded[name] = call(f"{name}__decoded", Decode(scales[name]), values[name])
        return decoded[name]

    def convolved(name: str) -> fx.Node:
        source, end, added = graph[name].inputs[0], how.ends.get(name), how.adds.get(name)
        args = [values[source]]
        if added is not None:
            over = _last(graph, how, added, name) and added not in taps
            args.append(values[added] if over else call(f"{name}__copy", Copy(), values[added]))
        own = (tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))
        writes, adds = (None if each is None else scales[each] for each in (end, added))
        module = ByteConv2d(graph[name], *own, scales[source], writes, adds)
        return call(name, module, *args)

    for node in graph:
        if node.op == "input":
            values[node.name] = calls.placeholder("x")
        elif node.op == "output":
            logits = real(node.inputs[0])
            calls.output((logits, *map(real, taps)) if taps else logits)
        elif node.name in ending:
            values[node.name] = convolved(ending[node.name])
        elif node.name in how.coded and node.op == "activation":
            values[node.name] = call(node.name, Encode(scales[node.name]), real(node.inputs[0]))
        elif _multiplies(graph, node) and node.inputs[0] in how.coded and node.name not in absorbed:
            values[node.name] = convolved(node.name)
        elif node.name not in absorbed:
            read = values.__getitem__ if node.name in how.coded else real
            values[node.name] = call(node.name, _layer(node, tensors), *map(read, node.inputs))
    calls.lint()
    return fx.GraphModule(root, calls)


def _last(graph: Graph, how: Plan, name: str, conv: str) -> bool:
    """Whether nobody reads the bytes of ``name`` when ``conv`` has begun, nor itself more than once."""
    place_of = {node.name: at for at, node in enumerate(graph)}
    sums = {graph[end].inputs[0]: end for end in how.ends.values()}

    def when(reader: str) -> int:
        return place_of[how.ends.get(reader) or sums.get(reader, reader)]

    own = graph[how.ends[conv]].inputs[0]
    return all(when(reader) < when(conv) for reader in graph.users[name] if reader != own)


def _layer(node: Node, tensors: Mapping[str, Tensor]) -> nn.Module:
    make = OPS[node.op].module
    assert make is not None, "input and output compute nothing"
    layer = make(node)
    for slot, tensor in layer.state_dict().items():
        tensor.copy_(tensors[f"{node.name}.{slot}"])
    return layer
