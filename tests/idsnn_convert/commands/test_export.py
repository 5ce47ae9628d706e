from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from idsnn_convert.runtime.export.onnx import check
from tests.idsnn_convert.files import assert_told, done, run


def test_stages_are_told_and_then_the_file(student: Path, fashion: str) -> None:
    out = done("export", student, "--to", "onnx", "--data", fashion, "--limit", 8).stdout
    names = ["ONNX's own checker", "Layer by layer", "End to end", "Real images"]
    assert [line.split(": ")[0] for line in out.splitlines() if line.startswith("passed")] == [f"passed  {n}" for n in names]
    assert out.splitlines()[-1].startswith("Wrote student.onnx (")
    assert max(map(len, out.splitlines())) <= 80


def test_as_json(student: Path) -> None:
    told = json.loads(done("export", student, "--to", "onnx", "--form", "scan", "--keep-bn", "--json").stdout)
    assert told["file"] == "student.onnx"
    assert told["bytes"] == Path("student.onnx").stat().st_size
    assert [stage["passed"] for stage in told["stages"]] == [True] * 3
    assert told["stages"][2]["measured"]["images"] == 4


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failed_comparison_leaves_no_file_and_exit_code_1(
    student: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    monkeypatch.setattr(check, "TOLERANCE", -1.0)
    result = run("export", student, "--to", "onnx", *(["--json"] if as_json else []))
    assert result.exit_code == 1
    assert not Path("student.onnx").exists()
    if as_json:
        assert json.loads(result.stdout)["file"] is None
    else:
        assert "FAILED  Layer by layer" in result.stdout
        assert "Nothing was written" in result.stdout


def test_mistakes_are_told(student: Path, tmp_path: Path) -> None:
    assert_told(run("export", student, "--to", "tflite"), "unknown format 'tflite'", "onnx, nir, pt2, spikingjelly")
    assert_told(run("export", student, "--to", "pt2", "--opset", 18), "--opset means nothing for pt2")
    assert_told(run("export", student, "--to", "onnx", "--form", "loop"), "form 'loop' does not exist for a spiking network")
    assert_told(run("export", student, "--to", "onnx", "--opset", 9), "opset 9 cannot be written")
    assert_told(run("export", tmp_path / "none.pth", "--to", "onnx"), "no such file")


def test_a_program_of_torch(student: Path) -> None:
    out = done("export", student, "--to", "pt2").stdout
    assert "passed  Beside the runtime: logits of every step differ by 0.0e+00" in out
    assert out.splitlines()[-1].startswith("Wrote student.pt2 (")
