from __future__ import annotations

import json
from pathlib import Path

from idsnn_convert.api import convert
from idsnn_convert.examine import examine
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.report.build import recorded
from idsnn_convert.report.data import coverage, described, described_diagnosis, described_teacher
from tests.idsnn_convert import files


def test_coverage_counts_tensors_and_values() -> None:
    rows = [
        {"source": "a", "target_shape": [2, 3]},
        {"source": None, "target_shape": [4]},
        {"source": "b", "target_shape": [10]},
    ]
    assert coverage(rows) == {
        "tensors": 2,
        "of_tensors": 3,
        "parameters": 16,
        "of_parameters": 20,
        "percent_of_tensors": 66.67,
        "percent_of_parameters": 80.0,
    }
    assert coverage([])["percent_of_tensors"] == 0


def test_everything_is_plain_json(tmp_path: Path) -> None:
    path = files.teacher(tmp_path / "net.pth")
    _, checkpoint = convert(path, "resnet8", tmp_path / "s")
    for facts in (
        described(checkpoint, recorded(checkpoint)),
        described_teacher(load_teacher(path)),
        described_diagnosis(examine(path), path),
    ):
        assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_a_teachers_blocks_and_shortcuts(tmp_path: Path) -> None:
    facts = described_teacher(load_teacher(files.teacher(tmp_path / "net.pth")))
    shortcuts = [[block["shortcut"] for block in stage["blocks"]] for stage in facts["stages"]]
    assert shortcuts == [["identity", "identity"], ["projection", "identity"], ["projection", "identity"]]
    assert facts["stages"][1]["shape"] == [6, 14, 14]
