"""Threshold balancing: from a trained network of ReLUs to one of integrate-and-fire neurons with the same weights.

Front to back, each layer's threshold becomes the largest current (or a percentile of the currents) that calibration images
give it, presented as they will be: encoded, over time, through the layers already balanced (Diehl et al. 2015; Sengupta
et al. 2019; LaSNN section III-D). A neuron then fires at a rate proportional to its ReLU's activation.

Units. A layer's spikes stand for activations divided by the thresholds so far: ``activation = unit * rate``, where ``unit``
is 1 for the image and each neuron multiplies it by its threshold. So that all of a current is of one unit

- a bias becomes the constant current ``bias / unit`` (of a network without biases no tensor changes);
- where paths of different units meet, those of the smaller ones pass a constant factor, ``unit / largest unit``;
- batch norms are folded into convolutions.

What is no sum of spikes times weights is refused: max pools, norms that do not fold, gates, products.

Letters: T time steps, B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from idsnn_convert.runtime.chunks import steps_at_once
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.graph import Attr, Graph, Node
from idsnn_convert.runtime.network import SpikingNetwork, time_free_nodes
from idsnn_convert.runtime.neurons import checked
from idsnn_convert.runtime.ops import tensor_shapes
from idsnn_convert.runtime.quantile import Quantile
from idsnn_convert.runtime.randomness import own_randomness

Progress = Callable[[int, int], None]
"""Called with the images done and the images in all, of all layers."""

JOINS = ("add", "concat")

LINEAR = frozenset(
    ("input", "output", "conv2d", "linear", "neuron", "avg_pool2d", "global_avg_pool", "flatten", "scale", "pad", "slice",
     "reshape", "permute", "sum", "dropout", *JOINS)
)  # fmt: skip
"""Operations that a constant factor passes."""

ADVICE: dict[str, str] = {
    "max_pool2d": "The largest of spikes is not the spike of the largest; train the network with mean pools (vgg5, resnet12).",
    "batch_norm": "A norm folds if it directly follows a convolution that nothing else reads.",
}


@dataclass(frozen=True)
class Balanced:
    """A network whose thresholds are set.

    Attributes:
        thresholds: name of each neuron -> its threshold, in graph order.
        units: name of each neuron -> what a spike of it stands for: activation = unit * rate.
        scaled: names of the biases that were divided by a unit.
    """

    graph: Graph
    tensors: Mapping[str, Tensor]
    thresholds: Mapping[str, float]
    units: Mapping[str, float]
    scaled: tuple[str, ...]


@dataclass(frozen=True)
class Calibration:
    """What thresholds are measured by.

    Attributes:
        batches: gives the images anew, normalised (B, C, H, W); each layer sees the same images and spikes.
        images: how many they are.
        time_steps: T, for which each image is presented.
        percentile: of all currents of a layer (each neuron, image and step, negative ones too): 100 for the largest, or the
            smallest current that so many percent do not exceed, to within 1/32768 of the largest.
        seed: of a Poisson encoder's spikes.
    """

    batches: Callable[[], Iterable[Tensor]]
    images: int
    time_steps: int
    encoder: str = "poisson"
    percentile: float = 100.0
    seed: int = 0
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise UserError(f"a percentile is above 0 and at most 100, not {self.percentile:g}")


def balance(
    graph: Graph, tensors: Mapping[str, Tensor], calibration: Calibration, progress: Progress | None = None
) -> Balanced:
    """Sets the thresholds of ``graph``, whose neurons are ``if`` neurons; weights stay as they are.

    Each layer takes a pass over all images and T steps up to that layer. Memory does not grow with T or the images; torch's
    generators are as before afterwards. A neuron's surrogate keeps its width relative to the threshold.

    Raises:
        UserError: on a network that has what cannot be balanced, and on a layer that no image drives.
    """
    graph, found = fold(graph, tensors)
    _refuse(graph)
    output, total = graph.nodes[-1].name, calibration.images * len(graph.of("neuron"))
    nodes: list[Node] = []
    units: dict[str, float] = {}
    thresholds: dict[str, float] = {}
    scaled: list[str] = []
    for node in graph:
        unit = max((units[name] for name in node.inputs), default=1.0)
        if node.op in JOINS:
            node, *factors = _aligned(node, graph, units, unit)
            nodes += factors
        if unit != 1 and (bias := f"{node.name}.bias") in found:
            found[bias] = found[bias] / unit
            scaled.append(bias)
        if node.op == "neuron":
            done = calibration.images * len(thresholds)
            ahead = _up_to(nodes, node.inputs[0], output)
            currents = _currents(ahead, found, calibration, _behind(progress, done, total))
            thresholds[node.name] = _threshold(node, currents, calibration.percentile)
            node = _with_threshold(node, thresholds[node.name])
            unit *= thresholds[node.name]
        nodes.append(node)
        units[node.name] = unit
    return Balanced(Graph(tuple(nodes)), found, thresholds, {name: units[name] for name in thresholds}, tuple(scaled))


def _behind(progress: Progress | None, done: int, total: int) -> Callable[[int], None]:
    """Tells ``progress`` of so many images of a layer, ``done`` of those before it."""
    return lambda seen: None if progress is None else progress(done + seen, total)


def _refuse(graph: Graph) -> None:
    for node in graph:
        if node.op not in LINEAR or (node.op == "pad" and node.attr("value") != 0):
            source = f" ({node.source})" if node.source else ""
            problem = f"thresholds cannot be balanced through the {node.op} {node.name!r}{source}"
            raise UserError(
                problem, hint=ADVICE.get(node.op, "Only sums of weighted spikes keep rates proportional to activations.")
            )
        if node.op == "neuron":
            neuron = checked(node.attrs)
            if neuron.decay != 1 or neuron.parameters():
                problem = f"neuron {node.name!r} leaks or learns; balanced thresholds are those of if neurons"
                raise UserError(problem, hint="Convert with --neuron if.")


def _aligned(node: Node, graph: Graph, units: Mapping[str, float], unit: float) -> list[Node]:
    """The join ``node``, its inputs brought to ``unit``; then the factors that do so."""
    inputs, factors = [], []
    for i, name in enumerate(node.inputs):
        if units[name] == unit:
            inputs.append(name)
            continue
        factor: dict[str, Attr] = {"factor": units[name] / unit}
        factors.append(Node(f"{node.name}_scale{i}", "scale", (name,), factor, graph[name].shape))
        inputs.append(factors[-1].name)
    return [replace(node, inputs=tuple(inputs)), *factors]


def _with_threshold(node: Node, threshold: float) -> Node:
    neuron = checked(node.attrs)
    changed = replace(neuron, v_threshold=threshold, width=neuron.width * threshold / neuron.v_threshold)
    return replace(node, attrs=changed.attrs())


def _up_to(nodes: Sequence[Node], last: str, output: str) -> Graph:
    """The graph that gives what node ``last`` does."""
    by_name = {node.name: node for node in nodes}
    needed, todo = set[str](), [last]
    while todo:
        name = todo.pop()
        if name not in needed:
            needed.add(name)
            todo += by_name[name].inputs
    kept = [node for node in nodes if node.name in needed]
    return Graph((*kept, Node(output, "output", (last,), shape=by_name[last].shape)))


def _currents(
    graph: Graph, tensors: Mapping[str, Tensor], calibration: Calibration, told: Callable[[int], None]
) -> Iterator[Tensor]:
    """The currents (k, B, ...) that ``graph`` gives, a few steps of some images at a time."""
    encoder, device = calibration.encoder, torch.device(calibration.device)
    constant = graph.nodes[-2].name in time_free_nodes(graph, encoder)
    steps = 1 if constant else calibration.time_steps
    network = SpikingNetwork(graph, {name: tensors[name] for name in tensor_shapes(graph)}, steps, encoder, device).eval()
    seen = 0
    with own_randomness(device, calibration.seed):
        for images in calibration.batches():
            yield from network.stream(images.to(device), steps_at_once(graph, len(images)))
            seen += len(images)
            told(seen)


def _threshold(node: Node, currents: Iterable[Tensor], percentile: float) -> float:
    found = Quantile(percentile)
    for some in currents:
        found.add(some)
    if found.largest <= 0:
        problem = f"no calibration image gives neuron layer {node.name!r} a current above 0, so it would never fire"
        raise UserError(problem, hint="Take more images or steps, or train the network again: the layer is dead.")
    if found.value <= 0:
        problem = f"the {percentile:g}th percentile of the currents of neuron layer {node.name!r} is not above 0"
        raise UserError(problem, hint="Take a higher percentile: 99.9 is usual.")
    return found.value
