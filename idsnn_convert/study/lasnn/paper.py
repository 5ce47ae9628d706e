"""What Hong et al. (arXiv 2304.09101) report on CIFAR-10: top-1 in percent, students of 100 Poisson steps."""

from __future__ import annotations

TABLE_2: dict[str, dict[str, float]] = {
    "conv3-fc2": {"ann": 80.38, "hybrid": 82.05, "label-kd": 82.27, "lasnn": 83.65},
    "vgg5": {"ann": 87.58, "converted": 82.53, "hybrid": 85.76, "label-kd": 85.94, "lasnn": 86.68},
    "vgg9": {"ann": 88.84, "converted": 83.61, "hybrid": 86.35, "label-kd": 86.39, "lasnn": 87.58},
    "resnet12": {"ann": 92.46, "converted": 84.82, "hybrid": 90.70, "label-kd": 90.72, "lasnn": 91.34},
    "vgg16": {"ann": 92.35, "hybrid": 90.53, "label-kd": 90.60, "lasnn": 91.22},
}
"""Student -> arm -> top-1; ``converted`` is table IV's "without LaSNN". Table I gives 83.27 for ``conv3-fc2``, tables II
and III 83.65. Table III holds Kushawaha et al.'s spike distillation at 42.38, for networks of their own."""

TABLE_4: dict[str, dict[str, float]] = {
    "vgg5": {"densenet121": 86.66, "vgg16": 86.68, "resnet20": 86.61},
    "vgg9": {"densenet121": 87.57, "vgg16": 87.58, "resnet20": 87.55},
    "resnet12": {"densenet121": 91.34, "vgg16": 90.90, "resnet20": 91.23},
}
"""Student -> teacher -> top-1 of activation attention. The teachers' own: 95.84, 91.53, 93.04."""


def reported(student: str, data: str, arm: str, teacher: str) -> float | None:
    """The paper's figure for an arm, None where it has none; activation attention by teacher, where it says."""
    if data != "cifar10":
        return None
    by_teacher = TABLE_4.get(student, {}) if arm == "lasnn" else {}
    return by_teacher.get(teacher.removesuffix("_bn"), TABLE_2.get(student, {}).get(arm))
