"""Threshold balancing of a trained network without biases and norms: accuracy against time steps, and thresholds by hand.

    idsnn teach --arch vgg5 --width 0.5 --normalisation half --epochs 6 --set optimizer.grad_clip=5 \\
        --data cifar10:DIR --out RUN
    python benchmarks/balance.py RUN/best.safetensors --data cifar10:DIR --test 500

Converts the network once for each arm of ``ARMS`` and measures the student after 1 to T steps on the first test images,
beside the network without spikes on the same ones. For the arms that say so, the thresholds are computed
again without this project's network, neurons and balancing: convolutions and neurons in float64, one time step after the
other, from the same images and the same random numbers. Writes ``balance.json``, ``balance.md`` and ``balance.svg`` in
``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from idsnn_convert.api import Settings, convert
from idsnn_convert.balance import BATCH, Balancing
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.runtime.ann_file import read_ann
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.neurons import Neuron
from idsnn_convert.runtime.normalisation import from_json

RESULTS = Path(__file__).resolve().parent / "results"
IF = Neuron("if", decay=1.0, reset="soft")
SEED = 0

# Name -> neuron, encoder, rule, T, share of the test images, whether the thresholds are computed by hand too.
ARMS: dict[str, tuple[Neuron, str, str, int, float, bool]] = {
    "direct, soft reset, max": (IF, "direct", "max", 256, 1.0, True),
    "direct, soft reset, 99.9th percentile": (IF, "direct", "percentile:99.9", 256, 1.0, True),
    "Poisson, soft reset, max": (IF, "poisson", "max", 256, 1.0, True),
    "direct, hard reset, max": (replace(IF, reset="hard"), "direct", "max", 256, 0.4, False),
    "Poisson, soft reset, max, to T = 2500": (IF, "poisson", "max", 2500, 0.04, False),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--only", default="", help="Arms whose name holds this.")
    asked = parser.parse_args()
    rows = []
    for name, arm in ARMS.items():
        if asked.only in name:
            rows.append({"arm": name, **measured(asked, *arm)})
            print(json.dumps(rows[-1]), flush=True)
    training = read_ann(asked.teacher).training
    facts = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "seed": SEED,
        "runs": 1,
        "network": {"arch": load_teacher(asked.teacher).arch, **network_told(training)},
        "calibration": {"images": asked.images, "steps": asked.steps},
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "arms": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "balance.json").write_text(json.dumps(facts, indent=1) + "\n")
    (RESULTS / "balance.md").write_text(told(facts))
    drawn(facts)


def network_told(training: Any) -> dict[str, Any]:
    metrics, recipe = training["metrics"], training["recipe"]
    return {
        "target": training["target"],
        "data": training["dataset"],
        "train_images": training["train_images"],
        "epochs": metrics["epoch"],
        "batch_size": recipe["run"]["batch_size"],
        "optimizer": recipe["optimizer"],
        "test_top1_percent": metrics["test_top1_percent"],
        "test_images": training["test_images"],
    }


def measured(
    asked: argparse.Namespace, neuron: Neuron, encoder: str, rule: str, time_steps: int, share: float, check: bool
) -> dict[str, Any]:
    settings = Settings(time_steps=time_steps, encoder=encoder, neuron=neuron, seed=SEED)
    how = Balancing(rule, asked.steps, asked.images, round(asked.test * share), device="cpu")
    began, used = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "student.safetensors"
        found = convert(asked.teacher, "same", place, settings=settings, balance=how, data=asked.data).checkpoint
    seconds = {"wall_seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - used}
    record = dict(found.mapping["balance"])
    if check:
        begun = time.process_time()
        again = by_hand(asked, neuron.reset, encoder, how.percentile)
        pairs = zip((row["v_threshold"] for row in record["thresholds"]), again, strict=True)
        off = [abs(ours - theirs) / theirs for ours, theirs in pairs]
        record["by_hand"] = {"thresholds": again, "relative_difference": off, "cpu_seconds": time.process_time() - begun}
    return {"reset": neuron.reset, "time_steps": time_steps, **seconds, **record}


def by_hand(asked: argparse.Namespace, reset: str, encoder: str, percentile: float) -> list[float]:
    """The thresholds of conv-IF(-mean pool) layers, then linear-IF ones, in float64, without the project's network."""
    weights = {name: tensor.double() for name, tensor in load_file(asked.teacher).items()}
    normalisation = from_json(load_teacher(asked.teacher).normalisation)
    split = open_dataset(asked.data).train.sample(asked.images, SEED)
    batches = [normalisation(images) for images in split.images.split(BATCH)]
    torch.manual_seed(SEED)
    drawn = [torch.rand(asked.steps, *images.shape) for images in batches] if encoder == "poisson" else []
    names = [name for name in weights if name != "fc.weight"]
    pooled = pools(asked.teacher)
    thresholds: list[float] = []
    for depth, last in enumerate(names):
        largest = torch.zeros(0)
        for index, images in enumerate(batches):
            potentials: list[Tensor | float] = [0.0] * depth
            for t in range(asked.steps):
                x = (drawn[index][t] < images.abs()) * images.sign() if drawn else images
                x = x.double()
                for i, name in enumerate(names[:depth]):
                    u = potentials[i] + layer(x, weights[name])
                    x = (u > thresholds[i]).double()
                    potentials[i] = u - thresholds[i] * x if reset == "soft" else u * (1 - x)
                    x = F.avg_pool2d(x, 2) if pooled[i] else x
                current = layer(x, weights[last])
                count = asked.images * asked.steps * current[0].numel()
                kept = count - math.ceil(count * percentile / 100) + 1  # the nearest rank is the last of so many
                largest = torch.cat([largest, current.flatten()])
                largest = largest.topk(min(kept, len(largest))).values
        thresholds.append(largest[-1].item())
    return thresholds


def layer(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, padding=weight.shape[-1] // 2) if weight.dim() == 4 else F.linear(x.flatten(1), weight)


def pools(teacher: Path) -> list[bool]:
    """Of each neuron layer in order, whether a mean pool follows."""
    graph = load_teacher(teacher).graph
    return [any(graph[user].op == "avg_pool2d" for user in graph.users[node.name]) for node in graph.of("activation")]


def told(facts: dict[str, Any]) -> str:
    network, calibration = facts["network"], facts["calibration"]
    lines = [
        "# Threshold balancing: accuracy against time steps",
        "",
        f"{network['arch']} (width {network['target'].get('width', 1)}), trained here for {network['epochs']} epochs on "
        f"{network['train_images']:,} images of {network['data']}: {network['test_top1_percent']:.2f} % of "
        f"{network['test_images']:,} test images. Thresholds from {calibration['images']} training images, "
        f"{calibration['steps']} time steps each. One run, seed {facts['seed']}, {facts['machine']['threads']} thread.",
        "",
        "| arm | images | without spikes | " + " | ".join(f"T={t}" for t in SHOWN) + " | within 1 point from T |",
        "|---|---:|---:|" + "---:|" * (len(SHOWN) + 1),
    ]
    for row in facts["arms"]:
        curve = row["curve"]
        at = dict(zip(curve["steps"], curve["top1"], strict=True))
        cells = [f"{at[t]:.1f}" if t in at else "" for t in SHOWN]
        lines.append(
            f"| {row['arm']} | {curve['images']} | {curve['ann_top1']:.1f} | {' | '.join(cells)} | {close_from(curve)} |"
        )
    lines += ["", "Thresholds, and how far those computed by hand in float64 are from them (largest relative difference):", ""]
    for row in facts["arms"]:
        values = ", ".join(f"{entry['v_threshold']:.6g}" for entry in row["thresholds"])
        again = f"; by hand: {max(row['by_hand']['relative_difference']):.1e}" if "by_hand" in row else ""
        lines.append(f"- {row['arm']}: {values}{again}")
    lines += [
        "",
        "The largest current differs by the rounding of float32. A percentile is told to within 1/32768 of the largest",
        "current; by hand it is exact, and each layer is computed behind the exact ones.",
        "",
        f"At most {facts['peak_memory_mib']:,} MiB of memory, T = 2500 and the computation by hand included.",
        "",
        "![curves](balance.svg)",
    ]
    return "\n".join(lines) + "\n"


SHOWN = (1, 10, 25, 50, 100, 158, 256, 1000, 2500)


def close_from(curve: dict[str, Any]) -> str:
    """The first step told from which on the student stays within one point of the network without spikes."""
    close = [abs(top1 - curve["ann_top1"]) <= 1 for top1 in curve["top1"]]
    if not close[-1]:
        return "-"
    return str(curve["steps"][len(close) - next((i for i, one in enumerate(reversed(close)) if not one), len(close))])


def drawn(facts: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for row in facts["arms"]:
        axes.plot(row["curve"]["steps"], row["curve"]["top1"], marker=".", label=f"{row['arm']} ({row['curve']['images']})")
    axes.axhline(facts["arms"][0]["curve"]["ann_top1"], color="gray", linestyle="--", label="without spikes")
    axes.set(xscale="log", xlabel="time steps T", ylabel="top-1, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(RESULTS / "balance.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
