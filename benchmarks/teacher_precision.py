"""What a teacher's precision does to its student: runs that differ in nothing else, over several seeds.

    python benchmarks/teacher_precision.py TEACHER --data cifar10:DIR [--student resnet20] [--time-steps 2] [--images 5000]
        [--test 10000] [--epochs 6] [--seeds 3]

Recipe ``idsnn-fast`` on compiled kernels, all threads. "top1": percent of the test images after the last epoch, of each seed;
"loss": of the distillation in the last epoch. Writes benchmarks/results/teacher_precision_STUDENT.json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from common import facts, show, write

from idsnn_convert.api import convert
from idsnn_convert.learn import train_file
from idsnn_convert.passes.convert import Settings
from idsnn_convert.runtime.allocator import keep_memory
from idsnn_convert.runtime.checkpoint import read

PRECISIONS = ("float32", "bfloat16", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--student", default="resnet20")
    for name, value in (("time-steps", 2), ("images", 5000), ("test", 10_000), ("epochs", 6), ("seeds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        student, _ = convert(args.teacher, args.student, Path(folder, "s"), settings=Settings(time_steps=args.time_steps))
        rows: dict[str, dict[str, Any]] = {name: {"top1": [], "loss": []} for name in PRECISIONS}
        for seed in range(args.seeds):
            for name, row in rows.items():
                metrics = trained(student, Path(folder, f"{name}{seed}"), name, seed, args)
                row["top1"].append(round(metrics["test_top1_percent"], 2))
                row["loss"].append(round(metrics["train_kl"], 4))
                print(seed, name, row["top1"][-1], row["loss"][-1], flush=True)
    for row in rows.values():
        row |= {"mean": round(statistics.fmean(row["top1"]), 2), "deviation": round(statistics.stdev(row["top1"]), 2)}
    given = vars(args) | {"teacher": args.teacher.name, "data": args.data.partition(":")[0]}
    write(f"teacher_precision_{args.student}", facts(**given) | {"teacher in": rows})
    show(rows)


def trained(student: Path, out: Path, precision: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """The metrics of the last epoch."""
    settings = [f"run.epochs={args.epochs}", f"run.seed={seed}", f"run.teacher_precision={precision}"]
    more: dict[str, Any] = {"limit_train": args.images, "limit_test": args.test, "recipe": "idsnn-fast", "compiled": True}
    run = train_file(student, args.data, out, teacher=args.teacher, overrides=settings, **more)
    metrics: dict[str, Any] = read(run.result.last).training["metrics"]
    return metrics


if __name__ == "__main__":
    main()
