from __future__ import annotations

import pytest

from idsnn_convert.study.paper import ABLATION, CONVERGENCE, OVERTAKES
from idsnn_convert.study.plan import ARMS, STUDIES


def test_the_papers_gains() -> None:
    """The arrows of Table 3."""
    gains = {
        data: {arm: round(found.top1 - rows["neither"].top1, 2) for arm, found in rows.items()}
        for data, rows in ABLATION.items()
    }
    assert gains["cifar10"] == {"neither": 0, "init": 0.10, "kd": 0.44, "both": 0.68}
    assert gains["cifar100"] == {"neither": 0, "init": 3.16, "kd": 2.40, "both": 4.10}


def test_both_tables_tell_the_same_of_the_long_schedule() -> None:
    assert all(ABLATION["cifar100"][arm].top1 == found.top1 for arm, found in CONVERGENCE["cifar100"]["long"].items())


def test_fourteen_times() -> None:
    slow = CONVERGENCE["cifar100"]["long"]["neither"]
    assert slow.epoch is not None
    assert OVERTAKES.epoch is not None
    assert OVERTAKES.top1 > slow.top1
    assert slow.epoch / OVERTAKES.epoch == pytest.approx(13.7, abs=0.05)


def test_every_published_row_is_one_of_a_study() -> None:
    assert all(rows.keys() == ARMS.keys() for rows in ABLATION.values())
    schedules, arms = STUDIES["convergence"]
    for found in CONVERGENCE.values():
        assert tuple(found) == schedules
        assert all(tuple(rows) == arms for rows in found.values())
