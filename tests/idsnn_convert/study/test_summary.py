from __future__ import annotations

from dataclasses import replace

import pytest

from idsnn_convert.study.summary import over_seeds, summarised
from tests.idsnn_convert.study.made import SCALE, outcomes


def test_mean_and_deviation_over_seeds() -> None:
    assert over_seeds([1.0, 2.0, 6.0]) == {"mean": 3.0, "deviation": pytest.approx(2.6457513), "by_seed": [1.0, 2.0, 6.0]}
    assert over_seeds([4.0]) == {"mean": 4.0, "deviation": None, "by_seed": [4.0]}


def test_the_ablation_gives_gains_beside_the_papers() -> None:
    found = summarised("ablation", SCALE, outcomes("ablation"), "cifar10")
    rows = {row["arm"]: row for row in found["rows"]}
    assert list(rows) == ["neither", "init", "kd", "both"]
    assert rows["neither"]["top1"]["mean"] == pytest.approx(29.5)
    assert (rows["neither"]["gain"], rows["neither"]["paper_gain"]) == (None, None)
    assert rows["both"]["gain"] == {"mean": 24.0, "deviation": 0.0, "by_seed": [24.0, 24.0, 24.0]}
    assert rows["both"]["paper_top1"] == 94.22
    assert rows["init"]["paper_gain"] == pytest.approx(0.10)
    assert [claim["verdict"] for claim in found["claims"]] == ["holds"] * 4
    assert found["seeds"] == [0, 1, 2]


def test_data_that_the_paper_does_not_have_stand_alone() -> None:
    found = summarised("ablation", SCALE, outcomes("ablation"), "fashion-mnist")
    assert {(row["paper_top1"], row["paper_gain"]) for row in found["rows"]} == {(None, None)}


def test_a_claim_holds_for_all_seeds_or_is_undecided_or_fails() -> None:
    for seeds_that_fall, verdict in (((), "holds"), ((1,), "undecided"), ((0, 1, 2), "fails")):
        runs = [
            replace(run, final=0.0) if run.arm == "kd" and run.seed in seeds_that_fall else run for run in outcomes("ablation")
        ]
        claims = {claim["claim"]: claim for claim in summarised("ablation", SCALE, runs, "cifar10")["claims"]}
        assert claims["distillation is better than neither"]["verdict"] == verdict


def test_arms_left_out_leave_out_what_needs_them() -> None:
    runs = [run for run in outcomes("ablation") if run.arm in ("kd", "both")]
    found = summarised("ablation", SCALE, runs, "cifar10")
    assert [(row["arm"], row["gain"]) for row in found["rows"]] == [("kd", None), ("both", None)]
    assert [claim["claim"] for claim in found["claims"]] == ["both (IDSNN) is better than distillation"]
    alone = [run for run in outcomes("convergence") if run.arm == "both"]
    found = summarised("convergence", SCALE, alone, "cifar10")
    assert (found["sooner"], found["soonest"], found["claims"]) == ([], None, [])


def test_a_network_that_was_not_measured_has_no_place_in_the_ablation() -> None:
    with pytest.raises(ValueError, match="was not measured"):
        summarised("ablation", SCALE, [replace(run, final=None) for run in outcomes("ablation")], "cifar10")


def test_convergence_gives_the_best_epoch_of_the_mean_curve() -> None:
    rows = {(r["schedule"], r["arm"]): r for r in summarised("convergence", SCALE, outcomes("convergence"), "cifar100")["rows"]}
    row = rows["long", "neither"]
    assert (row["best_top1"]["mean"], row["best_epoch"], row["last_top1"]["mean"]) == (31.0, 3, 29.0)
    assert (row["paper_top1"], row["paper_epoch"]) == (71.31, 192)
    assert (rows["short", "both"]["paper_top1"], rows["short", "both"]["paper_epoch"]) == (73.02, 57)


def test_how_many_epochs_sooner() -> None:
    found = summarised("convergence", SCALE, outcomes("convergence"), "cifar10")
    rows = {(row["of"], row["arm"], row["schedule"]): row for row in found["sooner"]}
    both = rows["long", "both", "long"]
    assert (both["best_top1"], both["best_epoch"]) == (31.0, 3)
    assert (both["epoch"], both["epochs_sooner"], both["times"]) == (1, 2, 3.0)
    assert rows["long", "both", "medium"]["epoch"] == 2
    assert rows["long", "both", "short"] == {**rows["long", "kd", "short"], "arm": "both"}
    assert [rows["long", "both", "short"][key] for key in ("epoch", "epochs_sooner", "times")] == [None, None, None]
    assert rows["long", "kd", "long"]["epoch"] == 2
    assert rows["medium", "both", "medium"]["epoch"] == 1
    assert ("medium", "both", "short") not in rows
    assert found["soonest"] == both


def test_reaching_it_in_the_same_epoch_is_no_sooner() -> None:
    runs = [replace(run, curve=(30.0,)) if run.schedule == "short" else run for run in outcomes("convergence")]
    rows = [row for row in summarised("convergence", SCALE, runs, "cifar10")["sooner"] if row["of"] == "short"]
    assert [(row["epochs_sooner"], row["times"]) for row in rows] == [(0, 1.0), (0, 1.0)]


def test_what_a_short_schedule_costs_is_compared_with_the_long_one() -> None:
    claims = {c["claim"]: c for c in summarised("convergence", SCALE, outcomes("convergence"), "cifar10")["claims"]}
    medium = claims["both (IDSNN) loses less than neither, long -> medium"]
    assert (medium["by_points"]["mean"], medium["verdict"]) == (4.0, "holds")  # 6 points lost against 2
    short = claims["both (IDSNN) loses less than neither, long -> short"]
    assert (short["by_points"]["mean"], short["verdict"]) == (-14.0, "fails")  # 12 against 26
    assert claims["both (IDSNN) is better than distillation, short schedule"]["verdict"] == "holds"


def test_curves_are_means_over_seeds_of_each_epoch() -> None:
    curves = {(c["schedule"], c["arm"]): c for c in summarised("ablation", SCALE, outcomes("ablation"), "cifar10")["curves"]}
    assert curves["long", "init"]["top1"] == {"mean": [41.0, 45.0, 47.0, 49.0], "deviation": [1.0] * 4}
    assert curves["long", "init"]["train_ce"]["mean"] == pytest.approx([1.36, 1.2, 1.12, 1.04])
