"""Studies whose figures are made up, so that what is computed from them is known."""

from __future__ import annotations

from typing import Any

from idsnn_convert.study.outcome import Outcome
from idsnn_convert.study.plan import ARMS, STUDIES, Scale, Schedule
from idsnn_convert.study.summary import summarised

SCALE = Scale("idsnn-fast", {"long": Schedule(4), "medium": Schedule(2), "short": Schedule(1)}, 100, 20)

CURVES = {
    ("long", "neither"): (20.0, 24.0, 30.0, 28.0),
    ("long", "init"): (40.0, 44.0, 46.0, 48.0),
    ("long", "kd"): (16.0, 30.0, 32.0, 36.0),
    ("long", "both"): (38.0, 48.0, 50.0, 52.0),
    ("medium", "neither"): (18.0, 22.0),
    ("medium", "kd"): (20.0, 26.0),
    ("medium", "both"): (28.0, 50.0),
    ("short", "neither"): (16.0,),
    ("short", "kd"): (14.0,),
    ("short", "both"): (26.0,),
}
"""Of seed 0; each further seed is one point better."""


def outcomes(study: str, seeds: int = 3) -> list[Outcome]:
    """In the order of the plan: seed, schedule, arm."""
    schedules, arms = STUDIES[study]
    found = []
    for seed in range(seeds):
        for key in ((schedule, arm) for schedule in schedules for arm in arms):
            curve = tuple(value + seed for value in CURVES[key])
            losses = tuple(3 - value / 25 for value in curve)
            final = curve[-1] + 0.5 if study == "ablation" else None
            images = 1000 if study == "ablation" else None
            found.append(Outcome(key[1], key[0], seed, curve, losses, final, images, 30.0))
    return found


def result(study: str, seeds: int = 3, data: str = "cifar100") -> dict[str, Any]:
    """What :func:`idsnn_convert.study.run.run_study` gives."""
    return {
        "kind": "study",
        "study": study,
        "data": data,
        "teacher": {"file": "resnet8.pth", "arch": "resnet8", "sha256": "0" * 64, "top1_percent": 64.11},
        "student": {"target": "resnet8", "time_steps": 4},
        "scale": "small",
        "train_images": 100,
        "test_images_each_epoch": 20,
        "recipe": "idsnn-fast",
        "schedules": {name: {"epochs": schedule.epochs} for name, schedule in SCALE.schedules.items()},
        **summarised(study, SCALE, outcomes(study, seeds), data),
        "machine": {
            "gpus": [],
            "threads": 1,
            "cpus": 2,
            "platform": "Linux",
            "torch": "2.13.0",
            "python": "3.11.7",
            "idsnn_convert": "0.1.0",
        },
    }


LABELS = [arm.label for arm in ARMS.values()]
