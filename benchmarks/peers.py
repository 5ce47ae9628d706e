"""The same network built of other libraries' layers, as their documentation says to build it.

Each has the convolutions, batch norms and LIF neurons (decay 0.25, threshold 0.5, hard reset to 0, reset detached,
rectangle surrogate) of the graph it is given; images (B, C, H, W) -> logits (T, B, K).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from common import layer_of
from torch import Tensor, nn

from idsnn_convert.runtime.graph import Graph, Node


class _Rectangle(torch.autograd.Function):
    """The step function with the STBP rectangle backward; neither library has it, both take one's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * (x.abs() < 0.5)


def spikingjelly_network(graph: Graph, time_steps: int) -> nn.Module:
    """SpikingJelly's multi-step layers, on their torch backend: the only one on a CPU, and the only one that takes
    a surrogate of one's own."""
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    class Rectangle(surrogate.SurrogateFunctionBase):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(alpha=1.0, spiking=True)

        def forward(self, x: Tensor) -> Tensor:
            return _Rectangle.apply(x)  # type: ignore[no-any-return, no-untyped-call]

    def part(node: Node) -> nn.Module | None:
        a = node.attrs
        if node.op == "conv2d":
            sizes = (a["in_channels"], a["out_channels"], a["kernel"], a["stride"], a["padding"])
            return layer.Conv2d(*sizes, bias=False)  # type: ignore[no-any-return]
        if node.op == "batch_norm":
            return layer.BatchNorm2d(a["channels"])  # type: ignore[no-any-return]
        if node.op == "linear":
            return layer.Linear(a["in_features"], a["out_features"])  # type: ignore[no-any-return]
        if node.op == "neuron":
            settings = {"tau": 4 / 3, "decay_input": False, "v_threshold": 0.5, "v_reset": 0.0, "detach_reset": True}
            return neuron.LIFNode(**settings, surrogate_function=Rectangle())  # type: ignore[no-any-return]
        return None

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = _parts(graph, part)
            functional.set_step_mode(self, "m")

        def forward(self, images: Tensor) -> Tensor:
            functional.reset_net(self)
            values: dict[str, Tensor] = {graph.nodes[0].name: images.expand(time_steps, *images.shape)}
            for node in graph.nodes[1:-1]:
                values[node.name] = _value(node, values, self.parts, (3, 4))
            return values[graph.nodes[-1].inputs[0]]

    return Network()


def snntorch_network(graph: Graph, time_steps: int) -> nn.Module:
    """snnTorch's: the whole network at one step, then at the next, each neuron handed its potential.

    Its reset takes effect a step later and keeps the step's input, so its spikes differ; its cost is what counts here.
    """
    import snntorch

    def part(node: Node) -> nn.Module | None:
        if node.op == "batch_norm":
            return nn.BatchNorm2d(int(node.attrs["channels"]))  # type: ignore[call-overload]
        if node.op == "neuron":
            return snntorch.Leaky(  # type: ignore[no-any-return]
                beta=0.25, threshold=0.5, spike_grad=_Rectangle.apply, reset_mechanism="zero"
            )
        return layer_of(node.op, node.attrs) if node.op in ("conv2d", "linear") else None

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = _parts(graph, part)

        def forward(self, images: Tensor) -> Tensor:
            potentials = {node.name: self.parts[_key(node)].init_leaky() for node in graph.of("neuron")}
            logits = []
            for _ in range(time_steps):
                values: dict[str, Tensor] = {graph.nodes[0].name: images}
                for node in graph.nodes[1:-1]:
                    if node.op == "neuron":
                        layer = self.parts[_key(node)]
                        values[node.name], potentials[node.name] = layer(values[node.inputs[0]], potentials[node.name])
                    else:
                        values[node.name] = _value(node, values, self.parts, (2, 3))
                logits.append(values[graph.nodes[-1].inputs[0]])
            return torch.stack(logits)

    return Network()


PEERS: dict[str, Callable[[Graph, int], nn.Module]] = {
    "SpikingJelly": spikingjelly_network,
    "snnTorch": snntorch_network,
}
"""Name in the tables -> how its network is made; the maker raises ImportError where the library is not installed."""


def _key(node: Node) -> str:
    return node.name.replace(".", "_")


def _parts(graph: Graph, part: Callable[[Node], nn.Module | None]) -> nn.ModuleDict:
    made = {_key(node): part(node) for node in graph}
    return nn.ModuleDict({key: module for key, module in made.items() if module is not None})


def _value(node: Node, values: dict[str, Tensor], parts: nn.ModuleDict, maps: tuple[int, int]) -> Tensor:
    x = values[node.inputs[0]]
    if node.op == "add":
        return x + values[node.inputs[1]]
    if node.op == "global_avg_pool":
        return x.mean(maps)
    if node.op == "flatten":
        return x
    module: Tensor = parts[_key(node)](x)
    return module
