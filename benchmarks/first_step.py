"""Seconds until a training step is done for the first time, compilation included, by who makes the kernels.

    PYTHONPATH=. python benchmarks/first_step.py [--time-steps 4 32] [--threads 2]

A spiking ResNet-20, batch 16, 32x32 images, hard reset, float32; each in a process of its own, after imports: with empty caches
("cold"), and again with what the first left there ("warm"). "plain" compiles nothing. One run each. Writes
benchmarks/results/first_step.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import torch
from common import facts, images_and_labels, show, spiking_graph, training_step, write

from idsnn_convert.runtime.backends import CPU_KERNELS, CPU_MAKERS
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.network import SpikingNetwork

BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time-steps", type=int, nargs="+", default=[4, 32])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--alone", choices=("plain", *CPU_MAKERS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.alone:
        print(json.dumps(seconds(args.alone, args.time_steps[0])))
        return
    rows = {f"T = {steps}": measured(steps, args.threads) for steps in args.time_steps}
    write("first_step", facts(**vars(args), batch=BATCH) | {"seconds": rows})
    show(rows)


def measured(steps: int, threads: int) -> dict[str, float]:
    found = {}
    for maker in ("plain", *CPU_MAKERS):
        with tempfile.TemporaryDirectory() as caches:
            there = {"XDG_CACHE_HOME": caches, "TORCHINDUCTOR_CACHE_DIR": f"{caches}/inductor", CPU_KERNELS: maker}
            env = {**os.environ, **(there if maker != "plain" else {})}
            command = [sys.executable, __file__, "--alone", maker, "--time-steps", str(steps), "--threads", str(threads)]
            for state in ("cold", "warm"):
                done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
                found[f"{maker}, {state}"] = round(json.loads(done.stdout.splitlines()[-1]), 2)
    return found


def seconds(maker: str, steps: int) -> float:
    graph = spiking_graph("resnet20")
    network = SpikingNetwork(graph, fresh_tensors(graph, 0), steps, compiled=maker != "plain")
    step = training_step(network, *images_and_labels(BATCH))
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
