"""LaSNN's main results on a GPU, in slices: teach DenseNet121, train and convert VGG5, VGG9 and ResNet12, distil at T = 100.

    python benchmarks/gpu/lasnn.py --data cifar10:DIR --out DIR [--minutes 8] [--students vgg5,vgg9,resnet12] [--small]

Each call goes on where the last one stopped and ends after ``--minutes`` at the latest, every run resumable; call it until
it prints the table. Exit code 0: all is done; 3: there is more to do. The results are written to ``OUT/lasnn.json``: the
best top-1 of all test images beside the paper's (Hong et al., arXiv 2304.09101, table II), seconds, and where a GPU trained,
the arms that the paper compares.

``--small`` runs the same pieces with tiny networks and few images, to see on a CPU that the driver works. At full size this
has never been run: no GPU was at hand when it was written.
"""

from __future__ import annotations

import json
from pathlib import Path

from paper import Piece, arguments, in_slices, publish  # type: ignore[import-not-found]

AIMS = {"vgg5": 86.68, "vgg9": 87.58, "resnet12": 91.34}
"""Top-1 in percent of activation attention on CIFAR-10."""
ARMS = ("lasnn", "hybrid", "label-kd", "lasnn-gradient")
"""The most telling first."""


def pieces(data: str, out: Path, students: list[str], small: bool) -> list[Piece]:
    """All that is to be done, in order."""
    few = ("--limit-train", "64", "--epochs", "1") if small else ()
    width = ("--width", "0.25") if small else ()
    trained = ("--normalisation", "half", "--data", data)
    teacher = out / "teacher"
    long = few or ("--epochs", "200")
    found = [Piece("teacher", ("teach", "--arch", "densenet121", *trained, *width, *long), teacher / "done", teacher)]
    steps = ("-T", "4", "--steps", "16", "--images", "32") if small else ("-T", "100", "--steps", "2500", "--images", "512")
    balanced = ("--target", "same", "--neuron", "if", "--balance", "max", "--encoder", "poisson", *steps)
    for name in students:
        ann, student = out / f"ann-{name}", out / f"{name}.safetensors"
        plain = ("--set", "optimizer.lr=0.03")  # without batch norm the recipe's own rate is too large
        found.append(Piece(ann.name, ("teach", "--arch", name, *trained, *width, *plain, *long), ann / "done", ann))
        command = ("convert", str(ann / "best.safetensors"), *balanced, "--data", data, "-o", str(student))
        found.append(Piece(student.stem, command, student))
        changes = ("--set", "network.time_steps=4", "--set", "run.time_chunk=2") if small else ()
        for arm in ARMS:
            place = out / f"{name}-{arm}"
            start = ("train", str(student), "--recipe", arm, "--data", data, *few, *changes)
            tutor = () if arm == "hybrid" else ("--teacher", str(teacher / "best.safetensors"))
            found.append(Piece(place.name, (*start, *tutor), place / "done", place))
    return found


def result(data: str, every: list[Piece]) -> dict[str, object]:
    """The best epoch of each run that is done."""
    rows = {}
    for piece in every:
        if piece.run is not None and piece.done.exists():
            lines = [json.loads(line) for line in (piece.run / "metrics.jsonl").read_text().splitlines()]
            best = max(lines, key=lambda line: line["test_top1_percent"])
            student, _, arm = piece.name.partition("-")
            rows[piece.name] = {
                "best_top1": best["test_top1_percent"],
                "epoch": best["epoch"],
                "epochs": len(lines),
                "seconds_an_epoch": sum(line["train_seconds"] for line in lines) / len(lines),
                "aim": AIMS.get(student) if arm == "lasnn" and data.startswith("cifar10:") else None,
            }
    return {"data": data.partition(":")[0], "seed": 0, "runs": 1, "pieces": rows}


def main() -> None:
    parser = arguments()
    parser.add_argument("--students", default=",".join(AIMS))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    every = pieces(args.data, args.out, args.students.split(","), args.small)
    in_slices(every, args.minutes)
    publish(args.out / "lasnn.json", result(args.data, every))


if __name__ == "__main__":
    main()
