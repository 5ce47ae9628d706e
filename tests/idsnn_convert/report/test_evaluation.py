from __future__ import annotations

import json
from dataclasses import replace

import pytest

from idsnn_convert.report.evaluation import MOST_CLASSES, described_details, print_details, print_exit
from idsnn_convert.runtime.details import DetailedEvaluation
from idsnn_convert.runtime.firing import LayerFiring
from idsnn_convert.runtime.measures import Confusion, Exit
from tests.idsnn_convert.files import columns, unwrapped

LONG = "features.denselayer12.block3.branch2.conv.neuron_of_a_name_without_end"
FOUND = DetailedEvaluation(
    70.0,
    1.0,
    10,
    2.0,
    (60.0, 70.0),
    confusion=Confusion(((4, 1, 0), (2, 3, 0), (0, 0, 0))),
    class_names=("cat", "dog[/]", "eel"),
    exits=(Exit(0.5, 60.0, (9, 1)), Exit(0.9, 70.0, (4, 6))),
    firing=(LayerFiring(LONG, (2048, 112, 112), 0.0004, 0.98, 0.0), LayerFiring("lif", (16, 8, 8), 0.251, 0.0, 0.0)),
)


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_everything_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_details(FOUND)
    out = capsys.readouterr().out
    assert columns(out) <= 80
    assert "0.9 70.00 1.60" in unwrapped(out)
    assert "2048x112x112 0.0 98.0 0.0 dead" in unwrapped(out)
    assert "lif 16x8x8 25.1 0.0 0.0" in unwrapped(out)
    assert "dog[/] 60.00 5 cat (2)" in unwrapped(out)
    assert "eel" not in out  # there was no image of it
    assert "most often taken: dog[/] for cat (2), cat for dog[/] (1)" in unwrapped(out)


def test_one_exit(capsys: pytest.CaptureFixture[str]) -> None:
    print_exit(FOUND, 0.9)
    out = unwrapped(capsys.readouterr().out)
    assert out.startswith("early exit at confidence 0.9: top-1 70.00 % in 1.60 steps on average")
    assert "T=1 40.0 %, T=2 60.0 %" in out


def test_of_many_classes_the_worst(capsys: pytest.CaptureFixture[str]) -> None:
    counts = tuple(tuple(k if k == j else int(j == 0) for j in range(100)) for k in range(100))
    print_details(replace(FOUND, confusion=Confusion(counts), class_names=(), exits=(), firing=()))
    out = capsys.readouterr().out
    assert f"Classes, the {MOST_CLASSES} worst of 99" in out or f"Classes, the {MOST_CLASSES} worst of 100" in out
    assert "\n1 " in out
    assert "\n99 " not in out
    assert "Early exit" not in out
    assert "Firing" not in out


def test_as_json() -> None:
    told = described_details(FOUND)
    assert json.loads(json.dumps(told)) == told
    assert told["confusion"] == [[4, 1, 0], [2, 3, 0], [0, 0, 0]]
    assert told["top1_per_class"] == [80, 60, None]
    assert told["early_exit"][1] == {"threshold": 0.9, "top1": 70.0, "mean_steps": 1.6, "images_per_steps": [4, 6]}
    assert told["firing"][0]["flag"] == "dead"
