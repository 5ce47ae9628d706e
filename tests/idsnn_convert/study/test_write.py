from __future__ import annotations

import json
from pathlib import Path

import pytest

from idsnn_convert.study import write
from idsnn_convert.study.plots import can_plot
from tests.idsnn_convert.study.made import result


def test_a_study_is_written_as_json_markdown_and_pictures(tmp_path: Path) -> None:
    if not can_plot():
        pytest.skip("matplotlib is not installed")
    said: list[str] = []
    written = write.write_study(result("ablation"), tmp_path, told=said.append)
    assert [path.name for path in written] == ["ablation.json", "ablation.md", "ablation.svg", "ablation.png"]
    assert all(path.exists() for path in written)
    assert json.loads((tmp_path / "ablation.json").read_text()) == json.loads(json.dumps(result("ablation")))
    assert "](ablation.svg)" in (tmp_path / "ablation.md").read_text()
    assert said == []


def test_without_matplotlib_the_figures_are_written_and_the_way_out_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "can_plot", lambda: False)
    said: list[str] = []
    written = write.write_study(result("convergence"), tmp_path, told=said.append)
    assert [path.name for path in written] == ["convergence.json", "convergence.md"]
    assert "![" not in (tmp_path / "convergence.md").read_text()
    assert len(said) == 1
    assert "idsnn-convert[plot]" in said[0]
