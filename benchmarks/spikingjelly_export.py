"""Exported students in SpikingJelly: compared by the export, then loaded by a program that knows nothing of this project.

    python benchmarks/spikingjelly_export.py cifar10:DIR resnet20=STUDENT.safetensors ...

Run it where ``spikingjelly`` is installed beside this package. Each student is written by ``idsnn export --to spikingjelly``,
whose stages go into the result; then a fresh interpreter, in the written folder and without this package on its path,
runs the five lines of :data:`USER` on the first 200 test images, and its answers are held against the runtime's. Writes
``benchmarks/results/spikingjelly.json``; one run, nothing is random or timed.
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

import numpy as np
import torch

from benchmarks.common import RESULTS, facts
from idsnn_convert.formats import export
from idsnn_convert.runtime.checkpoint import read
from idsnn_convert.runtime.data import open_dataset
from idsnn_convert.runtime.data.batches import test_batches
from idsnn_convert.runtime.export import compare
from idsnn_convert.runtime.normalisation import from_json

IMAGES = 200
USER = """
import numpy, torch
from network import load
images, steps = torch.from_numpy(numpy.load("../images.npy")), {steps}
with torch.no_grad():
    numpy.save("../logits.npy", load().eval()(images.expand(steps, *images.shape)).numpy())
"""


def main() -> None:
    torch.set_num_threads(1)
    data, *given = sys.argv[1:]
    found: dict[str, Any] = {
        "settings": facts(images=IMAGES, data=data.partition(":")[0], spikingjelly=version("spikingjelly"))
    }
    for name, place in (argument.split("=", 1) for argument in given):
        found[name] = measured(Path(place), data)
        print(name, json.dumps(found[name]))
    (RESULTS / "spikingjelly.json").write_text(json.dumps(found, indent=1) + "\n")


def measured(student: Path, data: str) -> dict[str, Any]:
    checkpoint, split = read(student), open_dataset(data).test.first(IMAGES)
    images, labels = next(iter(test_batches(split, IMAGES, normalisation=from_json(checkpoint.normalisation))))
    with tempfile.TemporaryDirectory() as folder:
        written = export(student, "spikingjelly", Path(folder) / "peer", data=data, limit=IMAGES)
        np.save(Path(folder) / "images.npy", images.numpy())
        environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
        program = USER.format(steps=checkpoint.time_steps)
        subprocess.run([sys.executable, "-c", program], cwd=Path(folder) / "peer", env=environment, check=True)
        theirs = torch.from_numpy(np.load(Path(folder) / "logits.npy"))
    with torch.no_grad():
        ours = compare.plain(checkpoint)(images)
    answers = [checkpoint.readout(logits).argmax(1) for logits in (ours, theirs)]
    return {
        "bytes": written.size,
        "stages": {stage.name: {"passed": stage.passed, **stage.measured} for stage in written.stages},
        "by_a_user": {
            "largest_difference_of_logits": compare.largest(ours - theirs),
            "same_answer_percent": 100 * float((answers[0] == answers[1]).float().mean()),
            "top1_percent": [100 * float((answer == labels).float().mean()) for answer in answers],
        },
    }


if __name__ == "__main__":
    main()
