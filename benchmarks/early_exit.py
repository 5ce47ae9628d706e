"""What stopping early saves: time, steps and accuracy of a trained student on real test images.

    python benchmarks/early_exit.py STUDENT --data SET:DIR [--images 1000] [--batch 1 50] [--confidence 0.5 0.8 0.9 0.95]
        [--rounds 5]

Each round takes all images through every version, one after the other: T steps at once, and one step after the other until
softmax reaches the confidence (:class:`idsnn_convert.runtime.Inference`); both plain and compiled. One thread, CPU seconds,
medians; normalisation is not timed. Writes benchmarks/results/early_exit_ARCH.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from common import facts, interleaved, show, summary, write
from torch import Tensor

from idsnn_convert.runtime.allocator import keep_memory
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.data.batches import test_batches
from idsnn_convert.runtime.inference import Inference
from idsnn_convert.runtime.normalisation import from_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 50])
    parser.add_argument("--confidence", type=float, nargs="+", default=[0.5, 0.8, 0.9, 0.95])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    checkpoint = read(args.student)
    if checkpoint.normalisation is None:
        parser.error("the student does not say how its images are normalised")
    split = open_dataset(args.data).test.first(args.images)
    (images, labels), *_ = test_batches(split, len(split), normalisation=from_json(checkpoint.normalisation))
    versions = {}
    for name, compiled in (("", False), (", compiled", True)):
        versions[f"all steps{name}"] = Inference(checkpoint, compiled=compiled)
        for each in args.confidence:
            versions[f"until {each:g}{name}"] = Inference(checkpoint, confidence=each, compiled=compiled)
    tables = {}
    for batch in args.batch:
        steps = {name: lambda own=own, batch=batch: answered(own, images, batch) for name, own in versions.items()}
        rows = summary(interleaved(steps, args.rounds, "cpu", warmups=1), ("all steps", "all steps, compiled"))
        for name, own in versions.items():
            classes, taken = answered(own, images, batch)
            rows[name] |= {
                "top1": round(100 * (classes == labels).double().mean().item(), 2),
                "mean steps": round(taken.double().mean().item(), 3),
            }
        tables[f"batch {batch}"] = rows
        print(f"batch {batch}")
        show(rows)
    arch = checkpoint.mapping["target"] if checkpoint.mapping else "student"
    given = {"student": args.student.name, "data": args.data.partition(":")[0], "images": len(labels), "rounds": args.rounds}
    write(f"early_exit_{arch}", facts(**given, time_steps=checkpoint.time_steps) | tables)


def answered(own: Inference, images: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    found = [own(part) for part in images.split(batch)]
    return torch.cat([each.classes for each in found]), torch.cat([each.steps for each in found])


if __name__ == "__main__":
    main()
