"""Accuracy of trained teachers as this project rebuilds them from their state dicts, without any flag, and in 8 bits.

    python benchmarks/teachers.py cifar10:DIR=resnet20.th cifar10:DIR=resnet32.th cifar100:DIR=resnet8.pth

Each argument is a data set and a teacher's file. Full test sets, float32; in 8 bits where the processor does those. Writes
``benchmarks/results/teachers.json``.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

import torch

from idsnn_convert.learn import evaluate_file
from idsnn_convert.runtime.fixed_point import supported

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    rows = []
    for argument in sys.argv[1:]:
        data, _, name = argument.partition("=")
        found, chosen = evaluate_file(name, data)
        coded = evaluate_file(name, data, weight_bits=8)[0] if supported() else None
        rows.append(
            {
                "teacher": Path(name).name,
                "data": data.partition(":")[0],
                "top1_percent": round(found.top1, 2),
                "top1_percent_8_bits": None if coded is None else round(coded.top1, 2),
                "images": found.images,
                "normalisation": chosen.normalisation.name,
                "reason": chosen.reason,
                "images_per_second": round(found.images_per_second),
            }
        )
        print(rows[-1])
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    facts = {
        "machine": machine,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "teachers": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "teachers.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
