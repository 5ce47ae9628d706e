"""Tiny networks in canonical form, for tests that need one: a stem, two residual blocks, a pooled head."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from idsnn_convert.runtime.graph import Attr, Graph, Node, Shape
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.ops import check, tensor_shapes

CLASSES = 5


class _Sketch:
    """Nodes in the making: each method adds one and gives its name."""

    def __init__(self, shape: Shape, site: tuple[str, dict[str, Attr]]) -> None:
        self.nodes = [Node("x", "input", shape=shape)]
        self.site = site

    def add(self, name: str, op: str, inputs: tuple[str, ...], shape: Shape, **attrs: Attr) -> str:
        self.nodes.append(Node(name, op, inputs, attrs, shape))
        return name

    def shape(self, name: str) -> Shape:
        return next(node.shape for node in self.nodes if node.name == name)

    def conv_bn(self, conv: str, bn: str, source: str, channels: int, kernel: int, stride: int) -> str:
        came, height, width = self.shape(source)
        shape = (channels, -(-height // stride), -(-width // stride))
        window: dict[str, Attr] = {"kernel": (kernel,) * 2, "stride": (stride,) * 2, "padding": (kernel // 2,) * 2}
        rest: dict[str, Attr] = {"dilation": (1, 1), "groups": 1, "bias": False}
        self.add(conv, "conv2d", (source,), shape, in_channels=came, out_channels=channels, **window, **rest)
        return self.add(bn, "batch_norm", (conv,), shape, channels=channels, eps=1e-5, momentum=0.1, affine=True)

    def fire(self, name: str, source: str) -> str:
        op, attrs = self.site
        return self.add(name, op, (source,), self.shape(source), **attrs)

    def block(self, name: str, source: str, channels: int, stride: int) -> str:
        x = self.conv_bn(f"{name}.conv1", f"{name}.bn1", source, channels, 3, stride)
        x = self.fire(f"{name}.act1", x)
        x = self.conv_bn(f"{name}.conv2", f"{name}.bn2", x, channels, 3, 1)
        way = source
        if stride > 1:
            way = self.conv_bn(f"{name}.downsample.0", f"{name}.downsample.1", source, channels, 1, stride)
        x = self.add(f"{name}.add", "add", (x, way), self.shape(x))
        return self.fire(f"{name}.act2", x)


def residual(
    site: tuple[str, dict[str, Attr]], shape: Shape = (3, 8, 8), classes: int = CLASSES, widths: tuple[int, int] = (4, 8)
) -> Graph:
    """Two residual blocks, the second with stride 2 and a projection; ``site`` is each activation's op and attributes."""
    net = _Sketch(shape, site)
    x = net.fire("act1", net.conv_bn("conv1", "bn1", "x", widths[0], 3, 1))
    x = net.block("layer1.0", x, widths[0], 1)
    x = net.block("layer2.0", x, widths[1], 2)
    x = net.add("avgpool", "global_avg_pool", (x,), (widths[1], 1, 1))
    x = net.add("flatten", "flatten", (x,), (widths[1],))
    x = net.add("fc", "linear", (x,), (classes,), in_features=widths[1], out_features=classes, bias=True)
    net.add("out", "output", (x,), (classes,))
    graph = Graph(tuple(net.nodes))
    check(graph)
    return graph


def ann(shape: Shape = (3, 8, 8), classes: int = CLASSES) -> Graph:
    """The network with ReLUs."""
    return residual(("activation", {"kind": "relu"}), shape, classes)


def spiking(shape: Shape = (3, 8, 8), classes: int = CLASSES, neuron: Neuron | None = None) -> Graph:
    """The network with neurons."""
    return residual(("neuron", (neuron or Neuron()).attrs()), shape, classes)


def random_tensors(graph: Graph, seed: int = 0) -> dict[str, Tensor]:
    """Tensors for ``graph`` that keep its activations alive: weights scaled by fan-in, variances positive."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in tensor_shapes(graph).items():
        slot, norm = name.rsplit(".", 1)[1], graph[name.rsplit(".", 1)[0]].op == "batch_norm"
        x = torch.randn(shape, generator=draw)
        if slot == "running_var" or (slot == "weight" and norm):
            found[name] = 0.5 + torch.rand(shape, generator=draw)
        elif slot == "weight":
            found[name] = x * math.sqrt(2 / math.prod(shape[1:]))
        else:
            found[name] = 0.1 * x
    return found
