"""Which libraries load our NIR files, and how far what they compute is from what the runtime computes.

    python benchmarks/nir_matrix.py cifar10:DIR resnet20=STUDENT.safetensors ... snntorch=PYTHON sinabs=PYTHON ...

The files hold folded batch norms, so the runtime is run with folded norms too; the student itself differs from that by
flipped spikes alone. Each argument that ends in .safetensors is a trained student, each other the Python of an environment
where that reader is installed with ``nir``; a reader may be given twice, in environments of other versions
(``sinabs:3``). The first 50 test images are shown for T steps. Writes ``benchmarks/results/nir_matrix.json`` and
``nir_matrix.md``; one run, nothing in it is random or timed. What runs in the other environments is ``nir_readers.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch

from benchmarks.common import RESULTS, facts
from idsnn_convert.runtime.checkpoint import Checkpoint, read
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.data.batches import test_batches
from idsnn_convert.runtime.export import compare
from idsnn_convert.runtime.export.nir.read import from_nir
from idsnn_convert.runtime.export.nir.write import to_nir
from idsnn_convert.runtime.normalisation import from_json

IMAGES = 50
Pair = tuple[np.ndarray, ...]
"""The runtime's logits with norms folded, and the student's."""


def main() -> None:
    torch.set_num_threads(1)
    data, *given = sys.argv[1:]
    pairs = [argument.split("=", 1) for argument in given]
    students = [(name, Path(place)) for name, place in pairs if place.endswith(".safetensors")]
    readers = [(name, place) for name, place in pairs if not place.endswith(".safetensors")]
    rows = []
    for name, place in students:
        rows += measured(name, read(place), data, readers)
    found = {"settings": facts(images=IMAGES, data=data.partition(":")[0]), "rows": rows}
    (RESULTS / "nir_matrix.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "nir_matrix.md").write_text(table(rows))
    print(table(rows))


def measured(name: str, checkpoint: Checkpoint, data: str, readers: list[list[str]]) -> list[dict[str, Any]]:
    """A row a reader of one student's file, our own first."""
    split = open_dataset(data).test.first(IMAGES)
    images = next(iter(test_batches(split, IMAGES, normalisation=from_json(checkpoint.normalisation))))[0]
    want = tuple(compare.ran(each, images).logits.numpy() for each in (compare.folded(checkpoint), checkpoint))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "student.nir"
        nir.write(file, to_nir(checkpoint))
        np.save(Path(folder) / "images.npy", images.numpy())
        graph, tensors, _ = from_nir(file)
        own = compare.ran(Checkpoint(graph, tensors, checkpoint.time_steps), images).logits.numpy()
        about = {"name": name, "bytes": file.stat().st_size, "time_steps": checkpoint.time_steps}
        rows: list[dict[str, Any]] = [
            {**about, "reader": "idsnn-convert", "versions": {"nir": version("nir")}, **beside(own, want)}
        ]
        for reader, python in readers:
            out = Path(folder) / f"{reader.replace(':', '')}.npy"
            rows.append(
                {**about, "reader": reader, **elsewhere(reader, python, Path(folder), checkpoint.time_steps, out, want)}
            )
    return rows


def elsewhere(reader: str, python: str, folder: Path, steps: int, out: Path, want: Pair) -> dict[str, Any]:
    script = Path(__file__).with_name("nir_readers.py")
    given = [python, str(script), reader.partition(":")[0], "student.nir", "images.npy", str(steps), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    done = subprocess.run(given, cwd=folder, env=environment, capture_output=True, text=True)
    try:
        told: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return {"where": "starting", "error": last[:200]}
    return told if "error" in told else {**told, **beside(np.load(out), want)}


def beside(found: np.ndarray, want: Pair) -> dict[str, Any]:
    """Logits of every step (T, B, K) beside the runtime's, with norms folded and as the student has them."""
    if found.shape != want[0].shape:
        return {"where": "running the network", "error": f"its result has the shape {found.shape}, not {want[0].shape}"}
    told: dict[str, Any] = {"images": found.shape[1], "largest_logit": float(np.abs(want[1]).max())}
    for name, logits in zip(("folded", "student"), want, strict=True):
        same = int((found.mean(0).argmax(-1) == logits.mean(0).argmax(-1)).sum())
        told[name] = {"largest_difference": float(np.abs(found - logits).max()), "same_answer": same}
    return told


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| student | reader | versions | loads and runs | same weights: logits differ by | the student's: by | same answer |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        versions = ", ".join(f"{name} {version}" for name, version in row.get("versions", {}).items() if version)
        if "error" in row:
            told = f"no, {row['where']}: `{row['error']}`"
            lines.append(f"| {row['name']} | {row['reader']} | {versions} | {told} | | | |")
        else:
            most = [f"{row[name]['largest_difference']:.1e}" for name in ("folded", "student")]
            same = f"{row['student']['same_answer']} of {row['images']}"
            told = f"yes | {most[0]} | {most[1]} of {row['largest_logit']:.1f} | {same}"
            lines.append(f"| {row['name']} | {row['reader']} | {versions} | {told} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
