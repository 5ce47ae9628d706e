from __future__ import annotations

import pytest

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.recipe import load_recipe
from idsnn_convert.runtime.schedule import lr_at
from idsnn_convert.study.plan import PUBLISHED, SCALES, planned

SMALL, PAPER = SCALES["small"], SCALES["paper"]


def test_the_ablation_is_four_arms_over_the_long_schedule_a_seed_at_a_time() -> None:
    jobs = planned("ablation", SMALL, recipe="idsnn-fast", seeds=2)
    assert [job.folder for job in jobs] == [
        f"{arm}-long-{seed}" for seed in (0, 1) for arm in ("neither", "init", "kd", "both")
    ]
    assert {job.settings().run.epochs for job in jobs} == {6}
    assert [job.settings().run.seed for job in jobs] == [0] * 4 + [1] * 4


def test_convergence_is_three_arms_over_schedules_of_six_to_two_to_one() -> None:
    jobs = planned("convergence", SMALL, recipe="idsnn-fast", seeds=1)
    assert [(job.schedule, job.arm) for job in jobs] == [
        (schedule, arm) for schedule in ("long", "medium", "short") for arm in ("neither", "kd", "both")
    ]
    assert [job.settings().run.epochs for job in jobs[::3]] == [6, 2, 1]


def test_what_both_studies_need_is_one_run() -> None:
    ablation, convergence = (planned(study, SMALL, recipe="idsnn-fast") for study in ("ablation", "convergence"))
    shared = {job.folder: job for job in ablation}.items() & {job.folder: job for job in convergence}.items()
    assert len(shared) == 9


@pytest.mark.parametrize("recipe", ["idsnn-fast", PUBLISHED])
def test_an_arm_differs_from_both_in_what_it_goes_without(recipe: str) -> None:
    jobs = {job.arm: job.settings() for job in planned("ablation", SMALL, recipe=recipe, seeds=1)}
    assert {arm: (found.initialisation.source, found.loss.alpha > 0) for arm, found in jobs.items()} == {
        "neither": ("fresh", False),
        "init": ("checkpoint", False),
        "kd": ("fresh", True),
        "both": ("checkpoint", True),
    }
    assert {jobs[arm].initialisation.batch_norm_weight for arm in ("neither", "kd")} == {"v_threshold"}
    for found in jobs.values():
        assert found.optimizer == jobs["both"].optimizer
        assert (
            found.loss.model_copy(update={"alpha": 0}) == jobs["both"].loss.model_copy(update={"alpha": 0})
            or not found.loss.alpha
        )


def test_the_published_arms_have_the_papers_own_numbers() -> None:
    jobs = {job.arm: job for job in planned("ablation", PAPER, recipe=PUBLISHED, seeds=1)}
    assert {arm: job.settings().loss.alpha for arm, job in jobs.items()} == {"neither": 0, "init": 0, "kd": 0.5, "both": 0.3}
    assert jobs["both"].settings().model_copy(update={"run": None, "schedule": None}) == load_recipe("idsnn").model_copy(
        update={"run": None, "schedule": None}
    )


def test_the_papers_schedules_let_the_rate_fall_where_table_4_says() -> None:
    for schedule, steps in (("long", (60, 120, 160)), ("medium", (20, 40, 60)), ("short", (10, 20, 30))):
        (job,) = planned("convergence", PAPER, recipe=PUBLISHED, arms=["both"], seeds=1)[
            ["long", "medium", "short"].index(schedule) :
        ][:1]
        found = job.settings()
        assert (job.schedule, found.run.epochs) == (schedule, 200)
        rates = [lr_at(found.schedule, 1.0, epoch, 1, 200) for epoch in range(200)]
        assert [epoch for epoch in range(1, 200) if rates[epoch] != rates[epoch - 1]] == list(steps)


def test_overrides_reach_every_arm_but_make_none_of_them_another() -> None:
    jobs = planned(
        "ablation", SMALL, recipe="idsnn-fast", overrides=["optimizer.lr=0.02", "loss.alpha=0.7", "run.epochs=9"], seeds=1
    )
    found = {job.arm: job.settings() for job in jobs}
    assert {settings.optimizer.lr for settings in found.values()} == {0.02}
    assert {arm: settings.loss.alpha for arm, settings in found.items()} == {"neither": 0, "init": 0, "kd": 0.7, "both": 0.7}
    assert {settings.run.epochs for settings in found.values()} == {6}


def test_only_some_arms() -> None:
    jobs = planned("ablation", SMALL, recipe="idsnn-fast", arms=["both", "neither"], seeds=1)
    assert [job.arm for job in jobs] == ["neither", "both"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"arms": ["bth"]}, "has no arm 'bth'"),
        ({"study": "convergence", "arms": ["init"]}, "the convergence study has no arm 'init'"),
        ({"recipe": "init-only"}, "initialises and distills; init-only does not"),
        ({"recipe": "kd-only"}, "kd-only does not"),
        ({"recipe": "idsn"}, "unknown recipe"),
        ({"overrides": ["loss.alpha=0"]}, "does not"),
        ({"overrides": ["optimizer.rl=1"]}, "optimizer.rl"),
    ],
)
def test_what_makes_no_study_is_refused(changes: dict[str, object], told: str) -> None:
    asked = {"study": "ablation", "scale": SMALL, "recipe": "idsnn-fast", **changes}
    with pytest.raises(UserError, match=told):
        planned(**asked)
