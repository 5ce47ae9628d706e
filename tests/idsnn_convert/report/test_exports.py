from __future__ import annotations

from pathlib import Path

import pytest

from idsnn_convert.formats import Exported
from idsnn_convert.report.exports import described_export, print_export, print_stage
from idsnn_convert.runtime.export.types import Stage

GOOD = Stage("Layer by layer", "all equal", True, {"layers": 3})
BAD = Stage("End to end", "\x1b[31mred", False)


def test_a_stage_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_stage(GOOD)
    print_stage(BAD)
    assert capsys.readouterr().out.splitlines() == ["passed  Layer by layer: all equal", "FAILED  End to end: \\x1b[31mred"]


def test_the_end_names_the_file_or_says_that_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_export(Exported(Path("a[b].onnx"), 1234, (GOOD,)))
    print_export(Exported(None, 0, (GOOD, BAD)))
    out = capsys.readouterr().out
    assert "Wrote a[b].onnx (1,234 bytes)." in out
    assert "Nothing was written" in out


def test_described() -> None:
    assert described_export(Exported(None, 0, (GOOD,))) == {
        "file": None,
        "bytes": 0,
        "stages": [{"name": "Layer by layer", "passed": True, "found": "all equal", "measured": {"layers": 3}}],
    }
