"""Memory and time of one training step over the number of time steps: all steps at once, and a few at a time.

    python benchmarks/memory_over_time.py [--arch resnet20] [--batch 8] [--chunk 4] [--time-steps 4 8 16 32 64]

Each point is a process of its own on one thread: two training steps (forward + backward + SGD) on random images, in which what
is to be compiled is compiled, then three that count. ``mib`` is how far these raised resident memory above what it was before,
glibc told to give large blocks back at once; ``cpu_seconds`` are the processor's, the median. Linux alone tells a process its
peak in this way. Writes ``benchmarks/results/memory_over_time_ARCH_bB_chunkK.json``.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from common import facts, images_and_labels, spiking_graph, training_step, write

from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.network import SpikingNetwork

GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
COMPILING, COUNTING = 2, 3
"""Steps of a process."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--chunk", type=int, default=4)
    parser.add_argument("--time-steps", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--point", type=int, nargs=3, metavar=("T", "CHUNK", "COMPILED"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.point:
        print(json.dumps(measured(args.arch, args.batch, *args.point)))
        return
    points = []
    for steps in args.time_steps:
        point: dict[str, object] = {"time_steps": steps}
        for name, chunk, compiled in versions(args.chunk):
            point[name] = in_process(args, steps, chunk, compiled)
        print(json.dumps(point), flush=True)
        points.append(point)
    settings = {"arch": args.arch, "batch": args.batch, "chunk": args.chunk, "runs": 1, "seed": 0}
    write(f"memory_over_time_{args.arch}_b{args.batch}_chunk{args.chunk}", facts(**settings) | {"points": points})


def versions(chunk: int) -> list[tuple[str, int, bool]]:
    """Name, chunk (0: all steps at once) and whether compiled."""
    kinds = (("plain", False), ("compiled", True))
    return [each for name, made in kinds for each in ((name, 0, made), (f"{name}, chunked", chunk, made))]


def in_process(args: argparse.Namespace, *point: int) -> dict[str, float]:
    given = ["--arch", args.arch, "--batch", str(args.batch), "--point", *(str(int(each)) for each in point)]
    environment = {**os.environ, **GIVE_BACK}
    done = subprocess.run([sys.executable, __file__, *given], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(arch: str, batch: int, time_steps: int, chunk: int, compiled: int) -> dict[str, float]:
    """One point, in this process."""
    graph = spiking_graph(arch)
    network = SpikingNetwork(graph, fresh_tensors(graph, seed=0), time_steps, compiled=bool(compiled))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.time_chunk = chunk or None
    step = training_step(network, *images_and_labels(batch))
    for _ in range(COMPILING):
        step()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before, seconds = memory("VmRSS"), []
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    for _ in range(COUNTING):
        began = time.process_time()
        step()
        seconds.append(time.process_time() - began)
    return {"mib": round(memory("VmHWM") - before, 1), "cpu_seconds": round(statistics.median(seconds), 3)}


def memory(name: str) -> float:
    """MiB that Linux tells under ``name`` of this process."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) / 1024


if __name__ == "__main__":
    main()
