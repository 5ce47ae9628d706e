"""What the speed benchmarks share: the network, its floor, interleaved timing, ratios with spread, result files.

Letters: T time steps, B batch, C channels, H height, W width.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idsnn_convert.passes.spike import spike
from idsnn_convert.passes.targets import build_target
from idsnn_convert.runtime.convolution import Convolution
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.network import time_free_nodes
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.winograd import suits

RESULTS = Path(__file__).resolve().parent / "results"
CLASSES = 10
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""``wall`` seconds on an idle machine; ``cpu`` seconds of this process, which other people's work hardly moves."""

Step = Callable[[], object]


def spiking_graph(arch: str, size: int = 32, width: float = 1.0) -> Graph:
    """The spiking network ``arch`` for CIFAR-like images (3, size, size), its channels times ``width``."""
    return spike(build_target(arch, input_shape=(3, size, size), classes=CLASSES, width=width).graph, Neuron())


class Floor(nn.Module):
    """Every convolution and linear layer on its own, on inputs and output gradients laid out before: what cannot be saved.

    Layers whose input has no time axis under direct encoding run once an image. The image needs no gradient. By the library's
    own convolutions, or, if ``quick``, by Winograd's algorithm where a network of ours would.
    """

    def __init__(self, graph: Graph, time_steps: int, batch: int, quick: bool = False) -> None:
        super().__init__()
        once = time_free_nodes(graph, "direct")
        self.layers = nn.ModuleList()
        self.calls: list[nn.Module] = []
        self.inputs: list[Tensor] = []
        self.gradients: list[Tensor] = []
        for node in (*graph.of("conv2d"), *graph.of("linear")):
            source, frames = graph[node.inputs[0]], batch * (1 if node.name in once else time_steps)
            layer = layer_of(node.op, node.attrs)
            self.layers.append(layer)
            self.calls.append(
                Convolution(layer, quick=True) if quick and isinstance(layer, nn.Conv2d) and suits(layer) else layer
            )
            self.inputs.append(_laid(torch.rand(frames, *source.shape)).requires_grad_(source.op != "input"))
            self.gradients.append(_laid(torch.rand(frames, *node.shape) - 0.5))

    def forward(self, images: Tensor) -> list[Tensor]:
        return [layer(x) for layer, x in zip(self.calls, self.inputs, strict=True)]

    def backward(self, outs: list[Tensor]) -> None:
        for x in self.inputs:
            x.grad = None
        gradients = [gradient.to(out.dtype) for gradient, out in zip(self.gradients, outs, strict=True)]
        torch.autograd.backward(outs, gradients)


def directly(network: nn.Module) -> nn.Module:
    """``network`` with the library's own convolutions alone."""
    for module in network.modules():
        if isinstance(module, Convolution):
            module.quick = False
    return network


def layer_of(op: str, attrs: Mapping[str, Any]) -> nn.Module:
    """A convolution or linear layer of torch's own with a node's sizes."""
    if op == "linear":
        return nn.Linear(attrs["in_features"], attrs["out_features"])
    names = {"kernel": "kernel_size"}
    keys = ("in_channels", "out_channels", "kernel", "stride", "padding", "dilation", "groups", "bias")
    return nn.Conv2d(**{names.get(key, key): attrs[key] for key in keys})


def _laid(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def training_step(network: nn.Module, images: Tensor, labels: Tensor, bf16: bool = False) -> Step:
    """Forward, cross-entropy of the mean over T, backward, SGD with momentum; under autocast with ``bf16``."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            out = network(images)
        if isinstance(network, Floor):
            network.backward(out)
        else:
            F.cross_entropy(out.float().mean(0), labels).backward()
        optimizer.step()

    return step


def under(variable: str, value: str, step: Step) -> Step:
    """``step`` with an environment variable set."""

    def set_then() -> object:
        before = os.environ.get(variable)
        os.environ[variable] = value
        try:
            return step()
        finally:
            os.environ.pop(variable)
            if before is not None:
                os.environ[variable] = before

    return set_then


def images_and_labels(batch: int, size: int = 32) -> tuple[Tensor, Tensor]:
    """Random images (batch, 3, size, size), channels-last, and labels."""
    torch.manual_seed(0)
    return _laid(torch.randn(batch, 3, size, size)), torch.randint(CLASSES, (batch,))


def interleaved(steps: Mapping[str, Step], rounds: int, clock: str, warmups: int = 2) -> dict[str, list[float]]:
    """Seconds of each step in each of ``rounds``, all of them one after the other in every round."""
    now = CLOCKS[clock]
    for step in steps.values():
        for _ in range(warmups):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            began = now()
            step()
            seconds[name].append(now() - began)
    return seconds


def summary(seconds: Mapping[str, Sequence[float]], bases: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Name -> median, fastest and slowest second, and its ratios to each base: median and range over the rounds.

    Ratios are taken within a round, where both met the same machine.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name, values in seconds.items():
        row = {"median_s": statistics.median(values), "fastest_s": min(values), "slowest_s": max(values)}
        rows[name] = {key: round(value, 4) for key, value in row.items()}
        for base in bases:
            if base in seconds and base != name:
                ratios = sorted(value / other for value, other in zip(values, seconds[base], strict=True))
                middle = statistics.median(ratios)
                rows[name][f"to {base}"] = [round(ratio, 3) for ratio in (middle, ratios[0], ratios[-1])]
    return rows


def facts(**settings: Any) -> dict[str, Any]:
    """The settings beside hardware and versions."""
    return {
        **settings,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: found for name in ("torch", "spikingjelly", "snntorch", "onnxruntime") if (found := _version(name))},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    named = {key.strip(): value for key, value in names.items()}
    flags = named.get("flags", "").split()
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{named.get('model name', platform.machine())} (family {named.get('cpu family', '?')}; {' '.join(wide)})"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def write(name: str, found: Mapping[str, Any]) -> None:
    """``benchmarks/results/NAME.json``."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def show(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """A line a row, for the person who waits."""
    for name, row in rows.items():
        print(f"{name:32s}", "  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
