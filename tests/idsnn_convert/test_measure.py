from __future__ import annotations

from pathlib import Path

import pytest

from idsnn_convert.measure import Energy, measure_energy
from idsnn_convert.runtime.energy import MODELS
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.synops import Work


def test_points_grow_with_the_steps_and_the_ann_is_one_pass(student: Path, fashion: str) -> None:
    told: list[str] = []
    found = measure_energy(student, fashion, time_steps=3, limit=12, device="cpu", told=told.append)
    assert found.work.images == 12
    assert "normalisation" in told[0]
    points = found.points()
    assert [point["time_steps"] for point in points] == [1, 2, 3]
    assert points[0]["effective_macs"] * 3 == pytest.approx(points[2]["effective_macs"], rel=0.2)
    assert points[0]["effective_acs"] < points[2]["effective_acs"] == found.work.acs()
    assert [point["top1_percent"] for point in points] == list(found.work.top1_per_step)
    first = MODELS["horowitz-45nm-fp32"]
    assert points[2]["joules"]["horowitz-45nm-fp32"] == first.joules(found.work.macs(), found.work.acs())
    assert points[2]["joules"]["loihi"] == pytest.approx(23.6e-12 * found.work.acs())
    assert found.ann()["loihi"] is None
    assert found.ann()["horowitz-45nm-fp32"] == first.joules(found.work.dense_macs, 0)


def test_steps_pay_where_no_fewer_get_as_many_right() -> None:
    work = Work(10, (), (), (40.0, 60.0, 60.0, 55.0, 70.0))
    assert Energy(work, "half").pareto() == [1, 2, 5]


def test_a_teacher_is_no_student(teacher: Path, fashion: str) -> None:
    with pytest.raises(UserError, match="SNN checkpoint"):
        measure_energy(teacher, fashion)
