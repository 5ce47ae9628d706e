"""Weights of 8 and 16 bits beside float32: accuracy, answers and spikes of trained students on real test images, and time.

    python benchmarks/fixed_point.py STUDENT... --data SET:DIR [--images 2000] [--batch 100] [--threads 1] [--rounds 5]

Every student runs folded, on compiled kernels: float32, bfloat16 (autocast), weights of 16 and of 8 bits. "same answer" and
"flipped" are against float32: the share of images with the same class, and of all spikes, fired or not, that differ. One
batch is timed, all versions taking turns in every round; ratios are within a round. Writes benchmarks/results/fixed_point.json.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from common import facts, interleaved, show, summary, write
from torch import Tensor

from idsnn_convert.runtime.allocator import keep_memory
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.data.batches import test_batches
from idsnn_convert.runtime.data.types import Split
from idsnn_convert.runtime.fixed_point import decoded
from idsnn_convert.runtime.inference import Inference
from idsnn_convert.runtime.normalisation import from_json

VERSIONS: dict[str, tuple[int | None, bool]] = {
    "float32": (None, False),
    "bfloat16": (None, True),
    "16-bit weights": (16, False),
    "8-bit weights": (8, False),
}
"""Name in the table -> bits of the weights, and whether under bfloat16 autocast."""


class Version:
    """One way to run a student, and the spikes of its last batch."""

    def __init__(self, path: Path, bits: int | None, bf16: bool) -> None:
        self.checkpoint, self.bf16 = read(path), bf16
        self.inference = Inference(self.checkpoint, compiled=True, weight_bits=bits)

    def __call__(self, images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            return self.inference(images).classes

    def watched(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The answers, and every layer's spikes as booleans."""
        network, spikes = self.inference.network, {}

        def note(name: str, channels: int, given: Tensor) -> None:
            spikes[name] = decoded(given, channels) > 0

        with ExitStack() as hooks:
            for node in network.graph.of("neuron"):
                told = lambda module, x, y, name=node.name, channels=node.shape[0]: note(name, channels, y)  # noqa: E731
                hooks.callback(network.layer(node.name).register_forward_hook(told).remove)
            return self(images), spikes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("students", type=Path, nargs="+")
    parser.add_argument("--data", required=True)
    for name, value in (("images", 2000), ("batch", 100), ("threads", 1), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_memory()
    split = open_dataset(args.data).test.first(args.images)
    tables = {}
    for path in args.students:
        name, table = measured(path, split, args)
        tables[name] = table
        print(name)
        show(table)
    given = vars(args) | {"students": [path.name for path in args.students], "data": args.data.partition(":")[0]}
    write("fixed_point", facts(**given) | tables)


def measured(path: Path, split: Split, args: argparse.Namespace) -> tuple[str, dict[str, dict[str, Any]]]:
    versions = {name: Version(path, *how) for name, how in VERSIONS.items()}
    checkpoint = versions["float32"].checkpoint
    if checkpoint.normalisation is None:
        raise SystemExit(f"{path} does not say how its images are normalised")
    right, same, flipped, spikes = (dict.fromkeys(versions, 0) for _ in range(4))
    batches = [*test_batches(split, args.batch, normalisation=from_json(checkpoint.normalisation))]
    for images, labels in batches:
        wanted: tuple[Tensor, dict[str, Tensor]] | None = None
        for name, version in versions.items():
            found = version.watched(images)
            wanted = wanted or found
            right[name] += int((found[0] == labels).sum())
            same[name] += int((found[0] == wanted[0]).sum())
            flipped[name] += sum(int((fired != wanted[1][layer]).sum()) for layer, fired in found[1].items())
            spikes[name] += sum(fired.numel() for fired in found[1].values())
    steps = {name: lambda version=version: version(batches[0][0]) for name, version in versions.items()}
    rows = summary(interleaved(steps, args.rounds, "cpu" if args.threads == 1 else "wall"), ("float32",))
    for name, row in rows.items():
        row |= {"top1": round(100 * right[name] / len(split), 2), "same answer": round(100 * same[name] / len(split), 2)}
        row |= {"flipped": flipped[name], "of": spikes[name]}
    mapping = checkpoint.mapping or {}
    return f"{mapping.get('target', path.stem)}, {checkpoint.time_steps} steps", rows


if __name__ == "__main__":
    main()
