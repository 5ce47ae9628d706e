from __future__ import annotations

import json
from pathlib import Path

import pytest

from idsnn_convert.runtime.stop import Interrupted
from idsnn_convert.study import plan
from idsnn_convert.study import run as runs
from idsnn_convert.study.lasnn import run as lasnn_runs
from tests.idsnn_convert.files import assert_told, done, run
from tests.idsnn_convert.study.lasnn.made import result as lasnn_result

SMALL = ("--set", "run.batch_size=16", "--no-compile", "--normalisation", "half")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scale of 2 : 1 : 1 epochs."""
    short = {"long": plan.Schedule(2), "medium": plan.Schedule(1), "short": plan.Schedule(1)}
    monkeypatch.setitem(plan.SCALES, "small", plan.Scale("idsnn-fast", short, 16, 8))


def test_an_ablation_from_teacher_to_table(teacher: Path, student: Path, fashion: str) -> None:
    options = ("--teacher", teacher, "--student", student, "--data", fashion, "--out", "study", "--seeds", 1, *SMALL)
    result = done("study", "ablation", *options, "--arms", "neither,both")
    assert result.stdout.startswith("# Ablation: ")
    assert "| yes | yes | " in result.stdout
    assert "run 2/2 both-long-0" in result.stderr
    assert "Wrote study/ablation.json, study/ablation.md" in result.stderr
    for arm in ("neither", "both"):
        folder = Path("study/runs") / f"{arm}-long-0"
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
        assert json.loads((folder / "final.json").read_text())["test_images"] == 24
        assert {"best.safetensors", "last.safetensors", "recipe.toml"} <= {path.name for path in folder.iterdir()}
    metrics = Path("study/runs/both-long-0/metrics.jsonl").read_bytes()
    found = {"study/runs/both-long-0": 0, "study/runs/both-medium-0": 100, "study/runs/both-short-0": 100}
    told = json.loads(done("study", "convergence", *options, "--arms", "both", "--json").stdout)
    assert [(row["schedule"], row["arm"]) for row in told["rows"]] == [(name, "both") for name in ("long", "medium", "short")]
    assert told["machine"]["torch"]
    assert Path("study/runs/both-long-0/metrics.jsonl").read_bytes() == metrics
    for place, percent in found.items():
        lines = Path(place, "metrics.jsonl").read_text().splitlines()
        assert {json.loads(line)["teacher_cached_percent"] for line in lines} == {percent}


def test_lasnn_takes_teachers_and_a_width(teacher: Path, fashion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[lasnn_runs.LasnnMaterials, dict[str, object]]] = []

    def made(materials: lasnn_runs.LasnnMaterials, **more: object) -> dict[str, object]:
        asked.append((materials, more))
        materials.out.mkdir()
        return lasnn_result()

    monkeypatch.setattr(lasnn_runs, "run_lasnn", made)
    given = ("--teacher", teacher, "--teacher", "other.pth", "--student", "vgg5", "--width", 0.5, "--data", fashion)
    result = done("study", "lasnn", *given, "--out", "study", "--arms", "hybrid, lasnn", "--set", "optimizer.lr=0.002")
    assert result.stdout.startswith("# LaSNN: spiking vgg5 on cifar10")
    assert "Wrote study/lasnn.json, study/lasnn.md" in result.stderr
    ((materials, more),) = asked
    assert (materials.teacher, materials.others, materials.width) == (teacher, (Path("other.pth"),), 0.5)
    assert (more["arms"], more["overrides"], more["seeds"]) == (("hybrid", "lasnn"), ("optimizer.lr=0.002",), 3)


@pytest.mark.parametrize(
    ("study", "options", "told"),
    [
        ("ablation", ("--teacher", "b.pth"), "Only study lasnn takes several teachers"),
        ("convergence", ("--width", "0.5"), "or a width, not convergence"),
        ("lasnn", ("--recipe", "lasnn"), "have recipes of their own"),
        ("lasnn", ("--teacher-cache", "kept"), "it has no cache of logits"),
    ],
)
def test_options_of_another_study(fashion: str, study: str, options: tuple[str, ...], told: str) -> None:
    given = ("--teacher", "a.pth", "--student", "vgg5", "--data", fashion, "--out", "study", *options)
    result = run("study", study, *given)
    assert result.exit_code == 2
    assert told in result.stderr


def test_ctrl_c_tells_how_to_go_on(teacher: Path, student: Path, fashion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise Interrupted(2)

    monkeypatch.setattr(runs, "train_file", stopped)
    options = ("--teacher", teacher, "--student", student, "--data", fashion, "--out", "study", *SMALL)
    result = run("study", "ablation", *options)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "the same command goes on from here" in result.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--arms", "neither,btoh"], ["no arm 'btoh'", "neither, init, kd, both"]),
        (["--recipe", "init-only"], ["initialises and distills"]),
        (["--set", "optimizer.rl=1"], ["optimizer.lr"]),
        (["--data", "cifar10:."], ["no cifar10 files in ."]),
    ],
)
def test_a_request_that_cannot_be_met_starts_nothing(teacher: Path, fashion: str, options: list[str], told: list[str]) -> None:
    asked = ("--teacher", teacher, "--student", "resnet8", "--data", fashion, "--out", "study", *options)
    assert_told(run("study", "ablation", *asked), *told)
    assert not Path("study").exists()
