"""Seconds of one training step: ours, plain and compiled, against SpikingJelly and against the convolutions alone.

    python benchmarks/train_step.py [--arch resnet20] [--time-steps 4] [--batch 64] [--threads 1] [--rounds 7]

All versions run interleaved in one process, forward + backward + SGD step on the same random images; the figure is
the median over the rounds, the ratio that of the medians. "convolutions alone" is the floor: the same convolutions and
linear layer on the same shapes, with nothing in between. SpikingJelly (pip install spikingjelly) is left out where
it is not installed. Writes ``benchmarks/results/train_step_ARCH_tT_bB_tTHREADS.json``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idsnn_convert.passes.spike import spike
from idsnn_convert.passes.targets import build_target
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.network import SpikingNetwork, time_free_nodes
from idsnn_convert.runtime.neurons import Neuron

RESULTS = Path(__file__).resolve().parent / "results"
CLASSES = 10


class Floor(nn.Module):
    """Every convolution and the head on inputs of the right shapes, each on its own: what cannot be saved."""

    def __init__(self, graph: Graph, time_steps: int, batch: int) -> None:
        super().__init__()
        once = time_free_nodes(graph, "direct")
        self.layers = nn.ModuleList()
        self.inputs: list[Tensor] = []
        for node in graph.of("conv2d"):
            shape, a = graph[node.inputs[0]].shape, node.attrs
            sizes = (
                a["in_channels"],
                a["out_channels"],
                a["kernel"],
                a["stride"],
                a["padding"],
                a["dilation"],
                a["groups"],
                False,
            )
            self.layers.append(nn.Conv2d(*sizes))  # type: ignore[arg-type]
            frames = torch.rand(batch * (1 if node.name in once else time_steps), *shape)
            learns = graph[node.inputs[0]].op != "input"
            self.inputs.append(frames.contiguous(memory_format=torch.channels_last).requires_grad_(learns))

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([layer(x).sum() for layer, x in zip(self.layers, self.inputs, strict=True)]).sum()


def spikingjelly_network(graph: Graph, time_steps: int) -> nn.Module:
    """The same network of SpikingJelly's layers: multi-step LIF with the STBP rectangle, its torch backend."""
    from spikingjelly.activation_based import functional, layer, neuron, surrogate

    class Rectangle(surrogate.SurrogateFunctionBase):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(alpha=1.0, spiking=True)

        def forward(self, x: Tensor) -> Tensor:
            return _Rectangle.apply(x)  # type: ignore[no-any-return, no-untyped-call]

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleDict()
            for node in graph:
                a, key = node.attrs, node.name.replace(".", "_")
                if node.op == "conv2d":
                    self.parts[key] = layer.Conv2d(
                        a["in_channels"], a["out_channels"], a["kernel"], a["stride"], a["padding"], bias=False
                    )
                elif node.op == "batch_norm":
                    self.parts[key] = layer.BatchNorm2d(a["channels"])
                elif node.op == "linear":
                    self.parts[key] = layer.Linear(a["in_features"], a["out_features"])
                elif node.op == "neuron":
                    settings = {"tau": 4 / 3, "decay_input": False, "v_threshold": 0.5, "v_reset": 0.0, "detach_reset": True}
                    self.parts[key] = neuron.LIFNode(**settings, surrogate_function=Rectangle())
            functional.set_step_mode(self, "m")

        def forward(self, images: Tensor) -> Tensor:
            functional.reset_net(self)
            values: dict[str, Tensor] = {graph.nodes[0].name: images.expand(time_steps, *images.shape)}
            for node in graph.nodes[1:-1]:
                x = values[node.inputs[0]]
                if node.op == "add":
                    values[node.name] = x + values[node.inputs[1]]
                elif node.op == "global_avg_pool":
                    values[node.name] = x.mean((3, 4))
                elif node.op == "flatten":
                    values[node.name] = x
                else:
                    values[node.name] = self.parts[node.name.replace(".", "_")](x)
            return values[graph.nodes[-1].inputs[0]]

    return Network()


class _Rectangle(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * (x.abs() < 0.5)


def step_of(network: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        out = network(images)
        loss = F.cross_entropy(out.mean(0), labels) if out.dim() else out
        loss.backward()
        optimizer.step()

    return step


def versions(graph: Graph, args: argparse.Namespace) -> dict[str, nn.Module]:
    tensors = fresh_tensors(graph, 0)
    found: dict[str, nn.Module] = {
        "compiled": SpikingNetwork(graph, tensors, args.time_steps, compiled=True),
        "plain": SpikingNetwork(graph, tensors, args.time_steps),
        "convolutions alone": Floor(graph, args.time_steps, args.batch),
    }
    try:
        found["SpikingJelly"] = spikingjelly_network(graph, args.time_steps)
    except ImportError:
        print("SpikingJelly is not installed and is left out")
    return {
        name: network.to(memory_format=torch.channels_last) if name != "SpikingJelly" else network
        for name, network in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet20")
    for name, value in (("time-steps", 4), ("batch", 64), ("threads", 1), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    graph = spike(build_target(args.arch, input_shape=(3, 32, 32), classes=CLASSES).graph, Neuron())
    images, labels = torch.randn(args.batch, 3, 32, 32), torch.randint(CLASSES, (args.batch,))
    images = images.contiguous(memory_format=torch.channels_last)
    steps = {name: step_of(network, images, labels) for name, network in versions(graph, args).items()}
    first = {name: timed(step) for name, step in steps.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            seconds[name].append(timed(step))
    write(args, first, seconds)


def timed(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def write(args: argparse.Namespace, first: dict[str, float], seconds: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    base = "SpikingJelly" if "SpikingJelly" in medians else "plain"
    rows = {
        name: {
            "median_seconds": round(medians[name], 4),
            "fastest_seconds": round(min(values), 4),
            "slowest_seconds": round(max(values), 4),
            f"ratio_to_{base}": round(medians[name] / medians[base], 3),
            "ratio_to_floor": round(medians[name] / medians["convolutions alone"], 3),
            "first_step_seconds": round(first[name], 1),
        }
        for name, values in seconds.items()
    }
    packages = {
        name: importlib.metadata.version(name) for name in ("torch", *(["spikingjelly"] if base == "SpikingJelly" else []))
    }
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    facts = {**vars(args), "dtype": "float32", "machine": machine, "versions": packages, "step": rows}
    RESULTS.mkdir(exist_ok=True)
    name = f"train_step_{args.arch}_T{args.time_steps}_b{args.batch}_threads{args.threads}.json"
    (RESULTS / name).write_text(json.dumps(facts, indent=1) + "\n")
    for label, row in rows.items():
        print(f"{label:20s}", "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
