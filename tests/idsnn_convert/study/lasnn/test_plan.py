from __future__ import annotations

import pytest

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.study.lasnn.plan import ARMS, CHOSEN, SCALES, planned, settings_of

SMALL = SCALES["small"]


def test_every_arm_once_a_seed_and_attention_once_a_teacher() -> None:
    jobs = planned(SMALL, "vgg5", ["densenet121", "vgg16"], seeds=2)
    assert [job.folder for job in jobs if job.seed == 1] == [
        "ann-vgg5-1",
        "hybrid-alone-1",
        "label-kd-densenet121-1",
        "spike-kd-hybrid-1",
        "lasnn-densenet121-1",
        "lasnn-gradient-densenet121-1",
        "lasnn-vgg16-1",
    ]
    assert len(jobs) == 14
    assert {job.settings().run.seed for job in jobs if job.seed == 1} == {1}


def test_arms_differ_in_their_losses_alone() -> None:
    jobs = [job for job in planned(SMALL, "vgg5", ["resnet20"], seeds=1) if job.arm != "ann"]
    settings = [job.settings() for job in jobs]
    assert len({repr(recipe.loss) for recipe in settings}) == len(jobs) == len(CHOSEN)
    assert len({repr(recipe.model_copy(update={"loss": None, "description": ""})) for recipe in settings}) == 1
    assert settings_of(jobs).network == settings[0].network


def test_the_papers_scale_has_the_papers_steps() -> None:
    settings = settings_of(planned(SCALES["paper"], "vgg5", ["densenet121"], seeds=1))
    assert (settings.network.time_steps, settings.network.encoder) == (100, "poisson")
    assert SCALES["paper"].balance_steps == 2_500


def test_overrides_reach_the_arms_and_not_the_network_they_come_from() -> None:
    ann, *arms = planned(SMALL, "vgg5", ["resnet20"], overrides=["optimizer.lr=0.002"], arms=["lasnn"], seeds=1)
    assert ann.settings().optimizer.lr == 0.03
    assert [(job.arm, job.settings().optimizer.lr) for job in arms] == [("lasnn", 0.002)]


@pytest.mark.parametrize(
    ("arms", "told"),
    [(["lasnn", "kd"], "no arm 'kd'"), (["converted"], "no arm 'converted'"), (["spike-kd"], "learns from the hybrid network")],
)
def test_arms_that_cannot_be_chosen(arms: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        planned(SMALL, "vgg5", ["resnet20"], arms=arms)


def test_the_arms_that_may_be_chosen_are_trained() -> None:
    assert set(ARMS) - set(CHOSEN) == {"ann", "converted"}
