"""How the time of a training step grows with time steps, batch, width and image size, against the convolutions alone.

    python benchmarks/scaling.py [--threads 1] [--rounds 5] [--clock cpu|wall]

One quantity grows at a time from resnet20, T = 4, batch 16, 32x32 images; ours compiled and plain, the convolutions and,
where it is installed, SpikingJelly take turns in every round. Writes benchmarks/results/scaling_threadsN_CLOCK.json.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from common import facts, images_and_labels, interleaved, show, spiking_graph, summary, training_step, write
from train_step import makers

from idsnn_convert.runtime.allocator import keep_memory

BASE = {"arch": "resnet20", "time_steps": 4, "batch": 16, "size": 32, "width": 1.0}
GROWN = {
    "time_steps": (1, 2, 4, 8, 16, 32),
    "batch": (1, 4, 64),
    "width": (0.5, 2.0, 4.0),
    "size": (16, 48),
}
VERSIONS = ("convolutions alone", "compiled", "compiled, convolutions direct", "plain", "SpikingJelly")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_memory()
    tables = {}
    for what, values in GROWN.items():
        for value in values:
            tables[f"{what} {value}"] = measured(BASE | {what: value}, args)
            print(f"{what} {value}")
            show(tables[f"{what} {value}"])
    write(f"scaling_threads{args.threads}_{args.clock}", facts(**vars(args), base=BASE) | tables)


def measured(at: dict[str, Any], args: argparse.Namespace) -> dict[str, dict[str, object]]:
    graph = spiking_graph(at["arch"], at["size"], at["width"])
    images, labels = images_and_labels(at["batch"], at["size"])
    found = {}
    for name, make in makers(graph, at["time_steps"], at["batch"]).items():
        if name in VERSIONS:
            try:
                found[name] = training_step(make(), images, labels)
            except ImportError:
                print(f"{name} is not installed and is left out")
    return summary(interleaved(found, args.rounds, args.clock), ("convolutions alone", "SpikingJelly"))


if __name__ == "__main__":
    main()
