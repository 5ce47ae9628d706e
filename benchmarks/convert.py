"""Time and memory of a conversion, against reading and writing the same bytes.

    python benchmarks/convert.py [RUNS]

A ResNet-152 of random weights (242 MB) becomes a spiking ResNet-50, in this process, one thread. Interleaved with reading
the teacher's file and writing as many bytes as the student's has; medians of RUNS (7). "tracing" is the time to build and
trace both networks, "verifying" that of running the teacher's module and its canonical graph side by side: neither has
to do with the bytes. A conversion begins, as a process does, without the layers that an earlier one built. "command" is the
whole command in a process of its own, beside one that imports torch, its modules compiled to bytecode beforehand, as
installers leave them; from it the tracing measured here is subtracted. As there, no garbage is looked for among what was
imported. CPU seconds stand beside seconds, since the machine is shared; they are of all threads.
Memory is the growth of the process's peak over what it held before. Writes ``benchmarks/results/convert.json``.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from idsnn_convert.api import convert, load_teacher
from idsnn_convert.passes.equal import compare
from idsnn_convert.passes.known import trace_known
from idsnn_convert.passes.resnet.module import ResNet, initialise, outline
from idsnn_convert.passes.targets import target_spec
from idsnn_convert.runtime.network import _layer

RESULTS = Path(__file__).resolve().parent / "results"
SHAPE = (3, 224, 224)
TEACHER, TARGET = "resnet152", "resnet50"


def main() -> None:
    torch.set_num_threads(1)
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), runs)


def measure(folder: Path, runs: int) -> None:
    teacher, student, copied = folder / "teacher.pth", folder / "student.safetensors", folder / "copy"
    made = [sys.executable, "-c", f"from benchmarks.convert import make; make({str(teacher)!r})"]
    subprocess.run(made, check=True, cwd=RESULTS.parent.parent)  # its memory is not ours
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    convert(teacher, TARGET, student)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    size = teacher.stat().st_size, student.stat().st_size
    loaded = load_teacher(teacher)
    if loaded.reference is None:
        raise SystemExit("the teacher has nothing to be held against")
    command = [sys.executable, "-m", "idsnn_convert", "convert", str(teacher), "--target", TARGET, "-o", str(student)]
    told: dict[str, Any] = {"check": True, "cwd": RESULTS.parent.parent, "stdout": subprocess.DEVNULL, "env": environment()}
    subprocess.run(command, **told)  # leaves bytecode
    gc.freeze()
    work: dict[str, Callable[[], object]] = {
        "read_and_write": lambda: copied.write_bytes(teacher.read_bytes()[: size[1]]),
        "tracing": lambda: [traced(name) for name in (TEACHER, TARGET)],
        "verifying": lambda: compare(loaded.graph, loaded.tensors, loaded.reference),
        "convert": lambda: converted_anew(teacher, student),
        "command": lambda: subprocess.run(command, **told),
        "import_torch": lambda: subprocess.run([sys.executable, "-c", "import torch"], **told),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for _ in range(runs):
        for name, run in work.items():
            wall, cpu = time.perf_counter(), cpu_seconds()
            run()
            times[name].append((time.perf_counter() - wall, cpu_seconds() - cpu))
    medians = {
        name: {
            "seconds": round(statistics.median(wall for wall, _ in each), 3),
            "cpu_seconds": round(statistics.median(cpu for _, cpu in each), 3),
        }
        for name, each in times.items()
    }
    kinds = ("seconds", "cpu_seconds")

    def ratio(what: str, less: tuple[str, ...], over: str) -> dict[str, float]:
        left = {key: medians[what][key] - sum(medians[name][key] for name in less) for key in kinds}
        return {key: round(left[key] / medians[over][key], 2) for key in kinds}

    facts = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "runs": runs,
        "teacher_bytes": size[0],
        "student_bytes": size[1],
        "medians": medians,
        "convert_less_tracing_over_read_and_write": ratio("convert", ("tracing",), "read_and_write"),
        "convert_less_tracing_and_verifying_over_read_and_write": ratio("convert", ("tracing", "verifying"), "read_and_write"),
        "command_less_tracing_over_import_torch": ratio("command", ("tracing",), "import_torch"),
        "peak_growth_over_teacher_bytes": round(grown / size[0], 2),
    }
    print(json.dumps(facts, indent=1))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "convert.json").write_text(json.dumps(facts, indent=1) + "\n")


def converted_anew(teacher: Path, student: Path) -> None:
    outline.cache_clear()
    _layer.cache_clear()
    convert(teacher, TARGET, student)


def environment() -> dict[str, str]:
    """One thread, and bytecode kept."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {"OMP_NUM_THREADS": "1"}


def cpu_seconds() -> float:
    """Of this process and of those it waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def make(path: str) -> None:
    """The teacher's file."""
    network = ResNet(target_spec(TEACHER, input_shape=SHAPE, classes=1000))
    initialise(network, 0)
    torch.save(network.state_dict(), path)


def traced(name: str) -> None:
    spec = target_spec(name, input_shape=SHAPE, classes=1000)
    with torch.device("meta"):
        network = ResNet(spec)
    trace_known(network, spec.input_shape)


if __name__ == "__main__":
    main()
