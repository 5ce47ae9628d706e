"""What a cache of the teacher's logits saves: a training step without it, while it fills, and out of it; and whole runs.

    python benchmarks/teacher_cache.py TEACHER --data cifar10:DIR [--student resnet20] [--images 384] [--batch 64] [--epochs 2]
        [--rounds 9] [--plain]

Steps: each round trains the student on a batch not seen before, asking the teacher (``without``), asking it and keeping its
logits (``cold``), and finding them in a file (``warm``), beside the teacher's forward and the SHA-256 of the batch alone.
Compiled kernels, unless --plain. Runs, on plain kernels: one without a cache, the same with an empty and with a filled one,
then with other hyperparameters, as another student and as another seed: the share of logits found, whether the weights are
those of the first run to the bit, and what is on disk. One thread, CPU seconds, medians.
Writes benchmarks/results/teacher_cache_STUDENT.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from common import facts, interleaved, show, summary, write
from torch import nn

from idsnn_convert import runtime
from idsnn_convert.api import convert
from idsnn_convert.learn import train_file
from idsnn_convert.passes.convert import Settings
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.runtime.allocator import keep_memory
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.data.batches import Batch, train_batches
from idsnn_convert.runtime.network import build
from idsnn_convert.runtime.normalisation import KNOWN
from idsnn_convert.runtime.objective import Objective
from idsnn_convert.runtime.recipe import load_recipe
from idsnn_convert.runtime.seal import digest
from idsnn_convert.runtime.teacher_cache import TeacherCache
from idsnn_convert.runtime.updates import Updates

CPU = torch.device("cpu")
WARMUPS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--student", default="resnet20")
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--plain", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        timed = steps(args, Path(folder))
        show(timed)
        trained = runs(args, Path(folder))
        show(trained)
    told = facts(
        teacher=args.teacher.name,
        student=args.student,
        time_steps=4,
        batch=args.batch,
        images=args.images,
        epochs=args.epochs,
        rounds=args.rounds,
        clock="cpu",
        kernels="plain" if args.plain else "compiled",
    )
    write(f"teacher_cache_{args.student}", {**told, "steps": timed, "runs": trained})


def student(args: argparse.Namespace, folder: Path, arch: str) -> Path:
    place = folder / f"{arch}.safetensors"
    convert(args.teacher, arch, place, settings=Settings(time_steps=4), force=True)
    return place


def steps(args: argparse.Namespace, folder: Path) -> dict[str, dict[str, Any]]:
    """Seconds of a step of each version, and of its parts."""
    recipe = load_recipe("idsnn")
    network = runtime.network(read(student(args, folder, args.student)), compiled=not args.plain)
    network = network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    loaded = load_teacher(args.teacher)
    teacher = build(loaded.graph, loaded.tensors, compiled=not args.plain).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    split, usual = open_dataset(args.data).train, KNOWN["imagenet"]
    epoch = train_batches(split, args.batch, seed=0, epoch=0, normalisation=usual, augment=recipe.augment)
    batches = list(islice(epoch, WARMUPS + args.rounds))
    updates = Updates(network, recipe, CPU)

    def step(asked: nn.Module) -> Callable[[], None]:
        following, objective = iter(batches), Objective(network, asked, recipe.loss)

        def one() -> None:
            updates.backward(objective(*next(following)).total)
            updates.step(0.05, 0)

        return one

    def part(work: Callable[[Batch], object]) -> Callable[[], object]:
        following = iter(batches)
        return lambda: work(next(following))

    with torch.no_grad():
        filled = TeacherCache(folder / "filled", "").of(teacher, recipe.run, CPU)
        for images, _ in batches:
            filled(images)
        filled.publish()
        filled = TeacherCache(folder / "filled", "").of(teacher, recipe.run, CPU)
        filled.begin_epoch()
    versions = {
        "without": step(teacher),
        "cold": step(TeacherCache(folder / "empty", "").of(teacher, recipe.run, CPU)),
        "warm": step(filled),
        "teacher alone": part(torch.no_grad()(lambda batch: teacher(batch[0]))),
        "SHA-256 of the batch": part(lambda batch: digest({"images": batch[0]})),
    }
    return summary(interleaved(versions, args.rounds, "cpu", WARMUPS), ["without"])


def runs(args: argparse.Namespace, folder: Path) -> dict[str, dict[str, Any]]:
    """Whole runs over the same images: what each found, and whether it learnt what the first did."""
    cache, first = folder / "cache", student(args, folder, args.student)
    other = student(args, folder, "resnet14")
    planned: dict[str, tuple[Path, bool, list[str]]] = {
        "without": (first, False, []),
        "cold": (first, True, []),
        "warm": (first, True, []),
        "other hyperparameters": (first, True, ["optimizer.lr=0.01", "loss.alpha=0.9", "loss.temperature=2.0"]),
        "another student": (other, True, []),
        "another seed": (first, True, ["run.seed=1"]),
    }
    rows: dict[str, dict[str, Any]] = {}
    for name, (start, cached, changes) in planned.items():
        out = folder / name.replace(" ", "-")
        run = train_file(
            start,
            args.data,
            out,
            teacher=args.teacher,
            overrides=[f"run.epochs={args.epochs}", f"run.batch_size={args.batch}", *changes],
            limit_train=args.images,
            limit_test=50,
            compiled=False,
            teacher_cache=cache if cached else None,
        )
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        one, two = read(folder / "without" / "last.safetensors").tensors, read(run.result.last).tensors
        kept = list(cache.rglob("*.safetensors"))
        rows[name] = {
            "found_percent": [line.get("teacher_cached_percent") for line in lines],
            "same_weights": one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one),
            "files": len(kept),
            "bytes": sum(file.stat().st_size for file in kept),
        }
    return rows


if __name__ == "__main__":
    main()
