"""Where the time of one training step goes: convolutions, what lies between them, and the rest.

    PYTHONPATH=. python benchmarks/profile_step.py [--arch resnet18] [--time-steps 4] [--batch 8] [--threads 1] [--steps 5]

Each version takes its steps under torch.profiler; every operator's own time (without that of what it calls) goes to the part
that it, or what called it, belongs to: convolution (forward and both gradients), norm and neuron, optimizer, and the rest,
where SpikingJelly's neurons are too: they are many small operators. Shares of the whole, in percent. Writes
benchmarks/results/profile_step_ARCH_tT_bB_threadsN.json.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from common import facts, images_and_labels, show, spiking_graph, training_step, write
from torch.profiler import ProfilerActivity, profile
from train_step import makers

from idsnn_convert.runtime.allocator import keep_memory

VERSIONS = ("compiled", "compiled, convolutions direct", "plain", "layer by layer", "SpikingJelly")

PARTS = {
    "convolution": ("conv", "_Convolution", "mkldnn", "onednn"),
    "norm and neuron": ("batch_norm", "_NormNeuron", "_Neuron", "_MultiStep", "CompiledFxGraph", "TorchDynamo"),
    "optimizer": ("Optimizer",),
}
"""A part -> what the names of its operators hold."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18")
    for name, value in (("time-steps", 4), ("batch", 8), ("threads", 1), ("steps", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_memory()
    images, labels = images_and_labels(args.batch)
    rows: dict[str, dict[str, Any]] = {}
    made = makers(spiking_graph(args.arch), args.time_steps, args.batch)
    for name in VERSIONS:
        try:
            network = made[name]()
        except ImportError:
            print(f"{name} is not installed and is left out")
            continue
        step = training_step(network, images, labels)
        for _ in range(2):
            step()
        with profile(activities=[ProfilerActivity.CPU]) as watched:
            for _ in range(args.steps):
                step()
        rows[name] = shares(watched.events())
    told = f"{args.arch}_t{args.time_steps}_b{args.batch}_threads{args.threads}"
    write(f"profile_step_{told}", facts(**vars(args)) | {"percent": rows})
    show(rows)


def shares(events: Iterable[Any]) -> dict[str, float]:
    spent: Counter[str] = Counter()
    for event in events:
        spent[part(event)] += event.self_cpu_time_total
    whole = sum(spent.values())
    return {name: round(100 * spent[name] / whole, 1) for name in (*PARTS, "the rest")}


def part(event: Any) -> str:
    while event is not None:
        for name, marks in PARTS.items():
            if any(mark in event.name for mark in marks):
                return name
        event = event.cpu_parent
    return "the rest"


if __name__ == "__main__":
    main()
