"""Learning rates at the steps where they change."""

from __future__ import annotations

import math

import pytest

from idsnn_convert.runtime.recipe import Schedule
from idsnn_convert.runtime.schedule import lr_at


def rates(settings: Schedule, steps: list[int], steps_per_epoch: int = 10, epochs: int = 200) -> list[float]:
    return [lr_at(settings, 0.05, step, steps_per_epoch, epochs) for step in steps]


def test_steps_at_epochs() -> None:
    settings = Schedule(milestones=(60, 120, 160))
    found = rates(settings, [0, 599, 600, 1199, 1200, 1600, 1999])
    assert found == pytest.approx([0.05, 0.05, 5e-3, 5e-3, 5e-4, 5e-5, 5e-5])


def test_fractions_move_with_the_number_of_epochs() -> None:
    paper, fractions = Schedule(milestones=(60, 120, 160)), Schedule(milestones=(0.3, 0.6, 0.8))
    steps = list(range(2000))
    assert rates(fractions, steps) == rates(paper, steps)
    assert rates(fractions, [14, 15, 29, 30, 40], epochs=5) == pytest.approx([0.05, 5e-3, 5e-3, 5e-4, 5e-5])
    assert rates(paper, [0, 49], epochs=5) == [0.05, 0.05]


def test_cosine() -> None:
    settings = Schedule(kind="cosine")
    found = rates(settings, [0, 500, 1000, 1999])
    assert found == pytest.approx([0.05, 0.025 * (1 + math.sqrt(0.5)), 0.025, 0], abs=1e-7)
    assert rates(Schedule(kind="cosine", floor=0.1), [1000, 1999]) == pytest.approx([0.0275, 0.005], abs=1e-7)


def test_constant() -> None:
    assert rates(Schedule(kind="constant"), [0, 1999]) == [0.05, 0.05]


@pytest.mark.parametrize("kind", ["step", "cosine", "constant"])
def test_warm_up_rises_to_the_base_rate(kind: str) -> None:
    settings = Schedule.model_validate({"kind": kind, "warmup_epochs": 0.5})
    assert rates(settings, [0, 1, 3, 4, 5]) == pytest.approx([0.01, 0.02, 0.04, 0.05, 0.05])


def test_a_warm_up_as_long_as_the_run() -> None:
    assert rates(Schedule(kind="cosine", warmup_epochs=2), [19], epochs=2) == [0.05]
