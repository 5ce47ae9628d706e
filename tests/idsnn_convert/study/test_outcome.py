from __future__ import annotations

import json
from pathlib import Path

import pytest

from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.evaluate import Evaluation
from idsnn_convert.study.outcome import Outcome, final, outcome, records, write_final
from idsnn_convert.study.plan import SCALES, planned

JOB = planned("ablation", SCALES["small"], recipe="idsnn-fast", seeds=1)[3]
LINE = {"test_top1_percent": 40.0, "train_ce": 1.5, "train_seconds": 9.0, "test_seconds": 1.0}


def folder(path: Path, *lines: object) -> Path:
    path.mkdir()
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_run_becomes_its_curves(tmp_path: Path) -> None:
    run = folder(tmp_path / "run", LINE, {**LINE, "test_top1_percent": 42.0, "train_ce": 1.25})
    found = outcome(run, JOB)
    assert found == Outcome("both", "long", 0, (40.0, 42.0), (1.5, 1.25), None, None, 20.0)
    assert json.loads(json.dumps(found.to_json()))["curve"] == [40.0, 42.0]


def test_the_last_networks_accuracy_is_kept_beside_the_run(tmp_path: Path) -> None:
    run = folder(tmp_path / "run", LINE)
    assert final(run) is None
    write_final(run, Evaluation(41.5, 1.0, 10_000, 3.0))
    assert final(run) == {"top1_percent": 41.5, "test_images": 10_000}
    assert (outcome(run, JOB).final, outcome(run, JOB).images) == (41.5, 10_000)


def test_a_run_that_has_not_begun_has_no_records(tmp_path: Path) -> None:
    assert records(tmp_path / "nowhere") == []


def test_damaged_figures_are_named_with_the_way_out(tmp_path: Path) -> None:
    run = folder(tmp_path / "run", LINE)
    (run / "metrics.jsonl").write_text('{"test_top1')
    with pytest.raises(UserError, match=r"metrics\.jsonl cannot be read") as told:
        records(run)
    assert f"Remove {run}" in str(told.value)
    other = folder(tmp_path / "other", {"epoch": 1})
    with pytest.raises(UserError, match="figures cannot be read"):
        outcome(other, JOB)
    (other / "final.json").write_text("[")
    with pytest.raises(UserError, match="figures cannot be read"):
        outcome(other, JOB)
