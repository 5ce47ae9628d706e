"""Memory and time of one LaSNN training step at T = 100: hybrid training, activation attention, gradient attention.

    python benchmarks/lasnn_memory.py [--arch vgg5] [--batch 2] [--chunks 0,25,10]

Each recipe with all time steps at once (chunk 0) and a few at a time (run.time_chunk), the student and a resnet20 teacher with
fresh weights, 32x32 images. The figure is the most bytes that the tensors of one step take at one time, counted storage by
storage: no allocator's doing, the same in every run; it grows in proportion to the batch. The seconds are the processor's,
on one thread. Writes ``benchmarks/results/lasnn_memory_ARCH_t100_bB.json``.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from idsnn_convert.passes.spike import spike
from idsnn_convert.passes.targets import build_target
from idsnn_convert.runtime.ann_file import AnnFile, save_ann
from idsnn_convert.runtime.checkpoint import Checkpoint, save
from idsnn_convert.runtime.data.types import Dataset, Split
from idsnn_convert.runtime.initialise import fresh_tensors
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.recipe import load_recipe
from idsnn_convert.study.lasnn.memory import step_bytes

RESULTS = Path(__file__).resolve().parent / "results"
SHAPE, CLASSES = (3, 32, 32), 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="vgg5")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--chunks", default="0,25,10")
    args = parser.parse_args()
    torch.set_num_threads(1)
    images = Split(torch.zeros(args.batch, *SHAPE, dtype=torch.uint8), torch.zeros(args.batch, dtype=torch.int64), CLASSES)
    data = Dataset("zeros", CLASSES, (), Path(), {"train": images, "test": images}.__getitem__)
    points = []
    with TemporaryDirectory() as folder:
        student, teacher = Path(folder) / "student.safetensors", Path(folder) / "teacher.safetensors"
        graph = spike(build_target(args.arch, input_shape=SHAPE, classes=CLASSES).graph, Neuron(kind="if", decay=1.0))
        save(student, Checkpoint(graph, fresh_tensors(graph, 0), 100))
        plain = build_target("resnet20", input_shape=SHAPE, classes=CLASSES).graph
        save_ann(teacher, AnnFile("resnet20", plain, fresh_tensors(plain, 0)))
        for chunk in map(int, args.chunks.split(",")):
            for recipe in ("hybrid", "lasnn", "lasnn-gradient"):
                settings = load_recipe(recipe, [f"run.time_chunk={chunk}", f"run.batch_size={args.batch}"])
                tutor = None if recipe == "hybrid" else teacher
                began = time.process_time()
                taken = step_bytes(student, tutor, data, settings, torch.device("cpu"))
                seconds = time.process_time() - began
                point = {"recipe": recipe, "chunk": chunk, "mib": round(taken / 2**20, 1), "cpu_seconds": round(seconds, 1)}
                print(json.dumps(point), flush=True)
                points.append(point)
    facts = {"arch": args.arch, "time_steps": 100, "batch": args.batch, "teacher": "resnet20", "runs": 1, "threads": 1}
    machine = {"torch": torch.__version__, "python": platform.python_version(), "processor": platform.machine()}
    path = RESULTS / f"lasnn_memory_{args.arch}_t100_b{args.batch}.json"
    path.write_text(json.dumps({**facts, **machine, "points": points}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
