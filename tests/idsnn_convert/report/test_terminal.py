from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from idsnn_convert.api import convert
from idsnn_convert.passes.load import load_teacher
from idsnn_convert.report.data import described_teacher
from idsnn_convert.report.terminal import (
    print_checkpoint,
    print_evaluation,
    print_json,
    print_mapping,
    print_teacher,
    safe,
    say,
)
from idsnn_convert.runtime.evaluate import Evaluation
from tests.idsnn_convert import files


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_foreign_text_is_neither_escape_nor_markup() -> None:
    assert safe("\x1b[31m[red]x") == "\\x1b[31m\\[red]x"


def test_nothing_is_wider_than_80_columns_but_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = files.teacher(tmp_path / "net.pth")
    _, checkpoint = convert(path, "resnet56", tmp_path / "s")
    print_checkpoint(checkpoint)
    facts = described_teacher(load_teacher(path))
    print_teacher({**facts, "file": "net.pth"})
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_the_mapping_counts_every_tensor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, checkpoint = convert(files.teacher(tmp_path / "net.pth"), "resnet8", tmp_path / "s")
    print_mapping(checkpoint)
    out = capsys.readouterr().out
    assert f"of {len(checkpoint.tensors)} tensors" in out
    assert "fc.weight, fc.bias" in out


def test_cautions_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, checkpoint = convert(files.teacher(tmp_path / "net.pth"), "resnet8", tmp_path / "s")
    odd = {**checkpoint.mapping, "cautions": [{"reason": "3 of 9 activations are silu", "advice": "Train longer."}]}
    print_mapping(replace(checkpoint, mapping=odd))
    assert "  be careful: 3 of 9 activations are silu. Train longer.\n" in capsys.readouterr().out


def test_long_lines_are_wrapped_between_words_and_indented(capsys: pytest.CaptureFixture[str]) -> None:
    say("[red]" + "word " * 30 + "x" * 90)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("  [red]word")
    assert all(line.startswith("    ") and len(line) <= 80 for line in lines[1:-1])
    assert lines[-1] == "    " + "x" * 90


def test_an_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    print_evaluation(Evaluation(81.5, 0.46, 1000, 2.0, (70.0, 81.5)), "half")
    out = capsys.readouterr().out
    assert "top-1 81.50 %" in out
    assert "T=1 70.00, T=2 81.50" in out
    assert "500 images/s" in out


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [1, 2]})
    assert json.loads(capsys.readouterr().out) == {"a": [1, 2]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"a": float("nan")})
