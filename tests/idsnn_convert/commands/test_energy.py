from __future__ import annotations

import json
from pathlib import Path

from tests.idsnn_convert.files import assert_told, done, run


def test_tables_of_80_columns(student: Path, fashion: str) -> None:
    result = done("energy", student, "--data", fashion, "--limit", 10)
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("horowitz-45nm-fp32 ") for line in lines)
    assert any(line.startswith("spiking, T=2: ") for line in lines)
    assert "Means over 10 images" in result.stdout
    assert "normalisation" in result.stderr


def test_as_json(student: Path, fashion: str) -> None:
    told = json.loads(done("energy", student, "--data", fashion, "-T", 3, "--json").stdout)
    assert told["images"] == 24
    assert [point["time_steps"] for point in told["points"]] == [1, 2, 3]
    assert told["layers"][0]["inputs"] == "analog"
    assert told["layers"][0]["same_at_every_step"] is True
    assert told["models"]["loihi"]["source"].startswith("Davies")
    assert told["without_spikes"]["joules"]["loihi"] is None


def test_mistakes_are_told(teacher: Path, student: Path, fashion: str) -> None:
    assert_told(run("energy", teacher, "--data", fashion), "checkpoint")
    assert_told(run("energy", student, "--data", "cifar10:none"), "none")
