"""What initialisation and distillation each add, on real CIFAR at the scale of a laptop.

    python benchmarks/arms.py --data cifar10:DIR --teacher resnet32-d509ac18.th --target resnet20

Converts the teacher once a seed (the seed draws the fresh head), then trains every arm with ``idsnn train`` on the
same 10,000 images and evaluates it on all test images after each epoch; at the end each network is evaluated once
more, its batch norm statistics measured anew under the final weights. Each run is a process of its own on one thread;
``--jobs`` run side by side. Finished runs are kept in the work folder and not run again. Writes
``benchmarks/results/arms_SET_TARGET.json`` and a plot beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import idsnn_convert
from idsnn_convert import runtime
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.data.batches import train_batches
from idsnn_convert.runtime.evaluate import evaluate
from idsnn_convert.runtime.normalisation import from_json
from idsnn_convert.runtime.recalibrate import recalibrate

RESULTS = Path(__file__).resolve().parent / "results"

# The paper's settings at their first learning rate; a run this short never reaches a milestone.
PAPER = ["schedule.kind=constant"]
ARMS: dict[str, tuple[str, list[str]]] = {
    "neither": ("baseline", PAPER),
    "distillation": ("kd-only", PAPER),
    "initialisation": ("init-only", PAPER),
    "both, paper's settings": ("idsnn", PAPER),
    "both, idsnn-fast": ("idsnn-fast", []),
}
"""Name in the table -> recipe and what is changed of it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--teacher", required=True, type=Path)
    parser.add_argument("--target", default="resnet20")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--limit-train", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("arms-runs"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    students = {seed: convert(args, seed) for seed in args.seeds}
    todo = [(arm, seed) for seed in args.seeds for arm in ARMS]
    with ThreadPoolExecutor(args.jobs) as pool:
        curves = dict(zip(todo, pool.map(lambda job: trained(args, *job, students[job[1]]), todo), strict=True))
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as processes:
        again = dict(zip(todo, processes.map(recalibrated, [args] * len(todo), *zip(*todo, strict=True)), strict=True))
    write(args, curves, again)


def idsnn(*arguments: object) -> None:
    """Runs the command line on one thread; its words stay in the log of the caller."""
    command = [sys.executable, "-m", "idsnn_convert", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "OMP_NUM_THREADS": "1"})


def convert(args: argparse.Namespace, seed: int) -> Path:
    student = args.work / f"student-{seed}.safetensors"
    if not student.exists():
        idsnn("convert", args.teacher, "--target", args.target, "--seed", seed, "-o", student)
    return student


def trained(args: argparse.Namespace, arm: str, seed: int, student: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl of one arm with one seed."""
    recipe, changes = ARMS[arm]
    run = folder(args, arm, seed)
    metrics = run / "metrics.jsonl"
    if not metrics.exists() or len(metrics.read_text().splitlines()) < args.epochs:
        options = ["--data", args.data, "--teacher", args.teacher, "--recipe", recipe, "--out", run, "--compile"]
        options += ["--epochs", args.epochs, "--seed", seed, "--limit-train", args.limit_train]
        options += [word for change in changes for word in ("--set", change)]
        idsnn("train", student, *options, *(["--resume"] if run.exists() else []))
    return [json.loads(line) for line in metrics.read_text().splitlines()]


def folder(args: argparse.Namespace, arm: str, seed: int) -> Path:
    return Path(args.work / f"{ARMS[arm][0]}-{seed}")


def recalibrated(args: argparse.Namespace, arm: str, seed: int) -> float:
    """Top-1 in percent of the run's last network with batch norm statistics of 40 fresh training batches."""
    torch.set_num_threads(1)
    checkpoint = read(folder(args, arm, seed) / "last.safetensors")
    network = runtime.network(checkpoint, compiled=True).to(memory_format=torch.channels_last)
    dataset, normalisation = open_dataset(args.data), from_json(checkpoint.normalisation)
    split = dataset.train.sample(args.limit_train, seed)
    batches = train_batches(split, 64, seed=seed, epoch=args.epochs, normalisation=normalisation)
    recalibrate(network, (images for images, _ in islice(batches, 40)))
    return evaluate(network, dataset.test, normalisation).top1


def write(
    args: argparse.Namespace,
    curves: dict[tuple[str, int], list[dict[str, Any]]],
    again: dict[tuple[str, int], float],
) -> None:
    arms = {}
    for arm, (recipe, changes) in ARMS.items():
        runs = {seed: [line["test_top1_percent"] for line in curves[arm, seed]] for seed in args.seeds}
        by_epoch = list(zip(*runs.values(), strict=True))
        arms[arm] = {
            "recipe": recipe,
            "changes": changes,
            "top1_percent_by_epoch_and_seed": runs,
            "mean": [round(statistics.mean(values), 2) for values in by_epoch],
            "deviation": [round(statistics.stdev(values), 2) if len(values) > 1 else None for values in by_epoch],
            "last_recalibrated_by_seed": {seed: again[arm, seed] for seed in args.seeds},
            "last_recalibrated_mean": round(statistics.mean(again[arm, seed] for seed in args.seeds), 2),
            "train_images_per_second": round(
                statistics.median(x["train_images_per_second"] for s in args.seeds for x in curves[arm, s])
            ),
        }
    facts = {
        "teacher": args.teacher.name,
        "target": args.target,
        "data": args.data.partition(":")[0],
        "train_images": args.limit_train,
        "epochs": args.epochs,
        "seeds": args.seeds,
        "time_steps": 4,
        "threads": 1,
        "runs_side_by_side": args.jobs,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "idsnn-convert": idsnn_convert.__version__,
        },
        "arms": arms,
    }
    RESULTS.mkdir(exist_ok=True)
    name = RESULTS / f"arms_{facts['data']}_{args.target}"
    name.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    name.with_suffix(".svg").write_text(plot(arms, f"{facts['target']} from {facts['teacher']}, {facts['data']}"))
    for arm, found in arms.items():
        means = "  ".join(f"{m:5.2f} +- {d}" for m, d in zip(found["mean"], found["deviation"], strict=True))
        print(f"{arm:24s} {means}   recalibrated {found['last_recalibrated_mean']:5.2f}")


def plot(arms: dict[str, Any], title: str) -> str:
    """Mean top-1 over epochs, one line an arm, with the seeds as dots: a small SVG that needs no library."""
    colours = ("#777777", "#d1495b", "#2e86ab", "#8e5ea2", "#1b998b")
    left, top, width, height, right = 50, 40, 380, 240, 190
    epochs = len(next(iter(arms.values()))["mean"])
    highest = max(value for arm in arms.values() for run in arm["top1_percent_by_epoch_and_seed"].values() for value in run)
    ceiling = 10 * (int(highest) // 10 + 1)

    def x(epoch: int) -> float:
        return left + width * (epoch + 0.5) / epochs

    def y(value: float) -> float:
        return top + height * (1 - value / ceiling)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + right} {top + height + 50}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="20" font-size="14">{title}</text>',
        f'<text x="{left + width / 2}" y="{top + height + 40}" text-anchor="middle">epochs</text>',
    ]
    for value in range(0, ceiling + 1, 10):
        parts.append(f'<path d="M{left} {y(value):.1f}h{width}" stroke="#dddddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value} %</text>')
    parts += [f'<text x="{x(e):.1f}" y="{top + height + 18}" text-anchor="middle">{e + 1}</text>' for e in range(epochs)]
    for place, ((name, arm), colour) in enumerate(zip(arms.items(), colours, strict=False)):
        points = " ".join(f"{x(e):.1f},{y(value):.1f}" for e, value in enumerate(arm["mean"]))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for run in arm["top1_percent_by_epoch_and_seed"].values():
            parts += [f'<circle cx="{x(e):.1f}" cy="{y(value):.1f}" r="2.5" fill="{colour}"/>' for e, value in enumerate(run)]
        row = top + 20 * place + 10
        parts.append(f'<path d="M{left + width + 12} {row - 4}h16" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{left + width + 34}" y="{row}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    main()
