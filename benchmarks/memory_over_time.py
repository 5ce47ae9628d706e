"""Memory of one training step over the number of time steps: all steps at once, and a few at a time.

    python benchmarks/memory_over_time.py [--arch resnet20] [--batch 8] [--chunk 4]

Each point is a process of its own on one thread that makes two steps (forward + backward + SGD) on random images. The
figure is how far they raised the process's peak resident memory, glibc told to give large blocks back at once; the
seconds are the processor's, of the second step. Writes ``benchmarks/results/memory_over_time_ARCH_bB_chunkK.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from idsnn_convert.passes.spike import spike
from idsnn_convert.passes.targets import build_target
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.network import SpikingNetwork
from idsnn_convert.runtime.neurons import Neuron

GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
RESULTS = Path(__file__).resolve().parent / "results"
TIME_STEPS = (4, 8, 16, 32, 64)
CLASSES = 10


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


def measure(arch: str, batch: int, time_steps: int, chunk: int) -> dict[str, float]:
    """Two steps in this process; ``chunk`` 0 runs all time steps at once."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    graph = spike(build_target(arch, input_shape=(3, 32, 32), classes=CLASSES).graph, Neuron())
    network = SpikingNetwork(graph, fresh_tensors(graph, seed=0), time_steps).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.time_chunk = chunk or None
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    images, labels = torch.randn(batch, 3, 32, 32), torch.randint(CLASSES, (batch,))
    before, seconds = peak_mib(), 0.0
    for _ in range(2):
        began = time.process_time()
        optimizer.zero_grad()
        F.cross_entropy(network(images).mean(0), labels).backward()
        optimizer.step()
        seconds = time.process_time() - began
    return {"mib": round(peak_mib() - before, 1), "cpu_seconds": round(seconds, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--chunk", type=int, default=4)
    parser.add_argument("--point", type=int, nargs=2, metavar=("T", "CHUNK"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        print(json.dumps(measure(args.arch, args.batch, *args.point)))
        return
    points = []
    for time_steps in TIME_STEPS:
        point: dict[str, object] = {"time_steps": time_steps}
        for name, chunk in (("at_once", 0), ("chunked", args.chunk)):
            command = [sys.executable, __file__, "--arch", args.arch, "--batch", str(args.batch)]
            command += ["--point", str(time_steps), str(chunk)]
            point[name] = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **GIVE_BACK}).stdout
            )
        print(json.dumps(point))
        points.append(point)
    facts = {"arch": args.arch, "batch": args.batch, "chunk": args.chunk, "runs": 1, "threads": 1, "seed": 0}
    machine = {"torch": torch.__version__, "python": platform.python_version(), "processor": platform.machine()}
    path = RESULTS / f"memory_over_time_{args.arch}_b{args.batch}_chunk{args.chunk}.json"
    path.write_text(json.dumps({**facts, **machine, "points": points}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
