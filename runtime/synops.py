"""Synaptic operations of a spiking network on images, exact, layer by layer and step by step.

A synaptic operation is a non-zero input meeting a non-zero weight; biases do not count. Windows that reach beyond the
border meet fewer weights, strides skip some, groups divide them: each is counted as it is. An operation is an
accumulation (AC) in a layer whose inputs are spikes (-1, 0, 1) on every image, else a multiplication and accumulation
(MAC). These are the definitions of NeuroBench (Yik et al. 2025): effective ACs, effective MACs, and dense operations,
which count zeros too.

A layer before the first neurons sees the same values at every step under direct encoding. Our runtime computes it once
an image; hardware without a memory for it computes it at each of the T steps, and so it is counted.

Letters: T time steps, B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idsnn_convert.runtime.graph import Graph, Node
from idsnn_convert.runtime.network import SpikingNetwork, time_free_nodes

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class LayerWork:
    """What one convolution or linear layer does, a mean over images.

    Attributes:
        spiking: its inputs are spikes, so that ``operations`` are ACs, else MACs.
        operations: effective ones in each step: T numbers.
        dense: those of one step if nothing were zero.
        once: every step is the same, and our runtime computes one alone.
    """

    name: str
    op: str
    spiking: bool
    operations: tuple[float, ...]
    dense: int
    once: bool

    @property
    def total(self) -> float:
        """Effective operations over all steps."""
        return sum(self.operations)

    @property
    def density(self) -> float:
        """Share of the dense operations that are effective, over all steps."""
        return self.total / (self.dense * len(self.operations))


@dataclass(frozen=True)
class NeuronWork:
    """Spikes of one neuron layer, a mean over images: in each step, T numbers, of ``neurons`` that there are."""

    name: str
    neurons: int
    spikes: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Spikes a neuron and step."""
        return sum(self.spikes) / (self.neurons * len(self.spikes))


@dataclass(frozen=True)
class Work:
    """What a network does with an image, as a mean over ``images``.

    Attributes:
        top1_per_step: percent right had it stopped after 1, 2, ... T steps.
    """

    images: int
    layers: tuple[LayerWork, ...]
    neurons: tuple[NeuronWork, ...]
    top1_per_step: tuple[float, ...]

    @property
    def time_steps(self) -> int:
        return len(self.top1_per_step)

    @property
    def dense_macs(self) -> int:
        """MACs of the same network without spikes: one pass, nothing zero."""
        return sum(layer.dense for layer in self.layers)

    def acs(self, steps: int | None = None) -> float:
        """Effective accumulations of the first ``steps`` steps, all by default."""
        return sum(sum(layer.operations[:steps]) for layer in self.layers if layer.spiking)

    def macs(self, steps: int | None = None) -> float:
        """Effective multiplications and accumulations of the first ``steps`` steps, all by default."""
        return sum(sum(layer.operations[:steps]) for layer in self.layers if not layer.spiking)


@dataclass
class _Tally:
    """One layer while it is counted: its operations or spikes in each step so far, (T,) float64."""

    counted: Tensor
    spiking: bool = True


@dataclass
class _Counting:
    network: SpikingNetwork
    layers: dict[str, _Tally] = field(default_factory=dict)
    neurons: dict[str, _Tally] = field(default_factory=dict)
    fan_outs: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steps = self.network.time_steps
        self.time_free = time_free_nodes(self.network.graph, self.network.encoder_name)

    def layer(self, node: Node) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x = inputs[0]
            if node.name not in self.fan_outs:
                self.fan_outs[node.name] = fan_out(module, x.shape[1:])
            tally = self.layers[node.name]
            tally.counted += self._per_step(node.inputs[0], x != 0, self.fan_outs[node.name])
            tally.spiking = tally.spiking and bool(((x == 0) | (x.abs() == 1)).all())

        return hook

    def neuron(self, node: Node) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self.neurons[node.name].counted += self._per_step(node.name, output != 0, None)

        return hook

    def _per_step(self, source: str, fired: Tensor, weights: Tensor | None) -> Tensor:
        """Sum over images of what each non-zero value counts for, at each step: (T,)."""
        steps = 1 if source in self.time_free else self.steps
        count = fired.unflatten(0, (steps, -1)).sum(1, dtype=torch.float64).flatten(1)  # (steps, C*H*W)
        found: Tensor = count.sum(1) if weights is None else count @ weights.flatten()
        return found.expand(self.steps).cpu()


@torch.inference_mode()
def count(network: SpikingNetwork, batches: Iterable[Batch], progress: Callable[[int], None] = lambda done: None) -> Work:
    """The work of ``network`` on normalised images (B, C, H, W) with labels (B,).

    Args:
        progress: called with the images done so far.

    Raises:
        ValueError: if there are no images.
    """
    network.eval()
    counting, graph, steps = _Counting(network), network.graph, network.time_steps
    handles = []
    for node in graph.of("conv2d", "linear"):
        counting.layers[node.name] = _Tally(torch.zeros(steps, dtype=torch.float64))
        handles.append(network.layer(node.name).register_forward_hook(counting.layer(node)))
    for node in graph.of("neuron"):
        counting.neurons[node.name] = _Tally(torch.zeros(steps, dtype=torch.float64))
        handles.append(network.layer(node.name).register_forward_hook(counting.neuron(node)))
    images, hits = 0, torch.zeros(steps, dtype=torch.int64)
    try:
        for x, labels in batches:
            hits += (network.readout.after_each_step(network(x)).argmax(-1) == labels).sum(1).cpu()
            images += len(labels)
            progress(images)
    finally:
        for handle in handles:
            handle.remove()
    if not images:
        raise ValueError("there are no images to count on")
    return Work(
        images,
        tuple(_layer(graph, node, counting, images) for node in graph.of("conv2d", "linear")),
        tuple(_neuron(node, counting, images) for node in graph.of("neuron")),
        tuple((100 * hits / images).tolist()),
    )


def _layer(graph: Graph, node: Node, counting: _Counting, images: int) -> LayerWork:
    tally, module = counting.layers[node.name], counting.network.body.get_submodule(node.name)
    dense = int(fan_out(module, graph[node.inputs[0]].shape, dense=True).sum().item())
    operations = tuple((tally.counted / images).tolist())
    return LayerWork(node.name, node.op, tally.spiking, operations, dense, once=node.name in counting.time_free)


def _neuron(node: Node, counting: _Counting, images: int) -> NeuronWork:
    counted = counting.neurons[node.name].counted
    return NeuronWork(node.name, torch.Size(node.shape).numel(), tuple((counted / images).tolist()))


def fan_out(module: nn.Module, shape: tuple[int, ...], dense: bool = False) -> Tensor:
    """How many non-zero weights each value of an input of ``shape`` (C, H, W) or (features,) meets; float64, that shape.

    Args:
        dense: zero weights count too.
    """
    weight = module.weight
    if not isinstance(weight, Tensor):
        raise TypeError(f"a {type(module).__name__} has no weight")
    met = torch.ones_like(weight, dtype=torch.float64) if dense else (weight != 0).double()
    if not isinstance(module, nn.Conv2d):
        return met.sum(0).expand(shape)
    empty = torch.zeros(1, *shape, dtype=torch.float64, device=weight.device)
    stride, padding, dilation = module.stride, module.padding, module.dilation
    # The transposed convolution of ones sends every output position back to the inputs it reads.
    reached = F.conv2d(empty, met, None, stride, padding, dilation, module.groups)
    left = [
        size - ((out - 1) * s - 2 * int(p) + d * (k - 1) + 1)
        for size, out, s, p, d, k in zip(
            shape[1:], reached.shape[2:], stride, padding, dilation, module.kernel_size, strict=True
        )
    ]
    ones = torch.ones_like(reached)
    return F.conv_transpose2d(ones, met, None, stride, padding, left, module.groups, dilation)[0]  # type: ignore[arg-type]
