"""Seconds of one forward in evaluation, at several batch sizes: ours in every form, SpikingJelly, onnxruntime.

    python benchmarks/inference.py [--arch resnet18] [--time-steps 4] [--batch 1 32 64] [--threads 2] [--rounds 7]
        [--clock wall|cpu]

"folded": batch norms in the convolutions before them; those of 8 or 16 bits (runtime/fixed_point.py) are folded too, as is
what onnxruntime runs, written by ``idsnn export``. "same answer": the share of images whose highest logit is that of "plain",
on random images and weights, the worst case. All versions take turns in every round. Writes
benchmarks/results/inference_ARCH_tT_threadsN_CLOCK.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from common import Floor, directly, facts, images_and_labels, interleaved, show, spiking_graph, summary, write
from peers import PEERS
from torch import Tensor, nn
from train_step import laid

from idsnn_convert.runtime.allocator import keep_memory
from idsnn_convert.runtime.checkpoint import Checkpoint
from idsnn_convert.runtime.fixed_point import supported
from idsnn_convert.runtime.fold import fold
from idsnn_convert.runtime.graph import Graph
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.network import SpikingNetwork


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18")
    for name, value in (("time-steps", 4), ("threads", 2), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32, 64])
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_memory()
    graph = spiking_graph(args.arch)
    tables = {f"batch {batch}": measured(graph, args, batch) for batch in args.batch}
    write(f"inference_{args.arch}_t{args.time_steps}_threads{args.threads}_{args.clock}", facts(**vars(args)) | tables)
    for name, rows in tables.items():
        print(name)
        show(rows)


def measured(graph: Graph, args: argparse.Namespace, batch: int) -> dict[str, dict[str, Any]]:
    images, _ = images_and_labels(batch)
    runs = {name: run for name, run in forwards(graph, args.time_steps, images, args.threads).items() if run is not None}
    answers = {name: run() for name, run in runs.items()}
    seconds = interleaved(runs, args.rounds, args.clock)
    rows = summary(seconds, ("convolutions alone", "SpikingJelly"))
    for name, row in rows.items():
        found, ours = answers[name], answers["plain"]
        if isinstance(found, Tensor) and isinstance(ours, Tensor) and "Jelly" not in name:
            row["same answer"] = round((found.float().mean(0).argmax(1) == ours.mean(0).argmax(1)).double().mean().item(), 3)
    return rows


def forwards(graph: Graph, steps: int, images: Tensor, threads: int) -> dict[str, Callable[[], object] | None]:
    tensors = fresh_tensors(graph, 0)
    folded = fold(graph, tensors)

    def of(network: nn.Module, bf16: bool = False) -> Callable[[], object]:
        network = laid(network).eval()

        def run() -> object:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return network(images)

        return run

    try:
        jelly = of(PEERS["SpikingJelly"](graph, steps))
    except ImportError:
        jelly = None
    return {
        "convolutions alone": of(Floor(graph, steps, len(images))),
        "plain": of(SpikingNetwork(graph, tensors, steps)),
        "compiled": of(SpikingNetwork(graph, tensors, steps, compiled=True)),
        "compiled, folded": of(SpikingNetwork(*folded, steps, compiled=True)),
        "compiled, folded, convolutions direct": of(directly(SpikingNetwork(*folded, steps, compiled=True))),
        "compiled, 16-bit weights": integers(folded, steps, of, 16),
        "compiled, 8-bit weights": integers(folded, steps, of, 8),
        "compiled, bfloat16": of(SpikingNetwork(graph, tensors, steps, compiled=True), bf16=True),
        "onnxruntime, folded": onnx(graph, tensors, steps, images, threads),
        "SpikingJelly": jelly,
    }


def integers(
    folded: tuple[Graph, dict[str, Tensor]], steps: int, of: Callable[[nn.Module], Callable[[], object]], bits: int
) -> Callable[[], object] | None:
    return of(SpikingNetwork(*folded, steps, compiled=True, weight_bits=bits)) if supported() else None


def onnx(graph: Graph, tensors: dict[str, Tensor], steps: int, images: Tensor, threads: int) -> Callable[[], object] | None:
    try:
        from idsnn_convert.runtime.export.onnx.model import to_onnx
        from idsnn_convert.runtime.export.onnx.running import Running

        model = Running(to_onnx(Checkpoint(graph, tensors, steps)), "unrolled", graph, threads)
    except ImportError:
        return None
    given = images.contiguous(memory_format=torch.contiguous_format).numpy()
    return lambda: torch.from_numpy(model(given, steps)[0])


if __name__ == "__main__":
    main()
