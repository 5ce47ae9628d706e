"""Threads that spin while they wait, and threads that sleep: training and answering, alone and where two run at once.

    python benchmarks/threads.py [--images 2000] [--rounds 3]

OpenMP's threads wait as one of three policies says: GNU's own (spin 300,000 times, then sleep), spin 1,000 times, sleep at
once. Each round runs, under each policy, ``idsnn train`` of the shipped example for one epoch, alone and two at once, under the
same policy ("training": seconds of the epoch, of two the mean); and answers of the network to one image, alone and while such
a training runs ("answer": milliseconds, the median of 101). Medians over the rounds, with the range. Wants an idle machine.
Writes benchmarks/results/threads.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import facts, write

from idsnn_convert.api import convert
from idsnn_convert.threads import BRIEFLY, SPINS, WAITING

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TEACHER, DATA = EXAMPLES / "fashion_mnist_resnet14.pth", f"fashion-mnist:{EXAMPLES / 'fashion-mnist'}"
POLICIES = {
    "spinning": {SPINS: "300000"},
    "spinning briefly": {SPINS: BRIEFLY},
    "sleeping": {"OMP_WAIT_POLICY": "passive"},
}
ANSWERS = """
import statistics, sys, time
import torch
from idsnn_convert import runtime
network = runtime.Inference(runtime.read(sys.argv[1]), compiled=True)
image, found = torch.randn(1, 1, 28, 28), []
for _ in range(111):
    began = time.perf_counter()
    network(image)
    found.append(time.perf_counter() - began)
print(1000 * statistics.median(found[10:]))
"""

Process = subprocess.Popen[str]


class Bench:
    """One student, and the processes that work on it."""

    def __init__(self, folder: Path, images: int) -> None:
        self.folder, self.images, self.runs = folder, images, 0
        self.student, _ = convert(TEACHER, "resnet8", folder / "student")

    def start(self, policy: str, *arguments: object) -> Process:
        own = {name: value for name, value in os.environ.items() if name not in WAITING}
        given = [sys.executable, *map(str, arguments)]
        return subprocess.Popen(given, env=own | POLICIES[policy], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def training(self, policy: str) -> tuple[Process, Path]:
        self.runs += 1
        out = self.folder / f"run{self.runs}"
        what = ("-m", "idsnn_convert", "train", self.student, "--teacher", TEACHER, "--data", DATA, "--recipe", "idsnn-fast")
        less = ("--epochs", 1, "--limit-train", self.images, "--compile")
        return self.start(policy, *what, *less, "--out", out), out

    def seconds(self, policy: str, at_once: int) -> float:
        """Of the epoch, the mean of so many runs."""
        started = [self.training(policy) for _ in range(at_once)]
        for run, _ in started:
            _done(run)
        return statistics.fmean(json.loads((out / "metrics.jsonl").read_text())["train_seconds"] for _, out in started)

    def answer(self, policy: str, beside: bool) -> float:
        """Milliseconds."""
        if not beside:
            return float(_done(self.start(policy, "-c", ANSWERS, self.student)))
        other, out = self.training(policy)
        try:
            while not (out / "state.safetensors").exists() and other.poll() is None:
                time.sleep(0.1)
            return float(_done(self.start(policy, "-c", ANSWERS, self.student)))
        finally:
            other.kill()
            other.wait()


def _done(process: Process) -> str:
    text, told = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args!r} failed: {told}")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("images", 2000), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    kinds = ("training alone, s", "training, two at once, s", "answer alone, ms", "answer beside a training, ms")
    found: dict[str, dict[str, list[float]]] = {policy: {kind: [] for kind in kinds} for policy in POLICIES}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), args.images)
        for _ in range(args.rounds):
            for policy, row in found.items():
                measured = (
                    bench.seconds(policy, 1),
                    bench.seconds(policy, 2),
                    bench.answer(policy, False),
                    bench.answer(policy, True),
                )
                for kind, value in zip(kinds, measured, strict=True):
                    row[kind].append(round(value, 2))
                print(policy, measured, flush=True)
    rows = {
        policy: {
            kind: {"median": statistics.median(values), "range": [min(values), max(values)]} for kind, values in row.items()
        }
        for policy, row in found.items()
    }
    write("threads", facts(**vars(args)) | {"waiting": rows})


if __name__ == "__main__":
    main()
