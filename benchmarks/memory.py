"""Memory of one training step: what is kept for the backward, and the process's peak.

    python benchmarks/memory.py [--arch resnet18] [--time-steps 4] [--batch 32] [--threads 2]

Every version runs two steps in a process of its own, under one allocator. "Saved" are the distinct storages that autograd
keeps from forward to backward, parameters left out; "peak" is the most resident memory the process had, less what it had
before the network was made. Writes benchmarks/results/memory_ARCH_tT_bB.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
from common import facts, images_and_labels, show, spiking_graph, training_step, write
from torch import Tensor
from train_step import makers

from idsnn_convert.runtime.allocator import keep_memory

VERSIONS = ("SpikingJelly", "snnTorch", "layer by layer", "plain", "compiled", "compiled, spikes packed")
BFLOAT16 = ("compiled",)
MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18")
    for name, value in (("time-steps", 4), ("batch", 32), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.alone:
        print(json.dumps(measured(args)))
        return
    names = [*VERSIONS, *(f"{name}, bfloat16" for name in BFLOAT16)]
    rows = {name: row for name in names if (row := in_process(name)) is not None}
    for row in rows.values():
        for key in ("saved", "peak"):
            if "SpikingJelly" in rows:
                row[f"{key} to SpikingJelly"] = round(row[f"{key}_mib"] / rows["SpikingJelly"][f"{key}_mib"], 3)
    write(f"memory_{args.arch}_t{args.time_steps}_b{args.batch}", facts(**vars(args)) | {"step": rows})
    show(rows)


def in_process(name: str) -> dict[str, float] | None:
    done = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--alone", name], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{name} failed and is left out")
        return None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(args: argparse.Namespace) -> dict[str, float]:
    """Of two steps: the first compiles what is to be compiled, which must not count."""
    keep_memory()
    graph, bf16 = spiking_graph(args.arch), args.alone.endswith(", bfloat16")
    images, labels = images_and_labels(args.batch)
    make = makers(graph, args.time_steps, args.batch)[args.alone.removesuffix(", bfloat16")]
    warm = makers(graph, args.time_steps, 2)[args.alone.removesuffix(", bfloat16")]()
    training_step(warm, *images_and_labels(2), bf16)()
    del warm
    before = resident()
    network = make()
    weights = {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor.view_as(tensor)  # the tensor itself would be a cycle

    with Peak() as peak:
        step = training_step(network, images, labels, bf16)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            step()
    return {"saved_mib": round(sum(saved.values()) / MIB, 1), "peak_mib": round((peak.most - before) / MIB, 1)}


class Peak:
    """The most resident memory of this process within, looked at a thousand times a second."""

    def __enter__(self) -> Peak:
        self.most, self.going = resident(), True
        self.watching = threading.Thread(target=self._watch)
        self.watching.start()
        return self

    def _watch(self) -> None:
        while self.going:
            self.most = max(self.most, resident())
            time.sleep(0.001)

    def __exit__(self, *_: object) -> None:
        self.going = False
        self.watching.join()


def resident() -> int:
    """Bytes; Linux alone tells them this way."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    main()
