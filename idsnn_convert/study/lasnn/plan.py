"""Which runs the LaSNN study is made of: a network a seed, trained and converted, from which every arm goes on.

The jobs are those of :mod:`idsnn_convert.study.plan`, with the teacher in the place of the schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.recipe import Recipe
from idsnn_convert.study.plan import Job

ANN, CONVERTED, HYBRID, SPIKE_KD = "ann", "converted", "hybrid", "spike-kd"
LASNN, GRADIENT = "lasnn", "lasnn-gradient"
ALONE, ITSELF = "alone", "hybrid"
"""What stands for the teacher of an arm without one, and of the arm whose teacher is the seed's hybrid network."""


@dataclass(frozen=True)
class Arm:
    """A way to a spiking network; ``recipe`` is that of the training, empty where none follows the conversion."""

    label: str
    recipe: str = ""


ARMS = {
    ANN: Arm("ANN"),
    CONVERTED: Arm("converted only"),
    HYBRID: Arm("hybrid training", "hybrid"),
    "label-kd": Arm("label distillation", "label-kd"),
    SPIKE_KD: Arm("spike distillation", "spike-kd"),
    LASNN: Arm("activation attention (LaSNN)", "lasnn"),
    GRADIENT: Arm("gradient attention (LaSNN)", "lasnn-gradient"),
}
"""Name of an arm -> what it is. The first two are needed by all others and always there."""

CHOSEN = tuple(name for name, arm in ARMS.items() if arm.recipe)
"""The arms that may be chosen."""


@dataclass(frozen=True)
class Scale:
    """How large.

    Attributes:
        epochs: of every arm; ``ann_epochs``: of the network that is converted.
        train_images, test_images, final_images: how many to train on, to evaluate on after each epoch, and for the table;
            None: all.
        balance: how thresholds are balanced: ``max``, or ``percentile:99``; on so many images and steps.
        long: time steps up to which the network that is converted only is followed.
        ann, arms: changes to the recipe ``teacher``, and to the arms' recipes.
    """

    epochs: int
    ann_epochs: int
    train_images: int | None
    test_images: int | None
    final_images: int | None
    balance: str
    balance_images: int
    balance_steps: int
    long: int
    ann: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()


SCALES = {
    "small": Scale(
        epochs=2,
        ann_epochs=40,
        train_images=2_000,
        test_images=500,
        final_images=2_000,
        balance="percentile:99",
        balance_images=128,
        balance_steps=32,
        long=32,
        ann=("run.batch_size=32", "optimizer.lr=0.03"),
        arms=(
            "run.batch_size=32",
            "run.time_chunk=0",
            "network.time_steps=8",
            "network.encoder=direct",
            "optimizer.lr=1e-3",
            "schedule.kind=cosine",
        ),
    ),
    "paper": Scale(
        epochs=100,
        ann_epochs=200,
        train_images=None,
        test_images=None,
        final_images=None,
        balance="max",
        balance_images=512,
        balance_steps=2_500,
        long=2_500,
    ),
}
"""``paper``: 100 Poisson steps and thresholds from 2,500, as there. ``small``: 8 steps of the analog image, which need no
average over noise, and thresholds at the 99th percentile: at the largest current deep layers stay silent for so few steps.
Some tens of minutes of one processor core with resnet20 as the teacher."""


def planned(
    size: Scale,
    student: str,
    teachers: Sequence[str],
    *,
    overrides: Sequence[str] = (),
    arms: Sequence[str] = (),
    seeds: int = 3,
) -> tuple[Job, ...]:
    """The runs, all of a seed before the next: the network to convert, the chosen arms with the first teacher, and activation
    attention with each of the others.

    Args:
        student: the name of the student's architecture.
        teachers: their names, the main one first.
        overrides: changes to the recipe of every arm.
        arms: only these of :data:`CHOSEN`; all by default.

    Raises:
        UserError: on an unknown arm, ``spike-kd`` without the hybrid network it learns from, or a change that no recipe knows.
    """
    if strange := [arm for arm in arms if arm not in CHOSEN]:
        raise UserError(f"the lasnn study has no arm {strange[0]!r}", hint=f"Its arms: {', '.join(CHOSEN)}.")
    chosen = [name for name in CHOSEN if not arms or name in arms]
    if SPIKE_KD in chosen and HYBRID not in chosen:
        raise UserError("spike-kd learns from the hybrid network, which is not among the arms", hint=f"Add {HYBRID}.")
    jobs = []
    for seed in range(seeds):
        changes = ("loss.alpha=0", *size.ann, f"run.epochs={size.ann_epochs}", f"run.seed={seed}")
        jobs.append(Job(ANN, student, seed, "teacher", changes))
        pairs = [(name, _tutor(name, teachers[0])) for name in chosen]
        pairs += [(LASNN, other) for other in teachers[1:] if LASNN in chosen]
        changes = (*size.arms, f"run.epochs={size.epochs}", *overrides, f"run.seed={seed}")
        jobs += [Job(name, teacher, seed, ARMS[name].recipe, changes) for name, teacher in pairs]
    for job in jobs:
        job.settings()
    return tuple(jobs)


def _tutor(arm: str, teacher: str) -> str:
    return {HYBRID: ALONE, SPIKE_KD: ITSELF}.get(arm, teacher)


def settings_of(jobs: Sequence[Job]) -> Recipe:
    """The recipe that all arms share but for their losses."""
    return next(job for job in jobs if job.arm != ANN).settings()
