from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import idsnn_convert
from idsnn_convert import front
from idsnn_convert.passes.types import Teacher
from idsnn_convert.runtime import SpikingNetwork
from tests.idsnn_convert.files import TINY, done
from tests.idsnn_convert.report.test_html import Reader

ROOT = Path(__file__).resolve().parents[2]
LIGHT = """
import sys
import idsnn_convert
assert set(idsnn_convert.__all__) <= set(dir(idsnn_convert))
heavy = {"torch", "rich", "click", "pydantic", "numpy"} & sys.modules.keys()
assert not heavy, heavy
"""


def told(result: Any, *words: str) -> str:
    """What ``result`` says as text, one line and markup, each with ``words`` in the first and sound in the last."""
    text, line, markup = str(result), repr(result), result._repr_html_()
    assert all(word in text for word in words)
    assert line.startswith(f"<{type(result).__name__}: ")
    assert "\n" not in line
    read = Reader(markup)
    assert not {"script", "style", "iframe", "img"} & set(read.tags)
    return read.text


def test_the_functions_are_imported_when_they_are_asked_for() -> None:
    command = [sys.executable, "-c", LIGHT]
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert all(callable(getattr(idsnn_convert, name)) for name in idsnn_convert.__all__)  # no module stands in one's place


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fly'"):
        idsnn_convert.fly  # noqa: B018
    assert set(idsnn_convert.__all__) <= set(front.__all__)


def test_convert_and_load(teacher: Path) -> None:
    made = idsnn_convert.convert(teacher, "resnet8", "s", width=0.25, settings=idsnn_convert.Settings(time_steps=2))
    assert "92" in told(made, "From the teacher: ", "settings")
    assert repr(made) == "<Converted: spiking resnet8 in s, T = 2>"
    assert isinstance(idsnn_convert.load(made.path), SpikingNetwork)


def test_inspect(teacher: Path, student: Path) -> None:
    seen = idsnn_convert.inspect(teacher)
    assert isinstance(seen.content, Teacher)
    assert seen.facts["kind"] == "teacher"
    assert "stageblocksshape" in told(seen, "activations")
    seen = idsnn_convert.inspect(student)
    assert seen.facts["kind"] == "checkpoint"
    assert "stage1.block0" in told(seen, "Neurons: ")
    assert str(seen) + "\n" == done("inspect", student).stdout


def test_evaluate(student: Path, fashion: str) -> None:
    found = idsnn_convert.evaluate(student, fashion, device="cpu", limit=20)
    assert "20 images" in told(found, f"top-1 {found.top1:.2f} %")
    assert "confusion" not in found.facts
    found = idsnn_convert.evaluate(student, fashion, device="cpu", limit=20, details=True)
    assert "Early exit" in str(found)
    assert found.facts["confusion"]


def test_train_energy_and_export(student: Path, fashion: str) -> None:
    small = ["run.epochs=1", "run.batch_size=16"]
    trained = idsnn_convert.train(student, fashion, "run", recipe="init-only", overrides=small, device="cpu")
    assert "bestrun" not in told(trained, "best top-1")
    assert "run/best.safetensors" in repr(trained)
    spent = idsnn_convert.energy("run/best.safetensors", fashion, limit=8, device="cpu")
    assert "loihi" in told(spent, "horowitz-45nm-fp32", "Means over 8 images")
    pytest.importorskip("nir", reason="the format that is written fastest")
    written = idsnn_convert.export("run/best.safetensors", "nir", "s.nir")
    assert "passed" in told(written, "Wrote s.nir")


def test_doctor(teacher: Path) -> None:
    found = idsnn_convert.doctor(teacher)
    assert "converts to spiking" in told(found, "converts.", "tried")
    assert str(found) + "\n" == done("doctor", teacher).stdout
    Path("<b>.th").write_text("no network")
    assert "is a text file" in told(idsnn_convert.doctor("<b>.th"), "does not convert", "is a text file")
    with pytest.raises(idsnn_convert.UserError, match="no such file"):
        idsnn_convert.doctor("nowhere.th")


def test_names_from_files_stay_text(teacher: Path) -> None:
    place = Path("<img src=x>\x1b[31m.safetensors")
    done("convert", teacher, *TINY, "-o", place)
    line = repr(idsnn_convert.inspect(place))
    assert "\x1b" not in line
    assert "\\x1b[31m" in line
