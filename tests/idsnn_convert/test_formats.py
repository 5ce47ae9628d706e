from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from idsnn_convert.exporters import Options
from idsnn_convert.formats import export
from idsnn_convert.runtime.errors import UserError
from idsnn_convert.runtime.export.onnx import check
from idsnn_convert.runtime.export.types import Stage
from tests.runtime import jelly


def test_a_student_is_compared_and_written(student: Path, fashion: str, tmp_path: Path) -> None:
    watched: list[Stage] = []
    found = export(student, "onnx", tmp_path / "out.onnx", data=fashion, limit=10, watch=watched.append)
    assert found.path == tmp_path / "out.onnx"
    assert found.path.stat().st_size == found.size > 1000
    assert list(found.stages) == watched
    assert watched[-1].measured["images"] == 10


def test_by_default_it_lies_in_the_current_folder_under_the_files_name(student: Path) -> None:
    assert export(student, "onnx", options=Options(form="step")).path == Path("student.onnx")
    assert Path("student.onnx").is_file()


def test_a_teacher_is_a_network_without_time(teacher: Path) -> None:
    assert export(teacher, "onnx").path == Path("tiny.onnx")
    with pytest.raises(UserError, match="--time-steps means nothing for a teacher"):
        export(teacher, "onnx", "other.onnx", Options(time_steps=2))
    with pytest.raises(UserError, match="--form means nothing for a teacher"):
        export(teacher, "onnx", "other.onnx", Options(form="scan"))
    assert not Path("other.onnx").exists()


def test_where_a_comparison_fails_nothing_is_written(student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "TOLERANCE", -1.0)
    found = export(student, "onnx")
    assert found.path is None
    assert [stage.passed for stage in found.stages] == [True, False]
    assert not list(Path().iterdir())


def test_a_place_that_cannot_be_taken_is_refused(student: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.onnx"
    there.write_text("mine")
    for place, problem in (
        (there, "there.onnx exists"),
        (student, "is the file to export itself"),
        (tmp_path, "is a folder"),
        (tmp_path / "no" / "x.onnx", "does not exist"),
    ):
        with pytest.raises(UserError, match=problem):
            export(student, "onnx", place)
    assert there.read_text() == "mine"
    assert export(student, "onnx", there, force=True).path == there


def test_an_unknown_format_is_refused(student: Path) -> None:
    with pytest.raises(UserError, match="unknown format 'tflite'") as told:
        export(student, "tflite")
    assert "onnx" in str(told.value.hint)


def test_nir_is_read_back(student: Path, fashion: str) -> None:
    pytest.importorskip("nir")
    found = export(student, "nir", data=fashion, limit=5)
    assert found.path == Path("student.nir")
    assert [stage.name for stage in found.stages] == ["Read back", "Run beside the original", "End to end", "Real images"]
    assert found.stages[-1].measured["images"] == 5


def test_a_folder_is_written_whole(student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in jelly.stand_ins().items():
        monkeypatch.setitem(sys.modules, name, module)
    found = export(student, "spikingjelly")
    assert found.path == Path("student-spikingjelly")
    assert sorted(path.name for path in found.path.iterdir()) == ["network.py", "state_dict.pt"]
    assert found.size == sum(path.stat().st_size for path in found.path.iterdir())
    assert [path.name for path in Path().iterdir()] == ["student-spikingjelly"]
    with pytest.raises(UserError, match="student-spikingjelly exists"):
        export(student, "spikingjelly")
    assert export(student, "spikingjelly", force=True).path == found.path
    (found.path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds mine\.txt, which no export wrote"):
        export(student, "spikingjelly", force=True)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UserError, match="is a file, and a folder is written"):
        export(student, "spikingjelly", file, force=True)
