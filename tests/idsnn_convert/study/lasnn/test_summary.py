from __future__ import annotations

from typing import Any

import pytest

from tests.idsnn_convert.study.lasnn.made import result


def row(found: dict[str, Any], arm: str, teacher: str | None = None) -> dict[str, Any]:
    return next(each for each in found["rows"] if (each["arm"], each["teacher"]) == (arm, teacher))


def test_a_row_for_each_arm_and_teacher() -> None:
    found = result()
    assert [(each["arm"], each["teacher"]) for each in found["rows"]] == [
        ("ann", None),
        ("converted", None),
        ("hybrid", None),
        ("label-kd", "densenet121"),
        ("spike-kd", None),
        ("lasnn", "densenet121"),
        ("lasnn-gradient", "densenet121"),
        ("lasnn", "vgg16"),
    ]
    assert row(found, "lasnn", "vgg16")["top1"] == {"mean": 55.0, "deviation": 1.0, "by_seed": [54.0, 55.0, 56.0]}
    assert row(found, "converted")["top1"]["mean"] == 41.0
    assert [row(found, "lasnn", name)["paper_top1"] for name in ("densenet121", "vgg16")] == [86.66, 86.68]


def test_spikes_of_each_layer_and_of_the_network() -> None:
    found = row(result(), "hybrid")
    assert [(layer["layer"], layer["spikes"]["mean"]) for layer in found["layers"]] == [("if_1", 3.0), ("if_2", 1.5)]
    assert found["spikes"]["mean"] == pytest.approx((30 * 3 + 10 * 1.5) / 40)
    assert row(result(), "ann")["spikes"] is None


def test_time_and_memory_of_the_schemes() -> None:
    found = result()
    assert row(found, "lasnn", "densenet121")["epoch_seconds"] == 30.0
    assert [row(found, arm, "densenet121")["step_mib"] for arm in ("lasnn", "lasnn-gradient")] == [11.5, 12.0]
    assert row(found, "label-kd", "densenet121")["step_mib"] is None


def test_the_papers_claims_by_seed() -> None:
    claims = {each["claim"]: each for each in result()["claims"]}
    attention = "activation attention (LaSNN)"
    assert claims[f"{attention} is better than label distillation"]["by_points"]["by_seed"] == [2.0, 2.0, 2.0]
    assert claims[f"{attention} of vgg16 is better than hybrid training"]["verdict"] == "holds"
    assert claims["hybrid training is better than converted only"]["verdict"] == "holds"
    assert len(claims) == 8


def test_the_converted_network_step_by_step() -> None:
    found = result()["converted_by_step"]
    assert found["mean"] == [10.0, 21.0, 30.0, 40.0]
    assert found["deviation"] == [0.0, 1.0, 0.0, 0.0]


def test_one_seed_has_no_deviation() -> None:
    assert row(result(seeds=1), "ann")["top1"]["deviation"] is None
