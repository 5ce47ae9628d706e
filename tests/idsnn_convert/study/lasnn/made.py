"""A LaSNN study whose figures are made up, so that what is computed from them is known."""

from __future__ import annotations

from typing import Any

from idsnn_convert.study.lasnn.plan import SCALES, planned, settings_of
from idsnn_convert.study.lasnn.summary import summarised
from idsnn_convert.study.outcome import Outcome

TOP1 = {"ann": 60.0, "hybrid": 52.0, "label-kd": 53.0, "spike-kd": 51.0, "lasnn": 55.0, "lasnn-gradient": 54.0}
"""Of the first teacher and seed 0; a seed more is a point more, the second teacher a point less."""
CONVERTED = 40.0


def spikes(each: float) -> list[dict[str, Any]]:
    return [{"layer": "if_1", "neurons": 30, "spikes": each}, {"layer": "if_2", "neurons": 10, "spikes": each / 2}]


def result(seeds: int = 3, teachers: tuple[str, ...] = ("densenet121", "vgg16"), **facts: Any) -> dict[str, Any]:
    """What :func:`idsnn_convert.study.lasnn.run.run_lasnn` gives."""
    jobs = planned(SCALES["small"], "vgg5", teachers, seeds=seeds)
    found = []
    for job in jobs:
        top1 = TOP1[job.arm] + job.seed - (job.schedule == "vgg16")
        curve = (top1 - 10, top1 - 1)
        one = Outcome(job.arm, job.schedule, job.seed, curve, (2.0, 1.5), top1, 1000, 60.0)
        found.append((one, [] if job.arm == "ann" else spikes(2.0 + job.seed)))
    converted = [
        {"top1_percent": CONVERTED + seed, "spikes": spikes(4.0), "top1_percent_per_step": [10.0, 20.0 + seed, 30.0, CONVERTED]}
        for seed in range(seeds)
    ]
    known: dict[str, Any] = {
        "data": "cifar10",
        "teachers": {name: {"file": f"{name}.safetensors", "sha256": "0" * 64, "top1_percent": 70.0} for name in teachers},
        "student": {"target": "vgg5", "width": 0.5, "time_steps": 8},
        "scale": "small",
        "normalisation": "half",
        "train_images": 2000,
        "test_images_each_epoch": 500,
        "test_images": 2000,
        "epochs": {"ann": 40, "arms": 2},
        "balance": {"rule": "max", "images": 128, "steps": 32},
        "long": 4,
        "settings": settings_of(jobs).model_dump(mode="json", exclude={"loss", "description"}),
        **facts,
    }
    memory = {"hybrid": 10.0, "lasnn": 11.5, "lasnn-gradient": 12.0}
    machine = {"gpus": [], "threads": 1, "cpus": 2, "torch": "2.13.0", "python": "3.12.0", "idsnn_convert": "0.1.0"}
    return {"kind": "study", "study": "lasnn", **known, **summarised(known, found, converted, memory), "machine": machine}
