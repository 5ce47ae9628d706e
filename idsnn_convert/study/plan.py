"""Which runs a study is made of: arms x schedules x seeds, each an ordinary training run in a folder of its own.

The ablation (Fan et al. 2023, Table 3) trains four arms over the long schedule, the convergence study (Table 4) three
arms over three schedules. A run that both need is the same run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.recipe import Recipe, load_recipe

FRESH = ("initialisation.source=fresh", "initialisation.batch_norm_weight=v_threshold")
NO_TEACHER = ("loss.alpha=0",)


@dataclass(frozen=True)
class Arm:
    """One row of the ablation.

    Attributes:
        published: the shipped recipe with the paper's numbers for it.
        without: what is taken out of a recipe that initialises and distills.
    """

    label: str
    initialised: bool
    distilled: bool
    published: str
    without: tuple[str, ...]


ARMS = {
    "neither": Arm("neither", False, False, "baseline", (*FRESH, *NO_TEACHER)),
    "init": Arm("initialisation", True, False, "init-only", NO_TEACHER),
    "kd": Arm("distillation", False, True, "kd-only", FRESH),
    "both": Arm("both (IDSNN)", True, True, "idsnn", ()),
}
"""Name of an arm -> what it is, in the order of the paper's table."""

PUBLISHED = "idsnn"
"""The recipe whose arms are shipped as recipes of their own: the authors' alpha is 0.5 for distillation alone, 0.3 for both."""


@dataclass(frozen=True)
class Schedule:
    """``overrides``: when the learning rate falls; without them as the recipe says, over the schedule's epochs."""

    epochs: int
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scale:
    """``train_images``, ``test_images``: how many to train on, and to evaluate on after each epoch; None: all."""

    recipe: str
    schedules: dict[str, Schedule]
    train_images: int | None = None
    test_images: int | None = None


def _steps(interval: str) -> tuple[str, ...]:
    return ("schedule.kind=step", f"schedule.milestones={interval}")


SCALES = {
    "small": Scale(
        recipe="idsnn-fast",
        schedules={"long": Schedule(6), "medium": Schedule(2), "short": Schedule(1)},
        train_images=5_000,
        test_images=2_000,
    ),
    "paper": Scale(
        recipe=PUBLISHED,
        schedules={
            "long": Schedule(200, _steps("[60, 120, 160]")),
            "medium": Schedule(200, _steps("[20, 40, 60]")),
            "short": Schedule(200, _steps("[10, 20, 30]")),
        },
    ),
}
"""``paper``: section 4.1 and Table 4. ``small``: the ratio of its intervals, 6 : 2 : 1, at the cost of an hour or two of
one processor core; the learning rate runs through its whole schedule in each."""

LONGEST = "long"
STUDIES = {"ablation": ((LONGEST,), tuple(ARMS)), "convergence": (("long", "medium", "short"), ("neither", "kd", "both"))}
"""Name of a study -> its schedules and its arms."""


@dataclass(frozen=True)
class Job:
    """One run."""

    arm: str
    schedule: str
    seed: int
    recipe: str
    overrides: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Its name in the study's folder."""
        return f"{self.arm}-{self.schedule}-{self.seed}"

    def settings(self) -> Recipe:
        """Its recipe, every setting resolved. Raises UserError if one cannot be."""
        return load_recipe(self.recipe, self.overrides)


def planned(
    study: str, scale: Scale, *, recipe: str, overrides: Sequence[str] = (), arms: Sequence[str] = (), seeds: int = 3
) -> tuple[Job, ...]:
    """The runs of ``study``, all of a seed before the next: what is there after a while can be compared.

    Args:
        study: a key of :data:`STUDIES`.
        recipe: initialises and distills; for an arm that does not, that is taken out. For :data:`PUBLISHED`, each arm has
            the shipped recipe with the paper's numbers.
        overrides: changes to the recipe of every arm; what makes the arm comes after them.
        arms: only these; all of the study by default.
        seeds: how many; they are 0, 1, ...

    Raises:
        UserError: on an unknown arm, or a recipe that cannot be read or does not both initialise and distill.
    """
    schedules, known = STUDIES[study]
    if strange := [arm for arm in arms if arm not in known]:
        raise UserError(f"the {study} study has no arm {strange[0]!r}", hint=f"Its arms: {', '.join(known)}.")
    _check(load_recipe(recipe, overrides), recipe)
    chosen = [name for name in known if not arms or name in arms]
    cases = product(range(seeds), schedules, chosen)
    jobs = tuple(_job(name, schedule, seed, scale, recipe, overrides) for seed, schedule, name in cases)
    for job in jobs:
        job.settings()
    return jobs


def _job(name: str, schedule: str, seed: int, scale: Scale, recipe: str, overrides: Sequence[str]) -> Job:
    arm, length = ARMS[name], scale.schedules[schedule]
    changes = (*overrides, *length.overrides, f"run.epochs={length.epochs}", f"run.seed={seed}", *arm.without)
    return Job(name, schedule, seed, arm.published if recipe == PUBLISHED else recipe, changes)


def _check(base: Recipe, name: str) -> None:
    if not base.loss.alpha or base.initialisation.source != "checkpoint":
        problem = f"a study starts from a recipe that initialises and distills; {name} does not"
        raise UserError(problem, hint="Such as idsnn or idsnn-fast; the other arms are made from it.")
