from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.idsnn_convert.files import assert_told, done, run


def test_a_run_becomes_a_page(trained: Path) -> None:
    told = done("report", trained).stdout
    page = Path("run.html").read_text(encoding="utf-8")
    assert told == f"Wrote run.html ({len(page.encode()):,} bytes).\n"
    assert "fashion-mnist, 48 / 24 images" in page
    told = json.loads(done("report", trained, "-o", "run.html", "--json").stdout)  # over itself
    assert told == {"kind": "run report", "file": "run.html", "bytes": len(page.encode()), "runs": [str(trained)]}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], ["nowhere holds no run", "idsnn train --out RUN"]),
        (["nowhere", "-o", "a.pdf"], ["-o a.pdf: no report ends in '.pdf'", "Known: .html."]),
        (["nowhere", "-o", "there/a.html"], ["the folder there does not exist"]),
        ([], ["Missing argument 'RUN...'"]),
    ],
)
def test_a_request_that_cannot_be_met_writes_nothing(arguments: list[str], told: list[str]) -> None:
    assert_told(run("report", *arguments), *told)
    assert list(Path().iterdir()) == []
