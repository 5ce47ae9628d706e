"""Hours of training in one process: does it come to hold more and more memory, files, threads or disk?

    python benchmarks/soak.py --teacher resnet8.pth --data cifar10:DIR --run RUN [--seconds 7200] [--train 128] [--test 256]

Converts the teacher to itself and trains the student as ``idsnn train`` does, on one thread: recipe idsnn-fast, so many
images an epoch that there are many epochs, each with its evaluation, checkpoints and state. The process that trains is
looked at from outside every five seconds; at the end it is asked to stop as by Ctrl-C. A slope is a straight line's
through the means of 24 equal parts of the time after warm-up; its error is that of the line through 24 points, since
single samples hang together. RUN is a folder to be made. Writes benchmarks/results/soak.json and soak.md, anew every
minute: an interruption keeps what there is.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from common import RESULTS, facts

from idsnn_convert.api import convert
from idsnn_convert.passes.convert import Settings
from idsnn_convert.runtime.files import write_text

EVERY, WRITTEN_EVERY, WARM_UP, PARTS = 5.0, 60.0, 600.0, 24
TIME_STEPS, BATCH, EPOCHS = 2, 64, 1_000_000
MIB = 1 << 20
QUANTITIES = {
    "resident_mib": "resident memory, MiB",
    "anonymous_mib": "of it not backed by a file, MiB",
    "handles": "open file handles",
    "threads": "threads",
    "folder_mib": "run folder without metrics.jsonl, MiB",
    "files": "files in the run folder",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--run", type=Path, required=True)
    for name, value in (("seconds", 7200), ("train", 128), ("test", 256)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    student = args.run.with_name(f"{args.run.name}-student.safetensors")
    if args.child:
        train(student, args)
        return
    convert(args.teacher, "same", student, settings=Settings(time_steps=TIME_STEPS), force=True)
    with args.run.with_name(f"{args.run.name}.log").open("w") as log:
        child = subprocess.Popen([sys.executable, *sys.argv, "--child"], stdout=log, stderr=log)
        samples, code = watched(child, args)
    write(args, samples, code)


def train(student: Path, args: argparse.Namespace) -> None:
    """What ``idsnn train`` does, but for fewer test images."""
    from idsnn_convert.commands.running import run
    from idsnn_convert.learn import train_file

    changes = [f"run.epochs={EPOCHS}", f"run.batch_size={BATCH}", "run.recalibrate_batches=4"]
    more: dict[str, Any] = {"teacher": args.teacher, "limit_train": args.train, "limit_test": args.test}
    try:
        run(
            lambda watcher, tell: train_file(
                student, args.data, args.run, recipe="idsnn-fast", overrides=changes, watcher=watcher, told=tell, **more
            ),
            as_json=False,
        )
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)


def watched(child: subprocess.Popen[bytes], args: argparse.Namespace) -> tuple[list[dict[str, float]], int]:
    """A sample every five seconds until the time is over, and the exit code after it."""
    began, written, samples = time.monotonic(), 0.0, []
    while (now := time.monotonic() - began) < args.seconds and child.poll() is None:
        samples.append({"second": round(now, 1), **sample(child.pid, args.run)})
        if now - written > WRITTEN_EVERY:
            write(args, samples, None)
            written = now
        time.sleep(EVERY)
    child.send_signal(signal.SIGINT)
    return samples, child.wait(timeout=600)


def sample(pid: int, run: Path) -> dict[str, float]:
    """Linux alone tells it this way."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    sizes = {}
    for path in run.iterdir() if run.is_dir() else ():
        try:
            sizes[path.name] = path.stat().st_size
        except FileNotFoundError:  # renamed meanwhile
            continue
    epochs = (run / "metrics.jsonl").read_bytes().count(b"\n") if "metrics.jsonl" in sizes else 0
    kept = {name: size for name, size in sizes.items() if name != "metrics.jsonl" and not name.endswith(".part")}
    return {
        "epochs": epochs,
        "resident_mib": round(int(status["VmRSS"][0]) / 1024, 2),
        "anonymous_mib": round(int(status["RssAnon"][0]) / 1024, 2),
        "handles": sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        "threads": int(status["Threads"][0]),
        "folder_mib": round(sum(kept.values()) / MIB, 3),
        "files": len(kept),
    }


def slope(seconds: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    """Of a straight line through the means of equal parts, an hour, with its standard error."""
    first, step = seconds[0], (seconds[-1] - seconds[0]) / PARTS
    parts: list[list[tuple[float, float]]] = [[] for _ in range(PARTS)]
    for second, value in zip(seconds, values, strict=True):
        parts[min(PARTS - 1, int((second - first) / step))].append((second / 3600, value))
    points = [tuple(map(statistics.fmean, zip(*part, strict=True))) for part in parts if part]
    hours, means = zip(*points, strict=True)
    line = statistics.linear_regression(hours, means)
    rest = sum((y - line.intercept - line.slope * x) ** 2 for x, y in points) / (len(points) - 2)
    spread = sum((x - statistics.fmean(hours)) ** 2 for x in hours)
    return {"per_hour": round(line.slope, 4), "error": round((rest / spread) ** 0.5, 4)}


def write(args: argparse.Namespace, samples: list[dict[str, float]], code: int | None) -> None:
    """``soak.json`` and ``soak.md`` of what there is."""
    after = [row for row in samples if row["second"] >= WARM_UP]
    rows = {}
    for name in QUANTITIES if len(after) > 3 * PARTS else ():
        values = [row[name] for row in after]
        rows[name] = {"first": values[0], "least": min(values), "most": max(values), "last": values[-1]}
        rows[name] |= slope([row["second"] for row in after], values)
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=RESULTS, capture_output=True, text=True)
    told = facts(teacher=args.teacher.name, data=args.data.partition(":")[0], train_images=args.train, test_images=args.test)
    # facts() counts this process's threads; the one that trains has as many by the same environment.
    told |= {"time_steps": TIME_STEPS, "batch": BATCH, "recipe": "idsnn-fast", "revision": revision.stdout.strip()}
    told |= {"warm_up_seconds": WARM_UP, "seconds": samples[-1]["second"], "epochs": samples[-1]["epochs"], "exit_code": code}
    thinned = samples[:: max(1, len(samples) // 360)]
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / "soak.json", json.dumps({**told, "after_warm_up": rows, "samples": thinned}) + "\n")
    write_text(RESULTS / "soak.md", page(told, rows))


def page(told: dict[str, Any], rows: dict[str, dict[str, float]]) -> str:
    ended = {None: "Still running, or interrupted", 130: "Stopped as asked, exit code 130"}
    versions = ", ".join(f"{name} {version}" for name, version in {"python": told["python"], **told["versions"]}.items())
    lines = [
        "# Hours of training",
        "",
        f"Written by `benchmarks/soak.py`, which says how. {told['processor']}, {told['cores']} cores, "
        f"{told['threads']} thread; {versions}; revision {told['revision']}. One run.",
        "",
        f"{told['seconds'] / 3600:.2f} hours, {told['epochs']} epochs of {told['train_images']} training and "
        f"{told['test_images']} test images of {told['data']}, each with evaluation, checkpoints and state; {told['teacher']} "
        f"distilled into itself, T = {told['time_steps']}, batches of {told['batch']}. "
        f"{ended.get(told['exit_code'], 'Ended with exit code ' + str(told['exit_code']))}.",
        "",
        f"After a warm-up of {told['warm_up_seconds'] / 60:.0f} minutes:",
        "",
        "| | first | least | most | last | slope an hour | its standard error |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    told_of_memory = (
        "Pages that stand in files (libraries) come and go with the machine's other work; a leak would raise the others."
    )
    keys = ("first", "least", "most", "last", "per_hour", "error")
    lines += [f"| {QUANTITIES[name]} | {' | '.join(f'{row[key]:g}' for key in keys)} |" for name, row in rows.items()]
    return "\n".join([*lines, "", told_of_memory]) + "\n"


if __name__ == "__main__":
    main()
