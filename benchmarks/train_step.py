"""Seconds of one training step: ours in every form, its peers, and the convolutions alone, which cannot be saved.

    python benchmarks/train_step.py [--arch resnet18] [--time-steps 4] [--batch 32] [--threads 2] [--rounds 7]
        [--clock wall|cpu] [--dtype float32 bfloat16] [--teacher]

Forward, cross-entropy, backward and SGD step on the same random images, in one process with one allocator; all versions
take turns in every round, and ratios are taken within a round: median, lowest, highest. bfloat16 is under autocast.
``--teacher`` adds the forward of a frozen ResNet-34 (folded, channels-last), alone, in 8 bits too where the processor does
those. "Convolutions alone" are the library's own; where ours runs by Winograd's algorithm, "convolutions direct" does not.
Peers that are not installed (pip install spikingjelly snntorch) are left out. Writes
benchmarks/results/train_step_ARCH_tT_bB_threadsN_CLOCK.json, with a profile of ours beside: the share of convolutions, fused
layers and the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from common import (
    CLASSES,
    Floor,
    Step,
    directly,
    facts,
    images_and_labels,
    interleaved,
    show,
    spiking_graph,
    summary,
    training_step,
    under,
    write,
)
from peers import PEERS
from torch import nn
from torch.profiler import ProfilerActivity, profile

from idsnn_convert.passes.targets import build_target
from idsnn_convert.runtime.allocator import keep_memory
from idsnn_convert.runtime.backends import CPU_KERNELS
from idsnn_convert.runtime.eight_bit import in_eight_bits
from idsnn_convert.runtime.fixed_point import supported
from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.network import SpikingNetwork, build

INDUCTOR = "compiled, kernels by torch.compile"
CONVOLUTIONS = (
    "convolution",
    "mkldnn_convolution",
    "convolution_backward",
    "addmm",
    "mm",
    "linear",
    "_Convolution",
    "_ConvolutionBackward",
)


def makers(graph: Graph, steps: int, batch: int) -> dict[str, Callable[[], nn.Module]]:
    """Name in the table -> the network, in the memory layout that is its own."""
    tensors = fresh_tensors(graph, 0)

    def ours(**settings: Any) -> Callable[[], nn.Module]:
        return lambda: laid(SpikingNetwork(graph, tensors, steps, **settings))

    return {
        "convolutions alone": lambda: laid(Floor(graph, steps, batch)),
        "Winograd convolutions alone": lambda: laid(Floor(graph, steps, batch, quick=True)),
        "compiled": ours(compiled=True),
        INDUCTOR: ours(compiled=True),
        "compiled, convolutions direct": lambda: directly(ours(compiled=True)()),
        "plain": ours(),
        "layer by layer": ours(fused=False),
        "compiled, spikes packed": ours(compiled=True, pack_spikes=True),
        "SpikingJelly": lambda: PEERS["SpikingJelly"](graph, steps),
        "SpikingJelly, channels-last": lambda: laid(PEERS["SpikingJelly"](graph, steps)),
        "snnTorch": lambda: PEERS["snnTorch"](graph, steps),
    }


def laid(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18")
    for name, value in (("time-steps", 4), ("batch", 32), ("threads", 2), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--dtype", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--only", nargs="+", help="Only these versions, by their names in the table.")
    parser.add_argument("--teacher", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_memory()
    torch.manual_seed(0)
    graph = spiking_graph(args.arch)
    steps = {name: step for dtype in args.dtype for name, step in versions(graph, args, dtype == "bfloat16").items()}
    if args.teacher:
        steps |= teachers(args.batch)
    seconds = interleaved(steps, args.rounds, args.clock)
    rows = summary(
        seconds,
        (
            *("convolutions alone", "Winograd convolutions alone", "convolutions alone, bfloat16"),
            *("SpikingJelly", "compiled", "compiled, bfloat16"),
        ),
    )
    shares = {name: profiled(steps[name]) for name in ("compiled", "plain", "compiled, bfloat16") if name in steps}
    name = f"train_step_{args.arch}_t{args.time_steps}_b{args.batch}_threads{args.threads}_{args.clock}"
    write(name, facts(**vars(args)) | {"step": rows, "profile_percent": shares})
    show(rows)
    show(shares)


HALVES = ("convolutions alone", "compiled", INDUCTOR, "plain", "SpikingJelly")
"""What also runs in bfloat16."""


def versions(graph: Graph, args: argparse.Namespace, bf16: bool) -> dict[str, Step]:
    images, labels = images_and_labels(args.batch)
    found: dict[str, Step] = {}
    for name, make in makers(graph, args.time_steps, args.batch).items():
        if (args.only and name not in args.only) or (bf16 and name not in HALVES):
            continue
        try:
            step = training_step(make(), images, labels, bf16)
            found[f"{name}, bfloat16" if bf16 else name] = under(CPU_KERNELS, "inductor", step) if name == INDUCTOR else step
        except ImportError:
            print(f"{name} is not installed and is left out")
    return found


def teachers(batch: int) -> dict[str, Step]:
    """The forward of a ResNet-34 teacher, its batch norms folded, in every precision."""
    graph = build_target("resnet34", input_shape=(3, 32, 32), classes=CLASSES).graph
    graph, tensors = fold(graph, fresh_tensors(graph, 1))
    quick, direct = laid(build(graph, tensors, compiled=True)).eval(), laid(build(graph, tensors)).eval()
    images, _ = images_and_labels(batch)

    def step(network: nn.Module, bf16: bool = False) -> Step:
        def forward() -> None:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                network(images)

        return forward

    found = {"teacher": step(quick), "teacher, convolutions direct": step(direct), "teacher, bfloat16": step(direct, bf16=True)}
    return found | ({"teacher, 8 bits": step(in_eight_bits(graph, tensors, images))} if supported() else {})


def profiled(step: Step) -> dict[str, float]:
    """Percent of a step's own CPU time in convolutions and the head, in fused or batch norm and neuron layers, in the rest."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    times = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    total = sum(times.values())
    convolutions = sum(time for key, time in times.items() if key.removeprefix("aten::") in CONVOLUTIONS)
    optimiser = sum(time for key, time in times.items() if "foreach" in key or "Optimizer" in key)
    shares = {"convolutions": convolutions, "optimiser": optimiser, "all else": total - convolutions - optimiser}
    return {name: round(100 * time / total, 1) for name, time in shares.items()}


if __name__ == "__main__":
    main()
