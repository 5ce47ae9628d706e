"""The paper's main result on a GPU, in slices: teach ResNet-34, convert to spiking ResNet-18, distil.

    python benchmarks/gpu/paper.py --data cifar100:DIR --out DIR [--minutes 8] [--small]

Each call goes on where the last one stopped and ends after ``--minutes`` at the latest, every run resumable; call it until
it prints the table. Exit code 0: all is done; 3: there is more to do. The results are written to
``OUT/paper.json``: top-1 of all test images beside the paper's (Fan et al. 2023, tables 1 and 4).

``--small`` runs the same pieces with tiny networks and few images, to see on a CPU that the driver works. At full size this
has never been run: no GPU was at hand when it was written.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PAPER = {
    "cifar10": {"idsnn-T4": 94.03, "idsnn-T6": 94.22, "modern-T4": 95.5},
    "cifar100": {"idsnn-T4": 75.24, "idsnn-T6": 75.41, "modern-T4": 78.0},
}
"""What to reach, in percent; ``modern``'s are this project's own aims."""
SCHEDULES = {"60": "[60, 120, 160]", "20": "[20, 40, 60]", "10": "[10, 20, 30]"}
"""Epochs between the falls of the rate -> its milestones (table 4)."""
MORE = 3
STOPPED = (130, -signal.SIGINT)
"""Between two batches, or when the run had just ended."""


@dataclass(frozen=True)
class Piece:
    """A command, and the file whose being there says that it is done; ``run``: of a training run, its folder."""

    name: str
    command: tuple[str, ...]
    done: Path
    run: Path | None = None


def pieces(data: str, out: Path, small: bool) -> list[Piece]:
    teacher_arch, student_arch = ("resnet14", "resnet8") if small else ("resnet34", "resnet18")
    few = ("--limit-train", "600", "--epochs", "2") if small else ()
    teacher = out / "teacher"
    found = [
        Piece(
            "teacher",
            ("teach", "--arch", teacher_arch, "--data", data, *(few or ("--epochs", "200"))),
            teacher / "done",
            teacher,
        )
    ]
    best = str(teacher / "best.safetensors")
    for steps in (4, 6):
        student = out / f"student-T{steps}.safetensors"
        command = ("convert", best, "--target", student_arch, "-T", str(steps), "-o", str(student))
        found.append(Piece(student.stem, command, student))
    trained = {f"idsnn-T{steps}": (steps, "idsnn", SCHEDULES["60"]) for steps in (4, 6)}
    trained |= {f"idsnn-T4-{name}": (4, "idsnn", SCHEDULES[name]) for name in ("20", "10")}
    trained |= {"baseline-T4": (4, "baseline", SCHEDULES["60"]), "modern-T4": (4, "modern", "")}
    for name, (steps, recipe, milestones) in trained.items():
        changes = ("--set", f"schedule.milestones={milestones}") if milestones and not small else ()
        start = ("train", str(out / f"student-T{steps}.safetensors"), "--teacher", best, "--data", data, "--recipe", recipe)
        found.append(Piece(name, (*start, *changes, *few), out / name / "done", out / name))
    return found


def run(piece: Piece, seconds: float) -> bool:
    """Runs the piece, or a slice of it; whether it is done."""
    more = () if piece.run is None else ("--out", str(piece.run))
    if piece.run is not None and (piece.run / "state.safetensors").exists():
        more = (*more, "--resume")
    child = subprocess.Popen([sys.executable, "-m", "idsnn_convert", *piece.command, *more])
    try:
        code = child.wait(max(seconds, 1))
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)  # after the batch at hand its state is written
        code = child.wait()
    if code not in (0, *STOPPED):
        raise SystemExit(f"{piece.name} failed: idsnn {' '.join((*piece.command, *more))}")
    if code == 0 and piece.run is not None:
        piece.done.touch()
    return code == 0


def result(data: str, every: list[Piece]) -> dict[str, object]:
    rows = {}
    for piece in every:
        if piece.run is not None:
            lines = [json.loads(line) for line in (piece.run / "metrics.jsonl").read_text().splitlines()]
            best = max(lines, key=lambda line: line["test_top1_percent"])
            rows[piece.name] = {
                "best_top1": best["test_top1_percent"],
                "epoch": best["epoch"],
                "epochs": len(lines),
                "train_seconds": sum(line["train_seconds"] for line in lines),
                "aim": PAPER.get(data.partition(":")[0], {}).get(piece.name),
            }
    return {"data": data.partition(":")[0], "seed": 0, "runs": 1, "pieces": rows}


def arguments() -> argparse.ArgumentParser:
    """What every benchmark in slices is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True, metavar="SET:DIR")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--small", action="store_true")
    return parser


def in_slices(every: list[Piece], minutes: float) -> None:
    """Does what is not done yet; ends the process with :data:`MORE` when the time is up."""
    end = time.monotonic() + 60 * minutes
    for piece in every:
        if piece.done.exists():
            continue
        print(f"{piece.name}: {(end - time.monotonic()) / 60:.1f} minutes left", flush=True)
        if time.monotonic() >= end or not run(piece, end - time.monotonic()):
            raise SystemExit(MORE)


def publish(place: Path, found: dict[str, object]) -> None:
    """Writes the table and prints it."""
    text = json.dumps(found, indent=1)
    place.write_text(text + "\n")
    print(text)


def main() -> None:
    args = arguments().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    every = pieces(args.data, args.out, args.small)
    in_slices(every, args.minutes)
    publish(args.out / "paper.json", result(args.data, every))


if __name__ == "__main__":
    main()
